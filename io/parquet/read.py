"""Reading of Parquet splits as lazy Polars frames.

Runs in tasks. Columns come as the file has them. Projections and filters that are put on the frame afterwards reach
Polars' own Parquet reader, for local files and for HDFS alike, and a row index counts the rows of the whole table
whatever filters come later.

From HDFS the stored bytes of the chosen columns are fetched into an anonymous sparse file in memory, each at its own
offset with the footer behind them, which Polars reads as it reads any file. So both ways give the same dtypes, and it
is faster than pyarrow over the same client (docs/files.md).
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, BinaryIO

import polars as pl

from howdah.errors import StorageError, UnknownColumn, near
from howdah.io.parquet.footer import Footer, chunk_range, leaves_of, read_footer

if TYPE_CHECKING:
    from howdah.io.parquet.split import ParquetSplit
    from howdah.io.parquet.table import ParquetTable

_GAP = 256 << 10
"""Ranges with a gap of at most this many bytes are fetched as one: a request costs as much as these bytes."""
_INDEX_LIMIT = 2**32


def scan_split(split: ParquetSplit, columns: Sequence[str], *, row_index: str | None = None) -> pl.LazyFrame:
    """Return a lazy frame over one split, `columns` in this order.

    From HDFS, the bytes are fetched when this is called; decoding waits for `collect`.

    Parameters
    ----------
    split
        Some row groups of a file.
    columns
        Names of columns of the file.
    row_index
        Name of a first column with the row's number in the whole table: UInt32, or Int64 where the table has
        2**32 rows or more (the same for every split of it).

    Raises
    ------
    StorageError
        The file cannot be read, or was rewritten since it was planned.
    """
    if split.filesystem.is_local:
        _check_unchanged(split)
        source: Any = split.path
    else:
        source = _fetch(split, columns)
    slices = [(groups.offset, groups.rows) for groups in split.row_group_ranges] or [(0, 0)]
    frames = [_scan_slice(source, offset, rows, split, row_index) for offset, rows in slices]
    frame = frames[0] if len(frames) == 1 else pl.concat(frames)
    return frame.select([*([row_index] if row_index is not None else []), *columns])


def _check_unchanged(split: ParquetSplit) -> None:
    now = split.filesystem.info(split.path)
    if (now.size, now.mtime) != (split.size, split.mtime):
        raise StorageError(f"{split.url}: rewritten since it was planned. Read it again from the start")


def _scan_slice(source: Any, offset: int, rows: int, split: ParquetSplit, row_index: str | None) -> pl.LazyFrame:
    wide = split.table_rows >= _INDEX_LIMIT
    frame = _scan(source, row_index, 0 if wide else split.file_first_row)
    # Polars prunes row groups by the slice and still pushes later filters below it
    frame = frame.slice(offset, rows)
    if row_index is not None and wide:
        frame = frame.with_columns(pl.col(row_index).cast(pl.Int64) + split.file_first_row)
    return frame


def _scan(source: Any, row_index: str | None, offset: int) -> pl.LazyFrame:
    return pl.scan_parquet(
        source, row_index_name=row_index, row_index_offset=offset, glob=False, hive_partitioning=False, cache=False
    )  # fmt: skip


def scan_whole(table: ParquetTable, columns: Sequence[str], *, row_index: str | None = None) -> pl.LazyFrame | None:
    """All files of a local table as one lazy scan, with all of Polars' parallelism.

    None for HDFS, and with a row index over 2**32 rows or more.
    """
    if not table.filesystem.is_local or (row_index is not None and table.rows >= _INDEX_LIMIT):
        return None
    names = [file.path for file in table.files]
    return _scan(names, row_index, 0).select([*([row_index] if row_index is not None else []), *columns])


def _fetch(split: ParquetSplit, columns: Sequence[str]) -> BinaryIO:
    """Return the bytes of the split's columns, at their own offsets in an otherwise empty file of the same length."""
    footer = read_footer(split.filesystem, split.path, split.size, split.mtime)
    file = _memory_file()
    try:
        number = file.fileno()
        os.ftruncate(number, split.size)
        os.pwrite(number, b"PAR1", 0)
        os.pwrite(number, footer.raw, footer.start)
        ranges = coalesce(_chunk_ranges(footer, split, columns))
        if ranges:
            split.filesystem.read_ranges(
                split.path, ranges, split.size, lambda offset, chunk: os.pwrite(number, chunk, offset)
            )
    except BaseException:
        file.close()
        raise
    return file


def _memory_file() -> BinaryIO:
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("howdah-parquet"), "w+b")
    return tempfile.TemporaryFile()


def _chunk_ranges(footer: Footer, split: ParquetSplit, columns: Sequence[str]) -> list[tuple[int, int]]:
    leaves = leaves_of(footer.schema)
    for name in columns:
        if name not in leaves:
            raise UnknownColumn(f"{split.url} has no column {name!r}: {near(name, leaves)}")
    chosen = sorted(leaf for name in set(columns) for leaf in leaves[name])
    groups = [footer.metadata.row_group(index) for index in split.row_groups]
    return [chunk_range(group.column(leaf)) for group in groups for leaf in chosen]


def coalesce(ranges: Sequence[tuple[int, int]], gap: int = _GAP) -> list[tuple[int, int]]:
    """(start, stop) ranges as few (offset, length) reads: near neighbours become one, with what lies between.

    >>> coalesce([(100, 200), (0, 50), (5000, 5100)], gap=64)
    [(0, 200), (5000, 100)]
    """
    reads: list[list[int]] = []
    for start, stop in sorted(ranges):
        if reads and start - reads[-1][1] <= gap:
            reads[-1][1] = max(reads[-1][1], stop)
        else:
            reads.append([start, stop])
    return [(start, stop - start) for start, stop in reads]
