"""What happens when workers go, come back, or turn out not to have what they should.

A worker's death costs its unfinished runs and the results that only it had. Of these, those still needed are made
again, and of their inputs those that are gone too, and so on (lineage, `lifecycle.lose`). An item is *blamed* when a
worker dies while it may have been executing it; blamed MOST_DEATHS times, it fails with kind "lost" and the reasons,
so that one poisonous task cannot eat the cluster.
"""

from __future__ import annotations

from collections.abc import Sequence

from howdah.engine.protocol.events import JournalFailure, RecallBatch, TaskError, WorkerInfo
from howdah.engine.protocol.layers import Key, TaskRange
from howdah.engine.scheduler.core import host_exclusion as exclusion
from howdah.engine.scheduler.core import placement
from howdah.engine.scheduler.core import retry_backoff as pauses
from howdah.engine.scheduler.core.context import SchedulerState, ZombieBatch
from howdah.engine.scheduler.core.dispatch import finish_batch, update_idle
from howdah.engine.scheduler.core.intervals import Interval, IntervalSet, fill, group_equal
from howdah.engine.scheduler.core.tables import (
    DONE,
    FAILED,
    IDLE,
    NOBODY,
    READY,
    RUNNING,
    WAITING,
    LayerState,
    TaskBatch,
    Worker,
)
from howdah.engine.scheduler.core.transitions import (
    Stack,
    enter_waiting,
    fail_dependents,
    fail_items,
    mark_lost,
    release_inputs,
    release_unneeded,
    request,
    satisfy_dependents,
)

MAX_DEATHS = 3
"""So many workers may die of an item before it is given up."""

MAX_ZOMBIE_WORKERS = 1000
"""Workers that left with unfinished runs whose return is prepared for."""

MAX_LOCAL_ATTEMPTS = 2
"""So often a run that lacked inputs is placed by where they lie; after that each worker has its turn (`_turn`)."""

MAX_ATTEMPTS = 50
"""So often an item is started before it is given up: something is wrong that deaths do not explain."""


def reschedule(core: SchedulerState, book: LayerState, lo: int, hi: int, spread: bool = False) -> None:
    """Items that were given to a worker are not on their way to a result any more: begin again, or drop them."""
    loose: Stack = []
    again: Stack = []
    doomed: Stack = []
    for a, b in book.unneeded(lo, hi, RUNNING):
        core.transition(book, a, b, RUNNING, IDLE)
        release_inputs(book, a, b, loose)
    for a, b in book.in_state(lo, hi, RUNNING):
        enter_waiting(core, book, a, b, RUNNING, again, doomed, spread)
    request(core, again)
    for book_, a, b in doomed:
        fail_dependents(core, book_, a, b)
    loose.append((book, lo, hi))
    release_unneeded(core, loose)


def add_worker(core: SchedulerState, info: WorkerInfo) -> Worker:
    """A worker that is not known: give it an index and its places."""
    worker = Worker(core.next_worker, info)
    worker.barred = worker.host in core.excluded_hosts
    core.next_worker += 1
    core.workers[worker.name] = worker
    core.by_index[worker.index] = worker
    core.slots += worker.slots
    placement.worker_added(core, worker)
    update_idle(core, worker)
    return worker


def reconcile_worker(
    core: SchedulerState,
    worker: Worker,
    holdings: tuple[tuple[TaskRange, tuple[int, ...]], ...],
    running: tuple[tuple[int, int], ...],
) -> None:
    """A worker says what it holds and runs; whatever the books say beyond that is not so."""
    alive = set(running)
    ghosts = {key: ghost for key, ghost in core.zombies.pop(worker.name, {}).items() if key in alive}
    if ghosts:  # given to others meanwhile: what it has begun is taken if it comes in time
        core.zombies[worker.name] = ghosts
        core.instructions.extend([RecallBatch(worker.name, run, attempt) for run, attempt in ghosts])
    for run in [run for run in worker.batches.values() if (run.ident, run.attempt) not in alive]:
        if finish_batch(core, run):
            reschedule(core, run.layer, run.lo, run.hi)
    held: dict[Key, IntervalSet] = {}
    for span, _ in holdings:
        held.setdefault(span.layer, IntervalSet()).add(span.start, span.stop)
    if worker.items:
        losses: Stack = []
        for book in list(core.layers.values()):
            mine = held.get(book.key)
            for a, b in _held_by(book, worker.index):
                losses.extend([(book, c, d) for c, d in (mine.gaps(a, b) if mine is not None else [(a, b)])])
        _remove_holdings(core, worker, losses)
    for book in core.layers.values():
        if book.copies:
            book.copies.pop(worker.index, None)
    for span, sizes in holdings:
        adopt_results(core, worker, span, sizes)


def zombie_of(run: TaskBatch) -> ZombieBatch:
    """What is remembered of a run that is over, while its worker may still be busy with it."""
    fetched = tuple([TaskRange(source.key, lo, hi) for source, lo, hi in run.fetched])
    return ZombieBatch(TaskRange(run.layer.key, run.lo, run.hi), fetched)


def stale_report(core: SchedulerState, name: str, run: int, attempt: int, sizes: tuple[int, ...] = ()) -> None:
    """The last report of a run that the worker was given before it was taken for dead, or that its twin has beaten."""
    worker = core.workers.get(name)
    ghost = core.zombies.get(name, {}).pop((run, attempt), None) if worker is not None else None
    if worker is not None and ghost is not None:
        span, tried = ghost.range, sizes[: len(ghost.range)]
        for start, stop, good in group_equal([size >= 0 for size in tried], 0, len(tried)):
            if good:
                adopt_results(
                    core, worker, TaskRange(span.layer, span.start + start, span.start + stop), tried[start:stop]
                )
        discard_fetched(core, worker, ghost.fetched)


def adopt_results(core: SchedulerState, worker: Worker, span: TaskRange, sizes: tuple[int, ...]) -> None:
    """Results that a worker brings along: taken where they spare work, dropped where nobody needs them."""
    if core.deferred_frees:  # some of these, perhaps, which would be dropped after they were taken
        core.flush_deferred_frees()
    book = core.layers.get(span.layer)
    if book is None or span.stop > book.n:
        core.queue_free(worker.name, span.layer, span.start, span.stop)
        return
    own = [run for run in worker.batches.values() if run.layer is book]  # it will still report these itself
    for code in (IDLE, FAILED, RUNNING, DONE, WAITING, READY):
        for lo, hi in book.in_state(span.start, span.stop, code):
            if code in (WAITING, READY):
                record_results(core, book, lo, hi, code, worker, sizes[lo - span.start : hi - span.start])
                continue
            for a, b, holder in group_equal(book.holder, lo, hi):
                if holder == worker.index:
                    continue
                mine = IntervalSet(a, b)
                for run in own:
                    mine.remove(run.lo, run.hi)
                if code == DONE:  # a copy, which what it is to run may need
                    _keep_needed(worker, book, mine)
                for c, d in mine:
                    core.queue_free(worker.name, book.key, c, d)


def _keep_needed(worker: Worker, book: LayerState, mine: IntervalSet) -> None:
    """Enter those copies that unfinished items need, and leave the others in `mine`."""
    for a, b in list(mine):
        needed = IntervalSet(a, b)
        for c, d in book.unneeded_by_tasks(a, b):
            needed.remove(c, d)
        for c, d in needed:
            book.add_copies(c, d, worker.index)
            mine.remove(c, d)


def record_results(
    core: SchedulerState,
    book: LayerState,
    lo: int,
    hi: int,
    old: int,
    worker: Worker,
    sizes: tuple[int, ...],
    run: TaskBatch | None = None,
) -> None:
    """lo..hi, in state `old`, have results of these sizes on the worker."""
    if old == READY:
        placement.withdraw(book, lo, hi)
    if book.worker_deaths:
        for item in [item for item in book.worker_deaths if lo <= item < hi]:
            del book.worker_deaths[item]
    core.transition(book, lo, hi, old, DONE, run)
    if hi - lo == 1:
        book.holder[lo], book.size[lo] = worker.index, sizes[0]
        worker.nbytes += sizes[0]
    else:
        fill(book.holder, lo, hi, worker.index)
        book.size[lo:hi] = sizes
        worker.nbytes += sum(sizes)
    worker.items += hi - lo
    if book.dependents or book.interests:
        satisfy_dependents(core, book, lo, hi)
    loose: Stack = []
    if book.inputs:
        release_inputs(book, lo, hi, loose)
    loose.extend([(book, a, b) for a, b in book.unneeded(lo, hi, DONE)])
    if loose:
        release_unneeded(core, loose)


def remove_worker(core: SchedulerState, worker: Worker, reason: str, clean: bool) -> None:
    """The worker is gone, with its runs and all that it held."""
    del core.workers[worker.name]
    core.slots -= worker.slots
    runs = list(worker.batches.values())
    alone = {run for run in runs if finish_batch(core, run)}
    if runs and not clean:
        ghosts = core.zombies.setdefault(worker.name, {})
        ghosts.update({(run.ident, run.attempt): zombie_of(run) for run in runs})
        if len(core.zombies) > MAX_ZOMBIE_WORKERS:
            del core.zombies[next(iter(core.zombies))]
    core.idle.pop(worker.index, None)
    core.accepting.pop(worker.index, None)
    for book in core.layers.values():
        if book.copies:
            book.copies.pop(worker.index, None)
    losses = [(book, a, b) for book in core.layers.values() for a, b in _held_by(book, worker.index)]
    _remove_holdings(core, worker, losses)
    if not clean and exclusion.counts_against_host(core, worker, runs):
        exclusion.record_failure(core, worker.host, f"worker {worker.name} died: {reason or 'no reason given'}")
    if core.excluded_hosts:
        exclusion.readmit_hosts(core)
    core.isolated_workers.pop(worker.index, None)
    for run in [run for run in runs if run in alone]:
        if not clean:
            record_death(core, run, f"{worker.name} on {worker.info.host}: {reason or 'no reason given'}")
        reschedule(core, run.layer, run.lo, run.hi)
    placement.worker_removed(core, worker)
    del core.by_index[worker.index]


def record_death(core: SchedulerState, run: TaskBatch, reason: str) -> None:
    """A worker died while it may have been executing items of this run: any that it had been given, as a crash takes
    the last reports with it. One that dies of it for the last time had nothing else (`quarantine`)."""
    book = run.layer
    if book.worker_deaths is None:
        book.worker_deaths = {}
    for item in range(run.lo, run.hi):
        reasons = book.worker_deaths.setdefault(item, [])
        reasons.append(reason)
        if len(reasons) >= MAX_DEATHS and book.state[item] == RUNNING:
            message = f"{book.name}[{item}] was given up: {len(reasons)} workers died while running it. " + "; ".join(
                reasons
            )
            fail_permanently(core, book, item, item + 1, message, run.worker)


def task_failed(core: SchedulerState, worker: Worker, book: LayerState, item: int, error: TaskError) -> None:
    """The item's function raised: again while it has retries, else it fails. What nobody needs any more just ends."""
    if error.kind in ("platform", "taken"):
        if error.kind == "platform":
            exclusion.record_failure(
                core, error.host.lower() or worker.host, f"{book.name}[{item}] failed: {error.message}"
            )
        if not book.unneeded(item, item + 1, RUNNING) and pauses.schedule_retry(core, book, item):
            reschedule(core, book, item, item + 1)
            return
    if book.retries and error.kind == "raised" and not book.unneeded(item, item + 1, RUNNING):
        if book.user_failures is None:
            book.user_failures = {}
        book.user_failures[item] = book.user_failures.get(item, 0) + 1
        if book.user_failures[item] <= book.retries:
            reschedule(core, book, item, item + 1)
            return
    _journal_failure(core, TaskRange(book.key, item, item + 1), error)
    fail_items(core, book, item, item + 1, RUNNING, (error, book.key, item, item + 1))


def _journal_failure(core: SchedulerState, span: TaskRange, error: TaskError) -> None:
    if core.epoch:
        core.instructions.append(JournalFailure(span, error))


def fail_permanently(core: SchedulerState, book: LayerState, lo: int, hi: int, message: str, worker: Worker) -> None:
    info = worker.info
    error = TaskError("lost", message, worker=info.name, host=info.host, container=info.container)
    _journal_failure(core, TaskRange(book.key, lo, hi), error)
    fail_items(core, book, lo, hi, RUNNING, (error, book.key, lo, hi))


def results_missing(core: SchedulerState, holder: str, spans: tuple[TaskRange, ...]) -> None:
    """These could not be had from `holder`: it is taken not to have them. Copies serve, or they are made again."""
    worker = core.workers.get(holder)
    if worker is None:
        return
    losses: Stack = []
    for span in spans:
        book = core.layers.get(span.layer)
        if book is None:
            continue
        if book.copies and worker.index in book.copies:
            book.copies[worker.index].remove(span.start, span.stop)
            if not book.copies[worker.index]:
                del book.copies[worker.index]
        for lo, hi in book.in_state(max(span.start, 0), min(span.stop, book.n), DONE):
            losses.extend([(book, a, b) for a, b, h in group_equal(book.holder, lo, hi) if h == worker.index])
        core.free_untracked(worker, span.layer, span.start, span.stop)
    _remove_holdings(core, worker, losses)


def drop_old_copies(core: SchedulerState, worker: Worker, book: LayerState, lo: int, hi: int) -> None:
    """The worker made no results of lo..hi after all; copies that it fetched before they were lost are of no use."""
    if any(tries > 1 for tries in book.attempts[lo:hi]):
        core.queue_free(worker.name, book.key, lo, hi)


def inputs_missing(core: SchedulerState, run: TaskBatch, holder: str, spans: tuple[TaskRange, ...]) -> None:
    """The run could not start for want of inputs."""
    alone = finish_batch(core, run)
    results_missing(core, holder, spans)
    drop_old_copies(core, run.worker, run.layer, run.lo, run.hi)
    discard_fetched(core, run.worker, [TaskRange(source.key, lo, hi) for source, lo, hi in run.fetched])
    if not alone:
        return
    if run.attempt >= MAX_ATTEMPTS:
        fail_permanently(
            core,
            run.layer,
            run.lo,
            run.hi,
            f"{run.layer.name}: its inputs could not be had {run.attempt} times",
            run.worker,
        )
    else:
        if run.attempt > MAX_LOCAL_ATTEMPTS:
            _rotate_worker(core, run)
        reschedule(core, run.layer, run.lo, run.hi, spread=run.attempt > MAX_LOCAL_ATTEMPTS)


def _rotate_worker(core: SchedulerState, run: TaskBatch) -> None:
    """Two workers may not reach each other though both are well: after a few tries somebody else has his turn, also
    when the inputs have to be made again first, by whoever that will be. One item goes to the next worker, so that each
    has it in turn; a longer layer is for all of them."""
    book = run.layer
    if book.n > 1:
        book.spread = True
        return
    others = sorted([worker.index for worker in core.workers.values() if worker.slots and not worker.barred])
    book.preferred_worker = next(
        (index for index in others if index > run.worker.index), others[0] if others else NOBODY
    )


def discard_fetched(core: SchedulerState, worker: Worker, fetched: Sequence[TaskRange]) -> None:
    """What a run that came to nothing has fetched is of no use, unless the books or the worker's other runs need it."""
    mine = worker.index
    for span in fetched:
        book = core.layers.get(span.layer)
        stray = IntervalSet(span.start, span.stop)
        if book is not None:
            for a, b, index in group_equal(book.holder, span.start, span.stop):
                if index == mine:  # it has made this itself since
                    stray.remove(a, b)
            for a, b in (book.copies or {}).get(mine, ()):  # another run of it has brought this
                stray.remove(a, b)
            for other in worker.batches.values():
                for source, a, b in other.fetched:
                    if source is book:
                        stray.remove(a, b)
        for a, b in stray:
            core.free_untracked(worker, span.layer, a, b)


def _held_by(book: LayerState, index: int) -> list[Interval]:
    if book.counts[DONE] == 0 or (book.n == 1 and book.holder[0] != index):
        return []
    return [(a, b) for a, b, holder in group_equal(book.holder, 0, book.n) if holder == index]


def _remove_holdings(core: SchedulerState, worker: Worker, losses: Stack) -> None:
    """The worker does not hold these: other workers' copies take their place, the rest is lost."""
    gone: Stack = []
    for book, lo, hi in losses:
        worker.items -= hi - lo
        worker.nbytes -= book.result_bytes(lo, hi)
        left = IntervalSet(lo, hi)
        for index, spans in list((book.copies or {}).items()):
            for a, b in left:
                for c, d in spans.overlap(a, b):
                    fill(book.holder, c, d, index)
                    other = core.by_index[index]
                    other.items += d - c
                    other.nbytes += book.result_bytes(c, d)
                    spans.remove(c, d)
                    left.remove(c, d)
                    core.notify_done(book, c, d)
            if not spans and book.copies:
                del book.copies[index]
        gone.extend([(book, a, b) for a, b in left])
    mark_lost(core, gone)
