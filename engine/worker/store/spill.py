"""Memory of a worker: a thread moves results to disk, least recently used first, before memory runs out.

The store calls `check` when a result was added; slots reserve memory before a batch, and fetches wait for it
(`wait_for_memory`). A result that a task uses stays, because dropping it would free nothing. A full or broken disk is
logged once, and the results stay in memory. For `store` alone.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import logging
import os
import shutil
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from howdah.engine.comm.data import buffer_pool
from howdah.engine.worker.store import scratch
from howdah.engine.worker.store.process_memory import resident_bytes
from howdah.engine.worker.store.spillable import SpillableResult

log = logging.getLogger(__name__)

TARGET = 0.55
"""Share of the limit that results in memory may take; above it, the oldest go to disk."""

PROCESS = 0.70
"""Share of the limit that the whole process may use before results go to disk."""

LOW = 0.85
"""Spilling continues until the use is down to this share of the mark that was exceeded."""

STOP = 0.95
"""Share of the limit at which no batch starts until memory is free."""

MEASURE_EVERY = 0.01
"""Seconds between measurements of the process while half of the limit is free: batches may be much shorter."""

DISK_PAUSE = 5.0
"""Seconds without an attempt to write after a disk error."""

_libc = ctypes.CDLL(None)


class Spiller:
    """Keeps a store within `limit` bytes of process memory (0: no limit, and nothing is spilled).

    Parameters
    ----------
    folder : where the folder of files is made when the first is needed; '' is the temporary directory.
    candidates : returns the results that may be spilled.
    managed : returns the bytes of all results in memory.
    on_spilled : called with each result that has left memory.
    """

    def __init__(
        self,
        limit: int,
        folder: str,
        candidates: Callable[[], Iterable[SpillableResult]],
        managed: Callable[[], int],
        on_spilled: Callable[[SpillableResult], None],
    ) -> None:
        self.limit = limit
        self.disk_error = ""
        """The last error of the disk; '' once it accepts files again."""
        self.bytes_written = 0
        self._parent, self._folder = folder or tempfile.gettempdir(), ""
        self._candidates, self._managed, self._on_spilled = candidates, managed, on_spilled
        self._numbers = itertools.count()
        self._changed = threading.Condition()
        self._reserved = 0
        self._spare, self._measure_at = 0, 0.0
        """Bytes that may be reserved before that time without a measurement."""
        self._waiting: Counter[int] = Counter()
        self._wanted = self._at_work = False
        self._rounds = 0
        self._stuck = False
        """The last round found nothing to spill; waiting is useless."""
        self._disk_error_at = 0.0
        self._closed = False
        self._thread: threading.Thread | None = None

    def check(self) -> None:
        """Wake the thread if results exceed their share. Called when a result was added, and with each heartbeat."""
        if self.limit and self._managed() > TARGET * self.limit:
            self._wake()

    @contextlib.contextmanager
    def reserve(self, nbytes: int) -> Iterator[None]:
        """Wait until the process may use `nbytes` more, and reserve them meanwhile."""
        if not self.limit:
            yield
            return
        now = time.monotonic()
        if now >= self._measure_at or nbytes > self._spare - self._reserved:
            self.wait_for_memory(nbytes)
            self._spare = self.limit // 2 - resident_bytes()
            self._measure_at = now + MEASURE_EVERY
        self._spare -= nbytes
        with self._changed:
            self._reserved += nbytes
        try:
            yield
        finally:
            with self._changed:
                self._reserved -= nbytes

    def wait_for_memory(self, nbytes: int = 0, seconds: float = 30.0) -> None:
        """Return when the process may use `nbytes` more without reaching `STOP`, or when spilling cannot help."""
        if not self.limit:
            return
        used = resident_bytes() + nbytes
        if used > PROCESS * self.limit:
            buffer_pool.trim()
            used = resident_bytes() + nbytes
        if used > PROCESS * self.limit:
            self._wake()
        if used + self._reserved <= STOP * self.limit:
            return
        deadline = time.monotonic() + seconds
        with self._changed:
            self._waiting[nbytes] += 1
            rounds = self._rounds
        try:
            while not self._closed and time.monotonic() < deadline:
                _libc.malloc_trim(0)  # freed memory in the allocator's heap counts as used
                if resident_bytes() + self._reserved + nbytes <= STOP * self.limit:
                    return
                self._wake()
                with self._changed:
                    self._changed.wait(0.05)
                    if self._stuck and self._rounds > rounds + 1:
                        return  # a worker that stops altogether frees nothing
        finally:
            with self._changed:
                self._waiting[nbytes] -= 1

    def is_settled(self) -> bool:
        """Return whether results in memory are within their share, and none is being written to disk."""
        with self._changed:
            return not (self._wanted or self._at_work) and self._managed() <= TARGET * self.limit

    def close(self) -> None:
        """End the thread and remove all files."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _wake(self) -> None:
        with self._changed:
            if self._wanted or self._closed:
                return
            self._wanted = True
            if self._thread is None:
                self._thread = threading.Thread(target=self._serve, name="howdah-spill", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def _serve(self) -> None:
        while True:
            with self._changed:
                while not self._wanted and not self._closed:
                    self._changed.wait()
                if self._closed:
                    return
                self._wanted = False  # a caller may have added a result that this round does not see
                self._at_work = True
            try:
                progress = self._make_room()
            except Exception:
                log.exception("memory: results could not be moved to disk")
                progress = False
            with self._changed:
                self._at_work = False
                self._stuck = not progress
                self._rounds += 1
                self._changed.notify_all()

    def _make_room(self) -> bool:
        """Spill until enough memory is free; return whether that made progress."""
        buffer_pool.trim()
        excess = self._excess()
        if excess <= 0:  # enough is free, or nothing can be spilled
            return resident_bytes() <= STOP * self.limit
        if time.monotonic() - self._disk_error_at < DISK_PAUSE:
            return False
        progress = False
        for result in sorted(
            [one for one in self._candidates() if one.in_memory and not one.stays], key=lambda o: o.used
        ):
            if self._closed:
                return True
            if result.in_use:
                continue
            try:
                self.bytes_written += result.spill(self._path())
            except OSError as error:
                self._on_disk_error(error)
                break
            if result.in_memory:
                continue
            self.disk_error = ""
            self._on_spilled(result)
            progress = True
            excess -= result.size
            with self._changed:
                self._changed.notify_all()
            if excess <= 0:
                excess = self._excess()
                if excess <= 0:
                    break
        _libc.malloc_trim(0)
        return progress

    def _excess(self) -> float:
        """Return the bytes to spill. The use of the process counts only as far as spilling can change it."""
        managed, used = self._managed(), resident_bytes()
        with self._changed:
            demand = self._reserved + max((n for n, count in self._waiting.items() if count), default=0)
        by_demand = used + demand - STOP * self.limit
        if managed <= TARGET * self.limit and used <= PROCESS * self.limit and by_demand <= 0:
            return 0
        return min(max(managed - LOW * TARGET * self.limit, used - LOW * PROCESS * self.limit, by_demand), managed)

    def _path(self) -> str:
        if not self._folder:
            self._folder = scratch.make_folder(self._parent, "spill")
        return os.path.join(self._folder, f"{next(self._numbers)}.result")

    def _on_disk_error(self, error: OSError) -> None:
        self._disk_error_at = time.monotonic()
        if not self.disk_error:
            log.warning(
                "memory: results cannot be moved to disk (%s); they stay in memory, and this worker may run out of it. "
                "Make room in %s",
                error,
                self._parent,
            )
        self.disk_error = str(error)
