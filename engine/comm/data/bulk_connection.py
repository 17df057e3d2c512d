"""A connection for bulk data: blocking, on a thread of its own, reading into memory of the right size.

A `BulkConnection` takes over the socket of a `Channel` whose greeting is complete. Messages have the channel's format,
and file descriptors can follow them where both ends are on one host. Every system call moves as much as it can with the
interpreter lock released. For this folder only; `record_layer` says how bytes are protected, `transfer` what the frames
mean.
"""

from __future__ import annotations

import array
import contextlib
import os
import socket
import ssl
import struct
import time
from collections.abc import Sequence

from howdah.engine.comm.connection.channel import Channel, ChannelClosed, MalformedFrames
from howdah.engine.comm.data.encryption import AeadRecords
from howdah.engine.comm.data.receive_buffers import allocate
from howdah.engine.comm.data.record_layer import EncryptedRecords, PlainRecords, RecordLayer, TlsRecords
from howdah.engine.protocol.frames import (
    LENGTH_BYTES,
    MAX_FRAMES,
    PREFIX,
    Buffer,
    decode_lengths,
    encode_message,
    group_frames,
    nbytes,
    split_group,
)

IDLE_TIMEOUT = 120
"""Seconds after which a connection ends whose peer neither sends nor accepts a byte that is due."""

MAX_FDS = 64
"""File descriptors in one control message (the kernel's limit is 253)."""

_SOCKET_BUFFER = 4 << 20
_TIMED = 1 << 20
_ALIGN, _ALIGNED_MIN_BYTES = 16, 1024


class BulkConnection:
    """One blocking connection. One thread at a time may use it; `close` may be called from any.

    Every method raises `ChannelClosed` when the connection ends or is silent for too long.
    """

    def __init__(
        self, sock: socket.socket, peer: str, other_host: bool = False, aead: AeadRecords | None = None
    ) -> None:
        if isinstance(sock, ssl.SSLSocket) and aead is not None:
            sock = socket.socket(
                fileno=sock.detach()
            )  # after its handshake TLS is not used: `aead` protects what follows
        self._socket, self.peer = sock, peer
        self.other_host = other_host
        self.closed = False
        self.seconds_per_byte = 0.0
        """Moving average of what sending costs, measured on large messages."""
        self._records: RecordLayer
        if aead is not None:
            self._records = EncryptedRecords(sock, aead)
        else:
            self._records = TlsRecords(sock) if isinstance(sock, ssl.SSLSocket) else PlainRecords(sock)
        self.passes_fds = sock.family == socket.AF_UNIX
        sock.setblocking(True)
        wait = struct.pack("ll", IDLE_TIMEOUT, 0)
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            sock.setsockopt(socket.SOL_SOCKET, option, wait)
        if sock.family == socket.AF_UNIX:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SOCKET_BUFFER)
        else:  # the kernel sizes the buffers of TCP itself, and its probes detect a host that is gone
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for name, value in ((socket.TCP_KEEPIDLE, 15), (socket.TCP_KEEPINTVL, 5), (socket.TCP_KEEPCNT, 3)):
                sock.setsockopt(socket.IPPROTO_TCP, name, value)

    @classmethod
    def take_over(cls, channel: Channel, other_host: bool = False, aead: AeadRecords | None = None) -> BulkConnection:
        """Take the socket of `channel`, which cannot be used any more. On the loop's thread.

        With `aead`, whose counterpart the peer has, it encrypts all that follows.
        """
        connection = cls(channel.detach(), channel.peer, other_host, aead)
        channel.on_close = connection.close
        return connection

    @property
    def pending(self) -> bool:
        """Whether bytes have arrived that the kernel does not report any more."""
        return self._records.pending()

    def fileno(self) -> int:
        return self._socket.fileno()

    def send(self, frames: Sequence[Buffer], fds: Sequence[int] = ()) -> None:
        """Send one message, and the file descriptors `fds` after it."""
        pieces = encode_message(frames)
        started = time.perf_counter()
        with self._closing_on_error():
            self._records.send([memoryview(piece).cast("B") for piece in pieces])
            for at in range(0, len(fds), MAX_FDS):
                socket.send_fds(self._socket, [b"F"], list(fds[at : at + MAX_FDS]))
        size = sum(map(nbytes, pieces))
        if size >= _TIMED:
            self.seconds_per_byte += ((time.perf_counter() - started) / size - self.seconds_per_byte) / 4

    def receive(self) -> list[memoryview]:
        """Return the next message's frames, each a writable memoryview."""
        sizes = self._receive_sizes()
        frames: list[memoryview] = []
        for together, members in group_frames(sizes):
            memory = allocate(together)
            self._fill(memory)
            begin = 0
            for frame in split_group(memory, members):
                if len(frame) >= _ALIGNED_MIN_BYTES and begin % _ALIGN:  # arrays require aligned data
                    aligned = allocate(len(frame))
                    aligned[:] = frame
                    frames.append(aligned)
                else:
                    frames.append(frame)
                begin += len(frame)
        return frames

    def _receive_sizes(self) -> list[int]:
        head = bytearray(PREFIX.size)
        self._fill(memoryview(head))
        count, first = PREFIX.unpack(head)
        if not 0 < count <= MAX_FRAMES:
            raise MalformedFrames(f"{self.peer} announced {count} frames; it does not speak howdah")
        if count == 1:
            return [first]
        rest = bytearray(LENGTH_BYTES * (count - 1))
        self._fill(memoryview(rest))
        return decode_lengths(first, rest)

    # -- messages in pieces, for `relay` ------------------------------------------------------------------------------

    def receive_first(self, limit: int = 16 << 20) -> tuple[list[int], memoryview]:
        """Return the sizes of the next message's frames, and the first of them; `receive_raw` receives the rest.

        Raises MalformedFrames for a first frame above `limit` bytes.
        """
        sizes = self._receive_sizes()
        if sizes[0] > limit:
            raise MalformedFrames(
                f"{self.peer} announced a first frame of {sizes[0]} bytes; at most {limit} are accepted"
            )
        first = memoryview(bytearray(sizes[0]))
        self._fill(first)
        return sizes, first

    def receive_raw(self, memory: memoryview) -> None:
        """Fill `memory` with the next bytes of the message."""
        self._fill(memory)

    def send_first(self, sizes: Sequence[int], first: Buffer) -> None:
        """Begin a message with frames of these sizes; `send_raw` sends the bytes after the first frame."""
        head = PREFIX.pack(len(sizes), sizes[0]) + struct.pack(f"<{len(sizes) - 1}Q", *sizes[1:])
        with self._closing_on_error():
            self._records.send([memoryview(head), memoryview(first).cast("B")])

    def send_raw(self, memory: memoryview) -> None:
        """Send the next bytes of the message."""
        with self._closing_on_error():
            self._records.send([memory])

    def receive_fds(self, count: int) -> list[int]:
        """Return the `count` file descriptors that came with the last message. The caller must close them."""
        fds: list[int] = []
        try:
            with self._closing_on_error():
                while len(fds) < count:
                    due = min(MAX_FDS, count - len(fds))
                    fds += self._receive_some(due)
        except BaseException:
            for fd in fds:
                os.close(fd)
            raise
        return fds

    def _receive_some(self, due: int) -> list[int]:
        found = array.array("i")
        flags = getattr(socket, "MSG_CMSG_CLOEXEC", 0)
        data, ancillary, _, _ = self._socket.recvmsg(1, socket.CMSG_SPACE(due * found.itemsize), flags)
        for level, kind, body in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                found.frombytes(body[: len(body) - len(body) % found.itemsize])
        if not data:
            raise EOFError
        if len(found) != due:
            for fd in found:
                os.close(fd)
            raise OSError(f"{len(found)} of {due} file descriptors arrived: this process has too many open")
        return list(found)

    def _fill(self, memory: memoryview) -> None:
        with self._closing_on_error():
            self._records.fill(memory)

    @contextlib.contextmanager
    def _closing_on_error(self):  # type: ignore[no-untyped-def]
        try:
            yield
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError) as error:
            self.close()
            raise ChannelClosed(f"{self.peer} was silent for {IDLE_TIMEOUT} s") from error
        except (EOFError, OSError, ValueError) as error:
            self.close()
            why = f": {error}" if str(error) else ""
            raise ChannelClosed(f"the connection to {self.peer} ended{why}") from error

    def close(self) -> None:
        """End the connection; a thread that waits on it raises `ChannelClosed`."""
        if self.closed:
            return
        self.closed = True
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)  # wakes a waiting thread

    def release(self) -> None:
        """Close the socket; no thread uses the connection any more."""
        self.close()
        self._socket.close()
