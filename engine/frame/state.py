"""`FrameState`: what DataFrame and Series hold, namely a relation, expressions over it, and row labels.

A frame is a `base` relation and, per column, an expression over it. Deriving a column only adds an expression, so any
two frames over the same base can be combined row by row. The index consists of expressions too: the hidden column INDEX
where pandas would have 0, 1, 2, ..., or the keys of a group-by. States are immutable. Internal to `engine.frame`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace

from howdah.engine.relational import relations
from howdah.engine.relational.columns import Col, Column, is_unresolved
from howdah.engine.relational.dtypes import INT64, DType
from howdah.engine.relational.relations import INDEX, Relation
from howdah.errors import SchemaError, UnknownColumn, near

Label = Hashable


@dataclass(frozen=True, slots=True)
class Level:
    """A level of the index: pandas' name of it, and its values."""

    label: Label
    values: Column


DEFAULT = (Level(None, Col(INDEX, INT64)),)
"""pandas' default index: the number of the row in the relation that introduced it."""


_MASK = "\1mask"


def internal_name(label: Label) -> str:
    """Return the name, in a relation, of the column labelled `label`.

    >>> internal_name("price"), internal_name(0)
    ('price', '\\x010')
    """
    return label if isinstance(label, str) else f"\1{label!r}"


def numbered(base: Relation) -> Relation:
    """Return the relation with a fresh default index."""
    return relations.Number(base)


@dataclass(frozen=True, slots=True)
class FrameState:
    """The plan of a frame: `columns` are (label, expression over `base`)."""

    base: Relation
    columns: tuple[tuple[Label, Column], ...]
    index: tuple[Level, ...] = DEFAULT

    def __post_init__(self) -> None:
        for label, _ in self.columns:
            if isinstance(label, str) and (label in ("", "*") or (label[0] == "^" and label[-1] == "$")):
                raise SchemaError(f"the column name {label!r} is empty or a pattern: rename it, or leave it out")

    # -- columns

    def labels(self) -> list[Label]:
        """Return the column labels, in order."""
        return [label for label, _ in self.columns]

    def dtypes(self) -> dict[Label, DType]:
        """Return the type of each column."""
        return {label: e.dtype for label, e in self.columns}

    def column(self, label: Label) -> Column:
        """Return the expression of a column; `KeyError` if there is none of that label and type."""
        for known, e in self.columns:
            if known == label and type(known) is type(label):
                return e
        raise KeyError(label)

    def require(self, label: Label, where: str) -> Column:
        """Return the expression of a column.

        Raises
        ------
        UnknownColumn : there is none; the message begins with `where` and suggests similar names.
        """
        try:
            return self.column(label)
        except KeyError:
            known = [str(c) for c in self.labels()]
            raise UnknownColumn(f"{where}: no column {label!r}: {near(str(label), known)}") from None

    @property
    def expression(self) -> Column:
        """The expression of the first column, which is the only one of a Series."""
        return self.columns[0][1]

    def resolve(self, base: Relation, column: Column, what: str) -> Column:
        """Return an expression over another base as one over this base.

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

    # -- the index

    @property
    def default_index(self) -> bool:
        """Whether the index is pandas' default one, possibly with gaps."""
        return self.index == DEFAULT

    @property
    def is_range(self) -> bool:
        """Whether the index is known to be 0, 1, 2, ... in order."""
        return self.default_index and self.base.positional

    def level_names(self) -> list[str]:
        """Return the hidden column names of the index' levels."""
        return [INDEX] if self.default_index else [f"{INDEX}{i}" for i in range(len(self.index))]

    def reset_index(self, drop: bool = False) -> FrameState:
        """Return the frame with a fresh index 0, 1, 2, ...; the old levels become its first columns, unless `drop`."""
        base = self.projected()
        # The old labels are columns of `base.base` under hidden names; a new INDEX must not take their place.
        columns = (*(() if drop else self._levels_as_columns(base)), *base.columns)
        named = tuple((internal_name(label), e) for label, e in columns)
        return FrameState(numbered(relations.Project(base.base, named)), columns, DEFAULT).by_label()

    def _levels_as_columns(self, base: FrameState) -> tuple[tuple[Label, Column], ...]:
        known = self.labels()
        out = []
        for i, level in enumerate(base.index):
            plain = ("index" if "index" not in known else "level_0") if len(base.index) == 1 else f"level_{i}"
            label = level.label if level.label is not None else plain
            if label in known:
                raise SchemaError(f"reset_index: there is a column {label!r} already: rename it, or use drop=True")
            out.append((label, level.values))
        return tuple(out)

    # -- relations

    def plan(self, *, index: bool = True) -> relations.Project:
        """Return the relation that users see: their columns, and the index' levels under hidden names."""
        named = [(internal_name(label), e) for label, e in self.columns]
        if index:
            named += list(zip(self.level_names(), (level.values for level in self.index)))
        for _, e in named:
            _ = e.dtype.polars  # refuses columns of types that cannot be carried
        return relations.Project(self.base, tuple(named))

    def projected(self) -> FrameState:
        """Return the same frame over its own plan: its columns become plain references to computed columns."""
        plan = self.plan()
        return self.over(plan)

    def over(self, base: Relation) -> FrameState:
        """Return the same columns and index, found by name in another relation."""
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
        """Return the same columns, each read from the column of the base that has its label."""
        schema = self.base.schema
        return replace(
            self,
            columns=tuple((label, Col(internal_name(label), schema[internal_name(label)])) for label in self.labels()),
        )

    def filtered(self, mask: Column) -> FrameState:
        """Return the rows in which `mask`, an expression over the base, is true."""
        if not self.depends_on_data(mask):
            return replace(self, base=relations.Filter(self.base, mask))
        plan = self.plan()
        both = relations.Project(self.base, (*plan.columns, (_MASK, mask)))
        return self.over(relations.Filter(both, Col(_MASK, mask.dtype)))

    def depends_on_data(self, *more: Column) -> bool:
        """Whether a dtype of the frame, or of `more`, is still to be decided by its present rows."""
        everything = (*(e for _, e in self.columns), *(level.values for level in self.index), *more)
        return any(is_unresolved(e) for e in everything)

    def map_base(self, make: Callable[[Relation], Relation]) -> FrameState:
        """Return the frame after an operation that keeps columns and drops rows.

        A dtype that the data decides is decided by all rows, those that `make` drops included.
        """
        if self.depends_on_data():
            projected = self.projected()
            return replace(projected, base=make(projected.base))
        return replace(self, base=make(self.base))
