"""Memory that results have left, kept a while for the next ones: to find and clear new pages costs as much as the copy.

Where results come and go, those that come find what others left: memory to arrive in (`landing`), memory to share
(`shared`). What nobody takes for `KEEP_SECONDS`, or what would be too much, goes back to the system; a worker that runs
short of memory gives all of it back at once. Pieces are of certain sizes, eight to every power of two, so that results
of about one size fit into each other's places.
"""

from __future__ import annotations

import mmap
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any, Generic, TypeVar

MAX_IDLE_SECONDS = 10.0

DEFAULT_LIMIT = 64 << 20
"""Bytes that are kept of each kind, until `keep_at_most` says otherwise."""

_most = DEFAULT_LIMIT
_all: weakref.WeakSet[BufferPool[Any]] = weakref.WeakSet()

T = TypeVar("T")


def size_class(n: int) -> int:
    """The size of a piece for `n` bytes: an eighth more at most, and whole pages.

    >>> size_class(1 << 20) == 1 << 20, size_class((1 << 20) + 1) == 9 << 17
    (True, True)
    """
    step = max(1 << max((n - 1).bit_length() - 4, 0), mmap.PAGESIZE)
    return -(-n // step) * step


def set_limit(nbytes: int) -> None:
    """From now on, of each kind, in this process."""
    global _most
    _most = nbytes


def pooled_bytes() -> int:
    """Bytes that nobody uses now, of all kinds."""
    return sum(one.nbytes for one in list(_all))


def trim(older: float = 0.0) -> None:
    """To the system: what was kept for `older` seconds."""
    for one in list(_all):
        one.trim(older)


class BufferPool(Generic[T]):
    """Pieces of one kind that nobody uses, until they are taken again.

    A destructor may put one here at any moment, on any thread, even while this very thread takes one, and even in a
    forked child in which nobody will ever let go of a lock: so nobody waits for the lock, and who does not get it does
    without.

    Parameters
    ----------
    drop : gives a piece back to the system.
    """

    def __init__(self, drop: Callable[[T], None]) -> None:
        self._drop = drop
        self._pieces: dict[int, deque[tuple[float, T]]] = {}
        self._lock = threading.RLock()
        self.nbytes = 0
        _all.add(self)

    def put(self, size: int, piece: T, *, over: bool = False) -> None:
        """`piece` of `size` bytes, one of `rounded`'s, is free. `over`: keep it even if it is too much."""
        if self._lock.acquire(blocking=False):
            try:
                if over or self.nbytes + size <= _most:
                    self._pieces.setdefault(size, deque()).append((time.monotonic(), piece))
                    self.nbytes += size
                    return
            finally:
                self._lock.release()
        self._drop(piece)

    def take(self, size: int, *, oldest: bool = False) -> T | None:
        """A piece of exactly this size, or None. The last one that was put in, which the processor may still have at
        hand, or the `oldest`."""
        if self._lock.acquire(blocking=False):
            try:
                pieces = self._pieces.get(size)
                if pieces:
                    self.nbytes -= size
                    return (pieces.popleft() if oldest else pieces.pop())[1]
            finally:
                self._lock.release()
        return None

    def trim(self, older: float = 0.0) -> None:
        """To the system: what was kept for `older` seconds."""
        put_before = time.monotonic() - older
        gone: list[T] = []
        with self._lock:
            for size, pieces in list(self._pieces.items()):
                while pieces and pieces[0][0] <= put_before:
                    gone.append(pieces.popleft()[1])
                    self.nbytes -= size
        for piece in gone:
            self._drop(piece)
