"""A worker's supervisor: the process that a container or the local cluster starts; the worker itself is its child.

It imports nothing large, so that it survives whatever a task does to the worker. It reports why a worker ended (exit
code or signal, peak memory, what was running, the end of its log), kills one that exceeds its memory limit, starts it
again with growing pauses, and gives up when it dies too often. It forwards SIGTERM, and kills a worker that is still
there after its grace. If the supervisor itself is killed, the kernel ends the worker with it. Used by `__main__` alone.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import os
import resource  # noqa: F401  # `os.wait4` imports it otherwise, when the environment may be gone already
import selectors
import signal
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from typing import TypeAlias

from howdah.backoff import delays
from howdah.engine.worker.exits import (
    BROKEN,
    CRASH_SECONDS,
    GAVE_UP,
    LEFT,
    LOST,
    MAX_CRASHES,
    REFUSED,
    RESTART_CODE,
    exit_reason,
)
from howdah.engine.worker.process.supervisor_link import SupervisorLink
from howdah.engine.worker.status_page import StatusPage
from howdah.engine.worker.store import scratch
from howdah.engine.worker.store.process_memory import unreclaimable_bytes

RunWorker: TypeAlias = Callable[[argparse.Namespace, SupervisorLink], int]
"""Runs the worker that the options describe, in the child process; returns its exit code."""

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 10.0
"""Seconds between a death and the next start; the first death within `CRASH_SECONDS` costs no pause."""

TAIL_BYTES = 8000
"""Bytes of the worker's standard error that are stored for the reason of its death."""

LEAST_LIMIT = 192 << 20
"""A worker that uses fewer bytes is never killed for its memory: Python and its libraries alone take some."""

KILL_DELAY = 1.0
"""Seconds after the grace of a SIGTERM until the worker is killed."""

_PDEATHSIG, _SET_NAME = 1, 15


def log_tail(log: str) -> str:
    """Return the end of a worker's log that fits into a message: where it crashed, or its last lines.

    >>> log_tail("a\\nb\\n\\nc\\nd\\n")
    'b | c | d'
    >>> log_tail("Fatal Python error: Aborted\\n\\nCurrent thread 0x7:\\n  File x\\n  File y\\n")
    'Fatal Python error: Aborted | File x | File y'
    """
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    crash = [at for at, line in enumerate(lines) if line.startswith("Fatal Python error")]
    if crash:
        head, *stack = lines[crash[-1] :]
        lines = [head, *[line for line in stack if line.startswith("File ")][:3]]
    return " | ".join(lines[-4 if crash else -3 :])[:400]


class Supervisor:
    """Keeps the worker that `options` describe (see `__main__`) alive. `run` returns the exit code.

    Parameters
    ----------
    options : of the command line.
    run_worker : called in the child, once for each start.
    """

    def __init__(self, options: argparse.Namespace, run_worker: RunWorker) -> None:
        self.options = options
        self.pid = 0
        """Of the worker; 0 while there is none."""
        self._run_worker = run_worker
        self._status_page = StatusPage(options.slots)
        self._identity = (b"", b"")
        self._died = ""
        self._crashes: list[float] = []
        self._pauses: Iterator[float] = delays(FIRST_PAUSE, LONGEST_PAUSE)
        self._tail: deque[bytes] = deque()
        self._exit_intended = False
        self._verdict = ""
        """Why the supervisor itself has killed the worker."""
        self._kill_at: float | None = None
        """When the worker is killed that was asked to leave."""
        self._parent_gone = False
        self._report = b""
        """The beginning of a report that has not arrived completely."""
        self._selector = selectors.DefaultSelector()
        self._fds: dict[str, int] = {}

    def run(self) -> int:
        """Start the worker, and again after each death; return when it has left or is given up."""
        _prctl(_SET_NAME, b"howdah-watch")
        woken, wakes = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, lambda number, frame: None)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the client; it ends its workers
        self._selector.register(woken, selectors.EVENT_READ, "signal")
        if self.options.die_with_parent:
            self._selector.register(0, selectors.EVENT_READ, "parent")
        start_at: float | None = time.monotonic()
        while True:
            if start_at is not None and time.monotonic() >= start_at:
                start_at = None
                self._start(woken, wakes)
            ended = self._wait(start_at)
            if self._kill_at is not None and not self.pid:
                return LEFT
            if not ended:
                continue
            code = self._reap()
            if self._parent_gone:
                return LOST
            if self._kill_at is not None:
                return LEFT
            if code in (LEFT, LOST, REFUSED) and self._exit_intended:
                return code
            start_at = time.monotonic()
            if code == RESTART_CODE and self._exit_intended:
                continue
            self._crashes = [at for at in self._crashes if start_at - at < CRASH_SECONDS] + [start_at]
            self._died = self._reason(code)
            self._report_death(self._died)
            if len(self._crashes) > MAX_CRASHES:
                print(
                    f"howdah: worker {self.options.name} died {len(self._crashes)} times within {CRASH_SECONDS:.0f} s "
                    f"and is given up; the last time: {self._died}",
                    file=sys.stderr,
                    flush=True,
                )
                return GAVE_UP
            if len(self._crashes) == 1:
                self._pauses = delays(FIRST_PAUSE, LONGEST_PAUSE)
            else:
                start_at += next(self._pauses)

    # -- the child ------------------------------------------------------------------------------------------------

    def _start(self, *own: int) -> None:
        self._status_page.clear()
        self._tail.clear()
        self._exit_intended, self._verdict, self._report = False, "", b""
        errors, their_errors = os.pipe2(os.O_CLOEXEC)
        reports, their_reports = os.pipe2(os.O_CLOEXEC)
        parent = os.getpid()
        self.pid = os.fork()
        if self.pid == 0:
            _prctl(_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:
                os._exit(LOST)
            self._be_worker(their_errors, their_reports, (*own, errors, reports))
        os.close(their_errors)
        os.close(their_reports)
        for fd in (errors, reports):
            os.set_blocking(fd, False)
        self._fds = {"errors": errors, "reports": reports, "ended": os.pidfd_open(self.pid)}
        for name, fd in self._fds.items():
            self._selector.register(fd, selectors.EVENT_READ, name)

    def _be_worker(self, errors: int, reports: int, others: tuple[int, ...]) -> None:
        """In the child: from here on this process is the worker."""
        code = BROKEN
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            self._selector.close()
            for fd in others:
                os.close(fd)
            os.dup2(errors, 2)
            os.close(errors)
            # Tasks get an empty standard input, which they may even close; the parent's socket is the supervisor's.
            with open(os.devnull, "rb") as empty:
                os.dup2(empty.fileno(), 0)
            _prctl(_SET_NAME, b"howdah-worker")
            link = SupervisorLink(reports, self._status_page, self._identity, self._died)
            code = self._run_worker(self.options, link)
        except BaseException:  # noqa: BLE001  # an error of howdah's own; the supervisor takes it from the log
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            # Slots may still run user code that cannot be stopped; the process does not wait for it.
            os._exit(code)

    def _reap(self) -> int:
        """Collect the ended worker: its exit code, memory, last output and files."""
        _, status, usage = os.wait4(self.pid, 0)
        self._ended_pid, self._peak, self.pid = self.pid, usage.ru_maxrss << 10, 0
        scratch.remove_folders_of(self.options.local_dir, self._ended_pid)
        for name in ("errors", "reports"):
            self._read(name)  # what is there now; a process of a task's may hold the pipe open, so not to its end
        for fd in self._fds.values():
            with contextlib.suppress(KeyError):
                self._selector.unregister(fd)
            os.close(fd)
        return os.waitstatus_to_exitcode(status)

    def _reason(self, code: int) -> str:
        parts = [self._verdict or exit_reason(self._ended_pid, code)]
        limit = self.options.memory_limit
        parts.append(f"peak memory {self._peak >> 20} MiB" + (f" of {limit >> 20} MiB" if limit else ""))
        parts.append(self._status_page.read())
        tail = log_tail(b"".join(self._tail).decode(errors="replace"))
        if tail:
            parts.append(f"the end of its log: {tail}")
        return "; ".join(parts)

    def _report_death(self, reason: str) -> None:
        """Report to the local cluster, over the socket that is standard input, or on YARN to the container's log."""
        if self.options.die_with_parent:
            message = {"pid": self._ended_pid, "ended": reason}
            with contextlib.suppress(OSError):  # the parent is gone, which the selector reports next
                os.write(0, json.dumps(message).encode() + b"\n")
        else:
            print(f"howdah: worker {self.options.name}: {reason}", file=sys.stderr, flush=True)

    # -- waiting --------------------------------------------------------------------------------------------------

    def _wait(self, start_at: float | None) -> bool:
        """Handle what happens next; True when the worker has ended."""
        now = time.monotonic()
        timeouts = [at - now for at in (start_at, self._kill_at) if at is not None]
        if self.pid and self.options.memory_limit:
            timeouts.append(self._check_memory())
        for key, _ in self._selector.select(max(0.0, min(timeouts)) if timeouts else None):
            match key.data:
                case "signal":
                    with contextlib.suppress(BlockingIOError):
                        if signal.SIGTERM in os.read(key.fd, 4096):
                            self._on_sigterm()
                case "parent":
                    self._on_parent()
                case "ended":
                    return True
                case name:
                    self._read(name)
        if self._kill_at is not None and time.monotonic() >= self._kill_at:
            self._kill()
        return False

    def _on_sigterm(self) -> None:
        if self._kill_at is None:
            self._kill_at = time.monotonic() + self.options.grace + KILL_DELAY
            if self.pid:
                os.kill(self.pid, signal.SIGTERM)

    def _on_parent(self) -> None:
        with contextlib.suppress(OSError):
            if os.read(0, 4096):
                return
        # The parent has ended, and the scheduler with it: there is no one to save results for.
        self._selector.unregister(0)
        self._parent_gone, self._kill_at = True, time.monotonic()
        self._kill()

    def _kill(self) -> None:
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)

    def _read(self, name: str) -> None:
        fd = self._fds[name]
        while True:
            try:
                data = os.read(fd, 1 << 16)
            except BlockingIOError:
                return
            if not data:
                with contextlib.suppress(KeyError):
                    self._selector.unregister(fd)
                return
            if name == "reports":
                self._on_reports(data)
                continue
            with contextlib.suppress(OSError):
                os.write(2, data)
            self._tail.append(data[-TAIL_BYTES:])
            while len(self._tail) > 1 and sum(map(len, self._tail)) - len(self._tail[0]) >= TAIL_BYTES:
                self._tail.popleft()

    def _on_reports(self, data: bytes) -> None:
        *reports, self._report = (self._report + data).split(b"\n")
        for report in reports:
            message = json.loads(report)
            if "identity" in message:
                certificate, key = message["identity"]
                self._identity = (certificate.encode(), key.encode())
            self._exit_intended = self._exit_intended or "leaving" in message

    # -- memory ---------------------------------------------------------------------------------------------------

    def _check_memory(self) -> float:
        """Kill a worker that exceeds its limit; return the seconds until the next check."""
        limit, used = self.options.memory_limit, unreclaimable_bytes(self.pid)
        if used > max(limit, LEAST_LIMIT) and not self._verdict:
            self._verdict = (
                f"its process {self.pid} was ended because it used {used >> 20} MiB of memory, and its limit is "
                f"{limit >> 20} MiB"
            )
            self._kill()
        return 0.05 if used > 0.6 * limit else 0.2


def _prctl(option: int, value: int | bytes) -> None:
    ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)
