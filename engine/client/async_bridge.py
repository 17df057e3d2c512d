"""The asyncio side of a client: events that a user's own event loop can await, and methods that return awaitables.

Results change on howdah's loop thread, waits end on a user's. `AsyncEvent.set` may be called on any thread; all events
of one loop that are set in a row wake it once. Blocking queries of an asynchronous client run on a thread (`blocking`).
"""

from __future__ import annotations

import asyncio
import functools
import threading
import weakref
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

from howdah.engine.client.layer_results import LayerResults

P = ParamSpec("P")
T = TypeVar("T")


def on_event_loop() -> bool:
    """Return whether this thread is running an event loop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def blocking(method: Callable[P, T]) -> Callable[P, T]:
    """Make a blocking method of a client return an awaitable in an asynchronous client, on an event loop.

    The work starts at once, on a thread; the awaitable need not be awaited.
    """

    @functools.wraps(method)
    def called(*args: P.args, **kwargs: P.kwargs) -> T:
        client: Any = args[0]
        if client.asynchronous and on_event_loop():
            return asyncio.ensure_future(asyncio.to_thread(method, *args, **kwargs))  # type: ignore[return-value]
        return method(*args, **kwargs)

    return called


class LoopWaker:
    """Wakes one event loop for many events at once."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = weakref.ref(loop)
        self._due: list[asyncio.Future[None]] = []
        self._scheduled = False
        self._lock = threading.Lock()

    def wake(self, future: asyncio.Future[None]) -> None:
        """Set the result of `future` on the loop. From any thread."""
        with self._lock:
            self._due.append(future)
            if self._scheduled:
                return
            self._scheduled = True
        loop = self._loop()
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._set_results)

    def _set_results(self) -> None:
        with self._lock:
            due, self._due, self._scheduled = self._due, [], False
        for future in due:
            if not future.done():
                future.set_result(None)


_wakers: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, LoopWaker] = weakref.WeakKeyDictionary()


class AsyncEvent:
    """An event that is awaited on the loop it was made on, and may be set on any thread. Set once."""

    __slots__ = ("_future", "_set", "_waker")

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self._waker = _wakers.get(loop) or _wakers.setdefault(loop, LoopWaker(loop))
        self._future: asyncio.Future[None] = loop.create_future()
        self._set = False

    def set(self) -> None:
        """Set it. From any thread; setting it twice has no effect."""
        if not self._set:
            self._set = True
            self._waker.wake(self._future)

    def is_set(self) -> bool:
        """Return whether it is set."""
        return self._set

    async def wait_for(self, timeout: float | None = None) -> bool:
        """Whether it was set within `timeout` seconds."""
        if not self._set or not self._future.done():
            await asyncio.wait([self._future], timeout=timeout)
        return self._set


class ItemCallbacks:
    """Callbacks for single items: one listener per layer, however many there are. On howdah's loop thread."""

    def __init__(self) -> None:
        self._waiting: dict[int, dict[int, list[Callable[[], None]]]] = {}

    def add(self, results: LayerResults, item: int, then: Callable[[], None]) -> None:
        """Call `then` once the item has ended; at once if it has."""
        if results.settled(item, item + 1):
            then()
            return
        items = self._waiting.get(id(results))
        if items is None:
            items = self._waiting[id(results)] = {}
            results.add_listener(self._changed)
        items.setdefault(item, []).append(then)

    def call_all(self) -> None:
        """Call all of them, because the connection is lost."""
        for items in self._waiting.values():
            for calls in items.values():
                for then in calls:
                    then()
        self._waiting.clear()

    def _changed(self, results: LayerResults, start: int, stop: int) -> None:
        items = self._waiting.get(id(results))
        if items is None:
            return
        few = range(start, stop) if stop - start < len(items) else [item for item in items if start <= item < stop]
        for item in few:
            if item in items and results.settled(item, item + 1):
                for then in items.pop(item):
                    then()
        if not items:
            del self._waiting[id(results)]
            results.remove_listener(self._changed)


def as_task(work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """Return a coroutine as a task, which runs whether or not it is awaited."""
    return asyncio.ensure_future(work)
