"""Footers: read once per version of a file, forgotten by use when they take too much, and refused when damaged."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from howdah.errors import CorruptFile
from howdah.io import open_filesystem
from howdah.io.parquet.footer import Footer, FooterCache, footer_cache, leaves_of, read_footer


def footer(nbytes: int) -> Footer:
    return Footer(None, pa.schema([]), 0, b"x" * nbytes)


def test_the_footers_used_longest_ago_go_first() -> None:
    cache = FooterCache(100)
    for name in "abc":
        cache.put((name,), footer(40))
        assert cache.get(("a",)) is not None  # "a" is always the last one used
    assert cache.get(("b",)) is None
    assert cache.get(("c",)) is not None
    assert cache.nbytes == 80


def test_one_footer_is_kept_however_large() -> None:
    cache = FooterCache(100)
    cache.put(("a",), footer(10))
    cache.put(("large",), footer(1000))
    assert cache.get(("a",)) is None
    assert cache.get(("large",)) is not None
    cache.clear()
    assert cache.get(("large",)) is None
    assert cache.nbytes == 0


def test_a_footer_is_read_once_per_version_of_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"x": [1, 2]}), path)
    filesystem, plain = open_filesystem(path)
    footer_cache.clear()
    reads: list[Any] = []
    read_range = type(filesystem).read_range
    monkeypatch.setattr(type(filesystem), "read_range", lambda *a: reads.append(a) or read_range(*a))
    size = path.stat().st_size
    first = read_footer(filesystem, plain, size, 1)
    assert read_footer(filesystem, plain, size, 1) is first
    assert read_footer(filesystem, plain, size, 2) is not first
    assert len(reads) == 2


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "it is empty"),
        (b"PAR1", "it has only 4 bytes"),
        (b"PAR1" + b"x" * 20, "its end is missing"),
        (b"x" * 24, "it does not begin as one"),
        (b"PAR1" + b"x" * 12 + b"PARE", "an encrypted Parquet file"),
        (b"PAR1" + struct.pack("<I", 1000) + b"PAR1", "its footer claims 1000 bytes"),
        (b"PAR1" + b"x" * 8 + struct.pack("<I", 8) + b"PAR1", "its footer cannot be read"),
    ],
)
def test_what_is_no_parquet_file_is_named_with_the_reason(data: bytes, why: str, tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    path.write_bytes(data)
    filesystem, plain = open_filesystem(path)
    with pytest.raises(CorruptFile, match=rf"t\.parquet: .*{why}"):
        read_footer(filesystem, plain, len(data), 1)


def test_nested_columns_have_several_leaves() -> None:
    nested = pa.struct([("a", pa.list_(pa.int8())), ("b", pa.map_(pa.string(), pa.int8()))])
    assert leaves_of(pa.schema([("x", pa.int8()), ("n", nested), ("y", pa.int8())])) == {
        "x": range(0, 1),
        "n": range(1, 4),
        "y": range(4, 5),
    }
