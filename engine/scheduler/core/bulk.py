"""Many items of one layer that do not stand together, at once: what an exchange touches with every task.

A task that needs one item of each of a thousand runs would cost a thousand steps of each kind if its inputs were gone
through as stretches. Here they are index arrays (ascending, each item once), and a step is a few array operations.
The rules are those of `lifecycle` and `assign`, whose functions call these. Deterministic functions on the
`SchedulerState`.
"""

from __future__ import annotations

import numpy as np

from howdah.engine.protocol.patterns import distinct
from howdah.engine.scheduler.core.context import SchedulerState
from howdah.engine.scheduler.core.intervals import Items, interval_bounds, items_to_intervals
from howdah.engine.scheduler.core.tables import DONE, IDLE, MANY, NOBODY, Edge, LayerState, Worker

FEW = 16
"""Items up to which it is not worth while."""


def inputs_of(edge: Edge, lo: int, hi: int) -> Items | None:
    """The inputs of lo..hi as an array, if they are many and scattered; else None."""
    if edge.broadcast or edge.source.small:
        return None
    needed = edge.wiring.inputs(lo, hi)
    if isinstance(needed, list) or needed.size <= FEW:
        return None
    items = distinct(needed)
    if int(items[-1]) - int(items[0]) < 2 * items.size:  # next to each other: stretches say it shorter
        return None
    return items


# -- what may be dropped ----------------------------------------------------------------------------------------------


def release_unneeded(state: SchedulerState, layer: LayerState, items: Items) -> Items:
    """Drop those of `items` that have results which nobody needs, and copies; returns what is left to be settled."""
    if layer.broadcast_refs:
        return items[:0]
    unneeded = items[layer.dependent_refs[items] == 0]
    if not unneeded.size:
        return unneeded
    if layer.copies and layer.copy_holder is not None:
        _drop_copies(state, layer, unneeded[~_asked(layer, unneeded)])
    if layer.interests:
        unneeded = unneeded[layer.client_refs[unneeded] == 0]
    done = layer.state[unneeded] == DONE
    dropped = unneeded[done]
    if dropped.size:
        asked = dropped[_asked(layer, dropped)]
        if asked.size:
            _drop_copies(state, layer, asked)
            for a, b in items_to_intervals(asked):
                layer.replicated.remove(a, b)  # type: ignore[union-attr]  # else none would have been
        _drop_results(state, layer, dropped)
    return unneeded[~done]


def _asked(layer: LayerState, items: Items) -> np.ndarray:
    """Which of `items` somebody has asked copies of: these stay with the result."""
    if not layer.replicated:
        return np.zeros(items.size, bool)
    asked = layer.replicated
    return np.fromiter((item in asked for item in items.tolist()), bool, items.size)


def _drop_results(state: SchedulerState, layer: LayerState, items: Items) -> None:
    holders, sizes = layer.holder[items], layer.size[items]
    state.defer_free_items(layer.key, holders, items)
    count = np.bincount(holders)
    nbytes = np.bincount(holders, weights=sizes)
    for index in np.flatnonzero(count).tolist():
        worker = state.by_index[index]
        worker.items -= int(count[index])
        worker.nbytes -= int(nbytes[index])
    state.transition_items(layer, items, items_to_intervals(items), DONE, IDLE)
    layer.holder[items] = NOBODY
    layer.size[items] = 0


def _drop_copies(state: SchedulerState, layer: LayerState, items: Items) -> None:
    copies, copier = layer.copies or {}, layer.copy_holder
    assert copier is not None
    items = items[copier[items] != NOBODY]
    for item, who in zip(items.tolist(), copier[items].tolist()):
        for index in list(copies) if who == MANY else [who]:
            intervals = copies.get(index)
            if intervals is not None and item in intervals:
                state.queue_free(state.by_index[index].name, layer.key, item, item + 1)
                intervals.remove(item, item + 1)
                if not intervals:
                    del copies[index]
    copier[items] = NOBODY


# -- what runs fetch --------------------------------------------------------------------------------------------------


def sources(
    state: SchedulerState, layer: LayerState, items: Items, mine: int
) -> tuple[list[tuple[int, int, str]], int, int]:
    """Who has those of `items` that worker `mine` lacks, as (start, stop, holder); bytes it has, bytes to be moved."""
    holders, sizes = layer.holder[items], layer.size[items]
    here = holders == mine
    local = int(sizes[here].sum())
    lacking = ~here & (holders != NOBODY)
    have = layer.copies.get(mine) if layer.copies else None
    if have is not None and layer.copy_holder is not None:
        copier = layer.copy_holder[items]
        for at in np.flatnonzero(lacking & ((copier == mine) | (copier == MANY))).tolist():
            lacking[at] = int(items[at]) not in have
    items, holders = items[lacking], holders[lacking]
    moved = int(sizes[lacking].sum())
    if not items.size:
        return [], local, moved
    starts, stops, at = interval_bounds(items, holders)
    names = state.by_index
    return [(a, b, names[h].name) for a, b, h in zip(starts, stops, holders[at].tolist())], local, moved


def record_copies(state: SchedulerState, worker: Worker, layer: LayerState, items: Items) -> None:
    """What a run has fetched, its worker has now; what is no result any more, or not needed, it drops."""
    mine = worker.index
    done = layer.state[items] == DONE
    theirs = done & (layer.holder[items] != mine)
    needed = theirs if layer.broadcast_refs else theirs & ((layer.dependent_refs[items] > 0) | _asked(layer, items))
    kept = items[needed]
    if kept.size:
        for a, b in items_to_intervals(kept):
            layer.add_copies(a, b, mine)
    gone = items[~done]
    if gone.size:
        for batch in worker.batches.values():
            if batch.layer is layer:  # it is making these now
                gone = gone[(gone < batch.lo) | (gone >= batch.hi)]
        state.defer_free_items(layer.key, np.full(gone.size, mine), gone)
    untracked = items[theirs & ~needed]
    if untracked.size:
        for a, b in items_to_intervals(untracked):
            state.free_untracked(worker, layer.key, a, b)
