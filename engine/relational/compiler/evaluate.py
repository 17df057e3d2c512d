"""The evaluation of a relation inside one task, as one lazy Polars query.

`StageContext` holds what the leaves read. Called by `stage`; runs on workers and in the client's process.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import polars as pl

from howdah.engine.relational import aggregates, relations
from howdah.engine.relational.columns import Col
from howdah.engine.relational.compiler.polars_expr import na_as_null, to_polars
from howdah.engine.relational.convert import frame_from_pandas, frame_to_pandas, to_series
from howdah.engine.relational.dtypes import DType
from howdah.errors import NotSupported, SchemaError

if TYPE_CHECKING:
    from howdah.io.readers.table import Split


@dataclass(slots=True)
class StageContext:
    """What the leaves of a stage read in one task, and the queries built so far.

    Attributes
    ----------
    inputs : the tables of the stage's inputs, by number.
    split : what the scan reads, unless the scan holds its splits itself.
    offset : number of the task's first row among the rows of all tasks.
    built : the queries by the identity of their node.
    """

    inputs: Sequence[Any] = ()
    split: Split | None = None
    offset: int = 0
    built: dict[int, pl.LazyFrame] = field(default_factory=dict)


def evaluate(node: relations.Relation, context: StageContext) -> pl.LazyFrame:
    """Return the lazy query of `node`; equal subtrees (the same object) are built once."""
    found = context.built.get(id(node))
    if found is None:
        found = context.built[id(node)] = _STEPS[type(node)](node, context)
    return found


def collect(query: pl.LazyFrame) -> pl.DataFrame:
    """Run the query. An exception of a Python function inside of it is raised as it was.

    Raises
    ------
    NotSupported
        A Decimal would need more than 38 digits.
    """
    try:
        return query.collect()
    except (pl.exceptions.ComputeError, pl.exceptions.InvalidOperationError) as error:
        cause = error.__cause__ or error.__context__
        if cause is not None and not isinstance(cause, pl.exceptions.PolarsError):
            raise cause from None
        if "decimal" in str(error):
            what = str(error).splitlines()[0]
            raise NotSupported(f'Decimals hold 38 digits: {what}: use .astype("float64") first') from error
        raise


def polars_columns(named: relations.NamedColumns) -> list[pl.Expr]:
    return [to_polars(e).expr.alias(n) for n, e in named]


# -- leaves ---------------------------------------------------------------------------------------------------------


def _slot(node: relations.StageInput, context: StageContext) -> pl.LazyFrame:
    value = context.inputs[node.number]
    parts = [as_polars(t) for t in (value if node.concatenate else [value])]
    if not parts:
        return pl.LazyFrame(schema={n: d.polars for n, d in node.schema.items()})
    return (parts[0] if len(parts) == 1 else pl.concat(parts, rechunk=False)).lazy()


def as_polars(table: Any) -> pl.DataFrame:
    """Return an Arrow table as Polars, without a copy where possible."""
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    return frame


def _scan(node: relations.Scan, context: StageContext) -> pl.LazyFrame:
    stored, index = list(node.stored()), relations.INDEX if relations.INDEX in node.columns else None
    if node.splits is None:
        assert context.split is not None
        query = context.split.scan(stored, row_index=index)
    else:
        whole = node.table.scan(stored, row_index=index) if node.table is not None else None
        query = whole if whole is not None else _one_after_another(node, stored, index)
    return query.select(_stored(n, d) for n, d in node.schema.items())


def _one_after_another(node: relations.Scan, stored: list[str], index: str | None) -> pl.LazyFrame:
    if not node.splits:
        empty = {n: d.polars for n, d in node.schema.items()}
        return pl.LazyFrame(schema=empty)
    return pl.concat([split.scan(stored, row_index=index) for split in node.splits], rechunk=False)


def _stored(name: str, dtype: DType) -> pl.Expr:
    """Return a stored column in the Polars dtype of its kind: times in seconds and all decimals are cast."""
    if dtype.kind in ("str", "bool", "date", "bytes", "none", "anybool", "time"):
        return pl.col(name)
    return pl.col(name) if name != relations.INDEX and dtype.is_number else pl.col(name).cast(dtype.polars)


def _in_memory(node: relations.InMemory, context: StageContext) -> pl.LazyFrame:
    return pl.concat([as_polars(t) for t in node.parts], rechunk=False).lazy().select(list(node.schema))


# -- row by row -----------------------------------------------------------------------------------------------------


def _filter(node: relations.Filter, context: StageContext) -> pl.LazyFrame:
    return evaluate(node.source, context).filter(to_polars(node.predicate).expr)


def _project(node: relations.Project, context: StageContext) -> pl.LazyFrame:
    source = evaluate(node.source, context)
    fixed = [n for n, e in node.columns if not e.names()]
    if fixed and len(fixed) == len(node.columns):  # of constants alone Polars gives one row
        return source.with_row_index("\1n").select("\1n", *polars_columns(node.columns)).drop("\1n")
    return source.select(polars_columns(node.columns)) if node.columns else source.select([])


def _number(node: relations.Number, context: StageContext) -> pl.LazyFrame:
    numbered = evaluate(node.source, context).with_row_index("\1n")
    index = (pl.col("\1n").cast(pl.Int64) + context.offset).alias(node.name)
    return numbered.with_columns(index).drop("\1n")


def _map_partitions(node: relations.MapPartitions, context: StageContext) -> pl.LazyFrame:
    table = collect(evaluate(node.source, context))
    schema = node.source.schema
    frame = frame_to_pandas(table, schema, [(c, c) for c in node.columns], node.index)
    out = node.fn(frame)
    out = out.to_frame(name=next(iter(node.schema))) if not hasattr(out, "columns") else out
    visible = [c for c in node.schema if c not in node.index_out]
    found = list(out.columns)
    if found != visible:
        raise SchemaError(f"map_partitions: the function returned the columns {found}, its meta has {visible}")
    labels = out.index.to_frame(index=False)
    labels.columns = [*node.index_out]
    out = out.reset_index(drop=True)
    for name in node.index_out:
        out[name] = labels[name]
    return frame_from_pandas(out, node.schema).lazy()


# -- order ----------------------------------------------------------------------------------------------------------


def _head(node: relations.Head, context: StageContext) -> pl.LazyFrame:
    source = evaluate(node.source, context)
    return source.head(node.n) if node.n >= 0 else collect(source).head(node.n).lazy()


def _tail(node: relations.Tail, context: StageContext) -> pl.LazyFrame:
    source = evaluate(node.source, context)
    return source.tail(node.n) if node.n >= 0 else collect(source).tail(node.n).lazy()


def _clean(node: relations.Relation, names: Sequence[str]) -> list[pl.Expr]:
    return [na_as_null(Col(n, node.schema[n])) for n in names]


def _sort(node: relations.Sort, context: StageContext) -> pl.LazyFrame:
    source = evaluate(node.source, context)
    if node.stable:
        return source.sort(
            _clean(node, node.by),
            descending=[not a for a in node.ascending],
            nulls_last=node.na_last,
            maintain_order=True,
        )
    # One column by numpy's unstable sort: only pandas gives pandas' order of ties.
    table = collect(source)
    values = to_series(table[node.by[0]], node.schema[node.by[0]])
    order = values.sort_values(
        ascending=node.ascending[0], na_position="last" if node.na_last else "first", kind=node.kind
    ).index.to_numpy()
    in_order: pl.DataFrame = table[order]
    return in_order.lazy()


def _top(node: relations.Top, context: StageContext) -> pl.LazyFrame:
    source = evaluate(node.source, context)
    if node.n <= 0:
        return source.head(0)
    first = _clean(node, node.by[:1])[0]
    if node.schema[node.by[0]].kind == "bool":
        first = first.cast(pl.UInt8)
    best = first.top_k(node.n).min() if node.largest else first.bottom_k(node.n).max()
    within = first >= best if node.largest else first <= best
    kept = source.filter(within.fill_null(False) | (first.is_null() & (first.count() < node.n)))
    keys = _clean(node, node.by)
    return kept.sort(keys, descending=node.largest, nulls_last=True, maintain_order=True).head(node.n)


# -- groups ---------------------------------------------------------------------------------------------------------


def _partial(node: relations.PartialAggregate, context: StageContext) -> pl.LazyFrame:
    whole = node.aggregate
    states: list[pl.Expr] = []
    for name, agg in whole.aggs:
        values = na_as_null(agg.source) if agg.source is not None else pl.len()
        made = aggregates.STEPS[agg.name].partial(values, agg)
        states += [s.alias(n) for s, n in zip(made, aggregates.state_columns(name, agg))]
    source = evaluate(whole.source, context)
    if not whole.keys:
        return source.select(states)
    keys = [na_as_null(e).alias(n) for n, e in whole.keys]
    if whole.dropna:
        misses = [na_as_null(e).is_not_null() for _, e in whole.keys if e.dtype.is_nullable]
        source = source.filter(*misses) if misses else source
    return source.group_by(keys, maintain_order=not whole.sort).agg(states)


def _combine(node: relations.CombineAggregate, context: StageContext) -> pl.LazyFrame:
    whole = node.aggregate
    states: list[pl.Expr] = []
    for name, agg in whole.aggs:
        names = aggregates.state_columns(name, agg)
        states += [s.alias(n) for s, n in zip(aggregates.STEPS[agg.name].combine([pl.col(n) for n in names]), names)]
    source = evaluate(node.source, context)
    if not whole.keys:
        return source.select(states)
    return source.group_by([n for n, _ in whole.keys], maintain_order=not whole.sort).agg(states)


def _finish(node: relations.FinishAggregate, context: StageContext) -> pl.LazyFrame:
    whole = node.aggregate
    out = [pl.col(n).cast(e.dtype.polars) for n, e in whole.keys]
    for name, agg in whole.aggs:
        names = aggregates.state_columns(name, agg)
        out.append(aggregates.STEPS[agg.name].finish([pl.col(n) for n in names], agg).alias(name))
    source = evaluate(node.source, context).select(out)
    return source.sort([n for n, _ in whole.keys], nulls_last=True) if whole.keys and whole.sort else source


def _aggregate(node: relations.Aggregate, context: StageContext) -> pl.LazyFrame:
    return _finish(relations.FinishAggregate(relations.PartialAggregate(node), node), context)


# -- joins ----------------------------------------------------------------------------------------------------------

_HOW: dict[str, tuple[Any, Any]] = {
    "inner": ("inner", "left_right"),
    "left": ("left", "left_right"),
    "right": ("right", "right_left"),
    "outer": ("full", "left_right"),
}


def _join(node: relations.Join, context: StageContext) -> pl.LazyFrame:
    sides = {
        "left": _side(node.left, node.left_on, [c for _, s, c, _ in node.take if s == "left"], "l", context),
        "right": _side(node.right, node.right_on, [c for _, s, c, _ in node.take if s == "right"], "r", context),
    }
    how, order = _HOW[node.how]
    on = [f"\1k{i}" for i in range(len(node.left_on))]
    wide = [_wider(node.left.schema[a], node.right.schema[b]) for a, b in zip(node.left_on, node.right_on)]
    left, right = (s.with_columns(pl.col(k).cast(w.polars) for k, w in zip(on, wide)) for s in sides.values())
    if node.how == "outer":
        joined = _outer(left, right, on, [w.kind not in ("datetime", "timedelta") for w in wide])
    else:
        joined = left.join(right, on=on, how=how, nulls_equal=True, maintain_order=order if node.ordered else None,
                           coalesce=True)  # fmt: skip
    out = []
    for name, side, source, dtype in node.take:
        value = pl.col(on[node.left_on.index(source)] if side == "key" else f"\1{side[0]}{source}")
        out.append((value.cast(dtype.polars) if side == "key" else value).alias(name))
    return joined.select(out)


def _outer(left: pl.LazyFrame, right: pl.LazyFrame, on: list[str], nulls_last: list[bool]) -> pl.LazyFrame:
    """Return an outer join in pandas' order, that of the keys; missing keys are last, but missing times first."""
    one, other = left.with_row_index("\1left"), right.with_row_index("\1right")
    joined = one.join(other, on=on, how="full", nulls_equal=True, coalesce=True)
    return joined.sort([*on, "\1left", "\1right"], nulls_last=[*nulls_last, True, True])


def _side(
    node: relations.Relation, on: Sequence[str], take: Sequence[str], mark: str, context: StageContext
) -> pl.LazyFrame:
    keys = [na_as_null(Col(c, node.schema[c])).alias(f"\1k{i}") for i, c in enumerate(on)]
    return evaluate(node, context).select(*keys, *(pl.col(c).alias(f"\1{mark}{c}") for c in dict.fromkeys(take)))


def _wider(a: DType, b: DType) -> DType:
    """One type in which keys of two types can be compared."""
    if a.polars == b.polars:
        return a
    if a.kind == b.kind == "decimal":
        return a if a.scale >= b.scale else b
    if a.kind in ("datetime", "timedelta"):
        order = ["s", "ms", "us", "ns"]
        return a if order.index(a.unit) >= order.index(b.unit) else b
    if a.is_number and b.is_number:
        signed = a.is_integer and b.is_integer and "uint64" not in (a.kind, b.kind)
        return DType("int64") if signed else DType("float64")
    raise SchemaError(f"merge: keys of {a} and {b} cannot be compared")


_STEPS: dict[type, Any] = {
    relations.StageInput: _slot,
    relations.Scan: _scan,
    relations.InMemory: _in_memory,
    relations.Filter: _filter,
    relations.Project: _project,
    relations.Number: _number,
    relations.MapPartitions: _map_partitions,
    relations.Head: _head,
    relations.Tail: _tail,
    relations.Sort: _sort,
    relations.Top: _top,
    relations.Aggregate: _aggregate,
    relations.PartialAggregate: _partial,
    relations.CombineAggregate: _combine,
    relations.FinishAggregate: _finish,
    relations.Join: _join,
}
