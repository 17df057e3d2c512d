"""From a frame to its answer: settle, optimise, lower, run, and give pandas what is pandas'. Internal to `frame`."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import polars as pl

from howdah.engine.frame.state import FrameState, internal_name
from howdah.engine.graph.graph import Graph
from howdah.engine.relational import relations
from howdah.engine.relational.columns import Cast, DataDependent, is_unresolved
from howdah.engine.relational.convert import frame_to_pandas
from howdah.engine.relational.dtype_resolution import resolve, retype
from howdah.engine.relational.dtypes import DType
from howdah.engine.relational.evaluate import as_polars
from howdah.engine.relational.lowering import Lowering, OpenStage
from howdah.engine.relational.relations import Relation
from howdah.engine.relational.rules import optimise

LOCAL_MEMORY = 0.25
"""Share of the free memory that the stored bytes of a local plan may have to be run as one stage."""


@dataclass(frozen=True, slots=True)
class ComputedRows:
    """The rows of a plan as one table, with the types that they turned out to have."""

    table: pl.DataFrame
    schema: dict[str, DType]


def client_for(scheduler: Any) -> Any:
    """The client that the work goes to; None when it is done in this process."""
    if scheduler in ("threads", "inline"):
        return None
    if scheduler is not None:
        return scheduler
    from howdah.engine.execution.default_client import get_default_client

    return get_default_client()


def optimise_and_resolve(plan: Relation, scheduler: Any) -> Relation:
    """The plan with its dtypes settled, optimised."""

    def ask(question: Relation) -> list[bool]:
        row = run(optimise(question), scheduler)
        return [bool(row[name].item()) for name in question.schema]

    plan = optimise(plan)
    return optimise(resolve(plan, ask))


def lower(plan: Relation, scheduler: Any) -> tuple[Lowering, OpenStage]:
    """The plan as layers; one stage for all of it when it runs here and fits."""
    lowering = Lowering(Graph(), single_task=client_for(scheduler) is None and _fits(plan))
    return lowering, lowering.lower(plan)


def _fits(plan: Relation) -> bool:
    import psutil

    tables = [node for node in plan.walk() if isinstance(node, relations.Scan)]
    if any(not node.table.filesystem.is_local for node in tables):
        return False
    stored = sum(node.table.stored_bytes(node.stored()) for node in tables)
    return bool(stored <= LOCAL_MEMORY * psutil.virtual_memory().available)


def run(plan: Relation, scheduler: Any) -> pl.DataFrame:
    """All rows of an optimised plan, in order."""
    from howdah.engine.execution import dispatch as execute

    lowering, stream = lower(plan, scheduler)
    key, _ = lowering.close_stage(stream)
    graph: Any = lowering.graph
    (tables,) = execute.compute_graph(graph, [graph.full_range(key)], scheduler=scheduler)
    return concat_tables(tables)


def concat_tables(tables: Sequence[Any]) -> pl.DataFrame:
    parts = [as_polars(t) for t in tables]
    return parts[0] if len(parts) == 1 else pl.concat(parts, rechunk=False)


def compute_rows(rows: FrameState, scheduler: Any = None) -> ComputedRows:
    """The frame's rows; its index too, unless that is 0, 1, 2, ... anyway."""
    plan: Relation = rows.plan(index=not rows.is_range)
    plan = optimise(plan)
    if not isinstance(plan, relations.Project):
        plan = optimise_and_resolve(plan, scheduler)
        return ComputedRows(run(plan, scheduler), dict(plan.schema))
    source = optimise_and_resolve(plan.source, scheduler)
    top = retype(replace(plan, source=source))
    assert isinstance(top, relations.Project)
    return _with_answers(top, scheduler)


def _with_answers(top: relations.Project, scheduler: Any) -> ComputedRows:
    """Questions about the very rows that come back need no query of their own: both answers come along."""
    asking = {
        n: e
        for n, e in top.columns
        if isinstance(e, DataDependent) and e.answer is None and isinstance(e.if_false, Cast)
    }
    deep = any(is_unresolved(c) for n, e in top.columns for c in (e.children() if n in asking else (e,)))
    if deep or not asking:
        plan = optimise_and_resolve(top, scheduler)
        return ComputedRows(run(plan, scheduler), dict(plan.schema))
    columns = [(n, e) for n, e in top.columns if n not in asking]
    for n, either in asking.items():
        columns += [(n + "\1yes", either.if_true), (n + "\1no", either.if_false), (n + "\1asks", either.condition)]
    table = run(optimise(replace(top, columns=tuple(columns))), scheduler)
    schema, out = dict(top.schema), []
    for n in schema:
        if n in asking:
            said = bool(table[n + "\1asks"].any())
            schema[n] = (asking[n].if_true if said else asking[n].if_false).dtype
            out.append(table[n + ("\1yes" if said else "\1no")].alias(n))
        else:
            out.append(table[n])
    return ComputedRows(pl.DataFrame(out), schema)


def to_pandas(rows: FrameState, found: ComputedRows) -> Any:
    """The pandas frame."""
    columns = [(label, internal_name(label)) for label, _ in rows.columns]
    levels = [] if rows.is_range else [(lv.label, n) for lv, n in zip(rows.index, rows.level_names())]
    return frame_to_pandas(found.table, found.schema, columns, levels)


def persist(rows: FrameState, scheduler: Any = None) -> FrameState:
    """The same frame, computed and kept where it was computed, while somebody refers to it."""
    from howdah.engine.execution import dispatch as execute

    plan = optimise_and_resolve(rows.plan(index=not rows.is_range), scheduler)
    lowering, stream = lower(plan, scheduler)
    key, n = lowering.close_stage(stream)
    graph: Any = lowering.graph
    (held,) = execute.persist_graph(graph, [graph.full_range(key)], scheduler=scheduler)
    kept: Relation = relations.Persisted(held, dict(plan.schema), n)
    if rows.is_range:
        kept = relations.Number(kept)
    return rows.over(kept)


def in_memory(table: pl.DataFrame, schema: dict[str, DType], npartitions: int, is_range: bool) -> relations.InMemory:
    """A relation of rows that the client has."""
    step = max(1, -(-table.height // npartitions))
    slices = [table[i : i + step] for i in range(0, table.height, step)] or [table]
    parts = tuple(s.to_arrow(compat_level=pl.CompatLevel.newest()) for s in slices)
    digest = hashlib.blake2b(digest_size=16)
    for name, dtype in schema.items():
        digest.update(f"{name}\1{dtype!r}\1".encode())
    digest.update(table.rechunk().write_ipc(None).getvalue())
    return relations.InMemory(parts, schema, digest.digest(), is_range)
