"""Placeholders for inputs in nested arguments, and the walk that replaces them."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from howdah.engine.graph.inputs import Input, fill, rebuilt

INPUTS = [["a", "b"], ["c"]]

leaves = st.one_of(st.integers(), st.text(max_size=2), st.sampled_from([Input(0, 0), Input(0, 1), Input(1, 0)]))
nests = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.lists(inner, max_size=3).map(tuple), st.dictionaries(st.text(max_size=2), inner)
    ),
    max_leaves=12,
)


def reference(nest: Any) -> Any:
    """The plain way to fill a nest."""
    if isinstance(nest, Input):
        return INPUTS[nest.dependency][nest.position]
    if isinstance(nest, dict):
        return {key: reference(value) for key, value in nest.items()}
    return type(nest)(map(reference, nest)) if isinstance(nest, list | tuple) else nest


@given(nests)
def test_every_placeholder_is_replaced_and_nothing_else(nest: Any) -> None:
    assert fill(nest, INPUTS) == reference(nest)


def test_containers_without_a_placeholder_are_not_copied() -> None:
    plain = [1, {"x": (2, 3)}]
    both = [plain, Input(1, 0)]
    assert fill(plain, INPUTS) is plain
    assert fill(both, INPUTS)[0] is plain


def test_sets_are_searched_too() -> None:
    assert fill({"x": {Input(1, 0), 5}}, INPUTS) == {"x": {"c", 5}}
    assert fill(frozenset({Input(0, 1)}), INPUTS) == {"b"}


def test_other_objects_are_not_searched() -> None:
    class Box:
        inside = Input(0, 0)

    box = Box()
    assert fill([box], INPUTS)[0] is box
    assert rebuilt([1, "x"], str, int) == ["1", "x"]
