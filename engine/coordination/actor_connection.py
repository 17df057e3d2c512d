"""A client's connections to the actors of workers: one per worker, shared by all actors there.

Everything here runs on howdah's loop thread. A connection that ends fails the calls that wait for an answer.
"""

from __future__ import annotations

import asyncio
import socket
import weakref
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import msgspec

from howdah.engine.comm.connection.channel import Channel
from howdah.engine.comm.connection.connect import connect
from howdah.engine.coordination.actor_messages import ActorAnswer, ActorCall
from howdah.engine.protocol.frames import Buffer
from howdah.engine.protocol.messages import Hello
from howdah.errors import HowdahError

if TYPE_CHECKING:
    from howdah.engine.client.cluster_client import ClusterClient

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(ActorAnswer)


class ActorLocation(NamedTuple):
    """Where an actor lives: the worker's name, and the address of its data server."""

    worker: str
    address: str


class ActorUnreachable(HowdahError):
    """There is no answer from where an actor lives."""


class Call(Protocol):
    """What a connection needs of a call. `lost` and `answered` run on the client's thread for callbacks."""

    @property
    def frames(self) -> Sequence[Buffer]: ...

    def message(self, number: int) -> ActorCall: ...

    def lost(self, why: str) -> None: ...

    def answered(self, answer: ActorAnswer, frames: Sequence[Buffer]) -> None: ...


class ActorConnection:
    """A client's connection to one worker's actors."""

    def __init__(self, client: ClusterClient, channel: Channel) -> None:
        self.ended = False
        self._client, self._channel = client, channel
        self._number = 0
        self._waiting: dict[int, Call] = {}
        self._reading = asyncio.ensure_future(self._read())
        client.when_lost.add(self._close)

    def _close(self, _: HowdahError) -> None:
        self._channel.close()

    def send(self, call: Call) -> None:
        """Send a call; it gets the answer, or the loss of the connection."""
        self._number += 1
        self._waiting[self._number] = call
        try:
            self._channel.write([_encoder.encode(call.message(self._number)), *call.frames])
        except HowdahError as error:
            del self._waiting[self._number]
            call_back(self._client, call.lost, str(error))

    async def _read(self) -> None:
        try:
            while True:
                head, *frames = await self._channel.read()
                answer = _decoder.decode(head)
                call = self._waiting.pop(answer.number)
                call_back(self._client, call.answered, answer, frames)
                del call, answer, frames  # while the next answer is awaited, the actor may be dropped
        except HowdahError as error:
            self.ended = True
            self._client.when_lost.discard(self._close)
            waiting, self._waiting = self._waiting, {}
            for call in waiting.values():
                call_back(self._client, call.lost, str(error))


_connections: weakref.WeakKeyDictionary[Any, dict[str, asyncio.Future[ActorConnection]]] = weakref.WeakKeyDictionary()


async def connection_to(client: ClusterClient, location: ActorLocation) -> ActorConnection:
    """Return the client's connection to that worker; opened at the first call, and again when it has ended.

    Raises
    ------
    ActorUnreachable : the worker does not answer.
    """
    connections = _connections.setdefault(client, {})
    known = connections.get(location.address)
    if known is None or (known.done() and (known.exception() is not None or known.result().ended)):
        known = connections[location.address] = asyncio.ensure_future(_open(client, location))
    return await asyncio.shield(known)


async def _open(client: ClusterClient, location: ActorLocation) -> ActorConnection:
    hello = Hello("actor", client.name, host=socket.gethostname())
    try:
        channel, _ = await connect(location.address, hello, client.connection.security, expect="worker")
    except (HowdahError, OSError) as error:
        raise ActorUnreachable(f"it cannot be reached any more ({error})") from error
    return ActorConnection(client, channel)


def call_back(client: ClusterClient, fn: Callable[..., object], *values: Any) -> None:
    """Call `fn` on the client's thread for callbacks; on this one when that has ended with its client."""
    try:
        client.call_back(fn, *values)
    except RuntimeError:
        fn(*values)
