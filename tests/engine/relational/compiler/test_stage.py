"""A stage is a function of its inputs that pickles; its arguments are inputs, then the split, then the number."""

from __future__ import annotations

import pickle
from typing import Any

import polars as pl
import pyarrow as pa

from howdah.engine.relational.columns import Binary, Col, Lit
from howdah.engine.relational.compiler.stage import RelationalStage, count_rows
from howdah.engine.relational.dtypes import INT64
from howdah.engine.relational.relations import Filter, Number, Relation, Scan, StageInput

SCHEMA = {"a": INT64}
ROWS = pa.table({"a": [1, 5, 9]})


class Rows:
    """A split of `ROWS`."""

    def scan(self, columns: Any, *, row_index: str | None = None) -> pl.LazyFrame:
        return pl.LazyFrame(pl.from_arrow(ROWS)).select(columns)


def rows(stage: RelationalStage, *arguments: Any) -> list[Any]:
    return pickle.loads(pickle.dumps(stage))(*arguments).to_pylist()  # type: ignore[no-any-return]


def over(tree: Relation) -> Relation:
    return Filter(tree, Binary(">", Col("a", INT64), Lit(3)))


def test_one_input() -> None:
    assert rows(RelationalStage(over(StageInput(0, SCHEMA))), ROWS) == [{"a": 5}, {"a": 9}]


def test_many_partitions_are_put_end_to_end() -> None:
    stage = RelationalStage(StageInput(0, SCHEMA, concatenate=True))
    assert rows(stage, [ROWS, ROWS.slice(0, 1)]) == [{"a": 1}, {"a": 5}, {"a": 9}, {"a": 1}]
    assert rows(stage, []) == []


def test_a_split_follows_the_inputs() -> None:
    assert rows(RelationalStage(over(Scan(None, ("a",), SCHEMA)), scans=True), Rows()) == [{"a": 5}, {"a": 9}]


def test_numbers_go_on_from_the_partitions_before() -> None:
    stage = RelationalStage(Number(StageInput(0, SCHEMA), "n"), numbered=True)
    assert rows(stage, ROWS, [2, 4, 3], 2) == [{"a": 1, "n": 6}, {"a": 5, "n": 7}, {"a": 9, "n": 8}]


def test_rows_are_counted() -> None:
    assert count_rows(ROWS) == 3
