"""Row-wise expressions: what Polars computes is what pandas computes, in values, dtypes and missing values."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest

import howdah as hd
from howdah.errors import NotSupported

TIMES = ["2020-01-01", None, "1999-12-31 23:59:59", "2020-02-29 12:00"]
NAN = float("nan")
SPANS = ["1h", None, "36h", "72h"]
FRAME = pd.DataFrame(
    {
        "i": [5, 0, -7, 2],
        "j": [2, 3, 2, -3],
        "i8": pd.Series([100, -128, 27, -1], dtype="int8"),
        "u8": pd.Series([200, 0, 27, 1], dtype="uint8"),
        "u64": pd.Series([2**63, 1, 2, 3], dtype="uint64"),
        "big": [2**62, 1, -(2**62), 3],
        "f": [1.5, np.nan, -np.inf, -0.0],
        "f32": pd.Series([0.1, np.nan, 2.5, 0], dtype="float32"),
        "b": [True, False, True, False],
        "s": pd.Series(["ä b", None, "", "X1"], dtype="str"),
        "t": pd.to_datetime(pd.Series(TIMES), format="ISO8601").astype("datetime64[us]"),
        "td": pd.to_timedelta(pd.Series(SPANS)).astype("timedelta64[us]"),
        "d": [dt.date(2020, 1, 1), None, dt.date(1995, 3, 15), dt.date(1970, 1, 1)],
        "m": [Decimal("1.50"), None, Decimal("-3.25"), Decimal("0.00")],
    }
)
FRAME["tz"] = FRAME.t.dt.tz_localize("Europe/Berlin")

Expression = Callable[[Any], Any]

SAME: dict[str, Expression] = {
    # integers: numpy's widths and wrap-around, pandas' division by zero
    "narrow integers wrap": lambda df: df.i8 + df.i8,
    "wide integers wrap": lambda df: df.big * 4,
    "unsigned integers wrap below zero": lambda df: df.u8 - 1,
    "a large literal": lambda df: df.i + 2**40,
    "mixed signs": lambda df: df.u8 - df.i8,
    "negated unsigned": lambda df: -df.u8,
    "absolute of the smallest": lambda df: df.i8.abs(),
    "division": lambda df: df.i / df.j,
    "division by zero": lambda df: df.j / df.i,
    "floor division": lambda df: df.i // df.j,
    "floor division by zeros": lambda df: df.j // df.i,
    "floor division by literal zero": lambda df: df.i // 0,
    "modulo of negatives": lambda df: df.i % df.j,
    "modulo by literal zero": lambda df: df.i % 0,
    "modulo by a float": lambda df: df.i % -2.5,
    "powers": lambda df: df.i**2,
    "a scalar on the left": lambda df: 7 - df.i,
    "a ratio with the scalar on the left": lambda df: 1 / df.f,
    "a float32 beside a Python float stays": lambda df: df.f32 * 0.1,
    "a float32 beside a float64 widens": lambda df: df.f32 + df.f,
    # comparisons: a missing value is unequal to everything, and neither below nor above
    "NaN is not above": lambda df: df.f > -1,
    "NaN is not below": lambda df: df.f <= 1,
    "NaN is unequal to itself": lambda df: df.f != df.f,
    "equal to NaN is nobody": lambda df: df.f == NAN,
    "missing text is unequal": lambda df: df.s != "X1",
    "missing text is not below": lambda df: df.s < "z",
    "text beside a number is unequal": lambda df: df.s == 1,
    "an integer beside a float": lambda df: df.i8 == 100.5,
    "a bool beside an integer": lambda df: df.b == 1,
    "unsigned beside signed": lambda df: df.u64 > df.i,
    "a literal out of range": lambda df: df.u8 > -1,
    "a time beside text": lambda df: df.t >= "2020-01-01",
    "a missing time is not before": lambda df: df.t < pd.Timestamp("2021-01-01"),
    "a time with zone beside text": lambda df: df.tz >= "2020-01-01",
    "not of a comparison with missing": lambda df: ~(df.f > 1),
    "masks together": lambda df: df.b & (df.i > 1) | df.s.isna(),
    # missing values
    "isna of a float": lambda df: df.f.isna(),
    "isna of a date": lambda df: df.d.isna(),
    "notna of text": lambda df: df.s.notna(),
    "fillna of a float": lambda df: df.f.fillna(0),
    "fillna from a column": lambda df: df.f.fillna(df.i),
    "fillna of a date": lambda df: df.d.fillna(dt.date(2000, 1, 1)),
    "fillna of text": lambda df: df.s.fillna("?"),
    # decimals are exact; dates are dates
    "decimals multiply exactly": lambda df: df.m * (1 - df.m) + Decimal("0.125"),
    "decimals and integers": lambda df: df.m * 3 + df.i,
    "decimals beside a literal between two of them": lambda df: df.m > 1.4999,
    "decimals equal to a float that is exact": lambda df: df.m == 1.5,
    "decimals equal to nobody": lambda df: df.m == Decimal("1.505"),
    "decimals beside integers": lambda df: df.m > df.j,
    "decimals as floats": lambda df: df.m.astype("float64"),
    "dates in order": lambda df: df.d >= dt.date(1995, 3, 15),
    "dates unequal": lambda df: df.d != dt.date(2020, 1, 1),
    "dates as times": lambda df: df.d.astype("datetime64[us]"),
    # times
    "parts of a time": lambda df: df.t.dt.year,
    "parts of a time without missing ones": lambda df: df[df.t.notna()].t.dt.hour,
    "the date of a time": lambda df: df.t.dt.date,
    "the hour where the zone is": lambda df: df.tz.dt.hour,
    "a time and a span": lambda df: df.t + df.td,
    "a time less a time": lambda df: df.t - pd.Timestamp("2020-01-01"),
    "spans in hours": lambda df: df.td / pd.Timedelta("1h"),
    "spans of two units": lambda df: df.td / df.td.astype("timedelta64[ns]"),
    "spans multiplied": lambda df: df.td * 2,
    "coarser times": lambda df: df.t.astype("datetime64[s]"),
    # text: Unicode, missing, and Python's regular expressions
    "upper": lambda df: (df.s + "ß").str.upper(),
    "lower": lambda df: (df.s + "İΣ").str.lower(),
    "length with a missing one": lambda df: df.s.str.len(),
    "length without": lambda df: df[df.s.notna()].s.str.len(),
    "contains plain text": lambda df: df.s.str.contains("1"),
    "contains an expression": lambda df: df.s.str.contains(r"^\w \w$"),
    "contains any case": lambda df: df.s.str.contains("x", case=False),
    "starts with one of several": lambda df: df.s.str.startswith(("ä", "X")),
    "slices": lambda df: df.s.str[-1:],
    "text put together": lambda df: df.s + "!" + df.s,
    "isin with missing": lambda df: df.s.isin(["X1", None]),
    "isin of numbers of all kinds": lambda df: df.i.isin([5, 2.0, "0"]),
    "isin of nothing": lambda df: df.i.isin([]),
    # casts
    "a narrowing cast wraps": lambda df: df.big.astype("int32"),
    "bools as numbers": lambda df: df.b.astype("int64") + df.b.astype("float32"),
    "numbers as text": lambda df: df.i.astype("str"),
    "floats as bools": lambda df: df.f.astype("bool"),
    "banker's rounding": lambda df: (df.i / 2).round(),
    "clipped": lambda df: df.f.clip(-1, 1),
    # scalars that became columns
    "an assigned scalar is a column": lambda df: df.assign(x=1, y=lambda q: q.x + q.i8),
    "an assigned scalar sums per row": lambda df: df.assign(x=1).groupby("b").x.sum(),
    "an assigned text converts": lambda df: df.assign(x="5").x.astype("int64"),
    "nothing assigned": lambda df: df.assign(x=None, y=pd.NaT, z=np.nan),
}


def same(got: Any, want: Any) -> None:
    check = pd.testing.assert_frame_equal if isinstance(want, pd.DataFrame) else pd.testing.assert_series_equal
    check(got, want)


@pytest.mark.parametrize("npartitions", [1, 3])
@pytest.mark.parametrize("name", SAME)
def test_computes_what_pandas_computes(name: str, npartitions: int) -> None:
    got = SAME[name](hd.from_pandas(FRAME, npartitions=npartitions)).compute(scheduler="inline")
    same(got, SAME[name](FRAME))


@pytest.mark.parametrize("name", SAME)
def test_no_rows_keep_the_dtypes(name: str) -> None:
    """Dtypes of empty frames are pandas' too: nothing may depend on having seen a row."""
    none = hd.from_pandas(FRAME)
    got = SAME[name](none[none.i > 99]).compute(scheduler="inline")
    same(got, SAME[name](FRAME[FRAME.i > 99]))


def test_decimals_of_too_many_digits_are_refused_with_the_remedy() -> None:
    df = hd.from_pandas(pd.DataFrame({"m": [Decimal("9" * 30)]}))
    with pytest.raises(NotSupported, match=r'38 digits.*astype\("float64"\)'):
        (df.m * df.m).compute()
