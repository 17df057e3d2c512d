"""Containers with parts in them: which objects are searched for tasks and futures, and how one is built anew.

Searched are lists, tuples, sets, dictionaries and deques, their subclasses (named tuples, `OrderedDict`, `defaultdict`,
`Counter`), dataclasses and attrs classes. A container is built anew only where a part has changed: it keeps its class,
its order, its attributes and settings (`default_factory`, `maxlen`), and its `__init__` is not called. Any other object
is left as it is, and so is one that cannot be copied. A leaf.
"""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

NESTS = frozenset({list, tuple, set, frozenset, dict})
"""Plain containers."""

_BASES = (list, tuple, set, frozenset, dict, deque)


def is_nest(obj: Any) -> bool:
    """Return whether `obj` is searched.

    >>> is_nest([1]), is_nest("text"), is_nest(deque())
    (True, False, True)
    """
    kind = type(obj)
    return kind in NESTS or issubclass(kind, _BASES) or bool(_fields(kind))


def _fields(kind: type) -> Sequence[str]:
    if hasattr(kind, "__dataclass_fields__"):
        return tuple(kind.__dataclass_fields__)
    return [field.name for field in getattr(kind, "__attrs_attrs__", ())]


def parts_of(nest: Any) -> list[Any]:
    """Return the parts of a nest in order: of a dictionary its values.

    >>> parts_of({"a": 1}), parts_of((2, 3))
    ([1], [2, 3])
    """
    if isinstance(nest, dict):
        return list(nest.values())
    if isinstance(nest, _BASES):
        return list(nest)
    return [getattr(nest, name, None) for name in _fields(type(nest))]


def with_parts(nest: Any, parts: Sequence[Any]) -> Any:
    """Return a nest like `nest` with these parts, in the order of `parts_of`; `nest` itself if they are the same.

    Raises
    ------
    TypeError : a part of a set is not hashable; or what the class raises when it is copied.

    Examples
    --------
    >>> from collections import OrderedDict, namedtuple
    >>> with_parts(namedtuple("Pair", "a b")(1, 2), [3, 4])
    Pair(a=3, b=4)
    >>> with_parts(OrderedDict(a=1), [2])["a"]
    2
    """
    old = parts_of(nest)
    if len(old) == len(parts) and all(a is b for a, b in zip(old, parts)):
        return nest
    kind = type(nest)
    if kind is list or kind is set or kind is frozenset or kind is tuple:
        return kind(parts)
    if isinstance(nest, tuple | frozenset):
        base: Any = tuple if isinstance(nest, tuple) else frozenset
        made = base.__new__(kind, parts)
        made.__dict__.update(nest.__dict__) if hasattr(nest, "__dict__") else None
        return made
    if isinstance(nest, dict):
        return _with_values(nest, parts)
    made = copy.copy(nest)
    if isinstance(nest, list):
        list.__setitem__(made, slice(None), parts)
    elif isinstance(nest, set | deque):
        made.clear()
        made.update(parts) if isinstance(nest, set) else made.extend(parts)
    else:
        for name, before, part in zip(_fields(kind), old, parts):
            if before is not part:
                object.__setattr__(made, name, part)
    return made


def _with_values(nest: dict[Any, Any], parts: Sequence[Any]) -> Any:
    if type(nest) is dict:
        return dict(zip(nest, parts))
    made = copy.copy(nest)
    for key, part in zip(nest, parts):
        made[key] = part
    return made


def without_parts(nest: Any, wanted: Callable[[Any], bool]) -> Any:
    """Return `nest` without the parts that are not wanted; a named tuple, dataclass or attrs object has None instead.

    >>> without_parts([1, None], lambda part: part is not None)
    [1]
    """
    parts = parts_of(nest)
    if all(map(wanted, parts)):
        return nest
    if isinstance(nest, dict):
        made = copy.copy(nest)
        for key, part in nest.items():
            if not wanted(part):
                del made[key]
        return made
    if not isinstance(nest, _BASES) or hasattr(nest, "_fields"):
        return with_parts(nest, [part if wanted(part) else None for part in parts])
    return with_parts(nest, list(filter(wanted, parts)))


def with_keys(nest: dict[Any, Any], change: Callable[[Any], Any]) -> Any:
    """Return the dictionary with `change` applied to its keys; itself if none changes."""
    keys = [change(key) for key in nest]
    if all(a is b for a, b in zip(nest, keys)):
        return nest
    if type(nest) is dict:
        return dict(zip(keys, nest.values()))
    made = copy.copy(nest)
    made.clear()
    for key, value in zip(keys, nest.values()):
        made[key] = value
    return made
