"""Plans as text. Nothing here computes; tables' footers have been read when the frame was made."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from howdah.engine.frame.compute import client_for, lower
from howdah.engine.frame.state import FrameState
from howdah.engine.graph.graph import Graph
from howdah.engine.relational import relations
from howdah.engine.relational.columns import Column, DataDependent
from howdah.engine.relational.lowering import Lowering
from howdah.engine.relational.polars_expr import runs_as_pandas
from howdah.engine.relational.relations import Relation
from howdah.engine.relational.rules import optimise


def explain(rows: FrameState, scheduler: Any) -> str:
    """The logical, the optimised and the physical plan."""
    logical = rows.plan(index=not rows.is_range)
    plan = optimise(logical)
    lowering, stream = lower(plan, scheduler)
    lowering.close_stage(stream)
    where = "the cluster" if client_for(scheduler) is not None else "this process"
    out = ["as written:", logical.tree("  "), "", "optimised:", plan.tree("  "), "", f"layers, on {where}:"]
    for i, note in enumerate(lowering.layers):
        needs = f"  (takes {', '.join(note.inputs)})" if note.inputs else ""
        out.append(f"  {i + 1}. {note.name}: {note.n} task{'s' * (note.n != 1)}{_bytes(lowering.graph, i)}{needs}")
        if note.tree is not None:
            out.append(note.tree.tree("       "))
    slow = list(dict.fromkeys(_pandas_parts(plan)))
    if slow:
        out += ["", "runs as pandas on each partition:", *(f"  {line}" for line in slow)]
    asks = list(dict.fromkeys(_questions(plan)))
    if asks:
        out += [
            "",
            "dtypes that the data decides (found out before, or with the rows):",
            *(f"  {line}" for line in asks),
        ]
    return "\n".join(out)


def _bytes(graph: Any, i: int) -> str:
    layer = list(graph.layers.values())[i]
    if not layer.nbytes:
        return ""
    total = sum(layer.nbytes)
    hosts = {h for item in layer.hosts or () for h in item[:1]}
    return f", {total / 2**20:,.1f} MiB stored" + (f" on {len(hosts)} hosts" if hosts else "")


def _pandas_parts(plan: Relation) -> Iterator[str]:
    for node in plan.walk():
        if isinstance(node, relations.MapPartitions):
            yield node.describe()
        if isinstance(node, relations.Sort) and not node.stable:
            yield f"{node.describe()} (the order of ties is numpy's)"
        for e in node.expressions():
            yield from (str(part) for part in e.walk() if runs_as_pandas(part))


def _questions(plan: Relation) -> Iterator[str]:
    for node in plan.walk():
        for e in node.expressions():
            yield from (_question(part) for part in e.walk() if isinstance(part, DataDependent) and part.answer is None)


def _question(part: DataDependent) -> str:
    asked: Column = part.condition
    return f"{part.if_false}: {part.if_true.dtype} if any {asked}, otherwise {part.if_false.dtype}"


def partitions(rows: FrameState) -> int:
    """How many partitions the frame's rows would have on a cluster."""
    return Lowering(Graph()).lower(optimise(rows.plan(index=False))).n
