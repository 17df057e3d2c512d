"""The master's connection to the scheduler process: progress and accounts in, ends of containers out.

A thin wrapper over the engine's `Owner`, for `master` alone. It promises to return within seconds: a scheduler that is
too busy to answer gives an empty status, never an error; whether it lives is seen from its process.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from howdah.engine.client.admin import Owner
from howdah.errors import HowdahError

REQUEST_SECONDS = 5.0
RECONNECT_SECONDS = 30.0


class SchedulerClient:
    """The owner's connection to one scheduler.

    Attributes
    ----------
    joined : names of the workers that were connected at the last `status`.
    peaks : by the name of each worker that ever joined, the most memory that its process was seen to use, in bytes.
    """

    def __init__(self, address: str, security: Path) -> None:
        self.joined: frozenset[str] = frozenset()
        self.peaks: dict[str, int] = {}
        self._known: set[str] = set()
        self._explained: set[str] = set()
        self._address, self._security = address, security
        self._owner = self._open()

    def _open(self) -> Owner:
        return Owner(self._address, self._security, timeout=REQUEST_SECONDS, lease=RECONNECT_SECONDS)

    def reconnect(self) -> None:
        """Connect to a scheduler that was started again on the same address.

        Raises
        ------
        HowdahError
            It does not answer.
        """
        self.close()
        self._owner = self._open()

    def status(self) -> dict[str, Any]:
        """Return the scheduler's status; {} when it does not answer."""
        try:
            found = self._owner.status()
        except HowdahError:
            return {}
        workers = found.get("workers", {})
        self.joined = frozenset(name for name, worker in workers.items() if worker.get("connected", True))
        self._known |= self.joined
        for name, worker in workers.items():
            self.peaks[name] = max(self.peaks.get(name, 0), int(worker.get("rss") or 0))
        return found

    def unexplained_absences(self) -> set[str]:
        """Return the workers that had joined, are not connected now, and whose end was not reported."""
        return self._known - self.joined - self._explained

    def worker_lost(self, name: str, reason: str) -> None:
        """Report that the container of this worker has ended; `reason` goes to clients that wait for its tasks."""
        self._explained.add(name)
        try:
            self._owner.worker_lost(name, reason)
        except HowdahError as error:
            print(f"howdah: the loss of {name} could not be reported to the scheduler: {error}", flush=True)

    def retire(self, names: Sequence[str]) -> None:
        """Ask the scheduler to retire these workers."""
        self._explained |= set(names)
        try:
            self._owner.retire(names)
        except HowdahError as error:
            print(f"howdah: the scheduler could not be asked to retire {names}: {error}", flush=True)

    def close(self) -> None:
        """Close the connection, also one to a scheduler that is dead."""
        with contextlib.suppress(HowdahError, OSError, TimeoutError):
            self._owner.close()
