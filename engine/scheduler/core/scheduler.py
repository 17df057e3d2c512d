"""The scheduler: `Scheduler.handle(event, now) -> instructions`. Nothing in it can block or wait.

Called by the server and by the simulation. The theory of operation opens `transitions`. `HANDLERS` names the handler of
every event; the handlers of reports about batches are here, the others in the module of their rule.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any

from howdah.engine.protocol.events import (
    ArgumentsArrived,
    BatchDone,
    BatchReturned,
    CancelRequested,
    ClientJoined,
    ClientLeft,
    ClientReturned,
    CopiesMade,
    CopiesRequested,
    EpochOpened,
    Event,
    GraphSubmitted,
    InputsMissing,
    Instruction,
    RacksKnown,
    Released,
    ResultsMissing,
    RetryRequested,
    SlotsChanged,
    StateRestored,
    TasksFailed,
    Tick,
    WorkerJoined,
    WorkerLeft,
)
from howdah.engine.protocol.layers import TaskRange
from howdah.engine.scheduler.core import (
    dispatch,
    pipelining,
    poison_isolation,
    recovery,
    replicas,
    restart,
    speculation,
    submission,
)
from howdah.engine.scheduler.core.intervals import add
from howdah.engine.scheduler.core.state import SchedulerState
from howdah.engine.scheduler.core.summary import LayerSummary, to_dict
from howdah.engine.scheduler.core.tables import RUNNING, TaskBatch, WorkerState
from howdah.engine.scheduler.core.transitions import record_results, reschedule
from howdah.engine.scheduler.core.views import SchedulerViews


class Scheduler:
    """One scheduler: its state, the handler of each event, and read-only views.

    Parameters
    ----------
    speculation : start a second batch of an item that takes much longer than its layer's others, on an idle worker; the
        first result counts. Off by default: it is right only for functions without side effects.

    Attributes
    ----------
    views : what may be read of the state (`views.SchedulerViews`).
    state : the state itself, for the rule modules, the simulation and tests.

    Examples
    --------
    >>> from howdah.engine.protocol.events import *
    >>> scheduler = Scheduler()
    >>> _ = scheduler.handle(WorkerJoined(WorkerInfo("w", "node1")), 0.0)
    >>> layer = LayerSpec(b"k" * 16, "inc", 2)
    >>> scheduler.handle(GraphSubmitted("me", (layer,), (TaskRange(layer.key, 0, 2),)), 0.0)[0].range[1:]
    (0, 1)
    >>> scheduler.handle(BatchDone("w", 1, 1, (28,), 0.001), 0.1)[0]  # doctest: +ELLIPSIS
    NotifyDone(client='me', range=TaskRange(layer=b'kkkkkkkkkkkkkkkk', start=0, stop=1), holder='w')
    """

    def __init__(self, speculation: bool = False) -> None:
        self.state = SchedulerState()
        self.state.speculation = speculation
        self.views = SchedulerViews(self.state)

    def handle(self, event: Event, now: float) -> list[Instruction]:
        """Take one event; `now` is any clock that does not run backwards, in seconds."""
        state = self.state
        timers = state.timers
        if now > state.now:
            state.now = timers.now = now
        state.instructions = []
        reporter = HANDLERS[type(event)](state, event)
        if timers.next_due <= state.now:
            timers.run_due(state)
        if state.results.pending_frees:
            state.instructions += state.results.take_pending_frees(state.workers)
        if state.forget_candidates:
            submission.forget_layers(state)
        if state.awaited_workers is not None and restart.is_taking_inventory(state):
            return state.instructions
        isolating = bool(state.isolated_workers)
        if (state.ready or isolating or state.wakeups) and (state.idle or state.accepting or isolating):
            if state.poison_suspects or isolating:
                poison_isolation.dispatch_suspects(state)
            dispatch.schedule(state, reporter)
        if state.idle and state.now - state.rebalanced_at >= dispatch.REBALANCE_INTERVAL:
            dispatch.rebalance(state)
        if state.pipelining_candidates or (reporter is not None and reporter.pipelining_candidates):
            pipelining.dispatch_ahead(state, reporter)
        return state.instructions

    @property
    def wake_at(self) -> float | None:
        """The time by which a `Tick` is due, if no other event comes before; None if none is."""
        due = self.state.timers.next_due
        return due if due < inf else None

    def summary(self, layers: bool = True) -> dict[str, Any]:
        """Progress per layer, and the accounts of locality and movement, for JSON; without `layers`, the sums alone.

        The fields are those of `summary.Summary`, and in "layers" those of `summary.LayerSummary`.
        """
        return to_dict(self.views.summary(layers))

    def progress(self, client: str) -> list[LayerSummary]:
        """The layers that the client has an interest in."""
        return self.views.layers_of(client)

    def holder_of(self, task_range: TaskRange) -> list[tuple[TaskRange, str]]:
        """The holders of these results; items without a result are left out."""
        return self.views.main_holders(task_range)


# -- reports about batches --------------------------------------------------------------------------------------------


def _batch_of(state: SchedulerState, event: BatchDone | InputsMissing | BatchReturned) -> TaskBatch | None:
    """The batch that a report is about; None if it is not, or no longer, a batch of that worker and attempt."""
    batch = state.batches.get(event.batch)
    if batch is None or batch.attempt != event.attempt or batch.worker.name != event.worker:
        state.stale_reports += 1
        return None
    return batch


def on_batch_done(state: SchedulerState, event: BatchDone) -> WorkerState | None:
    """Record the results and failures of a batch's items; items that were not tried begin again."""
    batch = _batch_of(state, event)
    if batch is None:
        recovery.stale_report(state, event.worker, event.batch, event.attempt, event.sizes)
        return state.workers.get(event.worker)
    layer, worker = batch.layer, batch.worker
    lo, tried = batch.lo, min(len(event.sizes), batch.hi - batch.lo)
    sizes = event.sizes if tried == len(event.sizes) else event.sizes[:tried]
    duplicate = batch.speculative_copy
    dispatch.finish_batch(state, batch)
    if duplicate is not None:
        speculation.cancel_copy(state, duplicate)
    dispatch.update_estimate(state, batch, tried, event.seconds)
    if not event.errors and lo + tried == batch.hi:
        dispatch.account_locality(state, batch, lo, batch.hi)
        record_results(state, layer, lo, batch.hi, RUNNING, worker, sizes, batch)
        if batch.fetched:  # now that its own need for them has ended: most of them may go at once
            dispatch.record_copies(state, batch)
        return worker
    failed = {offset: error for offset, error in event.errors if offset < tried}
    at = 0
    for offset in [*sorted(failed), tried]:
        if at < offset:
            dispatch.account_locality(state, batch, lo + at, lo + offset)
            part = sizes if at == 0 and offset == tried else sizes[at:offset]
            record_results(state, layer, lo + at, lo + offset, RUNNING, worker, part, batch)
        at = offset + 1
    for offset, error in failed.items():
        recovery.drop_old_copies(state, worker, layer, lo + offset, lo + offset + 1)
        recovery.task_failed(state, worker, layer, lo + offset, error)
    if lo + tried < batch.hi:
        recovery.drop_old_copies(state, worker, layer, lo + tried, batch.hi)
        reschedule(state, layer, lo + tried, batch.hi)
    if batch.fetched:
        dispatch.record_copies(state, batch)
    return worker


def on_batch_returned(state: SchedulerState, event: BatchReturned) -> WorkerState | None:
    """Take back the items that a recalled batch has not started."""
    batch = _batch_of(state, event)
    if batch is None:
        if event.start <= 0:  # else it reports once more
            recovery.stale_report(state, event.worker, event.batch, event.attempt)
        return None
    cut = batch.lo + max(0, event.start)
    if cut < batch.hi:
        tail = (cut, batch.hi)
        recovery.drop_old_copies(state, batch.worker, batch.layer, *tail)
        add(batch.layer.attempts, *tail, -1)
        if cut == batch.lo:
            alone = dispatch.finish_batch(state, batch)
            if batch.fetched:
                dispatch.record_copies(state, batch)
            if not alone:
                return batch.worker
        else:
            dispatch.truncate(state, batch, cut)
        reschedule(state, batch.layer, *tail, spread=True)
    return batch.worker


def on_inputs_missing(state: SchedulerState, event: InputsMissing) -> WorkerState | None:
    """End a batch that could not fetch its inputs.

    Returns None: other workers are served first, as this one perhaps cannot reach the holder, and they can.
    """
    batch = _batch_of(state, event)
    if batch is None:
        recovery.stale_report(state, event.worker, event.batch, event.attempt)
        return None
    recovery.inputs_missing(state, batch, event.holder, event.ranges)
    return None  # others are asked before it: perhaps it does not reach the holder, and they do


def on_racks_known(state: SchedulerState, event: RacksKnown) -> None:
    """Enter the racks of hosts on which no worker lives."""
    for host, rack in event.racks:
        state.rack_of.setdefault(host.lower(), rack)


def on_tick(state: SchedulerState, event: Tick) -> None:
    """Let time pass: backlogs have changed, so every worker may look for work again."""
    if state.speculation:
        speculation.start_speculative_copies(state)
    state.placement_version += 1  # every worker may look again: backlogs have changed


HANDLERS: dict[type[Any], Callable[[SchedulerState, Any], WorkerState | None]] = {
    ClientJoined: submission.on_client_joined,
    ClientLeft: submission.on_client_left,
    GraphSubmitted: submission.on_graph_submitted,
    ArgumentsArrived: submission.on_arguments_arrived,
    Released: submission.on_released,
    CancelRequested: submission.on_cancel_requested,
    WorkerJoined: recovery.on_worker_joined,
    WorkerLeft: recovery.on_worker_left,
    BatchDone: on_batch_done,
    InputsMissing: on_inputs_missing,
    BatchReturned: on_batch_returned,
    ResultsMissing: recovery.on_results_missing,
    RetryRequested: replicas.on_retry_requested,
    CopiesRequested: replicas.on_copies_requested,
    CopiesMade: replicas.on_copies_made,
    SlotsChanged: replicas.on_slots_changed,
    RacksKnown: on_racks_known,
    Tick: on_tick,
    StateRestored: submission.on_state_restored,
    TasksFailed: restart.on_tasks_failed,
    EpochOpened: restart.on_epoch_opened,
    ClientReturned: restart.on_client_returned,
}
"""The handler of each event. It returns the worker that sent it, if that one is to be served first; else None."""
