"""Row-wise functions by name: what pandas does (the answer key), and how Polars does the same where it can.

One table, `FUNCTIONS`. A function without a Polars form runs as pandas on the partition, and `explain()` says so.
Used by `columns` (for dtypes) and `lower` (for execution).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import polars as pl

from howdah.engine.expr.columns import Cast, Column, Either, call, missing
from howdah.engine.expr.dtypes import DType, is_missing, is_text
from howdah.errors import NotSupported, SchemaError

Native = Callable[..., pl.Expr | None]


@dataclass(frozen=True, slots=True)
class Function:
    """`ask` is pandas' way, (Series, other, **params) -> Series; `native` is Polars' way, or None, or returns None.

    `native` gets (expression, type of the source, expression or scalar of `other`, **params); floats come without NaN.
    """

    ask: Callable[..., Any]
    native: Native | None = None


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
        if any(is_missing(v) for v in values):
            return None
        if dtype.is_integer and all(isinstance(v, int) and -(2**63) <= v < 2**63 for v in kept):
            return x.cast(pl.Int64).is_in(kept) if dtype.kind != "uint64" and kept else None
        return None
    if dtype.kind not in fits or any(is_missing(v) for v in values):
        return None
    kept = [v for v in values if isinstance(v, fits[dtype.kind])]
    return x.is_in(kept).fill_null(False) if kept else None


def _affix(name: str) -> Native:
    def run(x: pl.Expr, dtype: DType, other: Any, pat: Any) -> pl.Expr | None:
        if not isinstance(pat, str):
            return None
        found: pl.Expr = getattr(x.str, name)(pat)
        return found.fill_null(False)

    return run


def _moment(name: str, shift: int = 0) -> Native:
    def run(x: pl.Expr, dtype: DType, other: Any) -> pl.Expr | None:
        if dtype.kind != "datetime":
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
    return x.dt.date() if dtype.kind == "datetime" else None


TEXT = ("upper", "lower", "strip", "lstrip", "rstrip", "title", "capitalize", "swapcase", "casefold", "len", "slice",
        "contains", "startswith", "endswith", "replace", "zfill", "pad", "ljust", "rjust", "center", "match",
        "fullmatch", "count", "find", "isdigit", "isalpha", "isalnum", "isnumeric", "isupper", "islower", "isspace",
        "get", "repeat", "removeprefix", "removesuffix")  # fmt: skip
"""Methods of `.str` that howdah has."""

MOMENT = ("year", "month", "day", "hour", "minute", "second", "microsecond", "nanosecond", "quarter", "dayofyear",
          "day_of_year", "weekday", "dayofweek", "day_of_week", "date", "days_in_month", "is_month_start",
          "is_month_end", "is_quarter_start", "is_quarter_end", "is_year_start", "is_year_end",
          "is_leap_year")  # fmt: skip
"""Properties of `.dt` that howdah has, for datetimes."""

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
_NATIVE: dict[str, Native] = {
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
    FUNCTIONS[_name] = Function(FUNCTIONS[_name].ask, _form)


# -- dtypes that people ask for -------------------------------------------------------------------------------------


def astype(source: Column, wanted: Any) -> Column:
    """`source` as another dtype, with pandas' conversions and pandas' errors."""
    import numpy as np
    import pandas as pd

    try:
        target = pd.api.types.pandas_dtype(wanted)
    except TypeError as error:
        raise SchemaError(f"{source}.astype({wanted!r}): {error}") from None
    have = source.dtype
    if target == np.dtype(object) and have.pandas != "object":
        raise NotSupported(f"{source}.astype(object): object columns of {have} are not there yet: keep {have}")
    if is_text(target):
        name = "str"
    elif isinstance(target, (np.dtype, pd.DatetimeTZDtype)):
        name = str(target)
    else:
        raise NotSupported(f"{source}.astype({wanted!r}): only numpy's dtypes and str are there yet")
    if name == have.pandas:
        return source
    if have.kind == "datetime" and name == "str":
        raise NotSupported(f"{source}.astype(str): use .dt.strftime with the format that you want")
    native = _native_cast(have, name)
    if native is not None:
        return Cast(source, native)
    if have.kind == "anybool" and name == "bool":
        if have.nullable:
            raise NotSupported(f"{source}.astype(bool): pandas makes missing values True or False by their kind: "
                               "use .fillna(...) first")  # fmt: skip
        return Cast(source, DType("bool"))
    return call("astype", source, None, dtype=name)


def _native_cast(have: DType, name: str) -> DType | None:
    """The type, where Polars' cast gives exactly what numpy's gives."""
    widths = {"int8": 8, "int16": 16, "int32": 32, "int64": 64, "uint8": 8, "uint16": 16, "uint32": 32, "uint64": 64}
    if name in ("float64", "float32") and (have.is_number or have.kind in ("bool", "decimal")):
        return DType(name, nullable=True)
    if have.kind == "bool" and name in widths:
        return DType(name)
    if have.is_integer and name in widths:
        same = have.kind.startswith("u") == name.startswith("u")
        grows = widths[name] > widths[have.kind] and have.kind.startswith("u")
        return DType(name) if (same and widths[name] >= widths[have.kind]) or grows else None
    if have.is_integer and name == "str":
        return DType("str")
    if have.kind == "date" and name.startswith("datetime64[") and "," not in name:
        return DType("datetime", unit=name[11:-1], nullable=have.nullable)
    return None


def settled(source: Column, nulls: bool | None) -> Column:
    """An integer or bool column that may hold nulls, as pandas has it: with room for them only if there are any."""
    have = source.dtype
    if not (have.is_integer or have.kind == "bool") or not have.nullable:
        return source
    roomy = DType("float64", nullable=True) if have.is_integer else DType("anybool", nullable=True, hole=have.hole)
    return Either(missing(source), Cast(source, roomy), Cast(source, have.present()), nulls)
