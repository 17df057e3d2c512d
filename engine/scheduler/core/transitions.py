"""The states of items: the transition table, and every rule that moves an item from one state to another.

Called by the other rule modules of this folder, with ranges of items. `transition` refuses a step that is not in the
table; nothing else writes the column `state`.

Theory of operation
-------------------
The scheduler is a function of the events that it has received. It owns no socket, reads no clock and uses no random
numbers: the same events at the same times give the same instructions (`howdah.engine.protocol.events` defines both).
Workers decide nothing: they run what `StartBatch` names, keep what they computed and fetched until `FreeRanges` names
it, and report.

*Items* are addressed by layer and number, and are in one of six states, kept in a column per layer
(`tables.LayerState`). These are all the steps that an item can make:

>>> print(transition_table())
    idle -> waiting  a client or an unfinished item needs it; it adds references to its inputs
 waiting -> ready    all its inputs have results
   ready -> waiting  an input was lost with its worker
   ready -> running  dispatched to a worker, as part of a batch
 waiting -> running  dispatched to the worker that computes its inputs, to run after them
 running -> waiting  given back, its worker died, its inputs could not be fetched, or it failed and may run again
 running -> done     the worker has the result; the references to its inputs end
 waiting -> done     a worker that reconnected holds the result
   ready -> done     a worker that reconnected holds the result
 running -> failed   it raised, or too many workers died while they ran it
 waiting -> failed   an input failed, or it was cancelled
   ready -> failed   it was cancelled
 waiting -> idle     nothing needs it any more
   ready -> idle     nothing needs it any more
 running -> idle     nothing needs it any more, and it was not begun
    done -> idle     nothing needs it any more, or the result was lost
  failed -> idle     no client needs it any more

*References* move everything. An item is needed while a client has an interest in it (`client_refs`) or an unfinished
item (waiting, ready, running) has it as an input (`dependent_refs`, `broadcast_refs`). An item that becomes unfinished
adds references to its inputs; one that ends being unfinished removes them. What is needed and idle is requested, with
its inputs (`request`); what is not needed is dropped at once (`release_unneeded`). So culling, release, cancellation
and recovery from losses are one mechanism: a lost result is an idle item that is needed.

*Batches* are neighbouring ready items of one group, dispatched to one worker (`placement`, `dispatch`). A batch has a
number and an attempt; a report about any other is ignored, and counted. A batch that ends early gives its items back.

*Chains* need no message between their links: what waits for batches of one worker only is dispatched to it ahead
(`pipelining`).

*Clients* take turns by virtual time. Layers of one graph run depth first: what is nearer to the end runs first, so that
memory follows need.

*A restart* is the same events once more: a new state replays its journal, then receives what its workers hold and run;
until they have reported it dispatches nothing (`restart`).

*Layers* are forgotten when no client has an interest in an item of them, nothing of them is unfinished or kept, and no
known layer depends on them: the ancestors of a known layer are its lineage (`submission.forget_layers`).

What the table does not cover: where a result is (`results`), the order in which ready items run (`placement`), and
whether a worker still runs what the scheduler has given up (`recovery`: zombies).

All work goes through explicit stacks of (layer, lo, hi), so a chain of a million layers is no deeper than one of two.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

from howdah.engine.protocol.events import RecallBatch
from howdah.engine.protocol.patterns import distinct, to_intervals
from howdah.engine.scheduler.core import placement
from howdah.engine.scheduler.core.bulk import FEW, scattered_inputs
from howdah.engine.scheduler.core.intervals import (
    Interval,
    IntervalSet,
    Items,
    add,
    fill,
    items_to_intervals,
    true_intervals,
)
from howdah.engine.scheduler.core.state import SchedulerState
from howdah.engine.scheduler.core.tables import (
    DONE,
    FAILED,
    IDLE,
    MAX_PIPELINED,
    READY,
    RUNNING,
    STATE_NAMES,
    WAITING,
    Edge,
    FailureCause,
    LayerState,
    TaskBatch,
    WorkerState,
)

TRANSITIONS: dict[tuple[int, int], str] = {
    (IDLE, WAITING): "a client or an unfinished item needs it; it adds references to its inputs",
    (WAITING, READY): "all its inputs have results",
    (READY, WAITING): "an input was lost with its worker",
    (READY, RUNNING): "dispatched to a worker, as part of a batch",
    (WAITING, RUNNING): "dispatched to the worker that computes its inputs, to run after them",
    (RUNNING, WAITING): (
        "given back, its worker died, its inputs could not be fetched, or it failed and may run again"
    ),
    (RUNNING, DONE): "the worker has the result; the references to its inputs end",
    (WAITING, DONE): "a worker that reconnected holds the result",
    (READY, DONE): "a worker that reconnected holds the result",
    (RUNNING, FAILED): "it raised, or too many workers died while they ran it",
    (WAITING, FAILED): "an input failed, or it was cancelled",
    (READY, FAILED): "it was cancelled",
    (WAITING, IDLE): "nothing needs it any more",
    (READY, IDLE): "nothing needs it any more",
    (RUNNING, IDLE): "nothing needs it any more, and it was not begun",
    (DONE, IDLE): "nothing needs it any more, or the result was lost",
    (FAILED, IDLE): "no client needs it any more",
}
"""(from, to): why. An item makes no other step; `transition` refuses."""

STATES = len(STATE_NAMES)

STEPS = [
    (STATE_NAMES[a], STATE_NAMES[b]) if (a, b) in TRANSITIONS else None for a in range(STATES) for b in range(STATES)
]
"""The names of from and to at `STATES * from + to`; None where there is no such step."""

Stack: TypeAlias = list[tuple[LayerState, Any, int]]
"""(layer, lo, hi); for `release_unneeded` also (layer, array of items, -1)."""


def transition_table() -> str:
    """The transitions, as printed in the documentation."""
    return "\n".join(f"{STATE_NAMES[a]:>8} -> {STATE_NAMES[b]:<8} {why}" for (a, b), why in TRANSITIONS.items())


def transition(
    state: SchedulerState,
    layer: LayerState,
    lo: int,
    hi: int,
    old: int,
    new: int,
    batch: TaskBatch | None = None,
    reason: str = "",
) -> None:
    """Move all of lo..hi from `old` to `new`; `batch` is the one that was dispatched or has ended, if one was."""
    step = STEPS[STATES * old + new]
    if step is None:
        raise RuntimeError(f"no transition from {STATE_NAMES[old]} to {STATE_NAMES[new]} (layer {layer.name})")
    count = hi - lo
    if batch is None:
        state.history.record(state.now, layer.key, layer.name, lo, hi, step, "", 0, 0, reason)
    else:
        state.history.record(
            state.now, layer.key, layer.name, lo, hi, step, batch.worker.name, batch.ident, batch.attempt, reason
        )
    if count == 1:
        layer.state[lo] = new
    else:
        fill(layer.state, lo, hi, new)
    counts = layer.counts
    counts[old] -= count
    counts[new] += count
    if new == READY:
        state.ready += count
    elif old == READY:
        state.ready -= count


def transition_items(state: SchedulerState, layer: LayerState, items: Items, old: int, new: int) -> None:
    """Move an array of items from `old` to `new`, neither of which is READY."""
    step = STEPS[STATES * old + new]
    if step is None or READY in (old, new):
        raise RuntimeError(f"no transition from {STATE_NAMES[old]} to {STATE_NAMES[new]} (layer {layer.name})")
    state.history.record_all(state.now, layer.key, layer.name, items_to_intervals(items), step)
    layer.state[items] = new
    layer.counts[old] -= items.size
    layer.counts[new] += items.size


# -- reaches of patterns ----------------------------------------------------------------------------------------------


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
    """The items of a reach as intervals (which may overlap where the reach's do)."""
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


# -- towards a result -------------------------------------------------------------------------------------------------


def request(state: SchedulerState, stack: Stack) -> None:
    """Make the idle items on the stack, and what they need, wait for their inputs."""
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
    """Make lo..hi wait: from IDLE they add references to their inputs, from RUNNING they have kept theirs.

    Idle inputs go on the stack to be requested; if an input has failed the items go on `doomed`. With `spread` they go
    to any idle worker, wherever their inputs are.
    """
    transition(state, layer, lo, hi, old, WAITING)
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
    """Count the inputs that have no result."""
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
    """Move lo..hi from WAITING to READY and enqueue them."""
    transition(state, layer, lo, hi, WAITING, READY)
    placement.place(state, layer, lo, hi, spread)


def record_results(
    state: SchedulerState,
    layer: LayerState,
    lo: int,
    hi: int,
    old: int,
    worker: WorkerState,
    sizes: tuple[int, ...],
    batch: TaskBatch | None = None,
) -> None:
    """lo..hi, in state `old`, have results of these sizes on the worker: dependents become ready, inputs may be
    dropped."""
    if old == READY:
        placement.withdraw(layer, lo, hi)
    if layer.worker_deaths:
        for item in [item for item in layer.worker_deaths if lo <= item < hi]:
            del layer.worker_deaths[item]
    transition(state, layer, lo, hi, old, DONE, batch)
    state.results.record(layer, lo, hi, worker, sizes)
    if layer.dependents or layer.interests:
        satisfy_dependents(state, layer, lo, hi)
    to_release: Stack = []
    if layer.inputs:
        release_inputs(layer, lo, hi, to_release)
    for a, b in layer.unneeded(lo, hi, DONE):
        to_release.append((layer, a, b))
    if to_release:
        release_unneeded(state, to_release)


def satisfy_dependents(state: SchedulerState, layer: LayerState, lo: int, hi: int) -> None:
    """lo..hi have results now: dependents become ready, clients are notified."""
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
        reach = edge.wiring.dependents(lo, hi)
        add_counts(target.unfinished_deps, reach, -1)
        for first, last in reach_intervals(reach):
            for a, b in target.runnable(first, last):
                make_ready(state, target, a, b)
    if layer.interests:
        state.notify_done(layer, lo, hi)


# -- away from it ---------------------------------------------------------------------------------------------------


def release_inputs(layer: LayerState, lo: int, hi: int, stack: Stack) -> None:
    """lo..hi are no longer unfinished: remove their references; inputs that may be unneeded go on the stack."""
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
            many = scattered_inputs(edge, lo, hi)
            if many is not None:
                stack.append((source, many, -1))
                continue
            stack.extend([(source, a, b) for a, b in edge.wiring.cover(lo, hi)])


def release_unneeded(state: SchedulerState, stack: Stack) -> None:
    """Drop what is on the stack and not needed (any more)."""
    results = state.results
    while stack:
        layer, lo, hi = stack.pop()
        counts = layer.counts
        if (
            layer.n == 1
            and not layer.copies
            and (layer.dependent_refs[0] or layer.client_refs[0] or layer.broadcast_refs)
        ):
            continue  # it is needed: there is nothing to drop
        if hi < 0:
            rest = _drop_unneeded_items(state, layer, lo)
            stack.extend([(layer, a, b) for a, b in items_to_intervals(rest)] if rest.size else ())
            if counts[IDLE] == layer.n and not layer.interests:
                state.forget_candidates[layer] = None
            continue
        if counts[DONE]:
            for a, b in layer.unneeded(lo, hi, DONE):
                results.drop(layer, a, b)
                transition(state, layer, a, b, DONE, IDLE)
            if layer.copies:
                for a, b in layer.unneeded_by_tasks(lo, hi):
                    for c, d in layer.pinned.gaps(a, b) if layer.pinned else ((a, b),):
                        results.drop_copies(layer, c, d)
        for code in (WAITING, READY):
            if counts[code]:
                for a, b in layer.unneeded(lo, hi, code):
                    if code == READY:
                        placement.withdraw(layer, a, b)
                    transition(state, layer, a, b, code, IDLE)
                    release_inputs(layer, a, b, stack)
        if counts[FAILED]:
            for a, b in layer.unneeded(lo, hi, FAILED):
                transition(state, layer, a, b, FAILED, IDLE)
                drop_errors(layer, a, b)
        if counts[RUNNING]:
            _recall_useless(state, layer, lo, hi)
        if counts[IDLE] == layer.n and not layer.interests:
            state.forget_candidates[layer] = None


def _drop_unneeded_items(state: SchedulerState, layer: LayerState, items: Items) -> Items:
    """Drop those of `items` that have results which nothing needs, and copies; return those that have none."""
    if layer.broadcast_refs:
        return items[:0]
    unneeded = items[layer.dependent_refs[items] == 0]
    if not unneeded.size:
        return unneeded
    results = state.results
    if layer.copies:
        results.drop_item_copies(layer, unneeded[~results.pinned_items(layer, unneeded)])
    if layer.interests:
        unneeded = unneeded[layer.client_refs[unneeded] == 0]
    done = layer.state[unneeded] == DONE
    dropped = unneeded[done]
    if dropped.size:
        results.drop_items(layer, dropped)
        transition_items(state, layer, dropped, DONE, IDLE)
    return unneeded[~done]


def _recall_useless(state: SchedulerState, layer: LayerState, lo: int, hi: int) -> None:
    """Recall batches of which nothing is needed any more."""
    if not layer.unneeded(lo, hi, RUNNING):  # before all batches of the layer are visited
        return
    for batch in layer.batches:
        if batch.recalled_at is not None or batch.lo >= hi or batch.hi <= lo:
            continue
        if layer.unneeded(batch.lo, batch.hi, RUNNING) == [(batch.lo, batch.hi)]:
            batch.recalled_at = state.now
            state.instructions.append(RecallBatch(batch.worker.name, batch.ident, batch.attempt))


def drop_errors(layer: LayerState, lo: int, hi: int) -> None:
    """Forget the errors of lo..hi."""
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
    """(start, stop, cause) of the failures within lo..hi."""
    errors = layer.errors or {}
    return [(max(lo, a), min(hi, b), cause) for a, (b, cause) in errors.items() if a < hi and b > lo]


def fail_items(state: SchedulerState, layer: LayerState, lo: int, hi: int, old: int, cause: FailureCause) -> None:
    """Fail those of lo..hi that are in state `old`, and whatever waits for them."""
    to_release: Stack = []
    stack: Stack = []
    for a, b in layer.in_state(lo, hi, old):
        _fail_items(state, layer, a, b, old, cause, to_release)
        stack.append((layer, a, b))
    while stack:
        layer, lo, hi = stack.pop()
        for edge in layer.dependents:
            target = edge.target
            where = [(0, target.n)] if edge.broadcast else reach_intervals(edge.wiring.dependents(lo, hi))
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
    transition(state, layer, lo, hi, old, FAILED, reason=f"{cause[0].kind}: {cause[0].message}"[:500])
    if layer.errors is None:
        layer.errors = {}
    layer.errors[lo] = (hi, cause)
    state.notify_failed(layer, lo, hi, cause)
    release_inputs(layer, lo, hi, to_release)
    to_release.append((layer, lo, hi))


def fail_dependents(state: SchedulerState, layer: LayerState, lo: int, hi: int) -> None:
    """Fail those of lo..hi that need a failed input."""
    for edge in layer.inputs:
        source = edge.source
        for first, last in edge.wiring.cover(lo, hi):
            for a, b, cause in errors_in(source, first, last):
                where = [(lo, hi)] if edge.broadcast else reach_intervals(edge.wiring.dependents(a, b))
                for start, stop in where:
                    for c, d in (
                        layer.in_state(max(start, lo), min(stop, hi), WAITING) if start < hi and stop > lo else ()
                    ):
                        fail_items(state, layer, c, d, WAITING, cause)


def reschedule(state: SchedulerState, layer: LayerState, lo: int, hi: int, spread: bool = False) -> None:
    """Items of lo..hi that a worker will not finish begin again, or are dropped if nothing needs them."""
    to_release: Stack = []
    again: Stack = []
    doomed: Stack = []
    for a, b in layer.unneeded(lo, hi, RUNNING):
        transition(state, layer, a, b, RUNNING, IDLE)
        release_inputs(layer, a, b, to_release)
    for a, b in layer.in_state(lo, hi, RUNNING):
        enter_waiting(state, layer, a, b, RUNNING, again, doomed, spread)
    request(state, again)
    for layer_, a, b in doomed:
        fail_dependents(state, layer_, a, b)
    to_release.append((layer, lo, hi))
    release_unneeded(state, to_release)


def mark_lost(state: SchedulerState, losses: Stack) -> None:
    """Forget results that have no holder any more. Those that are still needed are computed again, with all that
    takes."""
    for layer, lo, hi in losses:
        was_complete = layer.counts[DONE] == layer.n
        state.notify_lost(layer, lo, hi)
        state.results.forget(layer, lo, hi)
        transition(state, layer, lo, hi, DONE, IDLE)
        for edge in layer.dependents:
            _set_back(state, edge, lo, hi, was_complete)
    again: Stack = []
    for layer, lo, hi in losses:
        again.extend([(layer, a, b) for a, b in _still_needed(layer, lo, hi)])
        state.forget_candidates[layer] = None
    request(state, again)


def _set_back(state: SchedulerState, edge: Edge, lo: int, hi: int, was_complete: bool) -> None:
    """Make the ready dependents of lost items wait again."""
    target = edge.target
    if not (target.counts[WAITING] or target.counts[READY]) or (edge.broadcast and not was_complete):
        return
    if edge.broadcast:
        add(target.unfinished_deps, 0, target.n, 1)
        where = [(0, target.n)]
    else:
        reach = edge.wiring.dependents(lo, hi)
        add_counts(target.unfinished_deps, reach, 1)
        where = reach_intervals(reach)
    for first, last in where:
        for a, b in target.in_state(first, last, READY):
            placement.withdraw(target, a, b)
            transition(state, target, a, b, READY, WAITING)


def _still_needed(layer: LayerState, lo: int, hi: int) -> list[Interval]:
    """The part of lo..hi that a client or a waiting item needs. (What runs has its inputs, or will report them
    missing.)"""
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
        for first, last in reach_intervals(edge.wiring.dependents(lo, hi)):
            for a, b in target.in_state(first, last, WAITING):
                for c, d in edge.wiring.cover(a, b):
                    if c < hi and d > lo:
                        found.add(max(c, lo), min(d, hi))
    return list(found)
