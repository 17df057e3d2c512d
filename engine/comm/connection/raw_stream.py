"""A plain socket on the event loop with nothing in between: messages go in one system call and come in one.

What `Channel.deliver` puts in place of tornado's stream once a connection without TLS was greeted; for it alone. Each
message is parsed where it arrives and handed on in the same turn of the loop: no future, no task switch. Only `send`
may be called on another thread than the loop's.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable, Sequence

Buffer = bytes | bytearray | memoryview

_FIRST = struct.Struct("<IQ")
_CHUNK = 128 * 1024
_MOST_PIECES = 512


class RawStream:
    """Reads and writes `sock`, which is non-blocking and becomes this object's own.

    Parameters
    ----------
    begun : what was read already.
    check : raises for a message of so many frames, or of so many bytes, that nobody sends.
    group : cuts the sizes of frames into those that share memory.
    take : called with the frames of each message. What it raises ends the connection.
    ended : called once, with the reason: what `take` raised, an OSError, or None when the other end hung up.
    """

    def __init__(
        self,
        sock: socket.socket,
        begun: bytes,
        check: Callable[[int, int], None],
        group: Callable[[Sequence[int]], list[tuple[int, list[int]]]],
        take: Callable[[list[memoryview]], None],
        ended: Callable[[BaseException | None], None],
    ) -> None:
        self.socket: socket.socket | None = sock
        self.error: BaseException | None = None
        self._check, self._group, self._take, self._ended = check, group, take, ended
        self._loop = asyncio.get_running_loop()
        self._data = bytearray(begun)
        self._large: deque[memoryview] = deque()
        """Memory of the message that is being read, as far as it is not filled; empty between messages."""
        self._frames: list[memoryview] = []
        self._unsent: deque[memoryview] = deque()
        self._sending = threading.Lock()
        """Held by whoever writes to the socket or closes it."""
        self._fd = sock.fileno()
        self._loop.add_reader(self._fd, self._readable)
        if begun:
            self._loop.call_soon(self._parse_begun)

    def closed(self) -> bool:
        return self.socket is None

    def writing(self) -> bool:
        """Whether the system has not taken all of what was sent."""
        return bool(self._unsent)

    # -- out ----------------------------------------------------------------------------------------------------------

    def send(self, pieces: Sequence[Buffer]) -> None:
        """Send without waiting; what the socket does not take yet is kept, not copied. Raises OSError."""
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
                    self._loop.call_soon_threadsafe(self._await_room)
            else:
                self._unsent.extend([memoryview(piece).cast("B") for piece in pieces])

    def _await_room(self) -> None:
        if self.socket is not None and self._unsent:
            self._loop.add_writer(self._fd, self._writable)

    def _write(self) -> None:
        unsent, sock = self._unsent, self.socket
        assert sock is not None
        with contextlib.suppress(BlockingIOError):
            while unsent:
                sent = sock.sendmsg([piece for piece, _ in zip(unsent, range(_MOST_PIECES))])
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

    # -- in -----------------------------------------------------------------------------------------------------------

    def _readable(self) -> None:
        sock = self.socket
        if sock is None:
            return
        try:
            if self._large:
                self._fill(sock)
                return
            data = sock.recv(_CHUNK)
            if not data:
                self._end(None)
                return
            self._data += data
            self._parse()
        except BlockingIOError:
            return
        except BaseException as error:  # noqa: BLE001  # the owner of the connection hears of it
            self._end(error)

    def _parse_begun(self) -> None:
        try:
            self._parse()
        except BaseException as error:  # noqa: BLE001  # as above
            self._end(error)

    def _fill(self, sock: socket.socket) -> None:
        """Read into the memory of a large message."""
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
            self._take(frames)

    def _parse(self) -> None:
        """Hand on what has arrived whole, and begin with a message of which only a part has."""
        data, at = self._data, 0
        while len(data) - at >= _FIRST.size and not self._large:
            count, size = _FIRST.unpack_from(data, at)
            self._check(count, 0)
            body = at + 4 + 8 * count
            if len(data) < body:
                break
            sizes = [size] if count == 1 else list(struct.unpack_from(f"<{count}Q", data, at + 4))
            self._check(count, sum(sizes))
            at = body
            for together, members in self._group(sizes):
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
                self._take(frames)
                if self.socket is None:
                    return
        self._data = data[at:] if at < len(data) else bytearray()

    # -- the end ------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        self._end(None)

    def _end(self, error: BaseException | None) -> None:
        with self._sending:
            sock, self.socket = self.socket, None
            if sock is None:
                return
            self.error = error if isinstance(error, OSError) else None
            self._loop.remove_reader(self._fd)
            self._loop.remove_writer(self._fd)
            self._unsent.clear()
            sock.close()
        self._ended(error)
