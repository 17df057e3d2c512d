"""Only columns that are used are read, and what was not read changes no result."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import howdah as hd

Pipeline = Callable[[Any], Any]

COLUMNS: dict[str, tuple[Pipeline, set[str]]] = {
    "one column of many": (lambda df: df[["x"]], {"x"}),
    "a filter's column beside the result's": (lambda df: df[df.n > 90][["x"]], {"n", "x"}),
    "columns of an expression": (lambda df: (df.x * df.n).to_frame("z"), {"x", "n"}),
    "an assigned column that nobody uses": (lambda df: df.assign(z=df.wide + "!")[["n"]], {"n"}),
    "an aggregate that nobody uses": (
        lambda df: df.groupby("k").agg(a=("x", "sum"), b=("wide", "max"))[["a"]],
        {"k", "x"},
    ),
    "keys and values of groups": (lambda df: df.groupby("k").x.sum(), {"k", "x"}),
    "the order's column, not in the result": (lambda df: df.sort_values("x", kind="stable")[["k"]], {"k", "x"}),
    "the ranking's column": (lambda df: df.nlargest(3, "x")[["k", "n"]], {"k", "n", "x"}),
    "both sides of a join": (
        lambda df: df[["k", "n", "wide"]].merge(df[["n", "x", "wide"]], on="n")[["k", "x"]],
        {"k", "n", "x"},
    ),
    "a dropped column": (lambda df: df.drop(columns=["wide", "half", "day"]), {"n", "k", "x"}),
    "rows alone: the cheapest column": (lambda df: df[[]], {"n"}),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_reads_only_columns_that_are_used(name: str, table: Path, reads: Any) -> None:
    pipeline, columns = COLUMNS[name]
    got = pipeline(hd.read_parquet(table)).compute(scheduler="inline")
    want = pipeline(pd.read_parquet(table))
    check = pd.testing.assert_frame_equal if isinstance(want, pd.DataFrame) else pd.testing.assert_series_equal
    check(got, want, check_column_type=False) if isinstance(want, pd.DataFrame) else check(got, want)
    if name.startswith("rows alone"):
        assert len(reads.columns) == 1
        assert "wide" not in reads.columns
    else:
        assert reads.columns == columns
