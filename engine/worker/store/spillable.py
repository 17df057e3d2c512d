"""One large result: in memory, in shared memory, on disk, or in several of them, and its moves between these.

Used by the store, on slot threads, transfer threads and the spill thread. A value that comes back from disk or was put
into shared memory is equal to the original, not the same object: as if it had travelled.
"""

from __future__ import annotations

import itertools
import logging
import os
import sys
import threading
import zlib
from collections.abc import Sequence
from typing import Any, NamedTuple

from howdah.engine.comm.data.shared_memory import (
    SHARED_MIN_BYTES,
    SegmentPool,
    SharedBuffers,
    map_aligned,
    share,
    write_aligned,
)
from howdah.engine.comm.data.transfer import MISSING, Packed
from howdah.engine.protocol.frames import nbytes
from howdah.engine.serialization.serialize import dumps_out_of_band, loads

log = logging.getLogger(__name__)

_clock = itertools.count()
_BUFFERS_ONLY = frozenset({"numpy", "pandas"})
"""Packages whose values are their buffers: one over shared memory is as good as the original."""

_UNUSED = 2
"""`sys.getrefcount` of an unused value: the reference of this object, and the argument of the call."""


class ResultLost(Exception):
    """The file of a result is missing or damaged."""


class SpillFile(NamedTuple):
    """The file of a result: sizes and checksums of its pickle and its buffers."""

    path: str
    sizes: tuple[int, ...]
    checksums: tuple[int, ...]

    def read(self) -> tuple[memoryview, list[memoryview]]:
        """Map and check the pickle and the buffers. Raises ResultLost."""
        try:
            fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                views = map_aligned(fd, self.sizes)
            finally:
                os.close(fd)
        except OSError as error:
            raise ResultLost(f"{self.path} cannot be read: {error}") from error
        for view, checksum in zip(views, self.checksums):
            if zlib.crc32(view) != checksum:
                raise ResultLost(f"{self.path} is damaged: its checksum is wrong")
        return views[0], views[1:]

    def remove(self) -> None:
        try:
            os.unlink(self.path)
        except FileNotFoundError:
            log.warning("%s was removed by another process", self.path)


class SpillableResult:
    """A result of `size` bytes, in memory at first."""

    __slots__ = ("_lock", "dropped", "file", "pieces", "share_count", "shared", "size", "stays", "used", "value")

    def __init__(self, value: Any, size: int, pieces: list[tuple[int, int]]) -> None:
        self.value, self.size, self.pieces = value, size, pieces
        self.used = next(_clock)
        self.shared: tuple[bytes, SharedBuffers] | None = None
        self.file: SpillFile | None = None
        self.dropped = False
        self.share_count = 0
        """How often it was written to shared memory."""
        self.stays = False
        """Whether it cannot be pickled, and so cannot be spilled."""
        self._lock = threading.Lock()

    def get(self) -> tuple[Any, bool]:
        """Return the value, and whether it was read from disk. Raises ResultLost."""
        self.used = next(_clock)
        value = self.value
        if value is not MISSING:
            return value, False
        with self._lock:
            if self.value is not MISSING:
                return self.value, False
            if self.file is None:
                raise ResultLost("it was freed in the meantime")
            self.value = value = loads(*self.file.read())
            return value, True

    def pack(self, share_it: bool, segments: SegmentPool) -> Packed:
        """Return the pickled value. Raises ResultLost, Unpicklable."""
        self.used = next(_clock)
        with self._lock:
            if self.shared is not None and share_it:
                return Packed(self.shared[0], shared=self.shared[1])
            value = self.value
            if value is MISSING:
                if self.file is None:
                    raise ResultLost("it was freed in the meantime")
                return Packed(*self.file.read())
            data, buffers = dumps_out_of_band(value)
            if not share_it or sum(map(nbytes, buffers)) < SHARED_MIN_BYTES:
                return Packed(data, buffers)
            shared = share(buffers, segments)
            if shared is None:
                return Packed(data, buffers)
            self.share_count += 1
            if self.share_count > 1 and type(value).__module__.partition(".")[0] in _BUFFERS_ONLY and not self.dropped:
                # From the second request on all share this memory, and the holder's own value moves there too, or it
                # would be in memory twice. For a single request, which is the rule, that would cost a fifth more.
                self.shared = (data, shared)
                self.value = loads(data, shared.map())
            return Packed(data, shared=shared)

    @property
    def in_memory(self) -> bool:
        return self.value is not MISSING

    @property
    def in_use(self) -> bool:
        """Whether the value is referenced from outside the store: then dropping it would free nothing."""
        return sys.getrefcount(self.value) > _UNUSED

    def spill(self, path: str) -> int:
        """Write the value to `path` and drop it from memory; returns the bytes written. OSError changes nothing."""
        with self._lock:
            value = self.value
            if self.dropped or value is MISSING:
                return 0
            written = 0
            if self.file is None:
                try:
                    data, buffers = dumps_out_of_band(value)
                except BaseException:  # noqa: BLE001  # a user's __reduce__; who fetches it gets the reason
                    self.stays = True
                    return 0
                parts: Sequence[Any] = [data, *buffers]
                self.file = _write(path, parts)
                written = sum(self.file.sizes)
            self.value, self.shared = MISSING, None
            return written

    def drop(self) -> None:
        """Free the result, and remove its file."""
        with self._lock:
            self.dropped = True
            self.shared = None
            file, self.file = self.file, None
        if file is not None:
            file.remove()


def _write(path: str, parts: Sequence[Any]) -> SpillFile:
    made = SpillFile(path, tuple(map(nbytes, parts)), tuple(map(zlib.crc32, parts)))
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        write_aligned(fd, parts)
    except BaseException:
        os.unlink(path)
        raise
    finally:
        os.close(fd)
    return made
