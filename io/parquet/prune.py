"""Pruning: which row groups can have a matching row, by their statistics. A row group with a match is never dropped.

Called by `table`. Several conditions are a conjunction. They exclude row groups, not rows: the plan filters the rows as
well. A row matches as in pandas: NaN matches no comparison but ``!=``. Where a value can be compared in several ways (a
decimal 0.05 and the float 0.05; a float32 column and a Python float), a row group is dropped only if no row matches in
any of them.
"""

from __future__ import annotations

import datetime
import decimal
import math
import numbers
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from howdah.errors import bad_value
from howdah.io.readers.table import CONDITION_OPS, Condition

_UNITS = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1_000, "ns": 1}
_DAY = 86_400_000_000_000


def can_match(statistics: Any, rows: int, kind: pa.DataType, op: str, value: Any) -> bool:
    """Whether a row group may have a row for which ``column op value`` holds.

    Parameters
    ----------
    statistics
        Pyarrow's `Statistics` of the column chunk, or None.
    rows
        The row group's rows.
    kind
        The column's type.
    op, value
        The condition, with one of `CONDITION_OPS`.

    Raises
    ------
    InputError
        There is no such op.
    """
    if op not in CONDITION_OPS:
        raise bad_value("filter", op, f"use one of {', '.join(CONDITION_OPS)}")
    if statistics is None or pa.types.is_nested(kind):
        return True
    nulls = statistics.null_count if statistics.has_null_count else None
    if op == "is_null":
        return nulls != 0 or pa.types.is_floating(kind)  # pandas counts NaN as null
    if op == "not_null":
        return nulls is None or nulls < rows
    if nulls == rows and op != "!=":
        return False  # nothing compares with a null
    values = list(value) if op == "in" else [value]
    return any(_value_can_match(statistics, nulls, kind, "==" if op == "in" else op, v) for v in values)


def _value_can_match(statistics: Any, nulls: int | None, kind: pa.DataType, op: str, value: Any) -> bool:
    if value is None or value is pd.NA or value is pd.NaT:
        return True
    if not statistics.has_min_max:
        return True
    readings = _readings(statistics, kind, value)
    if not readings:
        return True
    return any(_in_bounds(low, high, op, v, nulls, kind) for low, high, v in readings)


def _in_bounds(low: Any, high: Any, op: str, value: Any, nulls: int | None, kind: pa.DataType) -> bool:
    try:
        if op == "==":
            return bool(low <= value <= high)
        if op == "<":
            return bool(low < value)
        if op == "<=":
            return bool(low <= value)
        if op == ">":
            return bool(high > value)
        if op == ">=":
            return bool(high >= value)
    except (TypeError, decimal.InvalidOperation):
        return True  # not comparable here: the plan's filter decides
    # "!=": a null or NaN is unequal to everything in pandas, and statistics do not count NaN
    return not (low == value == high and nulls == 0 and not pa.types.is_floating(kind))


def _readings(statistics: Any, kind: pa.DataType, value: Any) -> list[tuple[Any, Any, Any]]:
    """(min, max, value) in each way in which they can be compared; [] if in none."""
    if isinstance(kind, pa.DictionaryType):
        kind = kind.value_type
    try:
        if pa.types.is_timestamp(kind):
            return _timestamps(statistics, kind, value)
        if pa.types.is_date32(kind):
            point = _nanoseconds(value, aware=False)
            low, high = ((d - datetime.date(1970, 1, 1)).days * _DAY for d in (statistics.min, statistics.max))
            return [] if point is None else [(low, high, point)]
        low, high = statistics.min, statistics.max
    except (ValueError, OverflowError, TypeError, AttributeError, pa.ArrowException):
        return []  # bounds that cannot be decoded (a string cut inside a character, a date beyond year 9999)
    if isinstance(value, np.generic):
        value = value.item()
    if pa.types.is_boolean(kind) and isinstance(value, bool):
        return [(low, high, value)]
    text = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    if text and isinstance(low, str) and isinstance(value, str):
        return [(low, high, value)]
    binary = pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind)
    if binary and isinstance(low, bytes) and isinstance(value, bytes):
        return [(low, high, value)]
    number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    if number and isinstance(value, numbers.Number) and not isinstance(value, complex):
        return _numbers(low, high, kind, value)
    return []


def _numbers(low: Any, high: Any, kind: pa.DataType, value: Any) -> list[tuple[Any, Any, Any]]:
    if math.isnan(value) or math.isnan(low) or math.isnan(high):
        return []
    exact: Callable[[Any], Any] = decimal.Decimal
    readings = [(exact(low), exact(high), exact(value)), (float(low), float(high), float(value))]
    if pa.types.is_float32(kind) or pa.types.is_float16(kind):
        with np.errstate(over="ignore"):
            readings.append((float(low), float(high), float(np.float32(value))))
            readings.append((float(low), float(high), float(np.float16(value))))
    if pa.types.is_decimal(kind) and isinstance(value, float):
        readings.append((low, high, decimal.Decimal(repr(value))))
    return readings


def _timestamps(statistics: Any, kind: pa.DataType, value: Any) -> list[tuple[Any, Any, Any]]:
    low, high = statistics.min_raw, statistics.max_raw
    point = _nanoseconds(value, aware=kind.tz is not None)
    if not isinstance(low, int) or not isinstance(high, int) or point is None:
        return []  # INT96, or a value of another kind
    # the unit of the file may be finer or coarser than Arrow's, so it is taken from the bounds
    scale = _stored_unit(statistics, kind)
    return [] if scale is None else [(low * scale, high * scale, point)]


def _stored_unit(statistics: Any, kind: pa.DataType) -> int | None:
    logical = str(statistics.logical_type)
    for word, unit in (("milliseconds", "ms"), ("microseconds", "us"), ("nanoseconds", "ns")):
        if word in logical:
            return _UNITS[unit]
    converted = str(statistics.converted_type)
    return {"TIMESTAMP_MILLIS": _UNITS["ms"], "TIMESTAMP_MICROS": _UNITS["us"]}.get(converted)


def _nanoseconds(value: Any, *, aware: bool) -> int | None:
    """Nanoseconds since 1970 of a time or a day, or of text that spells one; None of anything else."""
    if isinstance(value, bool | int | float):
        return None
    try:
        moment = pd.Timestamp(value)
    except (ValueError, TypeError, OverflowError):
        return None
    if pd.isna(moment) or (moment.tzinfo is not None) != aware:
        return None
    plain = moment.tz_convert("UTC").tz_localize(None) if aware else moment
    return int(plain.asm8.astype("int64")) * _UNITS[plain.unit]


def matching_groups(
    metadata: Any, schema: pa.Schema, leaves: dict[str, range], conditions: Sequence[Condition]
) -> Iterable[int]:
    """Return indices of the row groups of a file that may have a row for which all conditions hold."""
    checks = [(leaves[name].start, schema.field(name).type, op, value) for name, op, value in conditions]
    for index in range(metadata.num_row_groups):
        group = metadata.row_group(index)
        rows = group.num_rows
        if all(can_match(group.column(leaf).statistics, rows, kind, op, value) for leaf, kind, op, value in checks):
            yield index
