"""`astype` with pandas' results, and the dtype of a nullable stored column."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

import howdah as hd
from howdah.engine.relational.casts import astype, widen_if_na
from howdah.engine.relational.columns import Cast, Col, DataDependent
from howdah.engine.relational.dtypes import BOOL, FLOAT64, INT64, DType
from howdah.errors import NotSupported, SchemaError

VALUES: dict[str, pd.Series[Any]] = {
    "int64": pd.Series([1, -1, 300]),
    "uint8": pd.Series([1, 255], dtype="uint8"),
    "float64": pd.Series([1.0, -2.0]),
    "bool": pd.Series([True, False]),
    "str": pd.Series(["1", "-2"], dtype="str"),
}


@pytest.mark.parametrize("target", ["int8", "int64", "uint16", "float32", "float64", "str", "bool"])
@pytest.mark.parametrize("name", VALUES)
def test_casts_give_pandas_values(name: str, target: str) -> None:
    frame = VALUES[name].to_frame("x")
    try:
        want = frame.x.astype(target)  # type: ignore[call-overload]
    except (ValueError, OverflowError) as error:
        with pytest.raises(type(error)):
            hd.from_pandas(frame).x.astype(target).compute(scheduler="inline")
        return
    pd.testing.assert_series_equal(hd.from_pandas(frame).x.astype(target).compute(scheduler="inline"), want)


def test_a_cast_to_the_same_dtype_is_nothing() -> None:
    column = Col("a", INT64)
    assert astype(column, "int64") is column
    assert isinstance(astype(column, float), Cast)


@pytest.mark.parametrize(
    ("have", "target", "kind", "words"),
    [
        (INT64, "no dtype", SchemaError, "no dtype"),
        (INT64, object, NotSupported, "object columns of int64"),
        (INT64, "Int64", NotSupported, "only numpy's dtypes and str"),
        (DType("datetime", unit="us"), "str", NotSupported, r"\.dt\.strftime"),
        (DType("anybool", nullable=True), "bool", NotSupported, r"\.fillna"),
    ],
)
def test_what_is_not_supported_says_what_to_do(have: DType, target: Any, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words):
        astype(Col("a", have), target)


@pytest.mark.parametrize(("dtype", "wide"), [(INT64, "float64"), (BOOL, "object")])
def test_a_nullable_column_is_wider_only_with_nulls(dtype: DType, wide: str) -> None:
    nullable = Col("a", dtype.as_nullable())
    open_ = widen_if_na(nullable, None)
    assert isinstance(open_, DataDependent)
    assert open_.unresolved
    assert widen_if_na(nullable, True).dtype.pandas == wide
    assert widen_if_na(nullable, False).dtype == dtype
    for column in (Col("a", dtype), Col("f", FLOAT64), Col("s", DType("str", nullable=True))):
        assert widen_if_na(column, None) is column
