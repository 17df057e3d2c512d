"""`Future`, the handle of one task's result. For users; it keeps the result on the cluster while it lives."""

from __future__ import annotations

import html
import warnings
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

from howdah.engine.client.async_bridge import as_task
from howdah.engine.client.layer_results import DONE, FAILED, PENDING, LayerResults
from howdah.engine.protocol.layers import TaskRange
from howdah.engine.serialization.references import encode_future, input_reference
from howdah.errors import Unpicklable

if TYPE_CHECKING:
    from howdah.engine.client.cluster_client import ClusterClient


class Future:
    """The result of one task, now or later. `Client.submit` and `Client.map` return them; do not construct any.

    The result is kept on the cluster while the future lives. When the last future of a task is dropped, its result is
    freed; a task that has not started is not computed. A future may be an argument of further tasks, at any depth.
    After its client is closed or has lost the scheduler, every wait raises `HowdahError` at once.

    Attributes
    ----------
    client : the `Client` that made it.
    key : the task's name.
    status : "pending", "finished", "error" or "cancelled".

    Examples
    --------
    >>> from howdah.engine.api import Client
    >>> with Client(n_workers=1) as client:
    ...     x = client.submit(pow, 2, 5)
    ...     client.submit(divmod, x, 10).result()
    (3, 2)
    """

    __slots__ = ("__weakref__", "_released", "client", "item", "results")

    def __init__(self, client: ClusterClient, results: LayerResults, item: int) -> None:
        # The client has counted this reference already (`FutureRegistry.add_reference`).
        self.client, self.results, self.item = client, results, item
        self._released = False

    def __del__(self) -> None:
        try:
            if not self._released:
                self.client.registry.release(self.results, self.item, self.item + 1)
        except AttributeError:  # `__init__` did not finish, or the interpreter exits and has cleared modules
            pass

    @property
    def key(self) -> str:
        """The task's name: the `key` given to `submit` or `map`, else the layer's content hash and the item."""
        return self.results.key_of(self.item)

    @property
    def task_range(self) -> TaskRange:
        """The task as a range of one item."""
        return TaskRange(self.results.key, self.item, self.item + 1)

    @property
    def span(self) -> TaskRange:
        """The former name of `task_range`; it raises a DeprecationWarning."""
        warnings.warn("Future.span is the former name of Future.task_range", DeprecationWarning, stacklevel=2)
        return self.task_range

    @property
    def status(self) -> str:
        """ "pending", "finished", "error" or "cancelled"."""
        state = self.results.state[self.item]
        if state == FAILED and self.results.failure_of(self.item).error.kind == "cancelled":
            return "cancelled"
        return {PENDING: "pending", DONE: "finished", FAILED: "error"}[state]

    def done(self) -> bool:
        """Return whether the task has ended: finished, failed or cancelled.

        Returns
        -------
        bool
        """
        return self.results.state[self.item] != PENDING

    def cancelled(self) -> bool:
        """Return whether the task was cancelled.

        Returns
        -------
        bool
        """
        return self.status == "cancelled"

    def result(self, timeout: float | None = None) -> Any:
        """Wait for the task and return its value.

        Parameters
        ----------
        timeout : seconds to wait; None is no limit.

        Returns
        -------
        Any
            The value; with an asynchronous client on an event loop, an awaitable of it.

        Raises
        ------
        Exception : the task's own exception, with its traceback and a note that names the task and its worker.
        DeadlineExceeded : the task had not ended after `timeout` seconds.
        Cancelled, WorkerLost, HowdahError : it was cancelled, its workers kept dying, the cluster is gone.

        Examples
        --------
        >>> from howdah.engine.api import Client
        >>> with Client(n_workers=1) as client:
        ...     client.submit(sum, [1, 2]).result(timeout=30)
        3
        """
        if self.client.asynchronous:
            return as_task(self._result_async(timeout))
        return self.client.waiter.results([self.range], timeout)[0]

    def exception(self, timeout: float | None = None) -> Any:
        """Wait for the task and return the exception that `result` would raise.

        Parameters
        ----------
        timeout : seconds to wait; None is no limit.

        Returns
        -------
        BaseException or None
            None if the task finished; with an asynchronous client on an event loop, an awaitable.

        Raises
        ------
        DeadlineExceeded : the task had not ended after `timeout` seconds.
        HowdahError : the cluster is gone.
        """
        waiter = self.client.waiter
        if self.client.asynchronous:
            return as_task(waiter.exception_async(self.results, self.item, timeout))
        return waiter.exception(self.results, self.item, timeout)

    def traceback(self, timeout: float | None = None) -> Any:
        """Wait for the task and return its traceback, with the lines of the user's functions.

        Parameters
        ----------
        timeout : seconds to wait; None is no limit.

        Returns
        -------
        traceback or None
            None if the task finished; with an asynchronous client on an event loop, an awaitable.
        """
        if self.client.asynchronous:
            return as_task(self._traceback_async(timeout))
        return _traceback_of(self.exception(timeout))

    async def _result_async(self, timeout: float | None = None) -> Any:
        return (await self.client.waiter.results_async([self.range], timeout))[0]

    async def _traceback_async(self, timeout: float | None) -> Any:
        return _traceback_of(await self.client.waiter.exception_async(self.results, self.item, timeout))

    def __await__(self) -> Generator[Any, None, Any]:
        """The value, on any event loop and with any client."""
        return self._result_async().__await__()

    @property
    def range(self) -> tuple[LayerResults, int, int]:
        """The task as a range of its layer's results."""
        return self.results, self.item, self.item + 1

    def cancel(self) -> Any:
        """Cancel the task, unless another client needs it; `result` then raises Cancelled.

        Returns
        -------
        None
            With an asynchronous client on an event loop, an awaitable.
        """
        return self.client.cancel([self])

    def retry(self) -> Any:
        """Run the task again if it has failed; the future is pending again.

        Returns
        -------
        None
            With an asynchronous client on an event loop, an awaitable.
        """
        return self.client.retry([self])

    def release(self) -> None:
        """Drop the reference to the result now, as if this object were deleted. Doing so twice is fine."""
        if not self._released:
            self._released = True
            self.client.registry.release(*self.range)

    def add_done_callback(self, fn: Callable[[Future], object]) -> None:
        """Call ``fn(future)`` once the task has ended, on a thread of the client; at once if it already has.

        Parameters
        ----------
        fn : what it raises is logged.
        """
        self.client.waiter.call_when_done(self.results, self.item, fn, self)

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


def _traceback_of(error: BaseException | None) -> Any:
    return None if error is None else error.__traceback__
