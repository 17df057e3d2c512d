"""The compiler of relations: their rules, dtype resolution and lowering, and a plan's rows as one table.

`COMPILER` is the one object; `compute_table` and `persist_plan` are what frames call. Everything that pandas adds
(labels, indexes) is the business of `howdah.engine.frame`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import polars as pl

from howdah.engine.graph.graph import Graph
from howdah.engine.plan.compile import Compiler
from howdah.engine.plan.rules import Rule
from howdah.engine.relational import relations
from howdah.engine.relational.columns import Cast, DataDependent
from howdah.engine.relational.compiler.dtype_resolution import open_columns, resolve, retype
from howdah.engine.relational.compiler.evaluate import as_polars
from howdah.engine.relational.compiler.lowering import RelationalLowering
from howdah.engine.relational.compiler.polars_expr import runs_as_pandas
from howdah.engine.relational.dtypes import DType
from howdah.engine.relational.relations import Relation
from howdah.engine.relational.rules import RULES


class RelationalCompiler(Compiler[Relation]):
    """See `howdah.engine.plan.compile.Compiler`."""

    rules: ClassVar[tuple[Rule[Any], ...]] = RULES

    def resolve(self, plan: Relation, scheduler: Any) -> Relation:
        def compute_flags(flags: Relation) -> list[bool]:
            row = self.table(self.optimise(flags), scheduler)
            return [bool(row[name].item()) for name in flags.schema]

        return resolve(plan, compute_flags)

    def new_lowering(self, graph: Graph, *, single_task: bool) -> RelationalLowering:
        return RelationalLowering(graph, single_task=single_task)

    def local_bytes(self, plan: Relation) -> int | None:
        scans = [(node.table, node.stored()) for node in plan.walk() if isinstance(node, relations.Scan)]
        if any(table is None or not table.is_local for table, _ in scans):
            return None
        return sum(table.stored_bytes(columns) for table, columns in scans if table is not None)

    def remarks(self, plan: Relation) -> Iterable[tuple[str, list[str]]]:
        yield "runs as pandas on each partition", list(dict.fromkeys(_pandas_parts(plan)))
        open_dtypes = [_shown(e) for node in plan.walk() for e in open_columns(node)]
        yield "dtypes that the data decides (found out before, or with the rows)", list(dict.fromkeys(open_dtypes))

    def table(self, plan: Relation, scheduler: Any) -> pl.DataFrame:
        """All rows of an optimised and resolved plan, in order."""
        return _concat([as_polars(partition) for partition in self.run(plan, scheduler)])


COMPILER = RelationalCompiler()


def _concat(parts: Sequence[pl.DataFrame]) -> pl.DataFrame:
    return parts[0] if len(parts) == 1 else pl.concat(parts, rechunk=False)


# -- rows -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ComputedTable:
    """The rows of a plan as one table, with the dtypes that the data gave them."""

    table: pl.DataFrame
    schema: dict[str, DType]


def compute_table(plan: Relation, scheduler: Any = None) -> ComputedTable:
    """Compile and run a plan that a user wrote.

    Raises
    ------
    What the data makes of it: a user's own exception as it was, `StorageError` when a file cannot be read.
    """
    plan = COMPILER.optimise(plan)
    if not isinstance(plan, relations.Project):
        return _resolved_table(plan, scheduler)
    source = COMPILER.optimise_and_resolve(plan.source, scheduler)
    top = retype(replace(plan, source=source))
    assert isinstance(top, relations.Project)
    return _table_with_conditions(top, scheduler)


def _resolved_table(plan: Relation, scheduler: Any) -> ComputedTable:
    plan = COMPILER.optimise_and_resolve(plan, scheduler)
    return ComputedTable(COMPILER.table(plan, scheduler), dict(plan.schema))


def _table_with_conditions(top: relations.Project, scheduler: Any) -> ComputedTable:
    """Compute open conditions on the rows of the result with the rows: both branches are columns of one run."""
    open_casts = {n: e for n, e in top.columns if isinstance(e, DataDependent) and e.answer is None}
    open_casts = {n: e for n, e in open_casts.items() if isinstance(e.if_false, Cast)}
    deeper = any(c.unresolved for n, e in top.columns for c in (e.children() if n in open_casts else (e,)))
    if deeper or not open_casts:
        return _resolved_table(top, scheduler)
    columns = [(n, e) for n, e in top.columns if n not in open_casts]
    for n, e in open_casts.items():
        columns += [(n + "\1true", e.if_true), (n + "\1false", e.if_false), (n + "\1condition", e.condition)]
    table = COMPILER.table(COMPILER.optimise(replace(top, columns=tuple(columns))), scheduler)
    schema, out = dict(top.schema), []
    for n in schema:
        if n in open_casts:
            holds = bool(table[n + "\1condition"].any())
            schema[n] = (open_casts[n].if_true if holds else open_casts[n].if_false).dtype
            out.append(table[n + ("\1true" if holds else "\1false")].alias(n))
        else:
            out.append(table[n])
    return ComputedTable(pl.DataFrame(out), schema)


def persist_plan(plan: Relation, scheduler: Any = None) -> relations.Persisted:
    """Start to compute the plan; a relation of its rows, which are kept while it is referenced."""
    plan = COMPILER.optimise_and_resolve(plan, scheduler)
    held, n = COMPILER.persist(plan, scheduler)
    return relations.Persisted(held, dict(plan.schema), n)


def in_memory(table: pl.DataFrame, schema: dict[str, DType], npartitions: int, is_range: bool) -> relations.InMemory:
    """Return a relation of rows that the client has, cut into `npartitions`."""
    step = max(1, -(-table.height // npartitions))
    slices = [table[i : i + step] for i in range(0, table.height, step)] or [table]
    parts = tuple(s.to_arrow(compat_level=pl.CompatLevel.newest()) for s in slices)
    digest = hashlib.blake2b(digest_size=16)
    for name, dtype in schema.items():
        digest.update(f"{name}\1{dtype!r}\1".encode())
    digest.update(table.rechunk().write_ipc(None).getvalue())
    return relations.InMemory(parts, schema, digest.digest(), is_range)


# -- remarks --------------------------------------------------------------------------------------------------------


def _pandas_parts(plan: Relation) -> Iterator[str]:
    """Yield what has no Polars form."""
    for node in plan.walk():
        if isinstance(node, relations.MapPartitions):
            yield node.describe()
        if isinstance(node, relations.Sort) and not node.stable:
            yield f"{node.describe()} (the order of ties is numpy's)"
        for e in node.expressions():
            yield from (str(part) for part in e.walk() if runs_as_pandas(part))


def _shown(e: DataDependent) -> str:
    return f"{e.if_false}: {e.if_true.dtype} if any {e.condition}, otherwise {e.if_false.dtype}"
