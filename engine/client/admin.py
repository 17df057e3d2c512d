"""`Owner`: the connection of an application's master to its scheduler. It reports processes and containers that end.

An owner is no client: leases do not count it. It authenticates in the scheduler's own role, by the scheduler's security
directory.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from typing import Any

from howdah.engine.client.connection import SchedulerConnection
from howdah.engine.comm.security.certificates import Security
from howdah.engine.protocol.messages import Hello
from howdah.errors import HowdahError


class Owner:
    """A blocking connection to the scheduler at `address`.

    Every call raises HowdahError when the scheduler is lost; connect anew then.

    Parameters
    ----------
    security : the scheduler's security directory; None over Unix sockets.
    timeout : seconds to wait for the scheduler at first, and for each answer.
    lease : seconds for which a lost connection is tried again.
    """

    def __init__(
        self, address: str, security: str | os.PathLike[str] | None = None, timeout: float = 10.0, lease: float = 10.0
    ) -> None:
        self.timeout = timeout
        hello = Hello("owner", f"owner-{os.getpid()}", lease=lease, host=socket.gethostname())
        identity = Security.load(security) if security is not None else None
        self._connection = SchedulerConnection(
            address, identity, hello, lambda message, frames: None, lambda fault: None
        )
        self._connection.open(timeout)

    @property
    def fault(self) -> HowdahError | None:
        """Why the connection is lost; None while it is not."""
        return self._connection.error

    def status(self) -> dict[str, Any]:
        """Return workers, tasks, layers, locality, clients and cleanup paths (`server.queries.status`). Cheap."""
        found: dict[str, Any] = self._connection.query("status", self.timeout)
        return found

    def worker_lost(self, name: str, reason: str) -> bool:
        """Report that the process of a worker (or container) has ended; False if the scheduler does not know it."""
        return bool(self._connection.query("worker_lost", self.timeout, name=name, reason=reason))

    def retire(self, names: Sequence[str]) -> list[str]:
        """Ask these workers to leave; the names of those that were connected."""
        found: list[str] = self._connection.query("retire", self.timeout, names=list(names))
        return found

    def close(self) -> None:
        """Disconnect."""
        self._connection.close()

    def __enter__(self) -> Owner:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
