"""Results stored in this process for later graphs: what `persist` without a client returns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from howdah.engine.graph.adapters import identity
from howdah.engine.graph.graph import PersistedLayer
from howdah.engine.protocol.layers import Layer
from howdah.errors import InputError


class PersistedResults(Protocol):
    """The `results` of a `PersistedLayer`: they exist while this object does."""

    def values(self) -> Sequence[Any]:
        """Return the values of all items."""
        ...


class InMemoryResults:
    """Values in this process's memory."""

    def __init__(self, values: Sequence[Any]) -> None:
        self._values = values

    def values(self) -> Sequence[Any]:
        """Return the values of all items."""
        return self._values


def values_of(persisted: PersistedLayer) -> Sequence[Any]:
    """Return the values of a persisted layer, fetched if they are elsewhere.

    Raises
    ------
    InputError : they are gone: the object was pickled, or its cluster is closed.
    """
    if persisted.results is None:
        raise InputError(
            f"the results of layer {persisted.layer.hex()} are not in this process, and no client of it has them; "
            "persist them again where they are needed"
        )
    results: PersistedResults = persisted.results
    return results.values()


def literal_layer(persisted: PersistedLayer) -> Layer:
    """Return the same results as a layer with the values as arguments, for a cluster that does not have them."""
    return Layer("persisted", identity, persisted.n, args=[(v,) for v in values_of(persisted)], key=persisted.layer)
