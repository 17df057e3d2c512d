"""What a worker is running, in memory that it shares with its supervisor: readable after the worker has died.

Slots write to it at the start and the end of a batch; the supervisor reads it. A leaf.
"""

from __future__ import annotations

import mmap
import struct
import threading

_ENTRY = struct.Struct("<B63sqq")
_RUNNING, _ENDED = 1, 2
_SPARE = 30
"""Entries beyond those of the slots: for tasks that wait for others and have released their slots."""


class StatusPage:
    """One entry per running batch.

    >>> page = StatusPage(2)
    >>> entry = page.acquire(); page.write(entry, "load", 3, 4); page.read()
    'it was running load[3]'
    >>> page.erase(entry); page.read()
    'it was running nothing, the last was load[3]'
    """

    def __init__(self, slots: int) -> None:
        self._count = slots + _SPARE
        self._memory = mmap.mmap(-1, self._count * _ENTRY.size)
        self._free = list(range(self._count))
        self._lock = threading.Lock()

    def acquire(self) -> int:
        """Return an entry for a thread; -1 when none is left, and then nothing is written."""
        with self._lock:
            return self._free.pop(0) if self._free else -1

    def release(self, entry: int) -> None:
        if entry >= 0:
            self.erase(entry)
            with self._lock:
                self._free.append(entry)

    def write(self, entry: int, layer: str, start: int, stop: int) -> None:
        """Write that the items start..stop of a layer are running."""
        if entry < 0:
            return
        _ENTRY.pack_into(self._memory, entry * _ENTRY.size, _RUNNING, layer.encode(), start, stop)

    def erase(self, entry: int) -> None:
        """Mark the entry as ended; it stays to be read as the last batch."""
        if entry >= 0:
            self._memory[entry * _ENTRY.size] = _ENDED

    def read(self) -> str:
        """Return what runs, or ran when the worker died, as a sentence for users."""
        running: list[str] = []
        last: list[str] = []
        for state, layer, start, stop in _ENTRY.iter_unpack(self._memory[:]):
            items = f"[{start}]" if stop - start == 1 else f"[{start}:{stop}]"
            if state:
                (running if state == _RUNNING else last).append(layer.rstrip(b"\0").decode(errors="replace") + items)
        if running:
            return f"it was running {', '.join(running)}"
        return "it was running nothing" + (f", the last was {', '.join(last)}" if last else "")

    def clear(self) -> None:
        """Remove all entries, for the next worker."""
        self._memory[:] = bytes(self._count * _ENTRY.size)
