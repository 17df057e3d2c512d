"""How the bytes of a `BulkConnection` travel over its socket: unchanged, in TLS records, or in large encrypted records.

All are blocking; they raise EOFError when the peer has closed the connection, OSError for any other failure. For
`bulk_connection` alone, which raises `ChannelClosed` instead.
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
"""Bytes of the size before each encrypted record."""
_SCRATCH_BYTES = RECORD_BYTES + (64 << 10)


class RecordLayer(Protocol):
    """What a `BulkConnection` requires."""

    def send(self, pieces: Sequence[memoryview]) -> None:
        """Send all bytes of `pieces`, in order."""

    def fill(self, memory: memoryview) -> None:
        """Receive bytes until `memory` is full."""

    def pending(self) -> bool:
        """Return whether bytes have arrived that the kernel does not report any more."""


class PlainRecords:
    """The socket without protection."""

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
    """TLS by OpenSSL: 16 KiB at a time."""

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
    """Records of up to a MiB, each after its size, encrypted by `aead`.

    One thread sends or receives at a time (`BulkConnection` promises it), through memory that is the thread's own and
    not the connection's: a worker has connections to a thousand others.
    """

    def __init__(self, sock: socket.socket, aead: AeadRecords) -> None:
        self._plain, self._aead = PlainRecords(sock), aead
        self._left = memoryview(b"")
        """The part of the last record that has not been read."""

    def send(self, pieces: Sequence[memoryview]) -> None:
        scratch, at = _scratch(), 0
        for piece in pieces:
            for begin in range(0, len(piece), RECORD_BYTES):
                part = piece[begin : begin + RECORD_BYTES]
                size = self._aead.encrypted_size(len(part))
                if at + _HEAD + size > len(scratch):
                    self._plain.send([scratch[:at]])
                    at = 0
                head, at = scratch[at : at + _HEAD], at + _HEAD
                head[:] = size.to_bytes(_HEAD, "little")
                self._aead.encrypt(part, head, scratch[at : at + size])
                at += size
        if at:
            self._plain.send([scratch[:at]])

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
        """Receive a record, into `memory` if it fits; return the number of bytes filled there."""
        head = memoryview(bytearray(_HEAD))
        self._plain.fill(head)
        encrypted = _scratch()[: self._aead.check_size(int.from_bytes(head, "little"))]
        self._plain.fill(encrypted)
        size = self._aead.plain_size(len(encrypted))
        if size <= len(memory):
            self._aead.decrypt(encrypted, head, memory[:size])
            return size
        self._left = memoryview(bytearray(size))
        self._aead.decrypt(encrypted, head, self._left)
        return 0

    def pending(self) -> bool:
        return bool(self._left)


_thread = threading.local()


def _scratch() -> memoryview:
    """Return this thread's memory for encrypted records, valid until its next call."""
    try:
        found: memoryview = _thread.scratch
    except AttributeError:
        found = _thread.scratch = memoryview(bytearray(_SCRATCH_BYTES))
    return found
