"""The scheduler's journal in HDFS, where it outlives the master's container and node. One folder of small files.

    <url>-<epoch>/snapshot-<last>          all records up to number <last>
    <url>-<epoch>/records-<first>-<last>   these records

Every file appears complete, by a rename, and is never changed: nothing depends on what HDFS makes of a file that a dead
process left open. A scheduler that opens the journal renames the folder first: a scheduler that YARN believes dead, and
that goes on writing, finds its folder gone and confirms nothing more. The engine finds this module by the entry point
`howdah.journals`; it implements the engine's `Journal` protocol and its form of a record. Closing a file in HDFS takes
half a second as a rule, and no one waits for it: what is not confirmed to a client yet, the client sends again to the
next scheduler.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import posixpath
import re
import struct
import threading
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence

from howdah.backoff import delays
from howdah.engine.protocol.frames import Buffer, nbytes
from howdah.engine.scheduler.server.journal import Frames, pack_record
from howdah.errors import CorruptFile, HowdahError, PathExists, PathMissing
from howdah.io import FileSystem, open_filesystem

log = logging.getLogger(__name__)

MERGE_FILES = 64
"""When there are this many small files of records, they are merged into one."""

MERGE_BYTES = 4 << 20
"""Files of records that are larger than this together are not merged: compaction is near."""

CLOSE_SECONDS = 5.0
"""How long `close` waits for what is not written."""

RETRY_SECONDS = 2.0
"""The wait between two attempts to write a file."""

_HEAD = struct.Struct("<QII")
_NAME = re.compile(r"(snapshot|records)-(?:(\d+)-)?(\d+)")


def open_journal(where: str) -> HdfsJournal:
    """Return the journal at this URL; nothing is contacted yet."""
    return HdfsJournal(*open_filesystem(where))


def find_folder(files: FileSystem, path: str) -> str:
    """Return the folder of the journal's newest epoch; "" where there is none."""
    parent, name = posixpath.split(path)
    if not files.exists(parent):
        return ""
    found = [re.fullmatch(re.escape(name) + r"-(\d+)", posixpath.basename(one.path)) for one in files.ls(parent)]
    epochs = [int(match[1]) for match in found if match]
    return f"{path}-{max(epochs)}" if epochs else ""


class HdfsJournal:
    """A journal in files of HDFS; see the module, and `howdah.engine.scheduler.server.journal.Journal`.

    A thread of its own writes one file after the other; what is appended meanwhile goes into the next one.

    Parameters
    ----------
    files, path : the file system, and the path without the epoch.
    merge_files : number of small files of records that are merged into one.
    retry_seconds : the wait between two attempts to write a file.
    """

    def __init__(
        self,
        files: FileSystem,
        path: str,
        *,
        merge_files: int = MERGE_FILES,
        retry_seconds: float = RETRY_SECONDS,
    ) -> None:
        self.files, self.path = files, path
        self.merge_files, self.retry_seconds = merge_files, retry_seconds
        self.folder = ""
        self.written = self.nbytes = 0
        self.failure = ""
        self._guard = threading.Condition()
        # Guarded: records appended and not queued, the numbers of the last ones, and the files to write.
        self._buffers: list[Buffer] = []
        self._appended = self._enqueued = 0
        self._flush = self._ended = False
        self._jobs: deque[_PendingWrite] = deque()
        self._small: list[_PendingWrite] = []  # files of records that may be merged
        self._base = 0  # number of the newest snapshot
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    # -- reading

    def replay(self) -> Iterator[list[memoryview]]:
        """Take the newest epoch's folder over, and yield its records."""
        before = find_folder(self.files, self.path)
        epoch = int(before.rpartition("-")[2]) + 1 if before else 1
        self.folder = f"{self.path}-{epoch}"
        if before:
            self.files.rename(before, self.folder)
        else:
            self.files.mkdirs(self.folder)
        for name, last in self._listed():
            data = memoryview(self._read(name))
            self.nbytes += len(data)
            yield from read_records(data, f"{self.folder}/{name}")
            self._appended = self._enqueued = self.written = last

    def _listed(self) -> list[tuple[str, int]]:
        """Return the names of the files to read, in order, each with the number of its last record."""
        found = [(posixpath.basename(one.path), one) for one in self.files.ls(self.folder)]
        parsed = [(match, name) for name, _ in found if (match := _NAME.fullmatch(name))]
        snapshots = [(int(match[3]), name) for match, name in parsed if match[1] == "snapshot"]
        base, first = max(snapshots, default=(0, ""))
        self._base = base
        listed = [(first, base)] if first else []
        # Of files that hold the same records (a merge was interrupted) the longest counts.
        rows = sorted((int(m[2]), -int(m[3]), name) for m, name in parsed if m[1] == "records")
        for begin, end, name in rows:
            if -end <= base:
                continue
            if begin != base + 1:
                raise CorruptFile(
                    f"the journal {self.folder} lacks records {base + 1} to {begin - 1}: it cannot be used"
                )
            listed.append((name, -end))
            base = -end
        return listed

    def _read(self, name: str) -> bytes:
        with self.files.open(f"{self.folder}/{name}") as file:
            return bytes(file.read())

    # -- writing, on the scheduler's thread

    def append(self, frames: Frames) -> int:
        """Append a record, and return its number; `flush` has it written."""
        record = [] if self.failure else pack_record(frames)
        with self._guard:
            self._appended += 1
            self._buffers += record
            return self._appended

    def flush(self) -> None:
        """Have everything that was appended written; return at once."""
        if self._appended > self._enqueued and not self.failure:
            self._start()
            with self._guard:
                self._flush = True
                self._guard.notify()

    def sync(self) -> None:
        """Do nothing: every flush is durable."""

    def compact(self, snapshot: Sequence[Frames]) -> None:
        """Have all records so far replaced by a snapshot; return at once."""
        if self.failure:
            return
        kept = [buffer for frames in snapshot for buffer in pack_record(frames)]
        self._start()
        with self._guard:
            self._enqueue()
            self._jobs.append(_PendingWrite(0, self._appended, kept))
            self._guard.notify()

    def close(self, done: bool = False) -> None:
        """Write what is left, for at most `CLOSE_SECONDS`; with `done`, remove the journal."""
        self.flush()
        with self._guard:
            self._ended = True
            self._guard.notify()
        if self._thread is not None:
            self._thread.join(CLOSE_SECONDS)
        if done and self.folder:
            with contextlib.suppress(HowdahError, OSError):
                self.files.rm(self.folder, recursive=True, missing_ok=True)

    def _start(self) -> None:
        if self._thread is None:
            with contextlib.suppress(RuntimeError):
                self._loop = asyncio.get_running_loop()
            self._thread = threading.Thread(target=self._run, name="howdah-journal", daemon=True)
            self._thread.start()

    def _enqueue(self) -> None:
        """Queue what was appended as a job. The guard is held."""
        if self._appended > self._enqueued:
            self._jobs.append(_PendingWrite(self._enqueued + 1, self._appended, self._buffers))
            self._buffers, self._enqueued = [], self._appended
        self._flush = False

    # -- writing, on the journal's thread

    def _run(self) -> None:
        while True:
            with self._guard:
                self._guard.wait_for(lambda: self._jobs or self._flush or self._ended)
                if not self._jobs:
                    self._enqueue()
                if not self._jobs:
                    return
                job = self._jobs.popleft()
            if not self._write(job):
                return

    def _write(self, job: _PendingWrite) -> bool:
        """Write the file, however long HDFS is unreachable; False when it can never be written."""
        if not job.first and job.last == self._base:
            return True  # nothing has come since the last snapshot
        where, logged = f"the journal {self.files.url(self.folder)} cannot be written", False
        data = job.joined()
        for wait in delays(self.retry_seconds, self.retry_seconds):
            try:
                self._publish(job.name, data)
            except PathMissing as error:  # a successor has taken it
                self._call_on_loop(self._on_failure, f"{where}: {error}")
                return False
            except (HowdahError, OSError, RuntimeError) as error:
                if not logged:
                    log.error("%s now, and nothing is confirmed to clients until it is: %s", where, error)
                logged = True
            else:
                break
            with self._guard:
                if self._guard.wait_for(lambda: self._ended, wait):
                    return False
        self._call_on_loop(self._on_written, job.last, len(data), not job.first)
        with contextlib.suppress(HowdahError, OSError, RuntimeError):  # the next merge removes it
            self._merge_files(job, data)
        return True

    def _publish(self, name: str, data: bytes) -> None:
        """Make the file appear complete. An attempt that failed may have left a part."""
        fresh = f"{self.folder}/new-{name}"
        try:
            self.files.create(fresh, data)
        except PathExists:
            self.files.rm(fresh, missing_ok=True)
            self.files.create(fresh, data)
        with contextlib.suppress(PathExists):  # an attempt whose answer was lost
            self.files.rename(fresh, f"{self.folder}/{name}")

    def _merge_files(self, job: _PendingWrite, data: bytes) -> None:
        """Merge small files, and remove those that a snapshot or a merge has replaced."""
        if not job.first:
            self._base, self._small = job.last, []
            self._remove_up_to(job.last)
            return
        self._small.append(_PendingWrite(job.first, job.last, [data]))
        if sum(nbytes(one.buffers[0]) for one in self._small) > MERGE_BYTES:
            self._small = []
        elif len(self._small) >= self.merge_files:
            small, self._small = self._small, []
            merged = _PendingWrite(small[0].first, job.last, [one.buffers[0] for one in small])
            data = merged.joined()
            self._publish(merged.name, data)
            for one in small:
                self.files.rm(f"{self.folder}/{one.name}", missing_ok=True)
            self._small = [_PendingWrite(merged.first, merged.last, [data])]

    def _remove_up_to(self, last: int) -> None:
        """Remove what the snapshot has replaced. Readers skip a file that stays behind; it is removed next time."""
        for one in self.files.ls(self.folder):
            name = posixpath.basename(one.path)
            match = _NAME.fullmatch(name)
            if match is None or int(match[3]) < last or (match[1] == "records" and int(match[3]) == last):
                self.files.rm(one.path, missing_ok=True)

    # -- back on the scheduler's thread

    def _call_on_loop(self, function: Callable[..., None], *arguments: object) -> None:
        if self._loop is None:  # no loop runs, as in tests
            function(*arguments)
            return
        with contextlib.suppress(RuntimeError):  # it has ended meanwhile
            self._loop.call_soon_threadsafe(function, *arguments)

    def _on_written(self, last: int, size: int, snapshot: bool) -> None:
        self.written = max(self.written, last)
        self.nbytes = size if snapshot else self.nbytes + size

    def _on_failure(self, failure: str) -> None:
        self.failure, self._buffers = failure, []
        log.critical("%s; the scheduler goes on, but its work is lost if its container is", failure)


class _PendingWrite:
    """A file to write: the records `first` to `last`, or with `first` 0 a snapshot of all up to `last`."""

    __slots__ = ("buffers", "first", "last")

    def __init__(self, first: int, last: int, buffers: Sequence[Buffer]) -> None:
        self.first, self.last, self.buffers = first, last, buffers

    @property
    def name(self) -> str:
        return f"records-{self.first}-{self.last}" if self.first else f"snapshot-{self.last}"

    def joined(self) -> bytes:
        return b"".join(self.buffers)


def read_records(data: memoryview, where: str) -> Iterator[list[memoryview]]:
    """Yield the records of a file, each as its frames.

    Raises
    ------
    CorruptFile
        A record is incomplete or damaged.
    """
    at = 0
    while at < len(data):
        if at + _HEAD.size > len(data):
            raise CorruptFile(f"the journal's file {where} ends within a record")
        total, crc, count = _HEAD.unpack(data[at : at + _HEAD.size])
        body = data[at + _HEAD.size : at + _HEAD.size + total]
        if len(body) < total or total < 8 * count or zlib.crc32(body) != crc:
            raise CorruptFile(f"the journal's file {where} is damaged at byte {at} of {len(data)}")
        frames, begin = [], 8 * count
        for (length,) in struct.iter_unpack("<Q", body[: 8 * count]):
            frames.append(body[begin : begin + length])
            begin += length
        yield frames
        at += _HEAD.size + total
