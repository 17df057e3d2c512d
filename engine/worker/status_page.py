"""What a worker is running, in memory that it shares with its supervisor: readable after the worker has died.

Written by slots, once at a run's begin and once at its end; read by the supervisor. A leaf.
"""

from __future__ import annotations

import mmap
import struct
import threading

_LINE = struct.Struct("<B63sqq")
_ENTRY = _LINE.size
_RUNS, _OVER = 1, 2
_SPARE = 30
"""Entries beyond those of the slots: for tasks that wait for others, and have left theirs."""


class StatusPage:
    """One line per running task.

    >>> board = StatusPage(2)
    >>> entry = board.acquire(); board.write(entry, "load", 3, 4); board.read()
    'it was running load[3]'
    >>> board.erase(entry); board.read()
    'it was running nothing, the last was load[3]'
    """

    def __init__(self, slots: int) -> None:
        self._count = slots + _SPARE
        self._memory = mmap.mmap(-1, self._count * _ENTRY)
        self._free = list(range(self._count))
        self._lock = threading.Lock()

    def acquire(self) -> int:
        """An entry for a thread; -1 when there is none left, and nothing is written then."""
        with self._lock:
            return self._free.pop(0) if self._free else -1

    def release(self, entry: int) -> None:
        if entry >= 0:
            self.erase(entry)
            with self._lock:
                self._free.append(entry)

    def write(self, entry: int, layer: str, start: int, stop: int) -> None:
        if entry < 0:
            return
        _LINE.pack_into(self._memory, entry * _ENTRY, _RUNS, layer.encode(), start, stop)

    def erase(self, entry: int) -> None:
        """What the entry says is over; it stays to be read as the last."""
        if entry >= 0:
            self._memory[entry * _ENTRY] = _OVER

    def read(self) -> str:
        """What runs, or ran when the worker died, for people."""
        running: list[str] = []
        last: list[str] = []
        for state, layer, start, stop in _LINE.iter_unpack(self._memory[:]):
            items = f"[{start}]" if stop - start == 1 else f"[{start}:{stop}]"
            if state:
                (running if state == _RUNS else last).append(layer.rstrip(b"\0").decode(errors="replace") + items)
        if running:
            return f"it was running {', '.join(running)}"
        return "it was running nothing" + (f", the last was {', '.join(last)}" if last else "")

    def clear(self) -> None:
        """For the next worker."""
        self._memory[:] = bytes(self._count * _ENTRY)
