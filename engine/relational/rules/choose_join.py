"""Rule: which side of a join goes to every task, and whether the order of its rows matters."""

from __future__ import annotations

from dataclasses import replace

from howdah.engine.plan.options import current_options
from howdah.engine.relational import relations
from howdah.engine.relational.estimate import estimated_bytes
from howdah.engine.relational.relations import Relation

_ORDERLESS = {"sum", "mean", "min", "max", "count", "size", "nunique", "var", "std", "any"}


def choose_join(plan: Relation) -> Relation:
    """Send the smaller side of a join to every task of the other, as far as pandas' order and missing rows allow.

    >>> from howdah.engine.relational.dtypes import INT64
    >>> side = relations.InMemory((), {"k": INT64}, b"t")
    >>> take = (("k", "key", "k", INT64),)
    >>> before = relations.Join(side, side, ("k",), ("k",), "left", take)
    >>> print(before.describe()); print(choose_join(before).describe())
    left join on k
    left join on k, right side to every task
    """
    return _choose(plan, ordered=True)


def _choose(node: Relation, ordered: bool) -> Relation:
    below = ordered
    if isinstance(node, relations.Aggregate):
        below = not (node.sort and all(a.name in _ORDERLESS for _, a in node.aggs))
    elif not isinstance(node, (relations.Filter, relations.Project, relations.Join)):
        below = True
    node = node.map_children(lambda source: _choose(source, below))
    return _sides(node, ordered) if isinstance(node, relations.Join) and not node.broadcast else node


def _sides(node: relations.Join, ordered: bool) -> relations.Join:
    if node.how in ("left", "outer"):
        return replace(node, broadcast="right", ordered=ordered)
    if node.how == "right":
        return replace(node, broadcast="left", ordered=ordered)
    left, right = estimated_bytes(node.left), estimated_bytes(node.right)
    keep_order = ordered and right <= current_options().broadcast_bytes  # the left side's order is the join's
    return replace(node, broadcast="right" if keep_order or right <= left else "left", ordered=ordered)
