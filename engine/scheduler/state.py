"""The scheduler's state: `State.handle(event, now) -> instructions`. Nothing in it can block, wait or fail to answer.

Theory of operation
-------------------
The scheduler is a function of the events that it has seen. It owns no socket, reads no clock and throws no dice: the
same events at the same times give the same instructions (`records.py` has both). Workers hold no opinions: they run
what `StartRun` names, keep what they made and fetched until `FreeSpans` names it, and report.

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

*Layers* are forgotten when no client wants an item of them, nothing of them is unfinished or kept, and no layer that
is remembered depends on them: a remembered layer's ancestors are its lineage.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from howdah.engine.graph.layer import Key, OneToOne, Span
from howdah.engine.graph.patterns import problem_of, wiring
from howdah.engine.scheduler import ahead, assign, needs, placement, recovery, requests, speculate
from howdah.engine.scheduler.books import (
    DONE,
    FAILED,
    IDLE,
    NOBODY,
    READY,
    RUNNING,
    WAITING,
    Account,
    Book,
    Client,
    Edge,
    Run,
    Worker,
)
from howdah.engine.scheduler.core import Core, table
from howdah.engine.scheduler.lifecycle import Stack, demand, errors_in, fail, make_ready, settle
from howdah.engine.scheduler.order import depth_first
from howdah.engine.scheduler.records import (
    ArgumentsArrived,
    CancelRequested,
    ClientJoined,
    ClientLeft,
    CopiesMade,
    Event,
    ForgetLayer,
    GraphSubmitted,
    InputsMissing,
    Instruction,
    LayerSpec,
    RacksKnown,
    Released,
    ResultsMissing,
    RetryRequested,
    RunDone,
    RunReturned,
    SlotsChanged,
    TaskError,
    TellFailed,
    Tick,
    WorkerJoined,
    WorkerLeft,
)
from howdah.engine.scheduler.spans import SpanSet, add, equal_stretches
from howdah.engine.scheduler.summary import LayerSummary, layer_summary, summarise, to_dict

__all__ = ["State", "table"]

MOST_PAST = 1000
"""Names of forgotten layers whose accounts are kept apart."""


class State:
    """The one brain. See the module's text.

    Parameters
    ----------
    speculation : start a second run of an item that takes much longer than its layer's others, on an idle worker; the
        first result counts. Off by default: it is right only for functions without side effects.

    Examples
    --------
    >>> from howdah.engine.scheduler.records import *
    >>> state = State()
    >>> _ = state.handle(WorkerJoined(WorkerInfo("w", "node1")), 0.0)
    >>> layer = LayerSpec(b"k" * 16, "inc", 2)
    >>> state.handle(GraphSubmitted("me", (layer,), (Span(layer.key, 0, 2),)), 0.0)[0].span[1:]
    (0, 1)
    >>> state.handle(RunDone("w", 1, 1, (28,), 0.001), 0.1)[0]  # doctest: +ELLIPSIS
    TellDone(client='me', span=Span(layer=b'kkkkkkkkkkkkkkkk', start=0, stop=1), holder='w')
    """

    def __init__(self, speculation: bool = False) -> None:
        self.core = Core()
        self.core.speculating = speculation
        self._handlers: dict[type[Any], Callable[[Any], Worker | None]] = {
            ClientJoined: self.on_client_joined,
            ClientLeft: self.on_client_left,
            GraphSubmitted: self.on_graph_submitted,
            ArgumentsArrived: self.on_arguments_arrived,
            Released: self.on_released,
            CancelRequested: self.on_cancel_requested,
            WorkerJoined: self.on_worker_joined,
            WorkerLeft: self.on_worker_left,
            RunDone: self.on_run_done,
            InputsMissing: self.on_inputs_missing,
            RunReturned: self.on_run_returned,
            ResultsMissing: self.on_results_missing,
            RetryRequested: lambda event: requests.retry(self.core, event),
            CopiesMade: lambda event: requests.copies_made(self.core, event),
            SlotsChanged: lambda event: requests.slots_changed(self.core, event),
            RacksKnown: self.on_racks_known,
            Tick: self.on_tick,
        }

    def handle(self, event: Event, now: float) -> list[Instruction]:
        """Take one event; `now` is any clock that does not run backwards, in seconds."""
        core = self.core
        core.now = max(core.now, now)
        core.out = []
        reporter = self._handlers[type(event)](event)
        if core.waits and core.waits[0][0] <= core.now:
            placement.end_waits(core)
        if core.frees or core.free_chunks:
            core.flush_frees()
        if core.closing:
            self._forget_layers()
        if core.idle or core.open:
            assign.schedule(core, reporter)
        if core.chained or (reporter is not None and reporter.later):
            ahead.offer(core, reporter)
        return core.out

    @property
    def wake_at(self) -> float | None:
        """When a `Tick` is due at the latest, if nothing else happens before."""
        return self.core.waits[0][0] if self.core.waits else None

    def summary(self, layers: bool = True) -> dict[str, Any]:
        """Progress per layer, and the accounts of locality and movement, for JSON; without `layers`, the sums alone.

        The fields are those of `summary.Summary`, and in "layers" those of `summary.LayerSummary`.
        """
        return to_dict(summarise(self.core, layers))

    def progress(self, client: str) -> list[LayerSummary]:
        """The layers that the client has an interest in."""
        known = self.core.clients.get(client)
        return [layer_summary(book) for book in known.books] if known else []

    def holder_of(self, span: Span) -> list[tuple[Span, str]]:
        """Which worker has which of these results; items without a result are left out."""
        book = self.core.books.get(span.layer)
        if book is None:
            return []
        parts = equal_stretches(book.holder, span.start, min(span.stop, book.n))
        return [(Span(book.key, a, b), self.core.by_index[h].name) for a, b, h in parts if h != NOBODY]

    # -- clients ----------------------------------------------------------------------------------------------------

    def on_client_joined(self, event: ClientJoined) -> None:
        known = self.core.clients.get(event.client)
        if known is None:
            self.core.clients[event.client] = Client(event.client, event.weight, self.core.clock)
        else:
            known.weight = max(event.weight, 1e-6)

    def on_client_left(self, event: ClientLeft) -> None:
        client = self.core.clients.get(event.client)
        if client is None:
            return
        loose: Stack = []
        for book in client.books:
            book.clients.pop(client.name, None)
            spans = book.wanters.get(client.name)
            for lo, hi in list(spans) if spans is not None else ():
                self._unwant(book, client.name, lo, hi, loose)
        del self.core.clients[client.name]
        settle(self.core, loose)

    def on_graph_submitted(self, event: GraphSubmitted) -> None:
        core = self.core
        client = core.clients.get(event.client)
        if client is None:
            client = core.clients[event.client] = Client(event.client, 1.0, core.clock)
        problem = self._problem_of(event)
        if problem is not None:
            for span in event.wanted:
                core.out.append(TellFailed(client.name, span, TaskError("invalid", problem), span))
            return
        core.next_graph += 1
        depths = depth_first(event.layers, event.wanted)
        for spec in event.layers:
            book = core.books.get(spec.key)
            if book is None:
                book = self._add_book(spec)
            order = (-event.priority - spec.priority, core.next_graph, -depths.get(spec.key, 0))
            if client.name not in book.clients:
                self._interest(client, book, order)
        for span in event.wanted:
            self._want(client.name, core.books[span.layer], span.start, span.stop)
        for spec in event.layers:
            book = core.books[spec.key]
            if not book.out and not book.wanters and book.counts[IDLE] == book.n:
                core.closing[book] = None

    def on_arguments_arrived(self, event: ArgumentsArrived) -> None:
        book = self.core.books.get(event.layer)
        if book is None or event.stop <= book.arrived:
            return
        lo, hi = book.arrived, min(event.stop, book.n)
        book.arrived = hi
        add(book.missing, lo, hi, -1)
        for a, b in book.complete_stretches(lo, hi):
            make_ready(self.core, book, a, b)

    def _problem_of(self, event: GraphSubmitted) -> str | None:
        lengths: dict[Key, int] = {}
        books = self.core.books
        for spec in event.layers:
            known = books.get(spec.key)
            if known is not None and known.n != spec.n:
                return f"{spec.name}: another layer of {known.n} items, not {spec.n}, is known under its key"
            for dep in spec.deps:
                n = lengths.get(dep.layer)
                if n is None:
                    source = books.get(dep.layer)
                    if source is None:
                        return f"{spec.name}: needs a layer that is not in the graph and not known (any more)"
                    n = source.n
                if type(dep.pattern) is not OneToOne or n != spec.n:
                    problem = problem_of(dep.pattern, spec.n, n)
                    if problem is not None:
                        return f"{spec.name}: {problem}"
            if spec.host_sets and len(spec.host_index) != spec.n:
                return f"{spec.name}: preferred hosts for {len(spec.host_index)} of {spec.n} items"
            if spec.nbytes and len(spec.nbytes) != spec.n:
                return f"{spec.name}: sizes for {len(spec.nbytes)} of {spec.n} items"
            lengths[spec.key] = spec.n
        for span in event.wanted:
            n = lengths.get(span.layer)
            if n is None and span.layer in books:
                n = books[span.layer].n
            if n is None:
                return "a wanted layer is not in the graph and not known (any more)"
            if not 0 <= span.start <= span.stop <= n:
                return f"wanted items {span.start}:{span.stop} of a layer of {n}"
        return None

    def _add_book(self, spec: LayerSpec) -> Book:
        core = self.core
        book = Book(core.next_book, spec)
        core.next_book += 1
        core.books[spec.key] = book
        needs.layer_came(core, book)
        for dep in spec.deps:
            source = core.books[dep.layer]
            edge = Edge(source, book, wiring(dep.pattern, book.n, source.n))
            book.ins.append(edge)
            source.out[edge] = None
        return book

    def _interest(self, client: Client, book: Book, order: tuple[int, int, int]) -> None:
        """The client pays for the layer's runs when its turn comes, and for those of the layers below it."""
        stack = [book]
        while stack:
            book = stack.pop()
            if client.name in book.clients:
                continue
            book.clients[client.name] = order
            client.books[book] = None
            if book.ready:
                placement.show_to(self.core, book, client.name)
            for edge in book.ins:
                stack.append(edge.source)

    def _want(self, client: str, book: Book, lo: int, hi: int) -> None:
        core = self.core
        spans = book.wanters.get(client)
        if spans is None:
            if hi - lo == book.n > 0 and book.counts[IDLE] == book.n:  # the common case
                book.wanters[client] = SpanSet(lo, hi)
                add(book.wanted, lo, hi, 1)
                demand(core, [(book, lo, hi)])
                return
            spans = book.wanters[client] = SpanSet()
        for a, b in spans.gaps(lo, hi):
            add(book.wanted, a, b, 1)
        if lo < hi:
            spans.add(lo, hi)
        if not spans:
            del book.wanters[client]
            core.closing[book] = None
            return
        for a, b in book.where(lo, hi, DONE):
            core.tell_done(book, a, b, client)
        if book.counts[FAILED]:
            for a, b, origin in errors_in(book, lo, hi):
                core.tell_failed(book, a, b, origin, client)
        if book.counts[IDLE]:
            demand(core, [(book, lo, hi)])

    def _unwant(self, book: Book, client: str, lo: int, hi: int, loose: Stack) -> None:
        spans = book.wanters.get(client)
        if spans is None:
            return
        for a, b in spans.overlap(lo, hi):
            add(book.wanted, a, b, -1)
            loose.append((book, a, b))
        if hi - lo == book.n:
            del book.wanters[client]
            return
        spans.remove(lo, hi)
        if not spans:
            del book.wanters[client]

    def on_released(self, event: Released) -> None:
        loose: Stack = []
        for span in event.spans:
            book = self.core.books.get(span.layer)
            if book is not None:
                self._unwant(book, event.client, span.start, span.stop, loose)
        settle(self.core, loose)

    def on_cancel_requested(self, event: CancelRequested) -> None:
        """What only this client wants fails with kind "cancelled", and what waits for it; what others want goes on."""
        core = self.core
        error = TaskError("cancelled", "cancelled by its client")
        loose: Stack = []
        for span in event.spans:
            book = core.books.get(span.layer)
            if book is None:
                continue
            origin = (error, book.key, span.start, span.stop)
            if set(book.clients) <= {event.client}:
                for code in (WAITING, READY):
                    for lo, hi in book.where(span.start, span.stop, code):
                        fail(core, book, lo, hi, code, origin)
            spans = book.wanters.get(event.client)
            for lo, hi in spans.overlap(span.start, span.stop) if spans is not None else ():
                for a, b in book.where(lo, hi, RUNNING) + book.where(lo, hi, WAITING) + book.where(lo, hi, READY):
                    core.tell_failed(book, a, b, origin, event.client)
            self._unwant(book, event.client, span.start, span.stop, loose)
        settle(core, loose)

    # -- workers ----------------------------------------------------------------------------------------------------

    def on_worker_joined(self, event: WorkerJoined) -> Worker:
        core = self.core
        worker = core.workers.get(event.worker.name)
        if worker is not None and worker.info.pid != event.worker.pid:
            recovery.leave(core, worker, "another process has taken its name", clean=False)
            worker = None
        if worker is None:
            worker = recovery.join(core, event.worker)
        worker.info = event.worker
        recovery.rejoin(core, worker, event.holdings, event.running)
        return worker

    def on_worker_left(self, event: WorkerLeft) -> None:
        worker = self.core.workers.get(event.worker)
        if worker is not None:
            recovery.leave(self.core, worker, event.reason, event.clean)

    def _run_of(self, event: RunDone | InputsMissing | RunReturned) -> Run | None:
        """The run that a report is about; None if it is not, or no longer, a run of that worker and attempt."""
        run = self.core.runs.get(event.run)
        if run is None or run.attempt != event.attempt or run.worker.name != event.worker:
            self.core.stale_reports += 1
            return None
        return run

    def on_run_done(self, event: RunDone) -> Worker | None:
        run = self._run_of(event)
        if run is None:
            known = self.core.workers.get(event.worker)
            if known is not None:
                recovery.late(self.core, known, event.run, event.attempt, event.sizes)
            return known
        core, book, worker = self.core, run.book, run.worker
        lo, tried = run.lo, min(len(event.sizes), run.hi - run.lo)
        sizes = event.sizes if tried == len(event.sizes) else event.sizes[:tried]
        twin = run.twin
        assign.retire(core, run)
        if twin is not None:
            speculate.too_late(core, twin)
        assign.learn(core, run, tried, event.seconds)
        failed = {offset: error for offset, error in event.errors if offset < tried}
        at = 0
        for offset in [*sorted(failed), tried]:
            if at < offset:
                assign.credit(core, run, lo + at, lo + offset)
                part = sizes if at == 0 and offset == tried else sizes[at:offset]
                recovery.accept(core, book, lo + at, lo + offset, RUNNING, worker, part, run)
            at = offset + 1
        for offset, error in failed.items():
            recovery.drop_old_copies(core, worker, book, lo + offset, lo + offset + 1)
            recovery.raised(core, book, lo + offset, error)
        if lo + tried < run.hi:
            recovery.drop_old_copies(core, worker, book, lo + tried, run.hi)
            recovery.unstart(core, book, lo + tried, run.hi)
        if run.fetched:  # now that its own need for them has ended: most of them may go at once
            assign.keep_copies(core, run)
        return worker

    def on_run_returned(self, event: RunReturned) -> Worker | None:
        run = self._run_of(event)
        if run is None:
            return None
        cut = run.lo + max(0, event.start)
        if cut < run.hi:
            tail = (cut, run.hi)
            recovery.drop_old_copies(self.core, run.worker, run.book, *tail)
            add(run.book.tries, *tail, -1)
            if cut == run.lo:
                alone = assign.retire(self.core, run)
                if run.fetched:
                    assign.keep_copies(self.core, run)
                if not alone:
                    return run.worker
            else:
                assign.shorten(self.core, run, cut)
            recovery.unstart(self.core, run.book, *tail, spread=True)
        return run.worker

    def on_inputs_missing(self, event: InputsMissing) -> Worker | None:
        run = self._run_of(event)
        if run is None:
            return None
        recovery.run_without_inputs(self.core, run, event.holder, event.spans)
        return run.worker

    def on_results_missing(self, event: ResultsMissing) -> None:
        recovery.missing_at(self.core, event.holder, event.spans)

    def on_racks_known(self, event: RacksKnown) -> None:
        for host, rack in event.racks:
            self.core.rack_of.setdefault(host.lower(), rack)

    def on_tick(self, event: Tick) -> None:
        if self.core.speculating:
            speculate.look(self.core)
        self.core.stamp += 1  # everybody may look again: backlogs have changed

    # -- forgetting -------------------------------------------------------------------------------------------------

    def _forget_layers(self) -> None:
        core = self.core
        while core.closing:
            book, _ = core.closing.popitem()
            if book.counts[IDLE] != book.n or book.wanters or book.out or book.key not in core.books:
                continue
            del core.books[book.key]
            needs.layer_went(core, book)
            for edge in book.ins:
                del edge.source.out[edge]
                core.closing[edge.source] = None
            for name in book.clients:
                core.clients[name].books.pop(book, None)
            if book.account is not None:
                name = book.name if book.name in core.past or len(core.past) < MOST_PAST else "(others)"
                core.past.setdefault(name, Account()).add(book.account)
            core.out.append(ForgetLayer(book.key))
