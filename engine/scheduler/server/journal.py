"""The journal's storage: records of opaque frames that a restarted scheduler reads.

`Journal` is the interface that the server uses; `LocalJournal` is a file. A journal elsewhere (HDFS) is plugged in by a
function for its scheme, which is passed to `open_journal` or found by entry point. A record counts once `written` has
reached its number: the server confirms nothing to a client before. A file's records are checked by length and checksum;
a record that a crash has cut off is removed, a file of another format or with damage inside is refused.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import re
import stat
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import entry_points
from itertools import islice
from typing import Protocol, TypeAlias

from howdah.engine.protocol.frames import Buffer, nbytes
from howdah.engine.protocol.messages import PROTOCOL
from howdah.errors import CorruptFile, HowdahError, StorageError
from howdah.version import VERSION

log = logging.getLogger(__name__)

Frames: TypeAlias = Sequence[Buffer]

FORMAT = 2
HEADER_BYTES = 96
GOOD, BROKEN = b"good  ", b"broken"
_HEAD = struct.Struct("<QII")
"""Of a record: bytes of its frames and their lengths, their CRC-32, number of frames. The lengths (u64) follow."""

MOST_BUFFERED = 16 << 20
"""Bytes of records that wait for `flush`; more are written at once."""

MOST_IOVEC = 512
"""Buffers of one system call."""

ENTRY_POINTS = "howdah.journals"


class Journal(Protocol):
    """The storage of one scheduler's records. All calls come from one thread.

    `written`: the number of the last record that survives the end of this process. `nbytes`: the journal's size.
    `failure`: why nothing is written any more; '' while it is.
    """

    written: int
    nbytes: int
    failure: str

    def replay(self) -> Iterator[list[memoryview]]:
        """Yield the frames of every record, oldest first; the first `append` comes after the last of them.

        Raises HowdahError for a journal that cannot be used.
        """

    def append(self, frames: Frames) -> int:
        """Add a record and return its number. The frames must not change before it is written."""

    def flush(self) -> None:
        """Begin to write what was appended.

        A local file has written it when this returns; another journal may take longer, and increases `written` later,
        on this thread.
        """

    def sync(self) -> None:
        """Protect what was written against the end of the machine, as far as possible; called twice a second."""

    def compact(self, snapshot: Sequence[Frames]) -> None:
        """Begin to replace all records up to now by these, in one step; records appended later stay."""

    def close(self, done: bool = False) -> None:
        """Write what was appended. `done`: the cluster has ended, and nothing of the journal is to remain."""


Opener: TypeAlias = Callable[[str], Journal]


def open_journal(where: str, openers: Mapping[str, Opener] | None = None) -> Journal:
    """Return the journal at `where`: a path, or ``scheme:...`` of `openers` or of an entry point `howdah.journals`.

    Raises HowdahError when no opener has this scheme.

    >>> open_journal("/tmp/journal").nbytes
    0
    >>> open_journal("hdfs2://nn/x")
    Traceback (most recent call last):
    ...
    howdah.errors.HowdahError: no journal can be opened at 'hdfs2://nn/x': no installed package has the scheme 'hdfs2'
    """
    scheme, colon, rest = where.partition(":")
    if not colon or "/" in scheme:
        return LocalJournal(where)
    if scheme == "file":
        return LocalJournal(rest.removeprefix("//"))
    if openers and scheme in openers:
        return openers[scheme](where)
    for entry in entry_points(group=ENTRY_POINTS, name=scheme):
        opener: Opener = entry.load()
        return opener(where)
    raise HowdahError(f"no journal can be opened at {where!r}: no installed package has the scheme {scheme!r}")


def header(state: bytes = GOOD) -> bytes:
    """Return the first bytes of a journal: whether it is usable, and the versions that wrote its records."""
    line = b"howdah journal %d protocol %d howdah %s" % (FORMAT, PROTOCOL, VERSION.encode())
    return (state + b" " + line).ljust(HEADER_BYTES - 1) + b"\n"


def check_header(found: bytes, where: str) -> None:
    """Raise HowdahError unless a journal with this header can be read."""
    match = re.fullmatch(rb"(good|broken) +howdah journal (\S+) protocol (\S+) howdah (\S+) *\n", found)
    if match is None:
        raise CorruptFile(
            f"{where} is not a journal of howdah's; give another path, or move it away to start with nothing"
        )
    if found[6:] != header()[6:]:
        theirs = b"format %s, protocol %s, howdah %s" % match.groups()[1:]
        raise HowdahError(
            f"the journal {where} was written by another version ({theirs.decode()}); this is format {FORMAT}, "
            f"protocol {PROTOCOL}, howdah {VERSION}. Start the scheduler with the version that wrote it, or "
            f"move the journal away to start with nothing"
        )
    if match[1] == b"broken":
        raise HowdahError(
            f"the journal {where} ends too early: writing it failed while its scheduler continued (see its log). "
            f"Nothing can be started again from it; move it away to start with nothing"
        )


def pack_record(frames: Frames) -> list[Buffer]:
    """Return a record as it is written: header, lengths, frames."""
    sizes = [nbytes(frame) for frame in frames]
    lengths = struct.pack(f"<{len(sizes)}Q", *sizes)
    crc = zlib.crc32(lengths)
    for frame in frames:
        crc = zlib.crc32(frame, crc)
    return [_HEAD.pack(len(lengths) + sum(sizes), crc, len(sizes)) + lengths, *frames]


class LocalJournal:
    """A journal in a file of this machine, which one scheduler at a time can open.

    What was flushed survives the end of the process; the end of the machine may lose the last second.
    """

    def __init__(self, path: str) -> None:
        self.path = os.path.abspath(path)
        self.written = self.nbytes = self._appended = 0
        self.failure = ""
        self._file = -1
        self._buffers: list[Buffer] = []
        self._buffered = 0
        self._side: list[Buffer] | None = None
        self._dirty = False
        self._busy: threading.Thread | None = None

    def replay(self) -> Iterator[list[memoryview]]:
        try:
            yield from self._replay()
        except BaseException:
            if self._file >= 0:
                os.close(self._file)
                self._file = -1
            raise

    def _replay(self) -> Iterator[list[memoryview]]:
        try:
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._lock(self._file)
            if not stat.S_ISREG(os.fstat(self._file).st_mode):
                raise StorageError(f"the journal {self.path} is not a file; give a path of one")
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.path + ".new")
            size = os.fstat(self._file).st_size
            if size < HEADER_BYTES:  # new, or the process that made it ended at once
                os.ftruncate(self._file, 0)
                _write(self._file, [header()])
                self.nbytes = HEADER_BYTES
                return
        except OSError as error:
            if isinstance(error, HowdahError):
                raise
            raise StorageError(f"the journal {self.path} cannot be opened: {error.strerror or error}") from error
        with open(self._file, "rb", closefd=False) as file:
            check_header(file.read(HEADER_BYTES), self.path)
            at = HEADER_BYTES
            while at < size:
                found, end = self._record(file.read, at, size)
                if found is None:
                    log.warning(
                        "the journal %s ends within a record: the last %d bytes are removed", self.path, size - at
                    )
                    os.ftruncate(self._file, at)
                    break
                yield found
                at = end
        self.nbytes = at
        os.lseek(self._file, at, os.SEEK_SET)

    def _record(self, read: Callable[[int], bytes], at: int, size: int) -> tuple[list[memoryview] | None, int]:
        """Return the record at `at` and its end; None in its place if it was not written completely."""
        head = read(_HEAD.size)
        if len(head) < _HEAD.size:
            return None, at
        total, crc, count = _HEAD.unpack(head)
        end = at + _HEAD.size + total
        if not total and not any(read(size - at)):  # blocks that were allocated and never written
            return None, at
        if end > size:
            return None, at
        body = memoryview(read(total))
        if total < 8 * count or zlib.crc32(body) != crc:
            if end == size:
                return None, at
            raise CorruptFile(
                f"the journal {self.path} is damaged at byte {at} of {size}. Nothing can be started again from it; "
                f"move it away to start with nothing"
            )
        lengths = body[: 8 * count].cast("Q")
        frames, begin = [], 8 * count
        for length in lengths:
            frames.append(body[begin : begin + length])
            begin += length
        return frames, end

    def _lock(self, file: int) -> None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StorageError(f"the journal {self.path} is another running scheduler's; give each its own") from None

    def append(self, frames: Frames) -> int:
        self._appended += 1
        if not self.failure:
            record = pack_record(frames)
            self._buffers += record
            self._buffered += sum(map(nbytes, record))
            if self._buffered > MOST_BUFFERED:
                self.flush()
        return self._appended

    def flush(self) -> None:
        if self._buffers:
            buffers, self._buffers = self._buffers, []
            size, self._buffered = self._buffered, 0
            try:
                _write(self._file, buffers)
            except OSError as error:
                self._on_failure(error)
            else:
                self.nbytes += size
                self._dirty = True
                if self._side is not None:
                    self._side += buffers
        self.written = self._appended

    def _on_failure(self, error: OSError) -> None:
        self.failure = f"the journal {self.path} cannot be written: {error.strerror or error}"
        with contextlib.suppress(OSError):
            os.pwrite(self._file, BROKEN, 0)  # in place: this needs no room
        log.critical("%s; the scheduler continues, but after its end it cannot be restarted", self.failure)

    def sync(self) -> None:
        if self._dirty and self._busy is None and not self.failure:
            self._dirty = False
            self._background(lambda: os.fdatasync(self._file), lambda error: self._on_failure(error) if error else None)

    def _background(self, work: Callable[[], None], then: Callable[[OSError | None], None]) -> None:
        loop = asyncio.get_running_loop()

        def run() -> None:
            failure: OSError | None = None
            try:
                work()
            except OSError as error:
                failure = error
            with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(ended, failure)

        def ended(failure: OSError | None) -> None:
            self._busy = None
            if self._file >= 0:
                then(failure)

        self._busy = threading.Thread(target=run, name="howdah-journal", daemon=True)
        self._busy.start()

    @property
    def compacting(self) -> bool:
        """Whether a compaction is under way."""
        return self._side is not None

    def compact(self, snapshot: Sequence[Frames]) -> None:
        if self._busy is not None or self.compacting or self.failure:
            return
        self.flush()
        self._side = []
        fresh = os.open(self.path + ".new", os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        self._lock(fresh)
        began = time.perf_counter()

        def write() -> None:
            _write(fresh, [header()])
            for frames in snapshot:
                _write(fresh, pack_record(frames))
            os.fdatasync(fresh)

        def swap(error: OSError | None) -> None:
            self.flush()
            side, self._side = self._side or [], None
            try:
                if error is not None:
                    raise error
                _write(fresh, side)
                os.rename(self.path + ".new", self.path)
            except OSError as failure:
                log.error("the journal %s could not be compacted, and continues to grow: %s", self.path, failure)
                os.close(fresh)
                with contextlib.suppress(OSError):
                    os.unlink(self.path + ".new")
                return
            os.close(self._file)
            before, self._file = self.nbytes, fresh
            self.nbytes = os.fstat(fresh).st_size
            took = time.perf_counter() - began
            log.info("the journal %s was compacted in %.3f s: %d to %d bytes", self.path, took, before, self.nbytes)

        self._background(write, swap)

    def close(self, done: bool = False) -> None:
        self.flush()
        busy, file = self._busy, self._file
        self._file = -1
        if busy is not None:
            busy.join()
        if file >= 0:
            if done:
                with contextlib.suppress(OSError):
                    os.unlink(self.path)
            os.close(file)
        with contextlib.suppress(OSError):
            os.unlink(self.path + ".new")


def _write(file: int, buffers: Sequence[Buffer]) -> None:
    """Write all of `buffers` at the file's position."""
    views = iter([view for view in (memoryview(buffer).cast("B") for buffer in buffers) if view.nbytes])
    batch = list(islice(views, MOST_IOVEC))
    while batch:
        done = os.writev(file, batch)
        while batch and done >= batch[0].nbytes:
            done -= batch[0].nbytes
            batch.pop(0)
        if done:
            batch[0] = batch[0][done:]
        elif not batch:
            batch = list(islice(views, MOST_IOVEC))
