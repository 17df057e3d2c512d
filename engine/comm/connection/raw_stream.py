"""A plain socket on the event loop without a stream library: one system call sends a message, one receives it.

`Channel.deliver` alone uses it, in place of tornado's stream once the greeting of a connection without TLS is complete.
Each message is parsed where it arrives and delivered in the same iteration of the loop: no future, no
task switch. Only `send` may be called on other threads than the loop's. Why not asyncio's protocols: decisions/0012.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable, Sequence

from howdah.engine.protocol.frames import PREFIX, Buffer, group_frames

_RECEIVE_BYTES = 128 * 1024
_MAX_PIECES = 512
"""Pieces of one `sendmsg`; the kernel's limit is 1024."""


class RawStream:
    """Reads and writes `sock`, which is non-blocking; the stream owns and closes it.

    Parameters
    ----------
    received : bytes that were read from the socket before. If the socket is None (the peer has closed it since), their
        messages are still delivered.
    check : raises for a message with an impossible number of frames or of bytes.
    on_frames : called with the frames of each message. What it raises ends the connection.
    on_end : called once, with the reason: what `on_frames` raised, an OSError, or None when the peer closed.
    """

    def __init__(
        self,
        sock: socket.socket | None,
        received: bytes,
        check: Callable[[int, int], None],
        on_frames: Callable[[list[memoryview]], None],
        on_end: Callable[[BaseException | None], None],
    ) -> None:
        self.socket: socket.socket | None = sock
        self.error: BaseException | None = None
        self._check, self._on_frames, self._on_end = check, on_frames, on_end
        self._loop = asyncio.get_running_loop()
        self._data = bytearray(received)
        self._large: deque[memoryview] = deque()
        """Unfilled memory of the message that is being read; empty between messages."""
        self._frames: list[memoryview] = []
        self._unsent: deque[memoryview] = deque()
        self._sending = threading.Lock()
        """Held while the socket is written to or closed."""
        self._over = False
        self._fd = -1 if sock is None else sock.fileno()
        if received:
            self._loop.call_soon(self._parse_received)
        if sock is None:
            self._loop.call_soon(self._end, None)
        else:
            self._loop.add_reader(self._fd, self._readable)

    def closed(self) -> bool:
        return self.socket is None

    def writing(self) -> bool:
        """Whether the kernel has not accepted all of what was sent yet."""
        return bool(self._unsent)

    # -- sending ------------------------------------------------------------------------------------------------------

    def send(self, pieces: Sequence[Buffer]) -> None:
        """Send without waiting; what the socket does not accept yet is queued uncopied. Raises OSError."""
        with self._sending:
            sock = self.socket
            if sock is None:
                raise ConnectionError("closed")
            if not self._unsent:
                if len(pieces) == 1:
                    piece = pieces[0]
                    with contextlib.suppress(BlockingIOError):
                        sent = sock.send(piece)
                        if sent == len(piece):
                            return
                        pieces = [memoryview(piece)[sent:]]
                self._unsent.extend([memoryview(piece).cast("B") for piece in pieces])
                self._write()
                if self._unsent:
                    self._loop.call_soon_threadsafe(self._add_writer)
            else:
                self._unsent.extend([memoryview(piece).cast("B") for piece in pieces])

    def _add_writer(self) -> None:
        if self.socket is not None and self._unsent:
            self._loop.add_writer(self._fd, self._writable)

    def _write(self) -> None:
        unsent, sock = self._unsent, self.socket
        assert sock is not None
        with contextlib.suppress(BlockingIOError):
            while unsent:
                sent = sock.sendmsg([piece for piece, _ in zip(unsent, range(_MAX_PIECES))])
                while unsent and sent >= len(unsent[0]):
                    sent -= len(unsent.popleft())
                if sent:
                    unsent[0] = unsent[0][sent:]

    def _writable(self) -> None:
        try:
            with self._sending:
                self._write()
                if not self._unsent:
                    self._loop.remove_writer(self._fd)
        except OSError as error:
            self._end(error)

    # -- receiving ----------------------------------------------------------------------------------------------------

    def _readable(self) -> None:
        sock = self.socket
        if sock is None:
            return
        try:
            if self._large:
                self._fill(sock)
                return
            data = sock.recv(_RECEIVE_BYTES)
            if not data:
                self._end(None)
                return
            self._data += data
            self._parse()
        except BlockingIOError:
            return
        except BaseException as error:  # noqa: BLE001  # reported to the owner by `on_end`
            self._end(error)

    def _parse_received(self) -> None:
        try:
            self._parse()
        except BaseException as error:  # noqa: BLE001  # as above
            self._end(error)

    def _fill(self, sock: socket.socket) -> None:
        """Receive into the memory of a large message."""
        large = self._large
        got = sock.recv_into(large[0])
        if not got:
            self._end(None)
            return
        if got < len(large[0]):
            large[0] = large[0][got:]
            return
        large.popleft()
        if not large:
            frames, self._frames = self._frames, []
            self._on_frames(frames)

    def _parse(self) -> None:
        """Deliver the messages that are complete, and allocate memory for one that is not."""
        data, at = self._data, 0
        while len(data) - at >= PREFIX.size and not self._large:
            count, size = PREFIX.unpack_from(data, at)
            self._check(count, 0)
            body = at + 4 + 8 * count
            if len(data) < body:
                break
            sizes = [size] if count == 1 else list(struct.unpack_from(f"<{count}Q", data, at + 4))
            self._check(count, sum(sizes))
            at = body
            for together, members in group_frames(sizes):
                have = min(together, len(data) - at)
                if have == together:
                    memory = memoryview(data[at : at + together])
                else:
                    memory = memoryview(bytearray(together))
                    memory[:have] = memoryview(data)[at : at + have]
                    self._large.append(memory[have:])
                at += have
                begin = 0
                for size in members:
                    self._frames.append(memory[begin : begin + size])
                    begin += size
            if not self._large:
                frames, self._frames = self._frames, []
                self._on_frames(frames)
                if self._over:
                    return
        self._data = data[at:] if at < len(data) else bytearray()

    # -- closing ------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        self._end(None)

    def _end(self, error: BaseException | None) -> None:
        with self._sending:
            if self._over:
                return
            self._over = True
            self.error = error if isinstance(error, OSError) else None
            sock, self.socket = self.socket, None
            if sock is not None:
                self._loop.remove_reader(self._fd)
                self._loop.remove_writer(self._fd)
                self._unsent.clear()
                sock.close()
        self._on_end(error)
