"""The reactor: what each instruction of the scheduler becomes, and what happens when the scheduler raises."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from howdah.engine.protocol.events import (
    ForgetLayer,
    FreeRanges,
    HostExcluded,
    JournalFailure,
    LayerSpec,
    NotifyDone,
    NotifyFailed,
    NotifyLost,
    NotifyStuck,
    RecallBatch,
    Released,
    StartBatch,
    TaskError,
    Tick,
)
from howdah.engine.protocol.layers import TaskRange
from howdah.engine.protocol.messages import (
    ForgetLayers,
    FreeResults,
    Recall,
    ResultsLost,
    RunBatch,
    TasksDone,
    TasksErred,
    TasksUnschedulable,
    WorkerAddresses,
)
from howdah.engine.scheduler.server.commands import FIRE_AND_FORGET
from howdah.engine.scheduler.server.reactor import MOST_FORGOTTEN, Reactor
from howdah.engine.scheduler.server.sessions import InlineResults

KEY = b"k" * 16
ONE = TaskRange(KEY, 0, 1)
INPUT = TaskRange(b"i" * 16, 0, 1)


class Views:
    """Says that `w2` and `w3` have copies of every input."""

    def copy_holders(self, task_range: TaskRange, most: int) -> list[tuple[TaskRange, str]]:
        return [(task_range, name) for name in ("w2", "w3")][:most]


class ScriptedScheduler:
    """In place of a scheduler: returns what it is given."""

    def __init__(self) -> None:
        self.views, self.wake_at = Views(), None
        self.instructions: list[Any] = []
        self.events: list[Any] = []

    def handle(self, event: Any, now: float) -> list[Any]:
        self.events.append(event)
        out, self.instructions = self.instructions, []
        for one in out:
            if isinstance(one, Exception):
                raise one
        return out


@pytest.fixture
def scheduler() -> ScriptedScheduler:
    return ScriptedScheduler()


@pytest.fixture
def failures() -> list[str]:
    return []


@pytest.fixture
def reactor(server: Any, scheduler: Any, failures: list[str]) -> Reactor:
    server.worker("w")
    server.client("me")
    server.layers.add([LayerSpec(KEY, "layer", 2)], [memoryview(b"code"), memoryview(b""), memoryview(b"")])
    return Reactor(scheduler, server.peers, server.layers, server.journal, failures.append)


def run(
    reactor: Reactor, scheduler: ScriptedScheduler, *instructions: Any, inline: InlineResults | None = None
) -> None:
    scheduler.instructions = list(instructions)
    reactor.handle(Tick(), inline)


def test_a_batch_is_sent_with_its_sources_and_their_alternatives(server: Any, reactor: Any, scheduler: Any) -> None:
    run(reactor, scheduler, StartBatch("w", 7, 1, ONE, ((INPUT, "w2"),)), StartBatch("gone", 8, 1, ONE))
    define, message = server.peers.workers["w"].session.messages
    assert (define.key, message) == (KEY, RunBatch(7, 1, ONE, False, ((INPUT, "w2", ""), (INPUT, "w3", ""))))
    assert server.peers.batches == {(7, 1): ONE}
    assert server.peers.first_task is not None


def test_only_results_of_the_reported_batch_travel_with_the_news(server: Any, reactor: Any, scheduler: Any) -> None:
    inline = InlineResults(ONE, [memoryview(b"\x03\0\0\0"), memoryview(b"abc")])
    other = TaskRange(KEY, 1, 2)
    run(
        reactor,
        scheduler,
        NotifyDone("me", ONE, "w"),
        NotifyDone("me", other, "w"),
        NotifyDone("?", ONE, "w"),
        inline=inline,
    )
    session = server.peers.clients["me"].session
    assert session.messages == [WorkerAddresses({"w": "address of w"}), TasksDone(ONE, "w"), TasksDone(other, "w")]
    assert [[bytes(frame) for frame in frames] for frames in session.frames] == [[], [b"\x03\0\0\0", b"abc"], []]


def test_other_instructions_become_messages(server: Any, reactor: Any, scheduler: Any) -> None:
    error = TaskError("raised", "boom")
    run(
        reactor, scheduler, NotifyFailed("me", ONE, error, INPUT), NotifyStuck("me", ONE, "no GPU"),
        NotifyLost("me", ONE), FreeRanges("w", (ONE,)), RecallBatch("w", 7, 1), HostExcluded("h", 3.0, "faults"),
        JournalFailure(ONE, error), FreeRanges("gone", (ONE,)), RecallBatch("gone", 7, 1), NotifyLost("gone", ONE),
    )  # fmt: skip
    assert server.peers.clients["me"].session.messages == [
        TasksErred(ONE, error, INPUT), TasksUnschedulable(ONE, "no GPU"), ResultsLost(ONE),
    ]  # fmt: skip
    assert server.peers.workers["w"].session.messages == [FreeResults([ONE]), Recall(7, 1)]


def test_workers_are_told_of_forgotten_layers_together(server: Any, reactor: Any, scheduler: Any) -> None:
    session = server.peers.workers["w"].session
    run(reactor, scheduler, StartBatch("w", 7, 1, ONE))
    run(reactor, scheduler, ForgetLayer(KEY))
    assert KEY not in server.layers
    assert len(session.messages) == 2
    reactor.on_heartbeat()
    assert session.messages[2:] == [ForgetLayers((KEY,))]
    keys = [b"%16d" % number for number in range(MOST_FORGOTTEN)]
    server.layers.add([LayerSpec(keys[0], "layer", 1)], [memoryview(b"")] * 3)
    run(reactor, scheduler, StartBatch("w", 8, 1, TaskRange(keys[0], 0, 1)))
    run(reactor, scheduler, *map(ForgetLayer, keys))
    assert session.messages[-1] == ForgetLayers((keys[0],))


def test_a_layer_that_comes_back_is_forgotten_before_it_is_defined(server: Any, reactor: Any, scheduler: Any) -> None:
    run(reactor, scheduler, StartBatch("w", 7, 1, ONE))
    run(reactor, scheduler, ForgetLayer(KEY))
    server.layers.add([LayerSpec(KEY, "layer", 2)], [memoryview(b"code"), memoryview(b""), memoryview(b"")])
    run(reactor, scheduler, StartBatch("w", 8, 1, ONE))
    kinds = [type(message).__name__ for message in server.peers.workers["w"].session.messages]
    assert kinds == ["DefineLayer", "RunBatch", "ForgetLayers", "DefineLayer", "RunBatch"]


def test_results_of_fire_and_forget_are_released_when_the_tasks_end(reactor: Any, scheduler: Any) -> None:
    async def story() -> None:
        run(reactor, scheduler, NotifyDone(FIRE_AND_FORGET, ONE, "w"))
        run(reactor, scheduler, NotifyFailed(FIRE_AND_FORGET, INPUT, TaskError("raised", ""), INPUT))
        await asyncio.sleep(0)

    asyncio.run(story())
    assert scheduler.events[2:] == [Released(FIRE_AND_FORGET, (ONE,)), Released(FIRE_AND_FORGET, (INPUT,))]


def test_an_exception_of_the_scheduler_ends_everything_once(reactor: Any, scheduler: Any, failures: list[str]) -> None:
    run(reactor, scheduler, ZeroDivisionError("wrong"))
    reactor.handle(Tick())
    assert failures == ["an error of howdah's own in the scheduler: ZeroDivisionError: wrong"]
    assert reactor.failure == failures[0]
    assert len(scheduler.events) == 1
