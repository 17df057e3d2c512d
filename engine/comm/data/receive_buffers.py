"""Memory for what arrives: nobody has cleared it in vain, and large pieces are used again (`kept`).

A result of a MiB that comes into new memory costs a third of a millisecond for its pages alone, as much as all else
that its arrival costs.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import sys
import weakref
from typing import NamedTuple

from howdah.engine.comm.data.buffer_pool import BufferPool, size_class

POOLED_MIN_BYTES = 256 << 10
"""Bytes from which memory is the system's own, and used again."""

MAPPED_BYTES = 4 << 20
"""About so much is asked for at once."""

HUGE_PAGE = 2 << 20

_MADV_POPULATE_WRITE = 23

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
_libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
_FAILED = ctypes.c_void_p(-1).value


def allocate(n: int) -> memoryview:
    """Writable memory of `n` bytes that may hold anything. It is given up with its last view.

    Raises
    ------
    MemoryError : the system has none.

    >>> allocate(5).nbytes
    5
    """
    if n >= POOLED_MIN_BYTES:
        return _large(n)
    numpy = sys.modules.get("numpy")
    if numpy is not None and hasattr(numpy, "empty"):  # half imported by another thread, it has none yet
        return memoryview(numpy.empty(n, "u1"))
    return memoryview(bytearray(n))


class _Piece(NamedTuple):
    address: int
    size: int
    touched: bool
    """Whether its pages are there."""


def _large(n: int) -> memoryview:
    size = size_class(n)
    piece = _kept.take(size) or _new_piece(size)
    if not piece.touched:
        # All pages in one go: a third less CPU than a fault for each. Before Linux 5.14 they come one by one as ever.
        _libc.madvise(piece.address, n, _MADV_POPULATE_WRITE)
    memory = (ctypes.c_ubyte * size).from_address(piece.address)
    weakref.finalize(memory, _kept.put, size, piece._replace(touched=True)).atexit = False
    return memoryview(memory).cast("B")[:n]


def _new_piece(size: int) -> _Piece:
    """One of several, of which the others are for who comes next: together they fill huge pages."""
    count = max(MAPPED_BYTES // size, 1)
    address = _map_aligned(size * count)
    for at in range(1, count):
        _kept.put(size, _Piece(address + at * size, size, False), over=True)
    return _Piece(address, size, False)


def _map_aligned(size: int) -> int:
    """Map `size` bytes, from the beginning of a huge page on."""
    room = size + HUGE_PAGE
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    found = _libc.mmap(None, room, mmap.PROT_READ | mmap.PROT_WRITE, flags, -1, 0)
    if found == _FAILED:
        raise MemoryError(f"no {size} bytes for a result that arrives: {os.strerror(ctypes.get_errno())}")
    begin: int = -(-found // HUGE_PAGE) * HUGE_PAGE
    for first, last in ((found, begin), (begin + size, found + room)):
        if first < last:
            _libc.munmap(first, last - first)
    _libc.madvise(begin, size, mmap.MADV_HUGEPAGE)
    return begin


def _unmap(piece: _Piece) -> None:
    _libc.munmap(piece.address, piece.size)


_kept: BufferPool[_Piece] = BufferPool(_unmap)
