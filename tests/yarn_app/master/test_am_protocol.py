"""The end of an application is reported to a ResourceManager of a few lines; no Hadoop."""

from __future__ import annotations

import socket
import struct
import threading
from pathlib import Path

import pytest
from waiting import until

from howdah.io.hadoop.protobuf import ProtobufMessage, delimited, encode, read_varint
from howdah.yarn_app.master.am_protocol import unregister


def token_file(*tokens: tuple[str, bytes, bytes]) -> bytes:
    """Hadoop's container_tokens."""

    def chunk(data: bytes) -> bytes:
        size = len(data)
        return (bytes([size]) if size < 128 else bytes([0x8F, size])) + data

    rows = b"".join(chunk(b"alias") + chunk(a) + chunk(b) + chunk(kind.encode()) + chunk(b"") for kind, a, b in tokens)
    return b"HDTS\0" + bytes([len(tokens)]) + rows


class Manager(threading.Thread):
    """The ResourceManager's end of the wire; it refuses `strange` calls, and answers the next with "not yet"."""

    def __init__(self, offer: str = "TOKEN", strange: int = 0) -> None:
        super().__init__(daemon=True)
        self.offer, self.asked, self.login = offer, [], ""  # type: ignore[var-annotated]
        self.strange = strange
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.listener.getsockname()[1]}"

    def run(self) -> None:
        while True:
            connection, _ = self.listener.accept()
            self.serve(connection)

    def serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as stream:
            assert stream.read(7) == b"hrpc" + bytes([9, 0, 0xDF])
            while size := stream.read(4):
                data = memoryview(stream.read(struct.unpack(">I", size)[0]))
                parts = []
                while data:
                    length, position = read_varint(data, 0)
                    parts.append(ProtobufMessage(data[position : position + length]))
                    data = data[position + length :]
                answer = self.answer(parts)
                if answer is not None:
                    head = encode((1, 1), (2, 0))
                    if parts[0].number(3) < 5 and self.strange:
                        self.strange -= 1
                        head = encode((1, 1), (2, 1), (4, "ApplicationMasterNotRegisteredException"), (5, "who?\nat x"))
                    body = delimited(head) + delimited(answer)
                    connection.sendall(struct.pack(">I", len(body)) + body)

    def answer(self, parts: list[ProtobufMessage]) -> bytes | None:
        call = parts[0].number(3)
        if call == 65:  # -33, zigzag: SASL
            if parts[1].number(2) == 1:
                challenge = 'realm="default",nonce="abc",qop="auth",charset=utf-8,algorithm=md5-sess'
                auth = encode((1, self.offer), (2, "DIGEST-MD5"), (3, ""), (4, "default"), (5, challenge))
                return encode((1, 0), (2, 1), (4, auth))
            self.login = parts[1].text(3)
            return encode((1, 0), (2, 0), (3, b"rspauth"))
        if call == 5:  # -3: the context
            return None
        self.asked.append((parts[1].text(1), parts[2].text(1), parts[2].number(3)))
        return encode((1, 1 if len(self.asked) > 1 else 0))


def test_the_call_is_repeated_until_the_end_is_recorded(tmp_path: Path) -> None:
    (tmp_path / "tokens").write_bytes(token_file(("YARN_AM_RM_TOKEN", b"id", b"secret")))
    manager = Manager()
    manager.start()
    assert unregister([manager.address], tmp_path / "tokens", "FAILED", "job.py ended with exit code 3")
    assert manager.asked == [("finishApplicationMaster", "job.py ended with exit code 3", 2)] * 2
    assert 'username="aWQ="' in manager.login
    assert "c2VjcmV0" not in manager.login, "the password itself is not sent"


def test_a_resourcemanager_that_restarts_is_tried_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody listens at first; then its records do not have the application yet."""
    (tmp_path / "tokens").write_bytes(token_file(("YARN_AM_RM_TOKEN", b"id", b"secret")))
    manager = Manager(strange=2)
    manager.listener.close()
    reported: list[bool] = []
    waiting = threading.Thread(
        target=lambda: reported.append(unregister([manager.address], tmp_path / "tokens", "SUCCEEDED", "done"))
    )
    waiting.start()
    until(lambda: "refused" in capsys.readouterr().out, "it was not there")
    manager.listener = socket.create_server(("127.0.0.1", int(manager.address.rpartition(":")[2])))
    manager.start()
    waiting.join(20)
    assert reported == [True]
    assert "ApplicationMasterNotRegisteredException: who?" in capsys.readouterr().out


def test_one_that_cannot_be_reached_is_no_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert not unregister(["127.0.0.1:1"], tmp_path / "none", "FAILED", "x")
    (tmp_path / "tokens").write_bytes(token_file(("YARN_AM_RM_TOKEN", b"id", b"secret")))
    assert not unregister(["127.0.0.1:1"], tmp_path / "tokens", "FAILED", "x", unreachable_seconds=1.0)
    manager = Manager(offer="KERBEROS")
    manager.start()
    assert not unregister([manager.address], tmp_path / "tokens", "FAILED", "x")
    assert "takes no TOKEN authentication (it offers KERBEROS)" in capsys.readouterr().out
