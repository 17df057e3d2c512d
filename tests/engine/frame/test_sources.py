"""Frames over a reader that knows the least of its table: no row counts, no statistics, no local files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

import howdah as hd
from howdah.engine.plan.options import compile_options
from howdah.errors import SchemaError, UnknownColumn
from howdah.io import Condition, Split, TableSource
from howdah.io.readers import registry

PARTS = ({"n": [3, 1, None], "s": ["a", "b", None]}, {"n": [], "s": []}, {"n": [4, 1], "s": ["b", "c"]})
FRAME = pd.DataFrame({"n": [3.0, 1.0, None, 4.0, 1.0], "s": pd.Series(["a", "b", None, "b", "c"], dtype="str")})
read: list[tuple[str, ...]] = []


@dataclass(frozen=True)
class PlainSplit(Split):
    """One of `PARTS`; `rows` and `first_row` are not known before it is read."""

    number: int
    nbytes: int = 100
    rows: int | None = None
    first_row: int | None = None
    hosts: tuple[str, ...] = ()

    def read(self, columns: Sequence[str]) -> pa.Table:
        read.append(tuple(columns))
        return pa.table({name: pa.array(PARTS[self.number][name], SCHEMA.field(name).type) for name in columns})


SCHEMA = pa.schema([("n", pa.int64()), ("s", pa.string())])


class PlainTable(TableSource):
    name, schema, fingerprint = "plain", SCHEMA, b"plain"  # type: ignore[assignment]

    def splits(
        self, columns: Sequence[str], *, conditions: Sequence[Condition] = (), target_bytes: int = 1
    ) -> Sequence[Split]:
        return [PlainSplit(i) for i in range(len(PARTS))]


def open_plain(url: str) -> PlainTable:
    return PlainTable()


@pytest.fixture(params=["one task", "many tasks"])
def df(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    entry = EntryPoint("plain", f"{__name__}:open_plain", registry.ENTRY_POINTS)
    monkeypatch.setattr(EntryPoint, "load", lambda self: open_plain)
    monkeypatch.setattr(registry, "entry_points", lambda group: [entry])
    read.clear()
    with compile_options(single_task_bytes=-1 if request.param == "many tasks" else 1000):
        yield hd.read_table("anywhere", format="plain")


def same(got: Any, want: Any) -> None:
    pd.testing.assert_frame_equal(got.compute(scheduler="inline"), want)


def test_rows_get_pandas_index_by_counting(df: Any) -> None:
    same(df, FRAME)


def test_a_filter_keeps_the_numbers_of_its_rows(df: Any) -> None:
    same(df[df.n > 2], FRAME[FRAME.n > 2])


def test_the_first_rows_of_many_splits(df: Any) -> None:
    same(df.head(4), FRAME.head(4))


def test_groups(df: Any) -> None:
    same(df.groupby("s").sum(), FRAME.groupby("s").sum())


def test_only_used_columns_are_read_and_length_is_counted(df: Any) -> None:
    assert df.n.max().compute(scheduler="inline") == 4
    assert {name for columns in read for name in columns} == {"n"}
    assert len(df) == 5


def test_columns_are_checked_when_the_frame_is_made(df: Any) -> None:
    with pytest.raises(UnknownColumn, match=r"read_table\('anywhere'\): no column 'm'"):
        hd.read_table("anywhere", format="plain", columns=["m"])
    assert list(hd.read_table("anywhere", format="plain", columns=["s"]).columns) == ["s"]


def test_a_frame_from_pandas_needs_columns_that_have_names() -> None:
    with pytest.raises(SchemaError, match="column names must be distinct text"):
        hd.from_pandas(pd.DataFrame({0: [1]}))
