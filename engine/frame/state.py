"""What DataFrame and Series share: a relation, expressions over it, and row labels. Internal to `frame`.

A frame is a `base` relation and, per column, an expression over it; deriving a column only adds an expression, so any
two frames over the same base can be combined row by row. The index is expressions too: the hidden column INDEX where
pandas would have 0, 1, 2, ..., or the keys of a group-by.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace

from howdah.engine.relational import relations
from howdah.engine.relational.columns import Col, Column, is_unresolved
from howdah.engine.relational.dtypes import INT64, DType
from howdah.engine.relational.relations import INDEX, Relation
from howdah.errors import SchemaError

Label = Hashable


@dataclass(frozen=True, slots=True)
class Level:
    """A level of the index: pandas' name of it, and its values."""

    label: Label
    values: Column


DEFAULT = (Level(None, Col(INDEX, INT64)),)
"""pandas' default index: the number of the row where it was born."""


_MASK = "\1mask"


def internal_name(label: Label) -> str:
    """The name in a relation of the column that people call `label`."""
    return label if isinstance(label, str) else f"\1{label!r}"


@dataclass(frozen=True, slots=True)
class FrameState:
    """A frame without its face: `columns` are (label, expression over `base`)."""

    base: Relation
    columns: tuple[tuple[Label, Column], ...]
    index: tuple[Level, ...] = DEFAULT

    def __post_init__(self) -> None:
        for label, _ in self.columns:
            if isinstance(label, str) and (label in ("", "*") or (label[0] == "^" and label[-1] == "$")):
                raise SchemaError(f"the column name {label!r} is empty or a pattern: rename it, or leave it out")

    @property
    def default_index(self) -> bool:
        return self.index == DEFAULT

    @property
    def is_range(self) -> bool:
        """Whether the index is known to be 0, 1, 2, ... in order."""
        return self.default_index and self.base.positional

    def level_names(self) -> list[str]:
        return [INDEX] if self.default_index else [f"{INDEX}{i}" for i in range(len(self.index))]

    def plan(self, *, index: bool = True) -> relations.Project:
        """The relation that people see: their columns, and the index' levels under hidden names."""
        named = [(internal_name(label), e) for label, e in self.columns]
        if index:
            named += list(zip(self.level_names(), (level.values for level in self.index)))
        for _, e in named:
            _ = e.dtype.polars  # refuses columns of types that cannot be carried
        return relations.Project(self.base, tuple(named))

    def projected(self) -> FrameState:
        """The same frame over its own plan: expressions are computed there, and columns are plain references."""
        plan = self.plan()
        return self.over(plan)

    def over(self, base: Relation) -> FrameState:
        """The same columns and index, found by name in another relation."""
        columns = tuple(
            (label, Col(internal_name(label), base.schema[internal_name(label)])) for label, _ in self.columns
        )
        if self.default_index:
            return FrameState(base, columns, DEFAULT)
        levels = zip(self.index, self.level_names())
        return FrameState(
            base, columns, tuple(Level(level.label, Col(name, base.schema[name])) for level, name in levels)
        )

    def by_label(self) -> FrameState:
        """The same columns, each read from the column of the base that has its label."""
        schema = self.base.schema
        return replace(
            self,
            columns=tuple((label, Col(internal_name(label), schema[internal_name(label)])) for label in self.labels()),
        )

    def filtered(self, mask: Column) -> FrameState:
        """The rows in which `mask`, an expression over the base, is true."""
        if not self.depends_on_data(mask):
            return replace(self, base=relations.Filter(self.base, mask))
        plan = self.plan()
        both = relations.Project(self.base, (*plan.columns, (_MASK, mask)))
        return self.over(relations.Filter(both, Col(_MASK, mask.dtype)))

    def depends_on_data(self, *more: Column) -> bool:
        """Whether a dtype of the frame is still a question about its rows, as they are now."""
        everything = (*(e for _, e in self.columns), *(level.values for level in self.index), *more)
        return any(is_unresolved(e) for e in everything)

    def map_base(self, make: Callable[[Relation], Relation]) -> FrameState:
        """The frame after an operation that keeps columns and drops rows; open questions stay with all its rows."""
        if self.depends_on_data():
            projected = self.projected()
            return replace(projected, base=make(projected.base))
        return replace(self, base=make(self.base))

    def resolve(self, base: Relation, column: Column, what: str) -> Column:
        """An expression over another base as one over this base.

        Raises
        ------
        SchemaError : the two have different rows. (pandas would align them by label; howdah never does that silently.)
        """
        mine: Relation = self.base
        while mine.key != base.key:
            if not isinstance(mine, (relations.Filter, relations.Head, relations.Tail)) or is_unresolved(column):
                raise SchemaError(
                    f"{what}: the column belongs to another frame: columns of one frame can be combined row by row; "
                    "merge two frames on a key, or take the column from the frame that you assign to"
                )
            mine = mine.source
        return column

    def column(self, label: Label) -> Column:
        for known, e in self.columns:
            if known == label and type(known) is type(label):
                return e
        raise KeyError(label)

    def labels(self) -> list[Label]:
        return [label for label, _ in self.columns]

    def dtypes(self) -> dict[Label, DType]:
        return {label: e.dtype for label, e in self.columns}


def numbered(base: Relation) -> Relation:
    """The relation with a fresh default index."""
    return relations.Number(base)
