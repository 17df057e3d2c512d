"""What clients want of which layers, from the first submission until the layer is forgotten (see `state`).

Called by `State` alone, with an event or what it says.
"""

from __future__ import annotations

from howdah.engine.protocol.events import (
    ArgumentsArrived,
    ClientJoined,
    ForgetLayer,
    GraphSubmitted,
    LayerSpec,
    NotifyFailed,
    StateRestored,
    TaskError,
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
    Client,
    Edge,
    LayerState,
    LayerStatistics,
    new_layer_state,
)
from howdah.engine.scheduler.core.transitions import Stack, errors_in, make_ready, request

ONE_ITEM = IntervalSet(0, 1)
"""What clients want of layers of one item: all or nothing, so one set serves all of them. Nobody changes it."""

MAX_FORGOTTEN_NAMES = 1000
"""Names of forgotten layers whose accounts are kept apart."""


def on_client_joined(core: SchedulerState, event: ClientJoined) -> None:
    known = core.clients.get(event.client)
    if known is None:
        core.clients[event.client] = Client(event.client, event.weight, core.virtual_time)
    else:
        known.weight = max(event.weight, 1e-6)


def on_graph_submitted(core: SchedulerState, event: GraphSubmitted) -> None:
    client = core.clients.get(event.client)
    if client is None:
        client = core.clients[event.client] = Client(event.client, 1.0, core.virtual_time)
    problem = _problem_of(core, event)
    if problem is not None:
        for span in event.requested:
            core.instructions.append(NotifyFailed(client.name, span, TaskError("invalid", problem), span))
        return
    core.next_graph += 1
    depths = depth_first(event.layers, event.requested)
    added: list[LayerState] = []
    for spec in event.layers:
        book = core.layers.get(spec.key)
        if book is None:
            book = _add_layer(core, spec)
        added.append(book)
        if client.name not in book.priorities:
            _enqueue_for_client(
                core, client, book, (-event.priority - spec.priority, core.next_graph, -depths.get(spec.key, 0))
            )
    for span in event.requested:
        add_interest(core, client.name, core.layers[span.layer], span.start, span.stop)
    for book in added:
        if book.counts[IDLE] == book.n and not book.dependents and not book.interests:
            core.forget_candidates[book] = None


def on_arguments_arrived(core: SchedulerState, event: ArgumentsArrived) -> None:
    book = core.layers.get(event.layer)
    if book is None or event.stop <= book.arrived:
        return
    lo, hi = book.arrived, min(event.stop, book.n)
    book.arrived = hi
    add(book.unfinished_deps, lo, hi, -1)
    for a, b in book.runnable(lo, hi):
        make_ready(core, book, a, b)


def on_state_restored(core: SchedulerState, event: StateRestored) -> None:
    for name, weight in event.clients:
        on_client_joined(core, ClientJoined(name, weight))
    for spec in event.layers:
        if spec.key not in core.layers:
            _add_layer(core, spec)
    for name, key, (priority, graph, depth) in event.interests:
        core.next_graph = max(core.next_graph, graph)
        core.layers[key].priorities[name] = (priority, graph, depth)
        core.clients[name].layers[core.layers[key]] = None
    for name, spans in event.requested:
        for span in spans:
            add_interest(core, name, core.layers[span.layer], span.start, span.stop)
    for span, error, origin in event.failures:
        epoch.restore_failure(core, span, error, origin)
    core.forget_candidates.update(
        dict.fromkeys(core.layers.values())
    )  # layers may have been there for what ran, unneeded


def _problem_of(core: SchedulerState, event: GraphSubmitted) -> str | None:
    lengths: dict[Key, int] = {}
    books = core.layers
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
    for span in event.requested:
        n = lengths.get(span.layer)
        if n is None and span.layer in books:
            n = books[span.layer].n
        if n is None:
            return "a wanted layer is not in the graph and not known (any more)"
        if not 0 <= span.start <= span.stop <= n:
            return f"wanted items {span.start}:{span.stop} of a layer of {n}"
    return None


def _add_layer(core: SchedulerState, spec: LayerSpec) -> LayerState:
    if spec.key in core.deferred_frees:  # a layer of this key is over, and begins anew
        core.flush_deferred_frees()
    book = new_layer_state(core.next_layer, spec)
    core.next_layer += 1
    core.layers[spec.key] = book
    if book.constraint is not None:
        needs.layer_added(core, book.constraint, book.queue_key)
    if spec.deps:
        edges = []
        for dep in spec.deps:
            source = core.layers[dep.layer]
            wires = wiring(dep.pattern, book.n, source.n)
            edge = Edge(source, book, wires, wires.broadcast, wires.single and book.n == 1)
            edges.append(edge)
            source.dependents[edge] = None
        book.inputs = tuple(edges)
    return book


def _enqueue_for_client(core: SchedulerState, client: Client, book: LayerState, order: tuple[int, int, int]) -> None:
    """The client pays for the layer's runs when its turn comes, and for those of the layers below it."""
    name = client.name
    stack = [book]
    while stack:
        book = stack.pop()
        if name in book.priorities:
            continue
        book.priorities[name] = order
        client.layers[book] = None
        if book.ready:
            placement.enqueue_for_client(core, book, name)
        for edge in book.inputs:
            if name not in edge.source.priorities:
                stack.append(edge.source)


def add_interest(core: SchedulerState, client: str, book: LayerState, lo: int, hi: int) -> None:
    spans = book.interests.get(client)
    if spans is None:
        if hi - lo == book.n > 0 and book.counts[IDLE] == book.n:  # the common case
            book.interests[client] = ONE_ITEM if book.n == 1 else IntervalSet(lo, hi)
            add(book.client_refs, lo, hi, 1)
            request(core, [(book, lo, hi)])
            return
        spans = book.interests[client] = IntervalSet()
    for a, b in spans.gaps(lo, hi):
        add(book.client_refs, a, b, 1)
    if lo < hi:
        spans.add(lo, hi)
    if not spans:
        del book.interests[client]
        core.forget_candidates[book] = None
        return
    for a, b in book.in_state(lo, hi, DONE):
        core.notify_done(book, a, b, client)
    if book.counts[FAILED]:
        for a, b, origin in errors_in(book, lo, hi):
            core.notify_failed(book, a, b, origin, client)
    if book.counts[IDLE]:
        request(core, [(book, lo, hi)])


def remove_interest(core: SchedulerState, book: LayerState, client: str, lo: int, hi: int, loose: Stack) -> None:
    spans = book.interests.get(client)
    if spans is None:
        return
    if hi - lo == book.n == 1:
        book.client_refs[0] -= 1
        loose.append((book, 0, 1))
        del book.interests[client]
        return
    for a, b in spans.overlap(lo, hi):
        add(book.client_refs, a, b, -1)
        loose.append((book, a, b))
    if hi - lo == book.n:
        del book.interests[client]
        return
    spans.remove(lo, hi)
    if not spans:
        del book.interests[client]


def forget_layers(core: SchedulerState) -> None:
    while core.forget_candidates:
        book, _ = core.forget_candidates.popitem()
        if book.counts[IDLE] != book.n or book.interests or book.dependents or book.key not in core.layers:
            continue
        del core.layers[book.key]
        if book.constraint is not None:
            needs.layer_removed(core, book.constraint)
        for edge in book.inputs:
            source = edge.source
            del source.dependents[edge]
            if source.counts[IDLE] == source.n:
                core.forget_candidates[source] = None
        book.inputs = ()  # an edge knows its target: this circle nobody else takes apart
        for name in book.priorities:
            core.clients[name].layers.pop(book, None)
        if book.statistics is not None:
            past = core.forgotten_statistics.get(book.name)
            if past is None:
                name = book.name if len(core.forgotten_statistics) < MAX_FORGOTTEN_NAMES else "(others)"
                past = core.forgotten_statistics.setdefault(name, LayerStatistics())
            past.add(book.statistics)
        core.instructions.append(ForgetLayer(book.key))
