"""`ParquetSplit`: some row groups of one Parquet file, the work of one task. Made by `ParquetTable.splits` alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from howdah.io.filesystem.filesystem import FileSystem
from howdah.io.parquet.read import scan_split
from howdah.io.readers.table import Split


@dataclass(frozen=True, slots=True)
class RowGroupRange:
    """Neighbouring row groups `first` to `stop` (exclusive) of a file: `rows` rows from its row `offset`."""

    first: int
    stop: int
    offset: int
    rows: int


@dataclass(frozen=True, slots=True)
class ParquetSplit(Split):
    """Some row groups of one file. Pickles to a few hundred bytes.

    Attributes
    ----------
    path, size, mtime : the file as planned; reading another length fails.
    row_group_ranges : its row groups in order; there are gaps between them where statistics left some out.
    file_first_row : the number of the file's first row in the whole table.
    rows : rows of all ranges together.
    nbytes : stored (compressed) bytes of the planned columns.
    hosts : the hosts that hold most of these bytes, best first; () is "anywhere".
    table_rows : rows of the whole table (it decides how wide a global row number must be).
    """

    filesystem: FileSystem
    path: str
    size: int
    mtime: int
    row_group_ranges: tuple[RowGroupRange, ...]
    file_first_row: int
    rows: int
    nbytes: int
    hosts: tuple[str, ...]
    table_rows: int

    @property
    def first_row(self) -> int:  # type: ignore[override]
        """The number of its first row in the whole table."""
        return self.file_first_row + (self.row_group_ranges[0].offset if self.row_group_ranges else 0)

    @property
    def row_groups(self) -> tuple[int, ...]:
        """Indices of its row groups in the file."""
        return tuple(index for groups in self.row_group_ranges for index in range(groups.first, groups.stop))

    @property
    def url(self) -> str:
        """The URL of the file."""
        return self.filesystem.url(self.path)

    def read(self, columns: Sequence[str]) -> pl.LazyFrame:
        """Return `scan(columns)`."""
        return scan_split(self, columns)

    def scan(self, columns: Sequence[str], *, row_index: str | None = None) -> pl.LazyFrame:
        """Return a lazy frame over the split; see `scan_split`."""
        return scan_split(self, columns, row_index=row_index)
