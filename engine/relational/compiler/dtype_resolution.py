"""Resolution of dtypes that depend on data, before anything else is computed.

pandas derives some dtypes from values: a left join turns an integer column into float64 only if a row has no partner.
Such a column is a `DataDependent` in the plan. `resolve` evaluates its condition (is it true for any row?) with a small
query over the columns that the condition reads, and puts the result into the plan; dtypes above are derived again.
A plan without open conditions is rechanged as it is, so most plans cost nothing here. Called by `howdah.engine.frame`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from howdah.engine.relational import relations
from howdah.engine.relational.aggregates import Agg, as_pandas_dtype
from howdah.engine.relational.casts import widen_if_na
from howdah.engine.relational.columns import Binary, Col, Column, DataDependent, FunctionCall, binary, call
from howdah.engine.relational.dtypes import key_type
from howdah.engine.relational.relations import Relation

FlagQuery = Callable[[Relation], list[bool]]
"""Computes a relation of one row of bools."""


def resolve(plan: Relation, compute_flags: FlagQuery) -> Relation:
    """Return the plan with an answer for every condition that makes a difference, innermost first."""
    if not any(_open_conditions(node) for node in plan.walk()):
        return plan
    resolved: dict[bytes, Relation] = {}

    def visit(node: Relation) -> Relation:
        if node.key not in resolved:
            resolved[node.key] = _with_answers(retype(node.map_children(visit)), compute_flags)
        return resolved[node.key]

    return visit(plan)


def open_columns(node: Relation) -> list[DataDependent]:
    """Return the expressions of the node without an answer, those inside of others too; each once."""
    found = [n for e in node.expressions() if e.unresolved for n in e.walk() if isinstance(n, DataDependent)]
    return list(dict.fromkeys(n for n in found if n.answer is None))


def _open_conditions(node: Relation) -> list[DataDependent]:
    """Those of `open_columns` whose answer makes a difference."""
    found = open_columns(node)
    return [e for e in found if not _same_number(e)] if isinstance(node, relations.Filter) else found


def _same_number(e: DataDependent) -> bool:
    """Parts of dates and lengths of text are the same numbers as floats: a predicate gives the same for both dtypes."""
    return isinstance(e.if_false, FunctionCall) and e.if_false.function.startswith(("dt.", "str."))


def _with_answers(node: Relation, compute_flags: FlagQuery) -> Relation:
    found = _open_conditions(node)
    if not found:
        return node
    (source,) = node.children()
    aggs = tuple((f"q{i}", Agg("any", e.condition, grouped=False)) for i, e in enumerate(found))
    answers = dict(zip(found, compute_flags(relations.Aggregate(source, (), aggs))))

    def change(e: Column) -> Column:
        if isinstance(e, DataDependent) and e in answers:
            return rebuild_typed((e.if_true if answers[e] else e.if_false), change)
        return rebuild_typed(e, change)

    return _with_answers(node.map_expressions(change), compute_flags)


def rebuild_typed(e: Column, change: Callable[[Column], Column]) -> Column:
    """Return the expression with changed operands, built anew where the kind of a dtype changed."""
    changed = e.map_children(change)
    kinds = [c.dtype.kind for c in e.children()]
    if changed is e or kinds == [c.dtype.kind for c in changed.children()]:
        if isinstance(changed, FunctionCall) and changed.function == "fillna" and not changed.source.dtype.is_nullable:
            return changed.source
        return changed
    if isinstance(changed, Binary):
        return binary(changed.op, changed.left, changed.right)
    if isinstance(changed, FunctionCall):
        return call(changed.function, changed.source, changed.other, **dict(changed.params))
    return changed


def retype(node: Relation) -> Relation:
    """Return the node with column references of the dtypes that its source has now."""
    sources = node.children()
    if isinstance(node, relations.Join):
        return _retyped_join(node)
    if len(sources) != 1:
        return node
    schema = sources[0].schema

    def change(e: Column) -> Column:
        if isinstance(e, Col):
            now = schema[e.name]
            fresh = widen_if_na(Col(e.name, now), None) if now.kind != e.dtype.kind else Col(e.name, now)
            return e if now == e.dtype else fresh
        return rebuild_typed(e, change)

    changed = node.map_expressions(change)
    if isinstance(node, relations.Aggregate) and isinstance(changed, relations.Aggregate):
        return _retyped_sums(node, changed)
    return changed


def _retyped_sums(before: relations.Aggregate, now: relations.Aggregate) -> Relation:
    """Return an aggregate whose sums are now of narrow integers, with the dtypes that pandas gives these."""
    known = {n for n, a in before.aggs if isinstance(as_pandas_dtype(n, a), DataDependent)}  # the plan above has these
    narrow = {n: as_pandas_dtype(n, a) for n, a in now.aggs if n not in known}
    if not any(isinstance(e, DataDependent) for e in narrow.values()):
        return now
    return relations.Project(now, tuple((n, narrow.get(n, Col(n, d))) for n, d in now.schema.items()))


def _retyped_join(node: relations.Join) -> Relation:
    pairs = dict(zip(node.left_on, node.right_on))
    take = []
    for name, side, source, dtype in node.take:
        now = (node.left if side != "right" else node.right).schema[source]
        if side == "key":
            dtype = key_type(now, node.right.schema[pairs[source]], node.how)
        elif now.kind != dtype.kind:
            loses = node.how in {"left": ("right", "outer"), "right": ("left", "outer")}[side]
            dtype = now.as_nullable() if loses else now
        take.append((name, side, source, dtype))
    joined = replace(node, take=tuple(take))
    if joined.schema == node.schema:
        return node
    fixed = tuple(
        (n, widen_if_na(Col(n, d), None) if d.kind != node.schema[n].kind else Col(n, d))
        for n, d in joined.schema.items()
    )
    return relations.Project(joined, fixed)
