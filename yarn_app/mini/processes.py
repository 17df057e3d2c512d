"""Finds and ends the processes of one small Hadoop, those of earlier starts too.

They are found in /proc: a daemon has its folder and name on its command line, a container has its NodeManager's folder
in its environment. So a stale record can neither hide a process nor have another one killed. A process that has ended,
and whose parent for it (a zombie), counts as gone.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import psutil

from howdah.errors import DeadlineExceeded

_TAG = "-Dhowdah.mini="
_POLL = 0.02  # seconds
T = TypeVar("T")


def tag(folder: Path, daemon: str) -> str:
    """Return the JVM argument that marks a daemon.

    >>> tag(Path("/tmp/mini"), "namenode")
    '-Dhowdah.mini=/tmp/mini:namenode'
    """
    return f"{_TAG}{folder}:{daemon}"


def daemons_of(folder: Path) -> dict[str, psutil.Process]:
    """Return the live daemons of the small Hadoop in `folder`, by name."""
    mine = f"{_TAG}{folder}:"
    found = {}
    for process in _own_processes():
        for argument in _read(process.cmdline) or []:
            if argument.startswith(mine):
                found[argument.removeprefix(mine)] = process
    return found


def containers_of(folder: Path, nodemanager: str = "") -> list[psutil.Process]:
    """Return every live process that a NodeManager in `folder` (or just that one) started, and their descendants.

    YARN names its folders in each container's environment, which children inherit.
    """
    mine = f"{folder}/daemons/{nodemanager}/" if nodemanager else f"{folder}/daemons/"
    found = []
    for process in _own_processes():
        environment = _read(process.environ) or {}
        where = [environment.get(name, "") for name in ("LOCAL_DIRS", "LOG_DIRS")]
        if any(value.startswith(mine) for value in where):
            found.append(process)
    return found


def end(processes: Iterable[psutil.Process], grace: float) -> None:
    """Send SIGTERM, and SIGKILL to those that are left after `grace` seconds; with a grace of 0 only SIGKILL.

    Raises
    ------
    DeadlineExceeded
        A process is still there ten seconds after SIGKILL (it hangs in the kernel).
    """
    left = list(processes)
    if grace > 0:
        _signal(left, signal.SIGTERM)
        left = _wait(left, grace)
    _signal(left, signal.SIGKILL)
    left = _wait(left, 10)
    if left:
        pids = ", ".join(str(process.pid) for process in left)
        raise DeadlineExceeded(f"these processes are still there 10 s after SIGKILL: {pids}; is their disk hanging?")


def is_gone(process: psutil.Process) -> bool:
    """Whether it has ended (its pid may be another process's by now)."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def _signal(processes: Iterable[psutil.Process], number: int) -> None:
    for process in processes:
        try:
            process.send_signal(number)  # checks that the pid is still that process
        except psutil.NoSuchProcess:
            continue


def _wait(processes: list[psutil.Process], seconds: float) -> list[psutil.Process]:
    deadline = time.monotonic() + seconds
    while (left := [process for process in processes if not is_gone(process)]) and time.monotonic() < deadline:
        time.sleep(_POLL)
    return left


def _own_processes() -> Iterator[psutil.Process]:
    me = os.geteuid()
    for process in psutil.process_iter():
        uids = _read(process.uids)
        if process.pid != os.getpid() and uids and uids.effective == me and not is_gone(process):
            yield process


def _read(get: Callable[[], T]) -> T | None:
    """Return what /proc has, or None for a process that has ended meanwhile or is another user's."""
    try:
        return get()
    except (psutil.NoSuchProcess, psutil.AccessDenied, ProcessLookupError):
        return None
