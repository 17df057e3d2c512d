"""Conversion between Polars and pandas: the only place where values take pandas' dtypes, and come back from them.

Called by `frame` for results, by `compiler.evaluate` for `map_partitions`, and by `compiler.polars_expr` for functions
that run as pandas.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import polars as pl

from howdah.engine.relational.dtypes import OBJECTS, DType
from howdah.errors import SchemaError

_NA_VALUES: dict[str, Any] = {"None": None, "nan": np.nan, "NaT": pd.NaT}


def to_pandas(values: pl.Series, dtype: DType) -> Any:
    """Return a pandas array (numpy or extension) of exactly the dtype that pandas would have.

    >>> to_pandas(pl.Series([1.5, None]), DType("float64"))
    array([1.5, nan])
    >>> to_pandas(pl.Series(["a", None]), DType("str")).dtype
    <StringDtype(na_value=nan)>
    """
    if (dtype.is_integer or dtype.kind == "bool") and values.null_count():
        # The branch of a `DataDependent` that is not used may hold nulls.
        values = values.fill_null(False if dtype.kind == "bool" else 0)
    if dtype.is_number:
        return values.to_numpy(writable=True).astype(dtype.kind, copy=False)
    if dtype.kind == "bool":
        return values.to_numpy(writable=True)
    if dtype.kind == "str":
        return pd.array(values.to_arrow(), dtype="str")
    if dtype.kind == "datetime":
        stamps = _stamps(values, "M8", dtype)
        return pd.DatetimeIndex(stamps).tz_localize("UTC").tz_convert(dtype.tz).array if dtype.tz else stamps
    if dtype.kind == "timedelta":
        return _stamps(values, "m8", dtype)
    out = np.empty(len(values), dtype=object)
    out[:] = values.to_list()
    na_value = _NA_VALUES[dtype.na_value]
    if na_value is not None and values.null_count():
        out[values.is_null().to_numpy()] = na_value
    return out


def _stamps(values: pl.Series, code: str, dtype: DType) -> Any:
    have = getattr(values.dtype, "time_unit", None) or "us"
    ticks = values.to_physical().fill_null(np.iinfo(np.int64).min).to_numpy(writable=True)
    return ticks.view(f"{code}[{have}]").astype(f"{code}[{dtype.unit}]", copy=False)


def to_series(values: pl.Series, dtype: DType, name: Any = None) -> Any:
    """Return a pandas Series of exactly that dtype, with a fresh index."""
    array = to_pandas(values, dtype)
    return pd.Series(array, name=name, copy=False, dtype=object if dtype.kind in OBJECTS else None)


def from_pandas(values: Any, dtype: DType) -> pl.Series:
    """Return a Polars Series with the values of a pandas Series of type `dtype`.

    Raises
    ------
    SchemaError
        The values are not of that type.
    """
    kind = dtype.polars
    try:
        if dtype.kind in OBJECTS:
            return pl.Series(values=[None if m else v for v, m in zip(values, values.isna())], dtype=kind, strict=True)
        if dtype.kind in ("datetime", "timedelta"):
            return _ticks(values, dtype)
        if dtype.kind == "str":
            return pl.Series(values=pl.from_pandas(values.astype("str")).cast(pl.String))
        if dtype.is_number and values.dtype.kind == "f" and not dtype.is_float:  # widened by pandas
            return pl.Series(values=values.to_numpy(), nan_to_null=True).cast(kind)
        return pl.Series(values=values.to_numpy(), nan_to_null=False).cast(kind)
    except (pl.exceptions.PolarsError, TypeError, ValueError) as error:
        raise SchemaError(f"values of dtype {values.dtype} are not of the declared type {dtype}: {error}") from error


def _ticks(values: Any, dtype: DType) -> pl.Series:
    if dtype.tz:
        values = values.dt.tz_convert("UTC").dt.tz_localize(None)
    unit = "ms" if dtype.unit == "s" else dtype.unit
    code = "M8" if dtype.kind == "datetime" else "m8"
    stamps = values.to_numpy().astype(f"{code}[{unit}]")
    ticks = pl.Series(values=stamps.view("int64")).to_frame("t")
    missing = pl.Series("m", np.isnat(stamps))
    plain: Any = pl.Datetime(unit) if dtype.kind == "datetime" else pl.Duration(unit)  # type: ignore[arg-type]
    out = ticks.with_columns(missing).select(pl.when(~pl.col("m")).then(pl.col("t")).cast(plain)).to_series()
    return out.dt.convert_time_zone(dtype.carrier_zone) if dtype.carrier_zone else out


def frame_from_pandas(frame: Any, schema: Mapping[str, DType]) -> pl.DataFrame:
    """Columns of a pandas frame as Polars, in the order of `schema`."""
    return pl.DataFrame({name: from_pandas(frame[name], dtype) for name, dtype in schema.items()})


def frame_to_pandas(
    table: pl.DataFrame,
    schema: Mapping[str, DType],
    columns: Sequence[tuple[Any, str]],
    index: Sequence[tuple[Any, str]],
) -> Any:
    """Return a pandas frame: `columns` and `index` are (pandas label, column of the table). No index: 0, 1, 2, ..."""
    rows: Any = pd.RangeIndex(table.height)
    if len(index) == 1:
        label, name = index[0]
        rows = pd.Index(to_pandas(table[name], schema[name]), name=label, copy=False)
        if schema[name].kind in OBJECTS:
            rows = pd.Index(to_pandas(table[name], schema[name]), dtype=object, name=label)
    elif index:
        rows = pd.MultiIndex.from_arrays(
            [to_series(table[name], schema[name]) for _, name in index], names=[label for label, _ in index]
        )
    series = [to_series(table[name], schema[name]) for _, name in columns]
    # The dtype again: pandas turns an object column of NaT alone into times.
    data = {i: pd.Series(s.array, index=rows, dtype=s.dtype) for i, s in enumerate(series)}
    frame = pd.DataFrame(data, index=rows)
    frame.columns = pd.Index([label for label, _ in columns], dtype=None if columns else "str")
    return frame
