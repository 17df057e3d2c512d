"""Aggregates in steps give what one step gives, however the rows are cut; dtypes are pandas'."""

from __future__ import annotations

from typing import Any

import pandas as pd
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from howdah.engine.relational.aggregates import AGGREGATES, STEPS, Agg, as_pandas_dtype, state_columns
from howdah.engine.relational.columns import Col, DataDependent
from howdah.engine.relational.dtypes import FLOAT64, INT64, DType
from howdah.errors import NotSupported, SchemaError

NUMBERS = st.lists(st.integers(-1000, 1000), min_size=1, max_size=20)


def in_steps(name: str, parts: list[list[int]]) -> Any:
    """The value by partial states per part, combined two by two, finished once."""
    agg = Agg(name, Col("x", INT64), grouped=False)
    names = state_columns("v", agg)
    states = []
    for part in parts:
        made = STEPS[name].partial(pl.col("x"), agg)
        states.append(pl.DataFrame({"x": part}, schema={"x": pl.Int64}).select(s.alias(n) for s, n in zip(made, names)))
    while len(states) > 1:
        made = STEPS[name].combine([pl.col(n) for n in names])
        pair = pl.concat(states[:2]).select(s.alias(n) for s, n in zip(made, names))
        states = [pair, *states[2:]]
    return states[0].select(STEPS[name].finish([pl.col(n) for n in names], agg).alias("v")).item()


@pytest.mark.parametrize("name", [n for n in AGGREGATES if n != "size"])
@given(rows=NUMBERS, cut=st.integers(0, 20), other=st.integers(0, 20))
def test_steps_give_pandas_value_however_rows_are_cut(name: str, rows: list[int], cut: int, other: int) -> None:
    a, b = sorted((cut, other))
    want = pd.Series(rows).iloc[0] if name == "first" else pd.Series(rows).iloc[-1] if name == "last" else None
    want = getattr(pd.Series(rows), name)() if want is None else want
    got = in_steps(name, [rows[:a], rows[a:b], rows[b:]])
    assert got == pytest.approx(want, nan_ok=True) or (got is None and pd.isna(want))


def test_dtypes_are_those_of_pandas() -> None:
    for name, dtype in {"sum": "int64", "mean": "float64", "min": "int8", "count": "int64", "std": "float64"}.items():
        assert Agg(name, Col("x", DType("int8"))).dtype.pandas == dtype
    assert Agg("mean", Col("x", DType("float32"))).dtype.pandas == "float32"
    assert Agg("sum", Col("x", DType("uint8")), grouped=False).dtype.pandas == "uint64"


def test_what_cannot_be_aggregated_is_refused_by_name() -> None:
    with pytest.raises(SchemaError, match=r"mean\(s\): needs numbers"):
        Agg("mean", Col("s", DType("str")))
    with pytest.raises(NotSupported, match=r'mean\(m\): of Decimals: use \.astype\("float64"\)'):
        Agg("mean", Col("m", DType("decimal", scale=2)))
    with pytest.raises(NotSupported, match=r"median\(x\).*use one of sum, mean"):
        Agg("median", Col("x", INT64))


def test_sums_of_narrow_integers_stay_narrow_while_they_fit() -> None:
    narrow = as_pandas_dtype("v", Agg("sum", Col("x", DType("int8"))))
    assert isinstance(narrow, DataDependent)
    assert (narrow.if_true.dtype.pandas, narrow.if_false.dtype.pandas) == ("int64", "int8")
    for agg in (Agg("sum", Col("x", INT64)), Agg("min", Col("x", DType("int8"))), Agg("sum", Col("x", FLOAT64))):
        assert as_pandas_dtype("v", agg) == Col("v", agg.dtype)
