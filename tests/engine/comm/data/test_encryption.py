"""Sealed pieces: what cryptography itself makes of them, lines by them, and what becomes of one that was changed."""

import socket
import threading
from collections.abc import Callable

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given, settings
from hypothesis import strategies as st

from howdah.engine.comm.connection.channel import ChannelClosed
from howdah.engine.comm.data.bulk_connection import BulkConnection
from howdah.engine.comm.data.encryption import RECORD_BYTES, AeadRecords, IntegrityError, accept, offer
from howdah.engine.protocol.messages import Hello

SECRET = bytes(range(32))
HEAD = memoryview(b"head")


def sealed(end: AeadRecords, data: bytes) -> bytes:
    memory = memoryview(bytearray(end.encrypted_size(len(data))))
    end.encrypt(memoryview(data), HEAD, memory)
    return bytes(memory)


def opened(end: AeadRecords, data: bytes) -> bytes:
    memory = memoryview(bytearray(end.plain_size(len(data))))
    end.decrypt(memoryview(data), HEAD, memory)
    return bytes(memory)


def ends() -> tuple[AeadRecords, AeadRecords]:
    return AeadRecords(SECRET, server=True), AeadRecords(SECRET, server=False)


def test_pieces_are_what_the_description_says() -> None:
    """AES-256-GCM by HKDF-SHA256's key of each direction, the number as nonce, the head as additional data."""
    for end, way in zip(ends(), (b"howdah results, from the server", b"howdah results, to the server")):
        key = AESGCM(HKDF(hashes.SHA256(), 32, None, way).derive(SECRET))
        for number in range(1, 4):
            assert key.decrypt(number.to_bytes(12, "big"), sealed(end, b"data"), b"head") == b"data"


def test_only_the_very_next_piece_opens() -> None:
    server, client = ends()
    first, second = sealed(server, b"first"), sealed(server, b"second")
    with pytest.raises(IntegrityError):
        opened(client, second)  # one was left out
    _, client = ends()
    assert opened(client, first) == b"first"
    with pytest.raises(IntegrityError):
        opened(client, first)  # again
    with pytest.raises(IntegrityError):
        opened(AeadRecords(SECRET, server=True), first)  # sent back to who made it
    with pytest.raises(IntegrityError):
        opened(AeadRecords(bytes(32), server=False), first)  # of another connection


@pytest.mark.parametrize("at", [0, 3, -1])
def test_a_changed_bit_is_seen(at: int) -> None:
    server, client = ends()
    piece = bytearray(sealed(server, b"data"))
    piece[at] ^= 1
    with pytest.raises(IntegrityError, match="changed on its way"):
        opened(client, bytes(piece))


def test_a_key_is_not_used_for_too_long() -> None:
    server, client = (AeadRecords(SECRET, server=server, bytes_per_key=100) for server in (True, False))
    pieces = [sealed(server, bytes(40)) for _ in range(10)]
    assert [opened(client, piece) for piece in pieces] == [bytes(40)] * 10
    first = AESGCM(HKDF(hashes.SHA256(), 32, None, b"howdah results, from the server").derive(SECRET))
    assert first.decrypt((2).to_bytes(12, "big"), pieces[1], b"head") == bytes(40)
    with pytest.raises(InvalidTag):
        first.decrypt((3).to_bytes(12, "big"), pieces[2], b"head")


def test_either_end_can_refuse(monkeypatch: pytest.MonkeyPatch) -> None:
    details, server = offer(Hello("data", "me", accepts_aead=True))
    client = accept(details)
    assert server is not None
    assert client is not None
    assert opened(client, sealed(server, b"data")) == b"data"
    assert opened(server, sealed(client, b"data")) == b"data"
    other, _ = offer(Hello("data", "me", accepts_aead=True))
    assert other != details  # a secret for each connection
    assert offer(Hello("data", "me")) == ({}, None)
    monkeypatch.setenv("HOWDAH_SEAL", "0")
    assert offer(Hello("data", "me", accepts_aead=True)) == ({}, None)
    assert accept({}) is None


def talk(work: Callable[[BulkConnection, BulkConnection, socket.socket], None]) -> None:
    """`work` gets two lines over one real connection, and the socket of the first."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        mine = socket.create_connection(listener.getsockname())
        other, _ = listener.accept()
    server, client = ends()
    lines = BulkConnection(mine, "the server", aead=server), BulkConnection(other, "the client", aead=client)
    try:
        work(*lines, mine)
    finally:
        for line in lines:
            line.release()


sizes = st.one_of(
    st.integers(0, 3000), st.integers(60_000, 300_000), st.integers(RECORD_BYTES - 100, 2 * RECORD_BYTES + 100)
)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(sizes, min_size=1, max_size=6), min_size=1, max_size=3))
def test_any_frames_cross_both_ways(messages: list[list[int]]) -> None:
    made = [[bytes([7 * i + j & 255]) * size for j, size in enumerate(sizes)] for i, sizes in enumerate(messages)]

    def work(server: BulkConnection, client: BulkConnection, _: socket.socket) -> None:
        for sender, receiver in ((server, client), (client, server)):
            thread = threading.Thread(target=lambda sender=sender: [sender.send(frames) for frames in made])
            thread.start()
            for frames in made:
                assert [bytes(frame) for frame in receiver.receive()] == frames
                assert not receiver.pending
            thread.join()

    talk(work)


@pytest.mark.parametrize("bytes_sent", [b"\x20\0\0\0" + bytes(32), b"\xff\xff\xff\xff", b"\0\0\0\0"])
def test_who_does_not_have_the_key_is_not_listened_to(bytes_sent: bytes) -> None:
    def work(server: BulkConnection, client: BulkConnection, sock: socket.socket) -> None:
        sock.sendall(bytes_sent)
        with pytest.raises(ChannelClosed, match=r"changed on its way|invalid record length"):
            client.receive()
        assert client.closed

    talk(work)
