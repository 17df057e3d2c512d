"""Column expressions: pandas' dtypes at construction, refusals where they are written, and what they read."""

from __future__ import annotations

import datetime as dt
import pickle
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pandas as pd
import pytest

import howdah as hd
from howdah.engine.relational.columns import (
    Binary,
    Cast,
    Col,
    Constant,
    DataDependent,
    FunctionCall,
    Lit,
    binary,
    call,
    is_unresolved,
    isna,
    substitute,
)
from howdah.engine.relational.dtypes import BOOL, FLOAT64, INT64, DType
from howdah.errors import NotSupported, SchemaError

A, B = Col("a", INT64), Col("b", INT64)
MAYBE = Col("m", DType("int64", nullable=True))

Expression = Callable[[Any], Any]
FRAME = pd.DataFrame(
    {
        "i": [5, 0],
        "s": pd.Series(["a", None], dtype="str"),
        "t": pd.to_datetime(["2020-01-01", None]),
        "td": pd.to_timedelta(["1h", None]),
        "d": [dt.date(2020, 1, 1), None],
        "m": [Decimal("1.50"), None],
    }
)

REFUSED: dict[str, tuple[Expression, type[Exception], str]] = {
    "text below a number": (lambda df: df.s < 1, SchemaError, "s < 1: pandas refuses"),
    "a decimal and a float": (lambda df: df.m * 1.5, SchemaError, r"Decimal scalars"),
    "decimals divided": (lambda df: df.m / 2, NotSupported, r'\.astype\("float64"\) first'),
    "a date beside a time": (lambda df: df.d > pd.Timestamp("2020-01-01"), SchemaError, "compare dates with"),
    "text that is no time": (lambda df: df.t > "soon", SchemaError, "not a date or time"),
    "spans floor-divided": (lambda df: df.td // pd.Timedelta("1h"), NotSupported, "depend on missing values"),
    "a mask that is no mask": (lambda df: df[df.i], SchemaError, "not bool"),
    "a list as a scalar": (lambda df: df.i * [1, 2], NotSupported, "a Series of the same frame"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refuses_on_the_line_that_writes_it(name: str) -> None:
    write, kind, words = REFUSED[name]
    with pytest.raises(kind, match=words):
        write(hd.from_pandas(FRAME))


def test_names_are_the_columns_that_are_read() -> None:
    assert Binary("+", A, Binary("*", B, Lit(2))).names() == {"a", "b"}
    assert Constant(1).names() == frozenset()
    assert DataDependent(isna(A), B, Lit(0.0)).names() == {"a", "b"}


def test_substitution_derives_dtypes_anew() -> None:
    plus = Binary("+", A, B)
    changed = substitute(plus, {"a": Cast(B, FLOAT64)})
    assert changed.dtype.pandas == "float64"
    assert changed.names() == {"b"}
    assert substitute(plus, {"x": B}) is plus


def test_a_dtype_is_unresolved_until_it_has_an_answer() -> None:
    open_ = DataDependent(isna(MAYBE), Cast(MAYBE, FLOAT64), Cast(MAYBE, INT64))
    above = Binary("<", open_, Lit(1))
    assert is_unresolved(open_)
    assert is_unresolved(above)
    for answer, dtype in ((True, "float64"), (False, "int64")):
        known = DataDependent(open_.condition, open_.if_true, open_.if_false, answer)
        assert not is_unresolved(known)
        assert known.dtype.pandas == known.chosen().dtype.pandas == dtype


def test_division_by_a_column_depends_on_its_zeros() -> None:
    quotient = binary("//", A, B)
    assert isinstance(quotient, DataDependent)
    assert quotient.condition == Binary("==", B, Lit(0))
    assert binary("//", A, Lit(2)).dtype == INT64
    assert binary("%", A, Lit(0)).dtype.pandas == "float64"


def test_fillna_of_what_is_never_missing_is_nothing() -> None:
    assert call("fillna", A, 0) is A
    assert isinstance(call("fillna", Col("f", FLOAT64), 0.0), FunctionCall)


def test_scalars_of_equal_value_and_other_type_are_other_content() -> None:
    assert Lit(1).key != Lit(1.0).key != Lit(True).key
    assert Binary("+", A, Lit(1)).key == Binary("+", Col("a", INT64), Lit(1)).key


def test_an_expression_pickles_without_what_was_derived_for_walking() -> None:
    expression = Binary("<", Binary("+", A, B), Lit(3))
    assert expression.names()
    copy = pickle.loads(pickle.dumps(expression))
    assert (copy, copy.dtype, copy.names()) == (expression, BOOL, {"a", "b"})
