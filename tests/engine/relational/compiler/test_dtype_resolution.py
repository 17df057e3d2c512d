"""Where the rows decide a dtype it is pandas' dtype, whatever the rows are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import howdah as hd

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
