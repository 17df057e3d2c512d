"""Group-bys give pandas' answers in each of their shapes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

import howdah as hd
from howdah.errors import NotSupported, SchemaError, UnknownColumn

DATA = pd.DataFrame({"k": ["b", "a", "b", None], "j": [1, 1, 2, 2], "x": [1.5, None, 4.0, 8.0], "t": list("wxyz")})
AGGREGATES = ["sum", "mean", "min", "max", "std", "var", "first", "last", "count", "nunique", "size"]


def same(make: Callable[[Any], Any]) -> None:
    got, want = make(hd.from_pandas(DATA, npartitions=2)).compute(), make(DATA)
    check = pd.testing.assert_frame_equal if isinstance(want, pd.DataFrame) else pd.testing.assert_series_equal
    check(got, want)


@pytest.mark.parametrize("name", AGGREGATES)
@pytest.mark.parametrize("options", [{}, {"sort": False}, {"dropna": False}, {"as_index": False}], ids=str)
def test_one_column(name: str, options: dict[str, bool]) -> None:
    same(lambda df: getattr(df.groupby("k", **options).x, name)())


@pytest.mark.parametrize("name", AGGREGATES)
def test_several_columns_and_keys(name: str) -> None:
    same(lambda df: getattr(df.groupby(["k", "j"])[["x"]], name)())
    same(lambda df: getattr(df.groupby(df.j + 1)[["x", "j"]], name)())


def test_named_aggregates() -> None:
    same(lambda df: df.groupby("j").agg(total=("x", "sum"), rows=("x", "size"), most=("t", "max")))
    same(lambda df: df.groupby("j").agg({"x": "mean", "t": "first"}))
    same(lambda df: df.groupby("j").x.agg(["min", "max"]))
    same(lambda df: df.groupby("j").x.agg(low="min"))


def test_text_columns_are_left_out_by_numeric_only_and_refused_without() -> None:
    same(lambda df: df.groupby("j").sum(numeric_only=True))
    with pytest.raises(SchemaError, match=r"mean.*column 'k' is text"):
        hd.from_pandas(DATA).groupby("j").mean()


def test_what_is_wrong_is_refused() -> None:
    groups = hd.from_pandas(DATA).groupby("j")
    with pytest.raises(UnknownColumn, match="groupby: no column 'xx': did you mean 'x'"):
        groups["xx"]
    with pytest.raises(NotSupported, match="functions are not there yet"):
        groups.x.agg([len])
    with pytest.raises(NotSupported, match="several aggregates of one column"):
        groups.agg({"x": ["min", "max"]})
    with pytest.raises(NotSupported, match=r"std\(ddof=0\)"):
        groups.x.std(ddof=0)
