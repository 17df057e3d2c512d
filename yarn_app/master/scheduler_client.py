"""The master's view of the scheduler process: progress and accounts in, news of containers out.

A thin wrapper over the engine's link, for `master` alone. It promises to answer within seconds: a scheduler that is
too busy to answer gives an empty status, never an error; whether it lives is seen from its process.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from howdah.errors import HowdahError

if TYPE_CHECKING:
    from howdah.engine.client.admin import Owner

REQUEST_SECONDS = 5.0


class SchedulerClient:
    """The owner's connection.

    Attributes
    ----------
    joined : names of the workers that were connected at the last `status`.
    peaks : name of each worker that ever was -> the most memory that its process was seen to use, bytes.
    """

    def __init__(self, address: str, security: Path) -> None:
        self.joined: frozenset[str] = frozenset()
        self.peaks: dict[str, int] = {}
        self._known: set[str] = set()
        self._explained: set[str] = set()
        self._address, self._security = address, security
        self._owner = self._open()

    def _open(self) -> Owner:
        from howdah.engine.client.admin import Owner

        return Owner(self._address, self._security, timeout=REQUEST_SECONDS, lease=30.0)

    def reconnect(self) -> None:
        """A new connection, to a scheduler that was started again on the same address. Raises HowdahError."""
        self.close()
        self._owner = self._open()

    def status(self) -> dict[str, Any]:
        """The scheduler's `status`, {} when it does not answer."""
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
        """Workers that were here, are not connected now, and of whose end nobody has told."""
        return self._known - self.joined - self._explained

    def worker_lost(self, name: str, reason: str) -> None:
        """The container of this worker has ended; `reason` goes to whoever waits for its tasks."""
        self._explained.add(name)
        try:
            self._owner.worker_lost(name, reason)
        except HowdahError as error:
            print(f"howdah: the scheduler was not told of {name}: {error}", flush=True)

    def retire(self, names: Sequence[str]) -> None:
        """These workers are to go."""
        self._explained |= set(names)
        try:
            self._owner.retire(names)
        except HowdahError as error:
            print(f"howdah: the scheduler was not told to retire {names}: {error}", flush=True)

    def close(self) -> None:
        """Let go of it, also of one that is dead."""
        with contextlib.suppress(HowdahError, OSError, TimeoutError):
            self._owner.close()
