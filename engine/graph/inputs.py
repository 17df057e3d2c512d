"""Placeholders for inputs inside literal arguments, for layers with ``pass_inputs=False``.

`delayed` puts an `Input` wherever another task's result stands in an argument, at any depth. On a cluster it is
pickled as a reference that the worker opens as the value (`engine.serialization.references`); in this process `fill`
inserts the value.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from howdah.engine.graph.nests import is_nest, parts_of, with_keys, with_parts
from howdah.engine.serialization.references import input_reference


class Input:
    """The item at `position` among a task's inputs from dependency number `dependency`."""

    __slots__ = ("dependency", "position")

    def __init__(self, dependency: int, position: int) -> None:
        self.dependency, self.position = dependency, position

    def __reduce__(self) -> tuple[Any, ...]:
        return input_reference, (self.dependency, self.position)

    def __repr__(self) -> str:
        return f"Input({self.dependency}, {self.position})"


def fill(nest: Any, inputs: Sequence[Sequence[Any]]) -> Any:
    """Return `nest` with every `Input` in it, at any depth, replaced by its value.

    >>> fill(([Input(0, 1), 5], {"x": Input(1, 0)}), [["a", "b"], ["c"]])
    (['b', 5], {'x': 'c'})
    """
    return rebuilt(nest, lambda at: inputs[at.dependency][at.position], Input)


def rebuilt(nest: Any, change: Callable[[Any], Any], kind: type) -> Any:
    """Return a nest (`howdah.engine.graph.nests`) with `change` applied to every part of type `kind`.

    Containers without such a part are returned as they are. Other objects are not searched.
    """
    made = type(nest)
    if made is kind:
        return change(nest)
    if made in _ATOMS or not is_nest(nest):
        return nest
    if isinstance(nest, dict):
        nest = with_keys(nest, lambda key: rebuilt(key, change, kind))
    fresh = [change(part) if type(part) is kind else rebuilt(part, change, kind) for part in parts_of(nest)]
    return with_parts(nest, fresh)


_ATOMS = frozenset({int, float, str, bytes, bool, type(None), complex})
