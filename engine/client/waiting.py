"""`wait` and `as_completed`: several futures at once."""

from __future__ import annotations

import queue
import time
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from howdah.engine.client.future import Future
from howdah.engine.client.results import Results
from howdah.errors import DeadlineExceeded, bad_value

ALL_COMPLETED, FIRST_COMPLETED, FIRST_EXCEPTION = "ALL_COMPLETED", "FIRST_COMPLETED", "FIRST_EXCEPTION"


class DoneAndNotDone(NamedTuple):
    done: set[Future]
    not_done: set[Future]


class as_completed:  # the name that everybody knows
    """Futures in the order in which they end; more may be added while it runs.

    Parameters
    ----------
    futures : of one client.
    with_results : give (future, value) pairs; the value of a failed one is its exception, which is raised.
    timeout : seconds for all of it; then DeadlineExceeded.

    Raises the fault of a client that loses its cluster, as every wait does.

    Examples
    --------
    >>> from howdah.engine.client import Client
    >>> with Client(n_workers=1) as client:
    ...     sorted(future.result() for future in as_completed(client.map(abs, [-1, -2])))
    [1, 2]
    """

    def __init__(
        self, futures: Iterable[Future] = (), *, with_results: bool = False, timeout: float | None = None
    ) -> None:
        self._with_results = with_results
        self._deadline = None if timeout is None else time.monotonic() + timeout
        self._timeout = timeout
        self._ended: queue.SimpleQueue[Future] = queue.SimpleQueue()
        self._waiting: dict[int, dict[int, list[Future]]] = {}  # per layer (by id) and item
        self._count = 0
        self._client: Any = None
        self.update(futures)

    def add(self, future: Future) -> None:
        self.update([future])

    def update(self, futures: Iterable[Future]) -> None:
        """Watch these too."""
        fresh = list(futures)
        self._count += len(fresh)
        if fresh:
            self._client = fresh[0].client
            self._client._thread.loop.call_soon_threadsafe(self._begin, fresh)

    def _begin(self, futures: list[Future]) -> None:
        layers: dict[int, Results] = {}
        for future in futures:
            results = future.results
            if results.settled(future.item, future.item + 1):
                self._ended.put(future)
                continue
            items = self._waiting.setdefault(id(results), {})
            items.setdefault(future.item, []).append(future)
            layers[id(results)] = results
        for results in layers.values():
            if self._changed not in results.listeners:
                results.listeners.append(self._changed)

    def _changed(self, results: Results, start: int, stop: int) -> None:
        items = self._waiting.get(id(results), {})
        for item in range(start, stop):
            if item in items and results.settled(item, item + 1):
                for future in items.pop(item):
                    self._ended.put(future)
        if not items:
            self._waiting.pop(id(results), None)
            results.listeners.remove(self._changed)

    def count(self) -> int:
        """How many have not been given out yet."""
        return self._count

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        if not self._count:
            raise StopIteration
        while True:
            left = None if self._deadline is None else self._deadline - time.monotonic()
            if left is not None and left <= 0 and self._ended.empty():
                raise DeadlineExceeded(f"{self._count} futures were not done after {self._timeout:g} s")
            try:
                # A lost cluster ends no future; so look at the link now and then.
                future = self._ended.get(timeout=0.5 if left is None else min(0.5, max(left, 0.001)))
                break
            except queue.Empty:
                if self._client._link.fault is not None:
                    raise self._client._link.fault from None
        self._count -= 1
        return (future, future.result()) if self._with_results else future


def wait(futures: Iterable[Future], timeout: float | None = None, return_when: str = ALL_COMPLETED) -> DoneAndNotDone:
    """Wait until futures have ended: all, one (``"FIRST_COMPLETED"``), or one has failed (``"FIRST_EXCEPTION"``).

    Raises DeadlineExceeded after `timeout` seconds, and the fault of a client that loses its cluster.
    """
    if return_when not in (ALL_COMPLETED, FIRST_COMPLETED, FIRST_EXCEPTION):
        raise bad_value("return_when", return_when, f"write {ALL_COMPLETED}, {FIRST_COMPLETED} or {FIRST_EXCEPTION}")
    futures = list(futures)
    if futures and return_when == FIRST_COMPLETED:
        next(as_completed(futures, timeout=timeout))
    elif futures:
        spans = [(future.results, future.item, future.item + 1) for future in futures]
        futures[0].client._wait(spans, timeout, first_failure=return_when == FIRST_EXCEPTION)
    done = {future for future in futures if future.done()}
    return DoneAndNotDone(done, set(futures) - done)
