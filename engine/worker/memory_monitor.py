"""The memory that the worker's process uses, besides what its store counts. For `worker`."""

from __future__ import annotations

import logging

from howdah.engine.comm.data import buffer_pool
from howdah.engine.protocol.messages import Health
from howdah.engine.worker.store.process_memory import resident_bytes

log = logging.getLogger(__name__)

PAUSE = 0.85
"""Share of the limit above which only one batch runs at a time."""


class MemoryMonitor:
    """Compares the process with a limit of `limit` bytes (0: none). `paused`: run one batch at a time."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.paused = False
        self.peak = 0
        self._reported = self._errors = 0

    def sample(self, managed: int, errors: int = 0) -> Health | None:
        """Measure the process; returns a message if the scheduler must be informed of a change.

        Parameters
        ----------
        managed : bytes of results in memory.
        errors : number of the worker's internal errors so far, which travels along.
        """
        rss = resident_bytes()
        if self.limit and rss > PAUSE * self.limit:
            buffer_pool.trim()
            rss = resident_bytes()
        self.peak = max(self.peak, rss)
        paused = bool(self.limit) and rss > PAUSE * self.limit
        turned = paused != self.paused
        if turned and paused:
            log.warning(
                "memory: %.0f MiB of %.0f MiB in use, %.0f MiB of them results; one batch at a time until it falls",
                rss / 2**20,
                self.limit / 2**20,
                managed / 2**20,
            )
        self.paused = paused
        if not turned and errors == self._errors and abs(rss - self._reported) < max(16 << 20, self._reported // 20):
            return None
        self._reported, self._errors = rss, errors
        return Health(rss, managed, paused, errors)
