"""The inputs of a batch's items from other layers, found by pattern. For slots.

Where the values are small one access to the store finds those of all items. A spillable input, which may be on disk, is
read when its item runs, no earlier.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from howdah.engine.comm.data.transfer import MISSING
from howdah.engine.protocol.layers import Broadcast, Free, Key, KToOne, OneToOne, Pattern, TaskRange, Window, inputs_of
from howdah.engine.protocol.messages import DefineLayer
from howdah.engine.worker.store.store import ResultStore

MAX_BATCHED_INPUTS = 1 << 16
"""Values that are looked up at once for a batch, at most."""

Reader: TypeAlias = Callable[[int], Any]
"""Returns an item's input from one layer: the value for OneToOne, else a new list of values."""


class InputMissing(Exception):
    """An input is missing here. Never raised to users: the batch returns to the scheduler."""

    def __init__(self, task_range: TaskRange) -> None:
        super().__init__(task_range)
        self.task_range = task_range


def readers(layer: DefineLayer, start: int, stop: int, store: ResultStore) -> list[Reader]:
    """Return one reader per dependency, for the items start..stop. They raise InputMissing.

    >>> from howdah.engine.protocol.layers import Dependency
    >>> store = ResultStore()
    >>> store.put(b"a", range(4), "wxyz", [1] * 4)
    >>> layer = DefineLayer(b"b", "f", 4, (Dependency(b"a", Window(1, 1)),), (4,))
    >>> [[read(item) for read in readers(layer, 2, 4, store)] for item in (2, 3)]
    [[['x', 'y', 'z']], [['y', 'z']]]
    """
    return [_reader(dep.layer, dep.pattern, n, start, stop, store) for dep, n in zip(layer.deps, layer.dep_ns)]


def _reader(layer: Key, pattern: Pattern, n: int, start: int, stop: int, store: ResultStore) -> Reader:
    if stop - start > 1:
        needed, bounds = _needed_by(pattern, n, start, stop)
        if len(needed) <= MAX_BATCHED_INPUTS:
            values = store.get_small(layer, needed)
            if values is not None:
                if type(pattern) is OneToOne:
                    return lambda item: values[item - start]
                return lambda item: values[slice(*bounds(item))]
    if type(pattern) is OneToOne:
        return lambda item: _get(layer, item, store)
    return lambda item: [_get(layer, i, store) for i in inputs_of(pattern, item, n)]


def _needed_by(
    pattern: Pattern, n: int, start: int, stop: int
) -> tuple[Sequence[int], Callable[[int], tuple[int, int]]]:
    """Return the items that start..stop need, ordered so that each needs a slice, and the bounds of an item's slice."""
    match pattern:
        case OneToOne():
            return range(start, stop), lambda item: (item - start, item - start + 1)
        case KToOne(k):
            return range(start * k, min(stop * k, n)), lambda item: ((item - start) * k, (item - start + 1) * k)
        case Broadcast():
            return range(n), lambda item: (0, n)
        case Window(before, after, wrap):
            width, first = before + 1 + after, start - before
            if wrap:
                around = [i % n for i in range(first, stop + after)]
                return around, lambda item: (item - start, item - start + width)
            low, high = max(0, first), min(n, stop + after)
            return range(low, high), lambda item: (max(item - before, low) - low, item + after + 1 - low)
        case Free(indptr, indices):
            ends = struct.unpack_from(f"<{stop - start + 1}I", indptr, start * 4)
            base = ends[0]
            needed: tuple[int, ...] = struct.unpack_from(f"<{ends[-1] - base}I", indices, base * 4)
            return needed, lambda item: (ends[item - start] - base, ends[item - start + 1] - base)


def _get(layer: Key, item: int, store: ResultStore) -> Any:
    value = store.get(layer, item)
    if value is MISSING:
        raise InputMissing(TaskRange(layer, item, item + 1))
    return value
