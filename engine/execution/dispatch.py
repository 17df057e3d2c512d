"""Where graphs are run: what every collection's `compute` and `persist` call.

With a client (the one given, or the current one) graphs run on its cluster; without, on threads of this process.
Answers are the same either way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, Protocol, TypeAlias

from howdah.engine.execution.default_client import get_default_client, processes_client
from howdah.engine.execution.persisted import InMemoryResults, literal_layer
from howdah.engine.execution.threads import Progress, compute_local
from howdah.engine.graph.annotations import Annotations, active_annotations
from howdah.engine.graph.fuse import fuse
from howdah.engine.graph.graph import Graph, PersistedLayer
from howdah.engine.protocol.layers import Layer, TaskRange
from howdah.errors import InputError, bad_value, near


class GraphClient(Protocol):
    """What graphs need of a `Client`. The `results` of a `PersistedLayer` it returns have `values()` and `client`."""

    def compute_graph(
        self, graph: Graph, targets: Sequence[TaskRange], progress: Progress | None
    ) -> list[list[Any]]: ...

    def persist_graph(self, graph: Graph, targets: Sequence[TaskRange]) -> list[PersistedLayer]: ...


Scheduler: TypeAlias = GraphClient | Literal["threads", "inline", "processes"] | None

ALIASES = {"sync": "inline", "synchronous": "inline", "single-threaded": "inline", "threading": "threads",
               "multiprocessing": "processes"}  # fmt: skip
"""dask's names for the same."""


def compute_graph(
    graph: Graph, targets: Sequence[TaskRange], *, scheduler: Scheduler = None, progress: Progress | None = None
) -> list[list[Any]]:
    """The values of each wanted span, in order.

    Parameters
    ----------
    scheduler : a `Client`; "threads" (one per core) or "inline" (the calling thread) of this process; "processes" on
        this machine; None is the current client, or "threads" when there is none.
    progress : called now and then as progress(done tasks, all tasks, layer name), and once at the end.

    Raises
    ------
    Whatever a task raises, as it is, with notes that say which task and where.

    Examples
    --------
    >>> from howdah.engine.protocol.layers import Layer
    >>> graph = Graph()
    >>> key = graph.add(Layer("abs", abs, 2, args=[(-1,), (2,)]))
    >>> compute_graph(graph, [graph.full_range(key)], scheduler="inline")
    [[1, 2]]
    """
    client, threads = _resolve(scheduler)
    if client is None:
        return compute_local(graph, targets, threads=threads, progress=progress)
    return client.compute_graph(for_cluster(client, graph, targets), targets, progress)


def persist_graph(graph: Graph, targets: Sequence[TaskRange], *, scheduler: Scheduler = None) -> list[PersistedLayer]:
    """Start computing the wanted spans, each a whole layer, and keep the results while the returned objects live.

    With a client the call returns at once and the results stay on the workers; without, they are computed now and
    stay in this process. Put what is returned into another graph's `held` to use it.

    Raises
    ------
    InputError : a span that is not a whole layer.
    """
    for span in targets:
        if (span.start, span.stop) != (0, graph.length(span.layer)):
            raise InputError(f"wanted: items {span.start} to {span.stop}: only whole layers can be persisted")
    client, threads = _resolve(scheduler)
    if client is None:
        values = compute_local(graph, targets, threads=threads)
        return [PersistedLayer(span.layer, span.stop, InMemoryResults(v)) for span, v in zip(targets, values)]
    return client.persist_graph(for_cluster(client, graph, targets), targets)


def _resolve(scheduler: Scheduler) -> tuple[GraphClient | None, int | None]:
    """The client, or None and the number of threads for `compute_local`."""
    if scheduler is None:
        return get_default_client(), None
    if isinstance(scheduler, str):
        scheduler = ALIASES.get(scheduler, scheduler)  # type: ignore[assignment]
        known = ["threads", "inline", "processes"]
        if scheduler not in known:
            raise bad_value("scheduler", scheduler, near(str(scheduler), known) + " (or pass a Client)")
        if scheduler == "processes":
            return processes_client(), None
        return None, 0 if scheduler == "inline" else None
    return scheduler, None


def for_cluster(client: GraphClient, graph: Graph, targets: Sequence[TaskRange]) -> Graph:
    """The layers that are needed, chains fused; what is held elsewhere goes along as values."""
    culled = graph.cull(targets)
    foreign = [held for held in culled.persisted.values() if getattr(held.results, "client", None) is not client]
    if foreign:
        layers = {held.layer: literal_layer(held) for held in foreign}
        culled.layers = {**layers, **culled.layers}
        culled.persisted = {key: held for key, held in culled.persisted.items() if key not in layers}
    notes = active_annotations()
    if notes is not None:
        culled.layers = {key: _noted(layer, notes) for key, layer in culled.layers.items()}
    return fuse(culled, targets)


def _noted(layer: Layer, notes: Annotations) -> Layer:
    """The layer with what is said where it is computed, as far as it was not said where it was written."""
    fields = dict(notes.layer_fields()) | dict(layer.annotations)
    return replace(layer, annotations=tuple(sorted(fields.items())), retries=layer.retries or notes.retries or 0)
