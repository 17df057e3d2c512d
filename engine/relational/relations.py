"""Relations: immutable logical nodes, each with a schema derived at construction and a key of its content.

A node's rows have an order, and it is pandas' order. `Scan`, `InMemory` and `Persisted` are leaves, `StageInput` is one
inside of stages; `Filter`, `Head`, `Tail`, `Sort` and `Top` keep their source's columns; the others make a new schema.
Nodes hold data and never execute: `rules` rewrite them, `compiler.lowering` turns them into layers, and
`compiler.evaluate` computes them inside one task. Built by `frame` and by the rules.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from howdah.engine.plan.node import NOT_A_CHILD, Node
from howdah.engine.relational.aggregates import Agg
from howdah.engine.relational.columns import Column
from howdah.engine.relational.dtypes import INT64, DType, How
from howdah.errors import SchemaError, UnknownColumn, near

if TYPE_CHECKING:
    from howdah.io.readers.table import Condition, Split, TableSource

INDEX = "__index__"
"""The hidden column of pandas' default row labels. The levels of another index are INDEX + "0", INDEX + "1", ..."""

Schema = dict[str, DType]
NamedColumns = tuple[tuple[str, Column], ...]


class Relation(Node["Relation"], family=True):
    """Base of all relations. `schema` maps column names to dtypes, in order."""

    schema: Schema

    def expressions(self) -> tuple[Column, ...]:
        """Return the column expressions of this node, evaluated on its (first) child."""
        return ()

    def map_expressions(self, change: Callable[[Column], Column]) -> Relation:
        """Return a copy with `change` applied to its column expressions."""
        return self

    @property
    def positional(self) -> bool:
        """Whether the row labels are known to be 0, 1, 2, ... in order."""
        return False

    def require_column(self, name: str, where: str) -> None:
        """Raise UnknownColumn, with near names, unless `name` is a column."""
        if name not in self.schema:
            shown = [c for c in self.schema if not c.startswith(INDEX)]
            raise UnknownColumn(f"{where}: no column {name!r}: {near(str(name), shown)}")


def check_columns(relation: Relation, columns: Sequence[Column], where: str) -> None:
    """Raise UnknownColumn unless the relation has every column that the expressions read."""
    for expression in columns:
        for name in expression.names():
            relation.require_column(name, where)


# -- leaves ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scan(Relation):
    """Columns of a table that a reader found.

    Attributes
    ----------
    table : the source; None inside the stages whose tasks are given their splits.
    columns : what to read, in this order. With INDEX among them the number of the row in the whole table is read.
    types : the dtypes of the stored columns.
    conditions : exclude splits and parts of splits by their statistics; they do not filter rows.
    splits : set inside of stages that read several splits as one task.
    """

    table: TableSource | None
    columns: tuple[str, ...]
    types: Schema
    conditions: tuple[Condition, ...] = ()
    splits: tuple[Split, ...] | None = None

    @cached_property
    def schema(self) -> Schema:  # type: ignore[override]
        return {c: INT64 if c == INDEX else self.types[c] for c in self.columns}

    @property
    def positional(self) -> bool:
        return True

    def stored(self) -> tuple[str, ...]:
        """Return the columns that are in the files."""
        return tuple(c for c in self.columns if c != INDEX)

    @cached_property
    def nbytes(self) -> int:
        """Stored bytes of the columns in the splits that the conditions leave."""
        if self.table is None:
            return 0
        return sum(split.nbytes for split in self.table.splits(self.stored(), conditions=self.conditions))

    def content(self, name: str, value: Any) -> bytes:
        if name == "table":
            return b"" if value is None else bytes(value.fingerprint)
        return super().content(name, value)

    def describe(self) -> str:
        where = "".join(f" [{c} {op} {v!r}]" for c, op, v in self.conditions)
        name = "a split" if self.table is None else self.table.name
        return f"scan {name}: {', '.join(_visible(self.columns)) or 'row counts'}{where}"


@dataclass(frozen=True)
class InMemory(Relation):
    """Rows that the client holds, as Arrow tables, one per partition."""

    parts: tuple[Any, ...]
    schema: Schema
    digest: bytes
    is_range: bool = True

    @property
    def positional(self) -> bool:
        return self.is_range

    def content(self, name: str, value: Any) -> bytes:
        return self.digest if name == "parts" else super().content(name, value)

    def describe(self) -> str:
        return f"in memory: {', '.join(_visible(tuple(self.schema)))} ({sum(p.num_rows for p in self.parts)} rows)"


@dataclass(frozen=True)
class Persisted(Relation):
    """Rows that workers hold; `held` keeps them there (see `engine.execution.dispatch.persist_graph`)."""

    held: Any
    schema: Schema
    n: int
    is_range: bool = False

    @property
    def positional(self) -> bool:
        return self.is_range

    def content(self, name: str, value: Any) -> bytes:
        return bytes(value.layer) if name == "held" else super().content(name, value)

    def describe(self) -> str:
        return f"persisted: {', '.join(_visible(tuple(self.schema)))} ({self.n} partitions)"


# -- same columns as the source -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Filter(Relation):
    """The rows where `predicate` is true."""

    source: Relation
    predicate: Column

    def __post_init__(self) -> None:
        check_columns(self.source, [self.predicate], "filter")
        if self.predicate.dtype.kind != "bool":
            raise SchemaError(
                f"filter: {self.predicate} is {self.predicate.dtype}: a mask must be bool without missing values"
            )

    @property
    def schema(self) -> Schema:  # type: ignore[override]
        return self.source.schema

    def expressions(self) -> tuple[Column, ...]:
        return (self.predicate,)

    def map_expressions(self, change: Callable[[Column], Column]) -> Relation:
        return replace(self, predicate=change(self.predicate))

    def describe(self) -> str:
        return f"filter {self.predicate}"


@dataclass(frozen=True)
class Head(Relation):
    """The first `n` rows; all but the last -n when negative."""

    source: Relation
    n: int

    @property
    def schema(self) -> Schema:  # type: ignore[override]
        return self.source.schema

    @property
    def positional(self) -> bool:
        return self.source.positional

    def describe(self) -> str:
        return f"head {self.n}"


@dataclass(frozen=True)
class Tail(Relation):
    """The last `n` rows."""

    source: Relation
    n: int

    @property
    def schema(self) -> Schema:  # type: ignore[override]
        return self.source.schema

    def describe(self) -> str:
        return f"tail {self.n}"


@dataclass(frozen=True)
class Sort(Relation):
    """Rows in the order of the columns `by`; missing values last or first; `kind` as in pandas."""

    source: Relation
    by: tuple[str, ...]
    ascending: tuple[bool, ...]
    na_last: bool = True
    kind: str = "quicksort"

    @property
    def schema(self) -> Schema:  # type: ignore[override]
        return self.source.schema

    @property
    def stable(self) -> bool:
        """Whether equal rows keep their order. For one column that depends on numpy's `kind` of sort."""
        return len(self.by) > 1 or self.kind in ("stable", "mergesort")

    def describe(self) -> str:
        return "sort by " + ", ".join(b if a else f"{b} descending" for b, a in zip(self.by, self.ascending))


@dataclass(frozen=True)
class Top(Relation):
    """The `n` rows with the largest (or smallest) values of `by`, best first; ties in the order of the rows."""

    source: Relation
    n: int
    by: tuple[str, ...]
    largest: bool

    @property
    def schema(self) -> Schema:  # type: ignore[override]
        return self.source.schema

    def describe(self) -> str:
        return f"{'largest' if self.largest else 'smallest'} {self.n} by {', '.join(self.by)}"


# -- new columns ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Project(Relation):
    """Columns computed row by row."""

    source: Relation
    columns: NamedColumns

    def __post_init__(self) -> None:
        check_columns(self.source, [e for _, e in self.columns], "project")

    @cached_property
    def schema(self) -> Schema:  # type: ignore[override]
        return {name: e.dtype for name, e in self.columns}

    @property
    def positional(self) -> bool:
        return self.source.positional

    def expressions(self) -> tuple[Column, ...]:
        return tuple(e for _, e in self.columns)

    def map_expressions(self, change: Callable[[Column], Column]) -> Relation:
        return replace(self, columns=tuple((n, change(e)) for n, e in self.columns))

    def describe(self) -> str:
        shown = [n if str(e) == n else f"{n} = {e}" for n, e in self.columns if not n.startswith(INDEX)]
        return f"project {', '.join(shown)}"


@dataclass(frozen=True)
class Number(Relation):
    """The rows with their numbers 0, 1, 2, ... in the column `name`."""

    source: Relation
    name: str = INDEX

    @cached_property
    def schema(self) -> Schema:  # type: ignore[override]
        return {**self.source.schema, self.name: INT64}

    @property
    def positional(self) -> bool:
        return self.name == INDEX or self.source.positional

    def describe(self) -> str:
        return "number the rows"


@dataclass(frozen=True)
class Aggregate(Relation):
    """One row per distinct `keys`; one row in all when there are none."""

    source: Relation
    keys: NamedColumns
    aggs: tuple[tuple[str, Agg], ...]
    sort: bool = True
    dropna: bool = True

    def __post_init__(self) -> None:
        check_columns(self.source, self.expressions(), "groupby")

    @cached_property
    def schema(self) -> Schema:  # type: ignore[override]
        keys = {n: e.dtype.as_non_null() if self.dropna else replace(e.dtype, na_value="nan") for n, e in self.keys}
        return keys | {n: a.dtype for n, a in self.aggs}

    def expressions(self) -> tuple[Column, ...]:
        return (*(e for _, e in self.keys), *(a.source for _, a in self.aggs if a.source is not None))

    def map_expressions(self, change: Callable[[Column], Column]) -> Relation:
        aggs = tuple((n, replace(a, source=change(a.source)) if a.source is not None else a) for n, a in self.aggs)
        return replace(self, keys=tuple((n, change(e)) for n, e in self.keys), aggs=aggs)

    def describe(self) -> str:
        what = ", ".join(f"{n} = {a}" if not n.startswith("__") else str(a) for n, a in self.aggs)
        return f"group by {', '.join(str(e) for _, e in self.keys)}: {what}" if self.keys else f"reduce to {what}"


@dataclass(frozen=True)
class Join(Relation):
    """Rows of `left` beside the rows of `right` with equal keys (missing equals missing), in pandas' order.

    Attributes
    ----------
    take : for each column of the result its name, the side ("left", "right" or "key"), the column there, and the dtype.
        "key" is the left value, or the right one where there is no left.
    broadcast : the side that goes to every task, "left" or "right"; "" is undecided.
    ordered : whether the order of the rows matters.
    """

    left: Relation
    right: Relation
    left_on: tuple[str, ...]
    right_on: tuple[str, ...]
    how: How
    take: tuple[tuple[str, str, str, DType], ...]
    broadcast: str = ""
    ordered: bool = True

    @cached_property
    def schema(self) -> Schema:  # type: ignore[override]
        return {name: dtype for name, _, _, dtype in self.take}

    def describe(self) -> str:
        on = ", ".join(a if a == b else f"{a} = {b}" for a, b in zip(self.left_on, self.right_on))
        side = f", {self.broadcast} side to every task" if self.broadcast else ""
        return f"{self.how} join on {on}{side}"


@dataclass(frozen=True)
class MapPartitions(Relation):
    """`fn` on the pandas frame of each partition.

    Attributes
    ----------
    code : the content hash of the function.
    columns, index : the columns of the source that are the frame's columns, and (label, column) of its index levels.
    schema : the columns of the result, those of the index (`index_out`) included.
    """

    source: Relation
    fn: Callable[..., Any]
    code: bytes
    columns: tuple[str, ...]
    index: tuple[tuple[Any, str], ...]
    schema: Schema
    index_out: tuple[str, ...] = field(default=())

    def content(self, name: str, value: Any) -> bytes:
        return b"" if name == "fn" else super().content(name, value)

    def describe(self) -> str:
        return f"map partitions, as pandas: {getattr(self.fn, '__name__', 'function')}"


# -- inside of stages only ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class StageInput(Relation):
    """Input `number` of a stage: a table, or with `concatenate` a list of tables to be put end to end."""

    number: int
    schema: Schema
    concatenate: bool = False

    def describe(self) -> str:
        return f"input {self.number}"


@dataclass(frozen=True)
class PartialAggregate(Relation):
    """The first step of an aggregate on one partition: keys and states."""

    aggregate: Aggregate

    def describe(self) -> str:
        return "partial " + self.aggregate.describe()


@dataclass(frozen=True)
class CombineAggregate(Relation):
    """The states of several partitions put together, in the order of the partitions."""

    source: Relation
    aggregate: Aggregate = field(metadata=NOT_A_CHILD)

    def describe(self) -> str:
        return "combine " + self.aggregate.describe()


@dataclass(frozen=True)
class FinishAggregate(Relation):
    """The values of combined states."""

    source: Relation
    aggregate: Aggregate = field(metadata=NOT_A_CHILD)

    @property
    def schema(self) -> Schema:  # type: ignore[override]
        return self.aggregate.schema

    def describe(self) -> str:
        return "finish " + self.aggregate.describe()


def _visible(columns: tuple[str, ...]) -> list[str]:
    return [c if c != INDEX else "row number" for c in columns if c == INDEX or not c.startswith(INDEX)]
