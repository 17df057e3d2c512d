"""Calls of coordination primitives, from a client's side: one request, one reply, however long it takes.

What is put may hold futures at any depth: they are sent as references, and arrive as futures of the receiving client.
Each call is written once, as a coroutine on howdah's loop thread; `Primitive._wait_or_await` blocks for it, or returns
an awaitable in an asynchronous client.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import secrets
import threading
from collections.abc import Callable, Coroutine, Generator
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from howdah.engine.client.future import Future
from howdah.engine.coordination.worker_context import current_client
from howdah.engine.execution.task_context import in_task, slot_released
from howdah.engine.protocol.layers import TaskRange
from howdah.engine.protocol.messages import CoordinationCall
from howdah.engine.serialization.references import binding_inputs, encoding_futures
from howdah.engine.serialization.serialize import dumps, loads
from howdah.errors import DeadlineExceeded, HowdahError, InputError, bad_value

if TYPE_CHECKING:
    from howdah.engine.client.cluster_client import ClusterClient

T = TypeVar("T")

SLOT_HOLD_SECONDS = 0.02
"""Seconds for which a task keeps its slot while it waits."""

Timeout = float | str | timedelta | None
"""Seconds, a number with a unit as in "500 ms", or None for no limit."""

_UNITS = {"": 1.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


def seconds(timeout: Timeout) -> float | None:
    """Return a timeout in seconds.

    Raises
    ------
    InputError : it is not written as a timeout.

    >>> seconds("500 ms"), seconds(2), seconds(None)
    (0.5, 2.0, None)
    """
    if timeout is None:
        return None
    if isinstance(timeout, timedelta):
        return timeout.total_seconds()
    if isinstance(timeout, str):
        number = timeout.strip().rstrip("abcdefghijklmnopqrstuvwxyz ")
        try:
            return float(number) * _UNITS[timeout.strip()[len(number) :].strip()]
        except (KeyError, ValueError):
            raise bad_value("timeout", timeout, "write seconds, or a number with a unit, as in '30 s'") from None
    return float(timeout)


class StartedCall(Generic[T]):
    """A call that was sent by an asynchronous client; awaited once."""

    def __init__(self, future: asyncio.Future[T]) -> None:
        self._future = future

    def __await__(self) -> Generator[Any, None, T]:
        return self._future.__await__()


class Primitive:
    """Base of the primitives: a kind, a name, and the client by which it calls the scheduler.

    A primitive without a given name has one of its own, which its pickle carries; it ends with the client that made it.
    One with a name is found by that name from every client and task.

    Attributes
    ----------
    name : the given one, or its own.
    """

    kind = ""

    def __init__(self, name: str | None = None, client: Any = None) -> None:
        self._client: ClusterClient | None = client
        self.name = name if name is not None else f"{self.kind}-{secrets.token_hex(8)}"
        if not isinstance(self.name, str):
            raise bad_value("name", name, "give a text, or nothing for one of its own")
        if name is None and self.kind != "semaphore":  # the scheduler keeps no state of a free semaphore
            self.client.connection.send(CoordinationCall(0, self.kind, self.name, "own"))

    @property
    def client(self) -> ClusterClient:
        """The client that it was given, else the one of this process or task."""
        if self._client is None:
            self._client = current_client()
        client: ClusterClient = self._client
        return client

    def __await__(self) -> Generator[Any, None, Self]:
        """Return itself: ``queue = await Queue("name")``, as programs for dask's asynchronous clients are written."""
        yield from ()  # nothing to wait for: the first call reaches the scheduler
        return self

    def __reduce__(self) -> Any:
        return _rebuild, (type(self), self.name, self._parameters())

    def _parameters(self) -> dict[str, Any]:
        return {}

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"

    # -- calls --------------------------------------------------------------------------------------------------------

    def _call(self, verb: str, then: Callable[[Any], Any] | None = None, **about: Any) -> Any:
        """Send a request and wait for the reply; in an asynchronous client return an awaitable."""
        return self._wait_or_await(self._request(verb, then, **about))

    def _wait_or_await(self, work: Coroutine[Any, Any, T], then: Callable[[T], Any] | None = None) -> Any:
        """Run `work` on the loop, then ``then(its value)`` for the caller.

        Returns
        -------
        Any
            The value of `then`, or in an asynchronous client on an event loop an awaitable of it.
        """
        if self.client.asynchronous:
            return self._started(work, then)
        value = wait_for_reply(self.client, work)
        return value if then is None else then(value)

    def _started(self, work: Coroutine[Any, Any, T], then: Callable[[T], Any] | None = None) -> StartedCall[Any]:
        """Run `work` on the loop; an awaitable of ``then(its value)``."""
        return StartedCall(
            asyncio.wrap_future(
                asyncio.run_coroutine_threadsafe(
                    work if then is None else _convert(work, then), self.client.loop_thread.loop
                )
            )
        )

    async def _request(self, verb: str, then: Callable[[Any], Any] | None = None, **about: Any) -> Any:
        """Send a request and return ``then(its reply)``. On the loop's thread.

        Raises
        ------
        DeadlineExceeded : the scheduler's answer is that the time is over.
        InputError, HowdahError : the call is not valid; the primitive was closed or the cluster is lost.
        """
        timeout = about.get("timeout")
        request = CoordinationCall(0, self.kind, self.name, verb, **about)
        outcome, value = await self.client.connection.request(request, None)
        if outcome == "timeout":
            raise DeadlineExceeded(f"{self!r}: {verb} was not possible within {timeout:g} s")
        if outcome == "wrong":
            raise InputError(f"{self!r} {value}")
        if outcome == "closed":
            raise HowdahError(f"{self!r}: {value}")
        return value if then is None else then(value)

    async def _succeeds(self, verb: str, **about: Any) -> bool:
        """Send a request; whether it was possible within its timeout. On the loop's thread."""
        try:
            await self._request(verb, **about)
        except DeadlineExceeded:
            return False
        return True

    # -- values -------------------------------------------------------------------------------------------------------

    def _encode_value(self, value: Any) -> dict[str, Any]:
        """Return `value` as fields of a request.

        Raises
        ------
        Unpicklable : it cannot be sent.
        InputError : it has a future of another client.
        """
        futures: dict[tuple[bytes, int], tuple[int, Any]] = {}

        def note(future: Any) -> tuple[int, int]:
            if future.client is not self.client:
                raise InputError(f"{self!r}: {future!r} belongs to another client than {self.client!r}")
            return 0, futures.setdefault((future.results.key, future.item), (len(futures), future))[0]

        with encoding_futures(note):
            data = dumps(value)
        return {"data": data, "ranges": tuple(TaskRange(key, item, item + 1) for key, item in futures)}

    def _receive_values(self, value: Any) -> list[Any]:
        """Take the values of a reply. On the loop's thread: their futures count before the ticket is returned."""
        ticket, items = value
        client = self.client
        found: list[Any] = []
        for data, ranges in items:
            with client.registry.lock:
                futures = [
                    Future(client, client.registry.add_reference(key, name, n, item, item + 1), item)
                    for key, item, name, n in ranges
                ]
            found.append((data, futures))
        client.connection.send(CoordinationCall(0, self.kind, self.name, "took", ticket=ticket))
        return found

    @staticmethod
    def _load(part: tuple[bytes, list[Any]]) -> Any:
        """Unpickle a value. On the user's thread: it may import the user's modules."""
        data, futures = part
        if not futures:
            return loads(data)
        with binding_inputs([futures]):
            return loads(data)


async def _convert(work: Coroutine[Any, Any, Any], then: Callable[[Any], Any]) -> Any:
    return then(await work)


def wait_for_reply(client: ClusterClient, work: Coroutine[Any, Any, T]) -> T:
    """Run `work` on the loop and wait for it. An interrupt (Ctrl-C) withdraws the request."""
    if threading.current_thread() is client.loop_thread.thread:
        return client.loop_thread.call(work)  # which raises
    future: concurrent.futures.Future[T] = asyncio.run_coroutine_threadsafe(work, client.loop_thread.loop)
    try:
        wait_releasing_slot(future)
        return future.result()
    except BaseException:
        future.cancel()
        raise


def wait_releasing_slot(future: concurrent.futures.Future[Any], timeout: float | None = None) -> bool:
    """Wait for the end of `future`; False if it did not come within `timeout` seconds.

    A task that waits for more than a moment releases its slot to other tasks meanwhile.
    """
    ended = threading.Event()
    future.add_done_callback(lambda _: ended.set())
    if not in_task():
        return ended.wait(timeout)
    if ended.wait(SLOT_HOLD_SECONDS if timeout is None else min(SLOT_HOLD_SECONDS, timeout)):
        return True
    with slot_released():
        return ended.wait(None if timeout is None else max(0.0, timeout - SLOT_HOLD_SECONDS))


def _rebuild(kind: type[Primitive], name: str, parameters: dict[str, Any]) -> Primitive:
    return kind(name=name, **parameters)
