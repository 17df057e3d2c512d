"""Rule: columns that no node reads are not read. Row labels and row numbers are columns like any other."""

from __future__ import annotations

from dataclasses import replace

from howdah.engine.relational import relations
from howdah.engine.relational.columns import Col
from howdah.engine.relational.relations import INDEX, Relation


def push_projection(plan: Relation) -> Relation:
    """Keep in every node only the columns that are read above it, down to the scan.

    >>> from howdah.engine.relational.dtypes import INT64
    >>> table = relations.InMemory((), {"a": INT64, "b": INT64, "c": INT64, INDEX: INT64}, b"t")
    >>> before = relations.Project(relations.Number(table), (("a", Col("a", INT64)),))
    >>> print(before.tree())
    project a
      number the rows
        in memory: a, b, c, row number (0 rows)
    >>> print(push_projection(before).tree())
    project a
      in memory: a (0 rows)
    """
    return _prune(plan, frozenset(plan.schema))


def _prune(node: Relation, needed: frozenset[str]) -> Relation:
    """`node` with at least the columns `needed`, and at least one, and as few others as possible."""
    match node:
        case relations.Scan():
            return _scan(node, needed)
        case relations.InMemory():
            kept = {n: d for n, d in node.schema.items() if n in needed} or dict([next(iter(node.schema.items()))])
            return node if len(kept) == len(node.schema) else replace(node, schema=kept)
        case relations.Project():
            kept_columns = tuple((n, e) for n, e in node.columns if n in needed)
            if not kept_columns:
                return _prune(node.source, frozenset())
            below = frozenset().union(*(e.names() for _, e in kept_columns))
            return replace(node, source=_prune(node.source, below), columns=kept_columns)
        case relations.Number():
            if node.name not in needed:
                return _prune(node.source, needed)
            return _trim(replace(node, source=_prune(node.source, needed - {node.name})), needed)
        case relations.Filter():
            return _trim(replace(node, source=_prune(node.source, needed | node.predicate.names())), needed)
        case relations.Sort() | relations.Top():
            return _trim(replace(node, source=_prune(node.source, needed | set(node.by))), needed)
        case relations.Head() | relations.Tail():
            return replace(node, source=_prune(node.source, needed))
        case relations.Aggregate():
            aggs = tuple((n, a) for n, a in node.aggs if n in needed)
            thin = replace(node, aggs=aggs if aggs or node.keys else node.aggs[:1])
            below = frozenset().union(*(e.names() for e in thin.expressions()))
            return _trim(replace(thin, source=_prune(node.source, below)), needed)
        case relations.Join():
            return _join(node, needed)
        case relations.MapPartitions():
            below = frozenset(node.columns) | {name for _, name in node.index}
            return _trim(replace(node, source=_prune(node.source, below)), needed)
    return _trim(node, needed)


def _scan(node: relations.Scan, needed: frozenset[str]) -> Relation:
    kept = tuple(c for c in node.columns if c in needed)
    if not [c for c in kept if c != INDEX]:
        stored = node.stored() or tuple(node.types)
        cheapest = min(stored, key=lambda c: _COST.get(node.types[c].kind, 8))
        kept = (*kept, cheapest)
    return node if kept == node.columns else replace(node, columns=kept)


_COST = {"bool": 1, "int8": 1, "uint8": 1, "int16": 2, "uint16": 2, "int32": 4, "date": 4, "float32": 4, "str": 20,
         "bytes": 30, "unsupported": 1000}  # fmt: skip


def _join(node: relations.Join, needed: frozenset[str]) -> Relation:
    take = tuple(t for t in node.take if t[0] in needed) or node.take[:1]
    left = frozenset(node.left_on) | {c for _, side, c, _ in take if side in ("left", "key")}
    right = frozenset(node.right_on) | {c for _, side, c, _ in take if side == "right"}
    return replace(node, take=take, left=_prune(node.left, left), right=_prune(node.right, right))


def _trim(node: Relation, needed: frozenset[str]) -> Relation:
    """Drop the columns that only the node itself reads."""
    kept = tuple((n, Col(n, d)) for n, d in node.schema.items() if n in needed)
    return relations.Project(node, kept) if kept and len(kept) < len(node.schema) else node
