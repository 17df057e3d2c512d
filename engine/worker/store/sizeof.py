"""The bytes of values, and the blocks of memory in which they lie: the basis of the store's accounts.

For the worker and the joblib backend. It imports none of the libraries whose values it measures.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

UNKNOWN_SIZE = -1
"""The size of a value that cannot be measured: its own `nbytes` or `__sizeof__` raises, or returns nonsense."""

MAX_SIZE = 1 << 48
"""Bytes beyond which the size that a value claims is nonsense."""

MAX_PARTS = 1000
"""Elements of a container whose blocks are collected one by one; a longer container is one block."""


def size_of_value(value: Any, depth: int = 4) -> int:
    """Return the bytes of `value`: exact for arrays and tables (a slice counts its own), an estimate for others.

    Never raises: a value that cannot be measured has `UNKNOWN_SIZE`.

    >>> size_of_value(b"abc") - size_of_value(b"")
    3
    """
    try:
        size = _size_of(value, depth)
    except BaseException:  # noqa: BLE001  # code of the user's type, which may raise anything at all
        return UNKNOWN_SIZE
    return size if 0 <= size < MAX_SIZE else UNKNOWN_SIZE


def _size_of(value: Any, depth: int) -> int:
    kind = type(value)
    module = kind.__module__.partition(".")[0]
    if module == "polars" and hasattr(value, "estimated_size"):
        return int(value.estimated_size())
    if module == "pandas" and hasattr(value, "memory_usage"):
        used = value.memory_usage(deep=False)
        return int(used.sum() if hasattr(used, "sum") else used)
    nbytes = getattr(value, "nbytes", None)
    if isinstance(nbytes, int):
        return nbytes
    if isinstance(value, list | tuple | set | frozenset | dict) and depth:
        return _size_of_container(value, depth - 1)
    return sys.getsizeof(value, 64)


def _size_of_container(value: Any, depth: int) -> int:
    """Return the size of a container and its elements; of many, a hundred are sampled."""
    size = sys.getsizeof(value, 64)
    parts = _elements(value)
    sample = parts if len(parts) <= 100 else parts[:: len(parts) // 100]
    if sample:
        size += sum(_size_of(part, depth) for part in sample) * len(parts) // len(sample)
    return size


def _elements(value: Any) -> list[Any]:
    """Return the elements of a container, not by methods of a subclass, which may do anything."""
    if isinstance(value, dict):
        return list(dict.values(value))
    bases: tuple[Any, ...] = (list, tuple, set, frozenset)
    for base in bases:
        if isinstance(value, base):
            return list(base.__iter__(value))
    raise TypeError(f"{type(value).__name__} is no container")


def memory_blocks(value: Any, size: int) -> list[tuple[int, int]]:
    """Return the blocks of memory that `value` keeps alive, as (identifier, bytes).

    Values that share a block have its identifier in common: an array and its slices, tables cut from one table. A value
    of unknown type, or one that cannot be looked into, is one block of `size` bytes.

    >>> memory_blocks("abc", 52)[0][1]
    52
    """
    try:
        found = dict(_blocks(value, 3))
    except BaseException:  # noqa: BLE001  # code of the user's type, which may raise anything at all
        found = {}
    return list(found.items()) if found else [(id(value), size)]


def _blocks(value: Any, depth: int) -> Iterator[tuple[int, int]]:
    module = type(value).__module__.partition(".")[0]
    if module == "numpy" and hasattr(value, "__array_interface__"):
        yield from _of_array(value)
    elif module == "pyarrow":
        yield from _of_arrow(value)
    elif module == "pandas" and hasattr(value, "_mgr"):
        for column in value._mgr.arrays:  # noqa: SLF001  # pandas has no public access to its blocks
            yield from _blocks(column, depth)
        yield from _blocks(value.index, depth)
    elif type(value).__name__ == "RangeIndex":
        return
    elif module == "pandas":
        for name in ("_pa_array", "_ndarray", "_data", "_values"):
            inner = getattr(value, name, None)
            if inner is not None and inner is not value:
                yield from _blocks(inner, depth)
                return
    elif isinstance(value, list | tuple | dict) and depth and len(value) <= MAX_PARTS:
        yield id(value), sys.getsizeof(value, 64)
        for part in _elements(value):
            blocks = list(_blocks(part, depth - 1))
            yield from blocks or [(id(part), _size_of(part, depth - 1))]


def _of_array(array: Any) -> Iterator[tuple[int, int]]:
    owner = array
    while type(owner.base).__module__.partition(".")[0] == "numpy" and hasattr(owner.base, "__array_interface__"):
        owner = owner.base
    address, nbytes = owner.__array_interface__["data"][0], int(owner.nbytes)
    if owner.dtype.hasobject:
        sample = array.ravel()[:100].tolist()
        nbytes += sum(sys.getsizeof(part, 64) for part in sample) * int(owner.size) // max(len(sample), 1)
    if nbytes:
        yield address, nbytes


def _of_arrow(value: Any) -> Iterator[tuple[int, int]]:
    if hasattr(value, "chunks"):
        arrays = value.chunks
    elif hasattr(value, "itercolumns"):
        arrays = [chunk for column in value.itercolumns() for chunk in getattr(column, "chunks", [column])]
    else:
        arrays = [value]
    for array in arrays:
        for buffer in array.buffers() if hasattr(array, "buffers") else ():
            while buffer is not None and buffer.parent is not None:
                buffer = buffer.parent
            if buffer is not None and buffer.size:
                yield buffer.address, buffer.size
        dictionary = getattr(array, "dictionary", None)
        if dictionary is not None:
            yield from _of_arrow(dictionary)
