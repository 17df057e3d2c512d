"""A `Future`: the handle of one task's result, wherever it lives."""

from __future__ import annotations

import contextlib
import html
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

from howdah.engine.client.async_bridge import as_task
from howdah.engine.client.layer_results import DONE, FAILED, PENDING, LayerResults
from howdah.engine.protocol.layers import TaskRange
from howdah.engine.serialization.references import encode_future, input_reference
from howdah.errors import Unpicklable

if TYPE_CHECKING:
    from howdah.engine.api.client import Client


class Future:
    """The result of one task, now or later. Made by `Client.submit` and `Client.map`, never by hand.

    The result is kept on the cluster while the future lives; when the last future of a task is dropped, its result is
    freed, and if it was not begun it is not computed. A future may be an argument of further tasks, at any depth.
    It is of use only while its client is connected: a client that is closed or has lost its scheduler makes every
    wait raise `HowdahError` at once.

    Examples
    --------
    >>> from howdah.engine.api import Client
    >>> with Client(n_workers=1) as client:
    ...     x = client.submit(pow, 2, 5)
    ...     client.submit(divmod, x, 10).result()
    (3, 2)
    """

    __slots__ = ("__weakref__", "_released", "client", "item", "results")

    def __init__(self, client: Client, results: LayerResults, item: int) -> None:
        # The client has counted this reference already (`FutureRegistry.hold`).
        self.client, self.results, self.item = client, results, item
        self._released = False

    def __del__(self) -> None:
        try:
            if not self._released:
                self.client.registry.release(self.results, self.item, self.item + 1)
        except AttributeError:  # never finished being made, or Python ends and `contextlib` is no more
            pass

    @property
    def key(self) -> str:
        """Names the task: what the user gave, else the layer's content hash and the item."""
        labels = self.results.labels
        if labels is not None:
            return labels[self.item]
        return f"{self.results.key.hex()}-{self.item}"

    @property
    def span(self) -> TaskRange:
        return TaskRange(self.results.key, self.item, self.item + 1)

    @property
    def status(self) -> str:
        """ "pending", "finished", "error" or "cancelled"."""
        state = self.results.state[self.item]
        if state == FAILED and self.results.failure_of(self.item).error.kind == "cancelled":
            return "cancelled"
        return {PENDING: "pending", DONE: "finished", FAILED: "error"}[state]

    def done(self) -> bool:
        """Whether it has ended: finished, failed or cancelled."""
        return self.results.state[self.item] != PENDING

    def cancelled(self) -> bool:
        return self.status == "cancelled"

    def result(self, timeout: float | None = None) -> Any:
        """The value; waits for it.

        Raises
        ------
        The task's own exception, with its traceback, and a note that says where it ran.
        DeadlineExceeded : it was not there after `timeout` seconds.
        Cancelled, WorkerLost, HowdahError : it was cancelled, its workers kept dying, the cluster is gone.
        """
        if self.client.asynchronous:
            return as_task(self._result_async(timeout))
        return self.client._results_of([self._range], timeout)[0]

    def exception(self, timeout: float | None = None) -> Any:
        """The exception that `result` would raise for a failed task, None for a finished one; waits."""
        if self.client.asynchronous:
            return as_task(self._exception_async(timeout))
        self.client._wait([self._range], timeout)
        return self.client.registry.failure(self.results, self.item)

    def traceback(self, timeout: float | None = None) -> Any:
        """The traceback of a failed task, with the lines of the user's functions; None for a finished one; waits."""
        if self.client.asynchronous:
            return as_task(self._traceback_async(timeout))
        error = self.exception(timeout)
        return None if error is None else error.__traceback__

    async def _result_async(self, timeout: float | None = None) -> Any:
        return (await self.client._results_async([self._range], timeout))[0]

    async def _exception_async(self, timeout: float | None) -> BaseException | None:
        await self.client._wait_async([self._range], timeout)
        return self.client.registry.failure(self.results, self.item)

    async def _traceback_async(self, timeout: float | None) -> Any:
        error = await self._exception_async(timeout)
        return None if error is None else error.__traceback__

    def __await__(self) -> Generator[Any, None, Any]:
        """The value, on any event loop and with any client."""
        return self._result_async().__await__()

    @property
    def _range(self) -> tuple[LayerResults, int, int]:
        return self.results, self.item, self.item + 1

    def cancel(self) -> Any:
        """Do not compute it, unless somebody else wants it; `result` raises Cancelled."""
        return self.client.cancel([self])

    def retry(self) -> Any:
        """Run it again if it has failed."""
        return self.client.retry([self])

    def release(self) -> None:
        """Give it up now, as if this object were dropped. Doing so twice is fine."""
        if not self._released:
            self._released = True
            self.client.registry.release(*self._range)

    def add_done_callback(self, fn: Callable[[Future], object]) -> None:
        """Call ``fn(future)`` once it has ended, on a thread of the client's own; at once if it has already."""
        self.client._call_when_done(self, fn)

    def __howdah_content__(self) -> Any:
        return self.results.key, self.item

    def __reduce__(self) -> Any:
        place = encode_future(self)
        if place is None:
            raise Unpicklable(
                f"{self!r} can be an argument of submit and map, and cannot be pickled otherwise; gather it first"
            )
        return input_reference, place

    def __repr__(self) -> str:
        return f"<Future {self.results.name}[{self.item}] {self.status}>"

    def _repr_html_(self) -> str:
        return (
            f"<b>Future</b> <code>{html.escape(self.results.name)}[{self.item}]</code> "
            f"<i>{html.escape(self.status)}</i>"
        )


class RangeRef:
    """Keeps spans of results on the cluster while it lives, as futures do, for those who need no handle per item."""

    __slots__ = ("client", "spans")

    def __init__(self, client: Client, spans: list[tuple[LayerResults, int, int]]) -> None:
        self.client, self.spans = client, spans

    def values(self) -> list[Any]:
        """The values of all items, brought here."""
        return self.client._results_of(self.spans, None)

    def future(self, item: int) -> Future:
        """A future of one of the items."""
        for results, start, stop in self.spans:
            if start <= item < stop:
                self.client.registry.add_references([(results, item, item + 1)])
                return Future(self.client, results, item)
        raise IndexError(item)

    def __reduce__(self) -> Any:
        items = [item for _, start, stop in self.spans for item in range(start, stop)]
        return rebuild_refs, (dict(zip(items, map(self.future, items))),)

    def __del__(self) -> None:
        with contextlib.suppress(AttributeError):
            for results, start, stop in self.spans:
                self.client.registry.release(results, start, stop)


class FutureRefs:
    """Some futures of one layer, which a graph uses: what `PersistedLayer.results` is for them."""

    __slots__ = ("client", "futures")

    def __init__(self, client: Client, futures: dict[int, Future]) -> None:
        self.client, self.futures = client, futures

    def values(self) -> list[Any]:
        """The values by item, brought here; None for an item that no future is of."""
        some = list(self.futures.values())
        found: list[Any] = [None] * some[0].results.n
        for future, value in zip(some, self.client.gathered(some)):
            found[future.item] = value
        return found

    def future(self, item: int) -> Future:
        return self.futures[item]

    def __reduce__(self) -> Any:
        return rebuild_refs, (self.futures,)

    def merged(self, other: Any) -> Any:
        """Both, if `other` is of this kind (else the layer is kept as a whole already)."""
        return FutureRefs(self.client, {**self.futures, **other.futures}) if isinstance(other, FutureRefs) else other


def rebuild_refs(items: dict[int, Any]) -> Any:
    """What `PersistedLayer.results` becomes where it arrives: futures of a client there, or in a task the values."""
    if all(type(part) is Future for part in items.values()):
        return FutureRefs(next(iter(items.values())).client, items)
    from howdah.engine.execution.persisted import InMemoryResults as InMemory

    return InMemory([items.get(item) for item in range(max(items) + 1)])


def held_layer(future: Future) -> Any:
    """The layer of a future as graphs refer to it."""
    from howdah.engine.graph.graph import PersistedLayer

    return PersistedLayer(future.results.key, future.results.n, FutureRefs(future.client, {future.item: future}))
