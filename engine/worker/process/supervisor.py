"""A worker's supervisor: the process that a container or the local cluster starts; the worker itself is its child.

It is small (it imports nothing of the engine), so it outlives whatever a task does to the worker. It says why a worker
ended (exit code or signal, peak memory, what it was running, its last words), ends one that takes more memory than it
may, starts it again with growing pauses, and gives up when it dies too often. It hands SIGTERM on, and sees to it that
the worker is gone when its time is over. If the supervisor itself is killed, the kernel ends the worker with it.
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
from typing import NamedTuple

from howdah.engine.worker import scratch
from howdah.engine.worker.task_board import StatusPage

MOST_CRASHES = 10
"""Deaths of one worker within `CRASH_SECONDS` after which it is not started again: something is wrong with it."""
CRASH_SECONDS = 60.0
LONGEST_PAUSE = 10.0
"""Seconds between a death and the next start, at most; the first death costs no pause, later ones twice the last."""

LEFT, LOST, REFUSED, BROKEN, GAVE_UP = 0, 3, 4, 5, 6
RESTART_CODE = 75
"""The worker's exit code when it is to start anew, and is not to blame."""

TAIL_BYTES = 8000
"""Of the worker's standard error so much is kept for the reason of its death."""

_PDEATHSIG, _SET_NAME = 1, 15


class SupervisorLink(NamedTuple):
    """What the worker's process gets from its supervisor.

    `line`: a file descriptor on which it says its identity and that it means to leave. `identity`: what its
    predecessor was granted: (certificate, key), both PEM. `died`: why its predecessor ended.
    """

    report_fd: int
    status_page: StatusPage
    identity: tuple[bytes, bytes]
    died: str

    def report_identity(self, certificate: bytes, key: bytes) -> None:
        """Keep this identity for the process that comes after this one."""
        self._say({"identity": [certificate.decode(), key.decode()]})

    def report_leaving(self) -> None:
        """The exit that follows is meant; an exit without this word is a task's doing."""
        self._say({"leaving": True})

    def _say(self, message: dict[str, object]) -> None:
        with contextlib.suppress(OSError):  # without a supervisor there is nobody to be told
            os.write(self.report_fd, json.dumps(message).encode() + b"\n")


def exit_reason(pid: int, code: int) -> str:
    """What a process's exit code (negative: the signal's number) says, for people.

    >>> exit_reason(7, -11), exit_reason(7, 1)
    ('its process 7 was ended by signal SIGSEGV', 'its process 7 exited with code 1')
    """
    if code >= 0:
        return f"its process {pid} exited with code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = str(-code)
    return f"its process {pid} was ended by signal {name}"


def log_tail(log: str) -> str:
    """The end of a worker's log that fits into a message: where it crashed, or its last lines.

    >>> last_words("a\\nb\\n\\nc\\nd\\n")
    'b | c | d'
    >>> last_words("Fatal Python error: Aborted\\n\\nCurrent thread 0x7:\\n  File x\\n  File y\\n")
    'Fatal Python error: Aborted | File x | File y'
    """
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    crash = [at for at, line in enumerate(lines) if line.startswith("Fatal Python error")]
    if crash:
        head, *stack = lines[crash[-1] :]
        lines = [head, *[line for line in stack if line.startswith("File ")][:3]]
    return " | ".join(lines[-4 if crash else -3 :])[:400]


def pause_after(crashes: int) -> float:
    """Seconds before the next start, after so many deaths of late.

    >>> [pause_after(n) for n in (1, 2, 3, 4, 20)]
    [0.0, 0.1, 0.2, 0.4, 10.0]
    """
    return 0.0 if crashes < 2 else min(0.1 * 2 ** (crashes - 2), LONGEST_PAUSE)


class Supervisor:
    """Keeps the worker that `options` describe (see `__main__`) alive. `run` returns the exit code."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.pid = 0
        self._board = StatusPage(options.slots)
        self._identity = (b"", b"")
        self._died = ""
        self._crashes: list[float] = []
        self._tail: deque[bytes] = deque()
        self._meant = False
        self._verdict = ""
        """Why the supervisor itself has ended the worker."""
        self._ending: float | None = None
        """When the worker is killed that was told to go."""
        self._parent_gone = False
        self._line = b""
        self._selector = selectors.DefaultSelector()
        self._fds: dict[str, int] = {}

    def run(self) -> int:
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
            if self._ending is not None and not self.pid:
                return LEFT
            if not ended:
                continue
            code = self._reap()
            if self._parent_gone:
                return LOST
            if self._ending is not None:
                return LEFT
            if code in (LEFT, LOST, REFUSED) and self._meant:
                return code
            start_at = time.monotonic()
            if code == RESTART_CODE and self._meant:
                continue
            self._crashes = [at for at in self._crashes if start_at - at < CRASH_SECONDS] + [start_at]
            self._died = self._reason(code)
            self._tell(self._died)
            if len(self._crashes) > MOST_CRASHES:
                print(
                    f"howdah: worker {self.options.name} died {len(self._crashes)} times within {CRASH_SECONDS:.0f} s "
                    f"and is given up; the last time: {self._died}",
                    file=sys.stderr,
                    flush=True,
                )
                return GAVE_UP
            start_at += pause_after(len(self._crashes))

    # -- the child ------------------------------------------------------------------------------------------------

    def _start(self, *own: int) -> None:
        self._board.clear()
        self._tail.clear()
        self._meant, self._verdict, self._line = False, "", b""
        errors, their_errors = os.pipe2(os.O_CLOEXEC)
        said, their_line = os.pipe2(os.O_CLOEXEC)
        parent = os.getpid()
        self.pid = os.fork()
        if self.pid == 0:
            _prctl(_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:
                os._exit(LOST)
            self._be_worker(their_errors, their_line, (*own, errors, said))
        os.close(their_errors)
        os.close(their_line)
        for fd in (errors, said):
            os.set_blocking(fd, False)
        self._fds = {"errors": errors, "said": said, "ended": os.pidfd_open(self.pid)}
        for name, fd in self._fds.items():
            self._selector.register(fd, selectors.EVENT_READ, name)

    def _be_worker(self, errors: int, line: int, others: tuple[int, ...]) -> None:
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
            # Tasks get an empty standard input, which they may even close; the parent's line is the supervisor's.
            with open(os.devnull, "rb") as empty:
                os.dup2(empty.fileno(), 0)
            _prctl(_SET_NAME, b"howdah-worker")
            from howdah.engine.worker.process.main import run

            code = run(self.options, SupervisorLink(line, self._board, self._identity, self._died))
        except BaseException:  # noqa: BLE001  # an error of howdah's own; the supervisor takes it from the log
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            # Slots may still run user code that cannot be stopped; nobody waits for it.
            os._exit(code)

    def _reap(self) -> int:
        """The worker has ended: its exit code, its last words taken."""
        _, status, usage = os.wait4(self.pid, 0)
        self._ended_pid, self._peak, self.pid = self.pid, usage.ru_maxrss << 10, 0
        scratch.remove_folders_of(self.options.local_dir, self._ended_pid)
        for name in ("errors", "said"):
            self._read(name)  # what it said last; a process of a task's may hold the pipe open, so not to its end
        for fd in self._fds.values():
            with contextlib.suppress(KeyError):
                self._selector.unregister(fd)
            os.close(fd)
        return os.waitstatus_to_exitcode(status)

    def _reason(self, code: int) -> str:
        parts = [self._verdict or exit_reason(self._ended_pid, code)]
        limit = self.options.memory_limit
        parts.append(f"peak memory {self._peak >> 20} MiB" + (f" of {limit >> 20} MiB" if limit else ""))
        parts.append(self._board.read())
        words = log_tail(b"".join(self._tail).decode(errors="replace"))
        if words:
            parts.append(f"its last words: {words}")
        return "; ".join(parts)

    def _tell(self, reason: str) -> None:
        """The local cluster hears it on the line that is our standard input; on YARN it is for the container's log."""
        if self.options.die_with_parent:
            message = {"pid": self._ended_pid, "ended": reason}
            with contextlib.suppress(OSError):  # the parent is gone: its line says so presently
                os.write(0, json.dumps(message).encode() + b"\n")
        else:
            print(f"howdah: worker {self.options.name}: {reason}", file=sys.stderr, flush=True)

    # -- waiting --------------------------------------------------------------------------------------------------

    def _wait(self, start_at: float | None) -> bool:
        """Serve what comes; True when the worker has ended."""
        now = time.monotonic()
        timeouts = [at - now for at in (start_at, self._ending) if at is not None]
        if self.pid and self.options.memory_limit:
            timeouts.append(self._look_at_memory())
        for key, _ in self._selector.select(max(0.0, min(timeouts)) if timeouts else None):
            match key.data:
                case "signal":
                    with contextlib.suppress(BlockingIOError):
                        if signal.SIGTERM in os.read(key.fd, 4096):
                            self._hand_on()
                case "parent":
                    self._heard_parent()
                case "ended":
                    return True
                case name:
                    self._read(name)
        if self._ending is not None and time.monotonic() >= self._ending:
            self._kill()
        return False

    def _hand_on(self) -> None:
        if self._ending is None:
            self._ending = time.monotonic() + self.options.grace + 1.0
            if self.pid:
                os.kill(self.pid, signal.SIGTERM)

    def _heard_parent(self) -> None:
        with contextlib.suppress(OSError):
            if os.read(0, 4096):
                return
        # The parent is gone, and the scheduler with it: there is nobody to say good-bye to.
        self._selector.unregister(0)
        self._parent_gone, self._ending = True, time.monotonic()
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
            if name == "said":
                self._hear(data)
                continue
            with contextlib.suppress(OSError):
                os.write(2, data)
            self._tail.append(data[-TAIL_BYTES:])
            while len(self._tail) > 1 and sum(map(len, self._tail)) - len(self._tail[0]) >= TAIL_BYTES:
                self._tail.popleft()

    def _hear(self, data: bytes) -> None:
        *lines, self._line = (self._line + data).split(b"\n")
        for line in lines:
            message = json.loads(line)
            if "identity" in message:
                certificate, key = message["identity"]
                self._identity = (certificate.encode(), key.encode())
            self._meant = self._meant or "leaving" in message

    # -- memory ---------------------------------------------------------------------------------------------------

    def _look_at_memory(self) -> float:
        """End a worker that takes more than it may; seconds until the next look."""
        limit, used = self.options.memory_limit, unreclaimable_bytes(self.pid)
        if used > max(limit, LEAST_LIMIT) and not self._verdict:
            self._verdict = (
                f"its process {self.pid} was ended because it used {used >> 20} MiB of memory, and its limit is "
                f"{limit >> 20} MiB"
            )
            self._kill()
        return 0.05 if used > 0.6 * limit else 0.2


LEAST_LIMIT = 192 << 20
"""A worker that uses less than this is never ended for its memory: Python and its libraries alone take some."""


def unreclaimable_bytes(pid: int) -> int:
    """Memory of a process that nothing but its end can give back: not what it has mapped of files."""
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            found = [line.split() for line in file if line.startswith((b"RssAnon", b"RssShmem"))]
    except OSError:
        return 0
    return sum(int(parts[1]) for parts in found) << 10


def _prctl(option: int, value: int | bytes) -> None:
    ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)
