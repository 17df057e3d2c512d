"""The base of every node of a plan: its children, its key, rewriting, and text.

A node is a frozen dataclass. The fields that hold nodes of its own family (relations, columns) are its children; all
else is data. Nodes never execute. Subclassed by `engine.relational`; every folder may read nodes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, replace
from functools import cached_property
from types import MappingProxyType
from typing import Any, ClassVar, Generic, TypeVar

N = TypeVar("N", bound="Node[Any]")

NOT_A_CHILD: Mapping[str, Any] = MappingProxyType({"child": False})
"""Metadata of a field that holds a node of the same family which is not a child: rewriting leaves it alone."""


class Node(Generic[N]):
    """Base of all nodes; `N` is the family, the common base class of a node and its children.

    A family is declared by ``class Family(Node["Family"], family=True)``. Children that a node holds inside of tuples
    are not found: such a node has methods of its own for them (see `engine.relational.relations`).
    """

    family: ClassVar[type[Any]]

    def __init_subclass__(cls, *, family: bool = False, **rest: Any) -> None:
        super().__init_subclass__(**rest)
        if family:
            cls.family = cls

    # -- children

    def children(self) -> tuple[N, ...]:
        """Return the nodes of the same family in the fields of this one, in the order of the fields."""
        return self._children

    @cached_property
    def _children(self) -> tuple[N, ...]:
        values = (getattr(self, name) for name, may_be_child in _fields_of(type(self)) if may_be_child)
        return tuple(value for value in values if isinstance(value, self.family))

    def walk(self) -> Iterator[N]:
        """All nodes below this one and the node itself, children first. A shared node is given once per parent."""
        for child in self.children():
            yield from child.walk()
        yield self  # type: ignore[misc]

    # -- rewriting

    def map_children(self, change: Callable[[N], N]) -> N:
        """Return a copy with `change` applied to each child; the node itself when no child changed."""
        changed = {
            name: new
            for name, may_be_child in _fields_of(type(self))
            if may_be_child and isinstance(old := getattr(self, name), self.family) and (new := change(old)) is not old
        }
        return replace(self, **changed) if changed else self  # type: ignore[type-var, return-value]

    def transform(self, change: Callable[[N], N]) -> N:
        """Return the plan with `change` applied to every node, children first."""
        return change(self.map_children(lambda child: child.transform(change)))

    # -- identity

    @cached_property
    def key(self) -> bytes:
        """16 bytes that are equal for equal content, in every process."""
        digest = hashlib.blake2b(type(self).__name__.encode(), digest_size=16)
        for name, _ in _fields_of(type(self)):
            value = getattr(self, name)
            digest.update(b"\1" + name.encode() + b"=")
            digest.update(value.key if isinstance(value, self.family) else self.content(name, value))
        return digest.digest()

    def content(self, name: str, value: Any) -> bytes:
        """Return what the field `name` adds to the key. Overridden where `repr` is too long or not the content."""
        return repr(value).encode()

    def __getstate__(self) -> dict[str, Any]:
        return {f.name: getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type]

    # -- text

    def describe(self) -> str:
        """One line for users, without the children."""
        return type(self).__name__.lower()

    def tree(self, indent: str = "") -> str:
        """Return the plan as text, one node a line, children below and indented."""
        return "\n".join([indent + self.describe(), *(child.tree(indent + "  ") for child in self.children())])


_FIELDS: dict[type, tuple[tuple[str, bool], ...]] = {}


def _fields_of(kind: type[Any]) -> tuple[tuple[str, bool], ...]:
    """Return the names of the fields that make a node, and whether each may hold a child, without derived fields."""
    found = _FIELDS.get(kind)
    if found is None:
        found = tuple((f.name, f.metadata.get("child", True)) for f in fields(kind) if f.init)
        _FIELDS[kind] = found
    return found
