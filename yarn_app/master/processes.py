"""Child processes of the master and of the edge node: the scheduler and the driver program, their output and their end.

For `master` and the command line. It promises that the end of a child's output can be read after its end, and that
`stop` leaves no process.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

TAIL_BYTES = 8192
STOP_SECONDS = 5.0

# A child that outlives a parent killed with SIGKILL would keep a cluster busy for nothing. PR_SET_PDEATHSIG (1)
# survives exec.
_DIE_WITH_PARENT = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(1, int(sys.argv[2]), 0, 0, 0)
if os.getppid() != int(sys.argv[1]):
    sys.exit(143)
os.execv(sys.argv[3], sys.argv[3:])
"""


def with_parent_death_signal(command: Sequence[str], number: int = signal.SIGTERM) -> list[str]:
    """Wrap a command so that it gets a signal when the thread that started it ends, for whatever reason (Linux)."""
    if not sys.platform.startswith("linux"):
        return list(command)
    return [sys.executable, "-I", "-S", "-c", _DIE_WITH_PARENT, str(os.getpid()), str(int(number)), *command]


class ChildProcess:
    """A child process with its output in files.

    Parameters
    ----------
    command : the program and its arguments.
    out, err : files for its output; the same file for both together.
    env : its whole environment; None for this process's.
    cwd : its working folder; None for this process's.
    new_session : start it in a session of its own, so that a signal to this process group (YARN's, when it ends a
        container) does not reach it; it is killed when this process ends.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        out: Path,
        err: Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        new_session: bool = False,
    ):
        self.out, self.err = out, err
        words = with_parent_death_signal(command, signal.SIGKILL) if new_session else list(command)
        with open(out, "ab") as stdout, open(err, "ab") as stderr:
            self.process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, env=env, cwd=cwd,
                start_new_session=new_session,
            )  # fmt: skip

    @property
    def pid(self) -> int:
        """The process id."""
        return self.process.pid

    def poll(self) -> int | None:
        """Return the exit code as a shell has it (128 + n for signal n), or None while it runs."""
        code = self.process.poll()
        return None if code is None else shell_exit_code(code)

    def stop(self, seconds: float = STOP_SECONDS) -> None:
        """Send SIGTERM to it and to all that it started, and SIGKILL after `seconds`. Return when none is left."""
        stop_tree(self.process, seconds)

    def kill(self) -> None:
        """Send SIGKILL to it alone."""
        self.process.kill()

    def tail(self, limit: int = TAIL_BYTES) -> str:
        """Return the last bytes of its standard error, or of both kinds of output where they are in one file."""
        return tail(self.err, limit)


def shell_exit_code(code: int) -> int:
    """Return the exit code that a shell gives for `Popen.returncode`.

    >>> shell_exit_code(3), shell_exit_code(-9)
    (3, 137)
    """
    return 128 - code if code < 0 else code


def stop_tree(process: subprocess.Popen[bytes], seconds: float = STOP_SECONDS) -> None:
    """End a process and all that it started: SIGTERM, and SIGKILL for what is still there after `seconds`."""
    if process.poll() is not None:
        return
    try:
        children = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        children = []
    process.terminate()
    for one in children:
        _signal(one, signal.SIGTERM)
    deadline = time.monotonic() + seconds
    # The child itself only through Popen: psutil would take its exit code away.
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
    _, alive = psutil.wait_procs(children, timeout=max(0.0, deadline - time.monotonic()))
    for one in alive:
        _signal(one, signal.SIGKILL)
    process.kill()
    process.wait()
    psutil.wait_procs(alive, timeout=5.0)


def _signal(process: psutil.Process, number: int) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return


def tail(path: Path, limit: int = TAIL_BYTES) -> str:
    """Return the last bytes of a text file, from the beginning of a line; "" where there is no file."""
    try:
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - limit))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    return text if size <= limit else text.partition("\n")[2]
