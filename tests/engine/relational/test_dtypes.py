"""Dtypes are known before anything is read, are pandas' own, and where rows decide, the rows are asked."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import howdah as hd
from howdah.engine.relational.convert import from_pandas, to_series
from howdah.engine.relational.dtypes import of_arrow, of_pandas
from howdah.errors import NotSupported, SchemaError

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


# -- dtypes that rows decide ----------------------------------------------------------------------------------------

LEFT = pd.DataFrame({"k": [1, 2, 3], "a": pd.Series([1, 2, 3], dtype="int32"), "on": [True, False, True]})
FULL = pd.DataFrame({"k": [3, 2, 1], "n": [30, 20, 10], "yes": [True, False, True], "f": [1.0, 2.0, 3.0]})
Pipeline = Callable[[Any, Any], Any]

DECIDED: dict[str, Pipeline] = {
    "all partners found": lambda df, other: df.merge(other, on="k", how="left"),
    "arithmetic on top": lambda df, other: df.merge(other, on="k", how="left").assign(z=lambda q: q.n + q.a),
    "a filter on top": lambda df, other: _keep(df.merge(other, on="k", how="left")),
    "groups on top": lambda df, other: df.merge(other, on="k", how="left").groupby("on")[["n", "a"]].sum(),
    "outer": lambda df, other: df.merge(other, on="k", how="outer"),
    "right": lambda df, other: df.merge(other, on="k", how="right"),
    "two joins": lambda df, other: df.merge(other, on="k", how="left").merge(other, on="k", how="left"),
    "division by a column": lambda df, other: df.assign(z=df.k // (df.a - 2), y=df.k % df.a),
}


def _keep(frame: Any) -> Any:
    return frame[frame.n > 10]


@pytest.mark.parametrize("partners", [3, 2, 0])
@pytest.mark.parametrize("name", DECIDED)
def test_integers_become_floats_only_where_a_row_has_no_value(name: str, partners: int) -> None:
    other = FULL.head(partners)
    got = DECIDED[name](hd.from_pandas(LEFT), hd.from_pandas(other)).compute(scheduler="inline")
    want = DECIDED[name](LEFT, other)
    objects = [c for c in want.columns if want[c].dtype == np.dtype(object)]  # None or NaN: pandas' accident
    pd.testing.assert_frame_equal(got.drop(columns=objects), want.drop(columns=objects))
    for c in objects:
        assert got[c].fillna(9).tolist() == want[c].fillna(9).tolist()


@pytest.mark.parametrize("statistics", [True, False])
@pytest.mark.parametrize("holes", [True, False])
def test_a_nullable_integer_is_a_float_only_with_nulls(statistics: bool, holes: bool, tmp_path: Path) -> None:
    """Statistics tell; without them the rows are asked."""
    table = pa.table({"x": pa.array([1, None if holes else 2], pa.int32()), "k": ["a", "a"]})
    pq.write_table(table, tmp_path / "t.parquet", write_statistics=statistics)
    want, got = pd.read_parquet(tmp_path / "t.parquet"), hd.read_parquet(tmp_path / "t.parquet")
    pd.testing.assert_frame_equal(got.compute(), want)
    sums = got.groupby("k", as_index=False).x.sum().compute()
    pd.testing.assert_frame_equal(sums, want.groupby("k", as_index=False).x.sum())


@pytest.mark.parametrize("most", [100, 127, 2**31 - 1])
def test_sums_of_narrow_integers_are_as_narrow_as_pandas_leaves_them(most: int, tmp_path: Path) -> None:
    dtype = "int8" if most < 128 else "int32"
    want = pd.DataFrame({"k": ["a", "a", "b"], "x": pd.Series([most, most, -1], dtype=dtype)})
    for frame in (want, want.tail(1)):
        got = hd.from_pandas(frame)
        pd.testing.assert_series_equal(got.groupby("k").x.sum().compute(), frame.groupby("k").x.sum())
        assert got.x.sum().compute() == frame.x.sum()


def test_a_promise_that_values_break_is_an_error() -> None:
    with pytest.raises(SchemaError, match="are not of the declared type"):
        from_pandas(pd.Series(["x"]), of_pandas(pd.Series([1])))
    assert from_pandas(pd.Series([], dtype="int64"), of_pandas(pd.Series([1]))).dtype == pl.Int64
