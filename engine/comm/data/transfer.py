"""Results from those who hold them to those who need them: the data server's side and the fetcher's side.

One request names spans; the answer comes in pieces, so that packing, sending, receiving and opening overlap. On one
host large buffers are not sent: they are put into shared memory once, and its file descriptor is passed. Between hosts
they are sealed (`seal`), and pressed by lz4 where a sample says that it pays. Bulk moves on threads, by blocking
sockets (`line`); the loop only opens connections. Workers serve and fetch, clients fetch.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import msgspec

from howdah.engine.comm.connection.channel import Channel, ChannelClosed
from howdah.engine.comm.connection.connect import connect, send_greeting, uses_tls
from howdah.engine.comm.data.bulk_connection import MAX_FDS, BulkConnection
from howdah.engine.comm.data.compression import Compressor, decompress
from howdah.engine.comm.data.encryption import AeadRecords, accept, is_enabled, offer
from howdah.engine.comm.data.local_socket import connect_local
from howdah.engine.comm.data.shared_memory import SharedBuffers, map_aligned
from howdah.engine.comm.security.certificates import Security
from howdah.engine.protocol.frames import Buffer, nbytes
from howdah.engine.protocol.layers import Key, TaskRange
from howdah.engine.protocol.messages import DataMessage, Fetch, Fetched, Hello, Welcome
from howdah.engine.serialization.serialize import loads
from howdah.errors import HowdahError, PeerRefused, Unpicklable

CHUNK_BYTES = 8 << 20
"""About so much of an answer is sent at once."""

CHUNK_ITEMS = 4096
SPLIT_ITEMS = 8
"""From so many items on a request goes over two connections."""

MAX_RECONNECTS = 2
"""So often an answer that breaks off is gone on with over a new connection."""

MISSING: Any = object()
"""What `look_up` returns for an item that is not there."""

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[DataMessage] = msgspec.msgpack.Decoder(DataMessage)


class Packed(NamedTuple):
    """A value as it travels. `error` says why it cannot; `shared` is where its buffers are, if not in `buffers`."""

    pickle: Buffer = b""
    buffers: Sequence[Buffer] = ()
    error: str = ""
    shared: SharedBuffers | None = None

    def open(self) -> Any:
        """The value. Raises Unpicklable when it could not travel."""
        if self.error:
            raise Unpicklable(self.error)
        return loads(self.pickle, self.buffers)

    @property
    def nbytes(self) -> int:
        return nbytes(self.pickle) + sum(map(nbytes, self.buffers))


def items_of(spans: Iterable[TaskRange]) -> Iterable[tuple[Key, int]]:
    for layer, start, stop in spans:
        for item in range(start, stop):
            yield layer, item


# -- serving --------------------------------------------------------------------------------------------------------


class PeerGone(ChannelClosed):
    """The scheduler has given this worker up: it is useless to try it again."""


ResultSource = Callable[[Key, int, bool], Any]
"""source(layer, item, share) -> Packed or MISSING; `share`: rather in shared memory. Called on threads."""


async def welcome_peer(channel: Channel, hello: Hello, details: Mapping[str, str] | None = None) -> AeadRecords | None:
    """Welcome who asks for results; returns what `serve` seals them with, if it does."""
    offered, seal = offer(hello) if uses_tls(channel) else ({}, None)
    await send_greeting(channel, Welcome("", details={**(details or {}), **offered}))
    return seal


async def serve_results(
    channel: Channel, source: ResultSource, pool: Executor, other_host: bool = False, seal: AeadRecords | None = None
) -> None:
    """Answer requests on `channel`, which was welcomed, until it ends; the answers are made and sent on `pool`."""
    loop = asyncio.get_running_loop()
    line = BulkConnection.take_over(channel, other_host, seal)
    try:
        while True:
            if not line.pending:
                await _readable(loop, line)
            await loop.run_in_executor(pool, _answer, line, source)
    finally:
        line.release()


async def _readable(loop: asyncio.AbstractEventLoop, line: BulkConnection) -> None:
    ready: asyncio.Future[None] = loop.create_future()
    number = line.fileno()

    def arrived() -> None:
        if not ready.done():
            ready.set_result(None)

    loop.add_reader(number, arrived)
    try:
        await ready
    finally:
        loop.remove_reader(number)


def _answer(line: BulkConnection, source: ResultSource) -> None:
    request = _decoder.decode(line.receive()[0])
    if not isinstance(request, Fetch):
        raise PeerRefused(f"{line.peer} sent {type(request).__name__} where only Fetch is served")
    share = request.share and line.passes_fds
    presser = Compressor(line) if request.lz4 and line.other_host else None
    piece = _Piece()
    for layer, item in items_of(request.ranges):
        if piece.full:
            piece.send(line, more=True, presser=presser)
            piece = _Piece()
        packed = source(layer, item, share)
        piece.add(packed)
        del packed
    piece.send(line, more=False, presser=presser)


class _Piece:
    """A part of an answer while it is put together."""

    def __init__(self) -> None:
        self.parts: list[int] = []
        self.errors: list[tuple[int, str]] = []
        self.shared: list[tuple[int, tuple[int, ...]]] = []
        self.mapped: list[SharedBuffers] = []
        self.pickles: list[Buffer] = []
        self.buffers: list[Buffer] = []
        self.nbytes = 0

    @property
    def full(self) -> bool:
        return self.nbytes >= CHUNK_BYTES or len(self.mapped) >= MAX_FDS or len(self.parts) >= CHUNK_ITEMS

    def add(self, packed: Any) -> None:
        if packed is MISSING:
            self.parts.append(0)
            return
        if packed.error:
            self.errors.append((len(self.parts), packed.error))
            self.parts.append(0)
            return
        if packed.shared is not None:
            self.shared.append((len(self.parts), packed.shared.sizes))
            self.mapped.append(packed.shared)
            self.nbytes += packed.shared.nbytes
        self.parts.append(1 + len(packed.buffers))
        self.pickles.append(packed.pickle)
        self.buffers.extend(packed.buffers)
        self.nbytes += packed.nbytes

    def send(self, line: BulkConnection, more: bool, presser: Compressor | None) -> None:
        frames = [b"", *self.pickles, *self.buffers]  # what is small together, so that it is received at once
        pressed = presser.compress(frames) if presser is not None else ()
        head = Fetched(tuple(self.parts), tuple(self.errors), tuple(self.shared), tuple(pressed), more)
        frames[0] = _encoder.encode(head)
        fds: list[int] = []
        try:
            fds.extend(shared.open_reader() for shared in self.mapped)
            line.send(frames, fds)
        finally:
            for fd in fds:
                os.close(fd)


# -- fetching -------------------------------------------------------------------------------------------------------


class PeerConnections:
    """Connections to data servers, kept for the next time.

    Parameters
    ----------
    name : who asks, for the other end's log.
    most : how many requests are under way at once, over all peers; each has a thread while it is.
    per_peer : how many of them to one peer.
    """

    def __init__(self, name: str, security: Security | None, max_requests: int = 8, per_peer: int = 2) -> None:
        self.name, self.security = name, security
        self._idle: dict[str, list[BulkConnection]] = {}
        self._busy: set[BulkConnection] = set()
        self._most = asyncio.Semaphore(max_requests)
        self._per_peer = per_peer
        self._slots: dict[str, asyncio.Semaphore] = {}
        self._pool = ThreadPoolExecutor(max_requests, "howdah-fetch")
        self._closed = False
        self._under_way: dict[str, set[asyncio.Task[None]]] = {}
        self._given_up: set[asyncio.Task[None]] = set()
        self.bytes_fetched = 0

    async def fetch(
        self, address: str, spans: Sequence[TaskRange], take: Callable[[Key, int, Packed], None]
    ) -> list[tuple[Key, int]]:
        """Get these results from the data server at `address`.

        `take` is called with each as it arrives, on a thread of the transfer's, while others are still on their way.
        Large requests take two connections, so it may be called by two threads at once.

        Returns
        -------
        The items that the holder does not have.

        Raises
        ------
        HowdahError, OSError : the holder cannot be reached or refuses; some items may have been taken. PeerGone when
            it was given up meanwhile.
        """
        missing: list[tuple[Key, int]] = []
        if sum(map(len, spans)) >= SPLIT_ITEMS:
            count = sum(map(len, spans)) // 2
            halves = [_first(spans, count), _after(spans, count)]
        else:
            halves = [list(spans)]
        jobs = [asyncio.ensure_future(self._fetch(address, half, take, missing)) for half in halves]
        under_way = self._under_way.setdefault(address, set())
        under_way.update(jobs)
        try:
            await asyncio.gather(*jobs)
        except BaseException:
            for job in jobs:
                job.cancel()
            await asyncio.gather(*jobs, return_exceptions=True)
            if not self._given_up.isdisjoint(jobs):
                raise PeerGone(f"the worker at {address} was given up") from None
            raise
        finally:
            self._given_up.difference_update(jobs)
            under_way.difference_update(jobs)
            if not under_way:
                self._under_way.pop(address, None)
        return missing

    def abort(self, address: str) -> None:
        """Whoever is fetching from there gets PeerGone now: a process that is stopped, or a host that is cut off, does
        not even refuse. On the loop's thread."""
        self.close_idle(address)
        for job in self._under_way.get(address, ()):
            self._given_up.add(job)
            job.cancel()

    async def _fetch(
        self,
        address: str,
        spans: list[TaskRange],
        take: Callable[[Key, int, Packed], None],
        missing: list[tuple[Key, int]],
    ) -> None:
        slots = self._slots.setdefault(address, asyncio.Semaphore(self._per_peer))
        exchange = _Exchange(spans, take, missing)
        async with slots, self._most:
            line, reused = await self._line(address)
            breaks = 0
            while True:
                self._busy.add(line)
                running = self._pool.submit(exchange.run, line)
                try:
                    self.bytes_fetched += await asyncio.wrap_future(running)
                except ChannelClosed:
                    line.release()
                    if not reused:
                        breaks += 1
                        if breaks > MAX_RECONNECTS:
                            raise
                    # It lay idle and the peer has closed it, or the link broke: neither says that the peer is gone.
                    # What has come is taken; the next connection is asked for the rest.
                    self.close_idle(address)
                    line, reused = await self._line(address)
                    continue
                except BaseException:
                    line.close()
                    _release_after(running, line)
                    raise
                finally:
                    self._busy.discard(line)
                break
            if self._closed:
                line.release()
            else:
                self._idle.setdefault(address, []).append(line)

    async def _line(self, address: str) -> tuple[BulkConnection, bool]:
        idle = self._idle.get(address, [])
        while idle:
            line = idle.pop()
            if not line.closed:
                return line, True
        if self._closed:
            raise ChannelClosed("this end is closed")
        hello = Hello("data", self.name, host=socket.gethostname(), accepts_aead=is_enabled())
        channel, welcomed = await connect(address, hello, self.security, expect="worker")
        near = await connect_local(welcomed.details, hello)
        if near is not None:
            channel.close()
            return BulkConnection.take_over(near), False
        return BulkConnection.take_over(channel, seal=accept(welcomed.details)), False

    def close_idle(self, address: str) -> None:
        """End the idle connections to `address`."""
        for line in self._idle.pop(address, []):
            line.release()

    def close(self) -> None:
        """End all connections, those in use too: whoever waits on them gets `ChannelClosed`."""
        self._closed = True
        for line in itertools.chain.from_iterable(self._idle.values()):
            line.release()
        self._idle.clear()
        for line in self._busy:
            line.close()
        self._pool.shutdown(wait=False)


def _release_after(running: Future[int], line: BulkConnection) -> None:
    """A thread may be using it still."""
    running.add_done_callback(lambda _: line.release())


class _Exchange:
    """One request and what is still to come of it; goes on over another line if the first one ends."""

    def __init__(
        self, spans: Sequence[TaskRange], take: Callable[[Key, int, Packed], None], missing: list[tuple[Key, int]]
    ) -> None:
        self.rest = list(spans)
        self._take, self._missing = take, missing

    def run(self, line: BulkConnection) -> int:
        """Ask on `line` and take all that comes; returns the bytes that came, mapped ones included. On a thread."""
        line.send([_encoder.encode(Fetch(tuple(self.rest), line.passes_fds, lz4=True))])
        total, more = 0, True
        while more:
            frames = line.receive()
            total += sum(map(nbytes, frames))
            answer = _decoder.decode(frames[0])
            if not isinstance(answer, Fetched):
                raise HowdahError(f"{line.peer} answered a fetch with {type(answer).__name__}")
            if answer.compressed:
                decompress(frames, answer.compressed)
            total += sum(sum(sizes) for _, sizes in answer.shared)
            fds = line.receive_fds(len(answer.shared)) if answer.shared else []
            try:
                self._give_out(answer, frames, fds)
            finally:
                for fd in fds:
                    os.close(fd)
            more = answer.more
        return total

    def _give_out(self, answer: Fetched, frames: list[memoryview], fds: list[int]) -> None:
        errors = dict(answer.errors)
        shared = {position: (sizes, fd) for (position, sizes), fd in zip(answer.shared, fds)}
        pickle, at = 1, 1 + sum(map(bool, answer.parts))
        for position, ((layer, item), count) in enumerate(zip(items_of(self.rest), answer.parts)):
            if count:
                buffers: Sequence[Buffer] = frames[at : at + count - 1]
                if position in shared:
                    sizes, fd = shared[position]
                    buffers = map_aligned(fd, sizes)
                self._take(layer, item, Packed(frames[pickle], buffers))
                pickle += 1
                at += count - 1
            elif position in errors:
                self._take(layer, item, Packed(error=errors[position]))
            else:
                self._missing.append((layer, item))
        self.rest = _after(self.rest, len(answer.parts))


def _first(spans: Sequence[TaskRange], count: int) -> list[TaskRange]:
    """The first `count` items of `spans`.

    >>> _first([TaskRange(b"a", 0, 3), TaskRange(b"b", 5, 9)], 4)
    [TaskRange(layer=b'a', start=0, stop=3), TaskRange(layer=b'b', start=5, stop=6)]
    """
    found: list[TaskRange] = []
    for span in spans:
        cut = min(count, len(span))
        count -= cut
        if cut:
            found.append(TaskRange(span.layer, span.start, span.start + cut))
    return found


def _after(spans: Sequence[TaskRange], count: int) -> list[TaskRange]:
    """What of `spans` comes after the first `count` items.

    >>> _after([TaskRange(b"a", 0, 3), TaskRange(b"b", 5, 6)], 2)
    [TaskRange(layer=b'a', start=2, stop=3), TaskRange(layer=b'b', start=5, stop=6)]
    """
    rest: list[TaskRange] = []
    for span in spans:
        cut = min(count, len(span))
        count -= cut
        if cut < len(span):
            rest.append(TaskRange(span.layer, span.start + cut, span.stop))
    return rest
