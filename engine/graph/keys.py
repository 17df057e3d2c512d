"""Keys: the content hash of a function and its inputs, the same in every process and interpreter of one Python version.

Equal content gives equal keys, so equal work of two users is done once. The other way round is what must never
happen: two contents under one key would be a silent wrong answer. So where it is unclear whether a difference matters
(the order of a dict, the chunks of an Arrow column, the class of a number) it does matter. What cannot be described
at all gets a key of its own, never shared.

Functions count by name *and* code (constants, defaults, closure values included), so an edited function is another;
functions of ``__main__`` and of notebooks also by the globals that they use, as those travel with them.

A class may define ``__howdah_content__(self) -> Any``: what to hash in place of the object's attributes. Anybody may
call this module; it never raises for an odd object.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import io
import marshal
import os
import struct
import sys
import types
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from typing import Any, TypeAlias

from howdah.engine.graph.layer import Dependency, Key, Layer

PLAIN: frozenset[type] = frozenset({int, float, str, bytes, bool, type(None), complex})

_GENERATION = b"howdah-key-1" + bytes(sys.version_info[:2])
"""Part of every key: another Python's bytecode, and later versions of this module, give other keys."""


class _Nameless(Exception):
    """The object's content cannot be described."""


def content_hash(obj: Any) -> Key:
    """16 bytes that stand for the content of `obj`.

    >>> content_hash({"a": 1}) == content_hash({"a": 1})
    True
    >>> content_hash({1, 2}) == content_hash({2, 1}), content_hash(1) == content_hash(1.0)
    (True, False)
    >>> content_hash(lambda x: x + 1) == content_hash(lambda x: x + 2)
    False
    """
    walk = _Walk()
    try:
        walk.feed(obj)
    except (_Nameless, RecursionError):
        return os.urandom(16)
    return walk.digest()


def layer_key(layer: Layer) -> Key:
    """The key that `Graph.add` gives to a layer: its function, length, dependencies and arguments.

    Its name, preferred hosts, sizes and retries are not part of it. Impure layers get a random key.
    """
    if not layer.pure:
        return os.urandom(16)
    walk = _Walk()
    try:
        walk.write(b"L%d,%d," % (layer.n, layer.pass_inputs))
        walk.feed(layer.fn)
        for dep in layer.deps:
            walk.write(b"D" + dep.layer)
            _feed_pattern(walk, dep)
        if layer.args is not None:
            _feed_args(walk, layer.args)
        if layer.kwargs:
            for name in sorted(layer.kwargs):
                walk.write(b"K" + name.encode())
                walk.feed(layer.kwargs[name])
    except (_Nameless, RecursionError):
        return os.urandom(16)
    return walk.digest()


def _feed_pattern(walk: _Walk, dep: Dependency) -> None:
    pattern = dep.pattern
    walk.write(type(pattern).__name__.encode())
    for name in pattern.__struct_fields__:
        walk.feed(getattr(pattern, name))


def _feed_args(walk: _Walk, args: Sequence[tuple[Any, ...]]) -> None:
    walk.write(b"A%d," % len(args))
    kinds = set(map(type, chain.from_iterable(args)))
    if kinds <= PLAIN and set(map(type, args)) <= {tuple}:
        # Version 2 of marshal writes values alone: no references, no interning. 0.1 us an item.
        walk.write(b"M")
        walk.write(marshal.dumps(list(args), 2))
    else:
        for item in args:
            walk.feed(item)


class _Walk:
    """Feeds a hash with tagged, self-delimiting descriptions of objects."""

    def __init__(self) -> None:
        self._hash = hashlib.blake2b(_GENERATION, digest_size=16)
        self.write = self._hash.update
        self._path: dict[int, int] = {}  # objects that are being described, by how deep they are: cycles end there

    def digest(self) -> Key:
        return self._hash.digest()

    def feed(self, obj: Any) -> None:
        kind = type(obj)
        simple = _SIMPLE.get(kind)
        if simple is not None:
            simple(self, obj)
            return
        ident = id(obj)
        depth = self._path.get(ident)
        if depth is not None:
            self.write(b"^%d," % depth)
            return
        self._path[ident] = len(self._path)
        try:
            describe = _KINDS.get(kind)
            if describe is None:
                describe = _by_module(kind)
            describe(self, obj)
        finally:
            del self._path[ident]

    def text(self, tag: bytes, text: str) -> None:
        data = text.encode("utf-8", "surrogatepass")
        self.write(tag + b"%d:" % len(data))
        self.write(data)

    def raw(self, tag: bytes, data: Any) -> None:
        self.write(tag + b"%d:" % memoryview(data).nbytes)
        self.write(data)

    def each(self, tag: bytes, items: Iterable[Any], count: int) -> None:
        self.write(tag + b"%d," % count)
        for item in items:
            self.feed(item)

    def apart(self, obj: Any) -> bytes:
        """The digest of `obj` alone, for what has no order."""
        walk = _Walk()
        walk._path = self._path
        walk.feed(obj)
        return walk.digest()


Describe: TypeAlias = Callable[[_Walk, Any], None]


def _int(walk: _Walk, obj: int) -> None:
    walk.write(b"i%d," % obj if -(1 << 62) < obj < 1 << 62 else b"I" + hex(obj).encode() + b",")


_SIMPLE: dict[type, Describe] = {
    type(None): lambda walk, _: walk.write(b"N"),
    bool: lambda walk, obj: walk.write(b"T" if obj else b"F"),
    int: _int,
    float: lambda walk, obj: walk.write(b"f" + struct.pack("<d", obj)),
    complex: lambda walk, obj: walk.write(b"c" + struct.pack("<dd", obj.real, obj.imag)),
    str: lambda walk, obj: walk.text(b"s", obj),
    bytes: lambda walk, obj: walk.raw(b"b", obj),
    type(Ellipsis): lambda walk, _: walk.write(b"E"),
    type(NotImplemented): lambda walk, _: walk.write(b"n"),
}


# -- containers -----------------------------------------------------------------------------------------------------


def _set(walk: _Walk, obj: Any) -> None:
    walk.write(b"{%d," % len(obj))
    for digest in sorted([walk.apart(item) for item in obj]):
        walk.write(digest)


def _dict(walk: _Walk, obj: Mapping[Any, Any]) -> None:
    walk.write(b"d%d," % len(obj))
    for key, value in obj.items():
        walk.feed(key)
        walk.feed(value)


# -- code -----------------------------------------------------------------------------------------------------------


def _function(walk: _Walk, fn: types.FunctionType) -> None:
    walk.text(b"Fn", f"{fn.__module__}:{fn.__qualname__}" if "<lambda>" not in fn.__qualname__ else "<lambda>")
    _code(walk, fn.__code__)
    walk.feed(fn.__defaults__)
    walk.feed(fn.__kwdefaults__)
    for cell in fn.__closure__ or ():
        try:
            walk.feed(cell.cell_contents)
        except ValueError:  # an empty cell: the name is not assigned yet
            walk.write(b"_")
    if _travels_by_value(fn):
        for name in sorted(_global_names(fn.__code__)):
            if name in fn.__globals__:
                walk.text(b"g", name)
                walk.feed(fn.__globals__[name])


def _travels_by_value(obj: Any) -> bool:
    """Whether cloudpickle sends the code itself, as a worker cannot import it."""
    module = getattr(obj, "__module__", None)
    if module is None or module == "__main__" or module not in sys.modules:
        return True
    found: Any = sys.modules[module]
    for part in obj.__qualname__.split("."):
        found = getattr(found, part, None)
    return found is not obj


def _global_names(code: types.CodeType) -> set[str]:
    names = set(code.co_names)
    for const in code.co_consts:
        if isinstance(const, types.CodeType):
            names |= _global_names(const)
    return names


_CODE_DIGESTS: dict[int, tuple[weakref.ref[types.CodeType], bytes]] = {}
"""By id, of code objects that live: they cannot change, and each costs some 20 us to describe."""


def _code(walk: _Walk, code: types.CodeType) -> None:
    known = _CODE_DIGESTS.get(id(code))
    if known is None or known[0]() is not code:
        ident = id(code)
        inner = _Walk()
        counts = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags)
        for part in (counts, code.co_code, code.co_exceptiontable, code.co_names, code.co_varnames):
            inner.feed(part)
        for part in (code.co_freevars, code.co_cellvars, code.co_consts):
            inner.feed(part)
        gone = lambda _, ident=ident: _CODE_DIGESTS.pop(ident, None)  # noqa: E731
        known = _CODE_DIGESTS[ident] = (weakref.ref(code, gone), inner.digest())
    walk.raw(b"C", known[1])


def _method(walk: _Walk, obj: types.MethodType) -> None:
    walk.write(b"Me")
    walk.feed(obj.__func__)
    walk.feed(obj.__self__)


def _builtin(walk: _Walk, obj: Any) -> None:
    owner = getattr(obj, "__self__", None)
    walk.text(b"Bu", f"{getattr(obj, '__module__', None)}:{obj.__qualname__}")
    if owner is not None and not isinstance(owner, types.ModuleType):
        walk.feed(owner)


def _partial(walk: _Walk, obj: functools.partial[Any]) -> None:
    walk.write(b"Pa")
    walk.feed(obj.func)
    walk.feed(obj.args)
    walk.write(b"%d," % len(obj.keywords))
    for name in sorted(obj.keywords):
        walk.text(b"s", name)
        walk.feed(obj.keywords[name])


def _module(walk: _Walk, obj: types.ModuleType) -> None:
    walk.text(b"Mo", obj.__name__)


def _class(walk: _Walk, obj: type) -> None:
    walk.text(b"Ty", f"{obj.__module__}:{obj.__qualname__}")
    if _travels_by_value(obj) and obj.__module__ != "builtins":
        walk.each(b"o", obj.__mro__[1:], len(obj.__mro__) - 1)
        for name, value in obj.__dict__.items():
            if name not in _OF_CLASSES:
                walk.text(b"s", name)
                walk.feed(value)


_OF_CLASSES = frozenset(
    {"__dict__", "__weakref__", "__doc__", "__module__", "__qualname__", "__firstlineno__", "__static_attributes__",
     "__annotations__", "__annotate__", "__abstractmethods__", "_abc_impl", "__slotnames__"}
)  # fmt: skip


def _descriptor(walk: _Walk, obj: Any) -> None:
    walk.text(b"De", type(obj).__name__)
    if isinstance(obj, property):
        for part in (obj.fget, obj.fset, obj.fdel):
            walk.feed(part)
    elif isinstance(obj, (staticmethod, classmethod)):
        walk.feed(obj.__func__)
    else:
        walk.text(b"s", f"{obj.__objclass__.__qualname__}.{obj.__name__}")


# -- data -----------------------------------------------------------------------------------------------------------


def _numpy(walk: _Walk, obj: Any) -> None:
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
        _anything(walk, obj)


def _pandas(walk: _Walk, obj: Any) -> None:
    import pandas as pd

    if isinstance(obj, pd.DataFrame):
        _class(walk, type(obj))
        walk.feed(obj.columns)
        walk.feed(obj.index)
        for i in range(obj.shape[1]):
            walk.feed(obj.iloc[:, i].array)
        walk.feed(obj.attrs)
    elif isinstance(obj, pd.Series):
        _class(walk, type(obj))
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
        _anything(walk, obj)


_PANDAS_ARRAYS = frozenset({"ArrowStringArray", "StringArray", "ArrowExtensionArray", "NumpyExtensionArray"})


def _arrow(walk: _Walk, obj: Any) -> None:
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
        _anything(walk, obj)


class _Sink(io.RawIOBase):
    """A file that hashes what is written."""

    def __init__(self, walk: _Walk):
        self._write = walk.write

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        self._write(data)
        return memoryview(data).nbytes


def _polars(walk: _Walk, obj: Any) -> None:
    import polars as pl

    if isinstance(obj, pl.DataFrame | pl.Series):
        walk.text(b"Pl", type(obj).__name__)
        frame = obj if isinstance(obj, pl.DataFrame) else obj.to_frame()
        _arrow(walk, frame.rechunk().to_arrow(compat_level=pl.CompatLevel.newest()))
    else:
        _anything(walk, obj)


def _by_module(kind: type) -> Describe:
    """How to describe objects of a type that is met for the first time."""
    root = (kind.__module__ or "").partition(".")[0]
    describe = _ROOTS.get(root, _anything)
    if issubclass(kind, type):
        describe = _class
    return describe


def _anything(walk: _Walk, obj: Any) -> None:
    """Any other object: what it says itself, its dataclass fields, or how it would be pickled."""
    kind = type(obj)
    content = getattr(kind, "__howdah_content__", None)
    if content is not None:
        walk.write(b"Oc")
        _class(walk, kind)
        walk.feed(content(obj))
        return
    if (
        dataclasses.is_dataclass(obj)
        and kind.__reduce_ex__ is object.__reduce_ex__
        and "__reduce__" not in kind.__dict__
    ):
        walk.write(b"Od")
        _class(walk, kind)
        for field in dataclasses.fields(obj):
            walk.text(b"s", field.name)
            walk.feed(getattr(obj, field.name, None))
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


_REDUCE = object.__reduce__


def _copyreg_reducer(kind: type) -> Callable[[Any], Any] | None:
    import copyreg

    return copyreg.dispatch_table.get(kind)


def _by_cloudpickle(obj: Any, cause: Exception) -> bytes:
    import cloudpickle

    try:
        return bytes(cloudpickle.dumps(obj, 5))
    except Exception as error:  # noqa: BLE001  # the same: it gets a key of its own
        raise _Nameless from (error or cause)


_KINDS: dict[type, Describe] = {
    tuple: lambda walk, obj: walk.each(b"t", obj, len(obj)),
    list: lambda walk, obj: walk.each(b"l", obj, len(obj)),
    dict: _dict,
    set: _set,
    frozenset: _set,
    bytearray: lambda walk, obj: walk.raw(b"B", obj),
    memoryview: lambda walk, obj: walk.raw(b"V", obj.tobytes()),
    types.FunctionType: _function,
    types.BuiltinFunctionType: _builtin,
    types.MethodDescriptorType: _descriptor,
    types.WrapperDescriptorType: _descriptor,
    types.MethodWrapperType: _builtin,
    types.GetSetDescriptorType: _descriptor,
    types.MemberDescriptorType: _descriptor,
    property: _descriptor,
    staticmethod: _descriptor,
    classmethod: _descriptor,
    types.MethodType: _method,
    types.ModuleType: _module,
    types.CodeType: _code,
    functools.partial: _partial,
    type: _class,
}

_ROOTS: dict[str, Describe] = {"numpy": _numpy, "pandas": _pandas, "pyarrow": _arrow, "polars": _polars}
