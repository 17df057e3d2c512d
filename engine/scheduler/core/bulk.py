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


def release_unneeded(core: SchedulerState, book: LayerState, items: Items) -> Items:
    """Drop those of `items` that have results which nobody needs, and copies; returns what is left to be settled."""
    if book.broadcast_refs:
        return items[:0]
    unneeded = items[book.dependent_refs[items] == 0]
    if not unneeded.size:
        return unneeded
    if book.copies and book.copy_holder is not None:
        _drop_copies(core, book, unneeded[~_asked(book, unneeded)])
    if book.interests:
        unneeded = unneeded[book.client_refs[unneeded] == 0]
    done = book.state[unneeded] == DONE
    dropped = unneeded[done]
    if dropped.size:
        asked = dropped[_asked(book, dropped)]
        if asked.size:
            _drop_copies(core, book, asked)
            for a, b in items_to_intervals(asked):
                book.replicated.remove(a, b)  # type: ignore[union-attr]  # else none would have been
        _drop_results(core, book, dropped)
    return unneeded[~done]


def _asked(book: LayerState, items: Items) -> np.ndarray:
    """Which of `items` somebody has asked copies of: these stay with the result."""
    if not book.replicated:
        return np.zeros(items.size, bool)
    asked = book.replicated
    return np.fromiter((item in asked for item in items.tolist()), bool, items.size)


def _drop_results(core: SchedulerState, book: LayerState, items: Items) -> None:
    holders, sizes = book.holder[items], book.size[items]
    core.defer_free_items(book.key, holders, items)
    count = np.bincount(holders)
    nbytes = np.bincount(holders, weights=sizes)
    for index in np.flatnonzero(count).tolist():
        worker = core.by_index[index]
        worker.items -= int(count[index])
        worker.nbytes -= int(nbytes[index])
    core.transition_items(book, items, items_to_intervals(items), DONE, IDLE)
    book.holder[items] = NOBODY
    book.size[items] = 0


def _drop_copies(core: SchedulerState, book: LayerState, items: Items) -> None:
    copies, copier = book.copies or {}, book.copy_holder
    assert copier is not None
    items = items[copier[items] != NOBODY]
    for item, who in zip(items.tolist(), copier[items].tolist()):
        for index in list(copies) if who == MANY else [who]:
            spans = copies.get(index)
            if spans is not None and item in spans:
                core.queue_free(core.by_index[index].name, book.key, item, item + 1)
                spans.remove(item, item + 1)
                if not spans:
                    del copies[index]
    copier[items] = NOBODY


# -- what runs fetch --------------------------------------------------------------------------------------------------


def sources(
    core: SchedulerState, book: LayerState, items: Items, mine: int
) -> tuple[list[tuple[int, int, str]], int, int]:
    """Who has those of `items` that worker `mine` lacks, as (start, stop, holder); bytes it has, bytes to be moved."""
    holders, sizes = book.holder[items], book.size[items]
    here = holders == mine
    local = int(sizes[here].sum())
    lacking = ~here & (holders != NOBODY)
    have = book.copies.get(mine) if book.copies else None
    if have is not None and book.copy_holder is not None:
        copier = book.copy_holder[items]
        for at in np.flatnonzero(lacking & ((copier == mine) | (copier == MANY))).tolist():
            lacking[at] = int(items[at]) not in have
    items, holders = items[lacking], holders[lacking]
    moved = int(sizes[lacking].sum())
    if not items.size:
        return [], local, moved
    starts, stops, at = interval_bounds(items, holders)
    names = core.by_index
    return [(a, b, names[h].name) for a, b, h in zip(starts, stops, holders[at].tolist())], local, moved


def record_copies(core: SchedulerState, worker: Worker, book: LayerState, items: Items) -> None:
    """What a run has fetched, its worker has now; what is no result any more, or not needed, it drops."""
    mine = worker.index
    done = book.state[items] == DONE
    theirs = done & (book.holder[items] != mine)
    needed = theirs if book.broadcast_refs else theirs & ((book.dependent_refs[items] > 0) | _asked(book, items))
    kept = items[needed]
    if kept.size:
        for a, b in items_to_intervals(kept):
            book.add_copies(a, b, mine)
    gone = items[~done]
    if gone.size:
        for run in worker.batches.values():
            if run.layer is book:  # it is making these now
                gone = gone[(gone < run.lo) | (gone >= run.hi)]
        core.defer_free_items(book.key, np.full(gone.size, mine), gone)
    stray = items[theirs & ~needed]
    if stray.size:
        for a, b in items_to_intervals(stray):
            core.free_untracked(worker, book.key, a, b)
