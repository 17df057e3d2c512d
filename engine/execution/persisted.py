"""Results kept in this process for later graphs: what `persist` without a client gives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from howdah.engine.graph.adapters import identity
from howdah.engine.graph.graph import PersistedLayer
from howdah.engine.protocol.layers import Layer
from howdah.errors import InputError


class PersistedResults(Protocol):
    """What a `PersistedLayer.results` can do: give the values of all its items. It keeps them while it lives."""

    def values(self) -> Sequence[Any]: ...


class InMemoryResults:
    """Values in this process's memory."""

    def __init__(self, values: Sequence[Any]) -> None:
        self._values = values

    def values(self) -> Sequence[Any]:
        return self._values


def values_of(held: PersistedLayer) -> Sequence[Any]:
    """The values of a held layer, brought here if they are elsewhere.

    Raises
    ------
    InputError : nothing keeps them any more: `held` has been through a pickle, or its cluster is closed.
    """
    if held.results is None:
        raise InputError(
            f"held: the results of layer {held.layer.hex()} are not kept by anything in this process; "
            "persist them again where they are needed"
        )
    keeper: PersistedResults = held.results
    return keeper.values()


def literal_layer(held: PersistedLayer) -> Layer:
    """The same results as a layer with the values for arguments, for a cluster that does not hold them."""
    return Layer("held", identity, held.n, args=[(value,) for value in values_of(held)], key=held.layer)
