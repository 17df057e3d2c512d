"""The optimiser's rules for relations: one rule one file, one function from plan to plan; `RULES` is their order.

A rule never changes what a plan gives: values, order, labels and dtypes stay pandas'. Called by `relational.compile`,
which repeats them until nothing changes; rules import `relations` and `columns`, and execute nothing.
"""

from __future__ import annotations

from howdah.engine.plan.rules import Rule
from howdah.engine.relational.relations import Relation
from howdah.engine.relational.rules.choose_join import choose_join
from howdah.engine.relational.rules.fuse import fuse
from howdah.engine.relational.rules.push_filter import push_filter
from howdah.engine.relational.rules.push_projection import push_projection

RULES: tuple[Rule[Relation], ...] = (push_projection, push_filter, fuse, choose_join)
