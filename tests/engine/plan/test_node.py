"""Nodes: children by family, rewriting that shares what did not change, and keys that are equal for equal content."""

from __future__ import annotations

import pickle
from dataclasses import dataclass, field
from typing import Any

import pytest

from howdah.engine.plan.node import NOT_A_CHILD, Node


class Tree(Node["Tree"], family=True):
    pass


class Other(Node["Other"], family=True):
    pass


@dataclass(frozen=True)
class Leaf(Tree):
    name: str


@dataclass(frozen=True)
class Word(Other):
    text: str


@dataclass(frozen=True)
class Pair(Tree):
    left: Tree
    right: Tree | None = None
    word: Word | None = None
    note: Tree | None = field(default=None, metadata=NOT_A_CHILD)
    derived: int = field(init=False, default=0)

    def describe(self) -> str:
        return "pair"


@dataclass(frozen=True)
class Twin(Tree):
    left: Tree
    right: Tree | None = None


A, B = Leaf("a"), Leaf("b")


def upper(node: Tree) -> Tree:
    return Leaf(node.name.upper()) if isinstance(node, Leaf) else node


def test_children_are_the_fields_of_the_same_family() -> None:
    assert Pair(A, B, Word("x"), note=B).children() == (A, B)
    assert Pair(A).children() == (A,)
    assert A.children() == ()


def test_walk_gives_children_first() -> None:
    inner = Pair(A, B)
    assert list(Pair(inner, A).walk()) == [A, B, inner, A, Pair(inner, A)]


def test_map_children_changes_only_children_and_shares_the_rest() -> None:
    plan = Pair(A, B, Word("x"), note=A)
    assert plan.map_children(lambda child: child) is plan
    changed = plan.map_children(upper)
    assert changed == Pair(Leaf("A"), Leaf("B"), Word("x"), note=A)
    assert plan == Pair(A, B, Word("x"), note=A)


def test_transform_changes_every_node_children_first() -> None:
    seen: list[Tree] = []

    def change(node: Tree) -> Tree:
        seen.append(node)
        return upper(node)

    plan = Pair(Pair(A, B), A)
    assert plan.transform(change) == Pair(Pair(Leaf("A"), Leaf("B")), Leaf("A"))
    assert seen[-1] == Pair(Pair(Leaf("A"), Leaf("B")), Leaf("A"))
    untouched = Pair(Pair(A, B), A)
    assert untouched.transform(lambda node: node) is untouched


@pytest.mark.parametrize(
    "different",
    [Pair(B, A), Pair(A), Pair(A, B, Word("y")), Pair(A, B, Word("x"), note=A), Twin(A, B), Pair(Leaf("a\1b"))],
)
def test_keys_tell_content_apart(different: Tree) -> None:
    assert Pair(A, B, Word("x")).key == Pair(Leaf("a"), Leaf("b"), Word("x")).key
    assert len(different.key) == 16
    assert different.key != Pair(A, B, Word("x")).key


def test_a_key_survives_pickling_and_what_was_derived_does_not_travel() -> None:
    plan = Pair(A, B)
    key, children = plan.key, plan.children()
    state = plan.__getstate__()
    assert set(state) == {"left", "right", "word", "note", "derived"}
    copy = pickle.loads(pickle.dumps(plan))
    assert (copy, copy.key, copy.children()) == (plan, key, children)


def test_the_tree_as_text() -> None:
    assert Pair(Pair(A), B).tree("> ") == "> pair\n>   pair\n>     leaf\n>   leaf"


def test_content_of_a_field_can_be_chosen() -> None:
    @dataclass(frozen=True)
    class Blob(Tree):
        data: Any
        digest: bytes

        def content(self, name: str, value: Any) -> bytes:
            return b"" if name == "data" else super().content(name, value)

    assert Blob([1], b"x").key == Blob([2], b"x").key != Blob([1], b"y").key
