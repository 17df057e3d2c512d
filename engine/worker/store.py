"""What a worker holds: results and fetched copies, by layer and item, with their bytes.

Read by slots and the data server from several threads, written by slots and the loop. A lookup is one dictionary
access, so no lock is held; sums are kept under one.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

from howdah.engine.comm.transfer import MISSING
from howdah.engine.graph.layer import Key, Span


class Store:
    """Values by (layer, item).

    >>> store = Store()
    >>> store.put(b"a", range(2, 4), ["x", "y"], [50, 51])
    >>> store.get(b"a", 3), store.nbytes
    ('y', 101)
    >>> store.holdings()
    [(Span(layer=b'a', start=2, stop=4), (50, 51))]
    >>> store.free([Span(b"a", 0, 100)]); store.nbytes
    0
    """

    def __init__(self) -> None:
        self._values: dict[Key, dict[int, Any]] = {}
        self._sizes: dict[Key, dict[int, int]] = {}
        self._lock = threading.Lock()
        self.nbytes = 0
        """Bytes of all that is held, as counted when it was put in."""

    def get(self, layer: Key, item: int) -> Any:
        """The value, or MISSING."""
        held = self._values.get(layer)
        return MISSING if held is None else held.get(item, MISSING)

    def has(self, layer: Key, item: int) -> bool:
        held = self._values.get(layer)
        return held is not None and item in held

    def put(self, layer: Key, items: Iterable[int], values: Sequence[Any], sizes: Sequence[int]) -> None:
        """Keep `values`; what is there already under the same names is replaced (it is the same by contract)."""
        items = list(items)
        with self._lock:
            held_values = self._values.setdefault(layer, {})
            held_sizes = self._sizes.setdefault(layer, {})
            if held_sizes:
                self.nbytes -= sum(held_sizes.get(item, 0) for item in items)
            held_values.update(zip(items, values))
            held_sizes.update(zip(items, sizes))
            self.nbytes += sum(sizes)

    def free(self, spans: Iterable[Span]) -> None:
        """Drop these; what is not there is no matter."""
        dropped: list[Any] = []  # values die after the lock is given back: their destructors may take long
        with self._lock:
            for layer, start, stop in spans:
                sizes = self._sizes.get(layer)
                if sizes is None:
                    continue
                values = self._values[layer]
                wide = stop - start >= len(sizes)
                for item in [i for i in sizes if start <= i < stop] if wide else range(start, stop):
                    if item in sizes:
                        self.nbytes -= sizes.pop(item)
                        dropped.append(values.pop(item))
                if not sizes:
                    del self._sizes[layer], self._values[layer]

    def size_of(self, spans: Iterable[Span]) -> int:
        """Bytes of these spans, as far as they are here."""
        total = 0
        for layer, start, stop in spans:
            sizes = self._sizes.get(layer)
            if sizes:
                total += sum(sizes.get(item, 0) for item in range(start, stop))
        return total

    def holdings(self) -> list[tuple[Span, tuple[int, ...]]]:
        """All that is held, as spans with the bytes of each item."""
        found: list[tuple[Span, tuple[int, ...]]] = []
        with self._lock:
            for layer, sizes in self._sizes.items():
                items = sorted(sizes)
                for _, run in groupby(enumerate(items), lambda pair: pair[1] - pair[0]):
                    span = [item for _, item in run]
                    found.append((Span(layer, span[0], span[-1] + 1), tuple(sizes[item] for item in span)))
        return found


def size_of_value(value: Any, depth: int = 4) -> int:
    """Bytes that `value` takes, exact for arrays and tables (a slice counts its own), an estimate for the rest.

    >>> size_of_value(b"abc") - size_of_value(b"")
    3
    """
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
    """A container: its own size and that of its parts, of which a hundred stand for many."""
    size = sys.getsizeof(value, 64)
    parts = list(value.values()) if isinstance(value, dict) else list(value)
    sample = parts if len(parts) <= 100 else parts[:: len(parts) // 100]
    if sample:
        size += sum(size_of_value(part, depth) for part in sample) * len(parts) // len(sample)
    return size
