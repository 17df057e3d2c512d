"""Names point to content: a name never lacks its hash, and of two writers the highest counter is valid."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fsspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from howdah.envpack import names

FIRST, SECOND = "1" * 32, "2" * 32


@pytest.fixture
def fs() -> Any:
    return fsspec.filesystem("file")


def valid(fs: Any, root: Path, name: str) -> str | None:
    known = names.pointers(fs, str(root)).get(name)
    return known[-1][1] if known else None


def test_a_name_is_set_moved_and_removed(fs: Any, tmp_path: Path) -> None:
    assert names.pointers(fs, str(tmp_path)) == {}
    names.point(fs, str(tmp_path), "etl", FIRST)
    assert valid(fs, tmp_path, "etl") == FIRST
    names.point(fs, str(tmp_path), "etl", SECOND)
    (pointer,) = names.pointers(fs, str(tmp_path))["etl"]
    assert pointer[1] == SECOND, "the older file is removed"
    names.remove(fs, [pointer[2], pointer[2]])
    assert valid(fs, tmp_path, "etl") is None


def test_an_unchanged_name_writes_nothing(fs: Any, tmp_path: Path) -> None:
    names.point(fs, str(tmp_path), "etl", FIRST)
    before = sorted((tmp_path / "names").iterdir())
    names.point(fs, str(tmp_path), "etl", FIRST)
    assert sorted((tmp_path / "names").iterdir()) == before


def test_a_clock_that_goes_back_does_not_revive_an_old_hash(
    fs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names.point(fs, str(tmp_path), "etl", FIRST)
    monkeypatch.setattr(names.time, "time_ns", lambda: 1)
    names.point(fs, str(tmp_path), "etl", SECOND)
    assert valid(fs, tmp_path, "etl") == SECOND


@given(st.permutations([1, 5, 9, 10, 100]))
def test_the_highest_counter_is_valid_whatever_the_order_of_writing(order: list[int]) -> None:
    fs = fsspec.filesystem("memory")
    fs.store.clear()
    for counter in order:
        fs.pipe_file(f"/root/names/etl@{counter}@{counter:032d}", b"")
    fs.pipe_file("/root/names/not-a-pointer", b"")
    fs.pipe_file("/root/names/a@b@c", b"")
    assert {name: known[-1][0] for name, known in names.pointers(fs, "/root").items()} == {"etl": 100}
