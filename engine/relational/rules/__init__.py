"""The optimiser's rules: one rule one file, one function from plan to plan, applied in the order of `RULES`.

A rule never changes what a plan gives: values, order, labels and dtypes stay pandas'. `optimise` repeats them until
nothing changes. Called by `howdah.engine.frame`; rules import `relations` and `columns` only, and execute nothing.
"""

from __future__ import annotations

from collections.abc import Callable

from howdah.engine.relational.relations import Relation
from howdah.engine.relational.rules.choose_join import choose_join
from howdah.engine.relational.rules.fuse import fuse
from howdah.engine.relational.rules.push_filter import push_filter
from howdah.engine.relational.rules.push_projection import push_projection

RULES: tuple[Callable[[Relation], Relation], ...] = (push_projection, push_filter, fuse, choose_join)

_MOST_ROUNDS = 6


def optimise(plan: Relation) -> Relation:
    """The plan after all rules, repeated until it stays as it is."""
    for _ in range(_MOST_ROUNDS):
        before = plan.key
        for rule in RULES:
            plan = rule(plan)
        if plan.key == before:
            break
    return plan
