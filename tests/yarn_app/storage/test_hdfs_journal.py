"""The journal in HDFS: what was written is found again, whatever happened in between. Here on local files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from waiting import until

from howdah.errors import CorruptFile, StorageError
from howdah.io import open_filesystem
from howdah.yarn_app.storage.hdfs_journal import HdfsJournal, find_folder, open_journal


def opened(folder: Path, **settings: Any) -> HdfsJournal:
    return HdfsJournal(*open_filesystem(f"file://{folder}/journal"), **settings)


def read(one: HdfsJournal) -> list[list[bytes]]:
    return [[bytes(frame) for frame in frames] for frames in one.replay()]


def write(one: HdfsJournal, *records: Sequence[bytes]) -> None:
    """Each in a file of its own."""
    for frames in records:
        number = one.append(frames)
        one.flush()
        until(lambda number=number: one.written >= number)  # type: ignore[misc]


def test_nothing_is_there_at_first_and_then_all_of_it(tmp_path: Path) -> None:
    first = opened(tmp_path)
    assert read(first) == []
    write(first, [b"a", b""], [], [b"b" * 1000])
    assert first.nbytes == sum(len(file.read_bytes()) for file in tmp_path.glob("journal-1/*"))
    second = opened(tmp_path)
    assert read(second) == [[b"a", b""], [], [b"b" * 1000]]
    assert (second.written, second.nbytes) == (3, first.nbytes)
    write(second, [b"c"])
    assert read(opened(tmp_path))[-1] == [b"c"]


def test_what_is_appended_while_a_file_is_written_goes_into_the_next(tmp_path: Path) -> None:
    one = opened(tmp_path)
    read(one)
    for number in range(1000):
        one.append([b"%d" % number])
        one.flush()
    until(lambda: one.written == 1000)
    assert len(list(tmp_path.glob("journal-1/*"))) < 500
    assert [frames[0] for frames in read(opened(tmp_path))] == [b"%d" % number for number in range(1000)]


def test_only_what_was_written_is_confirmed(tmp_path: Path) -> None:
    one = opened(tmp_path)
    read(one)
    write(one, [b"kept"])
    one.append([b"not flushed"])
    assert one.written == 1
    (tmp_path / "journal-1" / "new-records-2-2").write_bytes(b"half of it")
    assert read(opened(tmp_path)) == [[b"kept"]]


def test_one_that_goes_on_writing_after_its_successor_came_confirms_nothing(tmp_path: Path) -> None:
    before = opened(tmp_path)
    read(before)
    write(before, [b"of both"])
    after = opened(tmp_path)
    assert read(after) == [[b"of both"]]
    before.append([b"too late"])
    before.flush()
    until(lambda: before.failure)
    assert before.written == 1
    assert "cannot be written" in before.failure
    write(after, [b"goes on"])
    assert read(opened(tmp_path)) == [[b"of both"], [b"goes on"]]


def test_what_cannot_be_written_now_is_written_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The NameNode is away for longer than a call is patient."""
    one = opened(tmp_path, retry_seconds=0.01)
    read(one)
    create, tries = one.files.create, 0

    def away(path: str, data: Any, **more: Any) -> None:
        nonlocal tries
        tries += 1
        if tries < 4:
            Path(path).write_bytes(b"half of it")
            raise StorageError("the NameNode does not answer")
        create(path, data, **more)

    monkeypatch.setattr(one.files, "create", away)
    write(one, [b"a"])
    assert (one.failure, tries) == ("", 5)
    assert read(opened(tmp_path)) == [[b"a"]]


def test_a_snapshot_replaces_what_was_before_and_keeps_what_comes_after(tmp_path: Path) -> None:
    one = opened(tmp_path)
    read(one)
    write(one, [b"a"], [b"b"])
    one.append([b"c, not flushed"])
    one.compact([[b"all of them", b"in one"]])
    one.append([b"d"])
    one.flush()
    until(lambda: one.written == 4)
    until(lambda: len(list(tmp_path.glob("journal-1/*"))) == 2)
    assert read(opened(tmp_path)) == [[b"all of them", b"in one"], [b"d"]]


def test_small_files_are_made_one(tmp_path: Path) -> None:
    one = opened(tmp_path, merge_files=4)
    read(one)
    write(one, *([b"%d" % number] for number in range(30)))
    one.close()
    assert len(list(tmp_path.glob("journal-1/*"))) <= 4
    assert [frames[0] for frames in read(opened(tmp_path))] == [b"%d" % number for number in range(30)]


def test_a_merge_and_a_compaction_that_were_cut_off_do_no_harm(tmp_path: Path) -> None:
    one = opened(tmp_path)
    read(one)
    write(one, [b"a"], [b"b"], [b"c"])
    folder = tmp_path / "journal-1"
    parts = [(folder / f"records-{number}-{number}").read_bytes() for number in (1, 2, 3)]
    (folder / "records-1-2").write_bytes(parts[0] + parts[1])  # those that it replaces are still there
    assert read(opened(tmp_path)) == [[b"a"], [b"b"], [b"c"]]
    (tmp_path / "journal-2" / "snapshot-2").write_bytes(parts[1])
    assert read(opened(tmp_path)) == [[b"b"], [b"c"]]


def test_a_gap_and_damage_are_refused(tmp_path: Path) -> None:
    one = opened(tmp_path)
    read(one)
    write(one, [b"a"], [b"b"], [b"c"])
    file = tmp_path / "journal-1" / "records-2-2"
    data = file.read_bytes()
    file.write_bytes(data[:-1] + b"x")
    with pytest.raises(CorruptFile, match="records-2-2 is damaged at byte 0"):
        read(opened(tmp_path))
    (tmp_path / "journal-2" / "records-2-2").unlink()
    with pytest.raises(CorruptFile, match="lacks records 2 to 2"):
        read(opened(tmp_path))


def test_a_url_opens_it(tmp_path: Path) -> None:
    write_to = opened(tmp_path)
    read(write_to)
    write(write_to, [b"a"])
    assert read(open_journal(f"file://{tmp_path}/journal")) == [[b"a"]]


def test_the_newest_is_found(tmp_path: Path) -> None:
    files, path = open_filesystem(f"file://{tmp_path}/journal")
    assert find_folder(files, path) == ""
    for epoch in (2, 10, 9):
        (tmp_path / f"journal-{epoch}").mkdir()
    assert find_folder(files, path) == f"{path}-10"


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(st.binary(max_size=20), st.sampled_from(["flush", "compact", "open", "wait"])), max_size=40))
def test_it_is_a_prefix_of_what_was_appended(
    tmp_path_factory: pytest.TempPathFactory, steps: list[bytes | str]
) -> None:
    """A model: what is found is what was appended, cut nowhere before `written`."""
    folder = tmp_path_factory.mktemp("journal")
    one = opened(folder)
    read(one)
    appended: list[bytes] = []

    def all_written() -> bool:
        return one.written == len(appended)

    for step in steps:
        if isinstance(step, bytes):
            one.append([step])
            appended.append(step)
        elif step == "compact":
            one.compact([[frame] for frame in appended])
        elif step == "open":
            one.close()
            confirmed = one.written
            one = opened(folder)
            found = [frame for (frame,) in read(one)]
            assert found == appended[: len(found)]
            assert len(found) >= confirmed
            appended = found
        else:
            one.flush()
            if step == "wait":
                until(all_written)
    one.close()
    assert [frame for (frame,) in read(opened(folder))] == appended, "a closed one has all"
