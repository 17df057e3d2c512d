"""Tasks with a time limit (`timeout=`): watched while they run, and reported as failed when they exceed it.

A thread cannot be stopped, so the slot of such a task is lost to its worker: the worker reports the failure, returns
the rest of the batch, and has its process replaced (`Worker.drain`). One worker is lost for each task that exceeds its
limit. For `worker` alone.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from howdah.engine.protocol.events import BatchReturned
from howdah.engine.worker.executor import BatchReport, QueuedBatch, SlotPool

CHECK_EVERY = 0.1
"""Seconds between checks, while a batch with a time limit is here."""


class TimeoutWatcher:
    """Calls `on_timeout` once for each batch of which an item exceeds its layer's limit. On the event loop's thread."""

    def __init__(self, slots: SlotPool, on_timeout: Callable[[BatchReport, BatchReturned | None], None]) -> None:
        self._slots, self._on_timeout = slots, on_timeout
        self._watched: list[QueuedBatch] = []

    def watch(self, batch: QueuedBatch) -> None:
        if not self._watched:
            asyncio.get_running_loop().call_later(CHECK_EVERY, self._check)
        self._watched.append(batch)

    def _check(self) -> None:
        now = time.monotonic()
        self._watched = [batch for batch in self._watched if not (batch.reported or batch.ended or batch.cancelled)]
        for batch in self._watched:
            found = self._slots.overdue(batch, now)
            if found is not None:
                self._on_timeout(*found)
        if self._watched:
            asyncio.get_running_loop().call_later(CHECK_EVERY, self._check)
