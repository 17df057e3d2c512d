"""Dtypes are known before anything is read, are pandas' own, and are refused where they cannot be carried."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import howdah as hd
from howdah.engine.relational.convert import from_pandas, to_series
from howdah.engine.relational.dtypes import of_arrow, of_pandas
from howdah.errors import NotSupported

STORED: dict[str, pa.Array] = {
    "int8": pa.array([1, 2], pa.int8()),
    "uint64": pa.array([1, 2**63], pa.uint64()),
    "int64 with nulls": pa.array([1, None], pa.int64()),
    "float32": pa.array([1.5, None], pa.float32()),
    "bool": pa.array([True, False]),
    "bool with nulls": pa.array([True, None]),
    "text": pa.array(["a", None]),
    "large text": pa.array(["a", "b"], pa.large_string()),
    "seconds": pa.array([0, None], pa.timestamp("s")),
    "nanoseconds": pa.array([1, None], pa.timestamp("ns")),
    "a time zone": pa.array([0, 1], pa.timestamp("us", "Europe/Berlin")),
    "spans": pa.array([1, None], pa.duration("ms")),
    "dates": pa.array([dt.date(2020, 1, 1), None]),
    "decimals": pa.array([Decimal("1.50"), None], pa.decimal128(12, 2)),
    "bytes": pa.array([b"a", None]),
    "times of day": pa.array([dt.time(1, 2, 3), None]),
    "nothing": pa.nulls(2),
}


@pytest.mark.parametrize("name", STORED)
def test_parquet_columns_are_what_pandas_reads(name: str, tmp_path: Path) -> None:
    pq.write_table(pa.table({"x": STORED[name]}), tmp_path / "t.parquet")
    want = pd.read_parquet(tmp_path / "t.parquet")
    got = hd.read_parquet(tmp_path / "t.parquet")
    assert got.dtypes.x == want.dtypes.x
    pd.testing.assert_frame_equal(got.compute(), want)


@pytest.mark.parametrize("name", STORED)
def test_values_go_to_polars_and_come_back(name: str) -> None:
    want = pa.table({"x": STORED[name]}).to_pandas().x
    dtype = of_pandas(want)
    carried = from_pandas(want, dtype)
    assert carried.dtype == dtype.polars
    pd.testing.assert_series_equal(to_series(carried, dtype, "x"), want)


def test_a_nested_column_is_refused_when_it_is_used_and_not_before(tmp_path: Path) -> None:
    pq.write_table(pa.table({"x": [1, 2], "deep": [[1], [2]]}), tmp_path / "t.parquet")
    df = hd.read_parquet(tmp_path / "t.parquet")
    assert df.x.sum().compute() == 3
    with pytest.raises(NotSupported, match=r"list.*columns=\["):
        df.compute()


def test_null_is_missing_where_of_arrow_says_so() -> None:
    assert of_arrow(pa.int64(), nulls=True).is_nullable
    assert not of_arrow(pa.int64(), nulls=False).is_nullable
    assert of_arrow(pa.float64(), nulls=False).is_nullable  # NaN is always possible


@pytest.mark.parametrize(
    "values",
    [
        pd.Series(["a", "b"], dtype="category"),
        pd.Series([1, None], dtype="Int64"),
        pd.Series([1 + 2j]),
        pd.Series([dt.date(2020, 1, 1), "x"]),
        pd.Series(["a"], dtype="string"),
    ],
    ids=lambda s: str(s.dtype),
)
def test_what_cannot_be_carried_is_refused_with_the_column(values: pd.Series[Any]) -> None:
    with pytest.raises(NotSupported, match="column 'odd' is"):
        hd.from_pandas(pd.DataFrame({"odd": values}))
