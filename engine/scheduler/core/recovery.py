"""What happens when workers leave, reconnect, or turn out not to have what they should.

The death of a worker costs its unfinished batches and the results that only it had. Of these, those still needed are
computed again, and of their inputs those that are lost too, and so on (lineage, `transitions.mark_lost`). A death is
*recorded* for an item if the worker may have been executing it; with MAX_DEATHS of them, the item fails with kind
"lost" and the reasons, so that one poisonous task cannot use up the cluster. Rules on `SchedulerState`, called by
`scheduler` and by the neighbouring rules.
"""

from __future__ import annotations

from collections.abc import Sequence

from howdah.engine.protocol.events import (
    JournalFailure,
    RecallBatch,
    ResultsMissing,
    TaskError,
    WorkerInfo,
    WorkerJoined,
    WorkerLeft,
)
from howdah.engine.protocol.layers import Key, TaskRange
from howdah.engine.scheduler.core import host_exclusion, placement, restart, retry_backoff
from howdah.engine.scheduler.core.dispatch import finish_batch, update_idle
from howdah.engine.scheduler.core.intervals import IntervalSet, group_equal
from howdah.engine.scheduler.core.state import SchedulerState, ZombieBatch
from howdah.engine.scheduler.core.tables import (
    DONE,
    FAILED,
    HOST_EXCLUDED,
    IDLE,
    NO_WORKER,
    READY,
    RUNNING,
    WAITING,
    LayerState,
    TaskBatch,
    WorkerState,
)
from howdah.engine.scheduler.core.transitions import (
    Stack,
    fail_items,
    mark_lost,
    record_results,
    reschedule,
)

MAX_DEATHS = 3
"""So many workers may die of an item before it fails."""

MAX_ZOMBIE_WORKERS = 1000
"""Workers that left with unfinished batches whose return is prepared for."""

MAX_LOCAL_ATTEMPTS = 2
"""So often a batch that lacked inputs is placed by where they lie; after that other workers get it (`_rotate_worker`).
"""

MAX_ATTEMPTS = 50
"""So often an item is started before it fails: something is wrong that deaths do not explain."""


def on_worker_joined(state: SchedulerState, event: WorkerJoined) -> WorkerState:
    """Add the worker, or reconcile the tables with what a known one reports after a broken connection."""
    worker = state.workers.get(event.worker.name)
    if worker is not None and worker.info.pid != event.worker.pid:
        remove_worker(state, worker, "another process has taken its name", clean=False)
        worker = None
    if worker is None:
        worker = add_worker(state, event.worker)
    worker.info = event.worker
    if event.ranges:
        restart.take_over_batches(state, worker, event.running, event.ranges, event.inputs)
    reconcile_worker(state, worker, event.holdings, event.running)
    if state.awaited_workers is not None:
        state.awaited_workers.discard(worker.name)
    return worker


def on_worker_left(state: SchedulerState, event: WorkerLeft) -> None:
    """Remove the worker, with its batches and all that it held."""
    worker = state.workers.get(event.worker)
    if worker is not None:
        remove_worker(state, worker, event.reason, event.clean)
    if state.awaited_workers is not None:
        state.awaited_workers.discard(event.worker)


def add_worker(state: SchedulerState, info: WorkerInfo) -> WorkerState:
    """Enter a worker that is not known."""
    worker = WorkerState(state.next_worker, info)
    if worker.host in state.excluded_hosts:
        worker.unschedulable_reasons.add(HOST_EXCLUDED)
    state.next_worker += 1
    state.workers[worker.name] = worker
    state.by_index[worker.index] = worker
    state.slots += worker.slots
    placement.worker_added(state, worker)
    update_idle(state, worker)
    return worker


def reconcile_worker(
    state: SchedulerState,
    worker: WorkerState,
    holdings: tuple[tuple[TaskRange, tuple[int, ...]], ...],
    running: tuple[tuple[int, int], ...],
) -> None:
    """Make the tables agree with what the worker reports to hold and run."""
    alive = set(running)
    zombies = {key: zombie for key, zombie in state.zombies.pop(worker.name, {}).items() if key in alive}
    if zombies:  # dispatched to others meanwhile: what it has begun is adopted if it comes in time
        state.zombies[worker.name] = zombies
        state.instructions.extend([RecallBatch(worker.name, batch, attempt) for batch, attempt in zombies])
    for batch in [batch for batch in worker.batches.values() if (batch.ident, batch.attempt) not in alive]:
        if finish_batch(state, batch):
            reschedule(state, batch.layer, batch.lo, batch.hi)
    held: dict[Key, IntervalSet] = {}
    for task_range, _ in holdings:
        held.setdefault(task_range.layer, IntervalSet()).add(task_range.start, task_range.stop)
    if worker.items:
        losses: Stack = []
        for layer in list(state.layers.values()):
            mine = held.get(layer.key)
            for a, b in state.results.held_by(layer, worker):
                losses.extend([(layer, c, d) for c, d in (mine.gaps(a, b) if mine is not None else [(a, b)])])
        _remove_holdings(state, worker, losses)
    for layer in state.layers.values():
        state.results.forget_all_copies(layer, worker)
    for task_range, sizes in holdings:
        adopt_results(state, worker, task_range, sizes)


def zombie_of(batch: TaskBatch) -> ZombieBatch:
    """What is remembered of a batch that has ended for the scheduler while its worker may still run it."""
    fetched = tuple([TaskRange(source.key, lo, hi) for source, lo, hi in batch.fetched])
    return ZombieBatch(TaskRange(batch.layer.key, batch.lo, batch.hi), fetched)


def stale_report(state: SchedulerState, name: str, batch: int, attempt: int, sizes: tuple[int, ...] = ()) -> None:
    """Handle a report for a batch that is no longer tracked: its worker was presumed dead, or a speculative copy
    finished first."""
    worker = state.workers.get(name)
    zombie = state.zombies.get(name, {}).pop((batch, attempt), None) if worker is not None else None
    if worker is not None and zombie is not None:
        task_range, tried = zombie.range, sizes[: len(zombie.range)]
        for start, stop, good in group_equal([size >= 0 for size in tried], 0, len(tried)):
            if good:
                adopt_results(
                    state,
                    worker,
                    TaskRange(task_range.layer, task_range.start + start, task_range.start + stop),
                    tried[start:stop],
                )
        discard_fetched(state, worker, zombie.fetched)


def adopt_results(state: SchedulerState, worker: WorkerState, task_range: TaskRange, sizes: tuple[int, ...]) -> None:
    """Take results that a worker brings along where they spare work; have it free those that nothing needs."""
    if state.results.deferred_frees:  # perhaps of these: they would be freed after they were adopted
        state.flush_deferred_frees()
    layer = state.layers.get(task_range.layer)
    if layer is None or task_range.stop > layer.n:
        state.results.free(worker.name, task_range.layer, task_range.start, task_range.stop)
        return
    own = [batch for batch in worker.batches.values() if batch.layer is layer]  # it will report these itself
    for code in (IDLE, FAILED, RUNNING, DONE, WAITING, READY):
        for lo, hi in layer.in_state(task_range.start, task_range.stop, code):
            if code in (WAITING, READY):
                record_results(state, layer, lo, hi, code, worker, sizes[lo - task_range.start : hi - task_range.start])
                continue
            for a, b, holder in group_equal(layer.holder, lo, hi):
                if holder == worker.index:
                    continue
                mine = IntervalSet(a, b)
                for batch in own:
                    mine.remove(batch.lo, batch.hi)
                if code == DONE:  # a copy, which its batches may need
                    _add_needed_copies(state, worker, layer, mine)
                for c, d in mine:
                    state.results.free(worker.name, layer.key, c, d)


def _add_needed_copies(state: SchedulerState, worker: WorkerState, layer: LayerState, mine: IntervalSet) -> None:
    """Enter those copies that unfinished items need, and leave the others in `mine`."""
    for a, b in list(mine):
        needed = IntervalSet(a, b)
        for c, d in layer.unneeded_by_tasks(a, b):
            needed.remove(c, d)
        for c, d in needed:
            state.results.add_copies(layer, c, d, worker)
            mine.remove(c, d)


def remove_worker(state: SchedulerState, worker: WorkerState, reason: str, clean: bool) -> None:
    """Remove the worker, with its batches and all that it held."""
    del state.workers[worker.name]
    state.slots -= worker.slots
    batches = list(worker.batches.values())
    alone = {batch for batch in batches if finish_batch(state, batch)}
    if batches and not clean:
        zombies = state.zombies.setdefault(worker.name, {})
        zombies.update({(batch.ident, batch.attempt): zombie_of(batch) for batch in batches})
        if len(state.zombies) > MAX_ZOMBIE_WORKERS:
            del state.zombies[next(iter(state.zombies))]
    state.idle.pop(worker.index, None)
    state.accepting.pop(worker.index, None)
    for layer in state.layers.values():
        state.results.forget_all_copies(layer, worker)
    losses = [(layer, a, b) for layer in state.layers.values() for a, b in state.results.held_by(layer, worker)]
    _remove_holdings(state, worker, losses)
    if not clean and host_exclusion.counts_against_host(state, worker, batches):
        host_exclusion.record_failure(state, worker.host, f"worker {worker.name} died: {reason or 'no reason given'}")
    if state.excluded_hosts:
        host_exclusion.readmit_hosts(state)
    state.isolated_workers.pop(worker.index, None)
    for batch in [batch for batch in batches if batch in alone]:
        if not clean:
            record_death(state, batch, f"{worker.name} on {worker.info.host}: {reason or 'no reason given'}")
        reschedule(state, batch.layer, batch.lo, batch.hi)
    placement.worker_removed(state, worker)
    del state.by_index[worker.index]


def record_death(state: SchedulerState, batch: TaskBatch, reason: str) -> None:
    """Record the death of a worker that may have been executing items of this batch.

    Each item that the worker had counts, as a crash takes the last reports with it. An item that dies for the last time
    had nothing else beside it (`poison_isolation`).
    """
    layer = batch.layer
    if layer.worker_deaths is None:
        layer.worker_deaths = {}
    for item in range(batch.lo, batch.hi):
        reasons = layer.worker_deaths.setdefault(item, [])
        reasons.append(reason)
        if len(reasons) >= MAX_DEATHS and layer.state[item] == RUNNING:
            message = f"{layer.name}[{item}] was given up: {len(reasons)} workers died while running it. " + "; ".join(
                reasons
            )
            fail_permanently(state, layer, item, item + 1, message, batch.worker)


def task_failed(state: SchedulerState, worker: WorkerState, layer: LayerState, item: int, error: TaskError) -> None:
    """Run an item whose function raised again while it has retries, else fail it. One that nothing needs just ends."""
    if error.kind in ("platform", "taken"):
        if error.kind == "platform":
            host_exclusion.record_failure(
                state, error.host.lower() or worker.host, f"{layer.name}[{item}] failed: {error.message}"
            )
        if not layer.unneeded(item, item + 1, RUNNING) and retry_backoff.schedule_retry(state, layer, item):
            reschedule(state, layer, item, item + 1)
            return
    if layer.spec.retries and error.kind == "raised" and not layer.unneeded(item, item + 1, RUNNING):
        if layer.user_failures is None:
            layer.user_failures = {}
        layer.user_failures[item] = layer.user_failures.get(item, 0) + 1
        if layer.user_failures[item] <= layer.spec.retries:
            reschedule(state, layer, item, item + 1)
            return
    _journal_failure(state, TaskRange(layer.key, item, item + 1), error)
    fail_items(state, layer, item, item + 1, RUNNING, (error, layer.key, item, item + 1))


def _journal_failure(state: SchedulerState, task_range: TaskRange, error: TaskError) -> None:
    """Have the journal remember a failure that is not to be tried again after a restart."""
    if state.epoch:
        state.instructions.append(JournalFailure(task_range, error))


def fail_permanently(
    state: SchedulerState, layer: LayerState, lo: int, hi: int, message: str, worker: WorkerState
) -> None:
    """Fail lo..hi with kind "lost", and have the journal remember it."""
    info = worker.info
    error = TaskError("lost", message, worker=info.name, host=info.host, container=info.container)
    _journal_failure(state, TaskRange(layer.key, lo, hi), error)
    fail_items(state, layer, lo, hi, RUNNING, (error, layer.key, lo, hi))


def results_missing(state: SchedulerState, holder: str, ranges: tuple[TaskRange, ...]) -> None:
    """These could not be fetched from `holder`: it is taken not to have them. Copies serve, or they are computed
    again."""
    worker = state.workers.get(holder)
    if worker is None:
        return
    losses: Stack = []
    for task_range in ranges:
        layer = state.layers.get(task_range.layer)
        if layer is None:
            continue
        state.results.forget_copies(layer, task_range.start, task_range.stop, worker)
        for lo, hi in layer.in_state(max(task_range.start, 0), min(task_range.stop, layer.n), DONE):
            losses.extend([(layer, a, b) for a, b, h in group_equal(layer.holder, lo, hi) if h == worker.index])
        state.results.free_untracked(worker, task_range.layer, task_range.start, task_range.stop)
    _remove_holdings(state, worker, losses)


def on_results_missing(state: SchedulerState, event: ResultsMissing) -> None:
    """A client could not fetch these from their holder."""
    results_missing(state, event.holder, event.ranges)


def drop_old_copies(state: SchedulerState, worker: WorkerState, layer: LayerState, lo: int, hi: int) -> None:
    """Have the worker free copies of lo..hi that it fetched before they were lost: it computed no results of them."""
    if any(attempts > 1 for attempts in layer.attempts[lo:hi]):
        state.results.free(worker.name, layer.key, lo, hi)


def inputs_missing(state: SchedulerState, batch: TaskBatch, holder: str, ranges: tuple[TaskRange, ...]) -> None:
    """End a batch that could not start because it lacked inputs, and have its items wait again."""
    alone = finish_batch(state, batch)
    results_missing(state, holder, ranges)
    drop_old_copies(state, batch.worker, batch.layer, batch.lo, batch.hi)
    discard_fetched(state, batch.worker, [TaskRange(source.key, lo, hi) for source, lo, hi in batch.fetched])
    if not alone:
        return
    if batch.attempt >= MAX_ATTEMPTS:
        fail_permanently(
            state,
            batch.layer,
            batch.lo,
            batch.hi,
            f"{batch.layer.name}: its inputs could not be had {batch.attempt} times",
            batch.worker,
        )
    else:
        if batch.attempt > MAX_LOCAL_ATTEMPTS:
            _rotate_worker(state, batch)
        reschedule(state, batch.layer, batch.lo, batch.hi, spread=batch.attempt > MAX_LOCAL_ATTEMPTS)


def _rotate_worker(state: SchedulerState, batch: TaskBatch) -> None:
    """Give the batch's layer to other workers.

    Two workers may be unable to reach each other though both are well: after a few attempts another worker gets the
    items, also when their inputs have to be computed again first, by whichever worker. One item goes to the next
    worker, so that each has it in turn; a longer layer is for all of them.
    """
    layer = batch.layer
    if layer.n > 1:
        layer.spread = True
        return
    others = sorted(
        [worker.index for worker in state.workers.values() if worker.slots and not worker.unschedulable_reasons]
    )
    layer.preferred_worker = next(
        (index for index in others if index > batch.worker.index), others[0] if others else NO_WORKER
    )


def discard_fetched(state: SchedulerState, worker: WorkerState, fetched: Sequence[TaskRange]) -> None:
    """Have the worker free what an abandoned batch has fetched, unless the tables or its other batches need it."""
    mine = worker.index
    for task_range in fetched:
        layer = state.layers.get(task_range.layer)
        untracked = IntervalSet(task_range.start, task_range.stop)
        if layer is not None:
            for a, b, index in group_equal(layer.holder, task_range.start, task_range.stop):
                if index == mine:  # it has computed this since
                    untracked.remove(a, b)
            for a, b in (layer.copies or {}).get(mine, ()):  # another batch of it has fetched this
                untracked.remove(a, b)
            for other in worker.batches.values():
                for source, a, b in other.fetched:
                    if source is layer:
                        untracked.remove(a, b)
        for a, b in untracked:
            state.results.free_untracked(worker, task_range.layer, a, b)


def _remove_holdings(state: SchedulerState, worker: WorkerState, losses: Stack) -> None:
    """The worker does not hold these: other workers' copies take their place, the rest is lost."""
    gone: Stack = []
    for layer, lo, hi in losses:
        moved, left = state.results.move(layer, lo, hi, worker)
        for a, b in moved:
            state.notify_done(layer, a, b)
        gone.extend([(layer, a, b) for a, b in left])
    mark_lost(state, gone)
