"""`Actor`, whose methods are calls on the worker where its object lives, and `ActorFuture`, the result of a call.

A call is pickled where it is made, sent to the worker over one connection per client and worker, and answered there:
the calls of one client run in the order in which they were made. For users; `make_actor` creates actors.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
from collections.abc import Callable, Generator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from howdah.engine.client.future import Future
from howdah.engine.client.future_registry import ranges_of
from howdah.engine.coordination.actor_connection import ActorLocation, ActorUnreachable, call_back, connection_to
from howdah.engine.coordination.actor_messages import ActorAnswer, ActorCall
from howdah.engine.coordination.rpc import wait_releasing_slot
from howdah.engine.coordination.worker_context import current_client
from howdah.engine.protocol.messages import CoordinationCall
from howdah.engine.serialization.exceptions import rebuild_exception
from howdah.engine.serialization.references import is_encoding_futures
from howdah.engine.serialization.serialize import dumps_out_of_band, loads
from howdah.errors import HowdahError, WorkerLost, bad_value

if TYPE_CHECKING:
    from howdah.engine.client.cluster_client import ClusterClient
    from howdah.engine.client.layer_results import LayerResults
    from howdah.engine.coordination.actor_connection import ActorConnection
    from howdah.engine.protocol.frames import Buffer


class ActorFuture(concurrent.futures.Future[Any]):
    """The result of a call of an actor's method. A call that was sent cannot be cancelled.

    It is a `concurrent.futures.Future` that can be awaited, too.
    """

    def __await__(self) -> Generator[Any, None, Any]:
        return asyncio.wrap_future(self).__await__()

    def result(self, timeout: float | None = None) -> Any:
        """Wait for the call and return its value.

        Parameters
        ----------
        timeout : seconds; None is no limit.

        Raises
        ------
        Exception : what the method raised.
        TimeoutError : the call had not ended after `timeout` seconds.
        WorkerLost : the actor's worker has ended.
        """
        if not self.done():
            wait_releasing_slot(self, timeout)
            timeout = 0
        return super().result(timeout)

    def cancel(self) -> bool:
        """Return False: a call that was sent cannot be cancelled."""
        return False


class Actor:
    """An object that lives on one worker, made by ``client.submit(Class, ..., actor=True)``.

    Each method returns an `ActorFuture`; calls run one after the other, in the order in which this client makes them.
    Attributes can be read, not set. An actor may be an argument of tasks and go through queues. The object lives while
    the `Actor` that `submit` returned lives (and tasks or queues that have it). When its worker ends, its state is
    lost: calls raise `WorkerLost`, and it is not made again. Exceptions of the class's own code are raised as they are.

    Examples
    --------
    >>> from collections import Counter
    >>> from howdah.engine.api import Client
    >>> with Client(n_workers=1) as client:
    ...     counter = client.submit(Counter, "abca", actor=True)
    ...     counter.update("aa").result(), counter.most_common(1).result()
    (None, [('a', 4)])
    """

    def __init__(self, handle: ActorHandle) -> None:
        self._handle = handle

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "_handle":
            raise AttributeError(name)
        handle = self._handle
        if callable(getattr(handle.kind, name, None)):
            return _method(handle, name)
        if name == "result" and name not in self.__dir__():
            return self._result  # as dask's future of an actor
        return handle.call("get", name, (), {}).result()

    def _result(self, timeout: float | None = None) -> Actor:
        """The actor, once it is made. Raises what its class raised."""
        self._handle.wait_until_made(timeout)
        return self

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("_"):
            raise AttributeError(
                f"{self!r}: attributes of an actor can only be read; give it a method that sets {name!r}"
            )
        super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return dir(self._handle.kind)

    def __repr__(self) -> str:
        where = self._handle.location
        return f"<Actor {self._handle.kind.__name__}{'' if where is None else f' on {where.worker}'}>"

    def __howdah_content__(self) -> Any:
        return self._handle.token

    def __reduce__(self) -> Any:
        handle = self._handle
        if handle.future is not None and is_encoding_futures():
            return rebuild_actor, (handle.future, handle.kind, handle.token)
        return actor_at, (handle.kind, handle.token, *handle.located())  # an argument of another actor's method


def _method(handle: ActorHandle, name: str) -> Callable[..., ActorFuture]:
    def method(*args: Any, **kwargs: Any) -> ActorFuture:
        return handle.call("call", name, args, kwargs)

    method.__name__, method.__doc__ = name, getattr(handle.kind, name).__doc__
    return method


class ActorHandle:
    """The state of an `Actor` here: which one it is, where it lives, and calls that wait until that is known.

    Parameters
    ----------
    client : by which it is called; None is the client of this process.
    future : of the task that makes the object; None where its location is known.
    owner : whether the object ends with this handle.
    """

    def __init__(
        self,
        kind: type,
        token: str,
        client: ClusterClient | None,
        future: Future | None,
        location: ActorLocation | None,
        owner: bool = False,
    ) -> None:
        self.kind, self.token = kind, token
        self.future, self.location = future, location
        self._client, self._owner = client, owner
        self._connection: ActorConnection | None = None
        self._queued: list[_PendingCall] = []
        self._opening: asyncio.Task[None] | None = None

    def __del__(self) -> None:
        if self._owner and self._client is not None:
            with contextlib.suppress(HowdahError):  # the cluster is lost, and the actor with it
                self._client.connection.send(CoordinationCall(0, "actor", self.token, "close"))

    def wait_until_made(self, timeout: float | None) -> None:
        """Return when the object is made. Raises what its class raised."""
        if self.future is not None and self._client is not None:
            self._client.waiter.results(ranges_of([self.future]), timeout)

    def located(self) -> ActorLocation:
        """Return where the object lives, once it is made. Raises what its class raised."""
        if self.location is None:
            assert self.future is not None
            assert self._client is not None
            self.location = location_of(self._client.gathered([self.future])[0])
            assert self.location is not None
        return self.location

    def call(self, verb: str, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> ActorFuture:
        """Send a call; its future."""
        if self._client is None:
            self._client = current_client()
        for value in (*args, *kwargs.values()):
            if isinstance(value, Actor):
                value._handle.located()  # raises what its class raised  # noqa: SLF001  # public names are the class's
            elif isinstance(value, Future):
                raise bad_value(
                    f"{self.kind.__name__}.{name}",
                    value,
                    "a call of an actor does not wait for tasks: give the future's result(), or the future to a task",
                )
        data, buffers = dumps_out_of_band((args, kwargs))
        call = _PendingCall(self, verb, name, [data, *buffers], ActorFuture())
        self._client.loop_thread.loop.call_soon_threadsafe(self._send, call)
        return call.future

    # On the loop's thread from here on.

    def _send(self, call: _PendingCall) -> None:
        if self._connection is not None and not self._connection.ended:
            self._connection.send(call)
            return
        self._queued.append(call)
        if self._opening is None or self._opening.done():
            self._opening = asyncio.ensure_future(self._open())

    async def _open(self) -> None:
        """Find the object, connect, and send the queued calls."""
        assert self._client is not None
        try:
            if self.location is None:
                assert self.future is not None
                await _ended(self.future)
                gathered = self._client.gathered
                [found] = await asyncio.get_running_loop().run_in_executor(None, gathered, [self.future])
                self.location = location_of(found)
            assert self.location is not None
            self._connection = await connection_to(self._client, self.location)
        except Exception as fault:  # noqa: BLE001  # the class's own constructor may have raised anything
            error = self.lost(str(fault)) if isinstance(fault, ActorUnreachable) else fault
            queued, self._queued = self._queued, []
            for call in queued:
                call_back(self._client, call.future.set_exception, error)
            return
        queued, self._queued = self._queued, []
        for call in queued:
            self._connection.send(call)

    def lost(self, why: str) -> WorkerLost:
        """Note that the object is gone; the error for its callers."""
        worker = self.location.worker if self.location is not None else "its worker"
        self._connection = self.future = None  # the task that made it need not be kept
        return WorkerLost(f"the actor {self.kind.__name__} is lost with its state: {why}, worker {worker}")


class _PendingCall(NamedTuple):
    """A call that was made; `howdah.engine.coordination.actor_connection.Call`."""

    handle: ActorHandle
    verb: str
    name: str
    frames: Sequence[Buffer]
    future: ActorFuture

    def message(self, number: int) -> ActorCall:
        """Return the message that requests it."""
        return ActorCall(number, self.handle.token, self.verb, self.name)

    def lost(self, why: str) -> None:
        """The worker cannot be reached: fail."""
        self.future.set_exception(self.handle.lost(why))

    def answered(self, answer: ActorAnswer, frames: Sequence[Buffer]) -> None:
        """Take the value or error of an answer. On a thread where users' modules may be imported."""
        error = answer.error
        if answer.gone:
            self.lost("it does not live there any more")
            return
        if error is not None:
            name = f"{self.handle.kind.__name__}.{self.name}"
            self.future.set_exception(
                rebuild_exception(error, f"howdah: actor {name} failed on worker {error.worker} (host {error.host})")
            )
            return
        try:
            value = loads(frames[0], frames[1:])
        except Exception as fault:  # noqa: BLE001  # opening a value runs its class's code
            self.future.set_exception(fault)
        else:
            self.future.set_result(value)


def actor_at(kind: type, token: str, worker: str, address: str) -> Actor:
    """Return an actor that lives on a worker; it does not keep the object alive."""
    return Actor(ActorHandle(kind, token, None, None, ActorLocation(worker, address)))


def rebuild_actor(value: Any, kind: type, token: str) -> Any:
    """Unpickle an actor that was an argument of a task or went through a queue.

    `value` is what its future became: a future of the receiving client, or in a task the actor or its object's host.
    """
    if isinstance(value, Future):
        return Actor(ActorHandle(kind, token, value.client, value, None))
    as_actor = None if isinstance(value, Actor) else getattr(value, "as_actor", None)
    return value if as_actor is None else as_actor()


def location_of(actor: Actor) -> ActorLocation | None:
    """Return where the object of an actor lives."""
    return actor._handle.location  # noqa: SLF001  # public names of an actor are those of the user's class


async def _ended(future: Future) -> None:
    """Return when the future has ended, or its cluster is lost."""
    ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def changed(results: LayerResults, start: int, stop: int) -> None:
        if not ended.done() and results.settled(future.item, future.item + 1):
            ended.set_result(None)

    def lost(fault: HowdahError) -> None:
        if not ended.done():
            ended.set_exception(fault)

    future.results.add_listener(changed)
    future.client.when_lost.add(lost)
    try:
        changed(future.results, 0, 0)
        if future.client.connection.error is not None:
            lost(future.client.connection.error)
        await ended
    finally:
        future.results.remove_listener(changed)
        future.client.when_lost.discard(lost)
