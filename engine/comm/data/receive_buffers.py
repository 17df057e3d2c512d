"""Memory for results that arrive: it is not cleared, and large pieces are reused (`buffer_pool`).

For a result of a MiB the pages of new memory alone cost a third of a millisecond, as much as the rest of its arrival.
For the modules of this folder.
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
"""Bytes from which memory is mapped and pooled."""

MAPPED_BYTES = 4 << 20
"""Bytes that are mapped at once, about."""

HUGE_PAGE = 2 << 20

_MADV_POPULATE_WRITE = 23

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
_libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
_FAILED = ctypes.c_void_p(-1).value


def allocate(n: int) -> memoryview:
    """Return writable memory of `n` bytes with undefined content. It is released with its last view.

    Raises
    ------
    MemoryError : the system has no memory.

    >>> allocate(5).nbytes
    5
    """
    if n >= POOLED_MIN_BYTES:
        return _allocate_pooled(n)
    numpy = sys.modules.get("numpy")
    if numpy is not None and hasattr(numpy, "empty"):  # another thread may be importing it
        return memoryview(numpy.empty(n, "u1"))
    return memoryview(bytearray(n))


class _MappedPiece(NamedTuple):
    address: int
    size: int
    touched: bool
    """Whether its pages are in memory."""


def _allocate_pooled(n: int) -> memoryview:
    size = size_class(n)
    piece = _pool.take(size) or _new_piece(size)
    if not piece.touched:
        # All pages in one call: a third less CPU than a fault for each. Before Linux 5.14 there is a fault for each.
        _libc.madvise(piece.address, n, _MADV_POPULATE_WRITE)
    memory = (ctypes.c_ubyte * size).from_address(piece.address)
    weakref.finalize(memory, _pool.put, size, piece._replace(touched=True)).atexit = False
    return memoryview(memory).cast("B")[:n]


def _new_piece(size: int) -> _MappedPiece:
    """Map several pieces, which fill huge pages together; return one and pool the others."""
    count = max(MAPPED_BYTES // size, 1)
    address = _map_aligned(size * count)
    for at in range(1, count):
        _pool.put(size, _MappedPiece(address + at * size, size, False), force=True)
    return _MappedPiece(address, size, False)


def _map_aligned(size: int) -> int:
    """Map `size` bytes that start at a huge page."""
    room = size + HUGE_PAGE
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    found = _libc.mmap(None, room, mmap.PROT_READ | mmap.PROT_WRITE, flags, -1, 0)
    if found == _FAILED:
        raise MemoryError(f"no memory of {size} bytes for a result that arrives: {os.strerror(ctypes.get_errno())}")
    begin: int = -(-found // HUGE_PAGE) * HUGE_PAGE
    for first, last in ((found, begin), (begin + size, found + room)):
        if first < last:
            _libc.munmap(first, last - first)
    _libc.madvise(begin, size, mmap.MADV_HUGEPAGE)
    return begin


def _unmap(piece: _MappedPiece) -> None:
    _libc.munmap(piece.address, piece.size)


_pool: BufferPool[_MappedPiece] = BufferPool(_unmap)
