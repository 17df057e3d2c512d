"""Actors as others see them: `Actor`, whose methods are calls on the worker where its object lives, and `ActorFuture`.

A call is pickled where it is made, goes to the worker over one connection per client and worker, and is answered
there: calls of one client are done in the order in which they were made.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import secrets
import socket
import weakref
from collections.abc import Callable, Generator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from howdah.engine.client.future_registry import ranges_of
from howdah.engine.comm.connection.channel import Channel
from howdah.engine.comm.connection.connect import connect
from howdah.engine.coordination.actor_host import ActorAnswer, ActorCall, HostedActor, host_actor
from howdah.engine.coordination.rpc import wait_releasing_slot
from howdah.engine.coordination.worker_context import current_client
from howdah.engine.protocol.frames import Buffer
from howdah.engine.protocol.messages import CoordinationCall, Hello
from howdah.engine.serialization.exceptions import rebuild_exception
from howdah.engine.serialization.serialize import dumps_out_of_band, loads
from howdah.errors import HowdahError, WorkerLost, bad_value

if TYPE_CHECKING:
    from howdah.engine.api.client import Client
    from howdah.engine.client.future import Future
    from howdah.engine.client.layer_results import LayerResults

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(ActorAnswer)


class ActorLocation(NamedTuple):
    """Where an actor lives."""

    worker: str
    address: str


class ActorFuture(concurrent.futures.Future[Any]):
    """The result of a call of an actor's method: `result(timeout)`, `done()`, `await`, and all that
    `concurrent.futures` can do with it. A call that was made cannot be cancelled."""

    def __await__(self) -> Generator[Any, None, Any]:
        return asyncio.wrap_future(self).__await__()

    def result(self, timeout: float | None = None) -> Any:
        """The value. Raises what the method raised, TimeoutError after `timeout` seconds."""
        if not self.done():
            wait_releasing_slot(self, timeout)
            timeout = 0
        return super().result(timeout)

    def cancel(self) -> bool:
        return False


class _ActorUnreachable(HowdahError):
    """Nobody answers where an actor lives."""


class _ActorCall(NamedTuple):
    actor: Actor
    verb: str
    name: str
    frames: Sequence[Buffer]
    future: ActorFuture


class Actor:
    """An object that lives on one worker, made by ``client.submit(Class, ..., actor=True)``.

    Its methods give an `ActorFuture` each; they are done one after the other, in the order in which this client calls
    them. Its attributes can be read, not set. It may be an argument of tasks and go through queues. The object lives
    while the `Actor` that `submit` gave lives (and tasks or queues that have it). When its worker ends, its state is
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

    def __init__(
        self, kind: type, token: str, client: Client | None, future: Future | None, place: ActorLocation | None
    ):
        self._kind, self._token = kind, token
        self._client, self._future, self._location = client, future, place
        self._connection: ActorConnection | None = None
        self._queued: list[_ActorCall] = []
        self._opening: asyncio.Task[None] | None = None
        self._owner = False

    # -- what users do ------------------------------------------------------------------------------------------------

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name in ("_kind", "_owner"):
            raise AttributeError(name)
        if callable(getattr(self._kind, name, None)):
            return self._method(name)
        if name == "result" and name not in self.__dir__():
            return self._made  # as dask's future of an actor
        return self._call("get", name, (), {}).result()

    def _method(self, name: str) -> Callable[..., ActorFuture]:
        def method(*args: Any, **kwargs: Any) -> ActorFuture:
            return self._call("call", name, args, kwargs)

        method.__name__, method.__doc__ = name, getattr(self._kind, name).__doc__
        return method

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("_"):
            raise AttributeError(
                f"{self!r}: attributes of an actor can only be read; give it a method that sets {name!r}"
            )
        super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return dir(self._kind)

    def __repr__(self) -> str:
        where = f" on {self._location.worker}" if self._location is not None else ""
        return f"<Actor {self._kind.__name__}{where}>"

    def __howdah_content__(self) -> Any:
        return self._token

    def __reduce__(self) -> Any:
        if self._future is not None:
            return rebuild_actor, (self._future, self._kind, self._token)
        assert self._location is not None
        return actor_at, (self._kind, self._token, *self._location)

    def __del__(self) -> None:
        if self.__dict__.get("_owner") and self._client is not None:
            with contextlib.suppress(HowdahError):  # the cluster is gone, and the actor with it
                self._client.connection.send(CoordinationCall(0, "actor", self._token, "close"))

    def _made(self, timeout: float | None = None) -> Actor:
        """The actor, once it is made. Raises what its class raised."""
        if self._future is not None and self._client is not None:
            self._client._results_of(ranges_of([self._future]), timeout)
        return self

    # -- calls --------------------------------------------------------------------------------------------------------

    def _call(self, verb: str, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> ActorFuture:
        if self._client is None:
            self._client = current_client()
        data, buffers = dumps_out_of_band((args, kwargs))
        call = _ActorCall(self, verb, name, [data, *buffers], ActorFuture())
        self._client.loop_thread.loop.call_soon_threadsafe(self._send, call)
        return call.future

    # On the loop's thread from here on.

    def _send(self, call: _ActorCall) -> None:
        if self._connection is not None and not self._connection.ended:
            self._connection.send(call)
            return
        self._queued.append(call)
        if self._opening is None or self._opening.done():
            self._opening = asyncio.ensure_future(self._open())

    async def _open(self) -> None:
        """Find where it lives, connect, send what waits."""
        assert self._client is not None
        try:
            if self._location is None:
                assert self._future is not None
                await _settled(self._future)
                gathered = self._client.gathered
                [found] = await asyncio.get_running_loop().run_in_executor(None, gathered, [self._future])
                self._location = found._location
            assert self._location is not None
            self._connection = await _connection_to(self._client, self._location)
        except Exception as fault:  # noqa: BLE001  # the class's own constructor may have raised anything
            error = self._lost(str(fault)) if isinstance(fault, _ActorUnreachable) else fault
            early, self._queued = self._queued, []
            for call in early:
                _tell(self._client, call.future.set_exception, error)
            return
        early, self._queued = self._queued, []
        for call in early:
            self._connection.send(call)

    def _lost(self, why: str) -> WorkerLost:
        worker = self._location.worker if self._location is not None else "its worker"
        self._connection = self._future = None  # nobody needs it to be made again
        return WorkerLost(f"the actor {self._kind.__name__} is lost with its state: {why}, worker {worker}")


def actor_at(kind: type, token: str, worker: str, address: str) -> Actor:
    """An actor that lives there; it does not keep it alive."""
    return Actor(kind, token, None, None, ActorLocation(worker, address))


def rebuild_actor(value: Any, kind: type, token: str) -> Any:
    """An actor that was an argument: of a task (`value` is the object itself or where it lives), or in a queue."""
    from howdah.engine.client.future import Future

    if isinstance(value, HostedActor):
        return value.__reduce__()[0](*value.__reduce__()[1])
    if isinstance(value, Future):
        return Actor(kind, token, value.client, value, None)
    return value


def make_actor(client: Client, kind: Any, args: tuple[Any, ...], kwargs: dict[str, Any], **options: Any) -> Actor:
    """`Client.submit` with ``actor=True``."""
    if not isinstance(kind, type):
        raise bad_value("actor", kind, "give a class: actor=True makes an object of it, and its arguments follow")
    token = secrets.token_hex(16)
    client.connection.send(CoordinationCall(0, "actor", token, "own"))
    future = client.submit(host_actor, kind, token, *args, pure=False, **options, **kwargs)
    actor = Actor(kind, token, client, future, None)
    actor._owner = True
    return actor


async def _settled(future: Future) -> None:
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


def _tell(client: Client, fn: Callable[..., object], *values: Any) -> None:
    """On the thread for users' callbacks; on this one when that has ended with its client."""
    gathering = client._gathering
    try:
        assert gathering is not None
        gathering.callbacks.submit(fn, *values)
    except RuntimeError:
        fn(*values)


# -- connections ------------------------------------------------------------------------------------------------------


class ActorConnection:
    """A client's connection to one worker's actors."""

    def __init__(self, client: Client, place: ActorLocation, channel: Channel) -> None:
        self.place, self.ended = place, False
        self._client, self._channel = client, channel
        self._number = 0
        self._waiting: dict[int, _ActorCall] = {}
        self._reading = asyncio.ensure_future(self._read())
        client.when_lost.add(self._close)

    def _close(self, _: HowdahError) -> None:
        self._channel.close()

    def send(self, call: _ActorCall) -> None:
        self._number += 1
        self._waiting[self._number] = call
        head = _encoder.encode(ActorCall(self._number, call.actor._token, call.verb, call.name))
        try:
            self._channel.write([head, *call.frames])
        except HowdahError as error:
            del self._waiting[self._number]
            _tell(self._client, call.future.set_exception, call.actor._lost(str(error)))

    async def _read(self) -> None:
        try:
            while True:
                head, *frames = await self._channel.read()
                answer = _decoder.decode(head)
                call = self._waiting.pop(answer.number)
                if answer.gone:
                    _tell(self._client, call.future.set_exception, call.actor._lost("it does not live there any more"))
                else:
                    _tell(self._client, _Reply(call, answer, frames).open)
                del call, answer, frames  # while the next answer is waited for, the actor may be dropped
        except HowdahError as error:
            self.ended = True
            self._client.when_lost.discard(self._close)
            waiting, self._waiting = self._waiting, {}
            for call in waiting.values():
                _tell(self._client, call.future.set_exception, call.actor._lost(str(error)))


class _Reply(NamedTuple):
    """An answer that is opened on a thread where users' modules may be imported."""

    call: _ActorCall
    answer: ActorAnswer
    frames: Sequence[Buffer]

    def open(self) -> None:
        future, error = self.call.future, self.answer.error
        if error is not None:
            name = f"{self.call.actor._kind.__name__}.{self.call.name}"
            future.set_exception(
                rebuild_exception(error, f"howdah: actor {name} failed on worker {error.worker} (host {error.host})")
            )
            return
        try:
            value = loads(self.frames[0], self.frames[1:])
        except Exception as fault:  # noqa: BLE001  # opening a value runs its class's code
            future.set_exception(fault)
        else:
            future.set_result(value)


_connections: weakref.WeakKeyDictionary[Client, dict[str, asyncio.Future[ActorConnection]]] = (
    weakref.WeakKeyDictionary()
)


async def _connection_to(client: Client, place: ActorLocation) -> ActorConnection:
    """The client's line to that worker; made at the first call, and anew when it has ended."""
    lines = _connections.setdefault(client, {})
    known = lines.get(place.address)
    if known is None or (known.done() and (known.exception() is not None or known.result().ended)):
        known = lines[place.address] = asyncio.ensure_future(_connect(client, place))
    return await asyncio.shield(known)


async def _connect(client: Client, place: ActorLocation) -> ActorConnection:
    hello = Hello("actor", client.name, host=socket.gethostname())
    try:
        channel, _ = await connect(place.address, hello, client.connection.security, expect="worker")
    except (HowdahError, OSError) as error:
        raise _ActorUnreachable(f"it cannot be reached any more ({error})") from error
    return ActorConnection(client, place, channel)
