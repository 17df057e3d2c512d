"""Column expressions as Polars expressions with pandas' values.

A floating-point value is missing when it is null *or* NaN. Arithmetic passes both on; every operation that treats
missing values apart calls `na_as_null` first, so a chain of arithmetic is normalised once, at its end. Called by
`evaluate`.
"""

from __future__ import annotations

import decimal
import math
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import polars as pl

from howdah.engine.relational.columns import (
    ARITHMETIC,
    COMPARISONS,
    OPERATORS,
    Binary,
    Cast,
    Col,
    Column,
    Constant,
    DataDependent,
    FunctionCall,
    Lit,
    is_na_literal,
)
from howdah.engine.relational.convert import from_pandas, to_series
from howdah.engine.relational.dtypes import DType, is_na, polars_unit
from howdah.engine.relational.functions import FUNCTIONS


@dataclass(frozen=True, slots=True)
class PolarsExpr:
    """A Polars expression, and whether its values may be NaN, which is missing like null."""

    expr: pl.Expr
    may_be_nan: bool = False


def to_polars(node: Column) -> PolarsExpr:
    """Return the Polars form of an expression."""
    match node:
        case Col(name, dtype):
            return PolarsExpr(pl.col(name), dtype.is_float)
        case Lit(value):
            return PolarsExpr(literal(value, node.dtype), isinstance(value, float) and math.isnan(value))
        case Constant(value):
            return PolarsExpr(pl.repeat(literal(value, node.dtype), pl.len()), node.dtype.is_float)
        case Cast(source, dtype):
            return _cast(source, dtype)
        case DataDependent():
            return to_polars(node.chosen())
        case Binary():
            return _binary(node)
        case FunctionCall():
            return _call(node)
    raise TypeError(f"not a column expression: {node!r}")


def na_as_null(node: Column) -> pl.Expr:
    """Return the expression with null for every missing value."""
    polars = to_polars(node)
    return polars.expr.fill_nan(None) if polars.may_be_nan else polars.expr


def literal(value: Any, dtype: DType) -> pl.Expr:
    """Return a scalar as a Polars literal of the type `dtype`."""
    if is_na(value) and not dtype.is_float:
        return pl.lit(None, dtype=dtype.polars if dtype.kind != "none" else None)
    if dtype.kind in ("datetime", "timedelta"):
        unit: Any = dtype.unit
        moment = (pd.Timestamp(value) if dtype.kind == "datetime" else pd.Timedelta(value)).as_unit(unit)
        ticks = moment.as_unit(polars_unit(unit))
        number = int(ticks.asm8.view("int64"))
        if dtype.tz:
            naive = pl.lit(number, dtype=pl.Int64).cast(pl.Datetime(polars_unit(unit), "UTC"))
            return naive.dt.convert_time_zone(dtype.carrier_zone or "UTC")
        return pl.lit(number, dtype=pl.Int64).cast(dtype.polars)
    if isinstance(value, np.generic):
        value = value.item()
    if dtype.kind == "decimal":
        return pl.lit(decimal.Decimal(value)).cast(dtype.polars)
    return pl.lit(value, dtype=dtype.polars)


# -- operators ------------------------------------------------------------------------------------------------------


def _binary(node: Binary) -> PolarsExpr:
    if node.op in COMPARISONS:
        return PolarsExpr(_comparison(node))
    if node.op not in ARITHMETIC:
        return PolarsExpr(_logic(node))
    return _arithmetic(node)


def _logic(node: Binary) -> pl.Expr:
    sides = [_operand(n, node.dtype) for n in (node.left, node.right)]
    out: pl.Expr = OPERATORS[node.op](sides[0], sides[1])
    return out


def _arithmetic(node: Binary) -> PolarsExpr:
    dtype, op = node.dtype, node.op
    sides = (node.left.dtype, node.right.dtype)
    divisor = node.right
    numbers = all(s.is_number or s.kind == "bool" for s in sides)  # a quotient of timedeltas is a number too
    if dtype.is_number and numbers and op in ("+", "-", "*", "/"):
        out = OPERATORS[op](_operand(node.left, dtype), _operand(divisor, dtype))
        return PolarsExpr(out, dtype.is_float)
    if op in ("//", "%") and dtype.is_integer and numbers and isinstance(divisor, Lit) and divisor.value not in (0, -1):
        return PolarsExpr(OPERATORS[op](_operand(node.left, dtype), _operand(divisor, dtype)))
    if dtype.kind == "decimal":
        return PolarsExpr(OPERATORS[op](_operand(node.left, dtype), _operand(divisor, dtype)))
    if dtype.kind == "bool" and op in ("+", "*"):
        return PolarsExpr(
            (operator.or_ if op == "+" else operator.and_)(to_polars(node.left).expr, to_polars(divisor).expr)
        )
    if dtype.kind == "str" and op == "+":
        return PolarsExpr(_operand(node.left, dtype) + _operand(divisor, dtype))
    times = ("datetime", "timedelta")
    if dtype.kind in times and op in ("+", "-") and all(s.kind in times for s in sides):
        zone = _common_zone(*sides)
        return PolarsExpr(OPERATORS[op](*(_operand(n, _tick(n.dtype, dtype.unit, zone)) for n in (node.left, divisor))))
    return PolarsExpr(_as_pandas(node, [node.left, divisor], OPERATORS[op]), dtype.is_float)


def _tick(dtype: DType, unit: str, zone: str) -> DType:
    return DType(dtype.kind, unit=unit, tz=dtype.tz and (zone or dtype.tz))


def _common_zone(a: DType, b: DType) -> str:
    """Return the zone in which two datetimes meet, "" where each keeps its own: moments in two zones meet in UTC."""
    return "UTC" if a.tz and b.tz and a.tz != b.tz else ""


def _operand(node: Column, dtype: DType) -> pl.Expr:
    """One side of an operation, cast to the type that pandas computes in."""
    if isinstance(node, Lit):
        return literal(node.value, dtype)
    expr = to_polars(node).expr
    if node.dtype.kind == "bool" and dtype.kind == "decimal":
        expr = expr.cast(pl.Int8)
    same = node.dtype.polars == dtype.polars and node.dtype.kind != "decimal"
    return expr if same else expr.cast(dtype.polars)


def _comparison(node: Binary) -> pl.Expr:
    left, right, op = node.left, node.right, node.op
    unequal = op == "!="
    if isinstance(left, Lit) and not isinstance(right, Lit):
        flip = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}
        left, right, op = right, left, flip.get(op, op)
    if is_na_literal(left) or is_na_literal(right):
        return _constant(unequal)
    kinds = (left.dtype, right.dtype)
    if not _comparable(*kinds):
        return _constant(unequal)
    if isinstance(right, Lit):
        out = _against_scalar(left, right, op)
        if out is None:
            return _constant(unequal)
    else:
        a, b = _common(left, right)
        out = OPERATORS[op](a, b)
    if kinds[0].is_nullable or kinds[1].is_nullable:
        out = out.fill_null(unequal)
    return out


def _constant(value: bool) -> pl.Expr:
    return pl.repeat(value, pl.len())


def _comparable(a: DType, b: DType) -> bool:
    numeric = {*("bool", "anybool", "decimal")}
    if (a.is_number or a.kind in numeric) and (b.is_number or b.kind in numeric):
        return True
    return a.kind == b.kind and bool(a.tz) == bool(b.tz)


def _against_scalar(left: Column, right: Lit, op: str) -> pl.Expr | None:
    """Return a comparison with a scalar; None when no value can be equal to it."""
    value = right.value.item() if isinstance(right.value, np.generic) and not left.dtype.is_number else right.value
    low, dtype = to_polars(left), left.dtype
    if dtype.kind == "decimal":
        return _decimal_against(low.expr, dtype.scale, value, op)
    if dtype.kind in ("datetime", "timedelta"):
        a, b = _common(left, right)
        out: pl.Expr = OPERATORS[op](a, b)
        return out
    if dtype.kind in ("bool", "anybool") and not isinstance(value, bool):
        return OPERATORS[op](low.expr.cast(pl.Int8), pl.lit(value))  # type: ignore[no-any-return]
    if dtype.is_number:
        value = float(value) if isinstance(value, decimal.Decimal) else value
        if isinstance(value, np.generic):
            value = value.item()
        if isinstance(value, bool):
            value = int(value)
        out = OPERATORS[op](low.expr, pl.lit(value))
        # In Polars NaN is greater than everything; in pandas it is missing.
        return out & low.expr.is_not_nan() if low.may_be_nan and op in (">", ">=") else out
    return OPERATORS[op](low.expr, literal(value, right.dtype))  # type: ignore[no-any-return]


def _decimal_against(expr: pl.Expr, scale: int, value: Any, op: str) -> pl.Expr | None:
    """Compare Decimals with any number exactly, by the largest value of the column's scale that is not above it."""
    if isinstance(value, float) and math.isinf(value):
        return pl.when(expr.is_not_null()).then((op in ("<", "<=") and value > 0) or (op in (">", ">=") and value < 0)
                                                or op == "!=")  # fmt: skip
    with decimal.localcontext(decimal.Context(prec=1100)):
        exact = decimal.Decimal(value)
        below = exact.quantize(decimal.Decimal(1).scaleb(-scale), rounding=decimal.ROUND_FLOOR)
    bound = pl.lit(below).cast(pl.Decimal(38, scale))
    if exact == below:
        return OPERATORS[op](expr, bound)  # type: ignore[no-any-return]
    if op in ("==", "!="):
        return None
    return expr <= bound if op in ("<", "<=") else expr > bound


def _common(left: Column, right: Column) -> tuple[pl.Expr, pl.Expr]:
    """Both sides as one Polars type in which they can be compared."""
    a, b = left.dtype, right.dtype
    if a.kind == b.kind == "decimal":
        wide = DType("decimal", scale=max(a.scale, b.scale))
        return _operand(left, wide), _operand(right, wide)
    if "decimal" in (a.kind, b.kind):
        mine = a if a.kind == "decimal" else b
        return _operand(left, mine), _operand(right, mine)
    if a.kind in ("datetime", "timedelta"):
        order = ["s", "ms", "us", "ns"]
        unit = order[max(order.index(a.unit), order.index(b.unit))]
        zone = _common_zone(a, b)
        return tuple(_operand(n, _tick(n.dtype, unit, zone)) for n in (left, right))  # type: ignore[return-value]
    sides = [na_as_null(n) for n in (left, right)]
    for i, dtype in enumerate((a, b)):
        if dtype.kind in ("bool", "anybool") and a.kind != b.kind:
            sides[i] = sides[i].cast(pl.Int8)
    return sides[0], sides[1]


# -- functions ------------------------------------------------------------------------------------------------------


def _cast(source: Column, dtype: DType) -> PolarsExpr:
    low = to_polars(source)
    if source.dtype.polars == dtype.polars:
        return low
    return PolarsExpr(
        low.expr.cast(dtype.polars, wrap_numerical=source.dtype.is_integer and dtype.is_integer), low.may_be_nan
    )


def _call(node: FunctionCall) -> PolarsExpr:
    function = FUNCTIONS[node.function]
    params = dict(node.params)
    if has_polars_form(node):
        assert function.polars_form is not None
        other: Any = None
        if node.other is not None:
            other = (
                literal(node.other.value, node.dtype)
                if isinstance(node.other, Lit)
                else _operand(node.other, node.dtype)
            )
        source = na_as_null(node.source)
        if node.function == "fillna" and node.source.dtype.polars != node.dtype.polars:
            source = source.cast(node.dtype.polars)
        out = function.polars_form(source, node.source.dtype, other, **params)
        assert out is not None
        return PolarsExpr(out, False)
    inputs = [node.source] + ([node.other] if node.other is not None else [])
    run: Callable[..., Any] = lambda s, other=None: function.pandas_form(s, other, **params)  # noqa: E731
    return PolarsExpr(_as_pandas(node, inputs, run), node.dtype.is_float)


def has_polars_form(node: FunctionCall) -> bool:
    """Whether the function has a Polars form; otherwise it runs as pandas on the partition."""
    native = FUNCTIONS[node.function].polars_form
    if native is None or (node.other is not None and node.function != "fillna"):
        return False
    return native(pl.col("x"), node.source.dtype, pl.col("y"), **dict(node.params)) is not None


def runs_as_pandas(node: Column) -> bool:
    """Whether this one node (not those below it) has no Polars form."""
    if isinstance(node, FunctionCall):
        return not has_polars_form(node)
    if not isinstance(node, Binary) or node.op not in ARITHMETIC:
        return False
    return _PANDAS_MARK in to_polars(node).expr.meta.serialize(format="json") if node.op in ("//", "%", "**") else False


_PANDAS_MARK = "python_function"


def _as_pandas(node: Column, inputs: list[Column], run: Callable[..., Any]) -> pl.Expr:
    """`evaluate` on pandas Series of the partition's values; scalars are passed as they are."""
    columns = [n for n in inputs if not isinstance(n, Lit)]
    dtype = node.dtype

    def work(packed: pl.Series) -> pl.Series:
        parts = iter(packed.struct.unnest().get_columns())
        values = [n.value if isinstance(n, Lit) else to_series(next(parts), n.dtype) for n in inputs]
        with np.errstate(all="ignore"):
            return from_pandas(run(*values), dtype)

    packed = pl.struct([na_as_null(n).alias(str(i)) for i, n in enumerate(columns)])
    return packed.map_batches(work, return_dtype=dtype.polars, is_elementwise=True)
