"""Graphs and clients: from the first submission of a layer until it is forgotten. The theory opens `transitions`.

Called by `scheduler`, with events of clients. Rules on `SchedulerState`.
"""

from __future__ import annotations

from howdah.engine.protocol.events import (
    ArgumentsArrived,
    CancelRequested,
    ClientJoined,
    ClientLeft,
    ForgetLayer,
    GraphSubmitted,
    LayerSpec,
    NotifyFailed,
    Released,
    StateRestored,
    TaskError,
)
from howdah.engine.protocol.layers import Key, OneToOne, TaskRange
from howdah.engine.protocol.patterns import problem_of, wiring
from howdah.engine.scheduler.core import constraints, placement, restart
from howdah.engine.scheduler.core.intervals import IntervalSet, add
from howdah.engine.scheduler.core.priorities import depth_first
from howdah.engine.scheduler.core.replicas import run_failed_again
from howdah.engine.scheduler.core.state import SchedulerState
from howdah.engine.scheduler.core.tables import (
    DONE,
    FAILED,
    IDLE,
    READY,
    RUNNING,
    WAITING,
    ClientState,
    Edge,
    LayerState,
    LayerStatistics,
    new_layer_state,
)
from howdah.engine.scheduler.core.transitions import Stack, errors_in, fail_items, make_ready, release_unneeded, request

ONE_ITEM = IntervalSet(0, 1)
"""The interest of a client in a layer of one item: one set serves all of them. Never changed."""

MAX_FORGOTTEN_NAMES = 1000
"""Names of forgotten layers whose statistics are kept apart."""


def on_client_joined(state: SchedulerState, event: ClientJoined) -> None:
    """Enter the client, or update the weight of a known one."""
    known = state.clients.get(event.client)
    if known is None:
        state.clients[event.client] = ClientState(event.client, event.weight, state.virtual_time)
    else:
        known.weight = max(event.weight, 1e-6)


def on_client_left(state: SchedulerState, event: ClientLeft) -> None:
    """Release all that the client has an interest in, and forget it."""
    client = state.clients.get(event.client)
    if client is None:
        return
    for batch in state.batches.values() if client.running else ():
        if batch.client == client.name:
            batch.client = ""  # another client may come under the name
    to_release: Stack = []
    for layer in client.layers:
        layer.priorities.pop(client.name, None)
        intervals = layer.interests.get(client.name)
        for lo, hi in list(intervals) if intervals is not None else ():
            remove_interest(state, layer, client.name, lo, hi, to_release)
    del state.clients[client.name]
    release_unneeded(state, to_release)


def on_released(state: SchedulerState, event: Released) -> None:
    """Remove the client's interest in these items."""
    to_release: Stack = []
    for task_range in event.ranges:
        layer = state.layers.get(task_range.layer)
        if layer is not None:
            remove_interest(state, layer, event.client, task_range.start, task_range.stop, to_release)
    release_unneeded(state, to_release)


def on_cancel_requested(state: SchedulerState, event: CancelRequested) -> None:
    """Fail with kind "cancelled" what only this client needs, and what waits for it; what others need goes on."""
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
        remove_interest(state, layer, event.client, task_range.start, task_range.stop, to_release)
    release_unneeded(state, to_release)


def on_graph_submitted(state: SchedulerState, event: GraphSubmitted) -> None:
    """Add the layers that are new, and request the items that the client asks for; reject an invalid graph.

    A failure is not a result: what has failed of these layers runs again, for all clients that need it.
    """
    client = state.clients.get(event.client)
    if client is None:
        client = state.clients[event.client] = ClientState(event.client, 1.0, state.virtual_time)
    problem = _problem_of(state, event)
    if problem is not None:
        for task_range in event.requested:
            state.instructions.append(NotifyFailed(client.name, task_range, TaskError("invalid", problem), task_range))
        return
    state.next_graph += 1
    depths = depth_first(event.layers, event.requested)
    added: list[LayerState] = []
    for spec in event.layers:
        layer = state.layers.get(spec.key)
        if layer is None:
            layer = _add_layer(state, spec)
        added.append(layer)
        if client.name not in layer.priorities:
            _enqueue_for_client(
                state, client, layer, (-event.priority - spec.priority, state.next_graph, -depths.get(spec.key, 0))
            )
    failed = [layer for layer in added if layer.counts[FAILED]]
    if failed:
        asked = {task_range.layer: task_range for task_range in event.requested}
        run_failed_again(state, [(layer, *_asked_items(layer, asked.get(layer.key))) for layer in failed])
    for task_range in event.requested:
        add_interest(state, client.name, state.layers[task_range.layer], task_range.start, task_range.stop)
    for layer in added:
        if layer.counts[IDLE] == layer.n and not layer.dependents and not layer.interests:
            state.forget_candidates[layer] = None


def _asked_items(layer: LayerState, asked: TaskRange | None) -> tuple[int, int]:
    return (0, layer.n) if asked is None else (asked.start, asked.stop)


def on_arguments_arrived(state: SchedulerState, event: ArgumentsArrived) -> None:
    """Let items whose arguments have arrived run."""
    layer = state.layers.get(event.layer)
    if layer is None or event.stop <= layer.arrived:
        return
    lo, hi = layer.arrived, min(event.stop, layer.n)
    layer.arrived = hi
    add(layer.unfinished_deps, lo, hi, -1)
    for a, b in layer.runnable(lo, hi):
        make_ready(state, layer, a, b)


def on_state_restored(state: SchedulerState, event: StateRestored) -> None:
    """Enter all that a compacted journal holds."""
    for name, weight in event.clients:
        on_client_joined(state, ClientJoined(name, weight))
    for spec in event.layers:
        if spec.key not in state.layers:
            _add_layer(state, spec)
    for name, key, (priority, graph, depth) in event.interests:
        state.next_graph = max(state.next_graph, graph)
        state.layers[key].priorities[name] = (priority, graph, depth)
        state.clients[name].layers[state.layers[key]] = None
    for name, ranges in event.requested:
        for task_range in ranges:
            add_interest(state, name, state.layers[task_range.layer], task_range.start, task_range.stop)
    for task_range, error, cause in event.failures:
        restart.restore_failure(state, task_range, error, cause)
    state.forget_candidates.update(dict.fromkeys(state.layers.values()))  # layers may have been kept only for what ran


def _problem_of(state: SchedulerState, event: GraphSubmitted) -> str | None:
    """Why the graph is invalid; None if it is not."""
    lengths: dict[Key, int] = {}
    layers = state.layers
    for spec in event.layers:
        known = layers.get(spec.key)
        if known is not None and known.n != spec.n:
            return f"{spec.name}: another layer of {known.n} items, not {spec.n}, is known under its key"
        for dep in spec.deps:
            n = lengths.get(dep.layer)
            if n is None:
                source = layers.get(dep.layer)
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
    for task_range in event.requested:
        n = lengths.get(task_range.layer)
        if n is None and task_range.layer in layers:
            n = layers[task_range.layer].n
        if n is None:
            return "a wanted layer is not in the graph and not known (any more)"
        if not 0 <= task_range.start <= task_range.stop <= n:
            return f"wanted items {task_range.start}:{task_range.stop} of a layer of {n}"
    return None


def _add_layer(state: SchedulerState, spec: LayerSpec) -> LayerState:
    """Enter a layer and connect it to its dependencies."""
    if spec.key in state.results.deferred_frees:  # an earlier layer of this key
        state.flush_deferred_frees()
    layer = new_layer_state(state.next_layer, spec)
    state.next_layer += 1
    state.layers[spec.key] = layer
    if layer.constraint is not None:
        constraints.layer_added(state, layer.constraint, layer.queue_key)
    if spec.deps:
        edges = []
        for dep in spec.deps:
            source = state.layers[dep.layer]
            wires = wiring(dep.pattern, layer.n, source.n)
            edge = Edge(source, layer, wires, wires.broadcast, wires.single and layer.n == 1)
            edges.append(edge)
            source.dependents[edge] = None
        layer.inputs = tuple(edges)
    return layer


def _enqueue_for_client(
    state: SchedulerState, client: ClientState, layer: LayerState, order: tuple[int, int, int]
) -> None:
    """Charge the client for the layer's batches when its turn comes, and for those of the layers below it."""
    name = client.name
    stack = [layer]
    while stack:
        layer = stack.pop()
        if name in layer.priorities:
            continue
        layer.priorities[name] = order
        client.layers[layer] = None
        if layer.ready:
            placement.enqueue_for_client(state, layer, name)
        for edge in layer.inputs:
            if name not in edge.source.priorities:
                stack.append(edge.source)


def add_interest(state: SchedulerState, client: str, layer: LayerState, lo: int, hi: int) -> None:
    """The client needs the results of lo..hi: request them, and notify it of what is known already."""
    intervals = layer.interests.get(client)
    if intervals is None:
        if hi - lo == layer.n > 0 and layer.counts[IDLE] == layer.n:  # the common case
            layer.interests[client] = ONE_ITEM if layer.n == 1 else IntervalSet(lo, hi)
            add(layer.client_refs, lo, hi, 1)
            request(state, [(layer, lo, hi)])
            return
        intervals = layer.interests[client] = IntervalSet()
    for a, b in intervals.gaps(lo, hi):
        add(layer.client_refs, a, b, 1)
    if lo < hi:
        intervals.add(lo, hi)
    if not intervals:
        del layer.interests[client]
        state.forget_candidates[layer] = None
        return
    for a, b in layer.in_state(lo, hi, DONE):
        state.notify_done(layer, a, b, client)
    if layer.counts[FAILED]:
        for a, b, cause in errors_in(layer, lo, hi):
            state.notify_failed(layer, a, b, cause, client)
    if layer.counts[IDLE]:
        request(state, [(layer, lo, hi)])


def remove_interest(state: SchedulerState, layer: LayerState, client: str, lo: int, hi: int, to_release: Stack) -> None:
    """The client does not need lo..hi any more; what may be unneeded now goes on the stack."""
    intervals = layer.interests.get(client)
    if intervals is None:
        return
    if hi - lo == layer.n == 1:
        layer.client_refs[0] -= 1
        to_release.append((layer, 0, 1))
        del layer.interests[client]
        return
    for a, b in intervals.overlap(lo, hi):
        add(layer.client_refs, a, b, -1)
        to_release.append((layer, a, b))
    if hi - lo == layer.n:
        del layer.interests[client]
        return
    intervals.remove(lo, hi)
    if not intervals:
        del layer.interests[client]


def forget_layers(state: SchedulerState) -> None:
    """Forget the candidates that nothing needs any more, and then what only these depended on."""
    while state.forget_candidates:
        layer, _ = state.forget_candidates.popitem()
        if layer.counts[IDLE] != layer.n or layer.interests or layer.dependents or layer.key not in state.layers:
            continue
        del state.layers[layer.key]
        if layer.constraint is not None:
            constraints.layer_removed(state, layer.constraint)
        for edge in layer.inputs:
            source = edge.source
            del source.dependents[edge]
            if source.counts[IDLE] == source.n:
                state.forget_candidates[source] = None
        layer.inputs = ()  # an edge refers to its target: this cycle is broken here
        for name in layer.priorities:
            state.clients[name].layers.pop(layer, None)
        if layer.statistics is not None:
            past = state.forgotten_statistics.get(layer.name)
            if past is None:
                name = layer.name if len(state.forgotten_statistics) < MAX_FORGOTTEN_NAMES else "(others)"
                past = state.forgotten_statistics.setdefault(name, LayerStatistics())
            past.add(layer.statistics)
        state.instructions.append(ForgetLayer(layer.key))
