"""Containers that are built anew keep their class, order, attributes and settings."""

from __future__ import annotations

from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import pytest

from howdah.engine.graph.nests import is_nest, parts_of, with_keys, with_parts, without_parts

Pair = namedtuple("Pair", "a b")


class Named(tuple):
    """A tuple with its own constructor and an attribute."""

    name: str

    def __new__(cls, name: str, *parts: Any) -> Named:
        made = super().__new__(cls, parts)
        made.name = name
        return made


class Titled(list[Any]):
    """A list with an attribute and a constructor of its own."""

    def __init__(self, title: str, parts: Any) -> None:
        super().__init__(parts)
        self.title = title


class Settings(dict[str, Any]):
    """A dictionary with a constructor of its own."""

    def __init__(self, *, a: Any, b: Any) -> None:
        super().__init__(a=a, b=b)


@dataclass(frozen=True, slots=True)
class Frozen:
    a: Any
    b: Any


@dataclass
class Derived:
    a: Any
    b: Any
    made: int = field(init=False, default=9)

    def __post_init__(self) -> None:
        if self.made != 9:
            raise AssertionError("called again")


NESTS = [
    [1, 2], (1, 2), {"a": 1, "b": 2}, Pair(1, 2), Named("n", 1, 2), Titled("t", [1, 2]), Settings(a=1, b=2),
    OrderedDict(b=1, a=2), defaultdict(list, a=1, b=2), Counter(a=1, b=2), deque([1, 2], maxlen=2), Frozen(1, 2),
    Derived(1, 2),
]  # fmt: skip


@pytest.mark.parametrize("nest", NESTS, ids=lambda nest: type(nest).__name__)
def test_the_class_and_all_else_stay(nest: Any) -> None:
    assert is_nest(nest)
    old = parts_of(nest)
    assert with_parts(nest, old) is nest
    made = with_parts(nest, ["x", *old[1:]])
    assert type(made) is type(nest)
    assert parts_of(made) == ["x", *old[1:]]
    assert parts_of(nest) == old
    for name in ("name", "title", "default_factory", "maxlen"):
        assert getattr(made, name, None) == getattr(nest, name, None)
    if isinstance(nest, dict):
        assert list(made) == list(nest)
        assert list(with_keys(nest, str.upper)) == [key.upper() for key in nest]


def test_sets() -> None:
    assert with_parts({1}, [2]) == {2}
    assert with_parts(frozenset({1}), [2]) == frozenset({2})


def test_parts_that_are_left_out() -> None:
    assert without_parts((1, None), lambda part: part is not None) == (1,)
    assert without_parts(Pair(1, None), lambda part: part == 7) == Pair(None, None)
    assert without_parts(OrderedDict(a=1, b=2), lambda part: part == 2) == OrderedDict(b=2)


@pytest.mark.parametrize("other", ["text", b"bytes", range(3), mock.Mock(), mock.MagicMock(), Frozen, Pair, 1.5])
def test_what_is_searched_no_further(other: Any) -> None:
    assert not is_nest(other)
