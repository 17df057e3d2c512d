"""What results are sealed with between hosts: AES-256-GCM in pieces of a MiB, by keys agreed on over TLS.

TLS cuts what it sends into records of 16 KiB, and each of them costs system calls and a turn through Python: sealed
whole, results take half the CPU (docs/decisions/0009). A connection for results begins with TLS 1.3 as every other, and
both ends prove their roles. If both want to, the data server's welcome, which travels inside of TLS, holds a secret
that was made for this connection alone, and all that follows is sealed instead: each direction by a key of its own
(HKDF-SHA256, RFC 5869), each piece with its number as the nonce (NIST SP 800-38D, 8.2.1) and its size as additional
data. So a piece that is changed, left out, repeated or swapped on its way does not open, and the connection ends. A key
is followed by the next, made from it, before it has sealed 64 GiB.

``HOWDAH_SEAL=0`` at either end keeps all in TLS records, for those whose rules name TLS, and to measure what it saves.
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
"""The most that is sealed at once."""

BYTES_PER_KEY = 1 << 36
"""So much is sealed by one key: 2**32 blocks, by which nobody tells AES from chance with odds above 2**-64."""

_TAG = 16
_DETAIL = "seal"


class IntegrityError(OSError):
    """A piece does not open: somebody has changed it, or what came before it, on its way."""


def is_enabled() -> bool:
    """Whether this process wants results to be sealed rather than in TLS records."""
    return os.environ.get(SWITCH) != "0"


class AeadRecords:
    """One end's part of a connection.

    Parameters
    ----------
    secret : 32 bytes, of this connection alone.
    server : whether this end is the one that was connected to.
    """

    def __init__(self, secret: bytes, *, server: bool) -> None:
        ways = [_Keys(secret, b"howdah results, from the server"), _Keys(secret, b"howdah results, to the server")]
        self._out, self._in = ways if server else reversed(ways)

    def encrypted_size(self, size: int) -> int:
        """Bytes of a piece of `size` bytes, sealed."""
        return size + _TAG

    def plain_size(self, sealed: int) -> int:
        """Bytes of a piece that takes `sealed` bytes."""
        return sealed - _TAG

    def check_size(self, sealed: int) -> int:
        """The size of a sealed piece as it was announced. Raises BrokenSeal when there can be none of that size."""
        if not _TAG < sealed <= RECORD_BYTES + _TAG:
            raise IntegrityError(f"a piece of {sealed} bytes was announced: the connection was meddled with")
        return sealed

    def encrypt(self, piece: memoryview, head: memoryview, memory: memoryview) -> None:
        """Put `piece`, sealed, into `memory`; `head` is sent openly, but cannot be changed."""
        key, nonce = self._out.next(len(piece))
        key.encrypt_into(nonce, piece, head, memory)

    def decrypt(self, sealed: memoryview, head: memoryview, memory: memoryview) -> None:
        """Put what `sealed` holds into `memory`. Raises BrokenSeal, and then nothing of it may be used."""
        from cryptography.exceptions import InvalidTag

        key, nonce = self._in.next(len(memory))
        try:
            key.decrypt_into(nonce, sealed, head, memory)
        except InvalidTag:
            raise IntegrityError("a piece of a result was changed on its way") from None


class _Keys:
    """The keys of one direction, one after the other, and the numbers of its pieces."""

    def __init__(self, secret: bytes, name: bytes) -> None:
        self._take(_derived(secret, name))
        self._number = 0

    def _take(self, key: bytes) -> None:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        self._key, self._cipher, self._done = key, AESGCM(key), 0

    def next(self, size: int) -> tuple[AESGCM, bytes]:
        """The cipher and the nonce for one piece of `size` bytes; no nonce comes twice."""
        if self._done + size > BYTES_PER_KEY:
            self._take(_derived(self._key, b"howdah results, the next key"))
        self._done += size
        self._number += 1
        return self._cipher, self._number.to_bytes(12, "big")


def _derived(secret: bytes, name: bytes) -> bytes:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    return HKDF(hashes.SHA256(), 32, salt=None, info=name).derive(secret)


def offer(hello: Hello) -> tuple[dict[str, str], AeadRecords | None]:
    """For the data server, over TLS: what its welcome says, and its part; nothing where either end does not want."""
    if not (hello.accepts_aead and is_enabled()):
        return {}, None
    secret = secrets.token_bytes(32)
    return {_DETAIL: secret.hex()}, AeadRecords(secret, server=True)


def accept(details: Mapping[str, str]) -> AeadRecords | None:
    """For who connected: its part, by the details of the welcome; None where the server did not offer any."""
    return AeadRecords(bytes.fromhex(details[_DETAIL]), server=False) if _DETAIL in details else None
