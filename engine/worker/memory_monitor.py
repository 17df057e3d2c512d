"""What the worker's process really uses, beside what its store counts (DESIGN, "Data")."""

from __future__ import annotations

import logging

from howdah.engine.comm.data import buffer_pool as kept
from howdah.engine.protocol.messages import Health
from howdah.engine.worker.store.process_memory import resident_bytes

log = logging.getLogger(__name__)

PAUSE = 0.85
"""Share of the limit from which on only one run at a time is begun."""


class MemoryMonitor:
    """Watches the process against `limit` bytes (0: no limit). `paused`: take no more than one run at a time."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.paused = False
        self.peak = 0
        self._told = 0

    def sample(self, managed: int) -> Health | None:
        """Measure; a message when the scheduler should know something new."""
        rss = resident_bytes()
        if self.limit and rss > PAUSE * self.limit:
            kept.trim()
            rss = resident_bytes()
        self.peak = max(self.peak, rss)
        paused = bool(self.limit) and rss > PAUSE * self.limit
        turned = paused != self.paused
        if turned and paused:
            log.warning(
                "memory: %.0f MiB of %.0f MiB in use, %.0f MiB of them results; one run at a time until it falls",
                rss / 2**20,
                self.limit / 2**20,
                managed / 2**20,
            )
        self.paused = paused
        if not turned and abs(rss - self._told) < max(16 << 20, self._told // 20):
            return None
        self._told = rss
        return Health(rss, managed, paused)
