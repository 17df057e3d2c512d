"""Relations: schemas at construction, refusals with near names, and keys of content."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest

from howdah.engine.relational.aggregates import Agg
from howdah.engine.relational.columns import Binary, Col, Column, Lit
from howdah.engine.relational.dtypes import FLOAT64, INT64, DType
from howdah.engine.relational.estimate import estimated_bytes
from howdah.engine.relational.relations import (
    INDEX,
    Aggregate,
    CombineAggregate,
    Filter,
    Head,
    InMemory,
    Number,
    PartialAggregate,
    Project,
    Relation,
    Scan,
    Sort,
    StageInput,
)
from howdah.errors import SchemaError, UnknownColumn
from howdah.io import Condition, Split, TableSource

ROWS = pa.table({"a": [1, 2], "price": [1.5, 2.5]})
TABLE = InMemory((ROWS,), {"a": INT64, "price": FLOAT64}, b"t")
A = Col("a", INT64)
GROUPS = Aggregate(TABLE, (("a", A),), (("n", Agg("size", None)), ("p", Agg("sum", Col("price", FLOAT64)))))


class OneSplit(TableSource):
    name, schema, rows = "one", pa.schema([("a", pa.int64())]), 5  # type: ignore[assignment]

    def __init__(self, fingerprint: bytes) -> None:
        self.content = fingerprint
        self.asked: list[tuple[Sequence[str], Sequence[Condition]]] = []

    @property
    def fingerprint(self) -> bytes:
        return self.content

    def splits(
        self, columns: Sequence[str], *, conditions: Sequence[Condition] = (), target_bytes: int = 1
    ) -> list[Split]:
        self.asked.append((columns, conditions))
        split: Any = type("AnySplit", (), {"nbytes": 100, "rows": 5, "hosts": ()})()
        return [split]


def test_schemas_are_known_at_once() -> None:
    assert list(Number(TABLE).schema) == ["a", "price", INDEX]
    assert [d.pandas for d in GROUPS.schema.values()] == ["int64", "int64", "float64"]
    assert Project(GROUPS, (("x", Binary("/", Col("n", INT64), Lit(2))),)).schema["x"].pandas == "float64"


@pytest.mark.parametrize(
    "make",
    [
        lambda: Filter(TABLE, Binary(">", Col("prize", FLOAT64), Lit(1))),
        lambda: Project(TABLE, (("x", Col("prize", FLOAT64)),)),
        lambda: Aggregate(TABLE, (("k", Col("prize", FLOAT64)),), ()),
        lambda: Aggregate(TABLE, (), (("v", Agg("sum", Col("prize", FLOAT64))),)),
    ],
)
def test_a_column_that_is_not_there_is_answered_with_near_names(make: Any) -> None:
    with pytest.raises(UnknownColumn, match=r"no column 'prize': did you mean 'price'\?"):
        make()


def test_a_mask_must_be_bool() -> None:
    with pytest.raises(SchemaError, match="mask must be bool"):
        Filter(TABLE, A)


def test_labels_are_known_to_be_numbers_where_rows_are_only_dropped_at_the_end() -> None:
    rows = Number(TABLE)
    assert rows.positional
    assert Head(rows, 3).positional
    assert not Filter(rows, Binary(">", A, Lit(1))).positional
    assert not Sort(rows, ("a",), (True,)).positional


def test_expressions_are_changed_in_place_of_the_node() -> None:
    def double(e: Column) -> Column:
        return Binary("*", e, Lit(2)) if e == A else e

    assert GROUPS.map_expressions(double).expressions()[0] == Binary("*", A, Lit(2))
    assert TABLE.map_expressions(double) is TABLE


def test_an_aggregates_steps_have_their_inputs_as_children() -> None:
    assert PartialAggregate(GROUPS).children() == (GROUPS,)
    states = CombineAggregate(StageInput(0, {}, concatenate=True), GROUPS)
    assert states.children() == (StageInput(0, {}, concatenate=True),)
    assert states.key != CombineAggregate(StageInput(0, {}, concatenate=True), replace(GROUPS, sort=False)).key


def scan(fingerprint: bytes = b"files", **fields: Any) -> Scan:
    return Scan(OneSplit(fingerprint), ("a", INDEX), {"a": INT64}, **fields)


def test_a_scans_key_is_that_of_its_files() -> None:
    assert scan().key == scan().key
    assert scan().key != scan(b"other files").key
    assert scan().key != scan(conditions=(("a", ">", 1),)).key


def test_a_scan_reads_stored_columns_and_is_estimated_by_its_splits() -> None:
    node = scan(conditions=(("a", ">", 1),))
    assert node.stored() == ("a",)
    assert node.describe() == "scan one: a, row number [a > 1]"
    assert node.nbytes == node.nbytes == estimated_bytes(Sort(node, ("a",), (True,))) == 100
    assert isinstance(node.table, OneSplit)
    assert node.table.asked == [(("a",), (("a", ">", 1),))]
    assert estimated_bytes(Head(node, 1)) == 0
    assert estimated_bytes(TABLE) == ROWS.nbytes


def test_in_memory_rows_are_told_apart_by_their_digest() -> None:
    same: Relation = InMemory((), {"a": INT64, "price": FLOAT64}, b"t")
    assert same.key == TABLE.key != InMemory((ROWS,), {"a": INT64, "price": FLOAT64}, b"u").key
    assert InMemory((ROWS,), {"a": DType("int8")}, b"t").key != TABLE.key
