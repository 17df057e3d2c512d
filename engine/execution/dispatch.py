"""`compute_graph` and `persist_graph`, which every collection's `compute` and `persist` call.

With a client (the given or the default one) graphs run on its cluster; without, on threads of this process. Results are
the same either way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, Protocol, TypeAlias

from howdah.engine.execution.default_client import get_default_client, processes_client
from howdah.engine.execution.persisted import InMemoryResults, literal_layer
from howdah.engine.execution.progress_scope import current_progress
from howdah.engine.execution.threads import Progress, compute_local
from howdah.engine.graph.annotations import Annotations, active_annotations
from howdah.engine.graph.fuse import fuse
from howdah.engine.graph.graph import Graph, PersistedLayer
from howdah.engine.protocol.layers import Layer, TaskRange
from howdah.errors import InputError, bad_value, near


class GraphClient(Protocol):
    """A `Client`, as far as graphs need it.

    The `results` of a `PersistedLayer` that it returns have `values()` and `client`.
    """

    def compute_graph(self, graph: Graph, targets: Sequence[TaskRange], progress: Progress | None) -> list[list[Any]]:
        """Compute a graph and return the values of each target range."""
        ...

    def persist_graph(self, graph: Graph, targets: Sequence[TaskRange]) -> list[PersistedLayer]:
        """Start to compute whole layers and return references to their results."""
        ...


Scheduler: TypeAlias = GraphClient | Literal["threads", "inline", "processes", "distributed"] | None

_NAMES = ("threads", "inline", "processes", "distributed")

ALIASES = {"sync": "inline", "synchronous": "inline", "single-threaded": "inline", "threading": "threads",
               "multiprocessing": "processes"}  # fmt: skip
"""dask's names of the schedulers."""


def compute_graph(
    graph: Graph, targets: Sequence[TaskRange], *, scheduler: Scheduler = None, progress: Progress | None = None
) -> list[list[Any]]:
    """Compute a graph and return the values of each target range, in order.

    Parameters
    ----------
    graph
        The layers; those that the targets do not need are left out.
    targets
        Ranges of items of its layers.
    scheduler
        A `Client`; "threads" (one per core) or "inline" (the calling thread) of this process; "processes" on this
        machine; "distributed" is the default client; None too, or "threads" when there is none.
    progress
        Called every 0.1 s as progress(done tasks, all tasks, layer name), and once at the end. None is that of the
        innermost `ProgressBar` block, if there is one.

    Returns
    -------
    list of lists

    Raises
    ------
    InputError : an unknown scheduler. An exception of a task is raised as it is, with notes that name the task and its
        worker.

    Examples
    --------
    >>> from howdah.engine.protocol.layers import Layer
    >>> graph = Graph()
    >>> key = graph.add(Layer("abs", abs, 2, args=[(-1,), (2,)]))
    >>> compute_graph(graph, [graph.full_range(key)], scheduler="inline")
    [[1, 2]]
    """
    client, threads = _resolve(scheduler)
    progress = progress or current_progress()
    if client is None:
        return compute_local(graph, targets, threads=threads, progress=progress)
    return client.compute_graph(for_cluster(client, graph, targets), targets, progress)


def persist_graph(graph: Graph, targets: Sequence[TaskRange], *, scheduler: Scheduler = None) -> list[PersistedLayer]:
    """Start to compute layers and keep their results while the returned objects exist.

    With a client the call returns at once and the results stay on the workers; without, they are computed now and
    stay in this process. Another graph uses them by its `persisted`.

    Parameters
    ----------
    graph
        The layers.
    targets
        Ranges of all items of some layers.
    scheduler
        As for `compute_graph`.

    Returns
    -------
    list of PersistedLayer
        One for each target.

    Raises
    ------
    InputError : a target is not a whole layer.
    """
    for target in targets:
        if (target.start, target.stop) != (0, graph.length(target.layer)):
            raise InputError(f"targets: items {target.start} to {target.stop}: only whole layers can be persisted")
    client, threads = _resolve(scheduler)
    if client is None:
        values = compute_local(graph, targets, threads=threads, progress=current_progress())
        return [PersistedLayer(t.layer, t.stop, InMemoryResults(v)) for t, v in zip(targets, values)]
    return client.persist_graph(for_cluster(client, graph, targets), targets)


def client_for(scheduler: Scheduler) -> GraphClient | None:
    """Return the client that the work goes to; None when it is done in this process.

    Raises
    ------
    InputError : an unknown scheduler.
    """
    return _resolve(scheduler)[0]


def _resolve(scheduler: Scheduler) -> tuple[GraphClient | None, int | None]:
    """Return the client, or None and the number of threads for `compute_local`."""
    if scheduler is None:
        return get_default_client(), None
    if isinstance(scheduler, str):
        scheduler = ALIASES.get(scheduler, scheduler)  # type: ignore[assignment]
        if scheduler not in _NAMES:
            known = ", ".join(map(repr, _NAMES))
            raise bad_value("scheduler", scheduler, f"{near(str(scheduler), _NAMES)} (a Client, or one of {known})")
        if scheduler == "distributed":
            client = get_default_client()
            if client is None:
                raise bad_value("scheduler", scheduler, "there is no current client: open one with howdah.Client(...)")
            return client, None
        if scheduler == "processes":
            return processes_client(), None
        return None, 0 if scheduler == "inline" else None
    return scheduler, None


def for_cluster(client: GraphClient, graph: Graph, targets: Sequence[TaskRange]) -> Graph:
    """Return the needed layers, chains fused, with the values of results that are persisted elsewhere."""
    culled = graph.cull(targets)
    foreign = [p for p in culled.persisted.values() if getattr(p.results, "client", None) is not client]
    if foreign:
        layers = {p.layer: literal_layer(p) for p in foreign}
        culled.layers = {**layers, **culled.layers}
        culled.persisted = {key: p for key, p in culled.persisted.items() if key not in layers}
    annotations = active_annotations()
    if annotations is not None:
        culled.layers = {key: _annotated(layer, annotations) for key, layer in culled.layers.items()}
    return fuse(culled, targets)


def _annotated(layer: Layer, active: Annotations) -> Layer:
    """Return the layer with the annotations active at compute time; those of the layer itself take precedence."""
    fields = dict(active.layer_fields()) | dict(layer.annotations)
    return replace(layer, annotations=tuple(sorted(fields.items())), retries=layer.retries or active.retries or 0)
