"""Descriptions of data for a content hash: arrays and tables by content, other objects as they would be pickled.

Used by `keys`.
"""

from __future__ import annotations

import dataclasses
import functools
import io
from collections.abc import Callable
from typing import Any

from howdah.engine.graph.describe_code import describe_class
from howdah.engine.graph.walk import Describe, Indescribable, Walk


def _numpy(walk: Walk, obj: Any) -> None:
    import numpy as np

    if isinstance(obj, np.ufunc):
        walk.text(b"Uf", obj.__name__)
    elif isinstance(obj, np.generic) and not obj.dtype.hasobject:
        walk.text(b"Ns", str(obj.dtype))
        walk.raw(b"b", obj.tobytes())
    elif type(obj) is np.ndarray:
        walk.text(b"Na", f"{obj.dtype.descr if obj.dtype.names else obj.dtype.str}{obj.shape}")
        if obj.dtype.hasobject:
            walk.feed(obj.ravel().tolist())
        else:
            walk.raw(b"b", np.ascontiguousarray(obj).reshape(-1).view("u1"))
    else:
        anything(walk, obj)


def _pandas(walk: Walk, obj: Any) -> None:
    import pandas as pd

    if isinstance(obj, pd.DataFrame):
        describe_class(walk, type(obj))
        walk.feed(obj.columns)
        walk.feed(obj.index)
        for i in range(obj.shape[1]):
            walk.feed(obj.iloc[:, i].array)
        walk.feed(obj.attrs)
    elif isinstance(obj, pd.Series):
        describe_class(walk, type(obj))
        walk.feed(obj.name)
        walk.feed(obj.index)
        walk.feed(obj.array)
        walk.feed(obj.attrs)
    elif isinstance(obj, pd.api.extensions.ExtensionArray) and type(obj).__name__ in _PANDAS_ARRAYS:
        walk.text(b"Pd", f"{type(obj).__name__}:{obj.dtype}")
        if type(obj).__name__ == "NumpyExtensionArray":
            walk.feed(obj.to_numpy())
        else:
            import pyarrow as pa

            walk.feed(pa.array(obj))
    else:
        anything(walk, obj)


_PANDAS_ARRAYS = frozenset({"ArrowStringArray", "StringArray", "ArrowExtensionArray", "NumpyExtensionArray"})


def _arrow(walk: Walk, obj: Any) -> None:
    import pyarrow as pa

    if isinstance(obj, pa.ChunkedArray):
        obj = pa.table([obj], names=[""])
    elif isinstance(obj, pa.Array):
        obj = pa.record_batch([obj], names=[""])
    if isinstance(obj, pa.Table | pa.RecordBatch):
        walk.text(b"Ar", type(obj).__name__)
        with pa.ipc.new_stream(pa.PythonFile(_Sink(walk), "w"), obj.schema) as stream:
            stream.write(obj)
    else:
        anything(walk, obj)


class _Sink(io.RawIOBase):
    """A file that feeds a hash."""

    def __init__(self, walk: Walk):
        self._write = walk.write

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        self._write(data)
        return memoryview(data).nbytes


def _polars(walk: Walk, obj: Any) -> None:
    import polars as pl

    if isinstance(obj, pl.DataFrame | pl.Series):
        walk.text(b"Pl", type(obj).__name__)
        frame = obj if isinstance(obj, pl.DataFrame) else obj.to_frame()
        _arrow(walk, frame.rechunk().to_arrow(compat_level=pl.CompatLevel.newest()))
    else:
        anything(walk, obj)


def anything(walk: Walk, obj: Any) -> None:
    """Describe any other object: by `__howdah_content__`, its dataclass fields, or how it would be pickled."""
    kind = type(obj)
    content = getattr(kind, "__howdah_content__", None)
    if content is not None:
        walk.write(b"Oc")
        describe_class(walk, kind)
        walk.feed(content(obj))
        return
    if dataclasses.is_dataclass(obj) and not _has_own_reduce(kind):
        walk.write(b"Od")
        describe_class(walk, kind)
        values = {field.name: getattr(obj, field.name, None) for field in dataclasses.fields(obj)}
        for name, value in getattr(obj, "__dict__", {}).items():  # what is no field may matter, unless it is a cache
            if name not in values and not isinstance(getattr(kind, name, None), functools.cached_property):
                values[name] = value
        for name, value in values.items():
            walk.text(b"s", name)
            walk.feed(value)
        return
    walk.write(b"Or")
    reducer = _copyreg_reducer(kind)
    try:
        parts = reducer(obj) if reducer is not None else obj.__reduce_ex__(4)
    except Exception as error:  # noqa: BLE001  # user classes may raise anything; such an object cannot travel either
        parts = _by_cloudpickle(obj, error)
    if isinstance(parts, str):
        walk.text(b"s", f"{getattr(obj, '__module__', None) or kind.__module__}:{parts}")
        walk.feed(getattr(obj, "__wrapped__", None))
    elif isinstance(parts, bytes):
        walk.raw(b"b", parts)
    else:
        for part in parts:
            # the fourth and fifth are iterators of list items and dict items
            walk.feed(list(part) if type(part).__name__.endswith("iterator") else part)
    walk.write(b".")


def _has_own_reduce(kind: type) -> bool:
    own: dict[str, Any] = {name: getattr(kind, name) for name in ("__reduce__", "__reduce_ex__")}
    return own != {"__reduce__": object.__reduce__, "__reduce_ex__": object.__reduce_ex__}


def _copyreg_reducer(kind: type) -> Callable[[Any], Any] | None:
    import copyreg

    return copyreg.dispatch_table.get(kind)


def _by_cloudpickle(obj: Any, cause: Exception) -> bytes:
    import cloudpickle

    try:
        return bytes(cloudpickle.dumps(obj, 5))
    except Exception as error:  # noqa: BLE001  # the same: it gets a key of its own
        raise Indescribable from (error or cause)


ROOTS: dict[str, Describe] = {"numpy": _numpy, "pandas": _pandas, "pyarrow": _arrow, "polars": _polars}
