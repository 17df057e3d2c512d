"""The rules together: they come to rest, and a caller chooses them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import howdah as hd
from howdah.engine.frame.collection import state_of
from howdah.engine.plan.options import compile_options
from howdah.engine.relational import relations
from howdah.engine.relational.compiler.compile import COMPILER
from howdah.engine.relational.rules import RULES
from howdah.engine.relational.rules.push_projection import push_projection


def test_rules_come_to_rest(table: Path) -> None:
    """An optimised plan is optimised: the rules do not undo each other."""
    df = hd.read_parquet(table)
    plan = state_of(df.assign(y=df.x + 1).merge(df.groupby("k").n.max().reset_index(), on="k")).plan()
    once = COMPILER.optimise(plan)
    assert COMPILER.optimise(once).key == once.key
    assert list(once.schema.items()) == list(plan.schema.items())


def test_a_caller_chooses_the_rules(table: Path) -> None:
    df = hd.read_parquet(table)
    plan = state_of(df[df.n > 90][["x"]]).plan()
    with compile_options(rules=()):
        assert COMPILER.optimise(plan) is plan
    with compile_options(rules=(push_projection,)):
        (scan,) = [node for node in COMPILER.optimise(plan).walk() if isinstance(node, relations.Scan)]
        assert set(scan.columns) == {"n", "x", relations.INDEX}
        assert scan.conditions == ()


@pytest.mark.parametrize("rules", [(), *((rule,) for rule in RULES), RULES[::-1]])
def test_no_choice_of_rules_changes_the_result(rules: Any, table: Path) -> None:
    def pipeline(df: Any) -> Any:
        most = df.groupby("k").n.max().reset_index().rename(columns={"n": "m"})
        df = df.assign(y=df.x * 2).merge(most, on="k")
        return df[(df.n > 30) & (df.y < 90)][["k", "y", "m"]]

    with compile_options(rules=rules):
        got = pipeline(hd.read_parquet(table)).compute(scheduler="inline")
    pd.testing.assert_frame_equal(got, pipeline(pd.read_parquet(table)))
