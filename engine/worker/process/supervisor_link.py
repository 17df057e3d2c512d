"""What a worker's process gets from its supervisor, and reports to it. A leaf, for both."""

from __future__ import annotations

import contextlib
import json
import os
from typing import NamedTuple

from howdah.engine.worker.status_page import StatusPage


class SupervisorLink(NamedTuple):
    """The worker's side of the connection to its supervisor.

    `report_fd`: a file descriptor to which the worker writes its reports. `identity`: what its predecessor was granted:
    (certificate, key), both PEM. `died`: why its predecessor ended.
    """

    report_fd: int
    status_page: StatusPage
    identity: tuple[bytes, bytes]
    died: str

    def report_identity(self, certificate: bytes, key: bytes) -> None:
        """Store this identity for the process that replaces this one."""
        self._send({"identity": [certificate.decode(), key.decode()]})

    def report_leaving(self) -> None:
        """Announce that the exit that follows is intended; an exit without this report is attributed to a task."""
        self._send({"leaving": True})

    def _send(self, message: dict[str, object]) -> None:
        with contextlib.suppress(OSError):  # the supervisor is gone
            os.write(self.report_fd, json.dumps(message).encode() + b"\n")
