"""What pandas wrote into the metadata of a Parquet file: the dtypes of columns, and an index that is a range.

Called by `table`. The metadata may be missing, or of another program that imitates pandas'; what is not understood is
left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pyarrow as pa


def pandas_metadata(schema: pa.Schema) -> dict[str, Any]:
    """Return pandas' metadata of a schema; {} if another program wrote it."""
    raw = (schema.metadata or {}).get(b"pandas")
    found = json.loads(raw) if raw else {}
    return found if isinstance(found, dict) else {}


def written_dtypes(schemas: Iterable[pa.Schema]) -> dict[str, str]:
    """Return the dtype of each column as pandas named it; of several files, the one that numpy does not have.

    >>> import pandas as pd
    >>> frame = pd.DataFrame({"a": pd.array([1], "Int64"), "b": [1.5]})
    >>> written_dtypes([pa.Schema.from_pandas(frame)])
    {'a': 'Int64', 'b': 'float64'}
    """
    found: dict[str, str] = {}
    seen: set[bytes] = set()
    for schema in schemas:
        raw = (schema.metadata or {}).get(b"pandas", b"")
        if raw in seen:
            continue
        seen.add(raw)
        for entry in pandas_metadata(schema).get("columns", []):
            name, dtype = entry.get("field_name") or entry.get("name"), entry.get("numpy_type")
            if isinstance(name, str) and isinstance(dtype, str) and not (name in found and dtype in _NUMPY):
                found[name] = dtype
    return found


_NUMPY = frozenset(
    [f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)] + ["float32", "float64", "bool", "object"]
)


def written_range(schema: pa.Schema, rows: int) -> tuple[str | None, int, int] | None:
    """Return (label, start, step) of an index that is a range of `rows` values; None for 0, 1, 2, ... or another index.

    pandas ignores a range of another length, as of a table of several files.

    >>> import pandas as pd
    >>> frame = pd.DataFrame({"a": [1, 2]}, index=pd.RangeIndex(5, 1, -2, name="id"))
    >>> written_range(pa.Schema.from_pandas(frame), 2), written_range(pa.Schema.from_pandas(frame), 3)
    (('id', 5, -2), None)
    """
    levels = pandas_metadata(schema).get("index_columns", [])
    if len(levels) != 1 or not isinstance(levels[0], dict) or levels[0].get("kind") != "range":
        return None
    label, start, stop, step = (levels[0].get(field) for field in ("name", "start", "stop", "step"))
    if not (isinstance(start, int) and isinstance(stop, int) and isinstance(step, int) and step != 0):
        return None
    if not (label is None or isinstance(label, str)):
        return None
    if len(range(start, stop, step)) != rows or (label, start, step) == (None, 0, 1):
        return None
    return label, start, step
