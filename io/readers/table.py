"""`TableSource` and `Split`: the interface between readers and the collections.

A reader finds the files of a table and returns a `TableSource` before any task exists: what is wrong with the input is
raised then. The source cuts the table into splits; each split travels to a task, which reads it there. A reader for a
new format subclasses both and declares its factory as an entry point in the group `howdah.readers` (`registry`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

Condition: TypeAlias = tuple[str, str, Any]
"""(column, op, value) with one of `CONDITION_OPS`; the value is ignored for ``is_null`` and ``not_null``."""

CONDITION_OPS = ("==", "!=", "<", "<=", ">", ">=", "in", "is_null", "not_null")

TARGET_BYTES = 32 << 20
"""Stored bytes of the chosen columns in one split: some 100 to 200 MB decoded, about a second of work."""


class Split(ABC):
    """Part of a table: what one task reads. Subclasses are frozen dataclasses: the repr is content, and it pickles.

    Attributes
    ----------
    nbytes : stored bytes of the planned columns.
    rows : number of rows; None when it is known only after reading.
    first_row : number of the first row in the whole table; None when it is known only after reading.
    hosts : hosts that hold most of these bytes, best first; () is anywhere.
    """

    nbytes: int
    rows: int | None
    first_row: int | None
    hosts: tuple[str, ...]

    @abstractmethod
    def read(self, columns: Sequence[str]) -> pl.LazyFrame | pl.DataFrame | pa.Table:
        """Return the rows of the split, with these columns in this order. Called in a task, on any host.

        Raises
        ------
        StorageError
            The file cannot be read, or was rewritten since it was planned.
        """

    def scan(self, columns: Sequence[str], *, row_index: str | None = None) -> pl.LazyFrame:
        """Return a lazy frame; `row_index` names a first column with the number of the row in the whole table."""
        import polars as pl

        rows = self.read(columns)
        frame = rows.lazy() if isinstance(rows, pl.DataFrame | pl.LazyFrame) else pl.LazyFrame(pl.from_arrow(rows))
        if row_index is None:
            return frame
        if self.first_row is None:
            raise ValueError(f"{self!r}: the number of its first row is not known, so its rows have no numbers")
        return frame.with_row_index(row_index, self.first_row)


class TableSource(ABC):
    """A table that a reader found. It stays in the client; tasks receive splits.

    Attributes
    ----------
    name : the name in messages and plans: its URL.
    schema : names and Arrow types of the columns, as stored.
    """

    name: str
    schema: pa.Schema

    @abstractmethod
    def splits(
        self, columns: Sequence[str], *, conditions: Sequence[Condition] = (), target_bytes: int = TARGET_BYTES
    ) -> Sequence[Split]:
        """Return the table cut into splits, in row order; at least one.

        Parameters
        ----------
        columns
            The columns that will be read.
        conditions
            Splits in which no row can fulfil all of these may be left out. Rows need not be filtered.
        target_bytes
            Stored bytes that a split should have, about.
        """

    @property
    @abstractmethod
    def fingerprint(self) -> bytes:
        """Equal for equal content, different when a file was rewritten: it becomes part of the keys of results."""

    @property
    def rows(self) -> int | None:
        """Rows of the whole table; None when known only after reading, as may be `rows` and `first_row` of splits."""
        return None

    @property
    def is_local(self) -> bool:
        """Whether all files are on this machine, so that a plan may run in this process."""
        return False

    @property
    def null_counts(self) -> Mapping[str, int | None]:
        """Missing values per column; None, or no entry, when it is known only after reading."""
        return {}

    @property
    def index_levels(self) -> tuple[tuple[str, str | None], ...]:
        """(column, label) of stored columns that are the index of the table in pandas."""
        return ()

    @property
    def pandas_dtypes(self) -> Mapping[str, str]:
        """pandas' names of the dtypes of columns, where pandas wrote the table and said them; no entry is unknown."""
        return {}

    @property
    def range_index(self) -> tuple[str | None, int, int] | None:
        """(label, start, step) of an index that is a range over all rows in pandas; None is 0, 1, 2, ..."""
        return None

    def stored_bytes(self, columns: Sequence[str]) -> int:
        """Return stored bytes of some columns in the whole table."""
        return sum(split.nbytes for split in self.splits(columns))

    def scan(self, columns: Sequence[str], *, row_index: str | None = None) -> pl.LazyFrame | None:
        """Return the whole table as one lazy frame, where that is faster than split by split; else None.

        Called only for local tables with known rows, for which the source travels to the task.
        """
        return None
