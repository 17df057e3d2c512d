"""Tells the ResourceManager that the application has ended, whatever attempt its master is in.

skein's application master does so itself only after a success or in the last attempt: an application that failed, or
was asked to end, would be started once more. So the master tells YARN by itself: one call of Hadoop RPC version 9,
`ApplicationMasterProtocol.finishApplicationMaster`, with the token that YARN gave to the container (SASL DIGEST-MD5,
RFC 2831). For `master` alone. It never raises: where it does not work (RPC that is encrypted, a token that was
replaced after a day) it answers False, and the next attempt ends the application (`attempts`).

The wire format: Hadoop's `RpcHeader.proto`, `IpcConnectionContext.proto`, `yarn_service_protos.proto`,
`org.apache.hadoop.security.Credentials`.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
import socket
import struct
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from howdah.io.hadoop.protobuf import Message, delimited, encode, read_varint, zigzag

RETRY_SECONDS = 10.0
"""In which a ResourceManager that answers is asked again: one that has just started may not know our master yet."""

UNREACHABLE_SECONDS = 30.0
"""For which one that does not answer is waited for: it is being started again. What follows then (the next attempt,
which repeats the end) has to be over before those who watch give up (`application.END_SECONDS`)."""

_PROTOCOL = "org.apache.hadoop.yarn.api.ApplicationMasterProtocolPB"
_TOKEN_KIND = "YARN_AM_RM_TOKEN"  # YARN's name for it
_STATUS = {"SUCCEEDED": 1, "FAILED": 2, "KILLED": 3}
_SASL, _SASL_CALL, _CONTEXT_CALL = 0xDF, -33, -3
_SUCCESS, _NEGOTIATE, _INITIATE = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Token:
    """A delegation token."""

    identifier: bytes
    password: bytes


def unregister(addresses: Sequence[str], tokens: Path, status: str, diagnostics: str) -> bool:
    """Say that the application has ended with this status; True when YARN has taken it.

    Parameters
    ----------
    addresses : ``host:port`` of `yarn.resourcemanager.scheduler.address`, one per ResourceManager.
    tokens : the container's token file (HADOOP_TOKEN_FILE_LOCATION).
    """
    try:
        token = find_token(tokens.read_bytes(), _TOKEN_KIND)
    except (OSError, ValueError, IndexError) as error:
        print(f"howdah: {tokens} cannot be read: {error}", flush=True)
        return False
    if token is None:
        return False
    request = encode((1, diagnostics), (3, _STATUS[status]))
    deadline, said = time.monotonic() + UNREACHABLE_SECONDS, ""
    again, answered = True, False
    while again and time.monotonic() < deadline:
        again = False
        for address in addresses:
            try:
                with _Connection(address, token) as connection:
                    if not answered:
                        deadline, answered = min(deadline, time.monotonic() + RETRY_SECONDS), True
                    while time.monotonic() < deadline:
                        if connection.call("finishApplicationMaster", request).number(1):
                            return True
                        time.sleep(0.1)  # it is writing that to its store
            except (OSError, ValueError, RemoteError) as error:
                again |= not isinstance(error, ValueError)
                if str(error) != said:
                    said = str(error)
                    print(f"howdah: YARN at {address} was not told of the end: {error}", flush=True)
        time.sleep(0.5 if again else 0.0)
    return False


def find_token(credentials: bytes, kind: str) -> Token | None:
    """The token of this kind in a token file; None where there is none. Raises `ValueError` for another format."""
    if credentials[:5] != b"HDTS\x00":
        raise ValueError("not a token file of Hadoop's first format")
    view, position = credentials, 5

    def number() -> int:
        nonlocal position
        value, position = _vint(view, position)
        return value

    def chunk() -> bytes:
        nonlocal position
        size = number()
        position += size
        return view[position - size : position]

    for _ in range(number()):
        chunk()  # the alias
        identifier, password, its_kind, _service = chunk(), chunk(), chunk(), chunk()
        if its_kind.decode() == kind:
            return Token(identifier, password)
    return None


def _vint(data: bytes, position: int) -> tuple[int, int]:
    """Hadoop's `WritableUtils.readVInt`.

    >>> _vint(bytes([7]), 0), _vint(bytes([0x8F, 200]), 0), _vint(bytes([0x8E, 1, 44]), 0)
    ((7, 1), (200, 2), (300, 3))
    """
    first = data[position] - 256 if data[position] > 127 else data[position]
    if first >= -112:
        return first, position + 1
    size = -120 - first if first < -120 else -112 - first
    value = int.from_bytes(data[position + 1 : position + 1 + size])
    return (~value if first < -120 else value), position + 1 + size


def digest_response(challenge: str, user: str, password: str, protocol: str, server: str, cnonce: str) -> str:
    """The answer to a DIGEST-MD5 challenge (RFC 2831), quality of protection `auth`. Raises `ValueError` for others."""
    fields = {name: quoted or plain for name, quoted, plain in re.findall(r'(\w+)=(?:"([^"]*)"|([^,]*))', challenge)}
    if "auth" not in fields.get("qop", "auth").split(","):
        raise ValueError(f"its RPC is protected by {fields['qop']}")
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


class RemoteError(Exception):
    """What a ResourceManager answers that does not want to."""


class _Connection:
    """To one ResourceManager, authenticated by the token. Raises OSError, RemoteError, and ValueError where it is of no
    use to try again."""

    def __init__(self, address: str, token: Token) -> None:
        host, _, port = address.rpartition(":")
        self._client = uuid.uuid4().bytes
        self._calls = 0
        self._socket = socket.create_connection((host.strip("[]"), int(port)), timeout=RETRY_SECONDS)
        try:
            self._socket.sendall(b"hrpc" + bytes([9, 0, _SASL]))
            self._login(token)
            self._send(_CONTEXT_CALL, delimited(encode((3, _PROTOCOL))))
        except BaseException:
            self._socket.close()
            raise

    def __enter__(self) -> _Connection:
        return self

    def __exit__(self, *exc: object) -> None:
        self._socket.close()

    def call(self, method: str, request: bytes) -> Message:
        header = encode((1, method), (2, _PROTOCOL), (3, 1))
        self._calls += 1
        self._send(self._calls, delimited(header) + delimited(request))
        return self._receive()

    def _login(self, token: Token) -> None:
        self._send(_SASL_CALL, delimited(encode((1, 0), (2, _NEGOTIATE))))
        offered = [auth for auth in self._receive().messages(4) if auth.text(1) == "TOKEN"]
        if not offered:
            raise ValueError("it takes no tokens")
        auth = offered[0]
        answer = digest_response(
            auth.text(5), base64.b64encode(token.identifier).decode(), base64.b64encode(token.password).decode(),
            auth.text(3), auth.text(4), secrets.token_hex(16),
        )  # fmt: skip
        chosen = encode((1, auth.text(1)), (2, auth.text(2)), (3, auth.text(3)), (4, auth.text(4)))
        self._send(_SASL_CALL, delimited(encode((1, 0), (2, _INITIATE), (3, answer), (4, chosen))))
        if self._receive().number(2) != _SUCCESS:
            raise ValueError("it did not take our token")

    def _send(self, call: int, body: bytes) -> None:
        client = b"" if call == _SASL_CALL else self._client
        header = encode((1, 2), (2, 0), (3, zigzag(call)), (4, client), (5, zigzag(-1 if call < 0 else 0)))
        data = delimited(header) + body
        self._socket.sendall(struct.pack(">I", len(data)) + data)

    def _receive(self) -> Message:
        (size,) = struct.unpack(">I", self._exactly(4))
        data = memoryview(self._exactly(size))
        length, position = read_varint(data, 0)
        header = Message(data[position : position + length])
        if header.number(2):
            raise RemoteError(f"{header.text(4)}: {header.text(5).partition(chr(10))[0]}")
        length, position = read_varint(data, position + length)
        return Message(data[position : position + length])

    def _exactly(self, size: int) -> bytes:
        found = b""
        while len(found) < size:
            more = self._socket.recv(size - len(found))
            if not more:
                raise ConnectionResetError("it closed the connection")
            found += more
        return found
