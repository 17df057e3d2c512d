"""Placeholders for inputs inside literal arguments, for layers with ``pass_inputs=False``.

`delayed` puts an `Input` wherever another task's result stands in an argument, at any depth. On a cluster it is
pickled as a reference that the worker opens as the value (`engine.serialization.references`); in this process `fill`
inserts the value.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

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
    """Return `nest` with every `Input` in lists, tuples, sets and dictionaries replaced by its value.

    >>> fill(([Input(0, 1), 5], {"x": Input(1, 0)}), [["a", "b"], ["c"]])
    (['b', 5], {'x': 'c'})
    """
    return rebuilt(nest, lambda at: inputs[at.dependency][at.position], Input)


def rebuilt(nest: Any, change: Callable[[Any], Any], kind: type) -> Any:
    """Return a nest of lists, tuples, sets and dictionaries with `change` applied to every part of type `kind`.

    Containers without such a part are returned as they are. Other objects are not searched.
    """
    made = type(nest)
    if made is kind:
        return change(nest)
    if made is list or made is tuple or made is set or made is frozenset:
        parts = list(nest)
        fresh = [
            change(part) if type(part) is kind else rebuilt(part, change, kind) if type(part) in NESTS else part
            for part in parts
        ]
        return made(fresh) if any(map(_differ, parts, fresh)) else nest
    if made is dict:
        whole = {rebuilt(key, change, kind): rebuilt(value, change, kind) for key, value in nest.items()}
        return whole if any(a is not b for a, b in zip(nest.values(), whole.values())) else nest
    return nest


NESTS = frozenset({list, tuple, set, frozenset, dict})


def _differ(one: Any, other: Any) -> bool:
    return one is not other
