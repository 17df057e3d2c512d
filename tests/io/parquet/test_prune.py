"""Statistics never drop a row that matches, and do drop what they can."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from howdah.io import plan_parquet
from howdah.io.readers.table import CONDITION_OPS

GROUP = 3
UTC = dt.UTC

_floats = st.sampled_from([0.0, -0.0, 0.05, 0.1, 1.5, math.inf, -math.inf, math.nan, 3e38]) | st.floats(width=32)
_moments = st.datetimes(dt.datetime(1700, 1, 1), dt.datetime(2200, 1, 1))
_days = st.dates(dt.date(1900, 1, 1), dt.date(2100, 1, 1))
_decimals = st.decimals(-10, 10, places=2, allow_nan=False)

KINDS: dict[str, tuple[pa.DataType, Any, Any]] = {
    # name: (Arrow type, values in the file, values to compare with)
    "int64": (pa.int64(), st.integers(-5, 5) | st.integers(2**53, 2**53 + 3),
              st.integers(-6, 6) | st.floats(-6, 6) | st.just(float(2**53)) | st.builds(np.int8, st.integers(-6, 6))),
    "uint8": (pa.uint8(), st.integers(0, 255), st.integers(-10, 300)),
    "double": (pa.float64(), _floats, _floats | st.integers(-3, 3)),
    "float": (pa.float32(), _floats, _floats | st.integers(-3, 3)),
    "bool": (pa.bool_(), st.booleans(), st.booleans()),
    "string": (pa.string(), st.text(max_size=4), st.text(max_size=4)),
    "view": (pa.string_view(), st.text("ab\U0001f600z", max_size=100), st.text("ab\U0001f600z", max_size=100)),
    "dictionary": (pa.dictionary(pa.int32(), pa.string()), st.sampled_from("abc"), st.sampled_from("abcd")),
    "decimal": (pa.decimal128(9, 2), _decimals, _decimals | st.floats(-10, 10) | st.sampled_from([0.05, 0.07])),
    "date": (pa.date32(), _days, _days | _moments | _days.map(np.datetime64) | _days.map(str)),
    "s": (pa.timestamp("s"), _moments.map(lambda m: m.replace(microsecond=0)), _moments),
    "ms": (pa.timestamp("ms"), _moments.map(lambda m: m.replace(microsecond=0)), _moments | _days),
    "us": (pa.timestamp("us"), _moments, _moments | _moments.map(pd.Timestamp) | _moments.map(str)),
    "ns": (pa.timestamp("ns"), _moments, _moments | _moments.map(np.datetime64)),
    "zone": (pa.timestamp("us", "Europe/Berlin"), _moments.map(lambda m: m.replace(tzinfo=UTC)),
             _moments.map(lambda m: m.replace(tzinfo=UTC))),
    "binary": (pa.binary(), st.binary(max_size=3), st.binary(max_size=3)),
}  # fmt: skip


def compare(cell: Any, op: str, value: Any) -> bool:
    act: dict[str, Callable[[Any, Any], Any]] = {
        "==": lambda a, b: a == b, "!=": lambda a, b: a != b, "<": lambda a, b: a < b,
        "<=": lambda a, b: a <= b, ">": lambda a, b: a > b, ">=": lambda a, b: a >= b,
    }  # fmt: skip
    return bool(act[op](cell, value))


def matches(cell: Any, op: str, value: Any, kind: pa.DataType) -> bool:
    """As pandas sees it, in any of the ways in which an engine could hold the two."""
    null = cell is None or (isinstance(cell, float) and math.isnan(cell))
    if op in ("is_null", "not_null"):
        return null is (op == "is_null")
    if op == "in":
        return any(matches(cell, "==", v, kind) for v in value)
    if null:
        return op == "!="
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return compare(pd.Timestamp(cell), op, pd.Timestamp(value))
    ways = [(cell, value)]
    if isinstance(cell, int | float | Decimal) and not isinstance(value, str):
        ways.append((float(cell), float(value)))
    if pa.types.is_float32(kind):
        with np.errstate(over="ignore"):
            ways.append((np.float32(cell), np.float32(value)))
    if isinstance(cell, Decimal) and isinstance(value, float):
        ways = [(float(cell), value), (cell, Decimal(repr(value)))]
    return any(compare(a, op, b) for a, b in ways)


@pytest.mark.parametrize("name", KINDS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_matching_row_is_dropped(name: str, tmp_path: Path, data: st.DataObject) -> None:
    kind, cells, values = KINDS[name]
    column = pa.array(data.draw(st.lists(st.none() | cells, min_size=1, max_size=12)), kind)
    op = data.draw(st.sampled_from(CONDITION_OPS))
    value = data.draw(st.lists(values, max_size=3)) if op == "in" else data.draw(values)
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"c": column}), path, row_group_size=GROUP)
    splits = plan_parquet(path).splits(["c"], conditions=[("c", op, value)])
    kept = {groups.offset + i for split in splits for groups in split.row_group_ranges for i in range(groups.rows)}
    for row, cell in enumerate(column.to_pylist()):
        if matches(cell, op, value, kind):
            assert row in kept, (cell, op, value)


@pytest.mark.parametrize(
    ("kind", "cells", "op", "value", "kept"),
    [
        (pa.int64(), [1, 2, 3, 4, 5, 6], "==", 5, 3),
        (pa.int64(), [1, 2, 3, 4, 5, 6], "<", 4, 3),
        (pa.int64(), [1, 2, 3, 4, 5, 6], "<=", 4, 6),
        (pa.int64(), [1, 2, 3, 4, 5, 6], ">", 3, 3),
        (pa.int64(), [1, 2, 3, 4, 5, 6], ">=", 7, 0),
        (pa.int64(), [1, 1, 1, 4, 5, 6], "!=", 1, 3),
        (pa.int64(), [1, 2, 3, 4, 5, 6], "in", [0, 9], 0),
        (pa.int64(), [1, 2, 3, 4, 5, 6], "in", [], 0),
        (pa.int64(), [None] * 3 + [4, 5, None], "not_null", None, 3),
        (pa.int64(), [None] * 3 + [4, 5, 6], "is_null", None, 3),
        (pa.int64(), [None] * 3 + [4, 5, 6], ">", 0, 3),
        (pa.float64(), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0], ">", 3, 3),
        (pa.string(), list("abcdef"), ">=", "d", 3),
        (pa.decimal128(9, 2), [Decimal(i) for i in range(6)], ">", 2.5, 3),
        (pa.date32(), [dt.date(2024, 1, d) for d in range(1, 7)], ">", dt.datetime(2024, 1, 3, 12), 3),
        (pa.date32(), [dt.date(2024, 1, d) for d in range(1, 7)], "<", "2024-01-04", 3),
        (pa.timestamp("ns"), [dt.datetime(2024, 1, d) for d in range(1, 7)], ">", dt.date(2024, 1, 3), 3),
        (pa.timestamp("ms", "UTC"), [dt.datetime(2024, 1, d, tzinfo=UTC) for d in range(1, 7)],
         ">", pd.Timestamp("2024-01-03 12:00", tz="Asia/Tokyo"), 3),
        (pa.bool_(), [True, True, True, False, False, False], "==", True, 3),
    ],
)  # fmt: skip
def test_what_can_be_dropped_is(
    kind: pa.DataType, cells: list[Any], op: str, value: Any, kept: int, tmp_path: Path
) -> None:
    pq.write_table(pa.table({"c": pa.array(cells, kind)}), tmp_path / "t.parquet", row_group_size=GROUP)
    splits = plan_parquet(tmp_path).splits(["c"], conditions=[("c", op, value)])
    assert sum(split.rows for split in splits) == kept
