"""Encryption of results between hosts: AES-256-GCM in records of a MiB, with keys agreed on over TLS (decisions/0009).

TLS cuts what it sends into records of 16 KiB, and each costs system calls and Python code: large records take half the
CPU. A connection for results begins with TLS 1.3 as every other, and both ends prove their roles. If both
support it, the data server's welcome, inside of TLS, holds a secret of this connection alone, and all that follows is
encrypted by `AeadRecords` instead: each direction with a key of its own (HKDF-SHA256, RFC 5869), each record with its
number as the nonce (NIST SP 800-38D, 8.2.1) and its size as additional data. So a record that is changed, left out,
repeated or reordered does not decrypt, and the connection ends. A key is replaced by one derived from it before it has
encrypted 64 GiB.

``HOWDAH_SEAL=0`` at either end keeps all in TLS records, for rules that demand TLS, and to measure the difference.
For `bulk_connection`, `record_layer` and `transfer`.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from typing import TYPE_CHECKING

from howdah.engine.protocol.messages import Hello

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

SWITCH = "HOWDAH_SEAL"
RECORD_BYTES = 1 << 20
"""Bytes of one record, at most."""

BYTES_PER_KEY = 1 << 36
"""Bytes encrypted with one key: 2**32 blocks, which distinguish AES from a random function with odds below 2**-64."""

_TAG = 16
_DETAIL = "aead"


class IntegrityError(OSError):
    """A record does not decrypt: it was changed on its way, or a record before it was."""


def is_enabled() -> bool:
    """Return whether this process encrypts results in large records rather than in those of TLS."""
    return os.environ.get(SWITCH) != "0"


class AeadRecords:
    """The keys of one end of a connection.

    Parameters
    ----------
    secret : 32 bytes, of this connection alone.
    server : whether this end accepted the connection.
    bytes_per_key : bytes that one key encrypts; the same at both ends.
    """

    def __init__(self, secret: bytes, *, server: bool, bytes_per_key: int = BYTES_PER_KEY) -> None:
        directions = [
            _Keys(secret, b"howdah results, from the server", bytes_per_key),
            _Keys(secret, b"howdah results, to the server", bytes_per_key),
        ]
        self._out, self._in = directions if server else reversed(directions)

    def encrypted_size(self, size: int) -> int:
        """Return the bytes of a record of `size` bytes after encryption."""
        return size + _TAG

    def plain_size(self, encrypted: int) -> int:
        """Return the bytes of a record that takes `encrypted` bytes."""
        return encrypted - _TAG

    def check_size(self, encrypted: int) -> int:
        """Return the announced size of an encrypted record. Raises IntegrityError if no record has that size."""
        if not _TAG < encrypted <= RECORD_BYTES + _TAG:
            raise IntegrityError(f"integrity check failed: invalid record length {encrypted}")
        return encrypted

    def encrypt(self, record: memoryview, head: memoryview, memory: memoryview) -> None:
        """Encrypt `record` into `memory`; `head` is sent in the clear, but a change of it is detected."""
        key, nonce = self._out.next(len(record))
        key.encrypt_into(nonce, record, head, memory)

    def decrypt(self, encrypted: memoryview, head: memoryview, memory: memoryview) -> None:
        """Decrypt `encrypted` into `memory`. After an IntegrityError its content must not be used."""
        from cryptography.exceptions import InvalidTag

        key, nonce = self._in.next(len(memory))
        try:
            key.decrypt_into(nonce, encrypted, head, memory)
        except InvalidTag:
            raise IntegrityError("integrity check failed: a record was changed on its way") from None


class _Keys:
    """The current key of one direction, and the number of its records."""

    def __init__(self, secret: bytes, name: bytes, bytes_per_key: int) -> None:
        self._bytes_per_key = bytes_per_key
        self._use(_derive(secret, name))
        self._number = 0

    def _use(self, key: bytes) -> None:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        self._key, self._cipher, self._done = key, AESGCM(key), 0

    def next(self, size: int) -> tuple[AESGCM, bytes]:
        """Return the cipher and the nonce for one record of `size` bytes; no nonce is used twice."""
        if self._done + size > self._bytes_per_key:
            self._use(_derive(self._key, b"howdah results, the next key"))
        self._done += size
        self._number += 1
        return self._cipher, self._number.to_bytes(12, "big")


def _derive(secret: bytes, name: bytes) -> bytes:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    return HKDF(hashes.SHA256(), 32, salt=None, info=name).derive(secret)


def offer(hello: Hello) -> tuple[dict[str, str], AeadRecords | None]:
    """Return the details for a data server's welcome, and its end; nothing unless both ends support it."""
    if not (hello.accepts_aead and is_enabled()):
        return {}, None
    secret = secrets.token_bytes(32)
    return {_DETAIL: secret.hex()}, AeadRecords(secret, server=True)


def accept(details: Mapping[str, str]) -> AeadRecords | None:
    """Return the connecting end, by the details of the welcome; None if the server offered none."""
    return AeadRecords(bytes.fromhex(details[_DETAIL]), server=False) if _DETAIL in details else None
