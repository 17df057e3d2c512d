"""Batches between their arrival and a slot: order, memory, recall."""

from __future__ import annotations

import threading
from array import array
from collections.abc import Iterator

import pytest
from waiting import until

from howdah.engine.protocol.layers import TaskRange
from howdah.engine.protocol.messages import DefineLayer, RunBatch
from howdah.engine.serialization.serialize import dumps
from howdah.engine.worker.batches import AcceptedBatches
from howdah.engine.worker.executor import BatchReport, SlotPool
from howdah.engine.worker.memory_monitor import MemoryMonitor
from howdah.engine.worker.store.store import ResultStore
from howdah.engine.worker.task_code import LayerCode

KEY = b"layer"


class Bench:
    """One slot, and what it reports."""

    def __init__(self) -> None:
        self.reports: list[BatchReport] = []
        self.gate = threading.Event()
        self.slots = SlotPool(1, ResultStore(), lambda report, idle: self.reports.append(report), "w", "h", "c")
        self.memory = MemoryMonitor(0)
        self.batches = AcceptedBatches(self.slots, self.memory)
        layer = DefineLayer(KEY, "wait", 100, (), ())
        code = LayerCode(layer, memoryview(dumps((abs, {}, True))))
        code.open()
        code.fn = lambda: self.gate.wait(20)
        self.batches.codes[KEY] = code

    def accept(self, number: int, items: int = 1, depends_on: tuple[tuple[int, int], ...] = ()):  # type: ignore[no-untyped-def]
        message = RunBatch(number, 0, TaskRange(KEY, 0, items), False, (), depends_on)
        return self.batches.accept(message, [memoryview(array("Q").tobytes()), memoryview(b"")])

    def ended(self) -> list[int]:
        return [report.batch.message.batch for report in self.reports]


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.gate.set()
    made.slots.close()


def test_a_batch_starts_after_those_that_it_depends_on(bench: Bench) -> None:
    first, second, third = bench.accept(1), bench.accept(2, depends_on=((1, 0), (9, 9))), bench.accept(3)
    for batch in (second, third, first):
        bench.batches.enqueue(batch)
    bench.gate.set()
    until(lambda: len(bench.reports) == 3)
    assert bench.ended().index(1) < bench.ended().index(2)


def test_a_paused_worker_runs_one_batch_at_a_time(bench: Bench) -> None:
    running, held, later = bench.accept(1), bench.accept(2), bench.accept(3)
    bench.batches.enqueue(running)
    until(lambda: bench.slots.busy == 1)
    bench.memory.paused = True
    bench.batches.enqueue(held)
    bench.batches.enqueue(later)
    bench.batches.release_held_back()
    assert bench.batches.held_back == [held, later]
    bench.gate.set()
    until(lambda: not bench.slots.busy)
    bench.batches.release_held_back()
    assert bench.batches.held_back == [later]


def test_a_batch_that_has_not_started_is_recalled_whole(bench: Bench) -> None:
    running, waiting = bench.accept(1, items=10), bench.accept(2, items=10)
    bench.batches.enqueue(running)
    until(lambda: running.started)
    bench.batches.enqueue(waiting)
    returned = bench.batches.recall((2, 0))
    assert returned is not None
    assert returned.start == 0
    assert waiting.cancelled
    assert (2, 0) not in bench.batches.by_id
    cut = bench.batches.recall((1, 0))
    assert cut is not None
    assert 1 <= cut.start <= 2  # the item that runs, and perhaps one that the slot has taken already
    assert bench.batches.recall((7, 0)) is None


def test_all_batches_of_a_lost_scheduler_are_cancelled(bench: Bench) -> None:
    batches = [bench.accept(number) for number in range(3)]
    bench.batches.cancel_all()
    assert all(batch.cancelled for batch in batches)
    assert not bench.batches.by_id
    bench.batches.forget_unused_codes()
    assert not bench.batches.codes
