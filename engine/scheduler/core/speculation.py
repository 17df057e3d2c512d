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

LEAST = 1.0
"""Seconds that it must have taken at least."""

DONE_SHARE = 0.5
"""Of its layer that must be done: only then is it known what is usual."""


def look(core: SchedulerState) -> None:
    """Start twins of stragglers on workers with nothing to do. Called now and then."""
    if core.ready or not core.idle:
        return
    for run in list(core.runs.values()):
        if _straggles(core, run):
            worker = next(
                (w for w in core.idle.values() if w is not run.worker and needs.may_run(core, w, run.book.asks)), None
            )
            if worker is not None:
                _begin_twin(core, run, worker)


def _straggles(core: SchedulerState, run: TaskBatch) -> bool:
    book: LayerState = run.book
    if run.hi - run.lo > 1 or run.twin is not None or run.recalled is not None or run.after or book.seconds is None:
        return False
    if book.counts[DONE] < DONE_SHARE * book.n or run.worker.index in core.kept:
        return False
    return core.now - run.started > max(LEAST, FACTOR * book.seconds)


def _begin_twin(core: SchedulerState, run: TaskBatch, worker: Worker) -> None:
    client = core.clients.get(run.client)
    if client is None:
        return
    assign.begin(core, client, worker, run.book, run.lo, run.hi, run.group, (), RUNNING)
    twin = next(reversed(worker.runs.values()))
    run.twin, twin.twin = twin, run


def too_late(core: SchedulerState, run: TaskBatch) -> None:
    """The run's twin has reported: this one is over, whatever it still does."""
    assign.retire(core, run)
    name = (run.ident, run.attempt)
    core.ghosts.setdefault(run.worker.name, {})[name] = recovery.ghost_of(run)
    core.out.append(RecallBatch(run.worker.name, *name))
