"""`ClusterInfo`: what a client asks its scheduler about workers, tasks and results."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence
from typing import Any

from howdah.engine.client.connection import SchedulerConnection
from howdah.engine.client.future import Future
from howdah.engine.client.future_registry import ranges_of
from howdah.errors import DeadlineExceeded, InputError, near

POLL_INTERVAL = 0.02
"""Seconds between two questions for the workers while a call waits for them."""


class ClusterInfo:
    """Questions to the scheduler. Each blocks for one round trip, and raises the connection's error when it is lost."""

    def __init__(self, connection: SchedulerConnection) -> None:
        self._connection = connection

    def scheduler_info(self) -> dict[str, Any]:
        """Return the scheduler's name and address, and its workers."""
        found: dict[str, Any] = self._connection.query("info")
        return found

    def workers(self) -> dict[str, Any]:
        """Return the connected workers by name: host, slots, memory, address."""
        found: dict[str, Any] = self.scheduler_info()["workers"]
        return found

    def summary(self) -> dict[str, Any]:
        """Return tasks and bytes by locality, and the progress of each layer."""
        found: dict[str, Any] = self._connection.query("summary")
        return found

    def progress(self) -> list[dict[str, Any]]:
        """Return the layers that this client waits for."""
        found: list[dict[str, Any]] = self._connection.query("progress")
        return found

    def story(self, key: str) -> list[dict[str, Any]]:
        """Return the transitions of a task."""
        found: list[dict[str, Any]] = self._connection.query("story", key=key)
        return found

    def holders(self, futures: Sequence[Future]) -> list[list[str]]:
        """Return for each future the names of the workers that hold its result."""
        answer = self._connection.query("holders", ranges=plain_ranges(futures)) if futures else []
        return [workers for part in answer for workers in part]

    def keys_by_worker(self, workers: Iterable[str] | str | None) -> dict[str, list[str]]:
        """Return per worker the keys of the results that it holds."""
        chosen = self.select_workers(workers)
        held = self._connection.query("has_what")
        return {
            name: [f"{key}-{item}" for key, _, start, stop in held.get(name, ()) for item in range(start, stop)]
            for name in chosen
        }

    def select_workers(self, workers: Iterable[str] | str | None) -> list[str]:
        """Return names of connected workers, given by name, address or host; all of them for None.

        Raises
        ------
        InputError : there is no such worker.
        """
        there = self.workers()
        if workers is None:
            return list(there)
        chosen: list[str] = []
        for wanted in [workers] if isinstance(workers, str) else workers:
            mine = [name for name, w in there.items() if wanted in (name, w["address"], w["host"])]
            if not mine:
                raise InputError(f"workers: there is no worker {wanted!r}; {near(str(wanted), there)}")
            chosen += [name for name in mine if name not in chosen]
        return chosen

    def wait_for_workers(self, n: int, timeout: float | None) -> None:
        """Return when `n` workers are connected. Raises DeadlineExceeded."""
        deadline = None if timeout is None else time.monotonic() + timeout
        pause = threading.Event()
        while True:
            there = len(self.workers())
            if there >= n:
                return
            if deadline is not None and time.monotonic() > deadline:
                raise DeadlineExceeded(f"{there} of {n} workers were there after {timeout:g} s")
            pause.wait(POLL_INTERVAL)


def plain_ranges(futures: Sequence[Future]) -> list[Any]:
    """Return futures as ranges of items, in the form of the scheduler's queries."""
    return [[results.key, start, stop] for results, start, stop in ranges_of(futures)]
