"""`GraphSubmitter`: lazy objects and whole graphs on a cluster.

Two entries: a user's `Client.compute`, `persist` and `get`, and `howdah.engine.execution.dispatch`, which runs the
graphs of all collections. For `Client`, which passes itself as the client of futures and references.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any

from howdah.engine.api.cluster_info import ClusterInfo
from howdah.engine.client.connection import SchedulerConnection
from howdah.engine.client.future import Future
from howdah.engine.client.future_registry import FutureRegistry
from howdah.engine.client.layer_results import LayerResults
from howdah.engine.client.references import RangeRef
from howdah.engine.client.submission import frames_of
from howdah.engine.client.waiting import LayerProgress, Waiter
from howdah.engine.comm.connection.event_loop import loop_thread
from howdah.engine.delayed.compute import merge_ranges, persist
from howdah.engine.delayed.dict_graphs import flatten_keys, from_dict, nest_like
from howdah.engine.delayed.futures import lazy_to_futures
from howdah.engine.execution.dispatch import for_cluster
from howdah.engine.graph.annotations import annotate
from howdah.engine.graph.encode import FIRST_PART, encode, encode_rest
from howdah.engine.graph.graph import Graph, PersistedLayer
from howdah.engine.graph.nests import with_parts
from howdah.engine.protocol.layers import TaskRange
from howdah.engine.protocol.messages import AppendArguments, Submit
from howdah.errors import DeadlineExceeded, HowdahError

if TYPE_CHECKING:
    from howdah.engine.api.client import Client
    from howdah.engine.execution.threads import Progress

EXPECTED_SECONDS = 30.0
"""How long work with preferred hosts waits for requested workers (as Spark does)."""


class GraphSubmitter:
    """Sends graphs, and keeps references to what is asked of them.

    Parameters
    ----------
    expected_workers : work with preferred hosts waits for so many workers once, since the first one to start would
        otherwise take everything wherever it lies (Spark's `minRegisteredResourcesRatio` and
        `maxRegisteredResourcesWaitingTime`).
    """

    def __init__(
        self,
        registry: FutureRegistry,
        connection: SchedulerConnection,
        waiter: Waiter,
        info: ClusterInfo,
        expected_workers: int,
    ) -> None:
        self._registry, self._connection, self._waiter, self._info = registry, connection, waiter, info
        self._expected_workers = expected_workers

    # -- lazy objects -------------------------------------------------------------------------------------------------

    def compute(self, client: Client, collections: Any, traverse: bool, options: Mapping[str, Any]) -> Any:
        """Start lazy objects; futures of their values."""
        many = isinstance(collections, list | tuple | set | frozenset)
        with annotate(**options):
            futures = lazy_to_futures(client, list(collections) if many else [collections], traverse)
        return with_parts(collections, futures) if many else futures[0]

    def persist(self, client: Client, collections: Any, options: Mapping[str, Any]) -> Any:
        """Start lazy objects; the same objects, which refer to the results."""
        many = isinstance(collections, list | tuple | set | frozenset)
        with annotate(**options):
            kept = persist(*(collections if many else [collections]), scheduler=client)
        return with_parts(collections, kept) if many else kept[0]

    def get(self, client: Client, graph: Any, keys: Any, options: Mapping[str, Any]) -> Any:
        """Start keys of a graph that is written as a dictionary; futures in the nest of `keys`."""
        with annotate(**options):
            names = list(dict.fromkeys(flatten_keys(keys)))
            return nest_like(keys, dict(zip(names, self.compute(client, from_dict(graph, names), False, {}))))

    # -- graphs -------------------------------------------------------------------------------------------------------

    def started_futures(self, client: Client, graph: Graph, places: Sequence[tuple[bytes, int]]) -> list[Future]:
        """Start a graph; futures of single items of it."""
        wanted = merge_ranges(places)
        ranges, reference = self._start(client, for_cluster(client, graph, wanted), wanted)
        of = {results.key: results for results, _, _ in ranges}
        self._registry.add_references([(of[key], item, item + 1) for key, item in places])
        futures = [Future(client, of[key], item) for key, item in places]
        del reference
        return futures

    def compute_graph(
        self, client: Client, graph: Graph, wanted: Sequence[TaskRange], progress: Progress | None = None
    ) -> list[list[Any]]:
        """Run a graph; the values of each wanted range. Calls `progress` with (done, all, layer) meanwhile."""
        ranges, reference = self._start(client, graph, wanted)
        shown = (
            None if progress is None else LayerProgress(progress, {key: layer.n for key, layer in graph.layers.items()})
        )
        try:
            values = self._waiter.results(ranges, None, shown)
        finally:
            del reference  # the traceback of an error, which a notebook holds, must not keep results
        cuts = [0, *accumulate(stop - start for _, start, stop in ranges)]
        return [values[a:b] for a, b in pairwise(cuts)]

    def persist_graph(self, client: Client, graph: Graph, wanted: Sequence[TaskRange]) -> list[PersistedLayer]:
        """Start whole layers; their results are kept while the returned objects live."""
        ranges, reference = self._start(client, graph, wanted)
        self._registry.add_references(ranges)
        del reference
        return [
            PersistedLayer(task_range.layer, task_range.stop, RangeRef(client, [mine]))
            for task_range, mine in zip(wanted, ranges)
        ]

    def _start(
        self, client: Client, graph: Graph, wanted: Sequence[TaskRange]
    ) -> tuple[list[tuple[LayerResults, int, int]], RangeRef]:
        """Send the graph; the wanted ranges, and a reference that keeps them while it lives."""
        layers = [encode(layer, FIRST_PART) for layer in graph.layers.values()]
        if any(layer.spec.host_sets for layer in layers):
            self._await_expected_workers()
        specs = {layer.spec.key: layer.spec for layer in layers}
        ranges: list[tuple[LayerResults, int, int]] = []
        registry, connection = self._registry, self._connection
        failed = registry.failed_before([(key, start, stop) for key, start, stop in wanted if key in specs])
        if failed:
            loop_thread().call(registry.forget_failures(failed))
        with registry.lock:
            for key, start, stop in wanted:
                known = registry.get(key)
                if key in specs:
                    name, n = specs[key].name, specs[key].n
                elif known is not None:
                    name, n = known.name, known.n
                else:
                    raise HowdahError(f"layer {key.hex()} is wanted and neither in the graph nor held by this client")
                ranges.append((registry.add_reference(key, name, n, start, stop), start, stop))
            reference = RangeRef(client, ranges)
            for spec in specs.values():
                registry.names[spec.key] = spec.name
            frames = [frame for layer in layers for frame in frames_of(layer)]
            connection.send(Submit(tuple(layer.spec for layer in layers), tuple(wanted)), *frames)
        if any(layer.n > FIRST_PART for layer in graph.layers.values()):
            connection.flush()  # encoding the rest would slow down a scheduler in this process
        for layer in graph.layers.values():  # tasks run while the rest of their arguments is encoded
            for first, offsets, args in encode_rest(layer, FIRST_PART):
                connection.send(AppendArguments(layer.key, first), offsets.tobytes(), args)
        return ranges, reference

    def _await_expected_workers(self) -> None:
        expected, self._expected_workers = self._expected_workers, 0
        if expected:
            with contextlib.suppress(DeadlineExceeded):  # then it starts with the workers that are there
                self._info.wait_for_workers(expected, EXPECTED_SECONDS)
