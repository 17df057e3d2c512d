"""Rules: functions from plan to plan that never change what the plan gives, and their application.

The rules of a family of plans are data, a tuple in order: `CompileOptions.rules` replaces them. Called by `compile`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, TypeVar

from howdah.engine.plan.node import Node

N = TypeVar("N", bound=Node[Any])

Rule: TypeAlias = Callable[[N], N]

MAX_ROUNDS = 6


def apply_rules(plan: N, rules: Sequence[Rule[N]], rounds: int = MAX_ROUNDS) -> N:
    """Return the plan after all rules in order, repeated until it stays as it is, `rounds` times at most."""
    for _ in range(rounds):
        before = plan.key
        for rule in rules:
            plan = rule(plan)
        if plan.key == before:
            break
    return plan
