"""Descriptions of functions, methods and classes for a content hash: their names and their code.

What a worker imports is described by its module; what is pickled by value (``__main__``, notebooks, closures) also by
the globals that it uses. Used by `keys`.
"""

from __future__ import annotations

import functools
import sys
import types
import weakref
from typing import Any

from howdah.engine.graph.walk import Describe, Walk


def _function(walk: Walk, fn: types.FunctionType) -> None:
    walk.text(b"Fn", f"{fn.__module__}:{fn.__qualname__}" if "<lambda>" not in fn.__qualname__ else "<lambda>")
    _code(walk, fn.__code__)
    walk.feed(fn.__defaults__)
    walk.feed(fn.__kwdefaults__)
    for cell in fn.__closure__ or ():
        try:
            walk.feed(cell.cell_contents)
        except ValueError:  # an empty cell: the name is not assigned yet
            walk.write(b"_")
    if travels_by_value(fn):
        for name in sorted(_global_names(fn.__code__)):
            if name in fn.__globals__:
                walk.text(b"g", name)
                walk.feed(fn.__globals__[name])


def travels_by_value(obj: Any) -> bool:
    """Return whether cloudpickle sends the code itself, as a worker cannot import it."""
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
"""By id, of live code objects: they cannot change, and each takes some 20 us to describe."""


def _code(walk: Walk, code: types.CodeType) -> None:
    known = _CODE_DIGESTS.get(id(code))
    if known is None or known[0]() is not code:
        ident = id(code)
        inner = Walk()
        counts = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags)
        for part in (counts, code.co_code, code.co_exceptiontable, code.co_names, code.co_varnames):
            inner.feed(part)
        for part in (code.co_freevars, code.co_cellvars, code.co_consts):
            inner.feed(part)
        gone = lambda _, ident=ident: _CODE_DIGESTS.pop(ident, None)  # noqa: E731
        known = _CODE_DIGESTS[ident] = (weakref.ref(code, gone), inner.digest())
    walk.raw(b"C", known[1])


def _method(walk: Walk, obj: types.MethodType) -> None:
    walk.write(b"Me")
    walk.feed(obj.__func__)
    walk.feed(obj.__self__)


def _builtin(walk: Walk, obj: Any) -> None:
    owner = getattr(obj, "__self__", None)
    walk.text(b"Bu", f"{getattr(obj, '__module__', None)}:{obj.__qualname__}")
    if owner is not None and not isinstance(owner, types.ModuleType):
        walk.feed(owner)


def _partial(walk: Walk, obj: functools.partial[Any]) -> None:
    walk.write(b"Pa")
    walk.feed(obj.func)
    walk.feed(obj.args)
    walk.write(b"%d," % len(obj.keywords))
    for name in sorted(obj.keywords):
        walk.text(b"s", name)
        walk.feed(obj.keywords[name])


def _module(walk: Walk, obj: types.ModuleType) -> None:
    walk.text(b"Mo", obj.__name__)


def describe_class(walk: Walk, obj: type) -> None:
    """Describe a class by its name, and by its attributes if it is pickled by value."""
    walk.text(b"Ty", f"{obj.__module__}:{obj.__qualname__}")
    if travels_by_value(obj) and obj.__module__ != "builtins":
        walk.each(b"o", obj.__mro__[1:], len(obj.__mro__) - 1)
        for name, value in obj.__dict__.items():
            if name not in _OF_CLASSES:
                walk.text(b"s", name)
                walk.feed(value)


_OF_CLASSES = frozenset(
    {"__dict__", "__weakref__", "__doc__", "__module__", "__qualname__", "__firstlineno__", "__static_attributes__",
     "__annotations__", "__annotate__", "__abstractmethods__", "_abc_impl", "__slotnames__"}
)  # fmt: skip


def _descriptor(walk: Walk, obj: Any) -> None:
    walk.text(b"De", type(obj).__name__)
    if isinstance(obj, property):
        for part in (obj.fget, obj.fset, obj.fdel):
            walk.feed(part)
    elif isinstance(obj, (staticmethod, classmethod)):
        walk.feed(obj.__func__)
    else:
        walk.text(b"s", f"{obj.__objclass__.__qualname__}.{obj.__name__}")


KINDS: dict[type, Describe] = {
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
    type: describe_class,
}
