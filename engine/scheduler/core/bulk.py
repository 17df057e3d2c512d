"""Many scattered items of one layer at once: what an exchange touches with every task.

A task that needs one item of each of a thousand batches would cost a thousand steps of each kind if its inputs were
visited as intervals. Here they are index arrays (ascending, each item once), and a step is a few array operations. The
rules are those of `transitions` and `dispatch`, which call these functions.
"""

from __future__ import annotations

import numpy as np

from howdah.engine.protocol.patterns import distinct
from howdah.engine.scheduler.core.intervals import Items, interval_bounds, items_to_intervals
from howdah.engine.scheduler.core.state import SchedulerState
from howdah.engine.scheduler.core.tables import DONE, MANY, NO_WORKER, Edge, LayerState, WorkerState

FEW = 16
"""Up to so many items intervals are cheaper."""


def scattered_inputs(edge: Edge, lo: int, hi: int) -> Items | None:
    """The inputs of lo..hi as an array, if they are many and scattered; else None."""
    if edge.broadcast or edge.source.small:
        return None
    needed = edge.wiring.inputs(lo, hi)
    if isinstance(needed, list) or needed.size <= FEW:
        return None
    items = distinct(needed)
    if int(items[-1]) - int(items[0]) < 2 * items.size:  # neighbours: intervals are shorter
        return None
    return items


# -- what runs fetch --------------------------------------------------------------------------------------------------


def scattered_sources(
    state: SchedulerState, layer: LayerState, items: Items, mine: int
) -> tuple[list[tuple[int, int, str]], int, int]:
    """The holders of those of `items` that the worker `mine` lacks, as (start, stop, name); bytes that it has, bytes to
    be moved."""
    holders, sizes = layer.holder[items], layer.size[items]
    here = holders == mine
    local = int(sizes[here].sum())
    lacking = ~here & (holders != NO_WORKER)
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


def record_scattered_copies(state: SchedulerState, worker: WorkerState, layer: LayerState, items: Items) -> None:
    """As `dispatch.record_copies`, for an array of fetched items."""
    mine, results = worker.index, state.results
    done = layer.state[items] == DONE
    theirs = done & (layer.holder[items] != mine)
    needed = (
        theirs
        if layer.broadcast_refs
        else theirs & ((layer.dependent_refs[items] > 0) | results.pinned_items(layer, items))
    )
    kept = items[needed]
    if kept.size:
        for a, b in items_to_intervals(kept):
            results.add_copies(layer, a, b, worker)
    gone = items[~done]
    if gone.size:
        for batch in worker.batches.values():
            if batch.layer is layer:  # it is computing these now
                gone = gone[(gone < batch.lo) | (gone >= batch.hi)]
        results.defer_free(layer.key, np.full(gone.size, mine), gone)
    untracked = items[theirs & ~needed]
    if untracked.size:
        for a, b in items_to_intervals(untracked):
            results.free_untracked(worker, layer.key, a, b)
