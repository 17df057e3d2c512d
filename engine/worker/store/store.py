"""The results that a worker holds: its own and fetched copies, by layer and item, with their sizes.

Slots and the data server read it from several threads, slots and the event loop write it. A lookup is one dictionary
access without a lock; sums are updated under one. Results from `SPILLABLE_MIN_BYTES` on may leave memory (`spill`) and
return on access, which callers do not notice.
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
from howdah.engine.protocol.text import describe_error, encodable
from howdah.engine.serialization.serialize import dumps_out_of_band
from howdah.engine.worker.store.sizeof import memory_blocks, size_of_value
from howdah.engine.worker.store.spill import Spiller
from howdah.engine.worker.store.spillable import ResultLost, SpillableResult
from howdah.errors import Unpicklable

__all__ = ["MISSING", "ResultStore", "size_of_value"]

log = logging.getLogger(__name__)

SPILLABLE_MIN_BYTES = 16 << 10
"""Bytes from which a result has its own account, and may go to disk."""

_MAX_LAYERS = 1000
"""Layers whose largest result is remembered."""


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
        self._spillable: set[SpillableResult] = set()
        self._spillablet: dict[Key, int] = {}
        """Layer -> bytes of its largest result, for layers with spillable ones."""
        self.blocks: dict[int, list[int]] = {}
        """Block of memory of spillable results -> its bytes, and the number of results that lie in it."""
        self._lock = threading.RLock()
        self.segments = SegmentPool()
        self.spiller = Spiller(memory_limit, folder, self._list_spillable, lambda: self.memory, self._on_spilled)
        self.nbytes = 0
        """Bytes of all results, as measured by `put`."""
        self.memory = 0
        """Bytes of the results in memory; a block that several results share counts once."""
        self.lost = 0
        """Number of results whose files were damaged or missing."""

    def get(self, layer: Key, item: int) -> Any:
        """Return the value, or MISSING."""
        held = self._values.get(layer)
        if held is None:
            return MISSING
        value = held.get(item, MISSING)
        return self._load(layer, item, value) if type(value) is SpillableResult else value

    def get_small(self, layer: Key, items: Iterable[int]) -> list[Any] | None:
        """Return the values of many items; None if one is missing or spillable, and `get` must be used for each."""
        held = self._values.get(layer)
        if held is None:
            return None
        try:
            values = [held[item] for item in items]
        except KeyError:
            return None
        return None if SpillableResult in set(map(type, values)) else values

    def reserve(self, layer: Key, count: int) -> contextlib.AbstractContextManager[None]:
        """Reserve memory for `count` results of `layer`, estimated by the largest so far; entering may wait."""
        return self.spiller.reserve(self._spillablet.get(layer, 0) * count)

    def _load(self, layer: Key, item: int, large: SpillableResult) -> Any:
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
        """Return the pickled value (`Packed`), or MISSING. `share`: large buffers in shared memory."""
        held = self._values.get(layer)
        value = MISSING if held is None else held.get(item, MISSING)
        try:
            if type(value) is SpillableResult:
                before = value.shared
                packed = value.pack(share, self.segments)
                if value.shared is not before and value.in_memory:  # it lies elsewhere now
                    self._count(value, memory_blocks(value.value, value.size))
                return packed
            return MISSING if value is MISSING else Packed(*dumps_out_of_band(value))
        except ResultLost as error:
            self._lose(layer, item, value, error)
            return MISSING
        except Unpicklable as error:
            return Packed(error=encodable(str(error)))
        except BaseException as error:  # noqa: BLE001  # the user's own __reduce__ may raise anything at all
            return Packed(error=f"{type(value).__name__} cannot be pickled: {describe_error(error)}")

    def _lose(self, layer: Key, item: int, large: SpillableResult, error: ResultLost) -> None:
        """Drop a result whose file is unusable; it is computed again when it is needed."""
        with self._lock:
            if self._values.get(layer, {}).get(item) is not large:
                return
            self.lost += 1
        log.warning("a result is lost and will be computed again: %s", error)
        self.free([TaskRange(layer, item, item + 1)])

    def has(self, layer: Key, item: int) -> bool:
        held = self._values.get(layer)
        return held is not None and item in held

    def put(self, layer: Key, items: Iterable[int], values: Sequence[Any], sizes: Sequence[int]) -> None:
        """Store `values`. Existing results of the same items are replaced (they are equal by contract)."""
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
                self._spillablet[layer] = max(self._spillablet.pop(layer, 0), *sizes)
                if len(self._spillablet) > _MAX_LAYERS:
                    del self._spillablet[next(iter(self._spillablet))]
                for value in values:
                    if type(value) is SpillableResult:
                        self.memory -= value.size
                        self._spillable.add(value)
                        pieces, value.pieces = value.pieces, []
                        self._count(value, pieces)
        for old in replaced:
            if type(old) is SpillableResult:
                old.drop()
        if any_large:
            self.spiller.check()

    # -- accounts ---------------------------------------------------------------------------------------------------

    def _count(self, large: SpillableResult, pieces: list[tuple[int, int]]) -> None:
        """Account for a result that is in memory, in these blocks."""
        with self._lock:
            self._discount(large)
            if large not in self._spillable:
                return  # freed meanwhile
            large.pieces = pieces
            for name, size in pieces:
                users = self.blocks.get(name)
                if users is None:
                    self.blocks[name] = [size, 1]
                    self.memory += size
                else:
                    users[1] += 1

    def _discount(self, large: SpillableResult) -> None:
        for name, _ in large.pieces:
            users = self.blocks[name]
            users[1] -= 1
            if not users[1]:
                self.memory -= users[0]
                del self.blocks[name]
        large.pieces = []

    def _uncount(self, value: Any, size: int) -> None:
        """Remove a result from the accounts. Under the lock."""
        self.nbytes -= size
        if type(value) is SpillableResult:
            self._discount(value)
            self._spillable.discard(value)
        else:
            self.memory -= size

    def _on_spilled(self, large: SpillableResult) -> None:
        with self._lock:
            if not large.in_memory:
                self._discount(large)

    def _list_spillable(self) -> list[SpillableResult]:
        with self._lock:
            return list(self._spillable)

    def close(self) -> None:
        """End the spill thread, remove its files, and return shared memory to the system."""
        self.spiller.close()
        self.segments.trim()

    def free(self, ranges: Iterable[TaskRange]) -> None:
        """Free the results of `ranges`; missing ones are ignored."""
        dropped: list[Any] = []  # destructors may take long, so they run after the lock is released
        with self._lock:
            for layer, start, stop in ranges:
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

    def size_of(self, ranges: Iterable[TaskRange]) -> int:
        """Return the bytes of the results of `ranges` that are here."""
        total = 0
        for layer, start, stop in ranges:
            sizes = self._sizes.get(layer)
            if sizes:
                total += sum(sizes.get(item, 0) for item in range(start, stop))
        return total

    def holdings(self) -> list[tuple[TaskRange, tuple[int, ...]]]:
        """Return all results, as ranges with the bytes of each item."""
        found: list[tuple[TaskRange, tuple[int, ...]]] = []
        with self._lock:
            for layer, sizes in self._sizes.items():
                items = sorted(sizes)
                for _, group in groupby(enumerate(items), lambda pair: pair[1] - pair[0]):
                    block = [item for _, item in group]
                    found.append((TaskRange(layer, block[0], block[-1] + 1), tuple(sizes[item] for item in block)))
        return found
