"""A `Future`: the handle of one task's result, wherever it lives."""

from __future__ import annotations

import contextlib
import html
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from howdah.engine.client.results import DONE, FAILED, PENDING, Results
from howdah.engine.comm.references import input_reference, noted
from howdah.engine.graph.layer import Span
from howdah.errors import Unpicklable

if TYPE_CHECKING:
    from howdah.engine.client.client import Client


class Future:
    """The result of one task, now or later. Made by `Client.submit` and `Client.map`, never by hand.

    The result is kept on the cluster while the future lives; when the last future of a task is dropped, its result is
    freed, and if it was not begun it is not computed. A future may be an argument of further tasks, at any depth.
    It is of use only while its client is connected: a client that is closed or has lost its scheduler makes every
    wait raise `HowdahError` at once.

    Examples
    --------
    >>> from howdah.engine.client import Client
    >>> with Client(n_workers=1) as client:
    ...     x = client.submit(pow, 2, 5)
    ...     client.submit(divmod, x, 10).result()
    (3, 2)
    """

    __slots__ = ("__weakref__", "client", "item", "results")

    def __init__(self, client: Client, results: Results, item: int) -> None:
        # The client has counted this reference already (`Ledger.hold`).
        self.client, self.results, self.item = client, results, item

    def __del__(self) -> None:
        with contextlib.suppress(AttributeError):  # one that was never finished being made
            self.client.ledger.drop(self.results, self.item, self.item + 1)

    @property
    def key(self) -> str:
        """Names the task: the layer's content hash and the item."""
        return f"{self.results.key.hex()}-{self.item}"

    @property
    def span(self) -> Span:
        return Span(self.results.key, self.item, self.item + 1)

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
        return self.client._results_of([(self.results, self.item, self.item + 1)], timeout)[0]

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """The exception that `result` would raise for a failed task, None for a finished one; waits."""
        self.client._wait([(self.results, self.item, self.item + 1)], timeout)
        return self.client.ledger.failure(self.results, self.item)

    def cancel(self) -> None:
        """Do not compute it, unless somebody else wants it; `result` raises Cancelled."""
        self.client.cancel([self])

    def add_done_callback(self, fn: Callable[[Future], object]) -> None:
        """Call ``fn(future)`` once it has ended, on a thread of the client's own; at once if it has already."""
        self.client._call_when_done(self, fn)

    def __howdah_content__(self) -> Any:
        return self.results.key, self.item

    def __reduce__(self) -> Any:
        place = noted(self)
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


class Hold:
    """Keeps spans of results on the cluster while it lives, as futures do, for those who need no handle per item."""

    __slots__ = ("client", "spans")

    def __init__(self, client: Client, spans: list[tuple[Results, int, int]]) -> None:
        self.client, self.spans = client, spans

    def values(self) -> list[Any]:
        """The values of all items, brought here."""
        return self.client._results_of(self.spans, None)

    def __del__(self) -> None:
        with contextlib.suppress(AttributeError):
            for results, start, stop in self.spans:
                self.client.ledger.drop(results, start, stop)
