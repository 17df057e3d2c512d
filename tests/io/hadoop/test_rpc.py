"""Hadoop RPC against servers of a few lines: the handshakes, the frames, and what each refusal raises."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from howdah.errors import NotSupported, PeerRefused
from howdah.io.hadoop.protobuf import ProtobufMessage, delimited, encode, read_varint
from howdah.io.hadoop.rpc import (
    RemoteError,
    RpcConnection,
    SaslAuthentication,
    SimpleAuthentication,
    authentication_for,
)
from howdah.io.hadoop.sasl import SaslOffer

SIMPLE = SimpleAuthentication("her")
PROTOCOL = "org.example.Protocol"
Respond = Callable[[list[ProtobufMessage]], bytes | None]


class Server:
    """Accepts one connection, records its messages and answers each by `respond` (a whole frame, or None)."""

    def __init__(self, respond: Respond) -> None:
        self.respond = respond
        self.header = b""
        self.received: list[list[ProtobufMessage]] = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.listener.getsockname()[1]}"

    def run(self) -> None:
        connection, _ = self.listener.accept()
        with connection, connection.makefile("rb") as stream:
            self.header = stream.read(7)
            while size := stream.read(4):
                data, parts = memoryview(stream.read(struct.unpack(">I", size)[0])), []
                while data:
                    length, position = read_varint(data, 0)
                    parts.append(ProtobufMessage(data[position : position + length]))
                    data = data[position + length :]
                self.received.append(parts)
                answer = self.respond(parts)
                if answer is not None:
                    connection.sendall(answer)
                if answer == b"":
                    return


@contextmanager
def serving(respond: Respond) -> Iterator[Server]:
    server = Server(respond)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        thread.join(10)
        server.listener.close()


def frame(body: bytes, header: bytes = encode((1, 1), (2, 0))) -> bytes:
    data = delimited(header) + delimited(body)
    return struct.pack(">I", len(data)) + data


def call_id(parts: list[ProtobufMessage]) -> int:
    value = parts[0].number(3)
    return value >> 1 ^ -(value & 1)


def echo(parts: list[ProtobufMessage]) -> bytes | None:
    return None if call_id(parts) < 0 else frame(encode((1, parts[2].text(1))))


def test_a_simple_handshake_names_user_and_protocol_and_calls_are_numbered() -> None:
    with serving(echo) as server:
        with RpcConnection(server.address, PROTOCOL, SIMPLE) as connection:
            assert [connection.call("say", encode((1, word))).text(1) for word in ("a", "b")] == ["a", "b"]
    assert server.header == b"hrpc\x09\x00\x00"
    context, first, second = server.received
    assert call_id(context) == -3
    assert context[1].message(2).text(1) == "her"
    assert context[1].text(3) == PROTOCOL
    assert [call_id(first), call_id(second)] == [1, 2]
    assert (first[1].text(1), first[1].text(2), first[1].number(3)) == ("say", PROTOCOL, 1)
    assert first[0].raw(4) == second[0].raw(4) != b"", "one client id per connection"


class Mechanism:
    """Proof by answering challenges in capitals."""

    method = "KERBEROS"

    def initiate(self, offer: SaslOffer) -> bytes:
        return f"{offer.protocol}/{offer.server}".encode()

    def respond(self, challenge: bytes) -> bytes:
        return challenge.upper()


def sasl_server(*, offer: str = "KERBEROS", challenges: int = 2, last: int = 0) -> Respond:
    left = challenges

    def respond(parts: list[ProtobufMessage]) -> bytes | None:
        nonlocal left
        if call_id(parts) != -33:
            return echo(parts)
        if parts[1].number(2) == 1:  # NEGOTIATE
            offers = [(4, encode((1, method), (2, "GSSAPI"), (3, "nn"), (4, "host"))) for method in ("OTHER", offer)]
            return frame(encode((1, 0), (2, 1), *offers))
        left -= 1
        return frame(encode((1, 0), (2, 3 if left >= 0 else last), (3, f"challenge {left}")))

    return respond


def test_a_sasl_handshake_of_several_steps() -> None:
    with serving(sasl_server()) as server:
        with RpcConnection(server.address, PROTOCOL, SaslAuthentication(Mechanism())) as connection:
            assert connection.call("say", encode((1, "x"))).text(1) == "x"
    assert server.header == b"hrpc\x09\x00\xdf"
    steps = [(parts[1].number(2), parts[1].text(3)) for parts in server.received[:4]]
    assert steps == [(1, ""), (2, "nn/host"), (4, "CHALLENGE 1"), (4, "CHALLENGE 0")]
    assert {parts[0].raw(4) for parts in server.received[:4]} == {b""}, "SASL messages have no client id"
    chosen = server.received[1][1].message(4)
    assert [chosen.text(n) for n in (1, 2, 3, 4)] == ["KERBEROS", "GSSAPI", "nn", "host"]
    assert 2 not in server.received[4][1], "the context names no user: it is the one who was authenticated"


def test_a_server_without_our_mechanism() -> None:
    with serving(sasl_server(offer="TOKEN")) as server, pytest.raises(NotSupported, match=r"it offers OTHER, TOKEN"):
        RpcConnection(server.address, PROTOCOL, SaslAuthentication(Mechanism()))


def test_a_server_that_does_not_accept_our_proof() -> None:
    with serving(sasl_server(last=5)) as server, pytest.raises(PeerRefused, match="did not accept our KERBEROS"):
        RpcConnection(server.address, PROTOCOL, SaslAuthentication(Mechanism()))


def test_a_java_exception_has_its_class_and_first_line() -> None:
    def respond(parts: list[ProtobufMessage]) -> bytes | None:
        header = encode((1, 1), (2, 1), (4, "java.io.IOException"), (5, "no room\n\tat org.x"))
        return None if call_id(parts) < 0 else frame(b"", header)

    with serving(respond) as server, RpcConnection(server.address, PROTOCOL, SIMPLE) as connection:
        with pytest.raises(RemoteError) as caught:
            connection.call("say", b"")
    assert (caught.value.java_class, caught.value.message) == ("java.io.IOException", "no room")


@pytest.mark.parametrize(
    ("answer", "error", "text"),
    [
        (struct.pack(">I", 4) + b"\xff" * 4, ValueError, "ends inside a number"),
        (struct.pack(">I", 1 << 30), ValueError, "a response of 1073741824 bytes"),
        (b"", ConnectionResetError, "closed the connection"),
    ],
)
def test_garbage_and_broken_connections(answer: bytes, error: type[Exception], text: str) -> None:
    with serving(lambda parts: None if call_id(parts) < 0 else answer) as server:
        with RpcConnection(server.address, PROTOCOL, SIMPLE) as connection:
            with pytest.raises(error, match=text):
                connection.call("say", b"")
            with pytest.raises(OSError, match="Bad file descriptor"):  # a connection that raised is closed
                connection.call("say", b"")


def test_a_server_that_is_silent_is_given_up() -> None:
    with serving(lambda parts: None) as server:
        with RpcConnection(server.address, PROTOCOL, SIMPLE, answer_seconds=0.2) as connection:
            with pytest.raises(TimeoutError):
                connection.call("say", b"")


def test_how_to_authenticate_is_chosen_by_the_configuration() -> None:
    assert authentication_for("Simple", "her") == SIMPLE
    with pytest.raises(NotSupported, match="authentication=kerberos is not there yet"):
        authentication_for("kerberos", "her")
