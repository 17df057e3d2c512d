"""Hadoop RPC version 9: one authenticated connection to a NameNode or ResourceManager, and calls over it.

For `namenode` and for the application master's `am_protocol`; the one place that frames messages and authenticates, so
Kerberos is added here and in `sasl` only. It promises: every call ends within the given seconds; a connection that
raised is closed. No retries and no failover: the callers have their own. The wire format: Hadoop's `RpcHeader.proto`
and `IpcConnectionContext.proto`.
"""

from __future__ import annotations

import socket
import struct
import uuid
from dataclasses import dataclass

from howdah.errors import NotSupported, PeerRefused
from howdah.io.hadoop.protobuf import ProtobufMessage, delimited, encode, read_varint, zigzag
from howdah.io.hadoop.sasl import SaslMechanism, SaslOffer

_VERSION = 9
_SIMPLE_AUTH, _SASL_AUTH = 0, 0xDF  # the connection header's "auth protocol"
_SASL_CALL, _CONTEXT_CALL = -33, -3  # reserved call ids
_SUCCESS, _NEGOTIATE, _INITIATE, _CHALLENGE, _RESPONSE = range(5)  # RpcSaslProto.SaslState
_LARGEST_RESPONSE = 256 << 20  # bytes; a longer one is garbage, or a protocol of another kind


class RemoteError(RuntimeError):
    """A Java exception of a Hadoop server, with the text that hdfs-native uses for one (`io.filesystem.retry`)."""

    def __init__(self, java_class: str, message: str) -> None:
        super().__init__(f'RPCError("{java_class}", "{message}")')
        self.java_class, self.message = java_class, message


@dataclass(frozen=True, slots=True)
class SimpleAuthentication:
    """No proof: the server believes the name."""

    user: str


@dataclass(frozen=True, slots=True)
class SaslAuthentication:
    """Proof by a SASL mechanism; the server takes the user from it."""

    mechanism: SaslMechanism


def authentication_for(security: str, user: str) -> SimpleAuthentication | SaslAuthentication:
    """Choose how to authenticate to a NameNode.

    Parameters
    ----------
    security
        `hadoop.security.authentication` of the configuration.
    user
        The name without Kerberos.

    Raises
    ------
    NotSupported
        The cluster requires Kerberos.
    """
    if security.lower() != "simple":
        raise NotSupported(f"Hadoop RPC with hadoop.security.authentication={security} is not there yet")
    return SimpleAuthentication(user)


class RpcConnection:
    """One connection to one Hadoop server. Not safe to use from several threads at once.

    Parameters
    ----------
    address
        ``host:port``.
    protocol
        The Java interface that is called, as in ``org.apache.hadoop.hdfs.protocol.ClientProtocol``.
    authentication
        The client's identity, with or without proof.
    connect_seconds, answer_seconds
        Limits for the connection and for each response.

    Raises
    ------
    OSError
        From every method: the connection cannot be made or broke.
    NotSupported
        The server offers no way to authenticate that we have.
    PeerRefused
        The server did not accept our proof.
    RemoteError
        The server's Java exception.
    ValueError
        A response that is not Hadoop RPC.
    """

    def __init__(
        self,
        address: str,
        protocol: str,
        authentication: SimpleAuthentication | SaslAuthentication,
        *,
        connect_seconds: float = 10.0,
        answer_seconds: float = 60.0,
    ) -> None:
        self.address, self.protocol = address, protocol
        self._client_id = uuid.uuid4().bytes
        self._call_id = 0
        host, _, port = address.rpartition(":")
        self._socket = socket.create_connection((host.strip("[]"), int(port)), timeout=connect_seconds)
        try:
            self._socket.settimeout(answer_seconds)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._authenticate(authentication)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> RpcConnection:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket; a connection may be closed twice."""
        self._socket.close()

    def call(self, method: str, request: bytes) -> ProtobufMessage:
        """Call a method with an encoded request, and return the decoded response."""
        self._call_id += 1
        header = encode((1, method), (2, self.protocol), (3, 1))
        try:
            self._send(self._call_id, delimited(header) + delimited(request))
            return self._receive()
        except BaseException:
            self.close()
            raise

    # -- handshake --------------------------------------------------------------------------------------------------

    def _authenticate(self, authentication: SimpleAuthentication | SaslAuthentication) -> None:
        """Send the connection header, authenticate, and name the protocol."""
        simple = isinstance(authentication, SimpleAuthentication)
        self._socket.sendall(b"hrpc" + bytes([_VERSION, 0, _SIMPLE_AUTH if simple else _SASL_AUTH]))
        user = None
        if isinstance(authentication, SimpleAuthentication):
            user = encode((1, authentication.user))
        else:
            self._negotiate(authentication.mechanism)
        self._send(_CONTEXT_CALL, delimited(encode((2, user), (3, self.protocol))))

    def _negotiate(self, mechanism: SaslMechanism) -> None:
        self._send_sasl((2, _NEGOTIATE))
        offers = [
            SaslOffer(each.text(1), each.text(2), each.text(3), each.text(4), each.raw(5))
            for each in self._receive().messages(4)
        ]
        offer = next((each for each in offers if each.method == mechanism.method), None)
        if offer is None:
            offered = ", ".join(each.method for each in offers) or "nothing"
            raise NotSupported(f"{self.address} takes no {mechanism.method} authentication (it offers {offered})")
        chosen = encode((1, offer.method), (2, offer.mechanism), (3, offer.protocol), (4, offer.server))
        self._send_sasl((2, _INITIATE), (3, mechanism.initiate(offer)), (4, chosen))
        answer = self._receive()
        while answer.number(2) == _CHALLENGE:
            self._send_sasl((2, _RESPONSE), (3, mechanism.respond(answer.raw(3))))
            answer = self._receive()
        if answer.number(2) != _SUCCESS:
            raise PeerRefused(f"{self.address} did not accept our {mechanism.method} authentication")

    def _send_sasl(self, *fields: tuple[int, int | bytes]) -> None:
        self._send(_SASL_CALL, delimited(encode((1, 0), *fields)))

    # -- frames -----------------------------------------------------------------------------------------------------

    def _send(self, call_id: int, body: bytes) -> None:
        client = b"" if call_id == _SASL_CALL else self._client_id
        retry = -1 if call_id < 0 else 0
        header = encode((1, 2), (2, 0), (3, zigzag(call_id)), (4, client), (5, zigzag(retry)))
        data = delimited(header) + body
        self._socket.sendall(struct.pack(">I", len(data)) + data)

    def _receive(self) -> ProtobufMessage:
        (size,) = struct.unpack(">I", self._exactly(4))
        if size > _LARGEST_RESPONSE:
            raise ValueError(f"a response of {size} bytes")
        data = memoryview(self._exactly(size))
        length, position = read_varint(data, 0)
        header = ProtobufMessage(data[position : position + length])
        position += length
        if header.number(2):
            raise RemoteError(header.text(4), header.text(5).partition("\n")[0])
        length, position = read_varint(data, position)
        return ProtobufMessage(data[position : position + length])

    def _exactly(self, size: int) -> bytes:
        buffer = bytearray(size)
        view, got = memoryview(buffer), 0
        while got < size:
            count = self._socket.recv_into(view[got:])
            if count == 0:
                raise ConnectionResetError(f"{self.address} closed the connection")
            got += count
        return bytes(buffer)
