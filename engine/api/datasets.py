"""`Datasets`: data that stays on the cluster under a name, for all clients, until it is unpublished."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from howdah.engine.client.connection import SchedulerConnection
from howdah.engine.coordination.values import Variable
from howdah.errors import InputError, PathExists, near

if TYPE_CHECKING:
    from howdah.engine.client.cluster_client import ClusterClient

PREFIX = "dataset:"
"""Of the names of the variables that hold datasets."""


class Datasets:
    """Published data; each is a `Variable` of the cluster."""

    def __init__(self, connection: SchedulerConnection) -> None:
        self._connection = connection

    def names(self) -> tuple[str, ...]:
        """Return the names of all datasets."""
        return tuple(self._connection.query("datasets"))

    def publish(self, client: ClusterClient, given: Mapping[str, Any], override: bool) -> None:
        """Keep values under names. Raises PathExists."""
        there = self.names()
        for name in given:
            if name in there and not override:
                raise PathExists(f"there is a dataset {name!r} already; unpublish it first, or give override=True")
        for name, value in given.items():
            Variable(PREFIX + name, client=client).set(value)

    def get(self, client: ClusterClient, name: str, default: Any, timeout: float) -> Any:
        """Return a dataset; `default` if there is none, unless that is an ellipsis."""
        there = self.names()
        if name not in there:
            if default is ...:
                raise _unknown(name, there)
            return default
        return Variable(PREFIX + name, client=client).get(timeout=timeout)

    def unpublish(self, client: ClusterClient, name: str) -> None:
        """Drop a dataset. Raises InputError."""
        there = self.names()
        if name not in there:
            raise _unknown(name, there)
        Variable(PREFIX + name, client=client).delete()


def _unknown(name: str, there: tuple[str, ...]) -> InputError:
    return InputError(f"there is no dataset {name!r}; " + (near(name, there) if there else "none is there"))
