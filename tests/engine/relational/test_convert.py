"""Values take pandas' dtypes and come back; values of another type than declared are refused."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

from howdah.engine.relational.convert import frame_to_pandas, from_pandas, to_pandas, to_series
from howdah.engine.relational.dtypes import DType, of_pandas
from howdah.errors import SchemaError


@pytest.mark.parametrize(("na_value", "shown"), [("None", None), ("nan", np.nan), ("NaT", pd.NaT)])
def test_a_missing_object_is_shown_as_the_dtype_says(na_value: str, shown: Any) -> None:
    dtype = DType("date", nullable=True, na_value=na_value)
    values = to_pandas(pl.Series([dt.date(2020, 1, 1), None]), dtype)
    assert values[0] == dt.date(2020, 1, 1)
    assert values[1] is shown or (values[1] != values[1] and shown != shown)


def test_times_keep_their_unit_though_polars_has_no_seconds() -> None:
    values = pd.Series(pd.to_datetime(["2020-01-01", None])).astype("datetime64[s]")
    carried = from_pandas(values, of_pandas(values))
    assert carried.dtype == pl.Datetime("ms")
    pd.testing.assert_series_equal(to_series(carried, of_pandas(values)), values)


def test_a_frame_has_its_labels_and_its_index() -> None:
    table = pl.DataFrame({"\1(1, 2)": [1.5], "k": ["a"], "n": [7]})
    schema = {"\1(1, 2)": DType("float64"), "k": DType("str"), "n": DType("int64")}
    frame = frame_to_pandas(table, schema, [((1, 2), "\1(1, 2)")], [("key", "k"), (None, "n")])
    want = pd.DataFrame([[1.5]], columns=[(1, 2)], index=pd.MultiIndex.from_arrays([["a"], [7]], names=["key", None]))
    assert frame.columns.tolist() == want.columns.tolist()
    assert frame.index.equals(want.index)
    assert frame.index.names == ["key", None]


def test_a_promise_that_values_break_is_an_error() -> None:
    with pytest.raises(SchemaError, match="are not of the declared type"):
        from_pandas(pd.Series(["x"]), of_pandas(pd.Series([1])))
    assert from_pandas(pd.Series([], dtype="int64"), of_pandas(pd.Series([1]))).dtype == pl.Int64
