"""How a client waits, on a thread or on a user's event loop: the third part of `Client`.

A wait ends with its result, its deadline, or the loss of the cluster. In a task of a worker the slot is given to
another task meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from howdah.engine.client.async_bridge import AsyncEvent, ItemCallbacks, as_task
from howdah.engine.client.connection import SchedulerConnection
from howdah.engine.client.fetch import ResultFetcher, nested_futures, substitute_values
from howdah.engine.client.future_registry import FutureRegistry, ResultRanges, ranges_of, timeout_message
from howdah.engine.client.layer_results import DONE, CompletionWatch
from howdah.engine.comm.connection.event_loop import Loop
from howdah.engine.execution.task_context import slot_released
from howdah.errors import DeadlineExceeded, HowdahError, bad_value

if TYPE_CHECKING:
    from howdah.engine.client.future import Future
    from howdah.engine.comm.connection.event_loop import LoopThread
    from howdah.engine.execution.threads import Progress

log = logging.getLogger(__name__)


class Waits:
    """Mixed into `Client`."""

    registry: FutureRegistry
    connection: SchedulerConnection
    loop_thread: LoopThread
    _gathering: ResultFetcher | None
    _watches: set[CompletionWatch]
    _item_waits: ItemCallbacks
    when_lost: set[Callable[[HowdahError], object]]

    if TYPE_CHECKING:

        @property
        def asynchronous(self) -> bool: ...

        def progress(self) -> list[dict[str, Any]]: ...

    def gather(self, futures: Any, errors: str = "raise", direct: bool | None = None) -> Any:
        """The values of futures in any nest of lists, tuples, sets and dictionaries, in the same nest.

        Parameters
        ----------
        errors : "raise" raises the first failure as soon as it is known; "skip" leaves failed ones out of a list.
        direct : there for dask's sake: results always come directly from the workers.
        """
        if errors not in ("raise", "skip"):
            raise bad_value("errors", errors, "write 'raise' or 'skip'")
        found = nested_futures(futures)
        if self.asynchronous:
            return as_task(self._gather_async(futures, found, errors))
        if errors == "skip":
            self._wait(ranges_of(found), None)
            found = [future for future in found if future.results.state[future.item] == DONE]
        return _in_nest(futures, found, self._results_of(ranges_of(found), None), errors)

    async def _gather_async(self, futures: Any, found: list[Future], errors: str) -> Any:
        if errors == "skip":
            await self._wait_async(ranges_of(found), None)
            found = [future for future in found if future.results.state[future.item] == DONE]
        return _in_nest(futures, found, await self._results_async(ranges_of(found), None), errors)

    def gathered(self, futures: Sequence[Future]) -> list[Any]:
        """The values of futures, in order; waits on this thread, whatever kind of client this is."""
        return self._results_of(ranges_of(futures), None)

    # -- on a thread --------------------------------------------------------------------------------------------------

    def _results_of(self, spans: ResultRanges, timeout: float | None, progress: Progress | None = None) -> list[Any]:
        """Values of spans, item by item. Raises the first failure that is known."""
        patience = Deadline(timeout)
        assert self._gathering is not None
        while True:
            self._wait_for(spans, patience, first_failure=True, progress=progress)
            self._raise_failed(spans)
            values = self._gathering.collect(spans)
            if values is not None:
                return values
            # A holder was lost between its report and the fetch: what it held is made again.

    def _raise_failed(self, spans: ResultRanges) -> None:
        for results, start, stop in spans:
            failed = results.first_failed(start, stop)
            if failed >= 0:
                raise self.registry.failure(results, failed) or HowdahError("a task failed without a reason")

    def _wait(self, spans: ResultRanges, timeout: float | None, first_failure: bool = False) -> None:
        """Return when all is settled (or one has failed). Raises DeadlineExceeded, or the link's fault."""
        self._wait_for(spans, Deadline(timeout), first_failure)

    def _wait_for(
        self,
        spans: ResultRanges,
        patience: Deadline,
        first_failure: bool = False,
        progress: Progress | None = None,
    ) -> None:
        if all(results.settled(start, stop) for results, start, stop in spans) and self.connection.error is None:
            return
        watch = CompletionWatch(spans, first_failure, _Alarm(self.loop_thread.loop))
        self._begin(watch)
        try:
            with slot_released():
                while not watch.event.is_set():
                    left = patience.remaining()
                    if left is not None and left <= 0.0:
                        raise DeadlineExceeded(timeout_message(spans, patience.seconds or 0.0))
                    if progress is None:
                        self.loop_thread.loop.stay_awake()
                        watch.event.wait(left)
                    elif not watch.event.wait(0.2 if left is None else min(0.2, left)):
                        self._report(progress)
            if progress is not None and self.connection.error is None:
                self._report(progress)
        finally:
            self._end(watch)
        self._check_connection(spans)

    def _check_connection(self, spans: ResultRanges) -> None:
        if self.connection.error is not None and not all(r.settled(a, b) for r, a, b in spans):
            raise self.connection.error

    def _report(self, progress: Progress) -> None:
        of = progress if isinstance(progress, LayerProgress) else None
        layers = self.progress() if of is None else self.connection.query("progress_of", keys=of.keys)
        open_layers = [layer for layer in layers if layer["done"] + layer["idle"] < layer["n"]]
        left = sum(layer["n"] - layer["idle"] - layer["done"] for layer in open_layers)
        # What was done and is needed no more is forgotten over there: it counts as done all the same.
        total = sum(layer["n"] - layer["idle"] for layer in layers) if of is None else of.total
        progress(total - left, total, open_layers[0]["name"] if open_layers else "")

    # -- on a user's event loop ---------------------------------------------------------------------------------------

    async def _results_async(self, spans: ResultRanges, timeout: float | None) -> list[Any]:
        patience = Deadline(timeout)
        assert self._gathering is not None
        while True:
            await self._wait_for_async(spans, patience, first_failure=True)
            self._raise_failed(spans)
            if self._gathering.all_inline(spans):
                values = self._gathering.collect(spans)
            else:
                values = await asyncio.to_thread(self._gathering.collect, spans)
            if values is not None:
                return values

    async def _wait_async(self, spans: ResultRanges, timeout: float | None, first_failure: bool = False) -> None:
        await self._wait_for_async(spans, Deadline(timeout), first_failure)

    async def _wait_for_async(self, spans: ResultRanges, patience: Deadline, first_failure: bool = False) -> None:
        if all(results.settled(start, stop) for results, start, stop in spans) and self.connection.error is None:
            return
        flag = AsyncEvent()
        if len(spans) == 1 and spans[0][2] - spans[0][1] == 1:
            results, item, _ = spans[0]
            self.loop_thread.loop.call_soon_threadsafe(self._begin_item, results, item, flag)
            with slot_released():
                in_time = await flag.wait(patience.remaining())
        else:
            watch = CompletionWatch(spans, first_failure, flag)
            self._begin(watch)
            try:
                with slot_released():
                    in_time = await flag.wait(patience.remaining())
            finally:
                self._end(watch)
        if not in_time:
            raise DeadlineExceeded(timeout_message(spans, patience.seconds or 0.0))
        self._check_connection(spans)

    def _begin(self, watch: CompletionWatch) -> None:
        self._watches.add(watch)  # before the look at the link: whoever loses it looks here after
        watch.start()
        if self.connection.error is not None:
            watch.event.set()

    def _end(self, watch: CompletionWatch) -> None:
        self._watches.discard(watch)
        watch.stop()

    # -- on howdah's loop thread --------------------------------------------------------------------------------------

    def _begin_item(self, results: Any, item: int, flag: AsyncEvent) -> None:
        if self.connection.error is not None:
            flag.set()
        else:
            self._item_waits.add(results, item, flag.set)

    def _call_when_done(self, future: Future, fn: Callable[[Future], object]) -> None:
        assert self._gathering is not None
        pool = self._gathering.callbacks

        def ended() -> None:
            if future.done():
                pool.submit(_called_back, fn, future)

        self.loop_thread.loop.call_soon_threadsafe(self._item_waits.add, future.results, future.item, ended)

    def _on_connection_lost(self, fault: HowdahError) -> None:
        for watch in tuple(self._watches):
            watch.event.set()
        self._item_waits.call_all()
        for tell in tuple(self.when_lost):
            tell(fault)


class Deadline:
    """Seconds that a user would wait, all waits of one call together; None is for ever."""

    def __init__(self, seconds: float | None) -> None:
        self.seconds = seconds
        self._until = None if seconds is None else time.monotonic() + seconds

    def remaining(self) -> float | None:
        return None if self._until is None else self._until - time.monotonic()


class _Alarm(threading.Event):
    """What a thread waits for. The loop need not look out for answers any more when it is set."""

    def __init__(self, loop: Loop) -> None:
        super().__init__()
        self._awake = loop

    def set(self) -> None:
        self._awake.may_sleep()
        super().set()


class LayerProgress:
    """A progress function that wants to hear of certain layers only, which have `total` items."""

    def __init__(self, progress: Progress, lengths: Mapping[bytes, int]) -> None:
        self.progress, self.keys, self.total = progress, list(lengths), sum(lengths.values())

    def __call__(self, done: int, total: int, name: str) -> None:
        self.progress(done, total, name)


def _in_nest(futures: Any, found: list[Future], values: list[Any], errors: str) -> Any:
    if errors == "raise" and type(futures) is list and len(found) == len(futures):
        return values
    return substitute_values(futures, dict(zip(map(id, found), values)), skip=errors == "skip")


def _called_back(fn: Callable[[Future], object], future: Future) -> None:
    try:
        fn(future)
    except Exception:
        log.exception("a done callback of %r raised", future)
