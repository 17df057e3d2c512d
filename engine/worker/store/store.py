"""What a worker holds: results and fetched copies, by layer and item, with their bytes.

Read by slots and the data server from several threads, written by slots and the loop. A lookup is one dictionary
access, so no lock is held; sums are kept under one. Results from `LARGE_LEAST` bytes on may leave memory (`spill`) and
come back when they are asked for; nobody who asks needs to know.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

from howdah.engine.comm.data.shared_memory import SegmentPool
from howdah.engine.comm.data.transfer import MISSING, Packed
from howdah.engine.protocol.layers import Key, TaskRange
from howdah.engine.serialization.serialize import dumps_out_of_band
from howdah.engine.worker.store.sizeof import memory_blocks, size_of_value
from howdah.engine.worker.store.spill import Spiller
from howdah.engine.worker.store.spillable import ResultLost, SpillableResult
from howdah.errors import Unpicklable

__all__ = ["MISSING", "ResultStore", "size_of_value"]

log = logging.getLogger(__name__)

SPILLABLE_MIN_BYTES = 16 << 10
"""Bytes from which a result has an account of its own, and may go to disk."""

_MOST_LAYERS = 1000
"""Layers of which the largest result is remembered."""


class ResultStore:
    """Values by (layer, item).

    >>> store = ResultStore()
    >>> store.put(b"a", range(2, 4), ["x", "y"], [50, 51])
    >>> store.get(b"a", 3), store.nbytes
    ('y', 101)
    >>> store.holdings()
    [(TaskRange(layer=b'a', start=2, stop=4), (50, 51))]
    >>> store.free([TaskRange(b"a", 0, 100)]); store.nbytes
    0
    """

    def __init__(self, memory_limit: int = 0, folder: str = "") -> None:
        self._values: dict[Key, dict[int, Any]] = {}
        self._sizes: dict[Key, dict[int, int]] = {}
        self._larges: set[SpillableResult] = set()
        self._largest: dict[Key, int] = {}
        """Bytes of the largest result of each layer that has large ones."""
        self._pieces: dict[int, list[int]] = {}
        """Bytes and number of users of each piece of memory that large results lie in."""
        self._lock = threading.RLock()
        self._segments = SegmentPool()
        self.spiller = Spiller(memory_limit, folder, self._all_large, lambda: self.memory, self._left_memory)
        self.nbytes = 0
        """Bytes of all that is held, as counted when it was put in."""
        self.memory = 0
        """Bytes of what is held in memory; what several results share counts once."""
        self.lost = 0
        """Results whose files were damaged or gone."""

    def get(self, layer: Key, item: int) -> Any:
        """The value, or MISSING."""
        held = self._values.get(layer)
        if held is None:
            return MISSING
        value = held.get(item, MISSING)
        return self._opened(layer, item, value) if type(value) is SpillableResult else value

    def small(self, layer: Key, items: Iterable[int]) -> list[Any] | None:
        """The values of many items; None where one is missing or large, and they are to be asked for one by one."""
        held = self._values.get(layer)
        if held is None:
            return None
        try:
            values = [held[item] for item in items]
        except KeyError:
            return None
        return None if SpillableResult in set(map(type, values)) else values

    def reserve(self, layer: Key, count: int) -> contextlib.AbstractContextManager[None]:
        """To run `count` items of `layer` in: entered when their results have room, by what earlier ones took."""
        return self.spiller.reserve(self._largest.get(layer, 0) * count)

    def _opened(self, layer: Key, item: int, large: SpillableResult) -> Any:
        try:
            if not large.in_memory:
                self.spiller.wait_for_memory(large.size)
            value, read = large.get()
        except ResultLost as error:
            self._lose(layer, item, large, error)
            return MISSING
        if read:
            self._count(large, memory_blocks(value, large.size))
            self.spiller.check()
        return value

    def pack(self, layer: Key, item: int, share: bool) -> Any:
        """The value as it travels (`Packed`), in shared memory where `share` is set and it is worth it; or MISSING."""
        held = self._values.get(layer)
        value = MISSING if held is None else held.get(item, MISSING)
        try:
            if type(value) is SpillableResult:
                before = value.shared
                packed = value.pack(share, self._segments)
                if value.shared is not before and value.in_memory:  # it lies elsewhere now
                    self._count(value, memory_blocks(value.value, value.size))
                return packed
            return MISSING if value is MISSING else Packed(*dumps_out_of_band(value))
        except ResultLost as error:
            self._lose(layer, item, value, error)
            return MISSING
        except Unpicklable as error:
            return Packed(error=str(error))
        except Exception as error:  # noqa: BLE001  # the user's own __reduce__ may raise anything
            return Packed(error=f"{type(value).__name__} cannot be pickled: {type(error).__name__}: {error}")

    def _lose(self, layer: Key, item: int, large: SpillableResult, error: ResultLost) -> None:
        """Its file is no good: it is as if it had never been here. Who needs it says so, and it is made again."""
        with self._lock:
            if self._values.get(layer, {}).get(item) is not large:
                return
            self.lost += 1
        log.warning("a result is lost and will be made again: %s", error)
        self.free([TaskRange(layer, item, item + 1)])

    def has(self, layer: Key, item: int) -> bool:
        held = self._values.get(layer)
        return held is not None and item in held

    def put(self, layer: Key, items: Iterable[int], values: Sequence[Any], sizes: Sequence[int]) -> None:
        """Keep `values`; what is there already under the same names is replaced (it is the same by contract)."""
        items = list(items)
        any_large = bool(sizes) and max(sizes) >= SPILLABLE_MIN_BYTES
        if any_large:
            values = [
                SpillableResult(value, size, memory_blocks(value, size)) if size >= SPILLABLE_MIN_BYTES else value
                for value, size in zip(values, sizes)
            ]
        replaced: list[Any] = []
        with self._lock:
            held_values = self._values.setdefault(layer, {})
            held_sizes = self._sizes.setdefault(layer, {})
            if held_sizes:
                for item in items:
                    if item in held_sizes:
                        self._uncount(held_values[item], held_sizes[item])
                        replaced.append(held_values[item])
            held_values.update(zip(items, values))
            held_sizes.update(zip(items, sizes))
            total = sum(sizes)
            self.nbytes += total
            self.memory += total
            if any_large:
                self._largest[layer] = max(self._largest.pop(layer, 0), *sizes)
                if len(self._largest) > _MOST_LAYERS:
                    del self._largest[next(iter(self._largest))]
                for value in values:
                    if type(value) is SpillableResult:
                        self.memory -= value.size
                        self._larges.add(value)
                        pieces, value.pieces = value.pieces, []
                        self._count(value, pieces)
        for old in replaced:
            if type(old) is SpillableResult:
                old.drop()
        if any_large:
            self.spiller.check()

    # -- accounts ---------------------------------------------------------------------------------------------------

    def _count(self, large: SpillableResult, pieces: list[tuple[int, int]]) -> None:
        """`large` is in memory, in these pieces."""
        with self._lock:
            self._discount(large)
            if large not in self._larges:
                return  # freed in the meantime
            large.pieces = pieces
            for name, size in pieces:
                users = self._pieces.get(name)
                if users is None:
                    self._pieces[name] = [size, 1]
                    self.memory += size
                else:
                    users[1] += 1

    def _discount(self, large: SpillableResult) -> None:
        for name, _ in large.pieces:
            users = self._pieces[name]
            users[1] -= 1
            if not users[1]:
                self.memory -= users[0]
                del self._pieces[name]
        large.pieces = []

    def _uncount(self, value: Any, size: int) -> None:
        """`value` is held no longer. Under the lock."""
        self.nbytes -= size
        if type(value) is SpillableResult:
            self._discount(value)
            self._larges.discard(value)
        else:
            self.memory -= size

    def _left_memory(self, large: SpillableResult) -> None:
        with self._lock:
            if not large.in_memory:
                self._discount(large)

    def _all_large(self) -> list[SpillableResult]:
        with self._lock:
            return list(self._larges)

    def close(self) -> None:
        """End the spill thread and remove its files, and give back what was shared."""
        self.spiller.close()
        self._segments.trim()

    def free(self, spans: Iterable[TaskRange]) -> None:
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
                        value = values.pop(item)
                        self._uncount(value, sizes.pop(item))
                        dropped.append(value)
                if not sizes:
                    del self._sizes[layer], self._values[layer]
        for value in dropped:
            if type(value) is SpillableResult:
                value.drop()

    def size_of(self, spans: Iterable[TaskRange]) -> int:
        """Bytes of these spans, as far as they are here."""
        total = 0
        for layer, start, stop in spans:
            sizes = self._sizes.get(layer)
            if sizes:
                total += sum(sizes.get(item, 0) for item in range(start, stop))
        return total

    def holdings(self) -> list[tuple[TaskRange, tuple[int, ...]]]:
        """All that is held, as spans with the bytes of each item."""
        found: list[tuple[TaskRange, tuple[int, ...]]] = []
        with self._lock:
            for layer, sizes in self._sizes.items():
                items = sorted(sizes)
                for _, run in groupby(enumerate(items), lambda pair: pair[1] - pair[0]):
                    span = [item for _, item in run]
                    found.append((TaskRange(layer, span[0], span[-1] + 1), tuple(sizes[item] for item in span)))
        return found
