"""Operators that bring rows together give pandas' rows in pandas' order, from one partition and from many."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest

import howdah as hd
from howdah.engine.plan.options import compile_options

FRAME = pd.DataFrame(
    {
        "k": ["b", "a", "b", None, "a", "c", "b", None, "a", "c"],
        "g": [2, 1, 2, 3, 1, 2, 3, 1, 1, 2],
        "i": [5, 3, 5, 1, 9, 2, 5, 3, 8, 0],
        "u8": pd.Series([200, 200, 27, 1, 1, 5, 5, 6, 7, 8], dtype="uint8"),
        "big": [2**62, 2**62, 2**62, 1, 1, 1, 1, 1, 1, 1],
        "f": [1.5, np.nan, -0.0, 0.0, np.inf, 2.5, 1.5, np.nan, -np.inf, 7.0],
        "f32": pd.Series([1.5, np.nan, 0.1, 0.2, 3, 2.5, 1.5, np.nan, 4, 7.0], dtype="float32"),
        "b": [True, False, True, True, False, False, True, False, True, True],
        "t": pd.to_datetime(["2020-01-01", "2021-05-05", None, "2020-01-01", "1999-12-31", None] + ["2022-01-01"] * 4),
        "d": [dt.date(2020, 1, 1), dt.date(1995, 3, 15), None, dt.date(2020, 1, 1), *[dt.date(1970, 1, 1)] * 6],
        "m": [Decimal("1.50"), Decimal("0.01"), None, Decimal("-3.25"), *[Decimal("2.00")] * 5, None],
    }
)
FRAME["t"] = FRAME.t.astype("datetime64[us]")
OTHER = FRAME[["k", "g", "f", "d", "t"]].tail(6).assign(n=[1, 2, 3, 4, 5, 6]).reset_index(drop=True)

Pipeline = Callable[[Any], Any]

GROUPS: dict[str, Pipeline] = {
    "missing keys are left out": lambda df: df.groupby("k").i.sum(),
    "missing keys are a group, last": lambda df: df.groupby("k", dropna=False).i.sum(),
    "as they come": lambda df: df.groupby(["k", "g"], sort=False).i.sum(),
    "as they come, missing among them": lambda df: df.groupby("k", sort=False, dropna=False).i.sum(),
    "keys as columns": lambda df: df.groupby(["g", "k"], as_index=False).agg(n=("i", "size"), s=("f", "mean")),
    "sizes as a column": lambda df: df.groupby("k", as_index=False).size(),
    "zero is zero": lambda df: df.groupby("f", dropna=False).i.sum(),
    "keys that are dates": lambda df: df.groupby("d").i.sum(),
    "keys that are decimals": lambda df: df.groupby("m").i.sum(),
    "keys that are times": lambda df: df.groupby("t", dropna=False).i.sum(),
    "keys that are expressions": lambda df: df.groupby([df.i % 3, df.k.str.upper()]).f.sum(),
    "sums wrap as numpy's do": lambda df: df.groupby("b").big.sum(),
    "narrow sums": lambda df: df.groupby("k").u8.sum(),
    "bools are counted": lambda df: df.groupby("k").b.sum(),
    "shares of bools": lambda df: df.groupby("k").b.mean(),
    "float32 means": lambda df: df.groupby("g").f32.mean(),
    "deviations of one value": lambda df: df.groupby(["k", "g"]).i.std(),
    "first and last present values": lambda df: df.groupby("g")[["k", "f", "t"]].first(),
    "ends of dates": lambda df: df.groupby("g").agg(a=("d", "min"), z=("d", "max"), m=("m", "min")),
    "decimals add exactly": lambda df: df.groupby("g").m.sum(),
    "no present value": lambda df: df[df.m.isna()].groupby("g").agg(a=("m", "sum"), c=("m", "count"), f=("f", "mean")),
    "first of no present value": lambda df: df[df.m.isna()].groupby("g")[["m"]].first(),
    "distinct values": lambda df: df.groupby("g")[["k", "f", "d"]].nunique(),
    "no rows": lambda df: df[df.i > 99].groupby("k").agg(a=("i", "sum"), b=("f", "mean"), c=("d", "min")),
    "no rows, keys as columns": lambda df: df[df.i > 99].groupby("g", as_index=False).u8.sum(),
    "how often, most frequent first": lambda df: df.k.value_counts(dropna=False),
    "groups of groups": lambda df: df.groupby(["k", "g"]).i.sum().reset_index().groupby("k").i.max(),
}

JOINS: dict[str, Pipeline] = {
    "inner, every pair of equal keys": lambda df: df.merge(_other(df), on="k"),
    "left": lambda df: df.merge(_other(df), on="k", how="left"),
    "right": lambda df: df.merge(_other(df), on="k", how="right"),
    "outer": lambda df: df.merge(_other(df), on="k", how="outer"),
    "outer on floats, NaN meets NaN": lambda df: df.merge(_other(df), on="f", how="outer"),
    "outer on times": lambda df: df.merge(_other(df), on="t", how="outer"),
    "outer on dates": lambda df: df.merge(_other(df), on="d", how="outer"),
    "outer on two keys": lambda df: df.merge(_other(df), on=["g", "k"], how="outer"),
    "left on two keys": lambda df: df.merge(_other(df), on=["k", "g"], how="left"),
    "keys of other names": lambda df: df.merge(_other(df), left_on="i", right_on="n", how="outer"),
    "an integer beside a float": lambda df: df.merge(_other(df)[["f"]], left_on="i", right_on="f", how="left"),
    "columns of one name": lambda df: df[["k", "g"]].merge(_other(df)[["k", "g"]], on="k", suffixes=("", "_r")),
    "columns in common": lambda df: df[["k", "g"]].merge(_other(df)[["k", "g", "n"]]),
    "with groups of itself": lambda df: df.merge(df.groupby("k", as_index=False).agg(n=("i", "size")), on="k"),
    "with nothing": lambda df: df[["k", "i"]].merge(_other(df)[_other(df).n > 99], on="k", how="left"),
    "nothing with it": lambda df: df[df.i > 99][["k", "i"]].merge(_other(df), on="k", how="outer"),
}

ORDER: dict[str, Pipeline] = {
    "ties of numpy's sort": lambda df: df.sort_values("g"),
    "missing values last, also downwards": lambda df: df.sort_values("f", ascending=False),
    "missing values first": lambda df: df.sort_values("f", na_position="first"),
    "two columns, two directions": lambda df: df.sort_values(["g", "f"], ascending=[False, True]),
    "text, missing first": lambda df: df.sort_values(["k", "i"], na_position="first"),
    "dates": lambda df: df.sort_values("d"),
    "a fresh index": lambda df: df.sort_values("i", ignore_index=True),
    "largest, ties as they come": lambda df: df.nlargest(4, "i"),
    "largest beyond the present values": lambda df: df.nlargest(10, "f"),
    "smallest by two": lambda df: df.nsmallest(5, ["g", "f"]),
    "largest of no rows": lambda df: df[df.i > 99].nlargest(2, "i"),
    "the first rows of what a filter left": lambda df: df[df.i > 4].head(2),
    "the last rows of what a filter left": lambda df: df[df.i > 4].tail(2),
    "all but the last": lambda df: df[df.i > 4].head(-1),
    "the first rows of none": lambda df: df[df.i > 99].head(),
    "rows in the middle": lambda df: df.head(7).tail(3),
    "numbered anew after a filter": lambda df: df[df.i > 4].reset_index(),
    "labels as columns and back": lambda df: df.set_index(["k", "g"]).sort_values("i").reset_index(),
}


def _other(df: Any) -> Any:
    return OTHER if isinstance(df, pd.DataFrame) else hd.from_pandas(OTHER)


def plain(frame: Any) -> Any:
    """None or NaN in an object column: after a join pandas has both, by accident."""
    if isinstance(frame, pd.DataFrame):
        return frame.apply(plain)
    return frame.where(frame.notna(), None) if frame.dtype == np.dtype(object) else frame


@pytest.mark.filterwarnings("ignore:You are merging on int and float")
@pytest.mark.parametrize("npartitions", [1, 4])
@pytest.mark.parametrize("name", [*GROUPS, *JOINS, *ORDER])
def test_rows_and_order_are_pandas(name: str, npartitions: int) -> None:
    pipeline = (GROUPS | JOINS | ORDER)[name]
    want = pipeline(FRAME)
    with compile_options(fan_in=2):
        got = pipeline(hd.from_pandas(FRAME, npartitions=npartitions)).compute(scheduler="inline")
    check = pd.testing.assert_frame_equal if isinstance(want, pd.DataFrame) else pd.testing.assert_series_equal
    check(*(plain(x) if name in JOINS else x for x in (got, want)), rtol=1e-12)


@pytest.mark.filterwarnings("ignore:invalid value encountered in reduce")
@pytest.mark.parametrize("column", ["i", "u8", "big", "f", "f32", "b", "t", "d", "m", "k"])
@pytest.mark.parametrize("rows", ["all", "some missing", "none"])
def test_reductions_have_pandas_type_and_value(column: str, rows: str) -> None:
    frame = {"all": FRAME, "some missing": FRAME.head(3), "none": FRAME.head(0)}[rows]
    names = ["min", "max", "count", "nunique"]
    if column in ("i", "u8", "big", "f", "f32", "b"):
        names += ["sum", "mean", "std"]
    for name in names:
        x = frame[column].dropna() if frame[column].dtype.name in ("object", "str") else frame[column]
        want = getattr(x, name)()
        got = getattr(hd.from_pandas(FRAME, npartitions=3).head(len(frame))[column], name)().compute(scheduler="inline")
        if pd.isna(want):
            assert pd.isna(got), name
        else:
            assert type(got) is type(want), name
            pd.testing.assert_series_equal(pd.Series([got]), pd.Series([want]), rtol=1e-6, obj=name)
