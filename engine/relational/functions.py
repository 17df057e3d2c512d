"""Row-wise functions by name: pandas' form, which is the reference, and a Polars form with the same result.

`FUNCTIONS` has them all. A function without a Polars form runs as pandas on the partition, which `explain()` shows.
Used by `columns` (for dtypes) and `compiler.polars_expr` (for execution).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import polars as pl

from howdah.engine.relational.dtypes import DType, is_na

PolarsForm = Callable[..., pl.Expr | None]


@dataclass(frozen=True, slots=True)
class Function:
    """A row-wise function. `pandas_form`: (Series, other, **params) -> Series.

    `polars_form` is the same for Polars; None, or a returned None, means that there is none. Its arguments
    are (expression, dtype of the source, expression or scalar of `other`, **params); floats come without NaN.
    """

    pandas_form: Callable[..., Any]
    polars_form: PolarsForm | None = None


def _isna(x: pl.Expr, dtype: DType, other: Any) -> pl.Expr:
    return x.is_null()


def _round(x: pl.Expr, dtype: DType, other: Any, decimals: int) -> pl.Expr | None:
    if dtype.is_integer and decimals >= 0:
        return x
    return x.round(0, mode="half_to_even") if dtype.is_float and decimals == 0 else None


def _abs(x: pl.Expr, dtype: DType, other: Any) -> pl.Expr | None:
    return x.abs() if dtype.is_float or dtype.kind in ("decimal", "int64", "timedelta") else None


def _fillna(x: pl.Expr, dtype: DType, other: Any) -> pl.Expr:
    return x.fill_null(other if isinstance(other, pl.Expr) else pl.lit(other))


def _invert(x: pl.Expr, dtype: DType, other: Any) -> pl.Expr:
    return ~x


def _contains(x: pl.Expr, dtype: DType, other: Any, pat: str, case: bool, regex: bool) -> pl.Expr | None:
    if not case or (regex and any(c in pat for c in r"\.^$*+?{}[]|()")):
        return None  # Python's regular expressions are not Rust's
    return x.str.contains(pat, literal=True).fill_null(False)


def _isin(x: pl.Expr, dtype: DType, other: Any, values: tuple[Any, ...]) -> pl.Expr | None:
    fits: dict[str, tuple[type, ...]] = {"str": (str,), "bool": (bool,)}
    if dtype.is_number:
        kept: list[Any] = [int(v) if isinstance(v, bool) else v for v in values if isinstance(v, (int, float))]
        if any(is_na(v) for v in values):
            return None
        if dtype.is_integer and all(isinstance(v, int) and -(2**63) <= v < 2**63 for v in kept):
            return x.cast(pl.Int64).is_in(kept) if dtype.kind != "uint64" and kept else None
        return None
    if dtype.kind not in fits or any(is_na(v) for v in values):
        return None
    kept = [v for v in values if isinstance(v, fits[dtype.kind])]
    return x.is_in(kept).fill_null(False) if kept else None


def _affix(name: str) -> PolarsForm:
    def run(x: pl.Expr, dtype: DType, other: Any, pat: Any) -> pl.Expr | None:
        if not isinstance(pat, str):
            return None
        found: pl.Expr = getattr(x.str, name)(pat)
        return found.fill_null(False)

    return run


def _moment(name: str, shift: int = 0) -> PolarsForm:
    def run(x: pl.Expr, dtype: DType, other: Any) -> pl.Expr | None:
        if dtype.kind != "datetime" or dtype.fixed_offset:
            return None
        part: pl.Expr = getattr(x.dt, name)().cast(pl.Int32)
        return part - shift if shift else part

    return run


def _via(accessor: str, name: str) -> Callable[..., Any]:
    def run(series: Any, other: Any, /, **params: Any) -> Any:
        found = getattr(getattr(series, accessor), name)
        return found(**params) if callable(found) else found

    return run


def _method(name: str) -> Callable[..., Any]:
    def run(series: Any, other: Any, /, **params: Any) -> Any:
        return getattr(series, name)(*([] if other is None else [other]), **params)

    return run


def _date(x: pl.Expr, dtype: DType, other: Any) -> pl.Expr | None:
    return x.dt.date() if dtype.kind == "datetime" and not dtype.fixed_offset else None


TEXT = ("upper", "lower", "strip", "lstrip", "rstrip", "title", "capitalize", "swapcase", "casefold", "len", "slice",
        "contains", "startswith", "endswith", "replace", "zfill", "pad", "ljust", "rjust", "center", "match",
        "fullmatch", "count", "find", "isdigit", "isalpha", "isalnum", "isnumeric", "isupper", "islower", "isspace",
        "get", "repeat", "removeprefix", "removesuffix")  # fmt: skip
"""The methods of `.str`."""

MOMENT = ("year", "month", "day", "hour", "minute", "second", "microsecond", "nanosecond", "quarter", "dayofyear",
          "day_of_year", "weekday", "dayofweek", "day_of_week", "date", "days_in_month", "is_month_start",
          "is_month_end", "is_quarter_start", "is_quarter_end", "is_year_start", "is_year_end",
          "is_leap_year")  # fmt: skip
"""Properties of `.dt` for datetimes."""

MOMENT_METHODS = ("normalize", "strftime", "floor", "ceil", "round", "day_name", "month_name", "total_seconds")
SPAN = ("days", "seconds", "microseconds", "nanoseconds")
"""Properties of `.dt` for timedeltas."""

FUNCTIONS: dict[str, Function] = {
    "isna": Function(_method("isna"), _isna),
    "notna": Function(_method("notna"), lambda x, dtype, other: x.is_not_null()),
    "fillna": Function(_method("fillna"), _fillna),
    "neg": Function(lambda s, other: -s, lambda x, d, o: -x if d.is_float or d.kind in ("int64", "decimal") else None),
    "invert": Function(lambda s, other: ~s, lambda x, d, o: ~x if d.kind == "bool" or d.is_integer else None),
    "abs": Function(_method("abs"), _abs),
    "round": Function(_method("round"), _round),
    "isin": Function(_method("isin"), _isin),
    "clip": Function(_method("clip")),
    "astype": Function(_method("astype")),
    **{f"str.{n}": Function(_via("str", n)) for n in TEXT},
    **{f"dt.{n}": Function(_via("dt", n)) for n in (*MOMENT, *MOMENT_METHODS, *SPAN)},
}
_NATIVE: dict[str, PolarsForm] = {
    "str.contains": _contains,
    "str.startswith": _affix("starts_with"),
    "str.endswith": _affix("ends_with"),
    "str.len": lambda x, d, o: x.str.len_chars().cast(pl.Int64),
    **{f"dt.{n}": _moment(n) for n in ("year", "month", "day", "hour", "minute", "second", "quarter")},
    **{f"dt.{n}": _moment("ordinal_day") for n in ("dayofyear", "day_of_year")},
    **{f"dt.{n}": _moment("weekday", 1) for n in ("weekday", "dayofweek", "day_of_week")},
    "dt.date": _date,
}
for _name, _form in _NATIVE.items():
    FUNCTIONS[_name] = Function(FUNCTIONS[_name].pandas_form, _form)
