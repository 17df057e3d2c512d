"""Pickling and unpickling: pickle 5 with buffers out of band, Arrow by IPC, cloudpickle where C pickle cannot.

Used by client and workers only; the scheduler never imports this module, because it must not be able to run user code.
An Arrow or Polars *slice* costs its own size: it travels as IPC, never as its parent's buffers. Objects of
``__main__`` and closures travel by value. What cannot be pickled raises `Unpicklable`, which names the part at fault.
"""

from __future__ import annotations

import contextlib
import copyreg
import io
import pickle
import sys
import types
import zlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import cloudpickle

from howdah.engine.protocol.frames import Buffer
from howdah.engine.protocol.text import describe_error
from howdah.engine.serialization.import_guard import import_named_packages
from howdah.errors import Unpicklable

PLAIN_TYPES: frozenset[type] = frozenset({int, float, str, bytes, bool, type(None), complex})
"""Types whose pickles hold neither buffers nor code."""

MIN_BUFFER_BYTES = 2048
"""Bytes from which a buffer gets a frame of its own."""

_PICKLE_ERRORS = (pickle.PicklingError, TypeError, AttributeError, ValueError, RecursionError, NotImplementedError)


def dumps(obj: Any) -> bytes:
    """Pickle `obj`, with its buffers inside.

    Raises
    ------
    Unpicklable : names the part of `obj` that cannot be pickled.

    >>> loads(dumps({"a": [1, 2]}))
    {'a': [1, 2]}
    """
    if type(obj) in PLAIN_TYPES:
        return pickle.dumps(obj, 5)
    return _dump(obj, out_of_band=False)[0]


def dumps_out_of_band(obj: Any) -> tuple[bytes, list[memoryview]]:
    """Pickle `obj`; return the pickle and the large buffers that it refers to, not copied."""
    if type(obj) in PLAIN_TYPES:
        return pickle.dumps(obj, 5), []
    return _dump(obj, out_of_band=True)


def loads(data: Buffer, buffers: Iterable[Buffer] = ()) -> Any:
    """Unpickle an object. Only for bytes of a peer whose role is verified."""
    import_named_packages(data)
    return pickle.loads(data, buffers=buffers)


def dumps_each(items: Sequence[tuple[Any, ...]]) -> tuple[bytes, list[int]]:
    """Pickle every item by itself; return the pickles joined, and the n + 1 offsets at which they begin and end.

    >>> blob, offsets = dumps_each([(1,), (2, "b")])
    >>> loads(blob[offsets[1]:offsets[2]])
    (2, 'b')
    """
    out = io.BytesIO()
    pickler = _Pickler(out, 5)
    offsets = [0]
    dump, clear, tell, mark = pickler.dump, pickler.clear_memo, out.tell, offsets.append
    try:
        for item in items:
            dump(item)
            clear()
            mark(tell())
    except _PICKLE_ERRORS:
        return _dumps_each_by_value(items)
    blob = out.getvalue()
    if b"__main__" in blob:
        return _dumps_each_by_value(items)
    return blob, offsets


def _dumps_each_by_value(items: Sequence[tuple[Any, ...]]) -> tuple[bytes, list[int]]:
    parts = [_dump(item, out_of_band=False)[0] for item in items]
    offsets, end = [0], 0
    for part in parts:
        end += len(part)
        offsets.append(end)
    return b"".join(parts), offsets


def _dump(obj: Any, out_of_band: bool) -> tuple[bytes, list[memoryview]]:
    # Plain C pickle first: ten times as fast. It refuses closures and lambdas, and writes what lives in __main__ by a
    # name that means nothing elsewhere; those are left to cloudpickle.
    with contextlib.suppress(*_PICKLE_ERRORS):
        data, buffers = _dump_by(_Pickler, obj, out_of_band)
        if b"__main__" not in data:
            return data, buffers
    try:
        return _dump_by(_ValuePickler, obj, out_of_band)
    except _PICKLE_ERRORS as error:
        part = unpicklable_part(obj)
        raise Unpicklable(
            f"{part or _describe(obj)} cannot be pickled ({describe_error(error)}); make it inside the "
            f"function that uses it, or give it a __reduce__"
        ) from error


def _dump_by(pickler: type[pickle.Pickler], obj: Any, out_of_band: bool) -> tuple[bytes, list[memoryview]]:
    out = io.BytesIO()
    buffers: list[memoryview] = []

    def in_band(buffer: pickle.PickleBuffer) -> bool:
        with contextlib.suppress(BufferError):  # not contiguous: it stays inside
            raw = buffer.raw()
            if raw.nbytes >= MIN_BUFFER_BYTES:
                buffers.append(raw)
                return False
        return True

    pickler(out, 5, buffer_callback=in_band if out_of_band else None).dump(obj)
    return out.getvalue(), buffers


def unpicklable_part(obj: Any, path: str = "", depth: int = 5) -> str:
    """Return the path, for users, to the object inside `obj` that cannot be pickled; '' when none is found.

    >>> import threading
    >>> unpicklable_part({"a": [1, threading.Lock()]})
    "['a'][1] (a lock)"
    """
    if depth == 0 or type(obj) in PLAIN_TYPES:
        return ""
    for name, part in _parts(obj):
        try:
            cloudpickle.dumps(part, 5)
        except Exception:  # noqa: BLE001  # the user's own __reduce__ may raise anything
            return unpicklable_part(part, path + name, depth - 1) or f"{path}{name} (a {type(part).__name__})"
    return ""


def _parts(obj: Any) -> Iterable[tuple[str, Any]]:
    if isinstance(obj, dict):
        yield from ((f"[{key!r}]", value) for key, value in list(obj.items())[:10_000])
    elif isinstance(obj, list | tuple | set | frozenset):
        yield from ((f"[{i}]", value) for i, value in enumerate(list(obj)[:10_000]))
    elif isinstance(obj, types.FunctionType):
        names = obj.__code__.co_freevars
        cells = obj.__closure__ or ()
        for name, cell in zip(names, cells):
            with contextlib.suppress(ValueError):  # a cell that is still empty
                yield f"{obj.__qualname__}: closure variable {name}", cell.cell_contents
        for name in obj.__code__.co_names:
            if name in obj.__globals__ and not isinstance(obj.__globals__[name], types.ModuleType):
                yield f"{obj.__qualname__}: global {name}", obj.__globals__[name]
    elif isinstance(obj, types.MethodType):
        yield f".{obj.__name__}.__self__", obj.__self__
    elif hasattr(obj, "__dict__"):
        yield from ((f".{key}", value) for key, value in vars(obj).items())


def _describe(obj: Any) -> str:
    return f"{getattr(obj, '__qualname__', '') or 'an object'} of type {type(obj).__name__}"


# -- Arrow and Polars by IPC ----------------------------------------------------------------------------------------


def _load_table(buffer: Buffer, schema: bytes = b"") -> Any:
    import pyarrow as pa

    if schema:
        known = pa.ipc.read_schema(pa.py_buffer(zlib.decompress(schema)))
        messages = pa.ipc.MessageReader.open_stream(pa.py_buffer(buffer))
        return pa.Table.from_batches([pa.ipc.read_record_batch(message, known) for message in messages], known)
    with pa.ipc.open_stream(pa.py_buffer(buffer)) as reader:
        return reader.read_all()


def _load_batch(buffer: Buffer, schema: bytes = b"") -> Any:
    import pyarrow as pa

    if schema:
        known = pa.ipc.read_schema(pa.py_buffer(zlib.decompress(schema)))
        return pa.ipc.read_record_batch(pa.py_buffer(buffer), known)
    with pa.ipc.open_stream(pa.py_buffer(buffer)) as reader:
        return reader.read_next_batch()


def _load_array(buffer: Buffer, schema: bytes = b"") -> Any:
    return _load_batch(buffer, schema).column(0)


def _load_chunked(buffer: Buffer, schema: bytes = b"") -> Any:
    return _load_table(buffer, schema).column(0)


def _load_polars(buffer: Buffer, schema: bytes = b"") -> Any:
    import polars as pl

    return pl.from_arrow(_load_table(buffer, schema), rechunk=False)


def _load_polars_by_polars(buffer: Buffer) -> Any:
    import polars as pl

    return pl.read_ipc_stream(io.BytesIO(buffer))


def _load_series(loaded: Any) -> Any:
    return loaded.to_series(0)


SMALL_TABLE = 1 << 20
"""Bytes of a table up to which its schema is compressed: names and types of many columns are a large part of a slice of
a thousand rows."""


def _is_flat(kind: Any) -> bool:
    return bool(kind.num_fields == 0 and kind.id != sys.modules["pyarrow"].lib.Type_DICTIONARY)


def _ipc(schema: Any, batches: Sequence[Any]) -> tuple[Any, ...]:
    """Return the arguments of a loader: the batches as IPC, and the compressed schema of a small table."""
    import pyarrow as pa

    def write(sink: Any) -> None:
        with pa.ipc.new_stream(sink, schema) as writer:
            for batch in batches:
                writer.write_batch(batch)

    # Write twice, the first time for the size only: growing a buffer costs four times as much as filling one.
    size = pa.MockOutputStream()
    write(size)
    buffer = pa.allocate_buffer(size.size())
    write(pa.FixedSizeBufferWriter(buffer))
    if buffer.size <= SMALL_TABLE and len(schema) and all(map(_is_flat, schema.types)):
        head = schema.serialize()
        if buffer.slice(0, head.size).equals(head):  # an end mark of eight bytes closes the stream
            return pickle.PickleBuffer(buffer.slice(head.size, buffer.size - head.size - 8)), zlib.compress(head, 1)
    return (pickle.PickleBuffer(buffer),)


def _reduce_table(table: Any) -> Any:
    return _load_table, _ipc(table.schema, table.to_batches())


def _reduce_batch(batch: Any) -> Any:
    return _load_batch, _ipc(batch.schema, [batch])


def _reduce_array(array: Any) -> Any:
    import pyarrow as pa

    batch = pa.record_batch([array], names=[""])
    return _load_array, _ipc(batch.schema, [batch])


def _reduce_chunked(array: Any) -> Any:
    import pyarrow as pa

    table = pa.table([array], names=[""])
    return _load_chunked, _ipc(table.schema, table.to_batches())


def _reduce_frame(frame: Any) -> Any:
    import polars as pl

    if any(dtype == pl.Object for dtype in frame.dtypes):
        return NotImplemented
    if all(_same_in_arrow(dtype) for dtype in frame.dtypes):
        # The oldest level writes strings without views, so that a slice does not carry its parent's string buffers;
        # and pyarrow writes it ten times as fast as Polars does.
        table = frame.to_arrow(compat_level=pl.CompatLevel.oldest())
        return _load_polars, _ipc(table.schema, table.to_batches())
    return _load_polars_by_polars, (pickle.PickleBuffer(frame.write_ipc_stream(None).getbuffer()),)


def _same_in_arrow(dtype: Any) -> bool:
    import polars as pl

    if dtype in (pl.Int128, pl.Null):
        return False
    return bool(dtype.is_numeric() or dtype.is_temporal() or dtype in (pl.String, pl.Binary, pl.Boolean))


def _reduce_series(series: Any) -> Any:
    if series.dtype.base_type().__name__ == "Object":
        return NotImplemented
    return _load_series, (series.to_frame(),)


_REDUCERS: dict[type, Callable[[Any], Any]] = {}
"""Arrow or Polars type -> its reducer; filled when a type is first pickled."""


_IMPORTABLE: dict[str, bool] = {"builtins": True, "__main__": True}
"""Top-level module -> whether a process with our import path finds it. (`__main__` is handled apart.)"""


def _importable(module: str) -> bool:
    """Return whether a worker can import this module.

    A module that was loaded by its file's path (a test, a plugin) has a name here that no other process can import; its
    objects must travel by value.
    """
    root = module.partition(".")[0]
    known = _IMPORTABLE.get(root)
    if known is None:
        known = _IMPORTABLE[root] = any(
            finder.find_spec(root, None) is not None for finder in sys.meta_path if hasattr(finder, "find_spec")
        )
    if not known and module in sys.modules:
        cloudpickle.register_pickle_by_value(sys.modules[module])
    return known


def _reduce(obj: Any) -> Any:
    kind = type(obj)
    reduce = _REDUCERS.get(kind)
    if reduce is not None:
        return reduce(obj)
    module = str(kind.__module__)
    if module.startswith("pyarrow"):
        pa = sys.modules["pyarrow"]
        for base, reduce in (
            (pa.Table, _reduce_table),
            (pa.RecordBatch, _reduce_batch),
            (pa.ChunkedArray, _reduce_chunked),
            (pa.Array, _reduce_array),
        ):
            if issubclass(kind, base):
                _REDUCERS[kind] = reduce
                return reduce(obj)
    elif isinstance(obj, BaseException):
        return _reduce_exception(obj)
    elif module.startswith("polars") and kind.__name__ in ("DataFrame", "Series"):
        reduce = _REDUCERS[kind] = _reduce_frame if kind.__name__ == "DataFrame" else _reduce_series
        return reduce(obj)
    return NotImplemented


def new_exception(
    kind: type[BaseException], args: tuple[Any, ...], made_of: tuple[Any, ...] | None = None
) -> BaseException:
    """Return an exception with these `args`, without a call of its class's own `__new__` and `__init__`.

    `made_of`: what its built-in base is made of, where that is not `args`.
    """
    base: Any = next(one for one in kind.__mro__ if one.__module__ == "builtins")
    given = args if made_of is None else made_of
    made: BaseException = base.__new__(kind, *given)
    with contextlib.suppress(TypeError):  # not what the base takes: its own fields stay empty
        base.__init__(made, *given)
    made.args = args
    return made


def _slots_of(error: BaseException) -> dict[str, Any]:
    names = [name for one in type(error).__mro__ for name in _names(one.__dict__.get("__slots__", ()))]
    return {name: getattr(error, name) for name in names if hasattr(error, name)}


def _names(slots: Any) -> list[str]:
    found = [slots] if isinstance(slots, str) else list(slots)
    return [name for name in found if name not in ("__dict__", "__weakref__")]


def _reduce_exception(error: BaseException) -> Any:
    """Reduce an exception whose class has an `__init__` of its own: pickle would call it with `args`, which need not be
    what it takes."""
    kind = type(error)
    own = isinstance(kind.__init__, types.FunctionType) or isinstance(kind.__new__, types.FunctionType)
    if not own or isinstance(kind.__reduce__, types.FunctionType) or kind.__reduce_ex__ is not object.__reduce_ex__:
        if _leaves_fields_out(copyreg.dispatch_table.get(kind)):
            return error.__reduce_ex__(pickle.DEFAULT_PROTOCOL)
        return NotImplemented  # pickle's way is right, or the class has its own
    parts: Any = error.__reduce__()
    state = parts[2] if len(parts) > 2 and isinstance(parts[2], dict) else {}
    made_of = (error.message, error.exceptions) if isinstance(error, BaseExceptionGroup) else parts[1]
    return new_exception, (kind, error.args, made_of), {**state, **vars(error), **_slots_of(error)} or None


def _leaves_fields_out(reducer: Any) -> bool:
    """Return whether this is tblib's reducer, which libraries register for all exceptions: it calls no `__init__`, and
    so leaves out the fields of built-in ones, such as `StopIteration.value`. Tracebacks travel beside the exception."""
    return str(getattr(reducer, "__module__", "")).startswith("tblib")


class _Pickler(pickle.Pickler):
    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, types.FunctionType | type) and not _importable(obj.__module__ or ""):
            raise pickle.PicklingError(f"{obj.__module__} cannot be imported elsewhere")
        return _reduce(obj)


class _ValuePickler(cloudpickle.Pickler):  # type: ignore[misc]  # cloudpickle has no types
    def reducer_override(self, obj: Any) -> Any:
        made = _reduce(obj)
        return super().reducer_override(obj) if made is NotImplemented else made
