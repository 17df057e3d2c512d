"""Functions of tasks that call something else; workers open them by name, so they pickle."""

from __future__ import annotations

import functools
import pickle
from typing import Any
from unittest import mock

import pytest

from howdah.engine.delayed.delayed import delayed
from howdah.engine.graph.adapters import (
    KeywordCall,
    StarCall,
    call_method,
    call_value,
    callable_name,
    get_attribute,
    identity,
)


@pytest.mark.parametrize(
    ("function", "args", "result"),
    [
        (identity, ([1],), [1]),
        (get_attribute, (3 + 4j, "imag"), 4.0),
        (call_method, ("a-b", "split", "-"), ["a", "b"]),
        (call_value, (max, 1, 2), 2),
        (StarCall(pow), ([2, 3], 5), 3),
        (KeywordCall(int), (("11",), {"base": 2}), 3),
    ],
    ids=lambda value: getattr(value, "__name__", type(value).__name__),
)
def test_calls_before_and_after_a_pickle(function: Any, args: tuple[Any, ...], result: Any) -> None:
    assert function(*args) == result
    assert pickle.loads(pickle.dumps(function))(*args) == result


def test_a_method_may_have_keywords_called_name_or_value() -> None:
    assert call_method({}, "setdefault", "name", 1) == 1
    assert call_method(str, "format", "{name}{value}", name="a", value="b") == "ab"


def test_an_object_that_answers_every_attribute_has_a_name() -> None:
    """A mock has a `func`, which is a mock, which has a `func`."""
    assert callable_name(mock.MagicMock()) == "MagicMock"
    assert callable_name(functools.partial(mock.Mock(__name__=5))) == "Mock"
    assert delayed(mock.Mock(return_value=5))().compute(scheduler="inline") == 5
