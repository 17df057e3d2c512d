"""The side of a join that goes to every task: the smaller one, as far as order and unmatched rows allow."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from howdah.engine.plan.options import compile_options
from howdah.engine.relational.aggregates import Agg
from howdah.engine.relational.columns import Col
from howdah.engine.relational.dtypes import INT64, How
from howdah.engine.relational.relations import Aggregate, InMemory, Join, Sort
from howdah.engine.relational.rules.choose_join import choose_join

SMALL = InMemory((pa.table({"k": list(range(10))}),), {"k": INT64}, b"small")
LARGE = InMemory((pa.table({"k": list(range(1000))}),), {"k": INT64}, b"large")


def join(left: Any, right: Any, how: How) -> Join:
    return Join(left, right, ("k",), ("k",), how, (("k", "key", "k", INT64),))


def chosen(plan: Any) -> tuple[str, bool]:
    (found,) = [node for node in choose_join(plan).walk() if isinstance(node, Join)]
    return found.broadcast, found.ordered


@pytest.mark.parametrize(("how", "side"), [("left", "right"), ("right", "left"), ("outer", "right")])
def test_the_side_whose_unmatched_rows_are_dropped(how: How, side: str) -> None:
    assert chosen(join(SMALL, LARGE, how)) == (side, True)
    assert chosen(join(LARGE, SMALL, how)) == (side, True)


def test_an_inner_join_in_order_keeps_its_left_side_while_the_right_fits() -> None:
    assert chosen(join(SMALL, LARGE, "inner")) == ("right", True)
    with compile_options(broadcast_bytes=100):
        assert chosen(join(SMALL, LARGE, "inner")) == ("left", True)


def test_without_order_the_smaller_side_goes() -> None:
    key = (("k", Col("k", INT64)),)
    grouped = Aggregate(join(SMALL, LARGE, "inner"), key, (("n", Agg("size", None)),))
    assert chosen(grouped) == ("left", False)
    first = Aggregate(join(SMALL, LARGE, "inner"), key, (("n", Agg("first", Col("k", INT64))),))
    assert chosen(first) == ("right", True)
    assert chosen(Sort(join(SMALL, LARGE, "inner"), ("k",), (True,))) == ("right", True)


def test_a_choice_that_was_made_stays() -> None:
    once = choose_join(join(SMALL, LARGE, "inner"))
    with compile_options(broadcast_bytes=100):
        assert choose_join(once) is once
