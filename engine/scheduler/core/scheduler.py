"""The scheduler's state: `State.handle(event, now) -> instructions`. Nothing in it can block, wait or fail to answer.

Theory of operation
-------------------
The scheduler is a function of the events that it has seen. It owns no socket, reads no clock and throws no dice: the
same events at the same times give the same instructions (`records.py` has both). Workers hold no opinions: they run
what `StartBatch` names, keep what they made and fetched until `FreeRanges` names it, and report.

*Items* are addressed by layer and number and are in one of six states, kept in columns per layer (`books.py`). These
are all the steps that an item can make; `core.move` refuses any other:

>>> print(table())
    idle -> waiting  a client wants it, or an unfinished item needs it; it claims its inputs
 waiting -> ready    all its inputs have results
   ready -> waiting  an input was lost with its worker
   ready -> running  given to a worker, as part of a run
 waiting -> running  given to the worker that is making its inputs, to be run after them
 running -> waiting  given back, its worker died, its inputs could not be had, or it raised and may try again
 running -> done     the worker has the result; the claims on its inputs end
 waiting -> done     a worker that came back holds the result
   ready -> done     a worker that came back holds the result
 running -> failed   it raised, or too many workers died of it
 waiting -> failed   an input failed, or it was cancelled
   ready -> failed   it was cancelled
 waiting -> idle     nobody needs it any more
   ready -> idle     nobody needs it any more
 running -> idle     nobody needs it any more, and it was not begun
    done -> idle     nobody needs it any more, or the result was lost
  failed -> idle     nobody wants it any more

*Need* moves everything (`lifecycle.py`). An item is needed while a client wants it or an unfinished item claims it.
What is needed and idle is demanded, with its inputs; what is not needed is dropped at once. So culling, release,
cancellation and recovery from losses are one mechanism: a lost result is an idle item that somebody needs.

*Runs* are stretches of ready items of one group, given to one worker (`assign.py`, `placement.py`). A run has a
number and an attempt; a report about any other is ignored (and counted). A run that ends early gives its items back.

*Chains* need no exchange between their links: what waits for runs of one worker only is given to it ahead (`ahead.py`).

*Clients* take turns by virtual time; layers of one graph go depth first: what is nearer to the end runs first, so
memory follows need.

*A restart* is the same events once more: a new state hears its journal (`journal.py`), then what its workers hold and
run; until they have said so it gives nothing out (`epoch.py`).

*Layers* are forgotten when no client wants an item of them, nothing of them is unfinished or kept, and no layer that
is remembered depends on them: a remembered layer's ancestors are its lineage.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
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
    TaskError,
    TasksFailed,
    Tick,
    WorkerJoined,
    WorkerLeft,
)
from howdah.engine.protocol.layers import TaskRange
from howdah.engine.scheduler.core import dispatch as assign
from howdah.engine.scheduler.core import host_exclusion as exclusion
from howdah.engine.scheduler.core import pipelining as ahead
from howdah.engine.scheduler.core import placement, recovery
from howdah.engine.scheduler.core import replicas as requests
from howdah.engine.scheduler.core import restart as epoch
from howdah.engine.scheduler.core import retry_backoff as pauses
from howdah.engine.scheduler.core import speculation as speculate
from howdah.engine.scheduler.core import submission as graphs
from howdah.engine.scheduler.core.context import SchedulerState, transition_table
from howdah.engine.scheduler.core.intervals import add, group_equal
from howdah.engine.scheduler.core.summary import LayerSummary, layer_summary, summarise, to_dict
from howdah.engine.scheduler.core.tables import (
    NOBODY,
    READY,
    RUNNING,
    WAITING,
    TaskBatch,
    Worker,
)
from howdah.engine.scheduler.core.transitions import Stack, fail_items, release_unneeded
from howdah.engine.scheduler.core.views import SchedulerViews

__all__ = ["Scheduler", "transition_table"]


DEFERRED_FREE_SECONDS = 0.01
"""Seconds for which the dropped results of an exchange are collected before workers hear of them."""


class Scheduler:
    """The one brain. See the module's text.

    Parameters
    ----------
    speculation : start a second run of an item that takes much longer than its layer's others, on an idle worker; the
        first result counts. Off by default: it is right only for functions without side effects.

    Examples
    --------
    >>> from howdah.engine.protocol.events import *
    >>> state = Scheduler()
    >>> _ = state.handle(WorkerJoined(WorkerInfo("w", "node1")), 0.0)
    >>> layer = LayerSpec(b"k" * 16, "inc", 2)
    >>> state.handle(GraphSubmitted("me", (layer,), (TaskRange(layer.key, 0, 2),)), 0.0)[0].span[1:]
    (0, 1)
    >>> state.handle(BatchDone("w", 1, 1, (28,), 0.001), 0.1)[0]  # doctest: +ELLIPSIS
    NotifyDone(client='me', span=TaskRange(layer=b'kkkkkkkkkkkkkkkk', start=0, stop=1), holder='w')
    """

    def __init__(self, speculation: bool = False) -> None:
        self.core = SchedulerState()
        self.core.speculation = speculation
        self.views = SchedulerViews(self.core)
        self._handlers: dict[type[Any], Callable[[Any], Worker | None]] = {
            ClientJoined: partial(graphs.on_client_joined, self.core),
            ClientLeft: self.on_client_left,
            GraphSubmitted: partial(graphs.on_graph_submitted, self.core),
            ArgumentsArrived: partial(graphs.on_arguments_arrived, self.core),
            Released: self.on_released,
            CancelRequested: self.on_cancel_requested,
            WorkerJoined: self.on_worker_joined,
            WorkerLeft: self.on_worker_left,
            BatchDone: self.on_run_done,
            InputsMissing: self.on_inputs_missing,
            BatchReturned: self.on_run_returned,
            ResultsMissing: self.on_results_missing,
            RetryRequested: partial(requests.on_retry_requested, self.core),
            CopiesRequested: partial(requests.on_copies_requested, self.core),
            CopiesMade: partial(requests.on_copies_made, self.core),
            SlotsChanged: partial(requests.on_slots_changed, self.core),
            RacksKnown: self.on_racks_known,
            Tick: self.on_tick,
            StateRestored: partial(graphs.on_state_restored, self.core),
            TasksFailed: partial(epoch.on_tasks_failed, self.core),
            EpochOpened: partial(epoch.on_epoch_opened, self.core),
            ClientReturned: partial(epoch.on_client_returned, self.core),
        }

    def handle(self, event: Event, now: float) -> list[Instruction]:
        """Take one event; `now` is any clock that does not run backwards, in seconds."""
        state = self.core
        if now > state.now:
            state.now = now
        state.instructions = []
        reporter = self._handlers[type(event)](event)
        if state.waits and state.waits[0][0] <= state.now:
            placement.end_waits(state)
        if state.pauses and state.pauses[0][0] <= state.now:
            pauses.end(state)
        if state.excluded_hosts and min(state.excluded_hosts.values()) <= state.now:
            exclusion.readmit_hosts(state)
        if state.deferred_frees and state.now >= state.late_since + DEFERRED_FREE_SECONDS:
            state.flush_deferred_frees()
        if state.pending_frees:
            state.flush_frees()
        if state.forget_candidates:
            graphs.forget_layers(state)
        if state.awaited_workers is not None and epoch.is_taking_inventory(state):
            return state.instructions
        if (state.ready or state.isolated_workers or state.wakeups) and (
            state.idle or state.accepting or state.isolated_workers
        ):
            assign.schedule(state, reporter)
        if state.idle and state.now - state.rebalanced_at >= assign.REBALANCE_INTERVAL:
            assign.rebalance(state)
        if state.pipelining_candidates or (reporter is not None and reporter.pipelining_candidates):
            ahead.dispatch_ahead(state, reporter)
        return state.instructions

    @property
    def wake_at(self) -> float | None:
        """When a `Tick` is due at the latest, if nothing else happens before."""
        state = self.core
        if not (
            state.waits
            or state.pauses
            or state.excluded_hosts
            or state.deferred_frees
            or state.awaited_workers is not None
        ):
            return None
        due = [heap[0][0] for heap in (state.waits, state.pauses) if heap]
        if state.deferred_frees:
            due.append(state.late_since + DEFERRED_FREE_SECONDS)
        due += state.excluded_hosts.values()
        if state.awaited_workers is not None:
            due.append(state.hold_until)
        return min(due, default=None)

    def summary(self, layers: bool = True) -> dict[str, Any]:
        """Progress per layer, and the accounts of locality and movement, for JSON; without `layers`, the sums alone.

        The fields are those of `summary.Summary`, and in "layers" those of `summary.LayerSummary`.
        """
        return to_dict(summarise(self.core, layers))

    def progress(self, client: str) -> list[LayerSummary]:
        """The layers that the client has an interest in."""
        known = self.core.clients.get(client)
        return [layer_summary(layer) for layer in known.layers] if known else []

    def holder_of(self, task_range: TaskRange) -> list[tuple[TaskRange, str]]:
        """Which worker has which of these results; items without a result are left out."""
        layer = self.core.layers.get(task_range.layer)
        if layer is None:
            return []
        parts = group_equal(layer.holder, task_range.start, min(task_range.stop, layer.n))
        return [(TaskRange(layer.key, a, b), self.core.by_index[h].name) for a, b, h in parts if h != NOBODY]

    # -- clients ----------------------------------------------------------------------------------------------------

    def on_client_left(self, event: ClientLeft) -> None:
        client = self.core.clients.get(event.client)
        if client is None:
            return
        for batch in self.core.batches.values() if client.running else ():
            if batch.client == client.name:
                batch.client = ""  # another client may come under the name
        to_release: Stack = []
        for layer in client.layers:
            layer.priorities.pop(client.name, None)
            intervals = layer.interests.get(client.name)
            for lo, hi in list(intervals) if intervals is not None else ():
                graphs.remove_interest(self.core, layer, client.name, lo, hi, to_release)
        del self.core.clients[client.name]
        release_unneeded(self.core, to_release)

    def on_released(self, event: Released) -> None:
        to_release: Stack = []
        for task_range in event.ranges:
            layer = self.core.layers.get(task_range.layer)
            if layer is not None:
                graphs.remove_interest(self.core, layer, event.client, task_range.start, task_range.stop, to_release)
        release_unneeded(self.core, to_release)

    def on_cancel_requested(self, event: CancelRequested) -> None:
        """What only this client wants fails with kind "cancelled", and what waits for it; what others want goes on."""
        state = self.core
        error = TaskError("cancelled", "cancelled by its client")
        to_release: Stack = []
        for task_range in event.ranges:
            layer = state.layers.get(task_range.layer)
            if layer is None:
                continue
            cause = (error, layer.key, task_range.start, task_range.stop)
            if set(layer.priorities) <= {event.client}:
                for code in (WAITING, READY):
                    for lo, hi in layer.in_state(task_range.start, task_range.stop, code):
                        fail_items(state, layer, lo, hi, code, cause)
            intervals = layer.interests.get(event.client)
            for lo, hi in intervals.overlap(task_range.start, task_range.stop) if intervals is not None else ():
                for a, b in (
                    layer.in_state(lo, hi, RUNNING) + layer.in_state(lo, hi, WAITING) + layer.in_state(lo, hi, READY)
                ):
                    state.notify_failed(layer, a, b, cause, event.client)
            graphs.remove_interest(self.core, layer, event.client, task_range.start, task_range.stop, to_release)
        release_unneeded(state, to_release)

    # -- workers ----------------------------------------------------------------------------------------------------

    def on_worker_joined(self, event: WorkerJoined) -> Worker:
        state = self.core
        worker = state.workers.get(event.worker.name)
        if worker is not None and worker.info.pid != event.worker.pid:
            recovery.remove_worker(state, worker, "another process has taken its name", clean=False)
            worker = None
        if worker is None:
            worker = recovery.add_worker(state, event.worker)
        worker.info = event.worker
        if event.ranges:
            epoch.take_over_batches(state, worker, event.running, event.ranges, event.inputs)
        recovery.reconcile_worker(state, worker, event.holdings, event.running)
        if state.awaited_workers is not None:
            state.awaited_workers.discard(worker.name)
        return worker

    def on_worker_left(self, event: WorkerLeft) -> None:
        worker = self.core.workers.get(event.worker)
        if worker is not None:
            recovery.remove_worker(self.core, worker, event.reason, event.clean)
        if self.core.awaited_workers is not None:
            self.core.awaited_workers.discard(event.worker)

    def _run_of(self, event: BatchDone | InputsMissing | BatchReturned) -> TaskBatch | None:
        """The run that a report is about; None if it is not, or no longer, a run of that worker and attempt."""
        batch = self.core.batches.get(event.batch)
        if batch is None or batch.attempt != event.attempt or batch.worker.name != event.worker:
            self.core.stale_reports += 1
            return None
        return batch

    def on_run_done(self, event: BatchDone) -> Worker | None:
        batch = self._run_of(event)
        if batch is None:
            recovery.stale_report(self.core, event.worker, event.batch, event.attempt, event.sizes)
            return self.core.workers.get(event.worker)
        state, layer, worker = self.core, batch.layer, batch.worker
        lo, tried = batch.lo, min(len(event.sizes), batch.hi - batch.lo)
        sizes = event.sizes if tried == len(event.sizes) else event.sizes[:tried]
        duplicate = batch.speculative_copy
        assign.finish_batch(state, batch)
        if duplicate is not None:
            speculate.cancel_copy(state, duplicate)
        assign.update_estimate(state, batch, tried, event.seconds)
        if not event.errors and lo + tried == batch.hi:
            assign.account_locality(state, batch, lo, batch.hi)
            recovery.record_results(state, layer, lo, batch.hi, RUNNING, worker, sizes, batch)
            if batch.fetched:  # now that its own need for them has ended: most of them may go at once
                assign.record_copies(state, batch)
            return worker
        failed = {offset: error for offset, error in event.errors if offset < tried}
        at = 0
        for offset in [*sorted(failed), tried]:
            if at < offset:
                assign.account_locality(state, batch, lo + at, lo + offset)
                part = sizes if at == 0 and offset == tried else sizes[at:offset]
                recovery.record_results(state, layer, lo + at, lo + offset, RUNNING, worker, part, batch)
            at = offset + 1
        for offset, error in failed.items():
            recovery.drop_old_copies(state, worker, layer, lo + offset, lo + offset + 1)
            recovery.task_failed(state, worker, layer, lo + offset, error)
        if lo + tried < batch.hi:
            recovery.drop_old_copies(state, worker, layer, lo + tried, batch.hi)
            recovery.reschedule(state, layer, lo + tried, batch.hi)
        if batch.fetched:
            assign.record_copies(state, batch)
        return worker

    def on_run_returned(self, event: BatchReturned) -> Worker | None:
        batch = self._run_of(event)
        if batch is None:
            if event.start <= 0:  # else it reports once more
                recovery.stale_report(self.core, event.worker, event.batch, event.attempt)
            return None
        cut = batch.lo + max(0, event.start)
        if cut < batch.hi:
            tail = (cut, batch.hi)
            recovery.drop_old_copies(self.core, batch.worker, batch.layer, *tail)
            add(batch.layer.attempts, *tail, -1)
            if cut == batch.lo:
                alone = assign.finish_batch(self.core, batch)
                if batch.fetched:
                    assign.record_copies(self.core, batch)
                if not alone:
                    return batch.worker
            else:
                assign.truncate(self.core, batch, cut)
            recovery.reschedule(self.core, batch.layer, *tail, spread=True)
        return batch.worker

    def on_inputs_missing(self, event: InputsMissing) -> Worker | None:
        batch = self._run_of(event)
        if batch is None:
            recovery.stale_report(self.core, event.worker, event.batch, event.attempt)
            return None
        recovery.inputs_missing(self.core, batch, event.holder, event.ranges)
        return None  # others are asked before it: perhaps it does not reach the holder, and they do

    def on_results_missing(self, event: ResultsMissing) -> None:
        recovery.results_missing(self.core, event.holder, event.ranges)

    def on_racks_known(self, event: RacksKnown) -> None:
        for host, rack in event.racks:
            self.core.rack_of.setdefault(host.lower(), rack)

    def on_tick(self, event: Tick) -> None:
        if self.core.speculation:
            speculate.start_speculative_copies(self.core)
        self.core.placement_version += 1  # everybody may look again: backlogs have changed
