"""Slots without sockets: whole runs, what they report, what can be taken back from them."""

import queue
import threading
from array import array
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from howdah.engine.protocol.layers import Dependency, KToOne, OneToOne, TaskRange
from howdah.engine.protocol.messages import NOT_INLINE, DefineLayer, RunBatch
from howdah.engine.serialization.serialize import dumps, dumps_each, loads
from howdah.engine.worker.executor import BatchReport, QueuedBatch, SlotPool
from howdah.engine.worker.store.store import MISSING, ResultStore, size_of_value
from howdah.engine.worker.task_code import LayerCode

KEY = b"k" * 16
SOURCE = b"s" * 16


class Bench:
    """Slots with a store, and the reports that come of them."""

    def __init__(self, slots: int = 1) -> None:
        self.store = ResultStore()
        self.reports: queue.Queue[BatchReport] = queue.Queue()
        self.slots = SlotPool(slots, self.store, lambda report, idle: self.reports.put(report), "w", "h", "c")

    def work(
        self,
        fn: Callable[..., Any],
        args: Sequence[tuple[Any, ...]],
        deps: tuple[Dependency, ...] = (),
        dep_ns: tuple[int, ...] = (),
        first: int = 0,
        inline: bool = True,
    ) -> QueuedBatch:
        n = len(args)
        blob, offsets = dumps_each(args)
        code = LayerCode(DefineLayer(KEY, "fn", first + n, deps, dep_ns), dumps((fn, {}, True)))
        return QueuedBatch(RunBatch(1, 1, TaskRange(KEY, first, first + n), inline), code, array("Q", offsets), blob)

    def run(self, *args: Any, **kwargs: Any) -> BatchReport:
        self.slots.put(self.work(*args, **kwargs))
        return self.reports.get(timeout=20)


def inline_values(report: BatchReport) -> list[Any]:
    found, at = [], 0
    for length in report.lengths:
        if length == NOT_INLINE:
            found.append(None)
        else:
            found.append(loads(report.blob[at : at + length]))
            at += length
    return found


def test_a_run_is_reported_once_with_small_results_inline() -> None:
    bench = Bench()
    report = bench.run(lambda x: x * x, [(i,) for i in range(100)], first=50)
    assert inline_values(report) == [i * i for i in range(100)]
    assert report.done is not None
    assert len(report.done.sizes) == 100
    assert report.done.errors == ()
    assert bench.store.get(KEY, 149) == 99 * 99
    assert bench.reports.empty()


def test_large_results_stay() -> None:
    bench = Bench()
    report = bench.run(np.zeros, [(1,), (10_000,), (2,)])
    assert report.lengths[1] == NOT_INLINE
    assert [None if v is None else len(v) for v in inline_values(report)] == [1, None, 2]
    assert report.done is not None
    assert report.done.sizes[1] == 80_000
    assert bench.store.nbytes == sum(report.done.sizes)


def test_nobody_waits_so_nothing_is_pickled() -> None:
    report = Bench().run(threading.Lock, [()], inline=False)
    assert report.blob == b""
    assert report.done is not None
    assert report.done.errors == ()


def test_one_failure_does_not_stop_the_run() -> None:
    bench = Bench()
    report = bench.run(lambda x: 1 // x, [(1,), (0,), (2,)])
    assert report.done is not None
    assert [size >= 0 for size in report.done.sizes] == [True, False, True]
    ((at, error),) = report.done.errors
    assert (at, error.kind, error.worker, error.host, error.container) == (1, "raised", "w", "h", "c")
    assert "ZeroDivisionError" in error.message
    assert "in _simple" not in error.traceback
    assert bench.store.get(KEY, 1) is MISSING


def test_a_result_that_cannot_travel_fails_alone() -> None:
    report = Bench().run(lambda x: threading.Lock() if x else x, [(0,), (1,)])
    assert report.done is not None
    ((at, error),) = report.done.errors
    assert (at, error.kind) == (1, "unpicklable")
    assert "lock" in error.message


def test_a_function_that_cannot_be_opened_fails_all_items() -> None:
    bench = Bench()
    work = bench.work(abs, [(1,), (2,)])
    work.code.frame = b"cnowhere_to_be_found\nfn\n."
    bench.slots.put(work)
    done = bench.reports.get(timeout=20).done
    assert done is not None
    assert done.sizes == (-1, -1)
    assert "nowhere_to_be_found" in done.errors[0][1].message


def test_inputs_come_from_the_store() -> None:
    bench = Bench()
    bench.store.put(SOURCE, range(5), [10, 11, 12, 13, 14], [8] * 5)
    one = bench.run(lambda x, y: (x, y), [(i,) for i in range(5)], (Dependency(SOURCE, OneToOne()),), (5,))
    assert inline_values(one) == [(10 + i, i) for i in range(5)]
    tree = bench.run(sum, [()] * 3, (Dependency(SOURCE, KToOne(2)),), (5,))
    assert inline_values(tree) == [21, 25, 14]
    bench.store.free([TaskRange(SOURCE, 3, 4)])
    gone = bench.run(sum, [()] * 3, (Dependency(SOURCE, KToOne(2)),), (5,))
    assert gone.done is None
    assert gone.missing == (TaskRange(SOURCE, 3, 4),)


def test_what_is_not_begun_can_be_taken_back() -> None:
    bench = Bench()
    started, gate = threading.Event(), threading.Event()

    def step(x: int) -> int:
        if x == 2:
            started.set()
            assert gate.wait(20)
        return x

    running = bench.work(abs, [(i,) for i in range(100)])
    running.code.open()
    running.code.fn = step
    waiting = bench.work(abs, [(i,) for i in range(10)])
    bench.slots.put(running)
    bench.slots.put(waiting)
    assert started.wait(20)
    assert bench.slots.recall(waiting).start == 0
    cut = bench.slots.recall(running).start
    assert 3 <= cut <= 4
    gate.set()
    report = bench.reports.get(timeout=20)
    assert report.batch is running
    assert inline_values(report) == list(range(cut))
    last = bench.run(abs, [(-1,)])
    assert last.batch.stop - last.batch.start == 1  # the one that was taken back was not run


@pytest.mark.parametrize(
    ("value", "least", "most"),
    [
        (b"x" * 1000, 1000, 1100),
        (np.zeros(1000)[:10], 80, 80),
        ([np.zeros(1000)] * 3, 24_000, 24_200),
        ({"a": "x" * 5000, "b": [b"y" * 5000]}, 10_000, 10_600),
        ([1.0] * 100_000, 2_000_000, 4_000_000),
    ],
)
def test_sizes(value: Any, least: int, most: int) -> None:
    assert least <= size_of_value(value) <= most
