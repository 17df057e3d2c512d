"""Items of which workers may have died run alone on a worker, so that the next death identifies the culprit.

A worker that dies may have been executing any batch that it had: reports travel together, and a crash takes those that
had not left with it. So the death is recorded for each item of its batches. An item with `tables.ISOLATE_AFTER` deaths
is a suspect: it is enqueued nowhere (`placement.place`), but dispatched to an empty worker, by itself, which gets
nothing else meanwhile. If that worker dies too, the item fails (`recovery.record_death`); its innocent neighbours
succeed. A few workers at a time are reserved for this, so that the others go on. Rules on `SchedulerState`, called by
`scheduler`.
"""

from __future__ import annotations

from howdah.engine.scheduler.core import constraints, dispatch
from howdah.engine.scheduler.core.state import SchedulerState
from howdah.engine.scheduler.core.tables import ANYWHERE, ISOLATED, READY, LayerState, WorkerState

WORKERS_PER_ISOLATED = 8
"""One of so many workers may be reserved for suspects, and one at least."""


def dispatch_suspects(state: SchedulerState) -> None:
    """Dispatch suspects to the workers reserved for them; reserve as many as are of use, and release the others."""
    for layer in [layer for layer in state.poison_suspects if not layer.poison_suspects]:
        del state.poison_suspects[layer]
    waiting = [layer for layer in state.poison_suspects if layer.priorities]
    for worker in list(state.isolated_workers.values()):
        if not worker.batches and not _dispatch_suspect(state, worker, waiting):
            _release_worker(state, worker)
    count = sum(len(layer.poison_suspects or ()) for layer in waiting)
    most = max(1, len(state.workers) // WORKERS_PER_ISOLATED)
    while count > 0 and len(state.isolated_workers) < most:
        spare = [worker for worker in state.workers.values() if worker.slots and not worker.unschedulable_reasons]
        free = [w for w in spare if any(constraints.could_run(state, w, layer.constraint) for layer in waiting)]
        if not free:
            return
        worker = min(free, key=lambda w: (w.backlog, len(w.batches), w.index))
        state.isolated_workers[worker.index] = worker
        worker.unschedulable_reasons.add(ISOLATED)
        dispatch.update_idle(state, worker)
        if not worker.batches:
            _dispatch_suspect(state, worker, waiting)
        count -= 1


def _dispatch_suspect(state: SchedulerState, worker: WorkerState, waiting: list[LayerState]) -> bool:
    for layer in waiting:
        if layer.poison_suspects and constraints.could_run(state, worker, layer.constraint):
            lo, hi = layer.poison_suspects.take(1)
            client = state.clients[min(layer.priorities, key=layer.priorities.__getitem__)]
            group = ANYWHERE if layer.host_sets is None else int(layer.host_index[lo])
            dispatch.dispatch_batch(state, client, worker, layer, lo, hi, group, (), READY)
            return True
    return False


def _release_worker(state: SchedulerState, worker: WorkerState) -> None:
    del state.isolated_workers[worker.index]
    worker.unschedulable_reasons.discard(ISOLATED)
    state.placement_version += 1
    dispatch.update_idle(state, worker)
