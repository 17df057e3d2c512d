"""The journal's file: what is torn is cut, what is foreign or damaged is refused, what is full is said."""

from __future__ import annotations

import asyncio
import os
import resource
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from waiting import until_async

from howdah.engine.scheduler.server import journal as module
from howdah.engine.scheduler.server.journal import HEADER_BYTES, Journal, LocalJournal, header, open_journal
from howdah.errors import CorruptFile, HowdahError, StorageError

RECORDS: list[list[bytes]] = [[b"one"], [b"two", b"", b"x" * 100_000], [b""], [b"four", b"y" * 70_000]]


def read(path: Path) -> list[list[bytes]]:
    journal = LocalJournal(str(path))
    found = [[bytes(frame) for frame in frames] for frames in journal.replay()]
    journal.close()
    return found


def written(path: Path, records: list[list[bytes]] = RECORDS) -> None:
    journal = LocalJournal(str(path))
    for _ in journal.replay():
        pass
    for record in records:
        journal.append(record)
    journal.close()


def test_records_come_back_and_more_follow(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    written(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600  # users' arguments are in it
    assert read(path) == RECORDS
    written(path, [[b"five"]])
    assert read(path) == [*RECORDS, [b"five"]]


def test_nothing_is_written_before_flush_and_numbers_say_so(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    journal = LocalJournal(str(path))
    assert list(journal.replay()) == []
    assert (journal.append([b"a"]), journal.append([b"b"]), journal.written) == (1, 2, 0)
    assert path.stat().st_size == HEADER_BYTES
    journal.flush()
    assert journal.written == 2
    assert journal.nbytes == path.stat().st_size
    journal.close()


def test_wherever_it_is_torn_the_whole_records_stay(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    small = [[b"one"], [b"two", b"", b"x" * 10], [b""]]
    written(path, small)
    whole = path.read_bytes()
    ends = []
    for count in range(len(small) + 1):
        written(tmp_path / f"{count}", small[:count])
        ends.append((tmp_path / f"{count}").stat().st_size)
    for cut in range(len(whole)):
        path.write_bytes(whole[:cut])
        expected = small[: sum(end <= cut for end in ends[1:])]
        assert read(path) == expected, cut
        written(path, [[b"more"]])  # it can be gone on with
        assert read(path) == [*expected, [b"more"]], cut
    path.write_bytes(whole + bytes(100))  # room that was allotted and never written
    assert read(path) == small


def test_damage_inside_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    written(path)
    data = bytearray(path.read_bytes())
    data[HEADER_BYTES + 20] ^= 1
    path.write_bytes(data)
    with pytest.raises(CorruptFile, match=r"journal is damaged at byte 96 of \d+.*move it away"):
        read(path)


def test_other_versions_and_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    written(path)
    path.write_bytes(path.read_bytes().replace(b"protocol 2 ", b"protocol 9 ", 1))
    with pytest.raises(
        HowdahError, match=r"written by another version \(format 2, protocol 9, .*move the journal away"
    ):
        read(path)
    path.write_bytes(b"something else" * 100)
    with pytest.raises(CorruptFile, match="is not a journal of howdah's"):
        read(path)
    with pytest.raises(StorageError, match=r"cannot be opened|is not a file"):
        read(tmp_path)
    with pytest.raises(StorageError, match="is not a file"):
        read(Path("/dev/full"))
    assert len(header()) == HEADER_BYTES


def test_one_journal_one_scheduler(tmp_path: Path) -> None:
    first, second = (LocalJournal(str(tmp_path / "journal")) for _ in range(2))
    assert list(first.replay()) == []
    with pytest.raises(StorageError, match="another running scheduler's"):
        list(second.replay())
    first.close(done=True)
    assert os.listdir(tmp_path) == []


def test_a_full_disk_is_said_and_the_journal_is_marked(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "journal"
    journal = LocalJournal(str(path))
    assert list(journal.replay()) == []
    journal.append([b"fits"])
    journal.flush()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (journal.nbytes + 10, before[1]))
    try:
        for _ in range(2):
            journal.append([b"z" * 1000])
            journal.flush()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "cannot be written: File too large" in journal.failure
    assert [record.levelname for record in caplog.records].count("CRITICAL") == 1
    assert journal.written == 3, "who waits for a journal that cannot be written would wait for ever"
    journal.append([b"later"])
    journal.close()
    with pytest.raises(HowdahError, match="ends too early: writing it failed while its scheduler continued"):
        read(path)


def run(work: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(work())  # type: ignore[arg-type]  # a coroutine function


def test_compaction_replaces_what_was_and_keeps_what_comes_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / "journal"

    async def story() -> None:
        journal = LocalJournal(str(path))
        assert list(journal.replay()) == []
        for _ in range(100):
            journal.append([b"dead" * 1000])
        journal.flush()
        before = journal.nbytes
        journal.compact([[b"alive"], [b"too", b"."]])
        journal.append([b"meanwhile 1"])
        journal.flush()
        journal.append([b"meanwhile 2"])
        await until_async(lambda: journal.nbytes < before)
        journal.append([b"later"])
        journal.flush()
        assert journal.nbytes == path.stat().st_size
        journal.close()

    run(story)
    assert os.listdir(tmp_path) == ["journal"]
    assert read(path) == [[b"alive"], [b"too", b"."], [b"meanwhile 1"], [b"meanwhile 2"], [b"later"]]


def test_a_compaction_that_fails_leaves_what_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "journal"

    async def story() -> None:
        journal = LocalJournal(str(path))
        assert list(journal.replay()) == []
        journal.append([b"one"])
        journal.flush()

        def full(file: int, buffers: object) -> None:
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(module, "_write", full)
            journal.compact([[b"snapshot"]])
            await until_async(lambda: not journal.compacting)
        journal.append([b"two"])
        journal.close()

    run(story)
    assert read(path) == [[b"one"], [b"two"]]
    assert os.listdir(tmp_path) == ["journal"]


def test_another_place_is_plugged_in_by_its_scheme(tmp_path: Path) -> None:
    made: list[str] = []

    def opener(where: str) -> Journal:
        made.append(where)
        return LocalJournal(str(tmp_path / "other"))

    assert isinstance(open_journal("hdfs://nn/user/me/journal", {"hdfs": opener}), LocalJournal)
    assert made == ["hdfs://nn/user/me/journal"]
    for where in (f"file://{tmp_path}/j", f"{tmp_path}/j"):
        local = open_journal(where)
        assert isinstance(local, LocalJournal)
        assert local.path == f"{tmp_path}/j"
