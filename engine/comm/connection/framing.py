"""Frames on a stream: u32 count, that many u64 lengths, then the frames themselves (all little-endian).

A `Channel` is one connection. It writes all that it is given in one go without copying large frames, and reads
straight into memory of the right size: frames of `LARGE` bytes and more get memory of their own, smaller neighbours
share some. A frame that arrives is a writable memoryview. Nothing here knows what frames mean.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable, Sequence
from typing import Any

from tornado.iostream import IOStream, SSLIOStream, StreamClosedError

from howdah.engine.comm.connection.raw_stream import RawStream
from howdah.errors import HowdahError

Buffer = bytes | bytearray | memoryview

LARGE_FRAME = 256 * 1024
"""Bytes from which a frame gets memory of its own when it is read."""

JOINED_FRAME = 64 * 1024
"""Bytes up to which a frame is copied next to its neighbours for one write."""

MAX_FRAMES = 1 << 22
GREETING_BYTES = 64 * 1024
"""What an end may send before its role is known."""

_FIRST = struct.Struct("<IQ")


class ChannelClosed(HowdahError):
    """The connection ended. Says who was at the other end."""


class MalformedFrames(HowdahError):
    """The other end does not speak howdah's protocol."""


def nbytes(frame: Buffer) -> int:
    return frame.nbytes if isinstance(frame, memoryview) else len(frame)


def byte_view(frame: Buffer) -> memoryview:
    """The frame as a memoryview of bytes."""
    view = memoryview(frame)
    if type(frame) is bytes:
        return view
    return view if view.format == "B" and view.ndim == 1 else view.cast("B")


def encode_message(frames: Sequence[Buffer]) -> list[Buffer]:
    """What to write for `frames`: as few pieces as possible, large frames as they are.

    >>> b"".join(join([b"ab", b"c"])).hex()
    '0200000002000000000000000100000000000000616263'
    """
    sizes = [nbytes(frame) for frame in frames]
    small: list[Buffer] = [struct.pack(f"<I{len(sizes)}Q", len(sizes), *sizes)]
    pieces: list[Buffer] = []
    for frame, size in zip(frames, sizes):
        if size <= JOINED_FRAME:
            small.append(frame)
        else:
            pieces.append(b"".join(small))
            pieces.append(frame)
            small = []
    if small:
        pieces.append(b"".join(small))
    return pieces


def group_frames(sizes: Sequence[int]) -> list[tuple[int, list[int]]]:
    """Which neighbouring frames share memory: the bytes of each group, and the sizes in it.

    >>> groups([10, 20, LARGE])
    [(30, [10, 20]), (262144, [262144])]
    """
    found: list[tuple[int, list[int]]] = []
    at, n = 0, len(sizes)
    while at < n:
        stop, together = at + 1, sizes[at]
        while stop < n and together + sizes[stop] <= LARGE_FRAME:
            together += sizes[stop]
            stop += 1
        found.append((together, list(sizes[at:stop])))
        at = stop
    return found


class Channel:
    """One connection. `peer` says who is at the other end, for messages to people.

    `read` raises `ChannelClosed` when the connection ends, also for the reader that is waiting. Closing twice is fine.
    """

    def __init__(self, stream: IOStream, peer: str = "") -> None:
        self.stream: Any = stream
        """tornado's; a `RawStream` while messages are delivered over a plain socket."""
        self.peer = peer
        self.size_limit = GREETING_BYTES
        """Most bytes of one message; lifted by `lift_size_limit` once the other end's role is known."""
        self.on_close: Callable[[], None] | None = None
        """Who has taken the socket over hears of `close` by this."""

    @property
    def closed(self) -> bool:
        return bool(self.stream.closed())

    @property
    def thread_safe(self) -> bool:
        """Whether `write` may be called on any thread now, and what it is given leaves at once."""
        return type(self.stream) is RawStream and not self.stream.writing()

    def lift_size_limit(self) -> None:
        self.size_limit = 1 << 62

    def write(self, frames: Sequence[Buffer]) -> None:
        """Send without waiting; what the socket does not take yet is kept, not copied if large."""
        try:
            if type(self.stream) is RawStream:
                self.stream.send(encode_message(frames))
                return
            for piece in encode_message(frames):
                self.stream.write(piece if isinstance(piece, bytes | memoryview) else memoryview(piece))
        except (StreamClosedError, OSError) as error:
            raise self._ended() from error

    async def deliver(self, take: Callable[[list[memoryview]], None]) -> None:
        """From now on hand each message to `take` as it comes. Raises what ends that: what `take` raises, or
        ChannelClosed. Nothing is to be read or written otherwise while this runs, except by `write`."""
        stream = self.stream
        if isinstance(stream, SSLIOStream) or not isinstance(stream, IOStream) or stream.closed() or stream.writing():
            while True:
                take(await self.read())
                await asyncio.sleep(0)  # others have their turn, and answers leave as one batch
        plain: Any = stream
        begun = bytes(plain._consume(plain._read_buffer_size))  # what came with the greeting
        sock = stream.socket
        stream.io_loop.remove_handler(sock)  # what tornado's own start_tls does to give a socket away
        plain.socket, plain._closed = None, True
        over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def ended(error: BaseException | None) -> None:
            if over.done():
                return
            if error is None or isinstance(error, OSError):
                error = self._ended()
            over.set_exception(error)

        self.stream = RawStream(sock, begun, self._check, group_frames, take, ended)
        await over

    def _check(self, count: int, size: int) -> None:
        if not 0 < count <= MAX_FRAMES or (count - 1) * 8 > self.size_limit:
            raise MalformedFrames(f"{self.peer or 'a peer'} announced {count} frames; it does not speak howdah")
        if size > self.size_limit:
            raise MalformedFrames(f"{self.peer or 'a peer'} announced {size} bytes before it had proved who it is")

    async def write_and_drain(self, frames: Sequence[Buffer]) -> None:
        """Send, and wait until the socket has taken all of it."""
        done = None
        try:
            for piece in encode_message(frames):
                done = self.stream.write(piece if isinstance(piece, bytes | memoryview) else memoryview(piece))
            if done is not None:
                await done
        except StreamClosedError as error:
            raise self._ended() from error

    async def read(self) -> list[memoryview]:
        """The next message's frames; at least one."""
        try:
            count, size = _FIRST.unpack(await self.stream.read_bytes(_FIRST.size))
            self._check(count, 0)
            sizes = [size]
            if count > 1:
                sizes += struct.unpack(f"<{count - 1}Q", await self.stream.read_bytes(8 * (count - 1)))
            self._check(count, sum(sizes))
            return await self._read_frames(sizes)
        except StreamClosedError as error:
            raise self._ended() from error

    async def _read_frames(self, sizes: Sequence[int]) -> list[memoryview]:
        frames: list[memoryview] = []
        for together, members in group_frames(sizes):
            memory = memoryview(bytearray(together))
            if together:
                await self.stream.read_into(memory)
            begin = 0
            for size in members:
                frames.append(memory[begin : begin + size])
                begin += size
        return frames

    def close(self) -> None:
        if self.stream.socket is not None:  # a stream whose handshake failed has given its socket away, closed
            self.stream.close()
        if self.on_close is not None:
            self.on_close()

    def _ended(self) -> ChannelClosed:
        why = f": {self.stream.error}" if self.stream.error else ""
        return ChannelClosed(f"the connection to {self.peer or 'a peer'} ended{why}")
