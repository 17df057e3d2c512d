"""Transfers of results: `serve_results` for the process that has them, `PeerConnections` for the one that needs them.

One request names ranges of items; the answer comes in chunks, so that packing, sending, receiving and unpickling
overlap. On one host large buffers are not sent: they are written into shared memory once, and its file descriptor is
passed. Between hosts they are encrypted (`encryption`), and compressed by lz4 where a sample shows that it saves time.
Bulk data moves on threads, over blocking sockets (`bulk_connection`); the event loop only opens connections. Workers
serve and fetch, clients fetch.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import socket
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import msgspec

from howdah.engine.comm.connection.channel import Channel, ChannelClosed
from howdah.engine.comm.connection.connect import GREETING_TIMEOUT, connect
from howdah.engine.comm.data.bulk_connection import MAX_FDS, BulkConnection
from howdah.engine.comm.data.bulk_opening import RELAY_ERROR, open_bulk_connection, readable
from howdah.engine.comm.data.compression import Compressor, decompress
from howdah.engine.comm.data.encryption import AeadRecords, accept, is_enabled
from howdah.engine.comm.data.shared_memory import SharedBuffers, map_aligned
from howdah.engine.comm.security.certificates import Security
from howdah.engine.protocol.frames import Buffer, nbytes
from howdah.engine.protocol.layers import Key, TaskRange
from howdah.engine.protocol.messages import DataMessage, Fetch, Fetched, Hello
from howdah.engine.serialization.serialize import loads
from howdah.errors import HowdahError, PeerRefused, Unpicklable

CHUNK_BYTES = 8 << 20
"""Bytes of an answer that are sent at once, about."""

CHUNK_ITEMS = 4096
"""Items of a chunk, at most."""

SPLIT_ITEMS = 8
"""Number of items from which a request uses two connections."""

MAX_RECONNECTS = 2
"""New connections on which an interrupted request is continued, at most."""

MISSING: Any = object()
"""Stands for an item that the holder does not have."""

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[DataMessage] = msgspec.msgpack.Decoder(DataMessage)


class Packed(NamedTuple):
    """A pickled value. `error`: why it cannot be pickled; `shared`: where its buffers are, if not in `buffers`."""

    pickle: Buffer = b""
    buffers: Sequence[Buffer] = ()
    error: str = ""
    shared: SharedBuffers | None = None

    def open(self) -> Any:
        """Unpickle the value. Raises Unpicklable if it could not be pickled."""
        if self.error:
            raise Unpicklable(self.error)
        return loads(self.pickle, self.buffers)

    @property
    def nbytes(self) -> int:
        return nbytes(self.pickle) + sum(map(nbytes, self.buffers))


def items_of(ranges: Iterable[TaskRange]) -> Iterable[tuple[Key, int]]:
    for layer, start, stop in ranges:
        for item in range(start, stop):
            yield layer, item


# -- serving --------------------------------------------------------------------------------------------------------


class PeerGone(ChannelClosed):
    """The scheduler has given up this worker: another attempt is useless."""


ResultSource = Callable[[Key, int, bool], Any]
"""source(layer, item, share) -> Packed or MISSING; `share`: preferably in shared memory. Called on threads."""


async def serve_results(
    channel: Channel, source: ResultSource, pool: Executor, other_host: bool = False, aead: AeadRecords | None = None
) -> None:
    """Answer requests on `channel`, which was welcomed, until it ends; answers are made and sent on `pool`."""
    loop = asyncio.get_running_loop()
    connection = BulkConnection.take_over(channel, other_host, aead)
    try:
        while True:
            if not connection.pending:
                await readable(loop, connection)
            await loop.run_in_executor(pool, _answer, connection, source)
    finally:
        connection.release()


def _answer(connection: BulkConnection, source: ResultSource) -> None:
    request = _decoder.decode(connection.receive()[0])
    if not isinstance(request, Fetch):
        raise PeerRefused(f"{connection.peer} sent {type(request).__name__} where only Fetch is served")
    share = request.share and connection.passes_fds
    compressor = Compressor(connection) if request.lz4 and connection.other_host else None
    chunk = _Chunk()
    for layer, item in items_of(request.ranges):
        if chunk.full:
            chunk.send(connection, more=True, compressor=compressor)
            chunk = _Chunk()
        packed = source(layer, item, share)
        chunk.add(packed)
        del packed
    chunk.send(connection, more=False, compressor=compressor)


class _Chunk:
    """A part of an answer while it is assembled."""

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

    def send(self, connection: BulkConnection, more: bool, compressor: Compressor | None) -> None:
        frames = [b"", *self.pickles, *self.buffers]  # small frames together, so that they are received at once
        compressed = compressor.compress(frames) if compressor is not None else ()
        head = Fetched(tuple(self.parts), tuple(self.errors), tuple(self.shared), tuple(compressed), more)
        frames[0] = _encoder.encode(head)
        fds: list[int] = []
        try:
            fds.extend(shared.open_reader() for shared in self.mapped)
            connection.send(frames, fds)
        finally:
            for fd in fds:
                os.close(fd)


# -- fetching -------------------------------------------------------------------------------------------------------


class PeerConnections:
    """Connections to data servers, reused for later requests.

    Parameters
    ----------
    name : of this process, for the peer's log.
    max_requests : how many requests are under way at once, over all peers; each has a thread while it is.
    per_peer : how many of them to one peer.
    connect_timeout : seconds for a connection to a data server.
    relay : returns the scheduler's address: all is fetched through its relay. None: from the data servers.
    """

    def __init__(
        self,
        name: str,
        security: Security | None,
        max_requests: int = 8,
        per_peer: int = 2,
        connect_timeout: float = GREETING_TIMEOUT,
        relay: Callable[[], str] | None = None,
    ) -> None:
        self.name, self.security = name, security
        self._connect_timeout, self._relay = connect_timeout, relay
        self._idle: dict[str, list[BulkConnection]] = {}
        self._busy: set[BulkConnection] = set()
        self._all_requests = asyncio.Semaphore(max_requests)
        self._per_peer = per_peer
        self._slots: dict[str, asyncio.Semaphore] = {}
        self._pool = ThreadPoolExecutor(max_requests, "howdah-fetch")
        self._closed = False
        self._under_way: dict[str, set[asyncio.Task[None]]] = {}
        self._given_up: set[asyncio.Task[None]] = set()
        self.bytes_fetched = 0

    async def fetch(
        self, address: str, ranges: Sequence[TaskRange], on_item: Callable[[Key, int, Packed], None]
    ) -> list[tuple[Key, int]]:
        """Fetch these results from the data server at `address`.

        `on_item` is called with each item as it arrives, on a thread of the transfer's, while others are still on their
        way. Large requests use two connections, so two threads may call it at once.

        Returns
        -------
        The items that the holder does not have.

        Raises
        ------
        HowdahError, OSError : the holder cannot be reached or refuses; some items may have arrived. PeerGone when
            `abort` was called meanwhile.
        """
        missing: list[tuple[Key, int]] = []
        if sum(map(len, ranges)) >= SPLIT_ITEMS:
            count = sum(map(len, ranges)) // 2
            halves = [_first(ranges, count), _after(ranges, count)]
        else:
            halves = [list(ranges)]
        jobs = [asyncio.ensure_future(self._fetch(address, half, on_item, missing)) for half in halves]
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
        """End the fetches from `address` with PeerGone: a stopped process or a lost host does not even refuse.

        On the loop's thread.
        """
        self.close_idle(address)
        for job in self._under_way.get(address, ()):
            self._given_up.add(job)
            job.cancel()

    async def _fetch(
        self,
        address: str,
        ranges: list[TaskRange],
        on_item: Callable[[Key, int, Packed], None],
        missing: list[tuple[Key, int]],
    ) -> None:
        slots = self._slots.setdefault(address, asyncio.Semaphore(self._per_peer))
        request = _FetchRequest(ranges, on_item, missing)
        async with slots, self._all_requests:
            connection, reused = await self._connect(address)
            breaks = 0
            while True:
                self._busy.add(connection)
                running = self._pool.submit(request.run, connection)
                try:
                    self.bytes_fetched += await asyncio.wrap_future(running)
                except ChannelClosed:
                    connection.release()
                    if not reused:
                        breaks += 1
                        if breaks > MAX_RECONNECTS:
                            raise
                    # The peer has closed an idle connection, or the network broke it: it need not be gone. What has
                    # arrived is stored; the next connection is used for the rest.
                    self.close_idle(address)
                    connection, reused = await self._connect(address)
                    continue
                except BaseException:
                    connection.close()
                    _release_after(running, connection)
                    raise
                finally:
                    self._busy.discard(connection)
                break
            if self._closed:
                connection.release()
            else:
                self._idle.setdefault(address, []).append(connection)

    async def _connect(self, address: str) -> tuple[BulkConnection, bool]:
        idle = self._idle.get(address, [])
        while idle:
            connection = idle.pop()
            if not connection.closed:
                return connection, True
        if self._closed:
            raise ChannelClosed("this end is closed")
        hello = Hello("data", self.name, host=socket.gethostname(), accepts_aead=is_enabled())
        if self._relay is None:
            return await open_bulk_connection(address, hello, self.security, self._connect_timeout), False
        hello.purpose, hello.worker = "relay", address
        channel, welcomed = await connect(
            self._relay(), hello, self.security, expect="scheduler", timeout=self._connect_timeout, inproc=False
        )
        if RELAY_ERROR in welcomed.details:
            channel.close()
            raise ChannelClosed(welcomed.details[RELAY_ERROR])
        return BulkConnection.take_over(channel, aead=accept(welcomed.details)), False

    def close_idle(self, address: str) -> None:
        """End the idle connections to `address`."""
        for connection in self._idle.pop(address, []):
            connection.release()

    def close(self) -> None:
        """End all connections, those in use too, with `ChannelClosed`."""
        self._closed = True
        for connection in itertools.chain.from_iterable(self._idle.values()):
            connection.release()
        self._idle.clear()
        for connection in self._busy:
            connection.close()
        self._pool.shutdown(wait=False)


def _release_after(running: Future[int], connection: BulkConnection) -> None:
    """Release the connection when its thread has ended."""
    running.add_done_callback(lambda _: connection.release())


class _FetchRequest:
    """One request and what has not arrived of it; continues over another connection if the first one ends."""

    def __init__(
        self, ranges: Sequence[TaskRange], on_item: Callable[[Key, int, Packed], None], missing: list[tuple[Key, int]]
    ) -> None:
        self.rest = list(ranges)
        self._on_item, self._missing = on_item, missing

    def run(self, connection: BulkConnection) -> int:
        """Send the request and receive the answer; returns the bytes received, mapped ones included. On a thread."""
        connection.send([_encoder.encode(Fetch(tuple(self.rest), connection.passes_fds, lz4=True))])
        total, more = 0, True
        while more:
            frames = connection.receive()
            total += sum(map(nbytes, frames))
            answer = _decoder.decode(frames[0])
            if not isinstance(answer, Fetched):
                raise HowdahError(f"{connection.peer} answered a fetch with {type(answer).__name__}")
            if answer.compressed:
                decompress(frames, answer.compressed)
            total += sum(sum(sizes) for _, sizes in answer.shared)
            fds = connection.receive_fds(len(answer.shared)) if answer.shared else []
            try:
                self._distribute(answer, frames, fds)
            finally:
                for fd in fds:
                    os.close(fd)
            more = answer.more
        return total

    def _distribute(self, answer: Fetched, frames: list[memoryview], fds: list[int]) -> None:
        errors = dict(answer.errors)
        shared = {position: (sizes, fd) for (position, sizes), fd in zip(answer.shared, fds)}
        pickle, at = 1, 1 + sum(map(bool, answer.parts))
        for position, ((layer, item), count) in enumerate(zip(items_of(self.rest), answer.parts)):
            if count:
                buffers: Sequence[Buffer] = frames[at : at + count - 1]
                if position in shared:
                    sizes, fd = shared[position]
                    buffers = map_aligned(fd, sizes)
                self._on_item(layer, item, Packed(frames[pickle], buffers))
                pickle += 1
                at += count - 1
            elif position in errors:
                self._on_item(layer, item, Packed(error=errors[position]))
            else:
                self._missing.append((layer, item))
        self.rest = _after(self.rest, len(answer.parts))


def _first(ranges: Sequence[TaskRange], count: int) -> list[TaskRange]:
    """Return the first `count` items of `ranges`.

    >>> _first([TaskRange(b"a", 0, 3), TaskRange(b"b", 5, 9)], 4)
    [TaskRange(layer=b'a', start=0, stop=3), TaskRange(layer=b'b', start=5, stop=6)]
    """
    found: list[TaskRange] = []
    for task_range in ranges:
        cut = min(count, len(task_range))
        count -= cut
        if cut:
            found.append(TaskRange(task_range.layer, task_range.start, task_range.start + cut))
    return found


def _after(ranges: Sequence[TaskRange], count: int) -> list[TaskRange]:
    """Return the items of `ranges` after the first `count`.

    >>> _after([TaskRange(b"a", 0, 3), TaskRange(b"b", 5, 6)], 2)
    [TaskRange(layer=b'a', start=2, stop=3), TaskRange(layer=b'b', start=5, stop=6)]
    """
    rest: list[TaskRange] = []
    for task_range in ranges:
        cut = min(count, len(task_range))
        count -= cut
        if cut < len(task_range):
            rest.append(TaskRange(task_range.layer, task_range.start + cut, task_range.stop))
    return rest
