"""Room in a worker's memory: a thread that moves results to disk, least recently used first, before it is too late.

The store calls `look` when something was put in; slots wait in `await_room` before a run, and fetches before they
begin. What a task is using stays, for dropping it would free nothing. A disk that is full or broken is reported once,
and the results stay in memory.
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

from howdah.engine.comm.data import buffer_pool as kept
from howdah.engine.worker.store import scratch
from howdah.engine.worker.store.process_memory import resident_bytes
from howdah.engine.worker.store.spillable import SpillableResult

log = logging.getLogger(__name__)

TARGET = 0.55
"""Share of the limit that results in memory may take; beyond, the oldest go to disk."""

PROCESS = 0.70
"""Share of the limit from which on results go to disk because of what the process uses in all."""

LOW = 0.85
"""Once begun, go on until what is used is this share of the mark that was passed."""

STOP = 0.95
"""Share of the limit at which no run is begun until there is room."""

LOOK_EVERY = 0.01
"""Seconds between looks at the process's memory while half of the limit is free: runs may be much shorter."""

DISK_PAUSE = 5.0
"""Seconds for which a disk that refused is left alone."""

_libc = ctypes.CDLL(None)


class Spiller:
    """Keeps a store within `limit` bytes of process memory (0: no limit, and nothing is ever spilled).

    Parameters
    ----------
    folder : where the folder of files is made when the first one is needed; '' is the temporary directory.
    larges : gives the results that may be spilled.
    managed : gives the bytes of all results in memory.
    spilled : called with each result that has left memory.
    """

    def __init__(
        self,
        limit: int,
        folder: str,
        larges: Callable[[], Iterable[SpillableResult]],
        managed: Callable[[], int],
        spilled: Callable[[SpillableResult], None],
    ) -> None:
        self.limit = limit
        self.disk_error = ""
        """What the disk said when it refused last; '' when it takes what it gets."""
        self.bytes_written = 0
        self._parent, self._folder = folder or tempfile.gettempdir(), ""
        self._larges, self._managed, self._spilled = larges, managed, spilled
        self._numbers = itertools.count()
        self._room = threading.Condition()
        self._promised = 0
        self._spare, self._look_at = 0, 0.0
        """What may be taken without a look before that time."""
        self._waiting: Counter[int] = Counter()
        self._wanted = self._at_work = False
        self._rounds = 0
        self._stuck = False
        """There was nothing to spill the last time; waiting for it is useless."""
        self._refused = 0.0
        self._closed = False
        self._thread: threading.Thread | None = None

    def check(self) -> None:
        """Wake the thread if there is too much. Called when something was put in, and now and then."""
        if self.limit and self._managed() > TARGET * self.limit:
            self._wake()

    @contextlib.contextmanager
    def reserve(self, nbytes: int) -> Iterator[None]:
        """Wait until `nbytes` more have room in the process, and keep that room meanwhile."""
        if not self.limit:
            yield
            return
        now = time.monotonic()
        if now >= self._look_at or nbytes > self._spare - self._promised:
            self.wait_for_memory(nbytes)
            self._spare = self.limit // 2 - resident_bytes()
            self._look_at = now + LOOK_EVERY
        self._spare -= nbytes
        with self._room:
            self._promised += nbytes
        try:
            yield
        finally:
            with self._room:
                self._promised -= nbytes

    def wait_for_memory(self, nbytes: int = 0, seconds: float = 30.0) -> None:
        """Return when `nbytes` more would leave the process below the line at which no run is begun, or when spilling
        cannot help."""
        if not self.limit:
            return
        used = resident_bytes() + nbytes
        if used > PROCESS * self.limit:
            kept.trim()
            used = resident_bytes() + nbytes
        if used > PROCESS * self.limit:
            self._wake()
        if used + self._promised <= STOP * self.limit:
            return
        deadline = time.monotonic() + seconds
        with self._room:
            self._waiting[nbytes] += 1
            rounds = self._rounds
        try:
            while not self._closed and time.monotonic() < deadline:
                _libc.malloc_trim(0)  # what was freed lies in the allocator's heap and counts as used
                if resident_bytes() + self._promised + nbytes <= STOP * self.limit:
                    return
                self._wake()
                with self._room:
                    self._room.wait(0.05)
                    if self._stuck and self._rounds > rounds + 1:
                        return  # a worker that stops for good frees nothing
        finally:
            with self._room:
                self._waiting[nbytes] -= 1

    def is_settled(self) -> bool:
        """Whether results in memory take no more than they may, and nothing is on its way to disk."""
        with self._room:
            return not (self._wanted or self._at_work) and self._managed() <= TARGET * self.limit

    def close(self) -> None:
        """End the thread and remove all files."""
        with self._room:
            self._closed = True
            self._room.notify_all()
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _wake(self) -> None:
        with self._room:
            if self._wanted or self._closed:
                return
            self._wanted = True
            if self._thread is None:
                self._thread = threading.Thread(target=self._serve, name="howdah-spill", daemon=True)
                self._thread.start()
            self._room.notify_all()

    def _serve(self) -> None:
        while True:
            with self._room:
                while not self._wanted and not self._closed:
                    self._room.wait()
                if self._closed:
                    return
                self._wanted = False  # whoever wakes it from now on may have seen what this round does not see
                self._at_work = True
            progress = self._make_room()
            with self._room:
                self._at_work = False
                self._stuck = not progress
                self._rounds += 1
                self._room.notify_all()

    def _make_room(self) -> bool:
        """Spill until there is room; whether anything could be done."""
        kept.trim()
        excess = self._excess()
        if excess <= 0:  # there is room, or nothing that could make some
            return resident_bytes() <= STOP * self.limit
        if time.monotonic() - self._refused < DISK_PAUSE:
            return False
        progress = False
        for large in sorted([one for one in self._larges() if one.in_memory and not one.stays], key=lambda o: o.used):
            if self._closed:
                return True
            if large.in_use:
                continue
            try:
                self.bytes_written += large.spill(self._path())
            except OSError as error:
                self._complain(error)
                break
            if large.in_memory:
                continue
            self.disk_error = ""
            self._spilled(large)
            progress = True
            excess -= large.size
            with self._room:
                self._room.notify_all()
            if excess <= 0:
                excess = self._excess()
                if excess <= 0:
                    break
        _libc.malloc_trim(0)
        return progress

    def _excess(self) -> float:
        """Bytes that should go. What the process uses counts only as far as spilling can change it."""
        managed, used = self._managed(), resident_bytes()
        with self._room:
            demand = self._promised + max((n for n, count in self._waiting.items() if count), default=0)
        by_demand = used + demand - STOP * self.limit
        if managed <= TARGET * self.limit and used <= PROCESS * self.limit and by_demand <= 0:
            return 0
        return min(max(managed - LOW * TARGET * self.limit, used - LOW * PROCESS * self.limit, by_demand), managed)

    def _path(self) -> str:
        if not self._folder:
            self._folder = scratch.make_folder(self._parent, "spill")
        return os.path.join(self._folder, f"{next(self._numbers)}.result")

    def _complain(self, error: OSError) -> None:
        self._refused = time.monotonic()
        if not self.disk_error:
            log.warning(
                "memory: results cannot be moved to disk (%s); they stay in memory, and this worker may run out of it. "
                "Make room in %s",
                error,
                self._parent,
            )
        self.disk_error = str(error)
