"""Where results are: the one place that records, forgets, moves and copies them.

A result has a holder (the worker that computed it or took it over), a size in bytes, and perhaps copies on workers that
fetched it. These facts stand in the columns `holder`, `size`, `copies`, `copy_holder` and `pinned` of `LayerState`, and
in the totals `items` and `nbytes` of `WorkerState`; `ResultTable` is the only writer of all of them. It also collects
what workers may free, until `Scheduler.handle` sends it. For the rule modules of this folder; states of tasks are the
business of `transitions`.

Each method takes a range of items, or an array of items for the exchange (names that end with `_items`); its cost is a
few operations a call, not an item.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from howdah.engine.protocol.events import FreeRanges
from howdah.engine.protocol.layers import Key, TaskRange
from howdah.engine.scheduler.core.intervals import (
    Interval,
    IntervalSet,
    Items,
    column,
    fill,
    group_by_worker,
    group_equal,
    items_to_intervals,
)
from howdah.engine.scheduler.core.tables import DONE, MANY, NO_WORKER, LayerState, WorkerState
from howdah.engine.scheduler.core.timers import TimerQueue

if TYPE_CHECKING:
    from howdah.engine.scheduler.core.state import SchedulerState

DEFERRAL = 0.01
"""Seconds for which the dropped results of an exchange are collected before workers receive them."""


class ResultTable:
    """Holders, sizes and copies of results, and the frees that workers have not been sent.

    Parameters
    ----------
    by_index : the scheduler's workers by index; read at each call.
    timers : where the sending of deferred frees waits.
    """

    __slots__ = ("_by_index", "_deferrals", "_timers", "deferred_frees", "pending_frees")

    def __init__(self, by_index: dict[int, WorkerState], timers: TimerQueue) -> None:
        self._by_index, self._timers = by_index, timers
        self._deferrals = 0
        self.pending_frees: dict[str, dict[Key, IntervalSet]] = {}
        """By worker and layer, what is sent at the end of this event."""
        self.deferred_frees: dict[Key, list[tuple[Any, Any]]] = {}
        """By layer, arrays of workers' indices and of items, sent a little later (`drop_items`)."""

    # -- results ------------------------------------------------------------------------------------------------------

    def record(self, layer: LayerState, lo: int, hi: int, worker: WorkerState, sizes: Sequence[int]) -> None:
        """Enter results of lo..hi, of these sizes, that `worker` holds."""
        if hi - lo == 1:
            layer.holder[lo], layer.size[lo] = worker.index, sizes[0]
            worker.nbytes += sizes[0]
        else:
            fill(layer.holder, lo, hi, worker.index)
            layer.size[lo:hi] = sizes
            worker.nbytes += sum(sizes)
        worker.items += hi - lo

    def drop(self, layer: LayerState, lo: int, hi: int) -> None:
        """Forget the results of lo..hi and their copies, and have their holders free them."""
        if hi - lo == 1:
            worker = self._by_index[int(layer.holder[lo])]
            self.free(worker.name, layer.key, lo, hi)
            worker.items -= 1
            worker.nbytes -= int(layer.size[lo])
        else:
            for a, b, holder in group_equal(layer.holder, lo, hi):
                worker = self._by_index[holder]
                self.free(worker.name, layer.key, a, b)
                worker.items -= b - a
                worker.nbytes -= layer.result_bytes(a, b)
        if layer.copies:
            self.drop_copies(layer, lo, hi)
        self.forget(layer, lo, hi)

    def forget(self, layer: LayerState, lo: int, hi: int) -> None:
        """Forget results of lo..hi that have no holder any more."""
        if layer.pinned:
            layer.pinned.remove(lo, hi)
        if hi - lo == 1:
            layer.holder[lo], layer.size[lo] = NO_WORKER, 0
        else:
            fill(layer.holder, lo, hi, NO_WORKER)
            fill(layer.size, lo, hi, 0)

    def move(self, layer: LayerState, lo: int, hi: int, worker: WorkerState) -> tuple[list[Interval], list[Interval]]:
        """`worker` does not hold the results of lo..hi any more: make holders of copies their holders.

        Returns the intervals that have a new holder, and those that have none: the caller has these made again, or
        forgets them.
        """
        worker.items -= hi - lo
        worker.nbytes -= layer.result_bytes(lo, hi)
        left, moved = IntervalSet(lo, hi), []
        for index, intervals in list((layer.copies or {}).items()):
            for a, b in left:
                for c, d in intervals.overlap(a, b):
                    fill(layer.holder, c, d, index)
                    other = self._by_index[index]
                    other.items += d - c
                    other.nbytes += layer.result_bytes(c, d)
                    intervals.remove(c, d)
                    left.remove(c, d)
                    moved.append((c, d))
            if not intervals and layer.copies:
                del layer.copies[index]
        return moved, list(left)

    def held_by(self, layer: LayerState, worker: WorkerState) -> list[Interval]:
        """The intervals of the layer whose holder is `worker`."""
        index = worker.index
        if layer.counts[DONE] == 0:
            return []
        if layer.n == 1 and layer.holder[0] != index:
            return []
        return [(a, b) for a, b, holder in group_equal(layer.holder, 0, layer.n) if holder == index]

    # -- copies -------------------------------------------------------------------------------------------------------

    def add_copies(self, layer: LayerState, lo: int, hi: int, worker: WorkerState) -> None:
        """`worker` has fetched the results of lo..hi and keeps them."""
        index = worker.index
        if layer.copies is None:
            layer.copies = {}
        intervals = layer.copies.get(index)
        if intervals is None:
            layer.copies[index] = IntervalSet(lo, hi)
        else:
            intervals.add(lo, hi)
        copy_holder = layer.copy_holder
        if copy_holder is None:
            copy_holder = layer.copy_holder = column(layer.n, "i4", NO_WORKER)
        if hi - lo == 1:
            if copy_holder[lo] != index:
                copy_holder[lo] = index if copy_holder[lo] == NO_WORKER else MANY
            return
        for a, b, known in group_equal(copy_holder, lo, hi):
            if known != index:
                fill(copy_holder, a, b, index if known == NO_WORKER else MANY)

    def drop_copies(self, layer: LayerState, lo: int, hi: int) -> None:
        """Forget all copies of lo..hi, and have their workers free them."""
        copies, copy_holder = layer.copies or {}, layer.copy_holder
        if copy_holder is None:
            return
        if hi - lo == 1 and (single := int(copy_holder[lo])) != MANY:
            if single != NO_WORKER:
                copy_holder[lo] = NO_WORKER
                intervals = copies.get(single)
                if intervals is not None and lo in intervals:
                    self.free(self._by_index[single].name, layer.key, lo, hi)
                    intervals.remove(lo, hi)
                    if not intervals:
                        del copies[single]
            return
        for first, last, known in group_equal(copy_holder, lo, hi):
            if known == NO_WORKER:
                continue
            for index in list(copies) if known == MANY else [known]:
                intervals = copies.get(index)
                if intervals is None:
                    continue  # its worker has left
                for a, b in intervals.overlap(first, last):
                    self.free(self._by_index[index].name, layer.key, a, b)
                intervals.remove(first, last)
                if not intervals:
                    del copies[index]
            fill(copy_holder, first, last, NO_WORKER)

    def forget_copies(self, layer: LayerState, lo: int, hi: int, worker: WorkerState) -> None:
        """`worker` does not have copies of lo..hi after all."""
        if layer.copies and worker.index in layer.copies:
            layer.copies[worker.index].remove(lo, hi)
            if not layer.copies[worker.index]:
                del layer.copies[worker.index]

    def forget_all_copies(self, layer: LayerState, worker: WorkerState) -> None:
        """`worker` has no copies of the layer's results (any more)."""
        if layer.copies:
            layer.copies.pop(worker.index, None)

    def pin_copies(self, layer: LayerState, lo: int, hi: int) -> None:
        """Keep the copies of lo..hi as long as the results: a client requested them."""
        if layer.pinned is None:
            layer.pinned = IntervalSet()
        layer.pinned.add(lo, hi)

    # -- arrays of items ----------------------------------------------------------------------------------------------

    def drop_items(self, layer: LayerState, items: Items) -> None:
        """As `drop`, but holders free them a little later, all together; at the latest before one is made again.

        An exchange frees one item of every worker with each of its tasks: a message for each would cost more than the
        tasks. Copies other than pinned ones are the caller's.
        """
        pinned = items[self.pinned_items(layer, items)]
        if pinned.size and layer.pinned is not None:
            self.drop_item_copies(layer, pinned)
            for a, b in items_to_intervals(pinned):
                layer.pinned.remove(a, b)
        holders, sizes = layer.holder[items], layer.size[items]
        self.defer_free(layer.key, holders, items)
        count = np.bincount(holders)
        nbytes = np.bincount(holders, weights=sizes)
        for index in np.flatnonzero(count).tolist():
            worker = self._by_index[index]
            worker.items -= int(count[index])
            worker.nbytes -= int(nbytes[index])
        layer.holder[items] = NO_WORKER
        layer.size[items] = 0

    def drop_item_copies(self, layer: LayerState, items: Items) -> None:
        """Forget all copies of these items, and have their workers free them."""
        copies, copy_holder = layer.copies or {}, layer.copy_holder
        if copy_holder is None:
            return
        items = items[copy_holder[items] != NO_WORKER]
        for item, known in zip(items.tolist(), copy_holder[items].tolist()):
            for index in list(copies) if known == MANY else [known]:
                intervals = copies.get(index)
                if intervals is not None and item in intervals:
                    self.free(self._by_index[index].name, layer.key, item, item + 1)
                    intervals.remove(item, item + 1)
                    if not intervals:
                        del copies[index]
        copy_holder[items] = NO_WORKER

    def pinned_items(self, layer: LayerState, items: Items) -> np.ndarray:
        """A mask: those of `items` whose copies are pinned."""
        if not layer.pinned:
            return np.zeros(items.size, bool)
        pinned = layer.pinned
        return np.fromiter((item in pinned for item in items.tolist()), bool, items.size)

    # -- what workers free --------------------------------------------------------------------------------------------

    def free(self, worker: str, key: Key, lo: int, hi: int) -> None:
        """Have the worker free lo..hi of the layer `key` at the end of this event."""
        layers = self.pending_frees.setdefault(worker, {})
        have = layers.get(key)
        if have is None:
            layers[key] = IntervalSet(lo, hi)
        else:
            have.add(lo, hi)

    def free_untracked(self, worker: WorkerState, key: Key, lo: int, hi: int) -> None:
        """Have the worker free what it may have beyond the tables, except what it is computing now."""
        untracked = IntervalSet(lo, hi)
        for batch in worker.batches.values():
            if batch.layer.key == key:
                untracked.remove(batch.lo, batch.hi)
        for a, b in untracked:
            self.free(worker.name, key, a, b)

    def defer_free(self, key: Key, holders: Any, items: Any) -> None:
        """Have each of `holders` (array of indices) free the item at its place in `items`, a little later."""
        if not self.deferred_frees:
            self._timers.start(DEFERRAL, flush_deferred, self._deferrals)
        self.deferred_frees.setdefault(key, []).append((holders, items))

    def flush_deferred(self, deferral: int) -> list[FreeRanges]:
        """As `take_deferred_frees`, unless that has been done since `deferral` was the number of times."""
        return self.take_deferred_frees() if deferral == self._deferrals else []

    def take_deferred_frees(self) -> list[FreeRanges]:
        """The instructions for all that `defer_free` has collected; nothing is left."""
        self._deferrals += 1
        found: dict[int, list[TaskRange]] = {}
        new = tuple.__new__  # what `TaskRange` calls itself
        for key, chunks in self.deferred_frees.items():
            for index, lo, hi in group_by_worker(chunks):
                ranges = found.get(index)
                if ranges is None:
                    ranges = found[index] = []
                ranges.append(new(TaskRange, (key, lo, hi)))
        self.deferred_frees = {}
        owners = self._by_index
        return [FreeRanges(owners[index].name, tuple(r)) for index, r in found.items() if index in owners]

    def take_pending_frees(self, workers: Container[str]) -> list[FreeRanges]:
        """The instructions to those of `workers` for all that `free` has collected; nothing is left."""
        taken = []
        for worker, layers in self.pending_frees.items():
            ranges = tuple([TaskRange(key, lo, hi) for key, parts in layers.items() for lo, hi in parts])
            if ranges and worker in workers:
                taken.append(FreeRanges(worker, ranges))
        self.pending_frees = {}
        return taken


def flush_deferred(state: SchedulerState, deferral: int) -> None:
    state.instructions += state.results.flush_deferred(deferral)
