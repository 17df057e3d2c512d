"""Graphs on a cluster: lazy objects and what `engine/execute.py` calls. The fourth part of `Client`."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any

from howdah.engine.client.connection import SchedulerConnection
from howdah.engine.client.future import Future, RangeRef
from howdah.engine.client.future_registry import FutureRegistry, ResultRanges
from howdah.engine.client.layer_results import LayerResults
from howdah.engine.client.waiting import LayerProgress
from howdah.engine.graph.annotations import annotate
from howdah.engine.graph.encode import FIRST_PART, Encoded, encode, encode_rest
from howdah.engine.protocol.layers import TaskRange
from howdah.engine.protocol.messages import AppendArguments, Submit
from howdah.errors import DeadlineExceeded, HowdahError

if TYPE_CHECKING:
    from howdah.engine.api.client import Client
    from howdah.engine.execution.threads import Progress
    from howdah.engine.graph.graph import Graph, PersistedLayer

EXPECTED_SECONDS = 30.0
"""How long work with preferred hosts waits for workers that were asked for (as Spark does)."""


class Graphs:
    """Mixed into `Client`."""

    registry: FutureRegistry
    connection: SchedulerConnection
    _expected: int

    if TYPE_CHECKING:

        def gather(self, futures: Any, errors: str = "raise", direct: bool | None = None) -> Any: ...

        def _results_of(self, spans: ResultRanges, timeout: float | None, progress: Any = None) -> list[Any]: ...

        def wait_for_workers(self, n_workers: int, timeout: float | None = None) -> None: ...

    # -- lazy objects -------------------------------------------------------------------------------------------------

    def compute(
        self,
        collections: Any,
        sync: bool = False,
        optimize_graph: bool = True,
        workers: Any = None,
        allow_other_workers: bool = False,
        resources: Mapping[str, float] | None = None,
        retries: int | None = None,
        priority: int = 0,
        traverse: bool = True,
    ) -> Any:
        """Begin to compute a lazy object, or each of a list: futures of their values, at once.

        Parameters
        ----------
        sync : wait, and give the values themselves.
        optimize_graph : there for dask's sake.
        workers, allow_other_workers, resources, retries, priority : as in `submit`, for all tasks of the graph.
        """
        from howdah.engine.delayed.compute import lazy_to_futures

        many = isinstance(collections, list | tuple | set | frozenset)
        said = {"workers": workers, "allow_other_workers": allow_other_workers or None, "resources": resources or None}
        with annotate(retries=retries, priority=priority or None, **said):
            futures = lazy_to_futures(self, list(collections) if many else [collections], traverse)
        found = type(collections)(futures) if many else futures[0]
        return self.gather(found) if sync else found

    def persist(
        self,
        collections: Any,
        optimize_graph: bool = True,
        workers: Any = None,
        allow_other_workers: bool = False,
        resources: Mapping[str, float] | None = None,
        retries: int | None = None,
        priority: int = 0,
    ) -> Any:
        """Begin to compute lazy objects and keep them on the workers: the same objects, which now refer to that.

        The parameters are those of `compute`.
        """
        from howdah.engine.delayed.compute import persist

        many = isinstance(collections, list | tuple | set | frozenset)
        said = {"workers": workers, "allow_other_workers": allow_other_workers or None, "resources": resources or None}
        with annotate(retries=retries, priority=priority or None, **said):
            kept = persist(*(collections if many else [collections]), scheduler=self)
        return type(collections)(kept) if many else kept[0]

    def get(
        self,
        dsk: Any,
        keys: Any,
        workers: Any = None,
        allow_other_workers: bool = False,
        resources: Mapping[str, float] | None = None,
        sync: bool = True,
        retries: int | None = None,
        priority: int = 0,
        **unused: Any,
    ) -> Any:
        """Compute keys of a graph written as a dictionary, as dask's are (`howdah.engine.delayed.dict_graphs`).

        dask's collections compute on this cluster with ``scheduler=client.get``.

        Parameters
        ----------
        dsk : ``{"x": 1, "y": (inc, "x")}``: calls are tuples that begin with a function, keys stand for their values.
        keys : one, or a nest of lists; what is returned has its form.
        sync : False gives futures, at once.

        Raises
        ------
        InputError : a key is not in the graph, or keys need each other in a circle (the error names them).
        """
        from howdah.engine.delayed.dict_graphs import flatten_keys, from_dict, nest_like

        said = {"workers": workers, "allow_other_workers": allow_other_workers or None, "resources": resources or None}
        with annotate(retries=retries, priority=priority or None, **said):
            names = list(dict.fromkeys(flatten_keys(keys)))
            found = nest_like(keys, dict(zip(names, self.compute(from_dict(dsk, names), traverse=False))))
        return self.gather(found) if sync else found

    def started_futures(self, graph: Graph, places: Sequence[tuple[bytes, int]]) -> list[Future]:
        """Futures of single items of a graph, which is started."""
        from howdah.engine.delayed.compute import merge_ranges as joined
        from howdah.engine.execution.dispatch import for_cluster

        wanted = joined(places)
        spans, hold = self._start_graph(for_cluster(self, graph, wanted), wanted)
        of = {results.key: results for results, _, _ in spans}
        self.registry.add_references([(of[key], item, item + 1) for key, item in places])
        futures = [Future(_client(self), of[key], item) for key, item in places]
        del hold
        return futures

    # -- collections (engine/execute.py) ----------------------------------------------------------------------------

    def compute_graph(
        self, graph: Graph, wanted: Sequence[TaskRange], progress: Progress | None = None
    ) -> list[list[Any]]:
        """Values per wanted span, for `engine.execute`. `progress` gets (done, all, layer) now and then."""
        spans, hold = self._start_graph(graph, wanted)
        shown = (
            None if progress is None else LayerProgress(progress, {key: layer.n for key, layer in graph.layers.items()})
        )
        values = self._results_of(spans, None, shown)
        del hold
        cuts = [0, *accumulate(stop - start for _, start, stop in spans)]
        return [values[a:b] for a, b in pairwise(cuts)]

    def persist_graph(self, graph: Graph, wanted: Sequence[TaskRange]) -> list[PersistedLayer]:
        """Start whole layers and keep their results while what is returned lives, for `engine.execute`."""
        from howdah.engine.graph.graph import PersistedLayer

        spans, hold = self._start_graph(graph, wanted)
        self.registry.add_references(spans)
        del hold
        return [
            PersistedLayer(span.layer, span.stop, RangeRef(_client(self), [mine])) for span, mine in zip(wanted, spans)
        ]

    def _start_graph(
        self, graph: Graph, wanted: Sequence[TaskRange]
    ) -> tuple[list[tuple[LayerResults, int, int]], RangeRef]:
        """Send what of the graph is not held; the wanted spans, and what keeps them while it lives."""
        layers = [encode(layer, FIRST_PART) for layer in graph.layers.values()]
        if any(layer.spec.host_sets for layer in layers):
            self._await_expected()
        lengths = {layer.spec.key: layer.spec for layer in layers}
        spans: list[tuple[LayerResults, int, int]] = []
        with self.registry.lock:
            for key, start, stop in wanted:
                known = self.registry.get(key)
                if key in lengths:
                    name, n = lengths[key].name, lengths[key].n
                elif known is not None:
                    name, n = known.name, known.n
                else:
                    raise HowdahError(f"layer {key.hex()} is wanted and neither in the graph nor held by this client")
                spans.append((self.registry.add_reference(key, name, n, start, stop), start, stop))
            hold = RangeRef(_client(self), spans)
            for spec in lengths.values():
                self.registry.names[spec.key] = spec.name
            frames = [frame for layer in layers for frame in frames_of(layer)]
            specs = tuple(layer.spec for layer in layers)
            self.connection.send(Submit(specs, tuple(wanted)), *frames)
        if any(layer.n > FIRST_PART for layer in graph.layers.values()):
            self.connection.flush()  # packing the rest would slow a scheduler down that is in this process
        for layer in graph.layers.values():  # tasks run while the rest of their arguments is packed
            for first, offsets, args in encode_rest(layer, FIRST_PART):
                self.connection.send(AppendArguments(layer.key, first), offsets.tobytes(), args)
        return spans, hold

    def _await_expected(self) -> None:
        """Work that knows where its data lies waits once, and not for long, for the workers that were asked for.

        The first worker to come would otherwise take everything, wherever it lies. Spark has the same rule
        (`minRegisteredResourcesRatio`, `maxRegisteredResourcesWaitingTime`).
        """
        expected, self._expected = self._expected, 0
        if expected:
            with contextlib.suppress(DeadlineExceeded):  # it is then begun with those that are there
                self.wait_for_workers(expected, EXPECTED_SECONDS)

    def progress(self) -> list[dict[str, Any]]:
        """The layers that this client waits for: name, n, done, running, waiting, failed and bytes of each."""
        found: list[dict[str, Any]] = self.connection.query("progress")
        return found


def frames_of(layer: Encoded) -> tuple[bytes, bytes, bytes]:
    return layer.code, layer.offsets.tobytes(), layer.args


def _client(self: Graphs) -> Client:
    """The whole that this is a part of."""
    return self  # type: ignore[return-value]
