"""Lazy objects as futures on a client's cluster: what `Client.compute` returns."""

from __future__ import annotations

from typing import Any

from howdah.engine.delayed.delayed import Delayed, delayed
from howdah.engine.delayed.lowering import lower
from howdah.engine.delayed.task import persisted_of
from howdah.engine.graph.adapters import identity


def lazy_to_futures(client: Any, values: list[Any], traverse: bool) -> list[Any]:
    """Return a future on the client's cluster for each value; one that is not lazy is sent there as it is."""
    lazy = [value if type(value) is Delayed else delayed(value, traverse=traverse) for value in values]
    known = [call for call in lazy if persisted_of(call) is None]
    futures: dict[int, Any] = {}
    if known:
        graph, places = lower(known)
        futures = dict(zip(map(id, known), client.started_futures(graph, places)))
    return [futures[id(call)] if id(call) in futures else client.submit(identity, _future_of(call)) for call in lazy]


def _future_of(call: Delayed) -> Any:
    layer, item = persisted_of(call)  # type: ignore[misc]
    return layer.results.future(item)
