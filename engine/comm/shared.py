"""Buffers in memory that processes of one host share: written once, sealed, passed by file descriptor, mapped by all.

What is mapped is copy-on-write: who writes to it gets pages of her own, and nobody else ever sees it. So a value means
the same however it travelled.
"""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
import resource
import threading
import weakref
from collections.abc import Sequence

from howdah.engine.comm.frames import Buffer, nbytes

SHARED_LEAST = 64 << 10
"""Bytes of buffers from which a result is shared rather than sent: below, two system calls and a mapping cost more."""

_ALIGN = 64
_PADDING = bytes(_ALIGN)
_SEALS = 0x0001 | 0x0002 | 0x0004 | 0x0008  # no more seals, no shrinking (a reader would die), growing, writing
_ADD_SEALS = 1033
_MOST_PIECES = 512


class Budget:
    """How many file descriptors may be kept for shared memory: a quarter of what the system allows."""

    def __init__(self) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = min(hard, 1 << 16) if hard != resource.RLIM_INFINITY else 1 << 16
        if soft < wanted:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        self.left = max(soft, wanted) // 4
        self._lock = threading.Lock()

    def take(self) -> bool:
        with self._lock:
            if self.left <= 0:
                return False
            self.left -= 1
            return True

    def give(self) -> None:
        with self._lock:
            self.left += 1


class Shared:
    """Buffers in one piece of sealed memory; closed with its last reference."""

    __slots__ = ("_budget", "fd", "nbytes", "sizes")

    def __init__(self, fd: int, sizes: tuple[int, ...], budget: Budget) -> None:
        self.fd, self.sizes, self._budget = fd, sizes, budget
        self.nbytes = sum(sizes)

    def __del__(self) -> None:
        os.close(self.fd)
        self._budget.give()


def share(buffers: Sequence[Buffer], budget: Budget) -> Shared | None:
    """Copy `buffers` into shared memory; None when there is none left (descriptors or memory)."""
    if not budget.take():
        return None
    try:
        fd = os.memfd_create("howdah-result", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    except OSError:
        budget.give()
        return None
    made = Shared(fd, tuple(map(nbytes, buffers)), budget)
    try:
        write_aligned(fd, buffers)
        fcntl.fcntl(fd, _ADD_SEALS, _SEALS)
    except OSError:
        return None
    return made


def write_aligned(fd: int, buffers: Sequence[Buffer]) -> None:
    """Write `buffers`, each at the next multiple of 64 bytes."""
    pieces: list[memoryview] = []
    for buffer in buffers:
        piece = memoryview(buffer).cast("B")
        pieces.append(piece)
        if len(piece) % _ALIGN:
            pieces.append(memoryview(_PADDING)[len(piece) % _ALIGN :])
    at = 0
    while at < len(pieces):
        done = os.writev(fd, pieces[at : at + _MOST_PIECES])
        while at < len(pieces) and done >= len(pieces[at]):
            done -= len(pieces[at])
            at += 1
        if done:
            pieces[at] = pieces[at][done:]


def aligned_size(sizes: Sequence[int]) -> int:
    """Bytes that buffers of these sizes take in a file.

    >>> aligned_size([1, 64, 65])
    256
    """
    return sum(-(-size // _ALIGN) * _ALIGN for size in sizes)


# -- mapping ----------------------------------------------------------------------------------------------------------

# Not `mmap.mmap`: until Python 3.13 that keeps a descriptor of its own for every mapping.
_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
_FAILED = ctypes.c_void_p(-1).value


def map_aligned(fd: int, sizes: Sequence[int], offset: int = 0) -> list[memoryview]:
    """The buffers in `fd`, copy-on-write. The descriptor may be closed; the mapping ends with its last view.

    Raises
    ------
    OSError : the file is shorter than that, or there is no room for another mapping.
    """
    n = offset + aligned_size(sizes)
    if os.fstat(fd).st_size < n:
        raise OSError(f"{os.fstat(fd).st_size} bytes where {n} should be")
    if n == 0:
        return [memoryview(b"") for _ in sizes]
    address = _libc.mmap(None, n, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_PRIVATE, fd, 0)
    if address == _FAILED:
        raise OSError(ctypes.get_errno(), f"cannot map {n} bytes: {os.strerror(ctypes.get_errno())}")
    pages = -(-n // mmap.PAGESIZE) * mmap.PAGESIZE
    memory = (ctypes.c_ubyte * pages).from_address(address)
    weakref.finalize(memory, _libc.munmap, address, n).atexit = False
    whole = memoryview(memory).cast("B")
    found: list[memoryview] = []
    at = offset
    for size in sizes:
        found.append(whole[at : at + size])
        at += -(-size // _ALIGN) * _ALIGN
    return found
