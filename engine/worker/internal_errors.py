"""Errors of the worker's own code on a task's way: counted, and each kind logged once.

The task during which one arises fails with it; slot, session and worker go on. The count travels with `Health`, and is
`howdah_worker_internal_errors_total` among the scheduler's metrics. A leaf of the worker, for any thread.
"""

from __future__ import annotations

import logging
import threading

log = logging.getLogger(__name__)


class InternalErrors:
    """The errors of one worker.

    >>> errors = InternalErrors(); errors.count
    0
    """

    def __init__(self) -> None:
        self.count = 0
        self._lock = threading.Lock()
        self._logged: set[tuple[str, type[BaseException]]] = set()

    def record(self, step: str, error: BaseException) -> None:
        """Count an error that arose in `step`; the first of its type in this step is logged with its traceback."""
        with self._lock:
            self.count += 1
            first = (step, type(error)) not in self._logged
            self._logged.add((step, type(error)))
        if first:
            log.error("an error while %s; further ones of this kind are counted only", step, exc_info=error)
