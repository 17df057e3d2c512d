"""The owner's line to a scheduler: for the application's master, who sees processes and containers come and go.

An owner is no client: leases do not count it. It proves the scheduler's own role, with the scheduler's directory.
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
    """A blocking line to the scheduler at `address`.

    Every call raises HowdahError when the scheduler is gone; an owner that finds it so makes a new line.

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
        """Why the line is lost; None while it is not."""
        return self._connection.error

    def status(self) -> dict[str, Any]:
        """Workers, tasks, layers, locality, clients, cleanup: see `server_questions.status`. Cheap."""
        found: dict[str, Any] = self._connection.query("status", self.timeout)
        return found

    def worker_lost(self, name: str, reason: str) -> bool:
        """The process of the worker (or container) `name` has ended; False if it is not (or no longer) known."""
        return bool(self._connection.query("worker_lost", self.timeout, name=name, reason=reason))

    def retire(self, names: Sequence[str]) -> list[str]:
        """Ask these workers to go; returns those that were there."""
        found: list[str] = self._connection.query("retire", self.timeout, names=list(names))
        return found

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> Owner:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
