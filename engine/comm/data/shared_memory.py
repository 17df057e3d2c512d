"""Buffers in memory that processes of one host share: written once, passed by file descriptor, mapped by all.

What is mapped is copy-on-write: who writes to it gets pages of her own, and nobody else ever sees it. So a value means
the same however it travelled. Its size is sealed, and who gets a descriptor can only read by it. Memory that nobody
maps any more is written again (`kept`): that costs half to three quarters of what new memory does.
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

from howdah.engine.comm.data.buffer_pool import BufferPool, size_class
from howdah.engine.protocol.frames import Buffer, nbytes

SHARED_MIN_BYTES = 64 << 10
"""Bytes of buffers from which a result is shared rather than sent: below, two system calls and a mapping cost more."""

_ALIGN = 64
_PADDING = bytes(_ALIGN)
_SEALS = 0x0001 | 0x0002 | 0x0004  # no more seals, no shrinking (a reader would die), no growing
_ADD_SEALS = 1033
_MOST_PIECES = 512


class SegmentPool:
    """One store's shared memory: the file descriptors that it may have, a quarter of what the system allows, and what
    nobody uses, kept for the next results."""

    def __init__(self) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = min(hard, 1 << 16) if hard != resource.RLIM_INFINITY else 1 << 16
        if soft < wanted:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        self.available = max(soft, wanted) // 4 if os.path.exists("/proc/self/fd") else 0
        """Descriptors that may still be made; none where none can be lent."""
        self._lock = threading.Lock()
        self._kept: BufferPool[int] = BufferPool(self.close)

    def take(self, size: int) -> int | None:
        """A descriptor of `size` bytes that nobody else has or maps; None when there is none left."""
        fd = self._kept.take(size, oldest=True)
        if fd is not None:
            if _is_free(fd):
                return fd
            self._kept.put(size, fd)
        if not self._may_have_one():
            return None
        try:
            fd = os.memfd_create("howdah-result", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        except OSError:
            self._give()
            return None
        try:
            os.ftruncate(fd, size)
            fcntl.fcntl(fd, _ADD_SEALS, _SEALS)
        except OSError:
            self.close(fd)
            return None
        return fd

    def _may_have_one(self) -> bool:
        for _ in range(2):
            with self._lock:
                if self.available > 0:
                    self.available -= 1
                    return True
            self._kept.trim()
        return False

    def _give(self) -> None:
        with self._lock:
            self.available += 1

    def recycle(self, size: int, fd: int) -> None:
        """This process does not use it any more; others may."""
        self._kept.put(size, fd)

    def close(self, fd: int) -> None:
        os.close(fd)
        self._give()

    def trim(self) -> None:
        """To the system: all that is kept."""
        self._kept.trim()

    def __del__(self) -> None:
        self.trim()


def _is_free(fd: int) -> bool:
    """Whether all that `Shared.lend` made of `fd`, and all mappings by them, have ended, wherever they were."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    fcntl.flock(fd, fcntl.LOCK_UN)
    return True


class SharedBuffers:
    """Buffers in one piece of shared memory, which is free with the last reference to this, once nobody maps it."""

    __slots__ = ("_fd", "_segments", "nbytes", "sizes")

    def __init__(self, fd: int, sizes: tuple[int, ...], segments: SegmentPool) -> None:
        self._fd, self.sizes, self._segments = fd, sizes, segments
        self.nbytes = sum(sizes)

    def open_reader(self) -> int:
        """A descriptor to read it by, here or in another process; the caller's to close.

        It is an open file of its own with a lock on it, which the system holds as long as anybody has this descriptor
        or maps memory by it, and no longer, however his process ends. So nothing is written over under a reader.
        """
        fd = os.open(f"/proc/self/fd/{self._fd}", os.O_RDONLY | os.O_CLOEXEC)
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return fd

    def map(self) -> list[memoryview]:
        """The buffers, copy-on-write."""
        fd = self.open_reader()
        try:
            return map_aligned(fd, self.sizes)
        finally:
            os.close(fd)

    def __del__(self) -> None:
        self._segments.recycle(_size_for(self.sizes), self._fd)


def _size_for(sizes: Sequence[int]) -> int:
    return size_class(aligned_size(sizes))


def share(buffers: Sequence[Buffer], segments: SegmentPool) -> SharedBuffers | None:
    """Copy `buffers` into shared memory; None when there is none left (descriptors or memory)."""
    sizes = tuple(map(nbytes, buffers))
    fd = segments.take(_size_for(sizes))
    if fd is None:
        return None
    try:
        os.lseek(fd, 0, os.SEEK_SET)
        write_aligned(fd, buffers)
    except OSError:
        segments.close(fd)
        return None
    return SharedBuffers(fd, sizes, segments)


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
