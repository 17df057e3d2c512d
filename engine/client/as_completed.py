"""`wait` and `as_completed`: several futures at once, on a thread or on an event loop. For users."""

from __future__ import annotations

import queue
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any, NamedTuple

from howdah.engine.client.async_bridge import AsyncEvent, as_task
from howdah.engine.client.future import Future
from howdah.engine.client.layer_results import FAILED, LayerResults
from howdah.engine.execution.task_context import slot_released
from howdah.errors import DeadlineExceeded, bad_value

ALL_COMPLETED, FIRST_COMPLETED, FIRST_EXCEPTION = "ALL_COMPLETED", "FIRST_COMPLETED", "FIRST_EXCEPTION"

CONNECTION_CHECK_INTERVAL = 0.5
"""Seconds between looks at the connection: futures do not end when the cluster is lost."""


class DoneAndNotDone(NamedTuple):
    """What `wait` returns: futures that have ended, and the others."""

    done: set[Future]
    not_done: set[Future]


class as_completed:  # named as in concurrent.futures
    """Futures in the order in which they end; more may be added while it runs. Also by ``async for``.

    Parameters
    ----------
    futures : of one client.
    loop : accepted for dask compatibility; ignored.
    with_results : yield (future, value) pairs; the exception of a failed one is raised.
    raise_errors : False yields the exception of a failed one as its value instead.
    timeout : seconds for the whole iteration.

    Raises
    ------
    DeadlineExceeded : `timeout` seconds have passed.
    HowdahError : the cluster is lost, or the client was closed.

    Examples
    --------
    >>> from howdah.engine.api import Client
    >>> with Client(n_workers=1) as client:
    ...     sorted(future.result() for future in as_completed(client.map(abs, [-1, -2])))
    [1, 2]
    """

    def __init__(
        self,
        futures: Iterable[Future] = (),
        loop: Any = None,
        with_results: bool = False,
        raise_errors: bool = True,
        *,
        timeout: float | None = None,
    ) -> None:
        self._with_results, self._raise_errors = with_results, raise_errors
        self._deadline = None if timeout is None else time.monotonic() + timeout
        self._timeout = timeout
        self._ended: queue.SimpleQueue[Future] = queue.SimpleQueue()
        self._waiting: dict[int, dict[int, list[Future]]] = {}  # per layer (by id) and item
        self._count = 0
        self._client: Any = None
        self._flag: AsyncEvent | None = None
        self.update(futures)

    def add(self, future: Future) -> None:
        """Yield this future too.

        Parameters
        ----------
        future : of the same client.
        """
        self.update([future])

    def update(self, futures: Iterable[Future]) -> None:
        """Yield these futures too.

        Parameters
        ----------
        futures : of the same client.
        """
        fresh = list(futures)
        self._count += len(fresh)
        if fresh:
            self._client = fresh[0].client
            self._client.loop_thread.loop.call_soon_threadsafe(self._begin, fresh)

    def _begin(self, futures: list[Future]) -> None:
        layers: dict[int, LayerResults] = {}
        for future in futures:
            results = future.results
            if results.settled(future.item, future.item + 1):
                self._on_ended(future)
                continue
            items = self._waiting.setdefault(id(results), {})
            items.setdefault(future.item, []).append(future)
            layers[id(results)] = results
        for results in layers.values():
            results.add_listener(self._changed)

    def _changed(self, results: LayerResults, start: int, stop: int) -> None:
        items = self._waiting.get(id(results), {})
        for item in range(start, stop):
            if item in items and results.settled(item, item + 1):
                for future in items.pop(item):
                    self._on_ended(future)
        if not items:
            self._waiting.pop(id(results), None)
            results.remove_listener(self._changed)

    def _on_ended(self, future: Future) -> None:
        self._ended.put(future)
        flag = self._flag
        if flag is not None:
            flag.set()

    # -- what is left -------------------------------------------------------------------------------------------------

    def count(self) -> int:
        """Return the number of futures that were not yielded yet.

        Returns
        -------
        int
        """
        return self._count

    def is_empty(self) -> bool:
        """Return whether all were yielded.

        Returns
        -------
        bool
        """
        return not self._count

    def has_ready(self) -> bool:
        """Return whether one can be yielded without waiting.

        Returns
        -------
        bool
        """
        return not self._ended.empty()

    def clear(self) -> None:
        """Drop all futures that were not yielded yet."""
        self._ended = queue.SimpleQueue()
        self._waiting.clear()
        self._count = 0

    # -- one after the other ------------------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        if not self._count:
            raise StopIteration
        return self._deliver(self._next())

    def next_batch(self, block: bool = True) -> list[Any]:
        """Return all that have ended and were not yielded yet.

        Parameters
        ----------
        block : wait for at least one, if any is left.

        Returns
        -------
        list
            Futures, or (future, value) pairs.
        """
        batch = [self._next()] if block and self._count else []
        while not self._ended.empty() and self._count > len(batch):
            batch.append(self._ended.get_nowait())
        return [self._deliver(future) for future in batch]

    def batches(self) -> Iterator[list[Any]]:
        """Yield lists of what has ended meanwhile, until all were yielded.

        Yields
        ------
        list
            Futures, or (future, value) pairs.
        """
        while self._count:
            yield self.next_batch()

    def _next(self) -> Future:
        with slot_released() if self._ended.empty() else _NoSlot():
            while True:
                try:
                    return self._ended.get(timeout=max(self._wait_time(), 0.001))
                except queue.Empty:
                    self._check_connection()

    def _wait_time(self) -> float:
        left = None if self._deadline is None else self._deadline - time.monotonic()
        if left is not None and left <= 0 and self._ended.empty():
            raise DeadlineExceeded(f"{self._count} futures were not done after {self._timeout:g} s")
        return CONNECTION_CHECK_INTERVAL if left is None else min(CONNECTION_CHECK_INTERVAL, left)

    def _check_connection(self) -> None:
        if self._client.connection.error is not None:
            raise self._client.connection.error

    def _deliver(self, future: Future) -> Any:
        self._count -= 1
        if not self._with_results:
            return future
        if not self._raise_errors and future.results.state[future.item] == FAILED:
            return future, future.client.registry.failure(future.results, future.item)
        return future, future.client.gathered([future])[0]

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        if not self._count:
            raise StopAsyncIteration
        while True:
            self._flag = flag = AsyncEvent()
            try:
                future = self._ended.get_nowait()
                break
            except queue.Empty:
                if not await flag.wait_for(self._wait_time()):
                    self._check_connection()
        if not self._with_results:
            return self._deliver(future)
        self._count -= 1
        if not self._raise_errors and future.results.state[future.item] == FAILED:
            return future, future.client.registry.failure(future.results, future.item)
        return future, await future


class _NoSlot:
    def __enter__(self) -> None: ...

    def __exit__(self, *exc: object) -> None: ...


def wait(futures: Any, timeout: float | None = None, return_when: str = ALL_COMPLETED) -> Any:
    """Wait until futures have ended.

    Parameters
    ----------
    futures : a future, or several of one client.
    timeout : seconds; None is no limit.
    return_when : "ALL_COMPLETED", "FIRST_COMPLETED", or "FIRST_EXCEPTION": one has failed, or all have ended.

    Returns
    -------
    DoneAndNotDone
        Two sets of futures; with an asynchronous client on an event loop, an awaitable of it.

    Raises
    ------
    DeadlineExceeded : `timeout` seconds have passed.
    HowdahError : the cluster is lost, or the client was closed.

    Examples
    --------
    >>> from howdah.engine.api import Client
    >>> with Client(n_workers=1) as client:
    ...     done, not_done = wait(client.map(abs, [-1, -2]))
    >>> len(done), not_done
    (2, set())
    """
    if return_when not in (ALL_COMPLETED, FIRST_COMPLETED, FIRST_EXCEPTION):
        raise bad_value("return_when", return_when, f"write {ALL_COMPLETED}, {FIRST_COMPLETED} or {FIRST_EXCEPTION}")
    futures = [futures] if isinstance(futures, Future) else list(futures)
    if futures and futures[0].client.asynchronous:
        return as_task(_wait_async(futures, timeout, return_when))
    if futures and return_when == FIRST_COMPLETED:
        next(as_completed(futures, timeout=timeout))
    elif futures:
        ranges = [(future.results, future.item, future.item + 1) for future in futures]
        futures[0].client.waiter.wait(ranges, timeout, first_failure=return_when == FIRST_EXCEPTION)
    return _sorted(futures)


async def _wait_async(futures: list[Future], timeout: float | None, return_when: str) -> DoneAndNotDone:
    if return_when == FIRST_COMPLETED:
        await anext(as_completed(futures, timeout=timeout))
    else:
        ranges = [(future.results, future.item, future.item + 1) for future in futures]
        await futures[0].client.waiter.wait_async(ranges, timeout, first_failure=return_when == FIRST_EXCEPTION)
    return _sorted(futures)


def _sorted(futures: list[Future]) -> DoneAndNotDone:
    done = {future for future in futures if future.done()}
    return DoneAndNotDone(done, set(futures) - done)
