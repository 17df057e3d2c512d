"""Results from those who hold them to those who need them: the data server's side and the fetcher's side.

One request names spans, one answer brings them in bulk, at most `ANSWER_BYTES` (and one item) at a time: what did not
fit is asked for again. Pickling is done off the loop when it is large; unpickling is left to whoever asked, on a
thread of its own. Workers serve and fetch, clients fetch.
"""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from typing import Any, NamedTuple

import msgspec

from howdah.engine.comm.frames import Buffer, Channel, ChannelClosed, nbytes
from howdah.engine.comm.identity import Security
from howdah.engine.comm.messages import DataSays, Fetch, Fetched, Hello
from howdah.engine.comm.serialize import dumps_apart, loads
from howdah.engine.comm.transport import connect
from howdah.engine.graph.layer import Key, Span
from howdah.errors import HowdahError, PeerRefused, Unpicklable

ANSWER_BYTES = 64 << 20
SMALL_BYTES = 64 << 10
MISSING: Any = object()
"""What `look_up` returns for an item that is not there."""

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[DataSays] = msgspec.msgpack.Decoder(DataSays)


class Packed(NamedTuple):
    """A value as it travels. `error` says why it cannot."""

    pickle: Buffer = b""
    buffers: Sequence[Buffer] = ()
    error: str = ""

    def open(self) -> Any:
        """The value. Raises Unpicklable when it could not travel."""
        if self.error:
            raise Unpicklable(self.error)
        return loads(self.pickle, self.buffers)

    @property
    def nbytes(self) -> int:
        return nbytes(self.pickle) + sum(map(nbytes, self.buffers))


def items_of(spans: Iterable[Span]) -> Iterable[tuple[Key, int]]:
    for layer, start, stop in spans:
        for item in range(start, stop):
            yield layer, item


# -- serving --------------------------------------------------------------------------------------------------------


async def serve(
    channel: Channel,
    look_up: Callable[[Key, int], Any],
    size_of: Callable[[Sequence[Span]], int],
    pool: Executor,
) -> None:
    """Answer requests on `channel` until it ends.

    `look_up(layer, item)` gives the value or MISSING; `size_of` an estimate in bytes, to tell small requests, which are
    answered on the loop at once, from those worth a thread of `pool`.
    """
    loop = asyncio.get_running_loop()
    while True:
        request = _decoder.decode((await channel.read())[0])
        if not isinstance(request, Fetch):
            raise PeerRefused(f"{channel.peer} sent {type(request).__name__} where only Fetch is served")
        if size_of(request.spans) <= SMALL_BYTES:
            frames = _pack(request.spans, look_up)
        else:
            frames = await loop.run_in_executor(pool, _pack, request.spans, look_up)
        await channel.write_through(frames)


def _pack(spans: Sequence[Span], look_up: Callable[[Key, int], Any]) -> list[Buffer]:
    parts: list[int] = []
    errors: list[tuple[int, str]] = []
    frames: list[Buffer] = [b""]
    total = 0
    for layer, item in items_of(spans):
        value = look_up(layer, item)
        if value is MISSING:
            parts.append(0)
            continue
        try:
            data, buffers = dumps_apart(value)
        except Unpicklable as error:
            errors.append((len(parts), str(error)))
            parts.append(0)
            continue
        parts.append(1 + len(buffers))
        frames.append(data)
        frames.extend(buffers)
        total += len(data) + sum(map(nbytes, buffers))
        if total >= ANSWER_BYTES:
            break
    frames[0] = _encoder.encode(Fetched(tuple(parts), tuple(errors)))
    return frames


# -- fetching -------------------------------------------------------------------------------------------------------


class Peers:
    """Connections to data servers, kept for the next time.

    Parameters
    ----------
    name : who asks, for the other end's log.
    most : how many requests are under way at once, over all peers.
    """

    def __init__(self, name: str, security: Security | None, most: int = 8, per_peer: int = 2) -> None:
        self.name, self.security = name, security
        self._idle: dict[str, list[Channel]] = {}
        self._most = asyncio.Semaphore(most)
        self._per_peer = per_peer
        self._slots: dict[str, asyncio.Semaphore] = {}
        self._closed = False
        self.bytes_fetched = 0

    async def fetch(
        self, address: str, spans: Sequence[Span], take: Callable[[Key, int, Packed], None]
    ) -> list[tuple[Key, int]]:
        """Get these results from the data server at `address`; `take` is called with each as it arrives.

        Returns
        -------
        The items that the holder does not have.

        Raises
        ------
        HowdahError, OSError : the holder cannot be reached or refuses; some items may have been taken.
        """
        slots = self._slots.setdefault(address, asyncio.Semaphore(self._per_peer))
        missing: list[tuple[Key, int]] = []
        async with self._most, slots:
            rest = list(spans)
            channel, reused = await self._channel(address)
            try:
                while rest:
                    try:
                        rest = await self._exchange(channel, rest, take, missing)
                    except ChannelClosed:
                        if not reused:
                            raise
                        # The peer has closed a connection that lay idle, which says nothing about the peer.
                        self.forget(address)
                        channel, reused = await self._channel(address)
            except BaseException:
                channel.close()
                raise
            if self._closed:
                channel.close()
            else:
                self._idle.setdefault(address, []).append(channel)
        return missing

    async def _exchange(
        self,
        channel: Channel,
        spans: list[Span],
        take: Callable[[Key, int, Packed], None],
        missing: list[tuple[Key, int]],
    ) -> list[Span]:
        channel.write([_encoder.encode(Fetch(tuple(spans)))])
        frames = await channel.read()
        answer = _decoder.decode(frames[0])
        if not isinstance(answer, Fetched) or not answer.parts:
            raise HowdahError(f"{channel.peer} answered a fetch with {type(answer).__name__}")
        self.bytes_fetched += sum(map(nbytes, frames))
        errors = dict(answer.errors)
        at = 1
        for position, ((layer, item), count) in enumerate(zip(items_of(spans), answer.parts)):
            if count:
                take(layer, item, Packed(frames[at], frames[at + 1 : at + count]))
                at += count
            elif position in errors:
                take(layer, item, Packed(error=errors[position]))
            else:
                missing.append((layer, item))
        return _after(spans, len(answer.parts))

    async def _channel(self, address: str) -> tuple[Channel, bool]:
        idle = self._idle.get(address, [])
        while idle:
            channel = idle.pop()
            if not channel.closed:
                return channel, True
        hello = Hello("data", self.name, host=socket.gethostname())
        return (await connect(address, hello, self.security, expect="worker"))[0], False

    def forget(self, address: str) -> None:
        """End the idle connections to `address`."""
        for channel in self._idle.pop(address, []):
            channel.close()

    def close(self) -> None:
        self._closed = True
        for channel in itertools.chain.from_iterable(self._idle.values()):
            channel.close()
        self._idle.clear()


def _after(spans: Sequence[Span], count: int) -> list[Span]:
    """What of `spans` comes after the first `count` items.

    >>> _after([Span(b"a", 0, 3), Span(b"b", 5, 6)], 2)
    [Span(layer=b'a', start=2, stop=3), Span(layer=b'b', start=5, stop=6)]
    """
    rest: list[Span] = []
    for span in spans:
        cut = min(count, len(span))
        count -= cut
        if cut < len(span):
            rest.append(Span(span.layer, span.start + cut, span.stop))
    return rest
