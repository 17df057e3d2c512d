"""Rule: neighbouring projections become one, and projections that change nothing are removed."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from howdah.engine.relational import relations
from howdah.engine.relational.columns import Col, Constant, Lit, substitute
from howdah.engine.relational.relations import Relation


def fuse(plan: Relation) -> Relation:
    """Put a projection of a projection into one, where no expression would be computed twice.

    >>> from howdah.engine.relational.dtypes import INT64
    >>> from howdah.engine.relational.columns import Binary
    >>> table = relations.InMemory((), {"a": INT64}, b"t")
    >>> inner = relations.Project(table, (("b", Binary("+", Col("a", INT64), Lit(1))),))
    >>> before = relations.Project(inner, (("c", Binary("*", Col("b", INT64), Lit(2))),))
    >>> print(before.tree())
    project c = b * 2
      project b = a + 1
        in memory: a (0 rows)
    >>> print(fuse(before).tree())
    project c = (a + 1) * 2
      in memory: a (0 rows)
    """
    plan = plan.map_children(fuse)
    if not isinstance(plan, relations.Project):
        return plan
    if isinstance(plan.source, relations.Project):
        inner = dict(plan.source.columns)
        uses = Counter(n.name for _, e in plan.columns for n in e.walk() if isinstance(n, Col))
        if all(uses[n] <= 1 or isinstance(e, (Col, Lit, Constant)) for n, e in inner.items()):
            merged = tuple((n, substitute(e, inner)) for n, e in plan.columns)
            return fuse(replace(plan, source=plan.source.source, columns=merged))
    same = all(isinstance(e, Col) and e.name == n for n, e in plan.columns)
    return plan.source if same and tuple(plan.schema) == tuple(plan.source.schema) else plan
