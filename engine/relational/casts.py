"""Conversions of a column expression to another dtype, with pandas' results and errors.

`astype` is the user's; `widen_if_na` gives a nullable stored column the dtype that pandas would give it. Called by
`howdah.engine.frame` and `compiler.dtype_resolution`.
"""

from __future__ import annotations

from typing import Any

from howdah.engine.relational.columns import Cast, Column, DataDependent, call, isna
from howdah.engine.relational.dtypes import DType, is_text
from howdah.errors import NotSupported, SchemaError


def astype(source: Column, target_dtype: Any) -> Column:
    """`source` as another dtype, with pandas' conversions and pandas' errors."""
    import numpy as np
    import pandas as pd

    try:
        target = pd.api.types.pandas_dtype(target_dtype)
    except TypeError as error:
        raise SchemaError(f"{source}.astype({target_dtype!r}): {error}") from None
    have = source.dtype
    if target == np.dtype(object) and have.pandas != "object":
        raise NotSupported(f"{source}.astype(object): object columns of {have} are not supported yet: keep {have}")
    if is_text(target):
        name = "str"
    elif isinstance(target, (np.dtype, pd.DatetimeTZDtype)):
        name = str(target)
    else:
        raise NotSupported(f"{source}.astype({target_dtype!r}): only numpy's dtypes and str are supported yet")
    if name == have.pandas:
        return source
    if have.kind == "datetime" and name == "str":
        raise NotSupported(f"{source}.astype(str): use .dt.strftime with a format")
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
    """Return the type, where the casts of Polars and numpy give the same values; else None."""
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


def widen_if_na(source: Column, has_nulls: bool | None) -> Column:
    """Return a nullable integer or bool column as pandas has it: float64 or object if a value is missing, or as it is.

    `has_nulls` is None when the source has no count of nulls.
    """
    have = source.dtype
    if not (have.is_integer or have.kind == "bool") or not have.nullable:
        return source
    roomy = (
        DType("float64", nullable=True) if have.is_integer else DType("anybool", nullable=True, na_value=have.na_value)
    )
    return DataDependent(isna(source), Cast(source, roomy), Cast(source, have.as_non_null()), has_nulls)
