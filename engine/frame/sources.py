"""The sources of frames: tables in files, through their readers, and pandas."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
import polars as pl

from howdah.engine.frame.dataframe import DataFrame
from howdah.engine.frame.state import DEFAULT, FrameState, Level
from howdah.engine.relational import relations
from howdah.engine.relational.casts import widen_if_na
from howdah.engine.relational.columns import Col, Column, binary
from howdah.engine.relational.compiler.compile import in_memory
from howdah.engine.relational.convert import from_pandas as to_polars_series
from howdah.engine.relational.dtypes import DType, is_numpy_or_text, of_arrow, of_pandas
from howdah.engine.relational.relations import INDEX, Relation
from howdah.errors import NotSupported, SchemaError, UnknownColumn, near
from howdah.io import TableSource, open_table, plan_parquet

_REMEDY = {
    "category": '.astype("str")',
    "object": '.astype("str"), or a numpy dtype',
}


def read_parquet(url: Any, columns: Sequence[str] | None = None) -> DataFrame:
    """Return a frame over a Parquet file or a folder of them; only footers are read now.

    The rows are those of `pandas.read_parquet` of all files in the order of their names, put end to end with a fresh
    index, with the same dtypes (dates and decimals are Python objects in pandas: `.astype` them where it matters).

    Parameters
    ----------
    url : str or path
        ``hdfs:///tpch/lineitem``, ``file:///data/x.parquet``, or a plain path. Names that begin with "_" or "." are
        skipped.
    columns : sequence of str, optional
        Only these, in this order. (Columns that are not used are not read in any case.)

    Returns
    -------
    DataFrame

    Raises
    ------
    PathMissing, CorruptFile
        There is no such file, or it is damaged; the message names it.
    UnknownColumn
        A column is not there; the message names near ones.

    Examples
    --------
    >>> import pandas as pd
    >>> pd.DataFrame({"a": [1, 2, 3], "b": ["x", "y", "z"]}).to_parquet("t.parquet")
    >>> read_parquet("t.parquet").a.sum().compute()
    np.int64(6)
    """
    return _frame_of(plan_parquet(str(url)), columns, f"read_parquet({str(url)!r})")


def read_table(url: Any, format: str, columns: Sequence[str] | None = None, **options: Any) -> DataFrame:
    """Return a frame over a table in any format for which a reader is installed; no rows are read now.

    Parameters
    ----------
    url : str or path
        Where the table is.
    format : str
        The name of the reader: "parquet", or one that another package declares as an entry point in the group
        `howdah.readers`.
    columns : sequence of str, optional
        Only these, in this order.
    **options
        Options of the reader.

    Returns
    -------
    DataFrame
        Its index is 0, 1, 2, ... unless the reader gives another.

    Raises
    ------
    InputError
        There is no reader of this name.
    UnknownColumn
        A column is not there; the message names near ones.

    Examples
    --------
    >>> import pandas as pd
    >>> pd.DataFrame({"a": [1, 2, 3]}).to_parquet("t.parquet")
    >>> read_table("t.parquet", format="parquet").a.sum().compute()
    np.int64(6)
    """
    return _frame_of(open_table(str(url), format, **options), columns, f"read_table({str(url)!r})")


def _frame_of(table: TableSource, columns: Sequence[str] | None, what: str) -> DataFrame:
    """Return the frame of a table's rows."""
    schema, levels = table.schema, dict(table.index_levels)
    names = list(schema.names)
    shown = [c for c in names if c not in levels] if columns is None else list(columns)
    for name in shown:
        if name not in names:
            raise UnknownColumn(f"{what}: no column {name!r}: {near(str(name), names)}")
        if name.startswith(INDEX) and not name.startswith("__index_level_"):
            raise SchemaError(f"{what}: the name {name!r} is reserved by howdah: rename the column")
    used = list(dict.fromkeys([*shown, *levels]))
    types: dict[str, DType] = {}
    values: dict[str, Column] = {}
    for name in used:
        nulls = table.null_counts.get(name) if schema.field(name).nullable and table.rows != 0 else 0
        types[name] = _dtype_of(name, table, nulls != 0)
        values[name] = widen_if_na(Col(name, types[name]), None if nulls is None else nulls > 0)
    base: Relation
    if levels:
        base = relations.Scan(table, tuple(used), types)
    elif table.rows is None:
        base = relations.Number(relations.Scan(table, tuple(used), types))
    else:
        base = relations.Scan(table, (*used, INDEX), types)
    index = tuple(Level(label, values[name]) for name, label in levels.items()) or _range(table)
    return DataFrame(FrameState(base, tuple((name, values[name]) for name in shown), index))


def _range(table: TableSource) -> tuple[Level, ...]:
    """Return the index of a table that stores none: 0, 1, 2, ..., or the range that pandas had."""
    if table.range_index is None:
        return DEFAULT
    label, start, step = table.range_index
    numbers: Column = DEFAULT[0].values
    numbers = numbers if step == 1 else binary("*", numbers, step)
    return (Level(label, numbers if start == 0 else binary("+", numbers, start)),)


def _dtype_of(name: str, table: TableSource, nulls: bool) -> DType:
    """Return the dtype of a stored column; unsupported where pandas reads it as one that howdah lacks."""
    found, written = of_arrow(table.schema.field(name).type, nulls), table.pandas_dtypes.get(name)
    if found.kind == "unsupported":
        return DType("unsupported", unit=f"{found.unit} (the column {name!r})")
    if written is None or is_numpy_or_text(written):
        return found
    return DType("unsupported", unit=f"{written} (the column {name!r})")


def from_pandas(frame: Any, npartitions: int = 1) -> DataFrame:
    """Return a frame over rows that this process has; they travel with the plan, so keep them small.

    Parameters
    ----------
    frame : pandas.DataFrame or pandas.Series
        Its column names are text, its columns of numpy dtypes, str, or objects that are dates, Decimals or bools. The
        index is kept.
    npartitions : int, default 1
        How many tasks share the rows.

    Returns
    -------
    DataFrame

    Raises
    ------
    SchemaError
        It is not a frame, column names are not distinct text, or `npartitions` is below 1.
    NotSupported
        A column has another dtype; the message says what to convert it to.

    Examples
    --------
    >>> import pandas as pd
    >>> from_pandas(pd.DataFrame({"a": [1, 2]})).a.mean().compute()
    np.float64(1.5)
    """
    if isinstance(frame, pd.Series):
        frame = frame.to_frame()
    if not isinstance(frame, pd.DataFrame):
        raise SchemaError(f"from_pandas: needs a pandas DataFrame, got {type(frame).__name__}")
    if npartitions < 1:
        raise SchemaError(f"from_pandas(npartitions={npartitions}): give 1 or more")
    if frame.columns.has_duplicates or not all(isinstance(c, str) for c in frame.columns):
        raise SchemaError("from_pandas: column names must be distinct text: rename them first")
    labels = list(frame.columns)
    positional = frame.index.name is None and frame.index.equals(pd.RangeIndex(len(frame)))
    plain = frame.index.nlevels == 1 and frame.index.name is None and frame.index.dtype == "int64"
    levels = [INDEX] if plain else [f"{INDEX}{i}" for i in range(frame.index.nlevels)]
    series = {c: frame[c].reset_index(drop=True) for c in labels}
    series |= {n: pd.Series(frame.index.get_level_values(i)).reset_index(drop=True) for i, n in enumerate(levels)}
    schema: dict[str, DType] = {}
    data: dict[str, Any] = {}
    for name, values in series.items():
        if name in labels and name.startswith(INDEX):
            raise SchemaError(f"from_pandas: the name {name!r} is reserved by howdah: rename the column")
        dtype = of_pandas(values)
        if dtype.kind == "unsupported":
            remedy = _REMEDY.get(str(values.dtype), "a numpy dtype or str")
            raise NotSupported(f"from_pandas: column {name!r} is {values.dtype} ({dtype.unit}): use {remedy} first")
        schema[name], data[name] = dtype, to_polars_series(values, dtype)
    node = in_memory(pl.DataFrame(data), schema, npartitions, positional)
    columns = tuple((c, Col(c, schema[c])) for c in labels)
    names = list(frame.index.names)
    index = DEFAULT if plain else tuple(Level(a, Col(n, schema[n])) for a, n in zip(names, levels))
    return DataFrame(FrameState(node, columns, index))
