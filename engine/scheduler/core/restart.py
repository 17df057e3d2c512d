"""The first seconds of a scheduler that was restarted: an inventory before anything is dispatched.

The new state has replayed the journal: it knows every layer, interest and failure, and no worker. What the workers of
the last epoch hold is adopted (`recovery.adopt_results`); the batches that they run are taken over here, under their
old numbers. Numbers of this epoch's own batches begin above all of the last one's, so no report can be mistaken for
another's. Until every worker has reported, or the grace has passed, nothing is dispatched: else what a late one holds
would be computed a second time. Then the clients are notified of what is pending again. Called by `scheduler` and
`recovery`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat

from howdah.engine.protocol.events import (
    ClientReturned,
    EpochOpened,
    NotifyLost,
    StateRestored,
    TaskError,
    TasksFailed,
)
from howdah.engine.protocol.layers import TaskRange
from howdah.engine.scheduler.core import placement
from howdah.engine.scheduler.core.dispatch import TARGET_SECONDS, update_idle
from howdah.engine.scheduler.core.intervals import IntervalSet, fill
from howdah.engine.scheduler.core.state import SchedulerState, ZombieBatch
from howdah.engine.scheduler.core.tables import (
    ANYWHERE,
    DONE,
    FAILED,
    IDLE,
    MAX_PIPELINED,
    READY,
    RUNNING,
    WAITING,
    LayerState,
    TaskBatch,
    WorkerState,
    spec_of,
)
from howdah.engine.scheduler.core.transitions import add_counts, errors_in, fail_items, transition

EPOCH_BITS = 32
"""Bits of a batch's number below its epoch's."""


def on_epoch_opened(state: SchedulerState, event: EpochOpened) -> None:
    """Begin the inventory: numbers of batches begin anew, and the workers of the last epoch are awaited."""
    state.epoch = event.epoch
    state.next_batch = event.epoch << EPOCH_BITS
    state.awaited_workers = set(event.workers) - state.workers.keys()
    state.timers.start(event.grace, _end_grace)


def _end_grace(state: SchedulerState) -> None:
    if state.awaited_workers is not None:
        state.awaited_workers.clear()


def is_taking_inventory(state: SchedulerState) -> bool:
    """Whether workers are still awaited. Ends the inventory, with the notifications that are due, when none is."""
    if state.awaited_workers:
        return True
    state.awaited_workers = None
    for layer in state.layers.values():
        if layer.host_sets is not None:  # without workers no host was worth waiting for
            for lo, hi in layer.in_state(0, layer.n, READY):
                placement.withdraw(layer, lo, hi)
                placement.place(state, layer, lo, hi)
        elif layer.resources and ANYWHERE in layer.ready:
            state.timers.start(placement.STUCK_WAIT, placement.notify_stuck, layer)
        if layer.n <= MAX_PIPELINED and layer.counts[WAITING] == layer.n:
            state.pipelining_candidates.append(layer)
        for client in layer.interests:
            notify_pending(state, layer, client)
    state.placement_version += 1
    return False


def on_client_returned(state: SchedulerState, event: ClientReturned) -> None:
    """Notify a client that reconnected of all that is true of its interests."""
    client = state.clients.get(event.client)
    for layer in client.layers if client is not None else ():
        for lo, hi in layer.interests.get(event.client, ()):
            for a, b in layer.in_state(lo, hi, DONE):
                state.notify_done(layer, a, b, event.client)
            for a, b, cause in errors_in(layer, lo, hi):
                state.notify_failed(layer, a, b, cause, event.client)
        if state.awaited_workers is None:
            notify_pending(state, layer, event.client)


def notify_pending(state: SchedulerState, layer: LayerState, client: str) -> None:
    """Notify the client that those of its items are pending which it may have been notified were done."""
    left = IntervalSet()
    for lo, hi in layer.interests.get(client, ()):
        left.add(lo, hi)
        for code in (DONE, FAILED):
            for a, b in layer.in_state(lo, hi, code):
                left.remove(a, b)
    state.instructions.extend([NotifyLost(client, TaskRange(layer.key, lo, hi)) for lo, hi in left])


def on_tasks_failed(state: SchedulerState, event: TasksFailed) -> None:
    """Restore a failure from the journal."""
    restore_failure(state, event.range, event.error, event.range)


def restore_failure(state: SchedulerState, task_range: TaskRange, error: TaskError, cause: TaskRange) -> None:
    """Fail the items of the range that are not done, with the error and the range that caused it."""
    layer = state.layers.get(task_range.layer)
    if layer is not None:
        for code in (READY, WAITING):
            fail_items(state, layer, task_range.start, min(task_range.stop, layer.n), code, (error, *cause))


# -- batches of the last epoch ----------------------------------------------------------------------------------------


def take_over_batches(
    state: SchedulerState,
    worker: WorkerState,
    running: Sequence[tuple[int, int]],
    ranges: Sequence[TaskRange],
    inputs: Sequence[tuple[TaskRange, ...]],
) -> None:
    """Continue batches of an earlier epoch where their items are still needed and nowhere else.

    Other batches of that kind become zombies: they are recalled, what they compute all the same is adopted if it comes
    in time, and what they fetch is freed. To be called before `recovery.reconcile_worker`.
    """
    for (ident, attempt), task_range, fetched in zip(running, ranges, inputs or repeat(())):
        if ident >> EPOCH_BITS >= state.epoch or not len(task_range) or ident in state.batches:
            continue
        layer = state.layers.get(task_range.layer)
        if (
            layer is None
            or not 0 <= task_range.start < task_range.stop <= layer.n
            or not _take_over_batch(state, worker, layer, task_range, ident, attempt)
        ):
            state.zombies.setdefault(worker.name, {})[ident, attempt] = ZombieBatch(task_range, fetched)


def _take_over_batch(
    state: SchedulerState, worker: WorkerState, layer: LayerState, task_range: TaskRange, ident: int, attempt: int
) -> bool:
    """Enter the batch under its old number; False if its items are not waiting or ready."""
    _, lo, hi = task_range
    if any(layer.in_state(lo, hi, code) for code in (RUNNING, DONE, FAILED)):
        return False
    wanted = layer.in_state(lo, hi, WAITING) + layer.in_state(lo, hi, READY)
    if not wanted or not layer.priorities:
        return False
    batch = TaskBatch(ident, attempt, layer, lo, hi, worker)
    client = state.clients[min(layer.priorities, key=layer.priorities.__getitem__)]
    batch.client, batch.started = client.name, state.now
    for a, b in layer.in_state(lo, hi, IDLE):  # the rest of the batch, which nothing needs, but which runs all the same
        transition(state, layer, a, b, IDLE, WAITING)
        _add_input_refs(layer, a, b)
    for code in (READY, WAITING):
        for a, b in layer.in_state(lo, hi, code):
            if code == READY:
                placement.withdraw(layer, a, b)
            transition(state, layer, a, b, code, RUNNING, batch)
    fill(layer.attempts, lo, hi, attempt)
    state.batches[ident] = worker.batches[ident] = batch
    layer.batches[batch] = None
    worker.backlog += TARGET_SECONDS
    client.running += 1
    for name, amount in layer.resources:
        worker.available[name] = worker.available.get(name, 0.0) - amount
    # When it ends, the worker has its inputs.
    batch.fetched = [(edge.source, a, b) for edge in layer.inputs for a, b in edge.wiring.cover(lo, hi)]
    update_idle(state, worker)
    return True


def _add_input_refs(layer: LayerState, lo: int, hi: int) -> None:
    """Add references to the inputs without requesting them: a worker that runs the items has the inputs, or reports
    them missing."""
    fill(layer.unfinished_deps, lo, hi, 0)
    for edge in layer.inputs:
        if edge.broadcast:
            edge.source.broadcast_refs += hi - lo
        else:
            add_counts(edge.source.dependent_refs, edge.wiring.inputs(lo, hi), 1)


# -- a snapshot -------------------------------------------------------------------------------------------------------


def snapshot(state: SchedulerState) -> StateRestored:
    """The event that brings a new state to where this one is, but for what workers know."""
    layers = list(state.layers.values())
    names = state.clients
    return StateRestored(
        tuple([spec_of(layer) for layer in layers]),
        tuple([(client.name, client.weight) for client in names.values()]),
        tuple([(name, layer.key, order) for layer in layers for name, order in layer.priorities.items()]),
        tuple([(name, _ranges_of_client(layers, name)) for name in names]),
        tuple(
            [
                (TaskRange(layer.key, lo, hi), error, TaskRange(key, first, last))
                for layer in layers
                for lo, (hi, (error, key, first, last)) in (layer.errors or {}).items()
            ]
        ),
    )


def _ranges_of_client(layers: Sequence[LayerState], client: str) -> tuple[TaskRange, ...]:
    return tuple([TaskRange(layer.key, lo, hi) for layer in layers for lo, hi in layer.interests.get(client, ())])
