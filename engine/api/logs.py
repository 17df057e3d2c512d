"""What workers and their tasks have said, asked for by a client (`howdah.engine.worker.task_logs` keeps it)."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from howdah.engine.client.async_bridge import blocking
from howdah.engine.worker import task_logs as logs
from howdah.errors import InputError, bad_value

if TYPE_CHECKING:
    from howdah.engine.client.layer_results import LayerResults


class Captured:
    """Mixed into `Client`. In an asynchronous client each of these is awaited."""

    _labels: Mapping[str, LayerResults]

    if TYPE_CHECKING:

        def _run(self, function: Callable[..., Any], args: Any, kwargs: Any, workers: Any, on_error: str) -> Any: ...

    @blocking
    def get_worker_logs(
        self, n: int | None = None, workers: Iterable[str] | str | None = None, nanny: bool = False
    ) -> dict[str, list[tuple[str, str]]]:
        """What the workers have said: (level, text) per line, the newest first.

        Lines on stdout and stderr have the levels "STDOUT" and "STDERR"; log records from WARNING up have theirs. Those
        of a task begin with its name. A worker keeps its last 5,000 lines (1 MiB, 200 of each task).

        Parameters
        ----------
        n : so many of each worker; default: all that are kept.
        workers : names of those that are asked; default: all.
        nanny : there for dask's sake; howdah has none.
        """
        if n is not None and (type(n) is not int or n < 0):
            raise bad_value("n", n, "give the number of lines, from 0 on, or None")
        found: dict[str, list[tuple[str, str]]] = self._run(logs.newest, (n,), {}, workers, "raise")
        return found

    @blocking
    def logs_of(self, task: Any) -> list[dict[str, Any]]:
        """What a task has said, in order: "time", "worker", "level", "source" and "text" of each line.

        `task` is a future or its key. A task that ran twice (it was tried again, or its worker died) has said it twice;
        what a dead worker had is gone with it.
        """
        layer, item = self._task_named(task)
        said = self._run(logs.of_task, (layer, item), {}, None, "ignore")
        names = ("time", "level", "source", "text")
        found = [{"worker": worker, **dict(zip(names, line))} for worker, lines in said.items() for line in lines]
        return sorted(found, key=operator.itemgetter("time"))

    def _task_named(self, task: Any) -> tuple[bytes, int]:
        if hasattr(task, "results") and hasattr(task, "item"):
            return task.results.key, task.item
        labelled = self._labels.get(task) if isinstance(task, str) else None
        if labelled is not None and labelled.labels is not None:
            return labelled.key, labelled.labels.index(task)
        layer, _, item = str(task).rpartition("-")
        try:
            return bytes.fromhex(layer), int(item)
        except ValueError:
            raise InputError(f"logs_of: got {task!r}: give a future, or the key of one") from None
