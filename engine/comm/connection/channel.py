"""One connection that carries messages, on the event loop: `Channel` writes and reads the format of `protocol.frames`.

It writes a message in one go without copying large frames, and reads into memory of the right size. A frame that
arrives is a writable memoryview. A channel does not interpret frames. Made by `connect` and by `inproc`, used by
`session` and by the handlers of connections.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from typing import Any

from tornado.iostream import IOStream, SSLIOStream, StreamClosedError

from howdah.engine.comm.connection.raw_stream import RawStream
from howdah.engine.protocol.frames import (
    LENGTH_BYTES,
    MAX_FRAMES,
    PREFIX,
    Buffer,
    decode_lengths,
    encode_message,
    group_frames,
    split_group,
)
from howdah.errors import HowdahError

GREETING_BYTES = 64 * 1024
"""Bytes that a peer may send before its role is known."""

_ALL = 1 << 62


class ChannelClosed(HowdahError):
    """The connection ended. The message names the peer."""


class MalformedFrames(HowdahError):
    """The peer does not use howdah's protocol."""


class NoStream:
    """In the place of the stream of a channel that has no socket, or has given it away."""

    error = None
    socket = None

    def closed(self) -> bool:
        return True

    def writing(self) -> bool:
        return False


class Channel:
    """One connection. `peer` describes the other end in messages to users.

    `read` raises `ChannelClosed` when the connection ends, also for the reader that is waiting. Closing twice is fine.
    """

    def __init__(self, stream: IOStream, peer: str = "") -> None:
        self.stream: Any = stream
        """Tornado's stream; a `RawStream` while messages are delivered over a plain socket."""
        self.peer = peer
        self.size_limit = GREETING_BYTES
        """Bytes of one message, at most; see `lift_size_limit`."""
        self.on_close: Callable[[], None] | None = None
        """Called by `close`, for an owner that has taken the socket over."""

    @property
    def closed(self) -> bool:
        return bool(self.stream.closed())

    @property
    def thread_safe(self) -> bool:
        """Whether `write` may be called on any thread now, and sends what it is given at once."""
        return type(self.stream) is RawStream and not self.stream.writing()

    def lift_size_limit(self) -> None:
        """Accept messages of any size: the peer has proved its role."""
        self.size_limit = 1 << 62

    def write(self, frames: Sequence[Buffer]) -> None:
        """Send without waiting; what the socket does not accept yet is queued, large frames uncopied."""
        try:
            if type(self.stream) is RawStream:
                self.stream.send(encode_message(frames))
                return
            for piece in encode_message(frames):
                self.stream.write(piece if isinstance(piece, bytes | memoryview) else memoryview(piece))
        except (StreamClosedError, OSError) as error:
            raise self._ended() from error

    async def deliver(self, on_frames: Callable[[list[memoryview]], None]) -> None:
        """Call `on_frames` with each message as it arrives, until the connection ends.

        Nothing else may read while this runs; only `write` may send.

        Raises
        ------
        ChannelClosed : the connection ended.
        BaseException : what `on_frames` raised; the connection ends with it.
        """
        stream = self.stream
        if isinstance(stream, SSLIOStream) or not isinstance(stream, IOStream) or stream.closed() or stream.writing():
            while True:
                on_frames(await self.read())
                await asyncio.sleep(0)  # lets other tasks run, and collects the replies into one batch
        plain: Any = stream
        pending = plain.read_bytes(_ALL, partial=True)  # what came with the greeting: tornado has it at once, or none
        received = pending.result() if pending.done() and not pending.exception() else b""
        sock: socket.socket | None = plain.socket
        if sock is not None:
            plain.io_loop.remove_handler(sock)
        elif not received:
            raise self._ended()
        over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def on_end(error: BaseException | None) -> None:
            if over.done():
                return
            if error is None or isinstance(error, OSError):
                error = self._ended()
            over.set_exception(error)

        self.stream = RawStream(sock, received, self._check, on_frames, on_end)
        await over

    def detach(self) -> socket.socket:
        """Give the socket away; the channel cannot be used any more, but `close` still calls `on_close`.

        Raises
        ------
        ChannelClosed : the connection has ended already.
        """
        stream = self.stream
        if stream.closed():
            raise self._ended()
        sock: socket.socket = stream.socket
        stream.io_loop.remove_handler(sock)
        self.stream = NoStream()
        return sock

    def _check(self, count: int, size: int) -> None:
        """Refuse a message of `count` frames, or of `size` bytes, that no peer of this role may send."""
        if not 0 < count <= MAX_FRAMES or (count - 1) * LENGTH_BYTES > self.size_limit:
            raise MalformedFrames(f"{self.peer or 'a peer'} announced {count} frames; it does not speak howdah")
        if size > self.size_limit:
            raise MalformedFrames(f"{self.peer or 'a peer'} announced {size} bytes before it had proved who it is")

    async def write_and_drain(self, frames: Sequence[Buffer]) -> None:
        """Send, and wait until the socket has accepted all of it."""
        done = None
        try:
            for piece in encode_message(frames):
                done = self.stream.write(piece if isinstance(piece, bytes | memoryview) else memoryview(piece))
            if done is not None:
                await done
        except StreamClosedError as error:
            raise self._ended() from error

    async def read(self) -> list[memoryview]:
        """Return the next message's frames; at least one."""
        try:
            count, first = PREFIX.unpack(await self.stream.read_bytes(PREFIX.size))
            self._check(count, 0)
            sizes = [first]
            if count > 1:
                sizes = decode_lengths(first, await self.stream.read_bytes(LENGTH_BYTES * (count - 1)))
            self._check(count, sum(sizes))
            frames: list[memoryview] = []
            for together, members in group_frames(sizes):
                memory = memoryview(bytearray(together))
                if together:
                    await self.stream.read_into(memory)
                frames += split_group(memory, members)
            return frames
        except StreamClosedError as error:
            raise self._ended() from error

    def close(self) -> None:
        if self.stream.socket is not None:  # a stream whose handshake failed has given its socket away, closed
            self.stream.close()
        if self.on_close is not None:
            self.on_close()

    def _ended(self) -> ChannelClosed:
        why = f": {self.stream.error}" if self.stream.error else ""
        return ChannelClosed(f"the connection to {self.peer or 'a peer'} ended{why}")
