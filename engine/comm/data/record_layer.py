"""How the bytes of a `BulkConnection` move over its socket: as they are, in TLS records, or sealed in large pieces.

All are blocking, and raise EOFError when the other end has hung up, OSError for whatever else goes wrong. For `line`
alone, which makes of these `ChannelClosed`.
"""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Sequence
from typing import Any, Protocol

from howdah.engine.comm.data.encryption import RECORD_BYTES, AeadRecords

_MOST_PIECES = 512
_HEAD = 4
_ROOM = RECORD_BYTES + (64 << 10)


class RecordLayer(Protocol):
    """What a `BulkConnection` asks of it."""

    def send(self, pieces: Sequence[memoryview]) -> None:
        """Send all bytes of `pieces`, in order."""

    def fill(self, memory: memoryview) -> None:
        """Receive as many bytes as `memory` has."""

    def pending(self) -> bool:
        """Whether bytes have arrived that the system does not know of any more."""


class PlainRecords:
    """The socket itself."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock

    def send(self, pieces: Sequence[memoryview]) -> None:
        rest, at = list(pieces), 0
        while at < len(rest):
            sent = self._socket.sendmsg(rest[at : at + _MOST_PIECES])
            while at < len(rest) and sent >= len(rest[at]):
                sent -= len(rest[at])
                at += 1
            if sent:
                rest[at] = rest[at][sent:]

    def fill(self, memory: memoryview) -> None:
        at, n = 0, len(memory)
        while at < n:
            got = self._socket.recv_into(memory[at:] if at else memory, 0, socket.MSG_WAITALL)
            if not got:
                raise EOFError
            at += got

    def pending(self) -> bool:
        return False


class TlsRecords:
    """TLS, as OpenSSL does it: 16 KiB at a time."""

    def __init__(self, sock: ssl.SSLSocket) -> None:
        self._socket = sock

    def send(self, pieces: Sequence[memoryview]) -> None:
        for piece in pieces:
            self._socket.sendall(piece)

    def fill(self, memory: memoryview) -> None:
        read, at, n = self._socket.read, 0, len(memory)
        while at < n:
            got: Any = read(n - at, memory[at:])  # one record at most; a number, where there is a buffer
            if not got:
                raise EOFError
            at += got

    def pending(self) -> bool:
        return bool(self._socket.pending())


class EncryptedRecords:
    """Pieces of up to a MiB, each with its size before it, sealed by `seal`.

    One thread sends or receives at a time (`BulkConnection` promises it), through memory that is the thread's own and
    not the connection's: a worker has connections to a thousand others.
    """

    def __init__(self, sock: socket.socket, seal: AeadRecords) -> None:
        self._plain, self._seal = PlainRecords(sock), seal
        self._left = memoryview(b"")
        """Of the last piece, what nobody has asked for yet."""

    def send(self, pieces: Sequence[memoryview]) -> None:
        room, at = _room(), 0
        for piece in pieces:
            for begin in range(0, len(piece), RECORD_BYTES):
                part = piece[begin : begin + RECORD_BYTES]
                size = self._seal.encrypted_size(len(part))
                if at + _HEAD + size > len(room):
                    self._plain.send([room[:at]])
                    at = 0
                head, at = room[at : at + _HEAD], at + _HEAD
                head[:] = size.to_bytes(_HEAD, "little")
                self._seal.encrypt(part, head, room[at : at + size])
                at += size
        if at:
            self._plain.send([room[:at]])

    def fill(self, memory: memoryview) -> None:
        at, n = 0, len(memory)
        while at < n:
            if self._left:
                some = min(n - at, len(self._left))
                memory[at : at + some] = self._left[:some]
                self._left = self._left[some:]
                at += some
            else:
                at += self._next(memory[at:])

    def _next(self, memory: memoryview) -> int:
        """Receive a piece: into `memory`, where it fits; returns how much of that is filled."""
        head = memoryview(bytearray(_HEAD))
        self._plain.fill(head)
        sealed = _room()[: self._seal.check_size(int.from_bytes(head, "little"))]
        self._plain.fill(sealed)
        size = self._seal.plain_size(len(sealed))
        if size <= len(memory):
            self._seal.decrypt(sealed, head, memory[:size])
            return size
        self._left = memoryview(bytearray(size))
        self._seal.decrypt(sealed, head, self._left)
        return 0

    def pending(self) -> bool:
        return bool(self._left)


_rooms = threading.local()


def _room() -> memoryview:
    """This thread's memory for sealed pieces, until its next call."""
    try:
        found: memoryview = _rooms.room
    except AttributeError:
        found = _rooms.room = memoryview(bytearray(_ROOM))
    return found
