"""`Executor` keeps what `concurrent.futures` documents: the cases of CPython's own tests, in our words."""

import asyncio
import concurrent.futures as cf
import functools
import gc
import inspect
import itertools
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from waiting import until

import howdah
from howdah.engine.api import Client
from howdah.engine.deploy.local import LocalCluster
from howdah.engine.integrations.concurrent_futures import Executor
from howdah.errors import HowdahError, InputError, NotSupported, Unpicklable


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with LocalCluster(2) as cluster, Client(cluster) as client:
        cluster.wait_for_workers()
        yield client


@pytest.fixture
def executor(client: Client) -> Iterator[Executor]:
    with client.get_executor() as executor:
        yield executor


class Gate:
    """What blocked calls wait for: a file. They keep their slots, while a wait for an `Event` gives the slot to another
    call after a moment."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "gate"

    def set(self) -> None:
        self._path.touch()

    def wait(self, seconds: float) -> None:
        until(self._path.exists, "the gate", seconds)


@pytest.fixture
def go(tmp_path: Path) -> Iterator[Gate]:
    """Set at the end."""
    gate = Gate(tmp_path)
    yield gate
    gate.set()


def hold(gate: Gate | None) -> str:
    if gate is not None:
        gate.wait(30)
    return "held"


def block_all(executor: Executor, go: Gate) -> list[cf.Future[Any]]:
    """Both workers busy until `go` is set."""
    futures = [executor.submit(hold, go) for _ in range(2)]
    until(lambda: all(future.running() for future in futures))
    return futures


def show(*args: Any, **kwargs: Any) -> Any:
    return args, kwargs


def divide(x: int, y: int) -> int:
    return x // y


# -- submit -----------------------------------------------------------------------------------------------------------


def test_submit(executor: Executor) -> None:
    assert executor.submit(pow, 2, 8).result(20) == 256
    future = executor.submit(show, 1, self=2, fn=3, priority=4, pure=5)
    assert future.result() == ((1,), {"self": 2, "fn": 3, "priority": 4, "pure": 5})
    assert future.result() is future.result()
    assert future.done()
    assert not future.running()
    assert not future.cancel()
    with pytest.raises(TypeError):
        executor.submit(arg=1)  # type: ignore[call-arg]


def test_equal_calls_are_calls_of_their_own(executor: Executor) -> None:
    assert len({executor.submit(np.random.default_rng().random).result(20) for _ in range(3)}) == 3


def test_large_values(executor: Executor) -> None:
    np.testing.assert_array_equal(executor.submit(np.arange, 200_000).result(20), np.arange(200_000))


def test_an_exception_is_the_callers_own(executor: Executor) -> None:
    future = executor.submit(divide, 1, 0)
    with pytest.raises(ZeroDivisionError) as raised:
        future.result(20)
    assert future.exception() is raised.value
    assert any("howdah: task divide[0] failed on worker" in note for note in raised.value.__notes__)
    assert executor.submit(divide, 1, 1).exception(20) is None


def test_what_cannot_travel_is_told_at_once(executor: Executor) -> None:
    with pytest.raises(Unpicklable):
        executor.submit(show, threading.Lock())


def test_a_wait_that_runs_out_of_time(executor: Executor, go: Gate) -> None:
    future = executor.submit(hold, go)
    with pytest.raises(cf.TimeoutError):
        future.result(timeout=0)
    with pytest.raises(TimeoutError):
        future.exception(timeout=0.01)
    go.set()
    assert future.result(20) == "held"


def test_values_do_not_stay_longer_than_their_futures(client: Client, executor: Executor) -> None:
    future = executor.submit(np.zeros, 100_000)
    ref = weakref.ref(future.result(20))
    key = future.task
    del future, key
    gc.collect()
    assert ref() is None
    until(lambda: not any(layer["live"] for layer in client.summary()["layers"]))


# -- map --------------------------------------------------------------------------------------------------------------


def test_map(executor: Executor) -> None:
    assert list(executor.map(pow, range(10), range(10))) == list(map(pow, range(10), range(10)))
    assert list(executor.map(pow, range(10), [2] * 12, chunksize=3)) == [n**2 for n in range(10)]
    assert list(executor.map(pow, [], [])) == []
    for _ in range(2):
        assert sum(executor.map(abs, range(10_000))) == sum(range(10_000))
    with pytest.raises(ValueError, match="chunksize must be >= 1"):
        executor.map(abs, [1], chunksize=0)


def test_map_raises_where_the_call_did(executor: Executor) -> None:
    results = executor.map(divmod, [1, 1, 1, 1], [2, 3, 0, 5])
    assert next(results) == (0, 1)
    assert next(results) == (0, 1)
    with pytest.raises(ZeroDivisionError):
        next(results)
    with pytest.raises(StopIteration):
        next(results)


def test_map_runs_out_of_time(executor: Executor, go: Gate) -> None:
    results = executor.map(hold, [None, None, go], timeout=2)
    assert [next(results), next(results)] == ["held", "held"]
    with pytest.raises(TimeoutError):
        next(results)


def test_map_takes_its_arguments_at_once_and_cancels_what_nobody_asked_for(executor: Executor, go: Gate) -> None:
    taken: list[int] = []

    def numbers() -> Iterator[Gate]:
        for number in range(8):
            taken.append(number)
            yield go

    results = executor.map(hold, numbers())
    assert len(taken) == 8
    until(lambda: sum(future.running() for future in executor._pending) >= 2)  # noqa: SLF001  # the test looks inside the executor
    pending = list(executor._pending)  # noqa: SLF001  # the test looks inside the executor
    threading.Timer(0.05, go.set).start()
    assert next(results) == "held"
    results.close()  # type: ignore[attr-defined]
    cf.wait(pending, 20)
    assert all(future.done() for future in pending)


# -- cancel and running -----------------------------------------------------------------------------------------------


def test_cancel_before_and_after_the_call_has_begun(executor: Executor, go: Gate) -> None:
    busy = block_all(executor, go)
    waiting = [executor.submit(hold, go) for _ in range(6)]
    assert not any(future.running() for future in waiting)
    assert not busy[0].cancel()
    assert not busy[0].cancelled()
    # One on its way to a worker already, and one that is not.
    assert waiting[0].cancel()
    assert waiting[5].cancel()
    assert waiting[5].cancel()
    assert waiting[5].cancelled()
    assert waiting[5].done()
    with pytest.raises(cf.CancelledError):
        waiting[5].result()
    with pytest.raises(cf.CancelledError):
        waiting[5].exception()
    done, not_done = cf.wait([waiting[0], waiting[5], waiting[1]], timeout=0)
    assert done == {waiting[0], waiting[5]}
    assert not_done == {waiting[1]}
    go.set()
    assert [future.result(20) for future in [*busy, *waiting[1:5]]] == ["held"] * 6


def test_a_cancelled_call_never_runs(client: Client, executor: Executor, go: Gate) -> None:
    ran = howdah.Queue(client=client)
    busy = block_all(executor, go)
    waiting = [executor.submit(ran.put, n) for n in range(10)]
    cancelled = [future.cancel() for future in waiting[::2]]
    assert all(cancelled)
    go.set()
    cf.wait([*busy, *waiting], 20)
    assert sorted(ran.get(batch=True)) == [1, 3, 5, 7, 9]


# -- callbacks, wait, as_completed ------------------------------------------------------------------------------------


def test_callbacks(executor: Executor, go: Gate) -> None:
    heard: list[Any] = []
    busy = block_all(executor, go)
    fine, bad, gone = executor.submit(pow, 2, 3), executor.submit(divide, 1, 0), executor.submit(pow, 2, 4)

    def raises(future: cf.Future[Any]) -> None:
        raise RuntimeError("a callback's own fault")

    for future in (fine, bad, gone):
        future.add_done_callback(raises)
        future.add_done_callback(heard.append)
    assert heard == []
    gone.cancel()
    assert heard == [gone]
    go.set()
    cf.wait([*busy, fine, bad], 20)
    until(lambda: len(heard) == 3)
    assert set(heard) == {gone, fine, bad}
    fine.add_done_callback(lambda future: heard.append(future.result()))
    assert heard[-1] == 8


def test_a_callback_may_ask_for_the_value_and_submit(executor: Executor) -> None:
    chained: cf.Future[Any] = cf.Future()
    executor.submit(np.arange, 100_000).add_done_callback(
        lambda first: executor.submit(len, first.result()).add_done_callback(
            lambda second: chained.set_result(second.result())
        )
    )
    assert chained.result(20) == 100_000


def test_wait(executor: Executor, go: Gate) -> None:
    held, quick, bad = executor.submit(hold, go), executor.submit(pow, 2, 2), executor.submit(divide, 1, 0)
    done, _ = cf.wait([held, quick], return_when=cf.FIRST_COMPLETED, timeout=20)
    assert done == {quick}
    done, rest = cf.wait([held, bad], return_when=cf.FIRST_EXCEPTION, timeout=20)
    assert (done, rest) == ({bad}, {held})
    done, rest = cf.wait([held, quick], timeout=0.02)
    assert (done, rest) == ({quick}, {held})
    go.set()
    assert not cf.wait([held, quick, bad], timeout=20).not_done


def test_as_completed(executor: Executor, go: Gate) -> None:
    held, quick = executor.submit(hold, go), executor.submit(pow, 2, 2)
    ended = cf.as_completed([held, quick, quick], timeout=2)
    assert next(ended) is quick
    with pytest.raises(cf.TimeoutError):
        next(ended)
    go.set()
    assert set(cf.as_completed([held, quick], timeout=20)) == {held, quick}


def test_asyncio_can_await_them(executor: Executor) -> None:
    async def both() -> list[Any]:
        loop = asyncio.get_running_loop()
        first = loop.run_in_executor(executor, pow, 2, 10)
        return await asyncio.gather(first, asyncio.wrap_future(executor.submit(np.sum, np.ones(9))))

    assert asyncio.run(both()) == [1024, 9.0]


def test_map_reads_no_further_than_its_buffer(executor: Executor) -> None:
    read: list[int] = []

    def endless() -> Iterator[int]:
        for i in itertools.count():
            read.append(i)
            yield i

    squares = executor.map(pow, endless(), itertools.repeat(2), buffersize=3)
    assert len(read) == 3
    assert [next(squares) for _ in range(5)] == [0, 1, 4, 9, 16]
    assert len(read) == 8
    squares.close()  # type: ignore[attr-defined]
    assert list(executor.map(abs, [-1, -2], buffersize=10)) == [1, 2]
    assert list(executor.map(abs, [], buffersize=1)) == []
    for wrong, kind in ((0, ValueError), (-1, ValueError), ("2", TypeError)):
        with pytest.raises(kind, match="buffersize must be"):
            executor.map(abs, [1], buffersize=wrong)  # type: ignore[arg-type]
    with pytest.raises(ZeroDivisionError):
        list(executor.map(divide, [1, 1, 1], [1, 0, 1], buffersize=2))


def test_a_map_whose_iterator_is_given_up_cancels_its_buffer(executor: Executor, go: Gate) -> None:
    results = executor.map(hold, [None, *[go] * 20], buffersize=6)
    try:
        assert next(results) == "held"
        ahead = {future for future in executor._pending if not future.done()}  # noqa: SLF001  # the test looks inside the executor
        with pytest.raises(TimeoutError):
            next(executor.map(hold, [go], buffersize=1, timeout=0.01))
        del results
        until(lambda: sum(future.cancelled() for future in ahead) >= len(ahead) - 2)  # two may have begun
    finally:
        go.set()  # else whoever ends the executor would wait for them
    assert {future.result() for future in ahead if not future.cancelled()} == {"held"}


def test_what_the_standard_library_takes_is_taken(executor: Executor) -> None:
    """Same parameters, same defaults, same kinds, as far as this Python's library has them."""
    for name in ("submit", "map", "shutdown"):
        theirs = inspect.signature(getattr(cf.Executor, name)).parameters
        ours = inspect.signature(getattr(Executor, name)).parameters
        for parameter in theirs.values():
            mine = ours[parameter.name]
            assert (mine.kind, mine.default) == (parameter.kind, parameter.default), (name, parameter)
    assert isinstance(executor, cf.Executor)
    assert isinstance(executor.submit(abs, -1), cf.Future)
    assert executor.submit(show, self=1, fn=2, key="x").result(20) == ((), {"self": 1, "fn": 2, "key": "x"})
    with pytest.raises(TypeError):
        executor.submit()  # type: ignore[call-arg]


# -- shutdown ---------------------------------------------------------------------------------------------------------


def test_after_shutdown(client: Client) -> None:
    with client.get_executor() as executor:
        future = executor.submit(abs, -3)
    assert future.done()
    for call in (functools.partial(executor.submit, abs, 1), functools.partial(executor.map, abs, [1])):
        with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
            call()
    executor.shutdown()
    assert future.result() == 3


def test_shutdown_without_waiting(client: Client, go: Gate) -> None:
    executor = client.get_executor()
    future = executor.submit(hold, go)
    executor.shutdown(wait=False)
    assert not future.done()
    go.set()
    assert future.result(20) == "held"


def test_shutdown_cancels_what_has_not_begun(client: Client, go: Gate) -> None:
    executor = client.get_executor()
    busy = block_all(executor, go)
    waiting = [executor.submit(hold, go) for _ in range(20)]
    threading.Timer(0.1, go.set).start()
    executor.shutdown(cancel_futures=True)
    assert all(future.cancelled() for future in waiting)
    assert [future.result() for future in busy] == ["held", "held"]


def test_options(client: Client) -> None:
    assert client.get_executor(retries=2, pure=True).submit(abs, -1).result(20) == 1
    with pytest.raises(InputError, match="unknown option 'retrys'; did you mean 'retries'"):
        client.get_executor(retrys=2)
    with pytest.raises(NotSupported, match="initializer"):
        Executor(client=client, initializer=print)
    with pytest.raises(ValueError, match="max_workers must be greater than 0"):
        Executor(0)
    with pytest.raises(InputError, match="max_workers: got 2: leave it out"):
        Executor(2, client=client)


def test_an_executor_that_is_dropped_ends_its_calls_and_leaves_nothing(client: Client, go: Gate) -> None:
    executor = client.get_executor()
    future = executor.submit(hold, go)
    gone, told = weakref.ref(executor), executor._on_loss  # noqa: SLF001  # the test looks inside the executor
    assert told in client.when_lost
    del executor
    gc.collect()
    go.set()
    assert future.result(20) == "held"
    until(lambda: gc.collect() is not None and gone() is None)
    assert told not in client.when_lost
    with client.get_executor() as shut:
        shut.submit(abs, -1)
    until(lambda: shut._on_loss not in client.when_lost)  # noqa: SLF001  # the test looks inside the executor


def test_a_dropped_executor_closes_the_cluster_that_was_its_own() -> None:
    code = """
import gc, howdah, threading, weakref
executor = howdah.Executor(1)
future = executor.submit(abs, -7)
client, gone = executor._client, weakref.ref(executor)
del executor
deadline = threading.Event()
for _ in range(2000):
    gc.collect()
    if client.closed:
        break
    deadline.wait(0.01)
print(future.result(), client.closed)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.split() == ["7", "True"], done.stderr


def test_calls_of_a_lost_cluster_end(client: Client) -> None:
    with LocalCluster(1) as cluster:
        other = Client(cluster)
        executor = other.get_executor()
        future = executor.submit(lambda: threading.Event().wait(30))
        until(future.running)
    with pytest.raises(cf.BrokenExecutor) as caught:
        future.result(20)
    assert isinstance(caught.value, HowdahError)
    assert not future.cancel()
    for call in (functools.partial(executor.submit, abs, 1), functools.partial(executor.map, abs, [1])):
        with pytest.raises(cf.BrokenExecutor):
            call()
    executor.shutdown()
    other.close()


def test_alone_it_has_a_cluster_of_its_own_and_ends_its_calls_before_the_program() -> None:
    code = """
import howdah, os
with howdah.Executor(1) as executor:
    future = executor.submit(bytes, 100_000)
print(len(future.result()))
other = howdah.Executor(1)
other.submit(os.getpid).add_done_callback(lambda future: print(future.result() != os.getpid()))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.split() == ["100000", "True"], done.stderr
    assert done.stderr == ""
