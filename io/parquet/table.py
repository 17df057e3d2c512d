"""Parquet tables: their files, and the splits that they are cut into (which row groups, on which hosts).

`plan_parquet` is the reader `parquet` of the group `howdah.readers`. It lists each folder once (with block locations in
the same call) and reads one footer per file, several at a time. Everything that can be wrong with the input (missing,
truncated, schemas that differ) is raised here, naming the file, before any task exists.
"""

from __future__ import annotations

import json
import os
import posixpath
import warnings
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from howdah.errors import NotSupported, PathMissing, SchemaError, UnknownColumn, bad_value, near
from howdah.io.filesystem.block_locations import preferred_hosts
from howdah.io.filesystem.filesystem import FileSystem, is_glob, open_filesystem
from howdah.io.hadoop.records import Block, FileInfo
from howdah.io.parquet.footer import Footer, chunk_range, leaves_of, read_footers
from howdah.io.parquet.pandas_metadata import written_dtypes, written_range
from howdah.io.parquet.prune import matching_groups
from howdah.io.parquet.read import scan_whole
from howdah.io.parquet.split import ParquetSplit, RowGroupRange
from howdah.io.readers.table import TARGET_BYTES, Condition, TableSource

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True, slots=True)
class RowGroup:
    """A row group: `rows` from row `first_row` of its file; its bytes are `start` to `stop`."""

    rows: int
    first_row: int
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class ParquetFile:
    """A file of a table. `first_row` is the number of its first row in the whole table; `mtime` in nanoseconds."""

    path: str
    size: int
    mtime: int
    rows: int
    first_row: int
    row_groups: tuple[RowGroup, ...]
    blocks: tuple[Block, ...] = field(repr=False)
    footer: Footer = field(repr=False, compare=False)


@dataclass(frozen=True)
class ParquetTable(TableSource):
    """A planned table: what `plan_parquet` found. Made by it alone.

    Attributes
    ----------
    url : as it was given.
    schema : of every file, as stored (dictionaries, decimals, time zones and all).
    files : in the order of the table's rows.
    """

    url: str
    filesystem: FileSystem
    schema: pa.Schema
    files: tuple[ParquetFile, ...] = field(repr=False)

    @property
    def name(self) -> str:  # type: ignore[override]
        """The folder of the files, or the one file."""
        path = self.files[0].path
        return path.rsplit("/", 1)[0] if len(self.files) > 1 else path

    @property
    def fingerprint(self) -> bytes:
        """The files with their sizes and times."""
        return repr([(file.path, file.size, file.mtime) for file in self.files]).encode()

    @property
    def is_local(self) -> bool:
        """Whether the files are on this machine."""
        return self.filesystem.is_local

    @cached_property
    def rows(self) -> int:
        """Rows of all files."""
        return sum(file.rows for file in self.files)

    @property
    def nbytes(self) -> int:
        """Stored bytes of all files."""
        return sum(file.size for file in self.files)

    @cached_property
    def leaves(self) -> dict[str, range]:
        """The Parquet leaf columns of each column."""
        return leaves_of(self.schema)

    @cached_property
    def null_counts(self) -> dict[str, int | None]:
        """Nulls per column from the statistics; None where a row group has none (those of nested columns never do)."""
        return {name: self._nulls(name) for name in self.schema.names}

    def _nulls(self, name: str) -> int | None:
        leaves, total = self.leaves[name], 0
        if len(leaves) != 1 or pa.types.is_nested(self.schema.field(name).type):
            return None
        for file in self.files:
            metadata = file.footer.metadata
            for index in range(metadata.num_row_groups):
                statistics = metadata.row_group(index).column(leaves[0]).statistics
                if statistics is None or not statistics.has_null_count:
                    return None
                total += statistics.null_count
        return total

    @cached_property
    def pandas_metadata(self) -> dict[str, Any]:
        """pandas' metadata of the first file about index and columns; {} if another program wrote it."""
        raw = (self.schema.metadata or {}).get(b"pandas")
        found: dict[str, Any] = json.loads(raw) if raw else {}
        return found

    @property
    def index_columns(self) -> tuple[str, ...]:
        """Stored columns that were pandas' index. A `RangeIndex` is not stored: see `pandas_metadata`."""
        names = self.pandas_metadata.get("index_columns", [])
        return tuple(name for name in names if isinstance(name, str) and name in self.leaves)

    @property
    def index_levels(self) -> tuple[tuple[str, str | None], ...]:
        """(column, label) of the stored index columns, as pandas named them."""
        labels = {entry.get("field_name"): entry.get("name") for entry in self.pandas_metadata.get("columns", [])}
        unnamed = {name: None if name.startswith("__index_level_") else name for name in self.index_columns}
        return tuple((name, labels.get(name, unnamed[name])) for name in self.index_columns)

    @cached_property
    def pandas_dtypes(self) -> dict[str, str]:
        """pandas' dtypes of the columns; where files differ, one that is not numpy's goes first."""
        return written_dtypes(file.footer.schema for file in self.files)

    @property
    def range_index(self) -> tuple[str | None, int, int] | None:
        """(label, start, step) of the range that is the index, where it has as many values as the table has rows."""
        return written_range(self.schema, self.rows)

    def stored_bytes(self, columns: Sequence[str]) -> int:
        """Return stored bytes of some columns in the whole table."""
        leaves = self._leaf_indices(columns)
        return sum(
            _group_bytes(file.footer.metadata.row_group(index), leaves)
            for file in self.files
            for index in range(len(file.row_groups))
        )

    def splits(
        self, columns: Sequence[str], *, conditions: Sequence[Condition] = (), target_bytes: int = TARGET_BYTES
    ) -> list[ParquetSplit]:
        """Cut the table into splits, in row order; never an empty list.

        Parameters
        ----------
        columns
            The columns that will be read: `nbytes` and the sizes of splits count only them.
        conditions
            Row groups whose statistics exclude one of these (column, op, value) are left out; the rows of the
            others are not filtered. Ops: ``== != < <= > >= in is_null not_null``.
        target_bytes
            Row groups of one file and on the same hosts are put together up to this many stored bytes.

        Returns
        -------
        list of ParquetSplit
            If nothing is left (no rows, or all excluded), one split without rows, which scans to an empty frame.

        Raises
        ------
        UnknownColumn
            A column or a condition's column is not there; the message offers near names.
        """
        leaves = self._leaf_indices(columns)
        self._leaf_indices([name for name, _, _ in conditions])
        if target_bytes < 1:
            raise bad_value("target_bytes", target_bytes, "give a positive number of bytes")
        found = [split for file in self.files for split in self._cut(file, leaves, conditions, target_bytes)]
        return found or [self._split(self.files[0], [], 0, ())]

    def pieces(
        self, columns: Sequence[str], *, filters: Sequence[Condition] = (), target_bytes: int = TARGET_BYTES
    ) -> list[ParquetSplit]:
        """Return `splits(columns, conditions=filters)`. Deprecated: the former name of `splits`."""
        warnings.warn("ParquetTable.pieces is now ParquetTable.splits", DeprecationWarning, stacklevel=2)
        return self.splits(columns, conditions=filters, target_bytes=target_bytes)

    def scan(self, columns: Sequence[str], *, row_index: str | None = None) -> pl.LazyFrame | None:
        """Return all files as one lazy frame, where Polars can; see `scan_whole`."""
        return scan_whole(self, columns, row_index=row_index)

    def _leaf_indices(self, columns: Sequence[str]) -> list[int]:
        for name in columns:
            if name not in self.leaves:
                raise UnknownColumn(f"{self.url} has no column {name!r}: {near(name, self.leaves)}")
        return [leaf for name in dict.fromkeys(columns) for leaf in self.leaves[name]]

    def _cut(
        self, file: ParquetFile, leaves: Sequence[int], conditions: Sequence[Condition], target: int
    ) -> Iterator[ParquetSplit]:
        metadata = file.footer.metadata
        chosen: list[int] = []
        hosts: tuple[str, ...] = ()
        nbytes = 0
        for index in matching_groups(metadata, self.schema, leaves_of(file.footer.schema), conditions):
            group = file.row_groups[index]
            if group.rows == 0:
                continue
            size = _group_bytes(metadata.row_group(index), _own_leaves(self, file, leaves))
            there = preferred_hosts(file.blocks, group.start, group.stop, salt=zlib.crc32(file.path.encode()))
            if chosen and (nbytes + size > target or set(there) != set(hosts)):
                yield self._split(file, chosen, nbytes, hosts)
                chosen, nbytes = [], 0
            if not chosen:
                hosts = there
            chosen.append(index)
            nbytes += size
        if chosen:
            yield self._split(file, chosen, nbytes, hosts)

    def _split(self, file: ParquetFile, groups: Sequence[int], nbytes: int, hosts: tuple[str, ...]) -> ParquetSplit:
        ranges = tuple(_row_group_ranges(file, groups))
        return ParquetSplit(
            filesystem=self.filesystem,
            path=file.path,
            size=file.size,
            mtime=file.mtime,
            row_group_ranges=ranges,
            file_first_row=file.first_row,
            rows=sum(groups.rows for groups in ranges),
            nbytes=nbytes,
            hosts=hosts,
            table_rows=self.rows,
        )


def _own_leaves(table: ParquetTable, file: ParquetFile, leaves: Sequence[int]) -> Sequence[int]:
    """`leaves` of the table's schema as those of the file, which may have the same columns in another order."""
    if file.footer.schema.names == table.schema.names:
        return leaves
    names = {leaf: name for name, span in table.leaves.items() for leaf in span}
    own = leaves_of(file.footer.schema)
    return [own[names[leaf]].start + leaf - table.leaves[names[leaf]].start for leaf in leaves]


def _group_bytes(group: Any, leaves: Sequence[int]) -> int:
    return sum(group.column(leaf).total_compressed_size for leaf in leaves)


def _row_group_ranges(file: ParquetFile, groups: Sequence[int]) -> Iterator[RowGroupRange]:
    position = 0
    while position < len(groups):
        first = stop = groups[position]
        rows = 0
        while position < len(groups) and groups[position] == stop:
            rows += file.row_groups[stop].rows
            stop, position = stop + 1, position + 1
        yield RowGroupRange(first, stop, file.row_groups[first].first_row, rows)


# -- finding and checking the files ---------------------------------------------------------------------------------


def plan_parquet(
    url: str | os.PathLike[str] | Sequence[str | os.PathLike[str]], *, filesystem: FileSystem | None = None
) -> ParquetTable:
    """Find the files of a table and read their footers.

    Parameters
    ----------
    url
        A file, a folder (with its sub-folders; names that begin with ``_`` or ``.`` are skipped), a glob, or a list
        of these. Files of a folder or glob are taken in the order of their names, a list in its own order.
    filesystem
        Where `url` is a plain path of this file system.

    Raises
    ------
    PathMissing
        There is nothing, or no Parquet file in the folder.
    CorruptFile
        A file is empty, truncated or damaged.
    SchemaError
        Two files differ in a column; the message names both and the column.
    NotSupported
        The folder is partitioned into ``name=value`` folders.

    Examples
    --------
    >>> import pyarrow.parquet as pq, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     pq.write_table(pa.table({"x": [1, 2, 3]}), f"{folder}/a.parquet")
    ...     table = plan_parquet(folder)
    >>> table.rows, table.schema.names, table.null_counts
    (3, ['x'], {'x': 0})
    >>> [(split.first_row, split.rows) for split in table.splits(["x"])]
    [(0, 3)]
    """
    urls = [url] if isinstance(url, str | os.PathLike) else list(url)
    if not urls:
        raise bad_value("url", url, "give at least one file, folder or glob")
    places = [(filesystem, os.fspath(each)) if filesystem is not None else open_filesystem(each) for each in urls]
    common = places[0][0]
    for each, (this, _) in zip(urls, places):
        if this != common:
            raise NotSupported(f"{os.fspath(each)}: on another file system than the first: read both, and concatenate")
    found = [file for _, path in places for file in _files(common, path)]
    shown = os.fspath(urls[0]) if len(urls) == 1 else f"{os.fspath(urls[0])} and {len(urls) - 1} more"
    footers = read_footers(common, [(f.path, f.size, f.mtime) for f in found])
    _check_schemas(common, found, footers)
    files, first_row = [], 0
    for info, footer in zip(found, footers):
        files.append(_parquet_file(info, footer, first_row))
        first_row += files[-1].rows
    return ParquetTable(shown, common, footers[0].schema, tuple(files))


def _files(filesystem: FileSystem, path: str) -> list[FileInfo]:
    if is_glob(path) and not filesystem.exists(path):
        matches = filesystem.glob(path, locate=True)
        if not matches:
            raise PathMissing(f"{filesystem.url(path)}: no file matches")
        found = [file for match in matches for file in (_walk(filesystem, match.path) if match.is_dir else [match])]
    else:
        try:
            found = _walk(filesystem, path)
        except PathMissing as error:
            raise _with_backup(filesystem, path, error) from error
    if not found:
        raise PathMissing(f"{filesystem.url(path)}: no Parquet file in this folder")
    return found


def _with_backup(filesystem: FileSystem, path: str, error: PathMissing) -> PathMissing:
    """Return the error with the backup that an overwrite left when it was killed between its two renames (`write`)."""
    parent, name = posixpath.split(path)
    try:
        backups = [entry for entry in filesystem.ls(parent) if entry.name.startswith(f".{name}.howdah-old-")]
    except PathMissing:
        return error
    if not backups:
        return error
    return PathMissing(
        f"{error}. An overwrite of it was killed; the data before that is whole in {filesystem.url(backups[0].path)}: "
        "rename it back, or run that write again"
    )


def _walk(filesystem: FileSystem, path: str) -> list[FileInfo]:
    entries = filesystem.ls(path, locate=True)
    if len(entries) == 1 and entries[0].path == path and not entries[0].is_dir:
        return entries
    found: list[FileInfo] = []
    for entry in entries:
        if entry.hidden:
            continue
        if not entry.is_dir:
            found.append(entry)
            continue
        name, equals, _ = entry.name.partition("=")
        if equals:
            raise NotSupported(
                f"{filesystem.url(path)} is partitioned by {name!r} (folder {entry.name!r}), which is not supported "
                f"yet: read one partition by its own path, {filesystem.url(entry.path)}"
            )
        found += _walk(filesystem, entry.path)
    return found


def _parquet_file(info: FileInfo, footer: Footer, first_row: int) -> ParquetFile:
    groups, position = [], 0
    metadata = footer.metadata
    starts = [_group_start(metadata.row_group(i)) for i in range(metadata.num_row_groups)]
    for index, start in enumerate(starts):
        rows = metadata.row_group(index).num_rows
        stop = starts[index + 1] if index + 1 < len(starts) else footer.start
        groups.append(RowGroup(rows, position, start, max(stop, start)))
        position += rows
    return ParquetFile(
        info.path, info.size, info.mtime, position, first_row, tuple(groups), info.blocks or (), footer
    )  # fmt: skip


def _group_start(group: Any) -> int:
    return chunk_range(group.column(0))[0] if group.num_columns else 0


_SAME = {"large_string": "string", "string_view": "string", "large_binary": "binary", "binary_view": "binary"}


def _check_schemas(filesystem: FileSystem, files: Sequence[FileInfo], footers: Sequence[Footer]) -> None:
    first = {entry.name: _type_name(entry.type) for entry in footers[0].schema}
    if len(first) != len(footers[0].schema):
        names = footers[0].schema.names
        twice = next(name for name in names if names.count(name) > 1)
        raise SchemaError(f"{filesystem.url(files[0].path)}: two columns are called {twice!r}; write it again")
    for info, footer in zip(files[1:], footers[1:]):
        if footer.schema.equals(footers[0].schema):
            continue
        other = {entry.name: _type_name(entry.type) for entry in footer.schema}
        for name in [*first, *other]:
            if first.get(name) != other.get(name):
                raise SchemaError(
                    f"column {name!r} is {other.get(name, 'missing')} in {filesystem.url(info.path)} and "
                    f"{first.get(name, 'missing')} in {filesystem.url(files[0].path)}: all files of a table need the "
                    "same columns. Read them apart and convert one, or leave one out"
                )


def _type_name(kind: pa.DataType) -> str:
    """Return the name of a type, the same for types that differ in memory only."""
    return _SAME.get(str(kind), str(kind))
