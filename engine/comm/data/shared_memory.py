"""Buffers in memory that processes of one host share: written once, passed by file descriptor, mapped by all.

A mapping is copy-on-write: a process that writes to it gets pages of its own, and no other sees the change. So a value
is the same however it travelled. The memory's size is sealed, and a receiver of a descriptor can only read by it.
Memory that no process maps any more is written again (`buffer_pool`), which costs half to three quarters of what new
memory does. For the worker's store and for `transfer`.
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
"""Bytes of buffers from which a result is shared: below, sending it costs less than two system calls and a mapping."""

_ALIGN = 64
_PADDING = bytes(_ALIGN)
_SEALS = 0x0001 | 0x0002 | 0x0004  # no more seals, no shrinking (a reader would die), no growing
_ADD_SEALS = 1033
_MOST_PIECES = 512


class SegmentPool:
    """The shared memory of one store: up to a quarter of the file descriptors that the system allows, and a pool of the
    unused ones."""

    def __init__(self) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = min(hard, 1 << 16) if hard != resource.RLIM_INFINITY else 1 << 16
        if soft < wanted:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        self.available = max(soft, wanted) // 4 if os.path.exists("/proc/self/fd") else 0
        """Descriptors that may still be created; 0 where none could be opened for readers."""
        self._lock = threading.Lock()
        self._pool: BufferPool[int] = BufferPool(self.close)

    def take(self, size: int) -> int | None:
        """Return a descriptor of `size` bytes that no other process has or maps; None when none is left."""
        fd = self._pool.take(size, oldest=True)
        if fd is not None:
            if _is_free(fd):
                return fd
            self._pool.put(size, fd)
        if not self._reserve():
            return None
        try:
            fd = os.memfd_create("howdah-result", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        except OSError:
            self._unreserve()
            return None
        try:
            os.ftruncate(fd, size)
            fcntl.fcntl(fd, _ADD_SEALS, _SEALS)
        except OSError:
            self.close(fd)
            return None
        return fd

    def _reserve(self) -> bool:
        for _ in range(2):
            with self._lock:
                if self.available > 0:
                    self.available -= 1
                    return True
            self._pool.trim()
        return False

    def _unreserve(self) -> None:
        with self._lock:
            self.available += 1

    def recycle(self, size: int, fd: int) -> None:
        """Pool a descriptor that this process does not use any more; others may still map it."""
        self._pool.put(size, fd)

    def close(self, fd: int) -> None:
        """Return a descriptor to the system."""
        os.close(fd)
        self._unreserve()

    def trim(self) -> None:
        """Return all pooled memory to the system."""
        self._pool.trim()

    def __del__(self) -> None:
        self.trim()


def _is_free(fd: int) -> bool:
    """Return whether no process has a descriptor of `SharedBuffers.open_reader` for `fd`, nor a mapping by one."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    fcntl.flock(fd, fcntl.LOCK_UN)
    return True


class SharedBuffers:
    """Buffers in one piece of shared memory. It is reused after the last reference to this and the last mapping."""

    __slots__ = ("_fd", "_segments", "nbytes", "sizes")

    def __init__(self, fd: int, sizes: tuple[int, ...], segments: SegmentPool) -> None:
        self._fd, self.sizes, self._segments = fd, sizes, segments
        self.nbytes = sum(sizes)

    def open_reader(self) -> int:
        """Return a descriptor to read it by, here or in another process. The caller must close it.

        It is an open file of its own with a lock on it. The kernel holds the lock as long as any process has this
        descriptor or maps memory by it, however the process ends. So nothing is overwritten under a reader.
        """
        fd = os.open(f"/proc/self/fd/{self._fd}", os.O_RDONLY | os.O_CLOEXEC)
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return fd

    def map(self) -> list[memoryview]:
        """Return the buffers, mapped copy-on-write."""
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
    """Copy `buffers` into shared memory; None when descriptors or memory are used up."""
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
    """Return the bytes that buffers of these sizes take in a file.

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
    """Map the buffers in `fd`, copy-on-write. The descriptor may be closed; the mapping ends with its last view.

    Raises
    ------
    OSError : the file is shorter than that, or there is no room for another mapping.
    """
    n = offset + aligned_size(sizes)
    if os.fstat(fd).st_size < n:
        raise OSError(f"the file has {os.fstat(fd).st_size} bytes instead of {n}")
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
