"""What one master leaves for the next, the scheduler that is started again, and how YARN is told the end; no Hadoop."""

from __future__ import annotations

import dataclasses
import os
import signal
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from waiting import until

from howdah.engine.comm.security.certificates import Authority
from howdah.errors import PathMissing
from howdah.io.hadoop.protobuf import Message, delimited, encode, read_varint
from howdah.yarn_app.master import scheduler_process
from howdah.yarn_app.master.am_protocol import Token, digest_response, find_token, unregister
from howdah.yarn_app.master.attempts import Ending, Note
from howdah.yarn_app.master.fleet import PREEMPTED, Lost, Seen
from howdah.yarn_app.master.scheduler_process import SchedulerProcess
from howdah.yarn_app.master.status import Board, LastWords
from howdah.yarn_app.submit.application import Application
from howdah.yarn_app.yarn import kv_keys as keys


class Folder:
    """Stands for `Staging`: files of one application, in memory."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    def write(self, app_id: str, name: str, content: bytes, patience: float | None = None) -> None:
        self.files[name] = content

    def read(self, app_id: str, name: str) -> bytes:
        if name not in self.files:
            raise PathMissing(name)
        return self.files[name]


def test_the_next_attempt_finds_what_was_noted() -> None:
    folder: Any = Folder()
    assert Note.read(folder, "application_1_0001") is None, "the first attempt"
    note = Note(5, ["a container"], ["another"], [], Ending("FAILED", "job.py ended with exit code 3", 3))
    note.write(folder, "application_1_0001")
    assert Note.read(folder, "application_1_0001") == note
    folder.files["master.json"] = b'{"wanted": 3, "of a later version": 1}'
    assert Note.read(folder, "application_1_0001") is None


# -- the scheduler's process


@pytest.fixture
def scheduler(tmp_path: Path) -> Iterator[SchedulerProcess]:
    Authority.create("attempts").write_scheduler_dir(tmp_path / "security")
    one = SchedulerProcess(
        "127.0.0.1", "attempts", tmp_path / "security", tmp_path, tmp_path / "log", str(tmp_path / "j")
    )
    one.start()
    until(lambda: one.look() or one.ready, "it listens")
    yield one
    one.stop(3.0)


def pid(one: SchedulerProcess) -> int:
    assert one._program is not None
    return one._program.process.pid


def test_a_killed_scheduler_is_back_on_the_same_address(scheduler: SchedulerProcess) -> None:
    before, first = (scheduler.address, scheduler.status_page), pid(scheduler)
    assert scheduler.link is not None
    assert scheduler.link.status()["tasks"]["total"] == 0
    os.kill(first, signal.SIGKILL)
    until(lambda: scheduler.look() or pid(scheduler) != first, "it is started again")
    until(lambda: scheduler.look() or scheduler.ready, "it listens again")
    assert (scheduler.address, scheduler.status_page) == before
    assert scheduler.link.status()["tasks"]["total"] == 0, "the master's own line is there again, too"
    assert scheduler.told == [f"it was ended by signal 9, and started again on {scheduler.address}"]


def test_one_that_ends_by_itself_ends_the_application(scheduler: SchedulerProcess) -> None:
    os.kill(pid(scheduler), signal.SIGTERM)
    assert "the scheduler ended with exit code 0" in until(scheduler.look, "it has ended")


def test_one_that_keeps_dying_ends_the_application(
    scheduler: SchedulerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler_process, "DEATHS_ALLOWED", 1)
    os.kill(pid(scheduler), signal.SIGKILL)
    until(lambda: scheduler.look() or scheduler.told, "it is started again")
    os.kill(pid(scheduler), signal.SIGKILL)
    assert "the scheduler died 2 times within 10 minutes, at last it was ended by signal 9" in until(
        scheduler.look, "that is told"
    )


def test_it_is_in_a_process_group_of_its_own(scheduler: SchedulerProcess) -> None:
    assert os.getpgid(pid(scheduler)) != os.getpgid(0), (
        "YARN signals the container's group, and clients hear a good-bye"
    )


# -- telling YARN


def test_the_digest_is_that_of_the_standard() -> None:
    """The example of RFC 2831, section 4."""
    challenge = 'realm="elwood.innosoft.com",nonce="OA6MG9tEQGm2hh",qop="auth",algorithm=md5-sess,charset=utf-8'
    answer = digest_response(challenge, "chris", "secret", "imap", "elwood.innosoft.com", "OA6MHXh6VqTrRk")
    assert "response=d388dad90d4bbd760a152321f2143af7" in answer
    with pytest.raises(ValueError, match="protected by auth-conf"):
        digest_response('realm="r",nonce="n",qop="auth-conf"', "u", "p", "", "default", "c")


def token_file(*tokens: tuple[str, bytes, bytes]) -> bytes:
    """Hadoop's container_tokens."""

    def chunk(data: bytes) -> bytes:
        size = len(data)
        return (bytes([size]) if size < 128 else bytes([0x8F, size])) + data

    rows = b"".join(chunk(b"alias") + chunk(a) + chunk(b) + chunk(kind.encode()) + chunk(b"") for kind, a, b in tokens)
    return b"HDTS\0" + bytes([len(tokens)]) + rows


def test_the_right_token_of_a_file() -> None:
    file = token_file(("HDFS_DELEGATION_TOKEN", b"x" * 200, b"y"), ("YARN_AM_RM_TOKEN", b"id", b"secret"))
    assert find_token(file, "YARN_AM_RM_TOKEN") == Token(b"id", b"secret")
    assert find_token(file, "KMS") is None
    with pytest.raises(ValueError, match="first format"):
        find_token(b"HDTS\1", "KMS")


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
                    parts.append(Message(data[position : position + length]))
                    data = data[position + length :]
                answer = self.answer(parts)
                if answer is not None:
                    head = encode((1, 1), (2, 0))
                    if parts[0].number(3) < 5 and self.strange:
                        self.strange -= 1
                        head = encode((1, 1), (2, 1), (4, "ApplicationMasterNotRegisteredException"), (5, "who?\nat x"))
                    body = delimited(head) + delimited(answer)
                    connection.sendall(struct.pack(">I", len(body)) + body)

    def answer(self, parts: list[Message]) -> bytes | None:
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


def test_the_resourcemanager_is_told_until_it_has_written_it_down(tmp_path: Path) -> None:
    (tmp_path / "tokens").write_bytes(token_file(("YARN_AM_RM_TOKEN", b"id", b"secret")))
    manager = Manager()
    manager.start()
    assert unregister([manager.address], tmp_path / "tokens", "FAILED", "job.py ended with exit code 3")
    assert manager.asked == [("finishApplicationMaster", "job.py ended with exit code 3", 2)] * 2
    assert 'username="aWQ="' in manager.login
    assert "c2VjcmV0" not in manager.login, "the password itself is not sent"


def test_one_that_is_being_started_again_is_waited_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody listens at first; then it has not heard of the application yet."""
    (tmp_path / "tokens").write_bytes(token_file(("YARN_AM_RM_TOKEN", b"id", b"secret")))
    manager = Manager(strange=2)
    manager.listener.close()
    told: list[bool] = []
    waiting = threading.Thread(
        target=lambda: told.append(unregister([manager.address], tmp_path / "tokens", "SUCCEEDED", "done"))
    )
    waiting.start()
    until(lambda: "refused" in capsys.readouterr().out, "it was not there")
    manager.listener = socket.create_server(("127.0.0.1", int(manager.address.rpartition(":")[2])))
    manager.start()
    waiting.join(20)
    assert told == [True]
    assert "ApplicationMasterNotRegisteredException: who?" in capsys.readouterr().out


def test_one_that_cannot_be_told_is_no_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("howdah.yarn_app.master.am_protocol.AWAY_SECONDS", 1.0)
    assert not unregister(["127.0.0.1:1"], tmp_path / "none", "FAILED", "x")
    (tmp_path / "tokens").write_bytes(token_file(("YARN_AM_RM_TOKEN", b"id", b"secret")))
    assert not unregister(["127.0.0.1:1"], tmp_path / "tokens", "FAILED", "x")
    manager = Manager(offer="KERBEROS")
    manager.start()
    assert not unregister([manager.address], tmp_path / "tokens", "FAILED", "x")
    assert "it takes no tokens" in capsys.readouterr().out


# -- what people are told


def test_a_lost_container_is_told_with_its_memory_and_its_last_words() -> None:
    board = Board()
    words = LastWords()
    seen = Seen(
        "w_0", "w", "FAILED", "node1", "container_1_0001_01_000002", "Container failed, see logs for more", "node1:1"
    )
    told = words.add(
        seen, {keys.WORDS + "w_0": b"howdah: no such library\n/a/container_1_0001_01_000002/lib is missing"}
    )
    line = board.mourn(Lost("w_0", "node1", seen.container, told.message, True), 700 << 20)
    assert line.splitlines() == [
        "container_1_0001_01_000002 on node1: Container failed; its worker was seen to use 700.0 MiB at most",
        "    howdah: no such library",
        "    lib is missing",
    ]
    taken = dataclasses.replace(seen, name="w_1", message="Container preempted by scheduler")
    assert words.add(taken, {}) == taken, "YARN's word says it all, and its log is not asked for"
    board.mourn(Lost("w_1", "node1", "", taken.message, True, PREEMPTED), 0)
    assert (board.lost, board.preempted) == ([line], ["w_1 on node1: Container preempted by scheduler"])


def test_only_the_newest_losses_are_kept() -> None:
    board = Board()
    for number in range(20):
        board.mourn(Lost(f"w_{number}", "node1", "", "gone", True), 0)
    assert [line.split()[0] for line in board.lost] == [f"w_{number}" for number in range(12, 20)]


def test_a_watcher_is_told_of_each_loss_once_also_of_the_hundredth() -> None:
    shown: list[str] = []
    show: Any = SimpleNamespace(note=shown.append)
    told: set[str] = set()
    for number in range(100):
        status = {"lost": [f"container_{n} on node1: gone" for n in range(max(0, number - 8), number)]}
        Application.note_losses(status, told, show)
    assert shown == [f"worker container lost: container_{number} on node1: gone" for number in range(99)]
