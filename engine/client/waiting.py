"""`Waiter`: how a client waits for results, on the calling thread or on a user's event loop.

Each wait is written once, as a coroutine. What blocks is behind a `WaitMode`: `Blocking` blocks the calling thread, so
that the coroutine never suspends and `run_blocking` can drive it without an event loop; `Awaiting` suspends it on the
user's event loop. A wait ends with its result, its deadline, or the loss of the cluster. In a task of a worker another
task gets the slot meanwhile. For `Client`, and through it for futures and coordination.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

from howdah.engine.client.async_bridge import AsyncEvent, ItemCallbacks
from howdah.engine.client.connection import SchedulerConnection
from howdah.engine.client.fetch import ResultFetcher
from howdah.engine.client.future_registry import FutureRegistry, ResultRanges, timeout_message
from howdah.engine.client.layer_results import CompletionWatch, LayerResults
from howdah.engine.comm.connection.event_loop import Loop, LoopThread
from howdah.engine.execution.task_context import slot_released
from howdah.errors import DeadlineExceeded, HowdahError

if TYPE_CHECKING:
    from howdah.engine.execution.threads import Progress

log = logging.getLogger(__name__)

T = TypeVar("T")

PROGRESS_INTERVAL = 0.2
"""Seconds between two calls of a progress function."""


class Deadline:
    """The seconds that a caller allows, for all waits of one call together; None is no limit."""

    def __init__(self, seconds: float | None) -> None:
        self.seconds = seconds
        self._until = None if seconds is None else time.monotonic() + seconds

    def remaining(self) -> float | None:
        """Seconds that are left; negative when the deadline has passed."""
        return None if self._until is None else self._until - time.monotonic()


# -- the two ways to wait ---------------------------------------------------------------------------------------------


class WaitEvent(Protocol):
    """Set once, on any thread; waited for by one waiter."""

    def set(self) -> None: ...

    def is_set(self) -> bool: ...

    async def wait_for(self, timeout: float | None) -> bool:
        """Whether it was set within `timeout` seconds."""


class WaitMode(Protocol):
    """What differs between a blocking and an awaited wait."""

    def event(self) -> WaitEvent: ...

    async def run(self, fn: Callable[..., T], *args: Any) -> T:
        """Return ``fn(*args)``, which may block."""


class _ThreadEvent(threading.Event):
    """Blocks the waiting thread. The event loop stays awake meanwhile, because an answer is about to come."""

    def __init__(self, loop: Loop) -> None:
        super().__init__()
        self._loop = loop

    def set(self) -> None:
        self._loop.may_sleep()
        super().set()

    async def wait_for(self, timeout: float | None) -> bool:
        self._loop.stay_awake()
        return self.wait(timeout)


class Blocking:
    """Waits block the calling thread."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop

    def event(self) -> WaitEvent:
        return _ThreadEvent(self._loop)

    async def run(self, fn: Callable[..., T], *args: Any) -> T:
        return fn(*args)


class Awaiting:
    """Waits suspend a coroutine of the user's event loop."""

    def event(self) -> WaitEvent:
        return AsyncEvent()

    async def run(self, fn: Callable[..., T], *args: Any) -> T:
        return await asyncio.to_thread(fn, *args)


AWAITING = Awaiting()


def run_blocking(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine whose waits block this thread, and which therefore never suspends.

    >>> async def answer(): return 42
    >>> run_blocking(answer())
    42
    """
    try:
        work.send(None)
    except StopIteration as ended:
        return ended.value  # type: ignore[no-any-return]
    work.close()
    raise RuntimeError("a blocking wait was suspended")


class Outcome(NamedTuple):
    """Values, or the error of a task. Returned and not raised, since a task may raise StopIteration."""

    error: BaseException | None
    values: list[Any]

    def get(self) -> list[Any]:
        """Return the values, or raise the error."""
        if self.error is not None:
            raise self.error
        return self.values


# -- the waits --------------------------------------------------------------------------------------------------------


class Waiter:
    """All waits of one client.

    Each exists in a blocking form and, with ``_async``, in one that is awaited on an event loop. When the connection is
    closed or the cluster lost, every wait raises the connection's error at once.

    Attributes
    ----------
    when_lost : called with the error on the loop's thread, when the cluster is lost for good or the client closed.
    """

    def __init__(self, registry: FutureRegistry, loop_thread: LoopThread) -> None:
        self.when_lost: set[Callable[[HowdahError], object]] = set()
        self._registry, self._thread, self._loop = registry, loop_thread, loop_thread.loop
        self._blocking = Blocking(self._loop)
        self._watches: set[CompletionWatch] = set()
        self._item_callbacks = ItemCallbacks()
        self._callbacks = ThreadPoolExecutor(1, "howdah-callbacks")
        self._connection: SchedulerConnection
        self._fetcher: ResultFetcher

    def attach(self, connection: SchedulerConnection, fetcher: ResultFetcher) -> None:
        """Use this connection from now on. Called once, before any wait."""
        self._connection, self._fetcher = connection, fetcher

    def waiting(self) -> int:
        """Number of waits for whole ranges that are under way."""
        return len(self._watches)

    # -- blocking -----------------------------------------------------------------------------------------------------

    def results(
        self, ranges: ResultRanges, timeout: float | None = None, progress: Progress | None = None
    ) -> list[Any]:
        """Return the values of ranges, item by item.

        Raises
        ------
        The first failure that is known, as soon as it is known; DeadlineExceeded; the connection's error.
        """
        return run_blocking(self._results(self._blocking, ranges, timeout, progress)).get()

    def wait(self, ranges: ResultRanges, timeout: float | None = None, first_failure: bool = False) -> None:
        """Return when all items are done or have failed; with `first_failure`, when one has failed."""
        run_blocking(self._settled(self._blocking, ranges, Deadline(timeout), first_failure))

    def exception(self, results: LayerResults, item: int, timeout: float | None = None) -> BaseException | None:
        """Return the exception of an item once it has ended; None if it is done."""
        return run_blocking(self._exception(self._blocking, results, item, timeout))

    # -- awaited on a user's event loop -------------------------------------------------------------------------------

    async def results_async(self, ranges: ResultRanges, timeout: float | None = None) -> list[Any]:
        """`results`, to be awaited."""
        return (await self._results(AWAITING, ranges, timeout)).get()

    async def wait_async(self, ranges: ResultRanges, timeout: float | None = None, first_failure: bool = False) -> None:
        """`wait`, to be awaited."""
        await self._settled(AWAITING, ranges, Deadline(timeout), first_failure)

    async def exception_async(
        self, results: LayerResults, item: int, timeout: float | None = None
    ) -> BaseException | None:
        """`exception`, to be awaited."""
        return await self._exception(AWAITING, results, item, timeout)

    # -- both ---------------------------------------------------------------------------------------------------------

    async def _results(
        self, mode: WaitMode, ranges: ResultRanges, timeout: float | None, progress: Progress | None = None
    ) -> Outcome:
        deadline = Deadline(timeout)
        while True:
            await self._settled(mode, ranges, deadline, True, progress)
            error = self._first_failure(ranges)
            if error is not None:
                return Outcome(error, [])
            if self._fetcher.all_inline(ranges):
                values = self._fetcher.collect(ranges)
            else:
                values = await mode.run(self._fetcher.collect, ranges)
            if values is not None:
                return Outcome(None, values)
            # A holder was lost between its report and the fetch: what it held is computed again.
            left = deadline.remaining()
            if left is not None and left <= 0.0:
                raise DeadlineExceeded(timeout_message(ranges, deadline.seconds or 0.0))

    async def _exception(
        self, mode: WaitMode, results: LayerResults, item: int, timeout: float | None
    ) -> BaseException | None:
        await self._settled(mode, [(results, item, item + 1)], Deadline(timeout))
        return self._registry.failure(results, item)

    async def _settled(
        self,
        mode: WaitMode,
        ranges: ResultRanges,
        deadline: Deadline,
        first_failure: bool = False,
        progress: Progress | None = None,
    ) -> None:
        """Return when all is settled (or one has failed). Raises DeadlineExceeded, or the connection's error."""
        self._thread.check()
        if all(results.settled(start, stop) for results, start, stop in ranges) and self._connection.error is None:
            if progress is not None:  # ended before the first look: its end is shown all the same
                await mode.run(self._report, progress)
            return
        event = mode.event()
        with self._watching(mode, ranges, first_failure, event), slot_released():
            while not event.is_set():
                left = deadline.remaining()
                if left is not None and left <= 0.0:
                    raise DeadlineExceeded(timeout_message(ranges, deadline.seconds or 0.0))
                if progress is None:
                    await event.wait_for(left)
                elif not await event.wait_for(PROGRESS_INTERVAL if left is None else min(PROGRESS_INTERVAL, left)):
                    await mode.run(self._report, progress)
            if progress is not None and self._connection.error is None:
                await mode.run(self._report, progress)
        if self._connection.error is not None and not all(r.settled(a, b) for r, a, b in ranges):
            raise self._connection.error

    @contextlib.contextmanager
    def _watching(self, mode: WaitMode, ranges: ResultRanges, first_failure: bool, event: WaitEvent) -> Iterator[None]:
        """Set `event` when the ranges are settled or the connection is lost."""
        if mode is AWAITING and len(ranges) == 1 and ranges[0][2] - ranges[0][1] == 1:
            # Thousands of coroutines may await items of one layer: one listener serves them all.
            results, item, _ = ranges[0]
            self._loop.call_soon_threadsafe(self._watch_item, results, item, event)
            yield
            return
        watch = CompletionWatch(ranges, first_failure, event)
        self._watches.add(watch)  # before the look at the connection: its loss sets the events of all watches
        try:
            watch.start()
            if self._connection.error is not None:
                event.set()
            yield
        finally:
            self._watches.discard(watch)
            watch.stop()

    def _first_failure(self, ranges: ResultRanges) -> BaseException | None:
        for results, start, stop in ranges:
            failed = results.first_failed(start, stop)
            if failed >= 0:
                return self._registry.failure(results, failed) or HowdahError("a task failed without a reason")
        return None

    def _report(self, progress: Progress) -> None:
        """Ask the scheduler how far the layers are, and call `progress`."""
        of = progress if isinstance(progress, LayerProgress) else None
        if of is None:
            layers = self._connection.query("progress")
        else:
            layers = self._connection.query("progress_of", keys=of.keys)
        open_layers = [layer for layer in layers if layer["done"] + layer["idle"] < layer["n"]]
        left = sum(layer["n"] - layer["idle"] - layer["done"] for layer in open_layers)
        # The scheduler forgets layers that are done and needed no more: they count as done all the same.
        total = sum(layer["n"] - layer["idle"] for layer in layers) if of is None else of.total
        progress(total - left, total, open_layers[0]["name"] if open_layers else "")

    # -- callbacks ----------------------------------------------------------------------------------------------------

    def call_back(self, fn: Callable[..., object], *args: Any) -> None:
        """Call ``fn(*args)`` on the thread for users' callbacks. Raises RuntimeError after `close`."""
        self._callbacks.submit(fn, *args)

    def call_when_done(self, results: LayerResults, item: int, fn: Callable[..., object], *args: Any) -> None:
        """Call ``fn(*args)`` on the thread for users' callbacks once the item has ended; log what it raises."""

        def ended() -> None:
            if results.settled(item, item + 1):
                self._callbacks.submit(_log_errors, fn, args)

        self._loop.call_soon_threadsafe(self._item_callbacks.add, results, item, ended)

    # -- on howdah's loop thread --------------------------------------------------------------------------------------

    def _watch_item(self, results: LayerResults, item: int, event: WaitEvent) -> None:
        if self._connection.error is not None:
            event.set()
        else:
            self._item_callbacks.add(results, item, event.set)

    def on_connection_lost(self, error: HowdahError) -> None:
        """End all waits."""
        for watch in tuple(self._watches):
            watch.event.set()
        self._item_callbacks.call_all()
        for call in tuple(self.when_lost):
            call(error)

    def close(self) -> None:
        """Take no callbacks any more; those that are queued are still called."""
        self._callbacks.shutdown(wait=False)


class LayerProgress:
    """A progress function for certain layers only, which have `total` items."""

    def __init__(self, progress: Progress, lengths: Mapping[bytes, int]) -> None:
        self.progress, self.keys, self.total = progress, list(lengths), sum(lengths.values())

    def __call__(self, done: int, total: int, name: str) -> None:
        self.progress(done, total, name)


def _log_errors(fn: Callable[..., object], args: Sequence[Any]) -> None:
    try:
        fn(*args)
    except Exception:
        log.exception("a done callback of %r raised", args[0] if args else fn)
