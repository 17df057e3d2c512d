"""The types of columns: the dtype that pandas would show, and the Polars dtype that carries the values.

pandas is the reference, so dtypes are derived by pandas: each type has a pandas sample of one row, an operation is
applied to the samples, and the dtype of the result is the dtype of the expression (`columns`). Everything in
`relational` and `frame` may use this module.

Missing values are nulls in Polars. pandas holds integers and bools in numpy arrays without room for missing values; a
column of these holds no null unless its type is ``nullable``, and then its dtype depends on the data and has to be
resolved (see `columns.DataDependent`). A missing value of a floating-point column is NaN *or* null;
`polars_expr.na_as_null` makes it null.
"""

from __future__ import annotations

import datetime as dt
import decimal
import os
import warnings
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa

from howdah.errors import NotSupported

os.environ.setdefault("POLARS_IGNORE_TIMEZONE_PARSE_ERROR", "1")
# Polars panics on any file that has a column with a fixed offset (+05:30), even where that column is not read. With
# this it reads the file, and the column is cast to UTC at once (`DType.polars`).

INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
FLOATS = ("float32", "float64")
How = Literal["inner", "left", "right", "outer"]
"""Kinds of joins."""

OBJECTS = ("date", "decimal", "anybool", "time", "bytes", "none")
"""Kinds that pandas shows as dtype object: dates, Decimals, bools with missing values, times, bytes, all missing."""


@dataclass(frozen=True, slots=True)
class DType:
    """The type of a column.

    Attributes
    ----------
    kind : a numpy name (``int8`` to ``uint64``, ``float32``, ``float64``, ``bool``), ``str``, ``datetime``,
        ``timedelta``, one of `OBJECTS`, or ``unsupported``.
    unit, tz : of datetimes and timedeltas ("s", "ms", "us", "ns"); for ``unsupported``, what it is.
    scale : digits after the decimal point.
    nullable : False when no value is missing. Floats are nullable in any case (`is_nullable`).
    na_value : the missing value of an object column in pandas: "None", "nan" or "NaT".

    >>> DType("datetime", unit="us").pandas, DType("date").pandas, DType("int64").polars
    ('datetime64[us]', 'object', Int64)
    """

    kind: str
    unit: str = ""
    tz: str = ""
    scale: int = 0
    nullable: bool = False
    na_value: str = "None"

    def __str__(self) -> str:
        return f"{self.pandas} ({self.kind})" if self.kind in OBJECTS else self.pandas

    @property
    def is_integer(self) -> bool:
        return self.kind in INTEGERS

    @property
    def is_float(self) -> bool:
        return self.kind in FLOATS

    @property
    def is_number(self) -> bool:
        return self.is_integer or self.is_float

    @property
    def is_nullable(self) -> bool:
        """Whether values may be missing."""
        return self.nullable or self.is_float

    @property
    def pandas(self) -> str:
        """The dtype as pandas spells it."""
        if self.kind == "datetime":
            return f"datetime64[{self.unit}, {self.tz}]" if self.tz else f"datetime64[{self.unit}]"
        if self.kind == "timedelta":
            return f"timedelta64[{self.unit}]"
        return "object" if self.kind in OBJECTS or self.kind == "unsupported" else self.kind

    @property
    def fixed_offset(self) -> bool:
        """Whether it is a datetime in a zone such as UTC+05:30, which Polars lacks: carried in UTC."""
        return self.tz.startswith(("UTC+", "UTC-"))

    @property
    def carrier_zone(self) -> str | None:
        """The time zone in Polars; None if the datetime has none."""
        return "UTC" if self.fixed_offset else self.tz or None

    @property
    def polars(self) -> pl.DataType:
        """The dtype of the column in Polars."""
        if self.kind == "datetime":
            return pl.Datetime(polars_unit(self.unit), self.carrier_zone)
        if self.kind == "timedelta":
            return pl.Duration(polars_unit(self.unit))
        if self.kind == "decimal":
            return pl.Decimal(38, self.scale)
        if self.kind == "unsupported":
            raise NotSupported(
                f"a column of type {self.unit} cannot be used yet: leave it out with columns=[...], or write it "
                "with a dtype of numpy or str"
            )
        return _POLARS[self.kind]()

    def as_non_null(self) -> DType:
        """Return the same type without missing values."""
        return replace(self, nullable=False)

    def as_nullable(self, na_value: str | None = None) -> DType:
        """Return the same type with missing values, shown as `na_value` by pandas."""
        return replace(self, nullable=True, na_value=na_value or self.na_value)

    def sample(self) -> Any:
        """Return a pandas Series of this type with one value."""
        return _sample(replace(self, nullable=False, na_value="None"), False)

    def sample_with_na(self) -> Any:
        """Return a pandas Series of this type with one value and one missing value."""
        return _sample(replace(self, nullable=False, na_value="None"), True)


_POLARS: dict[str, type[pl.DataType]] = {
    **{k: getattr(pl, k.capitalize().replace("Uint", "UInt")) for k in INTEGERS},
    "float32": pl.Float32, "float64": pl.Float64, "bool": pl.Boolean, "anybool": pl.Boolean, "str": pl.String,
    "date": pl.Date, "time": pl.Time, "bytes": pl.Binary, "none": pl.Null,
}  # fmt: skip

INT64 = DType("int64")
BOOL = DType("bool")
FLOAT64 = DType("float64", nullable=True)


def polars_unit(unit: str) -> Any:
    """Return the unit of time in Polars, which has no seconds; `convert.to_pandas` restores them."""
    return "ms" if unit == "s" else unit


@lru_cache(maxsize=512)
def _sample(dtype: DType, with_na: bool) -> Any:
    value: Any
    match dtype.kind:
        case "str":
            value = "1"
        case "datetime":
            value = pd.Timestamp("2020-01-01", tz=dtype.tz or None)
        case "timedelta":
            value = pd.Timedelta(1, "D")
        case "date":
            value = dt.date(2020, 1, 1)
        case "decimal":
            value = decimal.Decimal(1).scaleb(0).quantize(decimal.Decimal(1).scaleb(-dtype.scale))
        case "anybool":
            value = True
        case "time":
            value = dt.time(1)
        case "bytes":
            value = b"1"
        case "none":
            value = None
        case "unsupported":
            _ = dtype.polars
        case "bool":
            return pd.Series([True] * (1 + with_na), dtype=object if with_na else "bool")
        case _ if dtype.is_integer:
            return pd.Series([1, None], dtype="float64") if with_na else pd.Series([1], dtype=dtype.kind)
        case _:
            value = 1.0
    return pd.Series([value, None] if with_na else [value], dtype=dtype.pandas)


def of_arrow(kind: pa.DataType, nulls: bool) -> DType:
    """Return the type that pandas reads a column of this Arrow type as; `nulls`: whether values may be missing."""
    if pa.types.is_boolean(kind):
        return DType("bool", nullable=nulls)
    if pa.types.is_integer(kind):
        return DType(str(kind), nullable=nulls)
    if pa.types.is_float32(kind) or pa.types.is_float64(kind):
        return DType("float32" if pa.types.is_float32(kind) else "float64", nullable=True)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return DType("str", nullable=nulls)
    if pa.types.is_timestamp(kind):
        return _datetime(kind.unit, kind.tz or "", nulls)
    if pa.types.is_duration(kind):
        return DType("timedelta", unit=kind.unit, nullable=nulls)
    if pa.types.is_date32(kind):
        return DType("date", nullable=nulls)
    if pa.types.is_decimal(kind) and kind.scale >= 0 and kind.precision <= 38:
        return DType("decimal", scale=kind.scale, nullable=nulls)
    if pa.types.is_time(kind):
        return DType("time", nullable=nulls)
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind):
        return DType("bytes", nullable=nulls)
    if pa.types.is_null(kind):
        return DType("none", nullable=True)
    return DType("unsupported", unit=str(kind))


def of_pandas(values: Any) -> DType:
    """Return the type of a pandas Series. Values decide for object columns; others than `OBJECTS` are unsupported."""
    kind = values.dtype
    nulls = bool(values.isna().any())
    if isinstance(kind, np.dtype):
        if kind.kind in "iub" or str(kind) in FLOATS:
            return DType(str(kind), nullable=str(kind) in FLOATS)
        if kind.kind in "mM":
            return DType(
                "datetime" if kind.kind == "M" else "timedelta", unit=np.datetime_data(kind)[0], nullable=nulls
            )
        if kind.kind == "O":
            return _of_objects(values.dropna(), nulls, values)
    if isinstance(kind, pd.DatetimeTZDtype):
        return _datetime(kind.unit, str(kind.tz), nulls)
    if is_text(kind):
        return DType("str", nullable=nulls)
    return DType("unsupported", unit=f"pandas {kind}")


def _datetime(unit: str, zone: str, nulls: bool) -> DType:
    """Return a datetime with the zone as pandas spells it ("+05:30" is "UTC+05:30"); unsupported if it has none."""
    known = _zone(zone) if zone else ""
    if known is None:
        return DType("unsupported", unit=f"a time in the zone {zone!r}, which pandas cannot find by its name")
    return DType("datetime", unit=unit, tz=known, nullable=nulls)


@lru_cache(maxsize=512)
def _zone(zone: str) -> str | None:
    try:
        return str(pd.Timestamp(0, tz=zone).tz)
    except (TypeError, ValueError, KeyError, OSError):  # ZoneInfoNotFoundError is a KeyError
        return None


def is_text(kind: Any) -> bool:
    """Whether a pandas dtype is `str`, the text with NaN for missing; `string`, with NA, is another dtype."""
    return isinstance(kind, pd.StringDtype) and kind.name == "str"


@lru_cache(maxsize=512)
def is_numpy_or_text(name: str) -> bool:
    """Whether pandas' name of a dtype is of numpy, a time in a zone, or `str`; False for all other extension dtypes.

    >>> [name for name in ("int64", "str", "datetime64[us, UTC]", "Int64", "string") if is_numpy_or_text(name)]
    ['int64', 'str', 'datetime64[us, UTC]']
    """
    try:
        found = pd.api.types.pandas_dtype(name)
    except (TypeError, ValueError):
        return name in ("unicode", "datetimetz", "categorical")  # other programs' words
    return isinstance(found, np.dtype | pd.DatetimeTZDtype) or is_text(found)


def _of_objects(present: Any, nulls: bool, values: Any) -> DType:
    na_value = "None"
    if nulls:
        first = values[values.isna()].iloc[0]
        na_value = "None" if first is None else "NaT" if first is pd.NaT else "nan"
    kinds = {type(v) for v in present}
    if not kinds:
        return DType("none", nullable=True, na_value=na_value)
    if kinds <= {bool, np.bool_}:
        return DType("anybool", nullable=nulls, na_value=na_value)
    if kinds == {dt.date}:
        return DType("date", nullable=nulls, na_value=na_value)
    if kinds == {dt.time}:
        return DType("time", nullable=nulls, na_value=na_value)
    if kinds == {bytes}:
        return DType("bytes", nullable=nulls, na_value=na_value)
    if kinds == {decimal.Decimal}:
        exponents = [v.as_tuple().exponent for v in present]
        if all(isinstance(e, int) for e in exponents):
            return DType("decimal", scale=max(0, *(-e for e in exponents)), nullable=nulls, na_value=na_value)
    return DType("unsupported", unit="object holding " + ", ".join(sorted(k.__name__ for k in kinds)[:3]))


def key_type(left: DType, right: DType, how: How) -> DType:
    """Return the type of a key column that both sides of a join share, derived by a join of two samples in pandas."""
    if left == right or left.pandas == right.pandas == "object":
        wide = left if left.scale >= right.scale else right
        return wide.as_nullable() if left.nullable or right.nullable else wide
    found = _merged(left.as_non_null(), right.as_non_null(), how)
    return found.as_nullable(left.na_value) if found.is_float or left.nullable or right.nullable else found


@lru_cache(maxsize=256)
def _merged(left: DType, right: DType, how: How) -> DType:
    one, other = pd.DataFrame({"k": left.sample()}), pd.DataFrame({"k": right.sample()})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return of_pandas(one.merge(other, on="k", how=how)["k"])


def is_na(value: object) -> bool:
    """Whether a scalar is one of pandas' missing values (None, NaN, NaT, NA)."""
    return value is None or value is pd.NaT or value is pd.NA or (isinstance(value, float) and value != value)
