"""The first minutes of a scheduler that was started again: inventory before anything is given out.

A new state has heard the journal: it knows every layer, want and failure, and no worker. What the workers of the last
epoch hold is adopted (`recovery.adopt`), what they are running is taken over here, under its old number; numbers of
this epoch's own runs begin above all of the last one's, so no report can be taken for another's. Until every worker
has spoken, or the grace has passed, nothing is given out: else what a late one holds would be made a second time.
Then the clients are told what is pending again. Deterministic functions on the `SchedulerState`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat

from howdah.engine.protocol.events import (
    ClientReturned,
    EpochOpened,
    LayerSpec,
    NotifyLost,
    StateRestored,
    TaskError,
    TasksFailed,
)
from howdah.engine.protocol.layers import TaskRange
from howdah.engine.scheduler.core import placement
from howdah.engine.scheduler.core.context import SchedulerState, ZombieBatch
from howdah.engine.scheduler.core.dispatch import TARGET_SECONDS, update_idle
from howdah.engine.scheduler.core.intervals import IntervalSet, fill
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
    Worker,
)
from howdah.engine.scheduler.core.transitions import add_counts, errors_in, fail_items

EPOCH_BITS = 32
"""Bits of a run's number below its epoch's."""


def on_epoch_opened(core: SchedulerState, event: EpochOpened) -> None:
    """From now on this scheduler speaks for itself."""
    core.epoch = event.epoch
    core.next_batch = event.epoch << EPOCH_BITS
    core.awaited_workers = set(event.workers) - core.workers.keys()
    core.hold_until = core.now + event.grace


def is_taking_inventory(core: SchedulerState) -> bool:
    """Whether the inventory goes on; if it has just ended, what has to be said and placed then is."""
    if core.awaited_workers and core.now < core.hold_until:
        return True
    core.awaited_workers = None
    for book in core.layers.values():
        if book.host_sets is not None:  # without workers no host was worth waiting for
            for lo, hi in book.in_state(0, book.n, READY):
                placement.withdraw(book, lo, hi)
                placement.place(core, book, lo, hi)
        elif book.resources and ANYWHERE in book.ready:
            placement.start_wait(core, book, ANYWHERE, placement.STUCK_WAIT)
        if book.n <= MAX_PIPELINED and book.counts[WAITING] == book.n:
            core.pipelining_candidates.append(book)
        for client in book.interests:
            notify_pending(core, book, client)
    core.placement_version += 1
    return False


def on_client_returned(core: SchedulerState, event: ClientReturned) -> None:
    """Say again what is true of all that the client wants."""
    client = core.clients.get(event.client)
    for book in client.layers if client is not None else ():
        for lo, hi in book.interests.get(event.client, ()):
            for a, b in book.in_state(lo, hi, DONE):
                core.notify_done(book, a, b, event.client)
            for a, b, origin in errors_in(book, lo, hi):
                core.notify_failed(book, a, b, origin, event.client)
        if core.awaited_workers is None:
            notify_pending(core, book, event.client)


def notify_pending(core: SchedulerState, book: LayerState, client: str) -> None:
    """The client may have been told that these are done."""
    left = IntervalSet()
    for lo, hi in book.interests.get(client, ()):
        left.add(lo, hi)
        for code in (DONE, FAILED):
            for a, b in book.in_state(lo, hi, code):
                left.remove(a, b)
    core.instructions.extend([NotifyLost(client, TaskRange(book.key, lo, hi)) for lo, hi in left])


def on_tasks_failed(core: SchedulerState, event: TasksFailed) -> None:
    """The journal says that these failed."""
    restore_failure(core, event.range, event.error, event.range)


def restore_failure(core: SchedulerState, span: TaskRange, error: TaskError, origin: TaskRange) -> None:
    book = core.layers.get(span.layer)
    if book is not None:
        for code in (READY, WAITING):
            fail_items(core, book, span.start, min(span.stop, book.n), code, (error, *origin))


# -- runs of the last epoch -------------------------------------------------------------------------------------------


def take_over_batches(
    core: SchedulerState,
    worker: Worker,
    running: Sequence[tuple[int, int]],
    spans: Sequence[TaskRange],
    inputs: Sequence[tuple[TaskRange, ...]],
) -> None:
    """What the worker was given in an earlier epoch goes on there, where its items are still needed and nowhere else.

    Other runs of that kind are asked back, and what they have made all the same is taken if it comes in time; what they
    were to fetch is dropped then. To be called before `recovery.rejoin`.
    """
    for (ident, attempt), span, fetched in zip(running, spans, inputs or repeat(())):
        if ident >> EPOCH_BITS >= core.epoch or not len(span) or ident in core.batches:
            continue
        book = core.layers.get(span.layer)
        if (
            book is None
            or not 0 <= span.start < span.stop <= book.n
            or not _take_over_batch(core, worker, book, span, ident, attempt)
        ):
            core.zombies.setdefault(worker.name, {})[ident, attempt] = ZombieBatch(span, fetched)


def _take_over_batch(
    core: SchedulerState, worker: Worker, book: LayerState, span: TaskRange, ident: int, attempt: int
) -> bool:
    _, lo, hi = span
    if any(book.in_state(lo, hi, code) for code in (RUNNING, DONE, FAILED)):
        return False
    wanted = book.in_state(lo, hi, WAITING) + book.in_state(lo, hi, READY)
    if not wanted or not book.priorities:
        return False
    run = TaskBatch(ident, attempt, book, lo, hi, worker)
    client = core.clients[min(book.priorities, key=book.priorities.__getitem__)]
    run.client, run.started = client.name, core.now
    for a, b in book.in_state(lo, hi, IDLE):  # the rest of the run, which nobody needs: begun all the same
        core.transition(book, a, b, IDLE, WAITING)
        _add_input_refs(book, a, b)
    for code in (READY, WAITING):
        for a, b in book.in_state(lo, hi, code):
            if code == READY:
                placement.withdraw(book, a, b)
            core.transition(book, a, b, code, RUNNING, run)
    fill(book.attempts, lo, hi, attempt)
    core.batches[ident] = worker.batches[ident] = run
    book.batches[run] = None
    worker.backlog += TARGET_SECONDS
    client.running += 1
    for name, amount in book.resources:
        worker.available[name] = worker.available.get(name, 0.0) - amount
    # When it ends, the worker has what it needed.
    run.fetched = [(edge.source, a, b) for edge in book.inputs for a, b in edge.wiring.cover(lo, hi)]
    update_idle(core, worker)
    return True


def _add_input_refs(book: LayerState, lo: int, hi: int) -> None:
    """Claim the inputs without asking for them: who runs has them, or says so."""
    fill(book.unfinished_deps, lo, hi, 0)
    for edge in book.inputs:
        if edge.broadcast:
            edge.source.broadcast_refs += hi - lo
        else:
            add_counts(edge.source.dependent_refs, edge.wiring.inputs(lo, hi), 1)


# -- a snapshot -------------------------------------------------------------------------------------------------------


def snapshot(core: SchedulerState) -> StateRestored:
    """All that a new state must be told to be where this one is, but for what workers know."""
    books = list(core.layers.values())
    names = core.clients
    return StateRestored(
        tuple([spec_of(book) for book in books]),
        tuple([(client.name, client.weight) for client in names.values()]),
        tuple([(name, book.key, order) for book in books for name, order in book.priorities.items()]),
        tuple([(name, _ranges_of_client(books, name)) for name in names]),
        tuple(
            [
                (TaskRange(book.key, lo, hi), error, TaskRange(key, first, last))
                for book in books
                for lo, (hi, (error, key, first, last)) in (book.errors or {}).items()
            ]
        ),
    )


def _ranges_of_client(books: Sequence[LayerState], client: str) -> tuple[TaskRange, ...]:
    return tuple([TaskRange(book.key, lo, hi) for book in books for lo, hi in book.interests.get(client, ())])


def spec_of(book: LayerState) -> LayerSpec:
    """The layer as it was submitted, with as many arguments as have arrived."""
    hosts = book.host_sets or ()
    return LayerSpec(
        book.key,
        book.name,
        book.n,
        book.deps,
        hosts,
        tuple([int(i) for i in book.host_index]) if hosts else (),
        tuple([int(i) for i in book.nbytes]) if book.nbytes is not None else (),
        book.retries,
        book.resources,
        book.arrived if book.arrived < book.n else -1,
        book.function,
        book.constraint.workers if book.constraint is not None else (),
        book.constraint is not None and book.constraint.allow_other_workers,
        timeout=book.timeout,
        spread=book.spread,
    )
