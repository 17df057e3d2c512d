"""Sets of items as sorted intervals, and the columns in which the facts about a layer's items stand.

A column of a layer of few items is a Python list, of a larger one a numpy array: ten thousand layers of one item must
be as cheap as one layer of a million. Functions here take either. For the modules of this folder.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np

from howdah.engine.protocol.patterns import distinct

SMALL = 16
"""Layers of at most this many items keep their columns as lists."""

Column: TypeAlias = Any
"""`list[int]` (at most SMALL items) or a one-dimensional integer numpy array."""

Interval: TypeAlias = tuple[int, int]

Items: TypeAlias = Any
"""A numpy array of item numbers, ascending, each once."""


class IntervalSet:
    """A set of items, kept as sorted, disjoint intervals; every operation costs what it touches.

    >>> s = IntervalSet()
    >>> s.add(0, 4); s.add(6, 9); s.add(4, 5); s.remove(1, 2)
    >>> list(s), len(s), s.overlap(4, 8)
    ([(0, 1), (2, 5), (6, 9)], 7, [(4, 5), (6, 8)])
    >>> s.take(3), s.take(3), list(s)
    ((0, 1), (2, 5), [(6, 9)])
    """

    __slots__ = ("bounds",)

    def __init__(self, lo: int = 0, hi: int = 0) -> None:
        self.bounds: list[int] = [lo, hi] if hi > lo else []

    def add(self, lo: int, hi: int) -> None:
        """Add lo..hi."""
        bounds = self.bounds
        i, j = bisect_left(bounds, lo), bisect_right(bounds, hi)
        bounds[i:j] = ([] if i & 1 else [lo]) + ([] if j & 1 else [hi])

    def remove(self, lo: int, hi: int) -> None:
        """Remove lo..hi."""
        bounds = self.bounds
        i, j = bisect_left(bounds, lo), bisect_right(bounds, hi)
        bounds[i:j] = ([lo] if i & 1 else []) + ([hi] if j & 1 else [])

    def overlap(self, lo: int, hi: int) -> list[Interval]:
        """The part of lo..hi that is in the set."""
        bounds = self.bounds
        if len(bounds) == 2:
            first, last = bounds
            if first <= lo and hi <= last:
                return [(lo, hi)]
        found = []
        i = bisect_right(bounds, lo) & ~1
        if i and bounds[i - 1] > lo:
            i -= 2
        while i < len(bounds) and bounds[i] < hi:
            a, b = max(lo, bounds[i]), min(hi, bounds[i + 1])
            if a < b:
                found.append((a, b))
            i += 2
        return found

    def gaps(self, lo: int, hi: int) -> list[Interval]:
        """The part of lo..hi that is not in the set."""
        found, at = [], lo
        for a, b in self.overlap(lo, hi):
            if at < a:
                found.append((at, a))
            at = b
        if at < hi:
            found.append((at, hi))
        return found

    def take(self, most: int) -> Interval:
        """Remove and return the first interval, at most `most` items of it. The set must not be empty."""
        bounds = self.bounds
        lo, hi = bounds[0], bounds[1]
        if hi - lo <= most:
            del bounds[0:2]
            return lo, hi
        bounds[0] = lo + most
        return lo, lo + most

    @property
    def first(self) -> int:
        """The least item. The set must not be empty."""
        return self.bounds[0]

    def __iter__(self) -> Iterator[Interval]:
        bounds = self.bounds
        return iter(list(zip(bounds[::2], bounds[1::2])))

    def __len__(self) -> int:
        return sum(self.bounds[1::2]) - sum(self.bounds[::2])

    def __bool__(self) -> bool:
        return bool(self.bounds)

    def __contains__(self, item: object) -> bool:
        return isinstance(item, int) and bool(bisect_right(self.bounds, item) & 1)

    def __repr__(self) -> str:
        return f"IntervalSet({list(self)})"


def column(n: int, dtype: str, fill: int = 0) -> Column:
    """A new column of `n` times `fill`."""
    return [fill] * n if n <= SMALL else np.full(n, fill, dtype=dtype)


def fill(col: Column, lo: int, hi: int, value: int) -> None:
    """Set lo..hi to one value."""
    if type(col) is list:
        for i in range(lo, hi):
            col[i] = value
    else:
        col[lo:hi] = value


def add(col: Column, lo: int, hi: int, value: int) -> None:
    """Add one value to lo..hi."""
    if type(col) is list:
        for i in range(lo, hi):
            col[i] += value
    else:
        col[lo:hi] += value


def true_intervals(mask: Any, base: int = 0) -> list[Interval]:
    """The intervals of True in a boolean array, moved by `base`.

    >>> true_intervals(np.array([True, True, False, True]), base=10)
    [(10, 12), (13, 14)]
    """
    size = mask.size
    hits = int(np.count_nonzero(mask))
    if hits == size:
        return [(base, base + size)] if size else []
    if hits == 0:
        return []
    if hits == 1:
        at = base + int(mask.argmax())
        return [(at, at + 1)]
    edges = np.flatnonzero(mask[1:] != mask[:-1]) + (base + 1)
    bounds = edges.tolist()
    if mask[0]:
        bounds.insert(0, base)
    if mask[-1]:
        bounds.append(base + size)
    return list(zip(bounds[::2], bounds[1::2]))


def group_equal(col: Column, lo: int, hi: int) -> list[tuple[int, int, int]]:
    """(start, stop, value) for each interval of equal values in lo..hi.

    >>> group_equal([5, 5, 7], 0, 3)
    [(0, 2, 5), (2, 3, 7)]
    """
    if hi - lo == 1:
        return [(lo, hi, int(col[lo]))]
    if type(col) is list:
        found, at = [], lo
        for i in range(lo + 1, hi + 1):
            if i == hi or col[i] != col[at]:
                found.append((at, i, col[at]))
                at = i
        return found
    part = col[lo:hi]
    cuts = np.flatnonzero(part[1:] != part[:-1])
    if not cuts.size:
        return [(lo, hi, int(part[0]))] if hi > lo else []
    starts = [lo, *(cuts + (lo + 1)).tolist()]
    return [(a, b, v) for a, b, v in zip(starts, [*starts[1:], hi], col[starts].tolist())]


def interval_bounds(items: Items, also: Any = None) -> tuple[list[int], list[int], Any]:
    """Where intervals begin and end, and the index of each one's first in `items`; a change in `also` cuts, too."""
    cut = items[1:] != items[:-1] + 1
    if also is not None:
        cut |= also[1:] != also[:-1]
    at = np.concatenate(([0], np.flatnonzero(cut) + 1))
    ends = np.append(at[1:], items.size) - 1
    return items[at].tolist(), (items[ends] + 1).tolist(), at


def items_to_intervals(items: Items) -> list[Interval]:
    """The items as intervals.

    >>> items_to_intervals(np.array([3, 4, 9]))
    [(3, 5), (9, 10)]
    """
    starts, stops, _ = interval_bounds(items)
    return list(zip(starts, stops))


def group_by_worker(chunks: list[tuple[Any, Items]]) -> Iterator[tuple[int, int, int]]:
    """(worker, start, stop) of chunks of (workers, items) arrays; those of a worker follow each other.

    >>> list(group_by_worker([(np.array([2, 1]), np.array([7, 8])), (np.array([1, 2]), np.array([7, 5]))]))
    [(1, 7, 9), (2, 5, 6), (2, 7, 8)]
    """
    workers = np.concatenate([numbers for numbers, _ in chunks]).astype(np.int64)
    items = np.concatenate([items for _, items in chunks]).astype(np.int64)
    both = distinct((workers << 32) | items)
    starts, stops, at = interval_bounds(both)
    owners = both[at] >> 32
    first = owners << 32
    return zip(owners.tolist(), (np.array(starts) - first).tolist(), (np.array(stops) - first).tolist())
