"""Tasks with a time limit (`timeout=`): watched while they run, reported as failed when they take longer.

A thread cannot be stopped, so the slot of such a task is lost to its worker: the worker fails the task, gives the rest
of the run back, and has its process replaced (`Worker.drain`). One worker is lost for each task that is overdue.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from howdah.engine.protocol.events import BatchReturned
from howdah.engine.worker.executor import BatchReport, QueuedBatch, SlotPool

_LOOK = 0.1
"""Seconds between looks, while anything with a limit is here."""


class TimeoutWatcher:
    """Calls `report` for each work of which an item takes longer than its layer allows. On the loop's thread."""

    def __init__(self, slots: SlotPool, report: Callable[[BatchReport, BatchReturned | None], None]) -> None:
        self._slots, self._report = slots, report
        self._watched: list[QueuedBatch] = []

    def watch(self, work: QueuedBatch) -> None:
        if not self._watched:
            asyncio.get_running_loop().call_later(_LOOK, self._look)
        self._watched.append(work)

    def _look(self) -> None:
        now = time.monotonic()
        self._watched = [work for work in self._watched if not (work.reported or work.ended or work.cancelled)]
        for work in self._watched:
            found = self._slots.overdue(work, now)
            if found is not None:
                self._report(*found)
        if self._watched:
            asyncio.get_running_loop().call_later(_LOOK, self._look)
