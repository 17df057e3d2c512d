"""What clients request beside graphs: retries, copies on more workers, changes of slots; and who holds what.

Called by `scheduler` for the events of these names, and by `views`.
"""

from __future__ import annotations

from howdah.engine.protocol.events import CopiesMade, CopiesRequested, RetryRequested, SlotsChanged
from howdah.engine.protocol.layers import TaskRange
from howdah.engine.scheduler.core.dispatch import update_idle
from howdah.engine.scheduler.core.intervals import IntervalSet, group_equal
from howdah.engine.scheduler.core.state import SchedulerState
from howdah.engine.scheduler.core.tables import DONE, FAILED, IDLE
from howdah.engine.scheduler.core.transitions import Stack, drop_errors, request, transition


def on_retry_requested(state: SchedulerState, event: RetryRequested) -> None:
    """Compute again what has failed of the ranges, and whatever failed before it."""
    stack: Stack = []
    for task_range in event.ranges:
        layer = state.layers.get(task_range.layer)
        if layer is not None:
            stack.append((layer, max(task_range.start, 0), min(task_range.stop, layer.n)))
    run_failed_again(state, stack)


def run_failed_again(state: SchedulerState, stack: Stack) -> None:
    """Compute again what has failed of the items on the stack, and whatever failed before it. Empties the stack."""
    again: Stack = []
    while stack:
        layer, lo, hi = stack.pop()
        for a, b in layer.in_state(lo, hi, FAILED):
            state.notify_lost(layer, a, b)  # to its clients it is pending again
            transition(state, layer, a, b, FAILED, IDLE)
            drop_errors(layer, a, b)
            for past in (layer.user_failures, layer.infrastructure_failures, layer.worker_deaths):
                for item in range(a, b) if past else ():
                    past.pop(item, None)  # type: ignore[union-attr]  # not when it is None: see the line above
            again.append((layer, a, b))
            for edge in layer.inputs:
                stack.extend([(edge.source, c, d) for c, d in edge.wiring.cover(a, b)])
    again.reverse()  # what was asked for comes first, and requests its inputs itself
    request(state, again)


def on_copies_requested(state: SchedulerState, event: CopiesRequested) -> None:
    """Keep copies of these results from now on.

    Sent before they are made: a batch may fetch the same items meanwhile, and its copies would be freed when it ends.
    """
    for task_range in event.ranges:
        layer = state.layers.get(task_range.layer)
        if layer is not None:
            for a, b in layer.in_state(max(task_range.start, 0), min(task_range.stop, layer.n), DONE):
                state.results.pin_copies(layer, a, b)


def on_copies_made(state: SchedulerState, event: CopiesMade) -> None:
    """Enter the copies that the worker was asked to fetch; it frees what is no result any more."""
    worker = state.workers.get(event.worker)
    if worker is None:
        return
    for task_range in event.ranges:
        layer = state.layers.get(task_range.layer)
        if layer is None:
            state.results.free_untracked(worker, task_range.layer, task_range.start, task_range.stop)
            continue
        untracked = IntervalSet(task_range.start, task_range.stop)
        for a, b in layer.in_state(task_range.start, min(task_range.stop, layer.n), DONE):
            untracked.remove(a, b)
            for c, d, holder in group_equal(layer.holder, a, b):
                if holder != worker.index:
                    state.results.add_copies(layer, c, d, worker)
                    state.results.pin_copies(layer, c, d)
        for a, b in untracked:
            state.results.free_untracked(worker, layer.key, a, b)


def on_slots_changed(state: SchedulerState, event: SlotsChanged) -> None:
    """Update the worker's slots: a task has released its slot (it waits for tasks of its own), or taken it again."""
    worker = state.workers.get(event.worker)
    if worker is not None:
        slots = max(0, event.slots)
        state.slots += slots - worker.slots
        worker.slots = slots
        update_idle(state, worker)


def holders(state: SchedulerState, task_range: TaskRange) -> list[list[str]]:
    """Per item of the range the workers that hold it, copies included."""
    found: list[list[str]] = [[] for _ in range(len(task_range))]
    layer = state.layers.get(task_range.layer)
    if layer is None:
        return found
    hi = min(task_range.stop, layer.n)
    for a, b in layer.in_state(task_range.start, hi, DONE):
        for item in range(a, b):
            found[item - task_range.start].append(state.by_index[layer.holder[item]].name)
    for index, intervals in (layer.copies or {}).items():
        for a, b in intervals.overlap(task_range.start, hi):
            for item in range(a, b):
                found[item - task_range.start].append(state.by_index[index].name)
    return found


def held_by(state: SchedulerState) -> dict[str, list[TaskRange]]:
    """Per worker the ranges that it holds, copies included."""
    found: dict[str, list[TaskRange]] = {name: [] for name in state.workers}
    for layer in state.layers.values():
        for lo, hi in layer.in_state(0, layer.n, DONE):
            for a, b, holder in group_equal(layer.holder, lo, hi):
                found[state.by_index[holder].name].append(TaskRange(layer.key, a, b))
        for index, intervals in (layer.copies or {}).items():
            found[state.by_index[index].name] += [TaskRange(layer.key, a, b) for a, b in intervals]
    return found
