"""Frames to Parquet: one part per partition, written where it is computed, then one commit. Internal to `frame`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import polars as pl
import pyarrow as pa

from howdah.engine.execution.dispatch import client_for
from howdah.engine.frame.state import FrameState, internal_name
from howdah.engine.relational.compiler.compile import COMPILER
from howdah.engine.relational.compiler.evaluate import as_polars
from howdah.engine.relational.convert import frame_to_pandas
from howdah.engine.relational.dtypes import DType
from howdah.errors import SchemaError
from howdah.io import begin_write


@dataclass(frozen=True, slots=True)
class PartitionWriter:
    """Write one partition. A module-level class, so that it pickles by name.

    Partitions without rows write nothing, except the first, which keeps the schema.

    Attributes
    ----------
    job : a `howdah.io.WriteJob`.
    schema : (stored name, column of the partition, dtype) of each stored column.
    metadata : pandas' metadata about index and columns.
    """

    job: Any
    schema: tuple[tuple[str, str, DType], ...]
    metadata: bytes

    def __call__(self, table: Any, number: int) -> Any:
        """Write partition `number`; an empty one is written only where it is the first."""
        if table.num_rows == 0 and number > 0:
            return None
        return self.job.write_part(number, self.arrow(table))

    def arrow(self, table: Any) -> pa.Table:
        """Return the partition with the names and types that pandas would store."""
        frame = as_polars(table)
        arrays = [_stored(frame[source], dtype) for _, source, dtype in self.schema]
        out = pa.table(arrays, names=[name for name, _, _ in self.schema])
        return out.replace_schema_metadata({b"pandas": self.metadata})


def _stored(values: Any, dtype: DType) -> Any:
    if dtype.is_float:
        values = values.fill_nan(None)
    array = values.to_arrow()
    if pa.types.is_large_string(array.type) or pa.types.is_string_view(array.type):
        return array.cast(pa.string())
    if dtype.kind in ("datetime", "timedelta") and dtype.unit == "s":
        array = array.cast(pa.timestamp("s", array.type.tz) if dtype.kind == "datetime" else pa.duration("s"))
    if dtype.fixed_offset:
        return array.cast(pa.timestamp(array.type.unit, dtype.tz.removeprefix("UTC")))
    return array


def write(rows: FrameState, url: str, *, overwrite: bool, index: bool | None, scheduler: Any) -> Any:
    """See `Collection.to_parquet`."""
    client = client_for(scheduler)
    job = begin_write(str(url), overwrite=overwrite, scratch=getattr(client, "scratch_root", None))
    try:
        if client is not None and hasattr(client, "add_cleanup"):
            client.add_cleanup(job.scratch_path)
        levels = index is True or (index is None and not rows.is_range)
        plan = COMPILER.optimise_and_resolve(rows.plan(index=levels), scheduler)
        part = PartitionWriter(job, *_layout(rows, plan.schema, levels))
        parts = COMPILER.write(plan, part, scheduler)
        return job.commit([p for p in parts if p is not None])
    except BaseException:  # after a KeyboardInterrupt too nothing may stay
        job.abort()
        raise


def _layout(
    rows: FrameState, schema: dict[str, DType], levels: bool
) -> tuple[tuple[tuple[str, str, DType], ...], bytes]:
    """Return (stored name, column of the plan, type) of every stored column, and pandas' metadata about them."""
    stored = []
    for label, _ in rows.columns:
        if not isinstance(label, str):
            raise SchemaError(f"to_parquet: the column label {label!r} is not text: use rename or to_frame(name)")
        stored.append((label, internal_name(label), schema[internal_name(label)]))
    index = list(zip(rows.index, rows.level_names())) if levels else []
    empty = pl.DataFrame(schema={n: d.polars for n, d in schema.items()})
    pairs = [(level.label, name) for level, name in index]
    frame = frame_to_pandas(empty, schema, [(label, source) for label, source, _ in stored], pairs)
    for i, (level, name) in enumerate(index):
        title = (
            level.label if isinstance(level.label, str) and level.label not in rows.labels() else f"__index_level_{i}__"
        )
        stored.append((title, name, schema[name]))
    arrow = pa.Schema.from_pandas(frame, preserve_index=bool(index) or None)
    return tuple(stored), arrow.metadata[b"pandas"]
