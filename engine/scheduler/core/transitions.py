"""The life of items: demanded, ready, done, failed, lost, dropped. Deterministic functions on the `SchedulerState`.

Three rules carry it:

- An item is *needed* while a client wants it or an unfinished item (waiting, ready, running) claims it as an input.
- Who becomes unfinished claims its inputs; who ends being unfinished gives the claims back.
- What is needed and has no result is made (`request`); what has a result, or is on its way to one, and is not needed
  is dropped (`release_unneeded`).

All work through explicit stacks of (book, lo, hi), so a chain of a million layers is no deeper than one of two.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

from howdah.engine.protocol.events import RecallBatch
from howdah.engine.protocol.patterns import distinct, to_intervals
from howdah.engine.scheduler.core import bulk as scattered
from howdah.engine.scheduler.core import placement
from howdah.engine.scheduler.core.bulk import FEW
from howdah.engine.scheduler.core.context import SchedulerState
from howdah.engine.scheduler.core.intervals import (
    Interval,
    IntervalSet,
    add,
    fill,
    group_equal,
    items_to_intervals,
    true_intervals,
)
from howdah.engine.scheduler.core.tables import (
    DONE,
    FAILED,
    IDLE,
    MANY,
    MAX_PIPELINED,
    NOBODY,
    READY,
    RUNNING,
    WAITING,
    Edge,
    FailureCause,
    LayerState,
)

Stack: TypeAlias = list[tuple[LayerState, Any, int]]
"""(book, lo, hi); for `release_unneeded` also (book, array of items, -1)."""


def add_counts(col: Any, reach: Any, sign: int) -> None:
    """Add `sign`, as often as `reach` says, to a column."""
    if isinstance(reach, list):
        for lo, hi, weight in reach:
            if hi - lo == 1:
                col[lo] += sign * weight
            else:
                add(col, lo, hi, sign * weight)
    elif isinstance(col, list) or reach.size <= FEW:
        for i in reach.tolist():
            col[i] += sign
    else:
        np.add.at(col, reach, sign)


def reach_intervals(reach: Any) -> list[Interval]:
    """The items of a reach as stretches (which may overlap where the reach's do)."""
    if isinstance(reach, list):
        return [(lo, hi) for lo, hi, _ in reach]
    if not reach.size:
        return []
    if reach.size <= FEW:
        return to_intervals(reach.tolist())
    items = distinct(reach)
    if items.size == 1:
        return [(int(items[0]), int(items[0]) + 1)]
    first = int(items[0])
    mask = np.zeros(int(items[-1]) - first + 1, bool)
    mask[items - first] = True
    return true_intervals(mask, first)


# -- towards a result -----------------------------------------------------------------------------------------------


def request(state: SchedulerState, stack: Stack) -> None:
    """The idle items on the stack are needed: they, and what they need, are made."""
    doomed: Stack = []
    while stack:
        layer, lo, hi = stack.pop()
        for a, b in layer.in_state(lo, hi, IDLE):
            enter_waiting(state, layer, a, b, IDLE, stack, doomed)
    for layer, lo, hi in doomed:
        fail_dependents(state, layer, lo, hi)


def enter_waiting(
    state: SchedulerState,
    layer: LayerState,
    lo: int,
    hi: int,
    old: int,
    stack: Stack,
    doomed: Stack,
    spread: bool = False,
) -> None:
    """lo..hi begin to wait: from IDLE they claim their inputs, from RUNNING they have kept their claims.

    Idle inputs go on the stack to be demanded; if an input has failed the items are `doomed`. With `spread` they go
    to any worker that is idle, wherever their inputs are.
    """
    state.transition(layer, lo, hi, old, WAITING)
    if not layer.inputs and hi <= layer.arrived and not layer.retry_at:
        make_ready(state, layer, lo, hi, spread)
        return
    if hi - lo == 1:
        layer.unfinished_deps[lo] = 0
    else:
        fill(layer.unfinished_deps, lo, hi, 0)
    if hi > layer.arrived:
        add(layer.unfinished_deps, max(lo, layer.arrived), hi, 1)
    for item in layer.retry_at or ():
        if lo <= item < hi:
            layer.unfinished_deps[item] += 1
    failed = False
    for edge in layer.inputs:
        source = edge.source
        counts = source.counts
        if edge.single:
            if old == IDLE:
                source.dependent_refs[0] += 1
            code = source.state[0]
            if code != DONE:
                layer.unfinished_deps[0] += 1
                if code == IDLE:
                    stack.append((source, 0, 1))
                elif code == FAILED:
                    failed = True
            continue
        if old == IDLE:
            if edge.broadcast:
                source.broadcast_refs += hi - lo
            else:
                add_counts(source.dependent_refs, edge.wiring.inputs(lo, hi), 1)
        if counts[DONE] < source.n:
            _count_missing(edge, lo, hi)
            if counts[IDLE]:
                stack.extend([(source, a, b) for a, b in edge.wiring.cover(lo, hi)])
            if counts[FAILED]:
                failed = True
    if failed:
        doomed.append((layer, lo, hi))
    for a, b in layer.runnable(lo, hi):
        make_ready(state, layer, a, b, spread)
    if layer.counts[WAITING] == layer.n <= MAX_PIPELINED and not failed:
        state.pipelining_candidates.append(layer)


def _count_missing(edge: Edge, lo: int, hi: int) -> None:
    source, target = edge.source, edge.target
    missing = target.unfinished_deps
    if edge.broadcast:
        add(missing, lo, hi, 1)
    elif source.small and target.small:
        code = source.state
        for i in range(lo, hi):
            reach = edge.wiring.inputs(i, i + 1)
            if isinstance(reach, list):
                missing[i] += sum([weight for a, b, weight in reach for j in range(a, b) if code[j] != DONE])
            else:
                missing[i] += sum([code[j] != DONE for j in reach.tolist()])
    else:
        absent = edge.wiring.gather(~source.done_flags(), lo, hi)
        if target.small:
            for i, count in enumerate(absent.tolist(), lo):
                missing[i] += int(count)
        else:
            missing[lo:hi] += absent


def make_ready(state: SchedulerState, layer: LayerState, lo: int, hi: int, spread: bool = False) -> None:
    state.transition(layer, lo, hi, WAITING, READY)
    placement.place(state, layer, lo, hi, spread)


def satisfy_dependents(state: SchedulerState, layer: LayerState, lo: int, hi: int) -> None:
    """lo..hi have results now: dependants become ready, clients hear of it."""
    for edge in layer.dependents:
        target = edge.target
        if not target.counts[WAITING]:
            continue
        if edge.single:
            target.unfinished_deps[0] -= 1
            if target.unfinished_deps[0] == 0 and target.state[0] == WAITING:
                make_ready(state, target, 0, 1)
            continue
        if edge.broadcast:
            if layer.counts[DONE] == layer.n:
                add(target.unfinished_deps, 0, target.n, -1)
                for a, b in target.runnable(0, target.n):
                    make_ready(state, target, a, b)
            continue
        reach = edge.wiring.dependants(lo, hi)
        add_counts(target.unfinished_deps, reach, -1)
        for first, last in reach_intervals(reach):
            for a, b in target.runnable(first, last):
                make_ready(state, target, a, b)
    if layer.interests:
        state.notify_done(layer, lo, hi)


# -- away from it ---------------------------------------------------------------------------------------------------


def release_inputs(layer: LayerState, lo: int, hi: int, stack: Stack) -> None:
    """lo..hi are no longer unfinished: their inputs may not be needed now, and go on the stack to be settled."""
    for edge in layer.inputs:
        source = edge.source
        if edge.single:
            source.dependent_refs[0] -= 1
            stack.append((source, 0, 1))
        elif edge.broadcast:
            source.broadcast_refs -= hi - lo
            if not source.broadcast_refs:
                stack.append((source, 0, source.n))
        else:
            add_counts(source.dependent_refs, edge.wiring.inputs(lo, hi), -1)
            many = scattered.inputs_of(edge, lo, hi)
            if many is not None:
                stack.append((source, many, -1))
                continue
            stack.extend([(source, a, b) for a, b in edge.wiring.cover(lo, hi)])


def release_unneeded(state: SchedulerState, stack: Stack) -> None:
    """What is on the stack and not needed (any more) is dropped."""
    while stack:
        layer, lo, hi = stack.pop()
        counts = layer.counts
        if (
            layer.n == 1
            and not layer.copies
            and (layer.dependent_refs[0] or layer.client_refs[0] or layer.broadcast_refs)
        ):
            continue  # somebody needs it: there is nothing to drop
        if hi < 0:
            rest = scattered.release_unneeded(state, layer, lo)
            stack.extend([(layer, a, b) for a, b in items_to_intervals(rest)] if rest.size else ())
            if counts[IDLE] == layer.n and not layer.interests:
                state.forget_candidates[layer] = None
            continue
        if counts[DONE]:
            for a, b in layer.unneeded(lo, hi, DONE):
                _drop_results(state, layer, a, b)
            if layer.copies:
                for a, b in layer.unneeded_by_tasks(lo, hi):
                    for c, d in layer.replicated.gaps(a, b) if layer.replicated else ((a, b),):
                        drop_copies(state, layer, c, d)
        for code in (WAITING, READY):
            if counts[code]:
                for a, b in layer.unneeded(lo, hi, code):
                    if code == READY:
                        placement.withdraw(layer, a, b)
                    state.transition(layer, a, b, code, IDLE)
                    release_inputs(layer, a, b, stack)
        if counts[FAILED]:
            for a, b in layer.unneeded(lo, hi, FAILED):
                state.transition(layer, a, b, FAILED, IDLE)
                drop_errors(layer, a, b)
        if counts[RUNNING]:
            _recall_useless(state, layer, lo, hi)
        if counts[IDLE] == layer.n and not layer.interests:
            state.forget_candidates[layer] = None


def _recall_useless(state: SchedulerState, layer: LayerState, lo: int, hi: int) -> None:
    """Ask runs back of which nothing is needed any more."""
    if not layer.unneeded(lo, hi, RUNNING):  # before all runs of the layer are looked at
        return
    for batch in layer.batches:
        if batch.recalled_at is not None or batch.lo >= hi or batch.hi <= lo:
            continue
        if layer.unneeded(batch.lo, batch.hi, RUNNING) == [(batch.lo, batch.hi)]:
            batch.recalled_at = state.now
            state.instructions.append(RecallBatch(batch.worker.name, batch.ident, batch.attempt))


def _drop_results(state: SchedulerState, layer: LayerState, lo: int, hi: int) -> None:
    if hi - lo == 1:
        worker = state.by_index[int(layer.holder[lo])]
        state.queue_free(worker.name, layer.key, lo, hi)
        worker.items -= 1
        worker.nbytes -= int(layer.size[lo])
    else:
        for a, b, holder in group_equal(layer.holder, lo, hi):
            worker = state.by_index[holder]
            state.queue_free(worker.name, layer.key, a, b)
            worker.items -= b - a
            worker.nbytes -= layer.result_bytes(a, b)
    if layer.copies:
        drop_copies(state, layer, lo, hi)
    forget_results(state, layer, lo, hi)


def forget_results(state: SchedulerState, layer: LayerState, lo: int, hi: int) -> None:
    state.transition(layer, lo, hi, DONE, IDLE)
    if layer.replicated:
        layer.replicated.remove(lo, hi)
    if hi - lo == 1:
        layer.holder[lo], layer.size[lo] = NOBODY, 0
    else:
        fill(layer.holder, lo, hi, NOBODY)
        fill(layer.size, lo, hi, 0)


def drop_copies(state: SchedulerState, layer: LayerState, lo: int, hi: int) -> None:
    copies, copier = layer.copies or {}, layer.copy_holder
    if copier is None:
        return
    if hi - lo == 1 and (only := int(copier[lo])) != MANY:
        if only != NOBODY:
            copier[lo] = NOBODY
            intervals = copies.get(only)
            if intervals is not None and lo in intervals:
                state.queue_free(state.by_index[only].name, layer.key, lo, hi)
                intervals.remove(lo, hi)
                if not intervals:
                    del copies[only]
        return
    for first, last, who in group_equal(copier, lo, hi):
        if who == NOBODY:
            continue
        for index in list(copies) if who == MANY else [who]:
            intervals = copies.get(index)
            if intervals is None:
                continue  # it has left
            for a, b in intervals.overlap(first, last):
                state.queue_free(state.by_index[index].name, layer.key, a, b)
            intervals.remove(first, last)
            if not intervals:
                del copies[index]
        fill(copier, first, last, NOBODY)


def drop_errors(layer: LayerState, lo: int, hi: int) -> None:
    errors = layer.errors or {}
    if hi - lo == 1 and lo in errors and errors[lo][0] == hi:
        del errors[lo]
        return
    for start, (stop, cause) in list(errors.items()):
        if start < hi and stop > lo:
            del errors[start]
            if start < lo:
                errors[start] = (lo, cause)
            if stop > hi:
                errors[hi] = (stop, cause)


def errors_in(layer: LayerState, lo: int, hi: int) -> list[tuple[int, int, FailureCause]]:
    """(start, stop, origin) of the failures within lo..hi."""
    errors = layer.errors or {}
    return [(max(lo, a), min(hi, b), cause) for a, (b, cause) in errors.items() if a < hi and b > lo]


def fail_items(state: SchedulerState, layer: LayerState, lo: int, hi: int, old: int, cause: FailureCause) -> None:
    """Those of lo..hi that are in state `old`, and whatever waits for them, will have no result."""
    to_release: Stack = []
    stack: Stack = []
    for a, b in layer.in_state(lo, hi, old):
        _fail_items(state, layer, a, b, old, cause, to_release)
        stack.append((layer, a, b))
    while stack:
        layer, lo, hi = stack.pop()
        for edge in layer.dependents:
            target = edge.target
            where = [(0, target.n)] if edge.broadcast else reach_intervals(edge.wiring.dependants(lo, hi))
            for first, last in where:
                for code in (WAITING, READY):
                    for a, b in target.in_state(first, last, code):
                        _fail_items(state, target, a, b, code, cause, to_release)
                        stack.append((target, a, b))
    release_unneeded(state, to_release)


def _fail_items(
    state: SchedulerState, layer: LayerState, lo: int, hi: int, old: int, cause: FailureCause, to_release: Stack
) -> None:
    if old == READY:
        placement.withdraw(layer, lo, hi)
    state.transition(layer, lo, hi, old, FAILED, why=f"{cause[0].kind}: {cause[0].message}"[:500])
    if layer.errors is None:
        layer.errors = {}
    layer.errors[lo] = (hi, cause)
    state.notify_failed(layer, lo, hi, cause)
    release_inputs(layer, lo, hi, to_release)
    to_release.append((layer, lo, hi))


def fail_dependents(state: SchedulerState, layer: LayerState, lo: int, hi: int) -> None:
    """Those of lo..hi that need a failed input fail with it."""
    for edge in layer.inputs:
        source = edge.source
        for first, last in edge.wiring.cover(lo, hi):
            for a, b, cause in errors_in(source, first, last):
                where = [(lo, hi)] if edge.broadcast else reach_intervals(edge.wiring.dependants(a, b))
                for start, stop in where:
                    for c, d in (
                        layer.in_state(max(start, lo), min(stop, hi), WAITING) if start < hi and stop > lo else ()
                    ):
                        fail_items(state, layer, c, d, WAITING, cause)


def mark_lost(state: SchedulerState, losses: Stack) -> None:
    """These results have no holder any more. Those that are still needed are made again, with all that takes."""
    for layer, lo, hi in losses:
        was_complete = layer.counts[DONE] == layer.n
        state.notify_lost(layer, lo, hi)
        forget_results(state, layer, lo, hi)
        for edge in layer.dependents:
            _set_back(state, edge, lo, hi, was_complete)
    again: Stack = []
    for layer, lo, hi in losses:
        again.extend([(layer, a, b) for a, b in _still_needed(layer, lo, hi)])
        state.forget_candidates[layer] = None
    request(state, again)


def _set_back(state: SchedulerState, edge: Edge, lo: int, hi: int, was_complete: bool) -> None:
    target = edge.target
    if not (target.counts[WAITING] or target.counts[READY]) or (edge.broadcast and not was_complete):
        return
    if edge.broadcast:
        add(target.unfinished_deps, 0, target.n, 1)
        where = [(0, target.n)]
    else:
        reach = edge.wiring.dependants(lo, hi)
        add_counts(target.unfinished_deps, reach, 1)
        where = reach_intervals(reach)
    for first, last in where:
        for a, b in target.in_state(first, last, READY):
            placement.withdraw(target, a, b)
            state.transition(target, a, b, READY, WAITING)


def _still_needed(layer: LayerState, lo: int, hi: int) -> list[Interval]:
    """What of lo..hi a client wants or a waiting item needs. (What runs has its inputs, or will ask again.)"""
    found = IntervalSet()
    for intervals in layer.interests.values():
        for a, b in intervals.overlap(lo, hi):
            found.add(a, b)
    for edge in layer.dependents:
        target = edge.target
        if not target.counts[WAITING]:
            continue
        if edge.broadcast:
            return [(lo, hi)]
        for first, last in reach_intervals(edge.wiring.dependants(lo, hi)):
            for a, b in target.in_state(first, last, WAITING):
                for c, d in edge.wiring.cover(a, b):
                    if c < hi and d > lo:
                        found.add(max(c, lo), min(d, hi))
    return list(found)
