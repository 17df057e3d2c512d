"""The fields of a `Delayed`, read by getters, and a copy with a result."""

from __future__ import annotations

import pytest

from howdah.engine.delayed.delayed import Delayed, delayed
from howdah.engine.delayed.task import (
    args_of,
    call_of,
    deps_of,
    is_lazy,
    is_nested,
    kwargs_of,
    level_of,
    links_of,
    name_of,
    persisted_of,
    token_of,
    with_result,
)
from howdah.engine.execution.persisted import InMemoryResults
from howdah.engine.graph.graph import PersistedLayer


def add(a: int, b: int = 0) -> int:
    return a + b


def test_the_getters_agree() -> None:
    x = delayed(add)(1, 2)
    y = delayed(add, pure=True)([x], b=x)
    assert (args_of(x), kwargs_of(x), deps_of(x), level_of(x), name_of(x), is_nested(x)) == (
        (1, 2),
        {},
        (),
        0,
        "add",
        False,
    )
    assert (deps_of(y), level_of(y), is_nested(y)) == ((x, x), 1, True)
    assert links_of(y) == (None, (x, x))
    assert call_of(x) == ((1, 2), 0, add, "add", None, False)
    assert token_of(y) == token_of(delayed(add, pure=True)([x], b=x)) != token_of(x)


def test_a_copy_with_a_result_needs_no_inputs_and_is_the_same_task() -> None:
    x = delayed(add)(delayed(add)(1), 2)
    layer = PersistedLayer(b"k", 3, InMemoryResults([7, 8, 9]))
    copy = with_result(x, layer, 1)
    assert type(copy) is Delayed
    assert (copy.key, deps_of(copy), persisted_of(copy)) == (x.key, (), (layer, 1))
    assert persisted_of(x) is None
    assert (copy + 1).compute(scheduler="inline") == 9
    with pytest.raises(TypeError, match="cannot be changed"):
        copy.value = 1


@pytest.mark.parametrize(("value", "lazy"), [(delayed(add), True), (1, False), ([delayed(add)], False), (add, False)])
def test_lazy_objects_are_those_of_howdah(value: object, lazy: bool) -> None:
    assert is_lazy(value) is lazy
