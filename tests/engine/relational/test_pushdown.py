"""What is read: only columns that are used, only row groups that can match, and what was not read changes no answer."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import howdah as hd
from howdah.engine.frame.collection import state_of
from howdah.engine.plan.options import compile_options
from howdah.engine.relational import relations
from howdah.engine.relational.compiler.compile import COMPILER
from howdah.io import ParquetSplit, ParquetTable

ROWS = 100
GROUP = 10


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Two files of five row groups each; `n` and `day` rise, `k` repeats, `half` is missing in the second file."""
    path = tmp_path / "table"
    path.mkdir()
    frame = pd.DataFrame(
        {
            "n": range(ROWS),
            "day": [dt.date(2020, 1, 1) + dt.timedelta(days=i) for i in range(ROWS)],
            "k": ["a", "b", "c", "d"] * (ROWS // 4),
            "x": [i * 0.5 for i in range(ROWS)],
            "half": [float(i) if i < ROWS // 2 else None for i in range(ROWS)],
            "wide": ["w" * 100] * ROWS,
        }
    )
    for i, start in enumerate(range(0, ROWS, ROWS // 2)):
        part = pa.Table.from_pandas(frame[start : start + ROWS // 2], preserve_index=False)
        pq.write_table(part, path / f"part-{i}.parquet", row_group_size=GROUP)
    return path


class Reads:
    """What was read: columns, and rows of the splits."""

    def __init__(self) -> None:
        self.columns: set[str] = set()
        self.rows = 0


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Iterator[Reads]:
    """Counts what is read, split by split, with one row group a task."""
    seen = Reads()
    scan = ParquetSplit.scan

    def counted(split: ParquetSplit, columns: Any, *, row_index: str | None = None) -> pl.LazyFrame:
        seen.columns |= set(columns)
        seen.rows += split.rows
        return scan(split, columns, row_index=row_index)

    monkeypatch.setattr(ParquetSplit, "scan", counted)
    monkeypatch.setattr(ParquetTable, "scan", lambda *args, **kwargs: None)
    with compile_options(single_task_bytes=-1, split_bytes=1, local_memory_share=-1):
        yield seen


Pipeline = Callable[[Any], Any]

COLUMNS: dict[str, tuple[Pipeline, set[str]]] = {
    "one column of many": (lambda df: df[["x"]], {"x"}),
    "a filter's column beside the result's": (lambda df: df[df.n > 90][["x"]], {"n", "x"}),
    "columns of an expression": (lambda df: (df.x * df.n).to_frame("z"), {"x", "n"}),
    "an assigned column that nobody uses": (lambda df: df.assign(z=df.wide + "!")[["n"]], {"n"}),
    "an aggregate that nobody uses": (
        lambda df: df.groupby("k").agg(a=("x", "sum"), b=("wide", "max"))[["a"]],
        {"k", "x"},
    ),
    "keys and values of groups": (lambda df: df.groupby("k").x.sum(), {"k", "x"}),
    "the order's column, not in the result": (lambda df: df.sort_values("x", kind="stable")[["k"]], {"k", "x"}),
    "the ranking's column": (lambda df: df.nlargest(3, "x")[["k", "n"]], {"k", "n", "x"}),
    "both sides of a join": (
        lambda df: df[["k", "n", "wide"]].merge(df[["n", "x", "wide"]], on="n")[["k", "x"]],
        {"k", "n", "x"},
    ),
    "a dropped column": (lambda df: df.drop(columns=["wide", "half", "day"]), {"n", "k", "x"}),
    "rows alone: the cheapest column": (lambda df: df[[]], {"n"}),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_reads_only_columns_that_are_used(name: str, table: Path, reads: Reads) -> None:
    pipeline, columns = COLUMNS[name]
    got = pipeline(hd.read_parquet(table)).compute(scheduler="inline")
    want = pipeline(pd.read_parquet(table))
    check = pd.testing.assert_frame_equal if isinstance(want, pd.DataFrame) else pd.testing.assert_series_equal
    check(got, want, check_column_type=False) if isinstance(want, pd.DataFrame) else check(got, want)
    if name.startswith("rows alone"):
        assert len(reads.columns) == 1
        assert "wide" not in reads.columns
    else:
        assert reads.columns == columns


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
def test_row_groups_that_cannot_match_are_not_read(name: str, table: Path, reads: Reads) -> None:
    pipeline, rows = PRUNED[name]
    got = pipeline(hd.read_parquet(table)).compute(scheduler="inline")
    pd.testing.assert_frame_equal(got, pipeline(pd.read_parquet(table)))
    assert reads.rows <= rows, f"{reads.rows} rows were read, {rows} can match"


def test_head_reads_the_first_rows_alone(table: Path, reads: Reads) -> None:
    df = hd.read_parquet(table)
    pd.testing.assert_frame_equal(df.head(12).compute(scheduler="inline"), pd.read_parquet(table).head(12))
    assert reads.rows == 2 * GROUP


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


def test_a_filter_stays_where_a_dtype_is_still_a_question(table: Path) -> None:
    """A left join makes floats of integers if any row found no partner, also where those rows are filtered away."""

    def pipeline(df: Any) -> Any:
        joined = df[["n"]].merge(df[df.n < 10][["n"]].assign(m=df.n), on="n", how="left")
        return joined[joined.n < 5]

    got = pipeline(hd.read_parquet(table)).compute(scheduler="inline")
    want = pipeline(pd.read_parquet(table))
    assert want.m.dtype == "float64"
    pd.testing.assert_frame_equal(got, want)


def test_rules_come_to_rest(table: Path) -> None:
    """An optimised plan is optimised: the rules do not undo each other."""
    df = hd.read_parquet(table)
    plan = state_of(df.assign(y=df.x + 1).merge(df.groupby("k").n.max().reset_index(), on="k")).plan()
    once = COMPILER.optimise(plan)
    assert COMPILER.optimise(once).key == once.key
    assert list(once.schema.items()) == list(plan.schema.items())
