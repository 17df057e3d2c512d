"""What the items of a run get from other layers: found by pattern, in one look at the store where values are small.

For slots. An input that is one large value (it may be on disk) is asked for when its item has its turn, no sooner.
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
"""Values that are looked up at once for a run, at most."""

Reader: TypeAlias = Callable[[int], Any]
"""An item's input from one layer: the value for one to one, else a list of values of its own."""


class InputMissing(Exception):
    """An input that was said to be here is not. No user sees it: the run is given back."""

    def __init__(self, span: TaskRange) -> None:
        super().__init__(span)
        self.span = span


def readers(layer: DefineLayer, start: int, stop: int, store: ResultStore) -> list[Reader]:
    """One per dependency, good for the items start..stop. They raise InputGone.

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
        needed, bounds = _all_of(pattern, n, start, stop)
        if len(needed) <= MAX_BATCHED_INPUTS:
            values = store.get_small(layer, needed)
            if values is not None:
                if type(pattern) is OneToOne:
                    return lambda item: values[item - start]
                return lambda item: values[slice(*bounds(item))]
    if type(pattern) is OneToOne:
        return lambda item: _present(layer, item, store)
    return lambda item: [_present(layer, i, store) for i in inputs_of(pattern, item, n)]


def _all_of(pattern: Pattern, n: int, start: int, stop: int) -> tuple[Sequence[int], Callable[[int], tuple[int, int]]]:
    """The items that start..stop need, in an order in which each needs a stretch; and where in it that begins and
    ends."""
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


def _present(layer: Key, item: int, store: ResultStore) -> Any:
    value = store.get(layer, item)
    if value is MISSING:
        raise InputMissing(TaskRange(layer, item, item + 1))
    return value
