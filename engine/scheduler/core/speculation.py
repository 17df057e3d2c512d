"""A second run for stragglers: an item that takes far longer than its layer's others is started once more elsewhere.

Off by default. The first of the two to report decides; the other is asked back, and what it makes nevertheless is
dropped when it reports (`recovery.late`). Only items that run alone have twins: long tasks do. Deterministic.
"""

from __future__ import annotations

from howdah.engine.protocol.events import RecallBatch
from howdah.engine.scheduler.core import constraints as needs
from howdah.engine.scheduler.core import dispatch as assign
from howdah.engine.scheduler.core import recovery
from howdah.engine.scheduler.core.context import SchedulerState
from howdah.engine.scheduler.core.tables import DONE, RUNNING, LayerState, TaskBatch, Worker

FACTOR = 3.0
"""So many times its layer's usual seconds an item must have taken."""

MIN_SECONDS = 1.0
"""Seconds that it must have taken at least."""

DONE_SHARE = 0.5
"""Of its layer that must be done: only then is it known what is usual."""


def start_speculative_copies(core: SchedulerState) -> None:
    """Start twins of stragglers on workers with nothing to do. Called now and then."""
    if core.ready or not core.idle:
        return
    for run in list(core.batches.values()):
        if _is_straggler(core, run):
            worker = next(
                (w for w in core.idle.values() if w is not run.worker and needs.may_run(core, w, run.layer.constraint)),
                None,
            )
            if worker is not None:
                _start_copy(core, run, worker)


def _is_straggler(core: SchedulerState, run: TaskBatch) -> bool:
    book: LayerState = run.layer
    if (
        run.hi - run.lo > 1
        or run.speculative_copy is not None
        or run.recalled_at is not None
        or run.depends_on
        or book.task_seconds is None
    ):
        return False
    if book.counts[DONE] < DONE_SHARE * book.n or run.worker.index in core.isolated_workers:
        return False
    return core.now - run.started > max(MIN_SECONDS, FACTOR * book.task_seconds)


def _start_copy(core: SchedulerState, run: TaskBatch, worker: Worker) -> None:
    client = core.clients.get(run.client)
    if client is None:
        return
    assign.dispatch_batch(core, client, worker, run.layer, run.lo, run.hi, run.group, (), RUNNING)
    twin = next(reversed(worker.batches.values()))
    run.speculative_copy, twin.speculative_copy = twin, run


def cancel_copy(core: SchedulerState, run: TaskBatch) -> None:
    """The run's twin has reported: this one is over, whatever it still does."""
    assign.finish_batch(core, run)
    name = (run.ident, run.attempt)
    core.zombies.setdefault(run.worker.name, {})[name] = recovery.zombie_of(run)
    core.instructions.append(RecallBatch(run.worker.name, *name))
