"""`map_partitions`: a function applied to the pandas object of each partition. Internal to `engine.frame`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

from howdah.engine.frame.state import FrameState, internal_name
from howdah.engine.graph.keys import content_hash
from howdah.engine.relational import relations
from howdah.engine.relational.columns import Col
from howdah.engine.relational.convert import frame_to_pandas
from howdah.engine.relational.dtypes import DType, of_pandas
from howdah.errors import SchemaError


def map_partitions(state: FrameState, function: Callable[..., Any], meta: Any, *, as_series: bool) -> FrameState:
    """Return the frame of what `function` returns for each partition; see `Collection.map_partitions`.

    as_series : the function takes a pandas Series, the only column, instead of a DataFrame.
    """
    import pandas as pd
    import polars as pl

    rows = state.projected()
    plan = rows.plan()
    labels = [internal_name(label) for label in rows.labels()]
    if labels != rows.labels():
        raise SchemaError(f"map_partitions: column labels must be text, got {rows.labels()}: use rename")
    levels = tuple(zip((level.label for level in rows.index), rows.level_names()))
    if meta is None:
        empty = pl.DataFrame(schema={n: d.polars for n, d in plan.schema.items()})
        sample = frame_to_pandas(empty, plan.schema, [(c, c) for c in labels], [(a, b) for a, b in levels])
        try:
            meta = function(sample.iloc[:, 0] if as_series else sample)
        except Exception as error:
            error.add_note(
                "map_partitions tried the function on an empty frame, to learn its columns: give meta= instead"
            )
            raise
    frame = meta.to_frame(name=meta.name if meta.name is not None else "0") if isinstance(meta, pd.Series) else meta
    if not isinstance(frame, pd.DataFrame) or not all(isinstance(c, str) for c in frame.columns):
        raise SchemaError(
            "map_partitions: the function must return a pandas DataFrame with text column names, "
            f"returned {meta!r:.200}"
        )
    names = tuple(rows.level_names())
    if frame.index.nlevels != len(names):
        raise SchemaError("map_partitions: the function must keep the index' levels: use reset_index() before it")
    schema: dict[str, DType] = {c: _nullable(_type(frame[c], plan.schema.get(c))) for c in frame.columns}
    bad = [c for c, d in schema.items() if d.kind in ("unsupported", "none")]
    if bad:
        what = schema[bad[0]].unit or "all missing"
        raise SchemaError(f"map_partitions: meta's column {bad[0]!r} is {what}: cast it to a plain dtype")
    schema |= {name: plan.schema[name] for name in names}
    code = hashlib.blake2b(content_hash(function), digest_size=16).digest()
    work = _OnSeries(function) if as_series else function
    node = relations.MapPartitions(plan, work, code, tuple(labels), levels, schema, names)
    columns = tuple((c, Col(c, schema[c])) for c in frame.columns)
    return FrameState(node, columns, rows.index).over(node)


def _type(values: Any, before: DType | None) -> DType:
    """Return the type of a column of the meta; an empty object column keeps the type that it had in the input."""
    found = of_pandas(values)
    return before if found.kind == "none" and before is not None and before.pandas == "object" else found


def _nullable(dtype: DType) -> DType:
    fixed = dtype.is_integer or dtype.kind == "bool"
    return dtype if fixed else dtype.as_nullable()


class _OnSeries:
    """A function of a Series, called with the only column of a frame."""

    def __init__(self, function: Callable[..., Any]):
        self.function = function
        self.__name__ = getattr(function, "__name__", "function")

    def __call__(self, frame: Any) -> Any:
        return self.function(frame.iloc[:, 0])
