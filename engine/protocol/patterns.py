"""What a dependency pattern means for ranges of tasks: which items they need, and which items need them.

`layers.inputs_of` is the definition, item by item; `Wiring` is the same for whole ranges, for the scheduler's counts.
Pure functions of the pattern and the two layers' lengths. Every module may call this one.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np

from howdah.engine.protocol.layers import Broadcast, Free, KToOne, OneToOne, Pattern, Window

FEW = 64
"""Up to so many indices plain Python is faster than numpy."""

Reach: TypeAlias = list[tuple[int, int, int]]
"""(start, stop, weight): every item from start to stop, that many times. Parts may overlap."""


def is_single(pattern: Pattern) -> bool:
    """Whether an item gets this input as a bare value (`OneToOne`) and not as a list."""
    return isinstance(pattern, OneToOne)


def free(adjacency: Sequence[Sequence[int]]) -> Free:
    """The `Free` pattern in which item i needs the items adjacency[i].

    >>> from howdah.engine.protocol.layers import inputs_of
    >>> list(inputs_of(free([[0, 2], [], [1]]), 0, 3))
    [0, 2]
    """
    lengths = np.fromiter((len(a) for a in adjacency), "<u4", len(adjacency))
    indptr = np.zeros(len(adjacency) + 1, "<u4")
    np.cumsum(lengths, out=indptr[1:])
    indices = np.fromiter((j for a in adjacency for j in a), "<u4", int(indptr[-1]))
    return Free(indptr.tobytes(), indices.tobytes())


def problem_of(pattern: Pattern, n: int, n_source: int) -> str | None:
    """Why a layer of `n` items cannot depend on one of `n_source` by this pattern; None if it can.

    >>> problem_of(OneToOne(), 3, 4)
    'OneToOne needs layers of the same length: 3 items cannot need 4 items one to one'
    """
    match pattern:
        case OneToOne() | Window():
            name = type(pattern).__name__
            if n != n_source:
                return f"{name} needs layers of the same length: {n} items cannot need {n_source} items one to one"
            if isinstance(pattern, Window) and (pattern.before < 0 or pattern.after < 0):
                return f"Window({pattern.before}, {pattern.after}): neither side may be negative"
        case KToOne(k):
            if k < 1:
                return f"KToOne({k}): k must be at least 1"
            if n != -(-n_source // k):
                return f"KToOne({k}) makes {-(-n_source // k)} items of {n_source}, not {n}"
        case Free(indptr, indices):
            if len(indptr) != 4 * (n + 1):
                return f"Free: indptr has {len(indptr)} bytes where {n} items need {4 * (n + 1)}"
            bounds, wanted = np.frombuffer(indptr, "<u4"), np.frombuffer(indices, "<u4")
            if bounds[0] != 0 or (bounds[1:] < bounds[:-1]).any() or int(bounds[-1]) != wanted.size:
                return f"Free: indptr does not ascend from 0 to the {wanted.size} entries of indices"
            if wanted.size and int(wanted.max()) >= n_source:
                return f"Free: item {int(wanted.max())} is needed of a layer that has {n_source}"
        case Broadcast():
            pass
    return None


class Wiring:
    """One dependency between two layers, for ranges."""

    broadcast = False
    """Whether each item needs all of the source, so that nothing is counted item by item."""
    single = False
    """Whether item i needs item i."""

    def inputs(self, lo: int, hi: int) -> Reach | Any:
        """The items that lo..hi need: a Reach, or for free patterns an index array (with repeats)."""
        raise NotImplementedError

    def dependents(self, lo: int, hi: int) -> Reach | Any:
        """The items that need lo..hi of the source, as often as they need one of them: a Reach, or an index array."""
        raise NotImplementedError

    def cover(self, lo: int, hi: int) -> list[tuple[int, int]]:
        """The items that lo..hi need, each once, as ascending intervals."""
        raise NotImplementedError

    def firsts(self, lo: int, hi: int) -> Any:
        """An array: per item of lo..hi the first of its inputs, -1 where it has none."""
        found = []
        for item in range(lo, hi):
            reach = self.inputs(item, item + 1)
            found.append(reach[0][0] if reach else -1)
        return np.array(found, np.int64)

    def gather(self, flags: Any, lo: int, hi: int) -> Any:
        """Per item of lo..hi, the sum over its inputs of `flags` (an array of one 0 or 1 per item of the source)."""
        raise NotImplementedError


class _OneToOneWiring(Wiring):
    single = True

    def inputs(self, lo: int, hi: int) -> Reach:
        return [(lo, hi, 1)]

    def dependents(self, lo: int, hi: int) -> Reach:
        return [(lo, hi, 1)]

    def cover(self, lo: int, hi: int) -> list[tuple[int, int]]:
        return [(lo, hi)]

    def gather(self, flags: Any, lo: int, hi: int) -> Any:
        return flags[lo:hi]


class _KToOneWiring(Wiring):
    def __init__(self, k: int, n_source: int):
        self.k, self.n_source = k, n_source

    def inputs(self, lo: int, hi: int) -> Reach:
        return [(lo * self.k, min(hi * self.k, self.n_source), 1)]

    def dependents(self, lo: int, hi: int) -> Reach:
        k = self.k
        first, last = lo // k, (hi - 1) // k
        if first == last:
            return [(first, first + 1, hi - lo)]
        reach = [(first, first + 1, (first + 1) * k - lo), (last, last + 1, hi - last * k)]
        if last - first > 1:
            reach.append((first + 1, last, k))
        return reach

    def cover(self, lo: int, hi: int) -> list[tuple[int, int]]:
        return [(lo * self.k, min(hi * self.k, self.n_source))]

    def gather(self, flags: Any, lo: int, hi: int) -> Any:
        part = flags[lo * self.k : hi * self.k].astype(np.int64)
        return np.add.reduceat(part, np.arange(0, part.size, self.k))


class _BroadcastWiring(Wiring):
    broadcast = True

    def __init__(self, n_source: int):
        self.n_source = n_source

    def cover(self, lo: int, hi: int) -> list[tuple[int, int]]:
        return [(0, self.n_source)] if self.n_source else []


class _WindowWiring(Wiring):
    def __init__(self, pattern: Window, n: int):
        self.before, self.after, self.wrap, self.n = pattern.before, pattern.after, pattern.wrap, n

    def _shifted(self, lo: int, hi: int, first: int, last: int) -> Reach:
        reach: Reach = []
        n = self.n
        for d in range(first, last + 1):
            a, b = lo + d, hi + d
            if self.wrap:
                a, b = a % n, a % n + (hi - lo)
                if b > n:
                    reach.append((0, b - n, 1))
                    b = n
            else:
                a, b = max(a, 0), min(b, n)
            if a < b:
                reach.append((a, b, 1))
        return reach

    def inputs(self, lo: int, hi: int) -> Reach:
        return self._shifted(lo, hi, -self.before, self.after)

    def dependents(self, lo: int, hi: int) -> Reach:
        return self._shifted(lo, hi, -self.after, self.before)

    def cover(self, lo: int, hi: int) -> list[tuple[int, int]]:
        a, b, n = lo - self.before, hi + self.after, self.n
        if b - a >= n:
            return [(0, n)] if self.wrap else [(max(a, 0), min(b, n))]
        if not self.wrap:
            return [(max(a, 0), min(b, n))]
        if a < 0:
            return [(0, b), (a + n, n)] if b > 0 else [(a + n, b + n)]
        if b > n:
            return [(0, b - n), (a, n)]
        return [(a, b)]

    def gather(self, flags: Any, lo: int, hi: int) -> Any:
        total = np.zeros(hi - lo, np.int64)
        items = np.arange(lo, hi)
        for d in range(-self.before, self.after + 1):
            at = items + d
            if self.wrap:
                total += flags[at % self.n]
            else:
                inside = (at >= 0) & (at < self.n)
                total[inside] += flags[at[inside]]
        return total


class _FreeWiring(Wiring):
    def __init__(self, pattern: Free, n_source: int):
        self.indptr = np.frombuffer(pattern.indptr, "<u4")
        self.indices = np.frombuffer(pattern.indices, "<u4")
        self.n_source = n_source
        self._back: tuple[Any, Any] | None = None

    def inputs(self, lo: int, hi: int) -> Any:
        return self.indices[int(self.indptr[lo]) : int(self.indptr[hi])]

    def dependents(self, lo: int, hi: int) -> Any:
        if self._back is None:  # the transposed adjacency, made when first asked for
            order = np.argsort(self.indices, kind="stable")
            owner = np.repeat(np.arange(self.indptr.size - 1, dtype="<u4"), np.diff(self.indptr))
            start = np.zeros(self.n_source + 1, "<u4")
            np.cumsum(np.bincount(self.indices, minlength=self.n_source), out=start[1:])
            self._back = (start, owner[order])
        start, owners = self._back
        return owners[int(start[lo]) : int(start[hi])]

    def firsts(self, lo: int, hi: int) -> Any:
        at = self.indptr[lo : hi + 1].astype(np.int64)
        if not self.indices.size:
            return np.full(hi - lo, -1)
        return np.where(at[1:] > at[:-1], self.indices[np.minimum(at[:-1], self.indices.size - 1)].astype(np.int64), -1)

    def cover(self, lo: int, hi: int) -> list[tuple[int, int]]:
        needed = self.inputs(lo, hi)
        if needed.size <= FEW:
            return to_intervals(needed.tolist())
        items = distinct(needed)
        cuts = np.flatnonzero(np.diff(items) > 1) + 1
        firsts = items[np.concatenate(([0], cuts))].tolist()
        lasts = items[np.concatenate((cuts - 1, [items.size - 1]))].tolist()
        return [(a, b + 1) for a, b in zip(firsts, lasts)]

    def gather(self, flags: Any, lo: int, hi: int) -> Any:
        running = np.zeros(int(self.indptr[hi]) - int(self.indptr[lo]) + 1, np.int64)
        np.cumsum(flags[self.inputs(lo, hi)], out=running[1:])
        at = self.indptr[lo : hi + 1].astype(np.int64) - int(self.indptr[lo])
        return running[at[1:]] - running[at[:-1]]


def distinct(numbers: Any) -> Any:
    """The numbers of an integer array, ascending, each once. (`numpy.unique` hashes them since numpy 2.3, which takes
    ten times as long.)

    >>> distinct(np.array([7, 3, 7, 5])).tolist()
    [3, 5, 7]
    """
    if not numbers.size:
        return numbers
    found = np.sort(numbers)
    new = np.empty(found.size, bool)
    new[0] = True
    np.not_equal(found[1:], found[:-1], out=new[1:])
    return found[new]


def to_intervals(items: list[int]) -> list[tuple[int, int]]:
    """Ascending intervals of these items, which may be in any order and repeat."""
    if len(items) > 1:
        items = sorted(set(items))
    if len(items) == 1:
        return [(items[0], items[0] + 1)]
    found: list[tuple[int, int]] = []
    start = at = -1
    for item in items:
        if item != at:
            if at >= 0:
                found.append((start, at))
            start = item
        at = item + 1
    if at >= 0:
        found.append((start, at))
    return found


_ONE = _OneToOneWiring()


def wiring(pattern: Pattern, n: int, n_source: int) -> Wiring:
    """The wiring of the pattern between a layer of `n` items and its dependency of `n_source`.

    >>> wiring(KToOne(4), 3, 10).dependents(2, 9)
    [(0, 1, 2), (2, 3, 1), (1, 2, 4)]
    """
    if isinstance(pattern, OneToOne):
        return _ONE
    if isinstance(pattern, Free):
        return _FreeWiring(pattern, n_source)
    return _shared(pattern, n, n_source)


@lru_cache(maxsize=1024)
def _shared(pattern: KToOne | Broadcast | Window, n: int, n_source: int) -> Wiring:
    match pattern:
        case KToOne(k):
            return _KToOneWiring(k, n_source)
        case Window():
            return _WindowWiring(pattern, n)
        case Broadcast():
            return _BroadcastWiring(n_source)
