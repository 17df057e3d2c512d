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
    BooksRestored,
    ClientReturned,
    EpochOpened,
    LayerSpec,
    TaskError,
    TasksFailed,
    TellLost,
)
from howdah.engine.protocol.layers import TaskRange
from howdah.engine.scheduler.core import placement
from howdah.engine.scheduler.core.context import Ghost, SchedulerState
from howdah.engine.scheduler.core.dispatch import TARGET, note_room
from howdah.engine.scheduler.core.intervals import IntervalSet, put
from howdah.engine.scheduler.core.tables import (
    ANYWHERE,
    DONE,
    FAILED,
    IDLE,
    MOST_AHEAD,
    READY,
    RUNNING,
    WAITING,
    LayerState,
    TaskBatch,
    Worker,
)
from howdah.engine.scheduler.core.transitions import bump, errors_in, fail

EPOCH_RUNS = 32
"""Bits of a run's number below its epoch's."""


def open_epoch(core: SchedulerState, event: EpochOpened) -> None:
    """From now on this scheduler speaks for itself."""
    core.epoch = event.epoch
    core.next_run = event.epoch << EPOCH_RUNS
    core.expected = set(event.workers) - core.workers.keys()
    core.hold_until = core.now + event.grace


def holds(core: SchedulerState) -> bool:
    """Whether the inventory goes on; if it has just ended, what has to be said and placed then is."""
    if core.expected and core.now < core.hold_until:
        return True
    core.expected = None
    for book in core.books.values():
        if book.host_sets is not None:  # without workers no host was worth waiting for
            for lo, hi in book.where(0, book.n, READY):
                placement.unplace(book, lo, hi)
                placement.place(core, book, lo, hi)
        elif book.resources and ANYWHERE in book.ready:
            placement._wait(core, book, ANYWHERE, placement.STUCK_WAIT)
        if book.n <= MOST_AHEAD and book.counts[WAITING] == book.n:
            core.chained.append(book)
        for client in book.wanters:
            tell_lost(core, book, client)
    core.stamp += 1
    return False


def client_returned(core: SchedulerState, event: ClientReturned) -> None:
    """Say again what is true of all that the client wants."""
    client = core.clients.get(event.client)
    for book in client.books if client is not None else ():
        for lo, hi in book.wanters.get(event.client, ()):
            for a, b in book.where(lo, hi, DONE):
                core.tell_done(book, a, b, event.client)
            for a, b, origin in errors_in(book, lo, hi):
                core.tell_failed(book, a, b, origin, event.client)
        if core.expected is None:
            tell_lost(core, book, event.client)


def tell_lost(core: SchedulerState, book: LayerState, client: str) -> None:
    """The client may have been told that these are done."""
    left = IntervalSet()
    for lo, hi in book.wanters.get(client, ()):
        left.add(lo, hi)
        for code in (DONE, FAILED):
            for a, b in book.where(lo, hi, code):
                left.remove(a, b)
    core.out.extend([TellLost(client, TaskRange(book.key, lo, hi)) for lo, hi in left])


def tasks_failed(core: SchedulerState, event: TasksFailed) -> None:
    """The journal says that these failed."""
    fail_again(core, event.span, event.error, event.span)


def fail_again(core: SchedulerState, span: TaskRange, error: TaskError, origin: TaskRange) -> None:
    book = core.books.get(span.layer)
    if book is not None:
        for code in (READY, WAITING):
            fail(core, book, span.start, min(span.stop, book.n), code, (error, *origin))


# -- runs of the last epoch -------------------------------------------------------------------------------------------


def take_over(
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
        if ident >> EPOCH_RUNS >= core.epoch or not len(span) or ident in core.runs:
            continue
        book = core.books.get(span.layer)
        if (
            book is None
            or not 0 <= span.start < span.stop <= book.n
            or not _adopt(core, worker, book, span, ident, attempt)
        ):
            core.ghosts.setdefault(worker.name, {})[ident, attempt] = Ghost(span, fetched)


def _adopt(core: SchedulerState, worker: Worker, book: LayerState, span: TaskRange, ident: int, attempt: int) -> bool:
    _, lo, hi = span
    if any(book.where(lo, hi, code) for code in (RUNNING, DONE, FAILED)):
        return False
    wanted = book.where(lo, hi, WAITING) + book.where(lo, hi, READY)
    if not wanted or not book.clients:
        return False
    run = TaskBatch(ident, attempt, book, lo, hi, worker)
    client = core.clients[min(book.clients, key=book.clients.__getitem__)]
    run.client, run.started = client.name, core.now
    for a, b in book.where(lo, hi, IDLE):  # the rest of the run, which nobody needs: begun all the same
        core.move(book, a, b, IDLE, WAITING)
        _claim(book, a, b)
    for code in (READY, WAITING):
        for a, b in book.where(lo, hi, code):
            if code == READY:
                placement.unplace(book, a, b)
            core.move(book, a, b, code, RUNNING, run)
    put(book.tries, lo, hi, attempt)
    core.runs[ident] = worker.runs[ident] = run
    book.runs[run] = None
    worker.backlog += TARGET
    client.running += 1
    for name, amount in book.resources:
        worker.free[name] = worker.free.get(name, 0.0) - amount
    # When it ends, the worker has what it needed.
    run.fetched = [(edge.source, a, b) for edge in book.ins for a, b in edge.wiring.cover(lo, hi)]
    note_room(core, worker)
    return True


def _claim(book: LayerState, lo: int, hi: int) -> None:
    """Claim the inputs without asking for them: who runs has them, or says so."""
    put(book.missing, lo, hi, 0)
    for edge in book.ins:
        if edge.every:
            edge.source.claims += hi - lo
        else:
            bump(edge.source.need, edge.wiring.inputs(lo, hi), 1)


# -- a snapshot -------------------------------------------------------------------------------------------------------


def snapshot(core: SchedulerState) -> BooksRestored:
    """All that a new state must be told to be where this one is, but for what workers know."""
    books = list(core.books.values())
    names = core.clients
    return BooksRestored(
        tuple([spec_of(book) for book in books]),
        tuple([(client.name, client.weight) for client in names.values()]),
        tuple([(name, book.key, order) for book in books for name, order in book.clients.items()]),
        tuple([(name, _wants(books, name)) for name in names]),
        tuple(
            [
                (TaskRange(book.key, lo, hi), error, TaskRange(key, first, last))
                for book in books
                for lo, (hi, (error, key, first, last)) in (book.errors or {}).items()
            ]
        ),
    )


def _wants(books: Sequence[LayerState], client: str) -> tuple[TaskRange, ...]:
    return tuple([TaskRange(book.key, lo, hi) for book in books for lo, hi in book.wanters.get(client, ())])


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
        book.asks.only if book.asks is not None else (),
        book.asks is not None and book.asks.loose,
        timeout=book.timeout,
        spread=book.spread,
    )
