"""`WorkerLogs`: the output of workers and their tasks (`howdah.engine.worker.task_logs` keeps it)."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import Any

from howdah.engine.api.worker_calls import WorkerCalls
from howdah.engine.worker import task_logs
from howdah.errors import bad_value


class WorkerLogs:
    """Requests lines from the workers themselves."""

    def __init__(self, calls: WorkerCalls) -> None:
        self._calls = calls

    def of_workers(self, n: int | None, workers: Iterable[str] | str | None) -> dict[str, list[tuple[str, str]]]:
        """Return (level, text) per line, the newest first, per worker."""
        if n is not None and (type(n) is not int or n < 0):
            raise bad_value("n", n, "give the number of lines, from 0 on, or None")
        return self._calls.run(task_logs.newest, (n,), {}, workers)

    def of_task(self, layer: bytes, item: int) -> list[dict[str, Any]]:
        """Return the lines of a task in order, of all workers."""
        lines_by_worker = self._calls.run(task_logs.of_task, (layer, item), on_error="ignore")
        names = ("time", "level", "source", "text")
        found = [
            {"worker": worker, **dict(zip(names, line))} for worker, lines in lines_by_worker.items() for line in lines
        ]
        return sorted(found, key=operator.itemgetter("time"))
