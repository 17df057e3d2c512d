"""Operators of DataFrame, Series and Scalar are methods, the same on both sides, and look like pandas'."""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

import howdah as hd

DATA = pd.DataFrame({"a": [7, 5, 9], "b": [2, 3, 4]})
ARITHMETIC = ["add", "sub", "mul", "truediv", "floordiv", "mod", "pow"]
COMPARISONS = ["eq", "ne", "lt", "le", "gt", "ge"]


@pytest.mark.parametrize("name", [*ARITHMETIC, *COMPARISONS])
def test_a_series_agrees_with_pandas_on_both_sides_and_by_name(name: str) -> None:
    apply: Callable[[Any, Any], Any] = getattr(operator, name)
    df = hd.from_pandas(DATA)
    for here, there in ((df.a, DATA.a), (df.b, DATA.b)):
        pd.testing.assert_series_equal(apply(here, 3).compute(), apply(there, 3))
        pd.testing.assert_series_equal(apply(3, here).compute(), apply(3, there))
        pd.testing.assert_series_equal(getattr(here, name)(3).compute(), getattr(there, name)(3))
    pd.testing.assert_series_equal(apply(df.a, df.b).compute(), apply(DATA.a, DATA.b))
    pd.testing.assert_frame_equal(apply(df, 3).compute(), apply(DATA, 3))


@pytest.mark.parametrize("name", ARITHMETIC)
def test_reversed_methods_agree_with_pandas(name: str) -> None:
    df = hd.from_pandas(DATA)
    pd.testing.assert_series_equal(getattr(df.a, f"r{name}")(3).compute(), getattr(DATA.a, f"r{name}")(3))
    pd.testing.assert_frame_equal(getattr(operator, name)(3, df).compute(), getattr(operator, name)(3, DATA))


@pytest.mark.parametrize("name", ["and_", "or_", "xor"])
def test_logic_of_masks(name: str) -> None:
    apply, df = getattr(operator, name), hd.from_pandas(DATA)
    pd.testing.assert_series_equal(
        apply(df.a > 5, df.b > 2).compute(), apply(DATA.a > 5, DATA.b > 2), check_names=False
    )
    pd.testing.assert_series_equal(apply(True, df.a > 5).compute(), apply(True, DATA.a > 5))


@pytest.mark.parametrize("name", [*ARITHMETIC, *COMPARISONS])
def test_a_scalar_is_its_value(name: str) -> None:
    apply, total = getattr(operator, name), hd.from_pandas(DATA).a.sum()
    assert apply(total, 4) == apply(21, 4)
    assert apply(4, total) == apply(4, 21)
    assert apply(total, hd.from_pandas(DATA).b.min()) == apply(21, 2)


def test_a_scalar_beside_a_series_is_the_series() -> None:
    df = hd.from_pandas(DATA)
    assert (df.a.max() - df.a).compute().tolist() == [2, 4, 0]
    assert (df.a - df.a.max()).compute().tolist() == [-2, -4, 0]


@pytest.mark.parametrize("cls", [hd.DataFrame, hd.Series])
def test_signatures_name_the_other_operand(cls: type) -> None:
    assert list(inspect.signature(cls.__add__).parameters) == ["self", "other"]
    assert cls.__hash__ is None
