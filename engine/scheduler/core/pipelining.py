"""Dispatch a task to the worker that still computes its inputs, so that a chain costs no message between its links.

A layer of one item (`submit`, `delayed`), or one that is a single short batch (`placement.is_short`), that waits only
for items which one worker runs or has queued, is dispatched to that worker at once, to start after them
(`StartBatch.depends_on`): the worker's slot goes from one to the next by itself. If it turns out otherwise (an input
raises, is recalled, its worker dies) the worker reports the inputs missing, and the items wait again like any others.
Rules on `SchedulerState`, called by `scheduler`.
"""

from __future__ import annotations

from howdah.engine.scheduler.core import dispatch, placement, recovery
from howdah.engine.scheduler.core.intervals import group_equal
from howdah.engine.scheduler.core.state import SchedulerState
from howdah.engine.scheduler.core.tables import (
    ANYWHERE,
    DONE,
    MAX_PIPELINED,
    RUNNING,
    WAITING,
    LayerState,
    TaskBatch,
    WorkerState,
)

MAX_INPUTS = 64
"""Layers, and items of one layer, that a task may need and be dispatched ahead: it is examined each time that one of
them is dispatched or ends, and this costs as many steps."""

MAX_BLOCKED = 4096
"""Batches that may wait for others on one worker."""

MAX_SECONDS = 0.06
"""Seconds of work that a worker has before nothing more is dispatched to it ahead: what is there cannot go to another.
"""


def dispatch_ahead(state: SchedulerState, reporter: WorkerState | None) -> None:
    """Dispatch ahead what has begun to wait, or whose inputs have been dispatched, since the last call."""
    if reporter is not None and reporter.pipelining_candidates and _has_room(reporter):
        state.pipelining_candidates.extend(reporter.pipelining_candidates)
        reporter.pipelining_candidates.clear()
    at = 0
    while at < len(state.pipelining_candidates):  # it grows: what is dispatched ahead has dependents
        _dispatch_layer(state, state.pipelining_candidates[at])
        at += 1
    state.pipelining_candidates.clear()


def _has_room(worker: WorkerState) -> bool:
    return worker.blocked < MAX_BLOCKED and worker.backlog < MAX_SECONDS and worker.slots > 0


def _dispatch_layer(state: SchedulerState, layer: LayerState) -> None:
    if (
        layer.counts[WAITING] != layer.n
        or layer.host_sets is not None
        or layer.constraint
        or not layer.priorities
        or layer.spread
    ):
        return
    attempts = layer.attempts
    if (attempts[0] if layer.n == 1 else max(attempts)) > recovery.MAX_LOCAL_ATTEMPTS:
        return  # perhaps that worker cannot fetch the rest
    if layer.n > 1 and not placement.is_short(state, layer):
        return
    if len(layer.inputs) > MAX_INPUTS:
        return
    batches = running_inputs(layer)
    if not batches:
        return
    worker = batches[0].worker
    if worker.unschedulable_reasons:
        return
    if not _has_room(worker):
        worker.pipelining_candidates[layer] = None
        return
    clients = layer.priorities
    client = state.clients[min(clients, key=clients.__getitem__) if len(clients) > 1 else next(iter(clients))]
    dispatch.dispatch_batch(state, client, worker, layer, 0, layer.n, ANYWHERE, batches, WAITING)


def running_inputs(layer: LayerState) -> list[TaskBatch]:
    """The batches that compute the missing inputs; empty unless all are on one worker."""
    found: dict[TaskBatch, None] = {}
    worker: WorkerState | None = None
    for edge in layer.inputs:
        source = edge.source
        if source.counts[DONE] == source.n:
            continue
        if edge.single and len(source.batches) == 1:
            (batch,) = source.batches
            if batch.recalled_at is not None or (worker is not None and batch.worker is not worker):
                return []
            worker = batch.worker
            found[batch] = None
            continue
        for lo, hi in edge.wiring.cover(0, layer.n):
            if hi - lo > (MAX_INPUTS if layer.n == 1 else MAX_PIPELINED):
                return []
            states = group_equal(source.state, lo, hi)
            if len(states) > MAX_INPUTS:
                return []
            for a, b, code in states:
                if code == DONE:
                    continue
                if code != RUNNING or len(source.batches) > MAX_INPUTS:
                    return []
                for batch in source.batches:
                    if batch.lo < b and batch.hi > a:
                        if batch.recalled_at is not None or (worker is not None and batch.worker is not worker):
                            return []
                        worker = batch.worker
                        found[batch] = None
    return list(found)
