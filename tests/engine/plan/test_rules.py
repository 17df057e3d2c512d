"""Rules are applied in order until nothing changes, and not for ever."""

from __future__ import annotations

from dataclasses import dataclass

from howdah.engine.plan.node import Node
from howdah.engine.plan.rules import apply_rules


class Count(Node["Count"], family=True):
    pass


@dataclass(frozen=True)
class Number(Count):
    n: int


def minus_one(plan: Count) -> Count:
    assert isinstance(plan, Number)
    return Number(max(plan.n - 1, 0))


def halved_if_even(plan: Count) -> Count:
    assert isinstance(plan, Number)
    return Number(plan.n // 2) if plan.n % 2 == 0 else plan


def plus_one(plan: Count) -> Count:
    assert isinstance(plan, Number)
    return Number(plan.n + 1)


def test_no_rules_change_nothing() -> None:
    plan = Number(5)
    assert apply_rules(plan, ()) is plan


def test_rules_are_repeated_until_nothing_changes() -> None:
    assert apply_rules(Number(4), (minus_one,)) == Number(0)


def test_the_order_of_rules_is_kept() -> None:
    assert apply_rules(Number(8), (halved_if_even, minus_one), rounds=1) == Number(3)
    assert apply_rules(Number(8), (minus_one, halved_if_even), rounds=1) == Number(7)


def test_rules_that_never_rest_end_after_some_rounds() -> None:
    assert apply_rules(Number(0), (plus_one,), rounds=4) == Number(4)
