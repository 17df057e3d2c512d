"""Which work is one task: stages, their inputs, their splits and hosts; and the trees that travel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

import howdah as hd
from howdah.engine.graph.graph import Graph
from howdah.engine.plan.options import CompileOptions
from howdah.engine.protocol.layers import Broadcast, KToOne, OneToOne
from howdah.engine.relational.aggregates import Agg
from howdah.engine.relational.columns import Binary, Col, Lit
from howdah.engine.relational.compiler.lowering import RelationalLowering, shift_inputs, stage_name, strip_sources
from howdah.engine.relational.dtypes import INT64
from howdah.engine.relational.relations import (
    Aggregate,
    Filter,
    Head,
    InMemory,
    Join,
    Number,
    Relation,
    Scan,
    Sort,
    StageInput,
)
from howdah.io import Condition, Split, TableSource

A = Col("a", INT64)


@dataclass(frozen=True)
class Ten(Split):
    """Ten rows of ten bytes."""

    number: int
    hosts: tuple[str, ...]
    rows: int = 10
    nbytes: int = 10

    @property
    def first_row(self) -> int:  # type: ignore[override]
        return 10 * self.number

    def read(self, columns: Sequence[str]) -> Any:
        raise AssertionError("lowering reads nothing")


class Tens(TableSource):
    name, schema, fingerprint, is_local = "tens", pa.schema([("a", pa.int64())]), b"tens", False  # type: ignore[assignment]

    def __init__(self, *hosts: str) -> None:
        self.hosts = hosts

    def splits(
        self, columns: Sequence[str], *, conditions: Sequence[Condition] = (), target_bytes: int = 1
    ) -> list[Split]:
        return [Ten(i, (host,)) for i, host in enumerate(self.hosts)]

    @property
    def rows(self) -> int:
        return 10 * len(self.hosts)


def scan(*hosts: str) -> Scan:
    return Scan(Tens(*hosts), ("a",), {"a": INT64})


def lowering(**options: Any) -> RelationalLowering:
    return RelationalLowering(Graph(), options=CompileOptions(**{"single_task_bytes": 0, "fan_in": 2, **options}))


def layers(plan: Relation, **options: Any) -> list[Any]:
    low = lowering(**options)
    low.close_stage(low.lower(plan))
    graph = low.graph
    assert isinstance(graph, Graph)
    return list(graph.layers.values())


def test_row_by_row_work_is_one_task_per_split_on_its_host() -> None:
    (layer,) = layers(Filter(scan("x", "y", "z"), Binary(">", A, Lit(3))))
    assert (layer.name, layer.n) == ("scan+filter", 3)
    assert layer.hosts == [("x",), ("y",), ("z",)]
    assert layer.nbytes == [10, 10, 10]
    assert [args[0].number for args in layer.args] == [0, 1, 2]


def test_a_small_table_is_one_task_on_the_host_of_most_bytes() -> None:
    (layer,) = layers(scan("x", "y", "y"), single_task_bytes=30)
    assert (layer.n, layer.nbytes, layer.hosts) == (1, [30], [("y", "x")])


def test_groups_come_together_in_a_tree() -> None:
    plan = Aggregate(scan(*"abcde"), (("a", A),), (("n", Agg("size", None)),))
    found = layers(plan)
    assert [layer.n for layer in found] == [5, 3, 2, 1]
    assert [layer.name for layer in found] == ["scan+partial sums", "combine", "combine", "combine+finish"]
    assert all(layer.deps[0].pattern == KToOne(2) for layer in found[1:])


def test_head_needs_only_the_first_splits() -> None:
    assert [layer.n for layer in layers(Head(scan(*"abcde"), 12))] == [2, 1]


def test_numbers_of_rows_need_the_counts_of_all_partitions() -> None:
    rows, counts, numbered = layers(Number(scan("x", "y")))
    assert (rows.name, counts.name, numbered.name) == ("scan", "count rows", "number rows")
    assert [dep.pattern for dep in numbered.deps] == [OneToOne(), Broadcast()]
    assert numbered.args == [(0,), (1,)]


def test_the_same_subtree_is_computed_once() -> None:
    grouped = Aggregate(scan("x", "y"), (("a", A),), (("n", Agg("size", None)),))
    take = (("a", "key", "a", INT64), ("n", "left", "n", INT64), ("m", "right", "n", INT64))
    joined = Join(grouped, grouped, ("a",), ("a",), "inner", take)
    assert [layer.name for layer in layers(joined)].count("scan+partial sums") == 1


def test_keys_are_equal_for_equal_plans_and_differ_with_the_files() -> None:
    assert layers(scan("x", "y"))[0].key == layers(scan("x", "y"))[0].key
    assert layers(scan("x", "y"))[0].key != layers(scan("x", "z"))[0].key


def test_a_task_is_not_given_the_table(table: Path) -> None:
    (layer,) = layers(scan("x", "y"))
    assert layer.fn.tree.table is None
    whole = Scan(Tens("x"), ("a",), {"a": INT64}, splits=(Ten(0, ("x",)),))
    stripped = strip_sources(Sort(whole, ("a",), (True,)))
    assert isinstance(stripped, Sort)
    assert isinstance(stripped.source, Scan)
    assert stripped.source.table is None  # not local


def test_inputs_are_numbered_on() -> None:
    tree = Sort(StageInput(1, {"a": INT64}), ("a",), (True,))
    assert shift_inputs(tree, 2) == Sort(StageInput(3, {"a": INT64}), ("a",), (True,))
    assert shift_inputs(InMemory((), {"a": INT64}, b"t"), 2) == InMemory((), {"a": INT64}, b"t")


def test_a_stage_is_named_after_its_steps() -> None:
    assert stage_name(Head(Filter(StageInput(0, {"a": INT64}), Binary(">", A, Lit(1))), 3)) == "filter+head"
    assert stage_name(StageInput(0, {"a": INT64})) == "gather"


def test_head_reads_the_first_rows_alone(table: Path, reads: Any) -> None:
    df = hd.read_parquet(table)
    pd.testing.assert_frame_equal(df.head(12).compute(scheduler="inline"), pd.read_parquet(table).head(12))
    assert reads.rows == 20
