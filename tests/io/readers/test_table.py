"""What `Split` and `TableSource` do for a reader that has the least: rows as Arrow or Polars, numbered if asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from howdah.io import Condition, Split, TableSource


@dataclass(frozen=True)
class Numbers(Split):
    """`rows` numbers from `start`, in the form that `form` makes of a dictionary."""

    start: int
    form: Any
    nbytes: int = 8
    rows: int | None = 3
    first_row: int | None = None
    hosts: tuple[str, ...] = ()

    def read(self, columns: Sequence[str]) -> Any:
        values = {"n": list(range(self.start, self.start + 3)), "s": ["a", "b", "c"]}
        return self.form({name: values[name] for name in columns})


class Source(TableSource):
    name, schema = "numbers", pa.schema([("n", pa.int64())])

    def splits(
        self, columns: Sequence[str], *, conditions: Sequence[Condition] = (), target_bytes: int = 1
    ) -> Sequence[Split]:
        return [Numbers(0, pa.table), Numbers(3, pa.table)]

    @property
    def fingerprint(self) -> bytes:
        return b"numbers"


@pytest.mark.parametrize("form", [pa.table, pl.DataFrame, pl.LazyFrame])
def test_rows_come_as_arrow_or_polars(form: Any) -> None:
    frame = Numbers(3, form).scan(["s", "n"])
    assert isinstance(frame, pl.LazyFrame)
    assert frame.collect().rows() == [("a", 3), ("b", 4), ("c", 5)]


def test_rows_are_numbered_in_the_whole_table() -> None:
    frame = Numbers(3, pa.table, first_row=3).scan(["n"], row_index="row").collect()
    assert frame.columns == ["row", "n"]
    assert frame["row"].to_list() == [3, 4, 5]


def test_rows_without_known_numbers_are_refused_numbers() -> None:
    with pytest.raises(ValueError, match="first row is not known"):
        Numbers(3, pa.table).scan(["n"], row_index="row")


def test_a_source_claims_nothing_that_its_reader_did_not_say() -> None:
    source = Source()
    assert (source.rows, source.is_local, dict(source.null_counts), source.index_levels) == (None, False, {}, ())
    assert source.stored_bytes(["n"]) == 16
    assert source.scan(["n"]) is None


def test_a_reader_must_have_splits_and_a_fingerprint() -> None:
    class Half(TableSource):
        pass

    with pytest.raises(TypeError, match=r"fingerprint.*splits"):
        Half()  # type: ignore[abstract]
