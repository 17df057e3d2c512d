"""Pools of memory that results have left, for the next ones: finding and clearing new pages costs as much as the copy.

Two kinds of memory are pooled: memory to receive into (`receive_buffers`) and memory to share (`shared_memory`). What
is not taken for `MAX_IDLE_SECONDS`, or exceeds the limit, returns to the system; a worker that runs short of memory
returns all of it at once (`trim`). Pieces have certain sizes, eight to every power of two, so that results of about one
size fit into each other's memory. A leaf.
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
"""Seconds after which the worker returns an unused piece to the system."""

DEFAULT_LIMIT = 64 << 20
"""Bytes that each pool may hold; see `set_limit`."""

_limit = DEFAULT_LIMIT
_pools: weakref.WeakSet[BufferPool[Any]] = weakref.WeakSet()

T = TypeVar("T")


def size_class(n: int) -> int:
    """Return the size of a piece for `n` bytes: an eighth more at most, and whole pages.

    >>> size_class(1 << 20) == 1 << 20, size_class((1 << 20) + 1) == 9 << 17
    (True, True)
    """
    step = max(1 << max((n - 1).bit_length() - 4, 0), mmap.PAGESIZE)
    return -(-n // step) * step


def set_limit(nbytes: int) -> None:
    """Set the bytes that each pool of this process may hold."""
    global _limit
    _limit = nbytes


def pooled_bytes() -> int:
    """Return the bytes in all pools."""
    return sum(one.nbytes for one in list(_pools))


def trim(older: float = 0.0) -> None:
    """Return to the system what has been in a pool for `older` seconds."""
    for one in list(_pools):
        one.trim(older)


class BufferPool(Generic[T]):
    """Unused pieces of one kind of memory.

    A destructor may call `put` at any moment, on any thread, even while this very thread is in `take`, and even in a
    forked child in which a lock is never released. So these calls do not wait for the lock: without it the piece is
    dropped, or none is found.

    Parameters
    ----------
    drop : returns a piece to the system.
    """

    def __init__(self, drop: Callable[[T], None]) -> None:
        self._drop = drop
        self._pieces: dict[int, deque[tuple[float, T]]] = {}
        self.lock = threading.RLock()
        self.nbytes = 0
        _pools.add(self)

    def put(self, size: int, piece: T, *, force: bool = False) -> None:
        """Add a piece of `size` bytes, a size of `size_class`. `force`: even if the pool is full."""
        if self.lock.acquire(blocking=False):
            try:
                if force or self.nbytes + size <= _limit:
                    self._pieces.setdefault(size, deque()).append((time.monotonic(), piece))
                    self.nbytes += size
                    return
            finally:
                self.lock.release()
        self._drop(piece)

    def take(self, size: int, *, oldest: bool = False) -> T | None:
        """Return a piece of exactly this size, or None: the newest, which may be in the processor's cache, or the
        `oldest`."""
        if self.lock.acquire(blocking=False):
            try:
                pieces = self._pieces.get(size)
                if pieces:
                    self.nbytes -= size
                    return (pieces.popleft() if oldest else pieces.pop())[1]
            finally:
                self.lock.release()
        return None

    def trim(self, older: float = 0.0) -> None:
        """Return to the system what has been here for `older` seconds."""
        put_before = time.monotonic() - older
        gone: list[T] = []
        with self.lock:
            for size, pieces in list(self._pieces.items()):
                while pieces and pieces[0][0] <= put_before:
                    gone.append(pieces.popleft()[1])
                    self.nbytes -= size
        for piece in gone:
            self._drop(piece)
