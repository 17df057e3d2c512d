"""Futures in nests: found in order, replaced by their values."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from howdah.engine.client.future import Future
from howdah.engine.client.layer_results import LayerResults
from howdah.engine.client.nests import nested_futures, substitute_values
from howdah.errors import InputError


def futures(n: int) -> list[Future]:
    client: Any = SimpleNamespace(registry=SimpleNamespace(release=lambda *_: None))
    results = LayerResults(b"k" * 16, "layer", n)
    return [Future(client, results, item) for item in range(n)]


def test_futures_are_found_in_order_at_any_depth() -> None:
    a, b, c = futures(3)
    assert nested_futures({"x": [a, (b,)], "y": 5, "z": {"deep": c}}) == [a, b, c]
    flat = [a, b]
    assert nested_futures(flat) is flat
    assert nested_futures("text") == []
    with pytest.raises(InputError, match="an iterator"):
        nested_futures(iter([a]))


def test_values_take_the_places_of_futures() -> None:
    a, b, c = futures(3)
    values = {id(a): 1, id(b): 2, id(c): 3}
    assert substitute_values({"x": [a, (b,)], "y": 5, "z": c}, values) == {"x": [1, (2,)], "y": 5, "z": 3}


def test_those_without_a_value_are_left_out_if_asked() -> None:
    a, b, _ = futures(3)
    assert substitute_values([a, b, 7], {id(b): 2}, skip=True) == [2, 7]
    assert substitute_values(a, {}, skip=True) is None
