"""Rule: filters move down, past projections, sorts and joins, and as conditions on statistics into the scan."""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import replace
from typing import Any

import pandas as pd

from howdah.engine.relational import relations
from howdah.engine.relational.columns import Binary, Col, Column, FunctionCall, Lit, is_unresolved, substitute
from howdah.engine.relational.relations import Relation


def push_filter(plan: Relation) -> Relation:
    """Filter as early as the result allows, and let the scan leave out row groups without a matching row.

    >>> from howdah.engine.relational.dtypes import INT64
    >>> a, b = Col("a", INT64), Col("b", INT64)
    >>> table = relations.InMemory((), {"a": INT64}, b"t")
    >>> before = relations.Filter(relations.Project(table, (("b", Binary("+", a, Lit(1))),)), Binary(">", b, Lit(5)))
    >>> print(before.tree())
    filter b > 5
      project b = a + 1
        in memory: a (0 rows)
    >>> print(push_filter(before).tree())
    project b = a + 1
      filter (a + 1) > 5
        in memory: a (0 rows)
    """
    if isinstance(plan, relations.Filter):
        moved = _move(plan)
        if moved is not None:
            return push_filter(moved)
        if isinstance(plan.source, relations.Scan):
            return replace(plan, source=_with_conditions(plan.source, plan.predicate))
    return plan.map_children(push_filter)


def conjuncts(predicate: Column) -> list[Column]:
    """Return the predicates that must all be true."""
    if isinstance(predicate, Binary) and predicate.op == "&":
        return conjuncts(predicate.left) + conjuncts(predicate.right)
    return [predicate]


def both(parts: list[Column]) -> Column:
    out = parts[0]
    for part in parts[1:]:
        out = Binary("&", out, part)
    return out


def _move(node: relations.Filter) -> Relation | None:
    source = node.source
    match source:
        case relations.Filter():
            return relations.Filter(source.source, Binary("&", source.predicate, node.predicate))
        case relations.Sort() if source.stable:
            return replace(source, source=relations.Filter(source.source, node.predicate))
        case relations.Project():
            if any(is_unresolved(e) for _, e in source.columns):
                return None  # its condition is about all the rows
            below = substitute(node.predicate, dict(source.columns))
            return replace(source, source=relations.Filter(source.source, below))
        case relations.Join():
            return _past_join(node, source)
    return None


def _past_join(node: relations.Filter, join: relations.Join) -> Relation | None:
    sides = {"inner": ("left", "right"), "left": ("left",), "right": ("right",), "outer": ()}[join.how]
    from_left: dict[str, Column] = {}
    from_right: dict[str, Column] = {}
    for name, side, source, dtype in join.take:
        if side in ("left", "key") and join.left.schema[source] == dtype:
            from_left[name] = Col(source, dtype)
        if side == "right" and join.right.schema[source] == dtype:
            from_right[name] = Col(source, dtype)
    parts: dict[str, list[Column]] = {"left": [], "right": [], "stay": []}
    for part in conjuncts(node.predicate):
        if is_unresolved(part) or not part.names():
            parts["stay"].append(part)
        elif "left" in sides and part.names() <= from_left.keys():
            parts["left"].append(substitute(part, from_left))
        elif "right" in sides and part.names() <= from_right.keys():
            parts["right"].append(substitute(part, from_right))
        else:
            parts["stay"].append(part)
    if not parts["left"] and not parts["right"]:
        return None
    out: Relation = replace(
        join,
        left=relations.Filter(join.left, both(parts["left"])) if parts["left"] else join.left,
        right=relations.Filter(join.right, both(parts["right"])) if parts["right"] else join.right,
    )
    return relations.Filter(out, both(parts["stay"])) if parts["stay"] else out


_FLIP = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "=="}


def _with_conditions(scan: relations.Scan, predicate: Column) -> relations.Scan:
    """Add the conditions that statistics can refute; not "!=", because pandas treats missing values as unequal."""
    found = [c for part in conjuncts(predicate) if (c := _condition(part)) is not None and c[0] != relations.INDEX]
    added = tuple(c for c in dict.fromkeys(found) if c not in scan.conditions)
    return replace(scan, conditions=scan.conditions + added) if added else scan


def _condition(part: Column) -> tuple[str, str, Any] | None:
    if isinstance(part, FunctionCall) and isinstance(part.source, Col):
        have = part.source.dtype
        if part.function == "notna":
            return part.source.name, "not_null", None
        if part.function == "isna" and not have.is_float:
            return part.source.name, "is_null", None
        if part.function == "isin":
            values = [_plain(v, part.source) for v in dict(part.params)["values"]]
            return (part.source.name, "in", tuple(values)) if values and None not in values else None
    if isinstance(part, Binary) and part.op in _FLIP:
        left, right, op = part.left, part.right, part.op
        if isinstance(left, Lit):
            left, right, op = right, left, _FLIP[op]
        if isinstance(left, Col) and isinstance(right, Lit):
            value = _plain(right.value, left)
            return (left.name, op, value) if value is not None else None
    return None


def _plain(value: Any, beside: Col) -> Any:
    """Return the value as a plain Python one, if it can be compared with statistics exactly; else None."""
    have = beside.dtype
    value = value.item() if hasattr(value, "item") and not isinstance(value, pd.Timestamp) else value
    if have.is_number and isinstance(value, (int, float)) and not isinstance(value, bool):
        return value if math.isfinite(value) else None
    if have.kind == "datetime" and isinstance(value, dt.datetime) and not have.tz:
        stamp = pd.Timestamp(value)
        return stamp.to_pydatetime() if stamp.nanosecond == 0 and stamp.tzinfo is None else None
    if have.kind == "date" and isinstance(value, dt.date) and not isinstance(value, dt.datetime):
        return value
    return value if have.kind == "str" and isinstance(value, str) else None
