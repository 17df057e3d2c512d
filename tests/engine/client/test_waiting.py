"""Waits of a client without a cluster: blocking and awaited ones run the same coroutine."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

import pytest

from howdah.engine.client.future_registry import FutureRegistry
from howdah.engine.client.layer_results import LayerResults, TaskFailure
from howdah.engine.client.waiting import Deadline, LayerProgress, Outcome, Waiter, run_blocking
from howdah.engine.comm.connection.event_loop import loop_thread
from howdah.engine.protocol.events import TaskError
from howdah.engine.protocol.layers import TaskRange
from howdah.errors import DeadlineExceeded, HowdahError

KEY = b"k" * 16


class Connection:
    """A connection that is open until `error` is set."""

    error: HowdahError | None = None


class Fetcher:
    """Returns 10 times the item as its value; the first `lose` collections find that results were lost."""

    def __init__(self, lose: int = 0) -> None:
        self.lose = lose

    def all_inline(self, ranges: Sequence[tuple[LayerResults, int, int]]) -> bool:
        return True

    def collect(self, ranges: Sequence[tuple[LayerResults, int, int]]) -> list[Any] | None:
        if self.lose:
            self.lose -= 1
            return None
        return [10 * item for _, start, stop in ranges for item in range(start, stop)]


def waiter(lose: int = 0) -> tuple[Waiter, LayerResults, Connection]:
    made, connection = Waiter(FutureRegistry(), loop_thread()), Connection()
    made.attach(connection, Fetcher(lose))  # type: ignore[arg-type]
    return made, LayerResults(KEY, "layer", 3), connection


def on_loop(fn: Any, *args: Any) -> None:
    loop_thread().loop.call_soon_threadsafe(fn, *args)


def test_values_come_once_all_are_done_and_a_lost_holder_is_waited_for_again() -> None:
    made, results, _ = waiter(lose=1)
    threading.Timer(0.02, on_loop, (results.mark_done, 0, 3, "w", ())).start()
    assert made.results([(results, 0, 3)], timeout=10) == [0, 10, 20]
    assert asyncio.run(made.results_async([(results, 1, 2)], 10)) == [10]
    assert made.waiting() == 0


def test_a_deadline_names_what_is_not_done() -> None:
    made, results, _ = waiter()
    with pytest.raises(DeadlineExceeded, match=r"not done after 0\.01 s: layer\[0:3\]"):
        made.wait([(results, 0, 3)], 0.01)
    with pytest.raises(DeadlineExceeded, match=r"layer\[1\]"):
        asyncio.run(made.wait_async([(results, 1, 2)], 0.01))
    assert made.waiting() == 0


def test_a_failure_ends_the_wait_for_results_at_once() -> None:
    made, results, _ = waiter()
    failure = TaskFailure(TaskError("cancelled", "layer[1] was cancelled"), TaskRange(KEY, 1, 2))
    threading.Timer(0.02, on_loop, (results.mark_failed, 1, 2, failure)).start()
    with pytest.raises(HowdahError, match="was cancelled"):
        made.results([(results, 0, 3)], timeout=10)
    assert "was cancelled" in str(made.exception(results, 1))
    assert "was cancelled" in str(asyncio.run(made.exception_async(results, 1)))


def test_a_lost_connection_ends_all_waits_and_calls_who_asked() -> None:
    made, results, connection = waiter()
    lost: list[HowdahError] = []
    made.when_lost.add(lost.append)

    def lose() -> None:
        connection.error = HowdahError("it is gone")
        made.on_connection_lost(connection.error)

    threading.Timer(0.02, on_loop, (lose,)).start()
    with pytest.raises(HowdahError, match="it is gone"):
        made.wait([(results, 0, 3)], 10)
    assert [str(error) for error in lost] == ["it is gone"]
    with pytest.raises(HowdahError, match="it is gone"):
        asyncio.run(made.wait_async([(results, 0, 1)], 10))


def test_callbacks_come_on_a_thread_of_their_own_and_may_raise() -> None:
    made, results, _ = waiter()
    called: list[str] = []
    done = threading.Event()

    def note(text: str) -> None:
        called.append(threading.current_thread().name)
        done.set()
        raise ValueError(text)

    made.call_when_done(results, 0, note, "x")
    on_loop(results.mark_done, 0, 1, "w", ())
    assert done.wait(10)
    assert called[0].startswith("howdah-callbacks")
    made.close()
    with pytest.raises(RuntimeError):
        made.call_back(note, "late")


def test_a_blocking_wait_that_is_suspended_is_a_mistake() -> None:
    with pytest.raises(RuntimeError, match="suspended"):
        run_blocking(asyncio.sleep(0))


def test_an_outcome_raises_even_stop_iteration() -> None:
    assert Outcome(None, [1]).get() == [1]
    with pytest.raises(StopIteration):
        Outcome(StopIteration(), []).get()


def test_deadlines_and_totals() -> None:
    assert Deadline(None).remaining() is None
    left = Deadline(5.0).remaining()
    assert left is not None
    assert 4 < left <= 5
    seen: list[tuple[int, int, str]] = []
    progress = LayerProgress(lambda *args: seen.append(args), {b"a": 2, b"b": 3})
    progress(1, 5, "a")
    assert (progress.total, progress.keys, seen) == (5, [b"a", b"b"], [(1, 5, "a")])


def test_progress_is_told_of_what_ended_before_the_first_look() -> None:
    class Answering(Connection):
        def query(self, _: str, **__: Any) -> list[dict[str, Any]]:
            return []

    made, results = Waiter(FutureRegistry(), loop_thread()), LayerResults(KEY, "layer", 3)
    made.attach(Answering(), Fetcher())  # type: ignore[arg-type]
    results.mark_done(0, 3, "w", ())
    calls: list[tuple[int, int, str]] = []
    shown = LayerProgress(lambda *call: calls.append(call), {KEY: 3})
    assert made.results([(results, 0, 3)], timeout=10, progress=shown) == [0, 10, 20]
    assert calls == [(3, 3, "")]
