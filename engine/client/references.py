"""References by which graphs keep results on a cluster: `RangeRef` for ranges, `FutureRefs` for single futures.

For collections. A reference keeps its results on the cluster while it lives; dropping the last one frees them.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from howdah.engine.client.future import Future
from howdah.engine.client.layer_results import LayerResults
from howdah.engine.execution.persisted import InMemoryResults
from howdah.engine.graph.graph import PersistedLayer

if TYPE_CHECKING:
    from howdah.engine.client.cluster_client import ClusterClient


class RangeRef:
    """Keeps ranges of results on the cluster while it lives, without a future per item."""

    __slots__ = ("client", "ranges")

    def __init__(self, client: ClusterClient, ranges: list[tuple[LayerResults, int, int]]) -> None:
        self.client, self.ranges = client, ranges

    def values(self) -> list[Any]:
        """Fetch and return the values of all items."""
        return self.client.waiter.results(self.ranges)

    def future(self, item: int) -> Future:
        """Return a future of one of the items. Raises IndexError if `item` is not in the ranges."""
        for results, start, stop in self.ranges:
            if start <= item < stop:
                self.client.registry.add_references([(results, item, item + 1)])
                return Future(self.client, results, item)
        raise IndexError(item)

    def __reduce__(self) -> Any:
        items = [item for _, start, stop in self.ranges for item in range(start, stop)]
        return rebuild_refs, (dict(zip(items, map(self.future, items))),)

    def __del__(self) -> None:
        with contextlib.suppress(AttributeError):
            for results, start, stop in self.ranges:
                self.client.registry.release(results, start, stop)


class FutureRefs:
    """Some futures of one layer as the `results` of a `PersistedLayer`, for graphs that use them."""

    __slots__ = ("client", "futures")

    def __init__(self, client: ClusterClient, futures: dict[int, Future]) -> None:
        self.client, self.futures = client, futures

    def values(self) -> list[Any]:
        """Fetch and return the values by item; None for an item without a future."""
        some = list(self.futures.values())
        found: list[Any] = [None] * some[0].results.n
        for future, value in zip(some, self.client.gathered(some)):
            found[future.item] = value
        return found

    def future(self, item: int) -> Future:
        """Return the future of `item`. Raises KeyError if there is none."""
        return self.futures[item]

    def __reduce__(self) -> Any:
        return rebuild_refs, (self.futures,)

    def merged(self, other: Any) -> Any:
        """Return the union with `other`, or `other` itself if it keeps the whole layer."""
        return FutureRefs(self.client, {**self.futures, **other.futures}) if isinstance(other, FutureRefs) else other


def rebuild_refs(items: dict[int, Any]) -> Any:
    """Unpickle references: as futures of the receiving client, or in a task as the values themselves."""
    if all(type(part) is Future for part in items.values()):
        return FutureRefs(next(iter(items.values())).client, items)
    return InMemoryResults([items.get(item) for item in range(max(items) + 1)])


def held_layer(future: Future) -> PersistedLayer:
    """Return the layer of a future as graphs refer to it."""
    return PersistedLayer(future.results.key, future.results.n, FutureRefs(future.client, {future.item: future}))
