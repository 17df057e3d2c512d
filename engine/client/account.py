"""Accounts: the cost of a piece of work on a cluster, by `account(client)` around any number of computes.

The difference of the scheduler's own accounts (`Client.summary`) before and after, so the work of other clients in the
meantime counts too. Nothing is collected that would not be otherwise. For users, as `howdah.account`.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

FIELDS = ("tasks", "runs", "seconds", "inputs_local", "inputs_moved", "bytes_node", "bytes_rack", "bytes_remote")


class Summarised(Protocol):
    """A client, as far as it is needed here."""

    def summary(self) -> dict[str, Any]: ...


@dataclass
class Account:
    """The cost of a block, filled in when the block of `account` ends; `print` shows it as a table.

    Attributes
    ----------
    wall
        Seconds that the block took.
    slots
        The number of slots of the cluster at the end.
    parts
        By the name of layers, the growth of each of `FIELDS`: tasks completed, runs, seconds of slots, bytes of inputs
        that were local and that were moved between workers, bytes read from outside by distance.

    Examples
    --------
    >>> Account(wall=2.0, slots=1, parts={"inc": dict.fromkeys(FIELDS, 1)}).total("tasks")
    1
    """

    wall: float = 0.0
    slots: int = 0
    parts: dict[str, dict[str, float]] = field(default_factory=dict)

    def total(self, name: str) -> float:
        """Return the sum of one of `FIELDS` over all layers.

        Parameters
        ----------
        name
            The field, as "seconds".

        Returns
        -------
        float
        """
        return sum(part[name] for part in self.parts.values())

    def __str__(self) -> str:
        """Return a table, the longest part first."""
        busy = 100 * self.total("seconds") / (self.wall * self.slots) if self.wall and self.slots else 0.0
        read = sum(self.total(name) for name in ("bytes_node", "bytes_rack", "bytes_remote"))
        lines = [
            f"{self.total('tasks'):.0f} tasks in {self.wall:.3f} s; slots were busy {busy:.0f} % of it; "
            f"{_bytes(self.total('inputs_moved'))} moved between workers, {_bytes(read)} read "
            f"({_bytes(self.total('bytes_node'))} on their own node)",
            f"{'part':32} {'tasks':>9} {'seconds':>9} {'moved':>10} {'read':>10}",
        ]
        for name, part in sorted(self.parts.items(), key=lambda named: -named[1]["seconds"]):
            outside = part["bytes_node"] + part["bytes_rack"] + part["bytes_remote"]
            lines.append(
                f"{name[:32]:32} {part['tasks']:9.0f} {part['seconds']:9.3f} "
                f"{_bytes(part['inputs_moved']):>10} {_bytes(outside):>10}"
            )
        return "\n".join(lines)


@contextlib.contextmanager
def account(client: Summarised) -> Iterator[Account]:
    """Account for the work of a `with` block.

    Parameters
    ----------
    client
        The client of the cluster.

    Yields
    ------
    Account
        Complete when the block ends.

    Examples
    --------
    >>> from howdah.engine.api import Client
    >>> with Client(n_workers=1) as client, account(client) as cost:
    ...     _ = client.gather(client.map(abs, range(10)))
    >>> int(cost.total("tasks")), list(cost.parts)
    (10, ['abs'])
    """
    found = Account()
    before, begun = _by_name(client.summary()), time.perf_counter()
    try:
        yield found
    finally:
        found.wall = time.perf_counter() - begun
        summary = client.summary()
        found.slots = summary["slots"]
        for name, now in _by_name(summary).items():
            grown = {key: now[key] - before.get(name, {}).get(key, 0) for key in FIELDS}
            if grown["runs"] > 0:
                found.parts[name] = grown


def _by_name(summary: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    parts: dict[str, dict[str, float]] = {}
    for layer in summary["layers"]:
        mine = parts.setdefault(layer["name"], dict.fromkeys(FIELDS, 0))
        for key in FIELDS:
            mine[key] += layer[key]
    return parts


def _bytes(count: float) -> str:
    """
    >>> _bytes(1_500_000)
    '1.5 MB'
    """
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"
