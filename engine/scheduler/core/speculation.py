"""A second batch for stragglers: an item that takes far longer than its layer's others is started once more elsewhere.

Off by default. The first of the two reports counts; the other batch is recalled, and what it computes nevertheless is
freed when it is reported (`recovery.stale_report`). Only batches of one item have copies: long tasks are such. Called
by `scheduler`.
"""

from __future__ import annotations

from howdah.engine.protocol.events import RecallBatch
from howdah.engine.scheduler.core import constraints, dispatch, recovery
from howdah.engine.scheduler.core.state import SchedulerState
from howdah.engine.scheduler.core.tables import DONE, RUNNING, LayerState, TaskBatch, WorkerState

FACTOR = 3.0
"""An item must have taken this many times its layer's estimate."""

MIN_SECONDS = 1.0
"""Seconds that an item must have taken at least."""

DONE_SHARE = 0.5
"""The share of its layer that must be done: only then is the estimate good."""


def start_speculative_copies(state: SchedulerState) -> None:
    """Start copies of stragglers on idle workers. Called with each `Tick`."""
    if state.ready or not state.idle:
        return
    for batch in list(state.batches.values()):
        if _is_straggler(state, batch):
            worker = next(
                (
                    w
                    for w in state.idle.values()
                    if w is not batch.worker and constraints.may_run(state, w, batch.layer.constraint)
                ),
                None,
            )
            if worker is not None:
                _start_copy(state, batch, worker)


def _is_straggler(state: SchedulerState, batch: TaskBatch) -> bool:
    layer: LayerState = batch.layer
    if (
        batch.hi - batch.lo > 1
        or batch.speculative_copy is not None
        or batch.recalled_at is not None
        or batch.depends_on
        or layer.task_seconds is None
    ):
        return False
    if layer.counts[DONE] < DONE_SHARE * layer.n or batch.worker.index in state.isolated_workers:
        return False
    return state.now - batch.started > max(MIN_SECONDS, FACTOR * layer.task_seconds)


def _start_copy(state: SchedulerState, batch: TaskBatch, worker: WorkerState) -> None:
    client = state.clients.get(batch.client)
    if client is None:
        return
    dispatch.dispatch_batch(state, client, worker, batch.layer, batch.lo, batch.hi, batch.group, (), RUNNING)
    duplicate = next(reversed(worker.batches.values()))
    batch.speculative_copy, duplicate.speculative_copy = duplicate, batch


def cancel_copy(state: SchedulerState, batch: TaskBatch) -> None:
    """End this batch, whose copy has reported, whatever its worker still does."""
    dispatch.finish_batch(state, batch)
    name = (batch.ident, batch.attempt)
    state.zombies.setdefault(batch.worker.name, {})[name] = recovery.zombie_of(batch)
    state.instructions.append(RecallBatch(batch.worker.name, *name))
