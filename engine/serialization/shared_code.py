"""Which callables several calls may share: those that carry no state which a call could change.

A plain function, a class and a method of an immutable object may be unpickled once for all items of a layer. A bound
method, a callable object, a partial or a closure over something mutable is an object of its own in every call, as if
each call had been submitted alone. Globals belong to the process, as those of a module do.
"""

from __future__ import annotations

import datetime
import decimal
import dis
import fractions
import functools
import operator
import pathlib
import re
import sys
import types
import uuid
from collections.abc import Iterable
from typing import Any

from howdah.engine.serialization.serialize import PLAIN_TYPES

_IMMUTABLE: frozenset[type] = PLAIN_TYPES | {
    type(Ellipsis), type(NotImplemented), range, types.ModuleType, types.BuiltinFunctionType, re.Pattern,
    datetime.date, datetime.datetime, datetime.time, datetime.timedelta, datetime.timezone,
    decimal.Decimal, fractions.Fraction, uuid.UUID, pathlib.PosixPath, pathlib.PurePosixPath, pathlib.PureWindowsPath,
    types.MethodDescriptorType, types.WrapperDescriptorType, operator.itemgetter, operator.attrgetter,
}  # fmt: skip

_DEPTH = 20


def is_shareable(value: Any, depth: int = _DEPTH) -> bool:
    """Return whether no call can change `value`, so that one object serves all calls.

    In doubt it is False, which costs an unpickling for each call.

    >>> is_shareable(abs), is_shareable([1].append), is_shareable(functools.partial(pow, 2))
    (True, False, True)
    """
    kind = type(value)
    if kind in PLAIN_TYPES:
        return True
    if depth == 0:
        return False
    if kind is types.FunctionType:
        return _is_of_module(value) or _is_stateless(value, depth - 1)
    if kind is types.BuiltinFunctionType:
        owner = value.__self__
        return owner is None or type(owner) is types.ModuleType or is_shareable(owner, depth - 1)
    if kind is types.MethodType:
        return is_shareable(value.__self__, depth - 1) and is_shareable(value.__func__, depth - 1)
    if kind is functools.partial:
        return is_shareable(value.func, depth - 1) and _all((*value.args, *value.keywords.values()), depth - 1)
    if kind is tuple or kind is frozenset:
        return _all(value, depth - 1)
    if kind in _IMMUTABLE or isinstance(value, type):
        return True
    module = kind.__module__ or ""
    if module.startswith("howdah."):  # stages of plans, which change nothing of their own
        return True
    return (module, kind.__name__) in _FOREIGN


_FOREIGN = frozenset({("numpy", "ufunc"), ("pyarrow.lib", "Table"), ("pyarrow.lib", "RecordBatch")})


def _is_of_module(fn: types.FunctionType) -> bool:
    return fn.__module__ != "__main__" and getattr(sys.modules.get(fn.__module__), fn.__name__, None) is fn


def _is_stateless(fn: types.FunctionType, depth: int) -> bool:
    for cell in fn.__closure__ or ():
        try:
            content = cell.cell_contents
        except ValueError:  # an empty cell: the name is not assigned yet
            continue
        # a function that calls itself, by name, is in a cell of its own; a function that assigns to a cell changes it
        if content is not fn and not is_shareable(content, depth):
            return False
    if fn.__closure__ and _assigns(fn.__code__):
        return False
    if fn.__dict__ and not _all((v for k, v in fn.__dict__.items() if k != "__wrapped__"), depth):
        return False
    return _all(fn.__defaults__ or (), depth) and _all((fn.__kwdefaults__ or {}).values(), depth)


def _assigns(code: types.CodeType) -> bool:
    """Return whether the code may assign to a variable of an enclosing function (``nonlocal``)."""
    free = set(code.co_freevars)
    if any(op.opname in ("STORE_DEREF", "DELETE_DEREF") and op.argval in free for op in dis.get_instructions(code)):
        return True
    return any(type(const) is types.CodeType and _assigns(const) for const in code.co_consts)


def _all(values: Iterable[Any], depth: int) -> bool:
    return all(is_shareable(value, depth) for value in values)
