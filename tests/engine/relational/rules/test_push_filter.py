"""Filters move down as far as the result allows, and row groups that cannot match are not read."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import howdah as hd
from howdah.engine.frame.collection import state_of
from howdah.engine.relational import relations
from howdah.engine.relational.compiler.compile import COMPILER

Pipeline = Callable[[Any], Any]

PRUNED: dict[str, tuple[Pipeline, int]] = {
    "a bound": (lambda df: df[df.n >= 75], 30),
    "a bound from above": (lambda df: df[df.n < 20], 20),
    "two bounds": (lambda df: df[(df.n >= 35) & (df.n < 45)], 20),
    "equality": (lambda df: df[df.n == 42], 10),
    "one of several": (lambda df: df[df.n.isin([3, 97])], 20),
    "a date": (lambda df: df[df.day < dt.date(2020, 1, 11)], 10),
    "present values": (lambda df: df[df.half.notna()], 50),
    "a bound on a derived frame": (lambda df: df.assign(z=df.x + 1).rename(columns={"n": "m"})[["m", "z"]], 100),
    "nobody": (lambda df: df[df.n > 1000], 0),
    "a condition after a stable sort": (lambda df: _after(df.sort_values("n", kind="stable"), 90), 10),
    "a condition after a derivation": (lambda df: _after(df.assign(x=df.x + 1), 90), 10),
    "a condition on the left of a left join": (
        lambda df: _after(df[["n", "k"]].merge(df[["n", "x"]], on="n", how="left"), 90).groupby("k")[["x"]].sum(),
        110,
    ),
    "a condition on a join whose row numbers are wanted": (lambda df: _after(df.merge(df[["n"]], on="n"), 90), 200),
    "unequal prunes nothing: missing is unequal": (lambda df: df[df.n != 5], 100),
    "or prunes nothing": (lambda df: df[(df.n < 5) | (df.k == "a")], 100),
}


def _after(frame: Any, least: int) -> Any:
    return frame[frame.n >= least]


@pytest.mark.parametrize("name", PRUNED)
def test_row_groups_that_cannot_match_are_not_read(name: str, table: Path, reads: Any) -> None:
    pipeline, rows = PRUNED[name]
    got = pipeline(hd.read_parquet(table)).compute(scheduler="inline")
    pd.testing.assert_frame_equal(got, pipeline(pd.read_parquet(table)))
    assert reads.rows <= rows, f"{reads.rows} rows were read, {rows} can match"


def test_the_predicate_reaches_the_scan(table: Path) -> None:
    df = hd.read_parquet(table)
    df = df.assign(y=df.x * 2).sort_values(["k", "n"])
    df = df[(df.n > 30) & (df.y < 90)]
    plan = COMPILER.optimise(state_of(df.groupby("k").x.sum()).plan())
    (scan,) = [node for node in plan.walk() if isinstance(node, relations.Scan)]
    assert scan.conditions == (("n", ">", 30),)
    assert set(scan.columns) == {"k", "n", "x"}


def test_a_filter_stays_above_a_sort_whose_ties_are_numpys(table: Path) -> None:
    """Equal values come in the order in which numpy's sort left all the rows: fewer rows could give another."""

    def pipeline(df: Any) -> Any:
        df = df.sort_values("k")
        return df[df.n > 20]

    got = pipeline(hd.read_parquet(table)).compute(scheduler="inline")
    pd.testing.assert_frame_equal(got, pipeline(pd.read_parquet(table)))


def test_a_filter_stays_where_a_dtype_depends_on_the_rows(table: Path) -> None:
    """A left join makes floats of integers if any row found no partner, also where those rows are filtered away."""

    def pipeline(df: Any) -> Any:
        joined = df[["n"]].merge(df[df.n < 10][["n"]].assign(m=df.n), on="n", how="left")
        return joined[joined.n < 5]

    got = pipeline(hd.read_parquet(table)).compute(scheduler="inline")
    want = pipeline(pd.read_parquet(table))
    assert want.m.dtype == "float64"
    pd.testing.assert_frame_equal(got, want)
