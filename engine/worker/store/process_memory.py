"""Memory of a process, as the Linux kernel counts it. A leaf, for the worker and its supervisor."""

from __future__ import annotations

import os

_PAGE = os.sysconf("SC_PAGE_SIZE")


def resident_bytes() -> int:
    """Return the bytes of this process that are in RAM."""
    with open("/proc/self/statm", "rb", buffering=0) as file:
        return int(file.read().split()[1]) * _PAGE


def unreclaimable_bytes(pid: int) -> int:
    """Return the bytes of a process that only its end frees: anonymous and shared memory, not mapped files.

    0 for a process that does not exist.
    """
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            found = [line.split() for line in file if line.startswith((b"RssAnon", b"RssShmem"))]
    except OSError:
        return 0
    return sum(int(parts[1]) for parts in found) << 10
