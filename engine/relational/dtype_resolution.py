"""Resolution of dtypes that depend on data, before anything else is computed.

pandas derives some dtypes from values: a left join turns an integer column into float64 only if a row has no partner.
Such a column is a `DataDependent` in the plan. `resolve` evaluates its condition (is it true for any row?) with a small
query over the columns that the condition reads, and puts the result into the plan; dtypes above are derived again.
A plan without open conditions is returned as it is, so most plans cost nothing here. Called by `howdah.engine.frame`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from howdah.engine.relational import relations
from howdah.engine.relational.aggregates import Agg, as_pandas_dtype
from howdah.engine.relational.casts import widen_if_na
from howdah.engine.relational.columns import Binary, Call, Col, Column, DataDependent, binary, call
from howdah.engine.relational.dtypes import key_type
from howdah.engine.relational.relations import Relation

FlagQuery = Callable[[Relation], list[bool]]
"""Computes a relation of one row of bools."""


def resolve(plan: Relation, ask: FlagQuery) -> Relation:
    """The plan with every question that matters answered, innermost first."""
    if not any(_questions(node) for node in plan.walk()):
        return plan
    known: dict[bytes, Relation] = {}

    def visit(node: Relation) -> Relation:
        if node.key not in known:
            known[node.key] = _answered(retype(node.map_children(visit)), ask)
        return known[node.key]

    return visit(plan)


def _questions(node: Relation) -> list[DataDependent]:
    """Open questions whose answer makes a difference."""
    found = [n for e in node.expressions() for n in e.walk() if isinstance(n, DataDependent) and n.answer is None]
    if isinstance(node, relations.Filter):
        found = [q for q in found if not _small_whole(q)]
    return list(dict.fromkeys(found))


def _small_whole(question: DataDependent) -> bool:
    """Parts of dates and lengths of text are the same numbers as floats: a predicate need not know which they are."""
    return isinstance(question.if_false, Call) and question.if_false.function.startswith(("dt.", "str."))


def _answered(node: Relation, ask: FlagQuery) -> Relation:
    questions = _questions(node)
    if not questions:
        return node
    (source,) = node.children()
    aggs = tuple((f"q{i}", Agg("any", q.condition, grouped=False)) for i, q in enumerate(questions))
    answers = dict(zip(questions, ask(relations.Aggregate(source, (), aggs))))

    def change(e: Column) -> Column:
        if isinstance(e, DataDependent) and e in answers:
            return rebuild_typed((e.if_true if answers[e] else e.if_false), change)
        return rebuild_typed(e, change)

    return _answered(node.map_expressions(change), ask)


def rebuild_typed(e: Column, change: Callable[[Column], Column]) -> Column:
    """The expression with changed operands, built as it would be if it were written on them now."""
    turned = e.map_children(change)
    kinds = [c.dtype.kind for c in e.children()]
    if turned is e or kinds == [c.dtype.kind for c in turned.children()]:
        if isinstance(turned, Call) and turned.function == "fillna" and not turned.source.dtype.is_nullable:
            return turned.source
        return turned
    if isinstance(turned, Binary):
        return binary(turned.op, turned.left, turned.right)
    if isinstance(turned, Call):
        return call(turned.function, turned.source, turned.other, **dict(turned.params))
    return turned


def retype(node: Relation) -> Relation:
    """The node with column references that have the types that its source now has."""
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

    turned = node.map_expressions(change)
    if isinstance(node, relations.Aggregate) and isinstance(turned, relations.Aggregate):
        return _retyped_sums(node, turned)
    return turned


def _retyped_sums(before: relations.Aggregate, now: relations.Aggregate) -> Relation:
    """Sums whose values turned out to be narrow integers, read as pandas reads them."""
    asked = {n for n, a in before.aggs if isinstance(as_pandas_dtype(n, a), DataDependent)}  # above, there already
    reads = {n: as_pandas_dtype(n, a) for n, a in now.aggs if n not in asked}
    if not any(isinstance(e, DataDependent) for e in reads.values()):
        return now
    return relations.Project(now, tuple((n, reads.get(n, Col(n, d))) for n, d in now.schema.items()))


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
