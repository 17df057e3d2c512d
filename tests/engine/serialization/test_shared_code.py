"""Which callables several calls share; that they do is tested in tests/engine/worker/test_task_code.py."""

from __future__ import annotations

import functools
import operator
import os
from typing import Any

import numpy as np
import pytest

from howdah.engine.serialization.shared_code import is_shareable


def nested(content: Any) -> Any:
    def inner() -> Any:
        return content

    return lambda x: (inner(), x)


@pytest.mark.parametrize("fn", [os.path.join, len, "a".upper, operator.itemgetter(0), np.add, nested(5), dict.fromkeys])
def test_shared(fn: Any) -> None:
    assert is_shareable(fn)


@pytest.mark.parametrize("fn", [[].append, nested([]), functools.partial(len, []), np.zeros(3).sum, nested({}.get)])
def test_not_shared(fn: Any) -> None:
    assert not is_shareable(fn)


def test_a_tuple_that_holds_a_list_is_not_shared() -> None:
    assert is_shareable((1, ("a", None)))
    assert not is_shareable((1, ("a", [])))
