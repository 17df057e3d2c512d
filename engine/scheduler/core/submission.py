"""What clients want of which layers, from the first submission until the layer is forgotten (see `state`).

Called by `State` alone, with an event or what it says.
"""

from __future__ import annotations

from howdah.engine.protocol.events import (
    ArgumentsArrived,
    BooksRestored,
    ClientJoined,
    ForgetLayer,
    GraphSubmitted,
    LayerSpec,
    TaskError,
    TellFailed,
)
from howdah.engine.protocol.layers import Key, OneToOne
from howdah.engine.protocol.patterns import problem_of, wiring
from howdah.engine.scheduler.core import constraints as needs
from howdah.engine.scheduler.core import placement
from howdah.engine.scheduler.core import restart as epoch
from howdah.engine.scheduler.core.context import SchedulerState
from howdah.engine.scheduler.core.intervals import IntervalSet, add
from howdah.engine.scheduler.core.priorities import depth_first
from howdah.engine.scheduler.core.tables import (
    DONE,
    FAILED,
    IDLE,
    Account,
    Client,
    Edge,
    LayerState,
    book_of,
)
from howdah.engine.scheduler.core.transitions import Stack, demand, errors_in, make_ready

THE_ONE = IntervalSet(0, 1)
"""What clients want of layers of one item: all or nothing, so one set serves all of them. Nobody changes it."""

MOST_PAST = 1000
"""Names of forgotten layers whose accounts are kept apart."""


def client_joined(core: SchedulerState, event: ClientJoined) -> None:
    known = core.clients.get(event.client)
    if known is None:
        core.clients[event.client] = Client(event.client, event.weight, core.clock)
    else:
        known.weight = max(event.weight, 1e-6)


def submitted(core: SchedulerState, event: GraphSubmitted) -> None:
    client = core.clients.get(event.client)
    if client is None:
        client = core.clients[event.client] = Client(event.client, 1.0, core.clock)
    problem = _problem_of(core, event)
    if problem is not None:
        for span in event.wanted:
            core.out.append(TellFailed(client.name, span, TaskError("invalid", problem), span))
        return
    core.next_graph += 1
    depths = depth_first(event.layers, event.wanted)
    added: list[LayerState] = []
    for spec in event.layers:
        book = core.books.get(spec.key)
        if book is None:
            book = _add_book(core, spec)
        added.append(book)
        if client.name not in book.clients:
            _interest(core, client, book, (-event.priority - spec.priority, core.next_graph, -depths.get(spec.key, 0)))
    for span in event.wanted:
        want(core, client.name, core.books[span.layer], span.start, span.stop)
    for book in added:
        if book.counts[IDLE] == book.n and not book.out and not book.wanters:
            core.closing[book] = None


def arguments_arrived(core: SchedulerState, event: ArgumentsArrived) -> None:
    book = core.books.get(event.layer)
    if book is None or event.stop <= book.arrived:
        return
    lo, hi = book.arrived, min(event.stop, book.n)
    book.arrived = hi
    add(book.missing, lo, hi, -1)
    for a, b in book.complete_stretches(lo, hi):
        make_ready(core, book, a, b)


def restored(core: SchedulerState, event: BooksRestored) -> None:
    for name, weight in event.clients:
        client_joined(core, ClientJoined(name, weight))
    for spec in event.layers:
        if spec.key not in core.books:
            _add_book(core, spec)
    for name, key, (priority, graph, depth) in event.interests:
        core.next_graph = max(core.next_graph, graph)
        core.books[key].clients[name] = (priority, graph, depth)
        core.clients[name].books[core.books[key]] = None
    for name, spans in event.wants:
        for span in spans:
            want(core, name, core.books[span.layer], span.start, span.stop)
    for span, error, origin in event.failures:
        epoch.fail_again(core, span, error, origin)
    core.closing.update(dict.fromkeys(core.books.values()))  # layers may have been there for what ran, unneeded


def _problem_of(core: SchedulerState, event: GraphSubmitted) -> str | None:
    lengths: dict[Key, int] = {}
    books = core.books
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
        if spec.host_sets and len(spec.host_index) != spec.n and (spec.host_index or len(spec.host_sets) > 1):
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


def _add_book(core: SchedulerState, spec: LayerSpec) -> LayerState:
    if spec.key in core.late_frees:  # a layer of this key is over, and begins anew
        core.flush_late()
    book = book_of(core.next_book, spec)
    core.next_book += 1
    core.books[spec.key] = book
    if book.asks is not None:
        needs.layer_came(core, book.asks, book.place)
    if spec.deps:
        edges = []
        for dep in spec.deps:
            source = core.books[dep.layer]
            wires = wiring(dep.pattern, book.n, source.n)
            edge = Edge(source, book, wires, wires.every, wires.single and book.n == 1)
            edges.append(edge)
            source.out[edge] = None
        book.ins = tuple(edges)
    return book


def _interest(core: SchedulerState, client: Client, book: LayerState, order: tuple[int, int, int]) -> None:
    """The client pays for the layer's runs when its turn comes, and for those of the layers below it."""
    name = client.name
    stack = [book]
    while stack:
        book = stack.pop()
        if name in book.clients:
            continue
        book.clients[name] = order
        client.books[book] = None
        if book.ready:
            placement.show_to(core, book, name)
        for edge in book.ins:
            if name not in edge.source.clients:
                stack.append(edge.source)


def want(core: SchedulerState, client: str, book: LayerState, lo: int, hi: int) -> None:
    spans = book.wanters.get(client)
    if spans is None:
        if hi - lo == book.n > 0 and book.counts[IDLE] == book.n:  # the common case
            book.wanters[client] = THE_ONE if book.n == 1 else IntervalSet(lo, hi)
            add(book.wanted, lo, hi, 1)
            demand(core, [(book, lo, hi)])
            return
        spans = book.wanters[client] = IntervalSet()
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


def unwant(core: SchedulerState, book: LayerState, client: str, lo: int, hi: int, loose: Stack) -> None:
    spans = book.wanters.get(client)
    if spans is None:
        return
    if hi - lo == book.n == 1:
        book.wanted[0] -= 1
        loose.append((book, 0, 1))
        del book.wanters[client]
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


def forget(core: SchedulerState) -> None:
    while core.closing:
        book, _ = core.closing.popitem()
        if book.counts[IDLE] != book.n or book.wanters or book.out or book.key not in core.books:
            continue
        del core.books[book.key]
        if book.asks is not None:
            needs.layer_went(core, book.asks)
        for edge in book.ins:
            source = edge.source
            del source.out[edge]
            if source.counts[IDLE] == source.n:
                core.closing[source] = None
        book.ins = ()  # an edge knows its target: this circle nobody else takes apart
        for name in book.clients:
            core.clients[name].books.pop(book, None)
        if book.account is not None:
            past = core.past.get(book.name)
            if past is None:
                name = book.name if len(core.past) < MOST_PAST else "(others)"
                past = core.past.setdefault(name, Account())
            past.add(book.account)
        core.out.append(ForgetLayer(book.key))
