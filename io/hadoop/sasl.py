"""SASL mechanisms of Hadoop RPC: how a client proves who it is on a connection of `rpc`.

For `rpc` alone. A mechanism is pure: bytes from the server in, bytes for the server out; `rpc` sends them. Here is
DIGEST-MD5 (RFC 2831) for delegation tokens; Kerberos (GSSAPI) is a second class with the same methods. Only the quality
of protection `auth` is offered: a server that requires integrity or privacy is refused with `NotSupported`.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from dataclasses import dataclass
from typing import Protocol

from howdah.errors import NotSupported
from howdah.io.hadoop.tokens import Token


@dataclass(frozen=True, slots=True)
class SaslOffer:
    """One way to authenticate that a server lists (`RpcSaslProto.SaslAuth`)."""

    method: str  # "TOKEN", "KERBEROS", "SIMPLE"
    mechanism: str  # "DIGEST-MD5", "GSSAPI"
    protocol: str
    server: str
    challenge: bytes = b""


class SaslMechanism(Protocol):
    """A client's half of one authentication. `method` is the server's word for it (`SaslOffer.method`)."""

    method: str

    def initiate(self, offer: SaslOffer) -> bytes:
        """Return the first response to the server's offer."""
        ...

    def respond(self, challenge: bytes) -> bytes:
        """Return the response to a further challenge."""
        ...


class DigestMd5:
    """Authentication by a delegation token.

    Raises
    ------
    NotSupported
        From `initiate`: the server requires that all messages are signed or encrypted.
    """

    method = "TOKEN"

    def __init__(self, token: Token) -> None:
        self._token = token

    def initiate(self, offer: SaslOffer) -> bytes:
        """Return the digest of the server's challenge."""
        return digest_response(
            offer.challenge.decode(),
            user=base64.b64encode(self._token.identifier).decode(),
            password=base64.b64encode(self._token.password).decode(),
            protocol=offer.protocol,
            server=offer.server,
            cnonce=secrets.token_hex(16),
        ).encode()

    def respond(self, challenge: bytes) -> bytes:
        """Return an empty response."""
        return b""  # the server's own proof (`rspauth`), which has no answer


def digest_response(challenge: str, *, user: str, password: str, protocol: str, server: str, cnonce: str) -> str:
    """Return the response to a DIGEST-MD5 challenge (RFC 2831), quality of protection `auth`.

    Raises
    ------
    NotSupported
        The challenge does not offer `auth`.
    """
    fields = {name: quoted or plain for name, quoted, plain in re.findall(r'(\w+)=(?:"([^"]*)"|([^,]*))', challenge)}
    if "auth" not in fields.get("qop", "auth").split(","):
        raise NotSupported(f"the server's RPC is protected by {fields['qop']}, which is not there yet")
    if "nonce" not in fields:
        raise ValueError("a DIGEST-MD5 challenge without a nonce")
    realm, nonce, uri = fields.get("realm", ""), fields["nonce"], f"{protocol}/{server}"

    def digest(text: bytes) -> str:
        return hashlib.md5(text, usedforsecurity=False).hexdigest()

    secret = hashlib.md5(f"{user}:{realm}:{password}".encode(), usedforsecurity=False).digest()
    first = digest(secret + f":{nonce}:{cnonce}".encode())
    answer = digest(f"{first}:{nonce}:00000001:{cnonce}:auth:{digest(f'AUTHENTICATE:{uri}'.encode())}".encode())
    return (
        f'charset=utf-8,username="{user}",realm="{realm}",nonce="{nonce}",nc=00000001,cnonce="{cnonce}",'
        f'digest-uri="{uri}",maxbuf=65536,response={answer},qop=auth'
    )
