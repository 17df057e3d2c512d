"""Aggregates in three steps that partitions can share: partial states, combined states, the value.

Each entry of `STEPS` defines the states of a partition, how the states of a group are combined, and the value of
combined states. `compiler.evaluate` computes the steps; `relations.Aggregate` holds `Agg`s. Dtypes are what pandas
gives on samples.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pandas as pd
import polars as pl

from howdah.engine.relational.columns import Binary, Cast, Col, Column, DataDependent, Lit, derive_dtype
from howdah.engine.relational.dtypes import BOOL, INT64, DType
from howdah.errors import NotSupported, SchemaError

AGGREGATES = ("sum", "mean", "min", "max", "count", "size", "nunique", "var", "std", "first", "last")
"""The aggregates of groups and columns."""

NUMERIC_ONLY = ("sum", "mean", "var", "std")


@dataclass(frozen=True, slots=True)
class Agg:
    """An aggregate by name of a column expression; `source` is None for the number of rows ("size").

    grouped : whether per group; pandas' dtypes differ from those of a reduction of a whole column.
    ddof : of "var" and "std", as in pandas.

    >>> Agg("mean", Col("x", INT64)).dtype.pandas, Agg("count", Col("x", INT64)).dtype.pandas
    ('float64', 'int64')
    """

    name: str
    source: Column | None
    grouped: bool = True
    ddof: int = 1
    dtype: DType = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "dtype", self._derive())

    def _derive(self) -> DType:
        if self.name in ("count", "size", "nunique"):
            return INT64
        if self.name == "any":
            return BOOL
        if self.source is None or self.name not in AGGREGATES:
            raise NotSupported(f"{self}: is not supported yet: use one of {', '.join(AGGREGATES)}")
        have = self.source.dtype
        if have.kind == "unsupported":
            _ = have.polars  # raises
        if have.kind == "timedelta" and self.name in ("sum", "mean"):
            return have.as_nullable() if self.name == "mean" else have.as_non_null()
        if have.kind == "decimal" and self.grouped and self.name in ("mean", "var"):  # objects of floats in pandas
            raise NotSupported(f'{self}: of Decimals: use .astype("float64") first')
        if self.name in NUMERIC_ONLY and not (have.is_number or have.kind in ("bool", "decimal")):
            words = ": text cannot be summed yet: choose the number columns" if have.kind == "str" else ""
            raise SchemaError(f"{self}: needs numbers, got {have}{words}")
        if have.kind in ("none", "anybool", "unsupported", "time", "bytes") and self.name not in ("first", "last"):
            raise NotSupported(f"{self}: of {have}: use .fillna and .astype first")
        if self.name == "sum" and (have.is_integer or have.kind == "bool"):
            return DType("uint64" if have.kind.startswith("uint") else "int64")
        if self.name == "mean" and have.kind == "float32" and self.grouped:
            return DType("float32", nullable=True)
        if self.name in ("min", "max"):
            return have.as_nullable("nan") if have.is_nullable else have
        if self.name in ("first", "last"):
            return have.as_nullable("None") if have.is_nullable else have
        if self.name == "sum" and have.kind == "decimal":
            return have.as_non_null()
        sample = have.sample()
        pair = pd.concat([sample, sample], ignore_index=True)
        return derive_dtype(str(self), None, lambda: pd.Series([getattr(pair, self.name)()]))

    def __str__(self) -> str:
        return f"{self.name}({self.source})" if self.source is not None else "rows"


States = list[pl.Expr]


@dataclass(frozen=True, slots=True)
class AggregateSteps:
    """How an aggregate is computed, as functions of Polars expressions.

    partial : the values, missing ones null -> states of a partition.
    combine : the states of several partitions -> states.
    finish : states -> the value.
    """

    partial: Callable[[pl.Expr, Agg], States]
    combine: Callable[[States], States]
    finish: Callable[[States, Agg], pl.Expr]


def _sum(x: pl.Expr, agg: Agg) -> States:
    assert agg.source is not None
    have = agg.source.dtype
    if have.kind == "bool" or have.is_integer:
        return [x.cast(pl.UInt64 if have.kind.startswith("uint") else pl.Int64).sum()]
    return [x.cast(pl.Float64).sum() if have.kind == "float32" else x.sum()]


def _add(states: States) -> States:
    return [s.sum() for s in states]


def _same(states: States, agg: Agg) -> pl.Expr:
    return states[0].cast(agg.dtype.polars)


def _mean(x: pl.Expr, agg: Agg) -> States:
    assert agg.source is not None
    if agg.source.dtype.kind == "timedelta":
        return [x.to_physical().sum(), x.count()]
    return [x.cast(pl.Float64).sum(), x.count()]


def _ratio(states: States, agg: Agg) -> pl.Expr:
    if agg.dtype.kind == "timedelta":  # whole ticks of pandas' unit, toward zero; Polars carries seconds as ms
        ticks = 1000 if agg.dtype.unit == "s" else 1
        mean = (states[0].cast(pl.Float64) / ticks / states[1]).fill_nan(None)
        return (mean.cast(pl.Int64) * ticks).cast(agg.dtype.polars)
    return (states[0] / states[1]).fill_nan(None).cast(agg.dtype.polars)


def _moments(x: pl.Expr, agg: Agg) -> States:
    x = x.cast(pl.Float64)
    return [x.count(), x.mean().fill_null(0.0), (x.var(ddof=0) * x.count()).fill_null(0.0)]


def _chan(states: States) -> States:
    """Combine means and sums of squares of all parts at once (Chan, Golub and LeVeque)."""
    n, mean, squares = states
    whole = (n * mean).sum() / n.sum()
    return [n.sum(), whole.fill_nan(0.0), squares.sum() + (n * (mean - whole.fill_nan(0.0)) ** 2).sum()]


def _variance(states: States, agg: Agg) -> pl.Expr:
    n, _, squares = states
    out = pl.when(n > agg.ddof).then(squares / (n - agg.ddof))
    return (out.sqrt() if agg.name == "std" else out).cast(agg.dtype.polars)


def _either_end(name: str) -> AggregateSteps:
    def pick(x: pl.Expr) -> pl.Expr:
        out: pl.Expr = getattr(x.drop_nulls(), name)()
        return out

    return AggregateSteps(lambda x, agg: [pick(x)], lambda s: [pick(s[0])], _same)


def _distinct(x: pl.Expr, agg: Agg) -> States:
    return [x.drop_nulls().unique().implode()]


STEPS: dict[str, AggregateSteps] = {
    "sum": AggregateSteps(_sum, _add, _same),
    "mean": AggregateSteps(_mean, _add, _ratio),
    "min": AggregateSteps(lambda x, agg: [x.min()], lambda s: [s[0].min()], _same),
    "max": AggregateSteps(lambda x, agg: [x.max()], lambda s: [s[0].max()], _same),
    "count": AggregateSteps(lambda x, agg: [x.count().cast(pl.Int64)], _add, _same),
    "size": AggregateSteps(lambda x, agg: [pl.len().cast(pl.Int64)], _add, _same),
    "nunique": AggregateSteps(
        _distinct,
        lambda s: [s[0].explode().drop_nulls().unique().implode()],
        lambda s, agg: s[0].list.len().cast(pl.Int64),
    ),
    "var": AggregateSteps(_moments, _chan, _variance),
    "std": AggregateSteps(_moments, _chan, _variance),
    "first": _either_end("first"),
    "last": _either_end("last"),
    "any": AggregateSteps(lambda x, agg: [x.any()], lambda s: [s[0].any()], lambda s, agg: s[0].fill_null(False)),
}

STATES = {"mean": 2, "var": 3, "std": 3}
"""The number of states of an aggregate, where it is not one."""


def as_pandas_dtype(name: str, agg: Agg) -> Column:
    """Return the result column `name` with pandas' dtype: sums of narrow integers stay narrow if all fit."""
    out = Col(name, agg.dtype)
    if agg.name != "sum" or not agg.grouped or agg.source is None:
        return out
    have = agg.source.dtype
    if not have.is_integer or have.kind in ("int64", "uint64"):
        return out
    bits = int(have.kind.lstrip("uint"))
    low, high = (0, 2**bits - 1) if have.kind.startswith("u") else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    outside = Binary("|", Binary("<", out, Lit(low)), Binary(">", out, Lit(high)))
    return DataDependent(outside, out, Cast(out, DType(have.kind)))


def state_columns(name: str, agg: Agg) -> list[str]:
    """Return the names of an aggregate's state columns."""
    return [f"{name}\1{i}" for i in range(STATES.get(agg.name, 1))]
