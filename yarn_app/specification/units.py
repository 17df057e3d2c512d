"""Memory, durations and counts as users write and read them, for all of `yarn_app`.

Pure functions; this module imports no other of `yarn_app`. What parses promises a number or an `InputError` that names
the path of the value, the value and the remedy.
"""

from __future__ import annotations

import math
import re

from howdah.errors import InputError, SpecificationError, bad_value

MIB = 1 << 20
_MEMORY = {
    **dict.fromkeys(("k", "kib"), 1 << 10),
    **dict.fromkeys(("m", "mib"), 1 << 20),
    **dict.fromkeys(("g", "gib"), 1 << 30),
    **dict.fromkeys(("t", "tib"), 1 << 40),
    **{"kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12},
}
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_NUMBER = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)")

OVERHEAD_FACTOR = 0.10
OVERHEAD_MINIMUM = 384 * MIB
"""What a container has beyond its worker's memory, as Spark's `memoryOverheadFactor` and its minimum of 384 MiB."""


def parse_memory(path: str, value: object, kind: type[InputError] = SpecificationError) -> int:
    """Return bytes, rounded up to whole MiB (YARN's unit). A number without a unit is refused: it is ambiguous.

    "1g" and "1GiB" are 2**30 bytes (as Spark and Java mean it), "1GB" is 10**9.

    >>> parse_memory("worker_memory", "1GiB") == parse_memory("worker_memory", "1g") == 2**30
    True
    >>> parse_memory("worker_memory", 2)
    Traceback (most recent call last):
    ...
    howdah.errors.SpecificationError: worker_memory: got 2: give a number and a unit, as in '2GiB' or '512MiB'
    """
    given = _NUMBER.fullmatch(value.strip()) if isinstance(value, str) else None
    unit = _MEMORY.get(given[2].lower()) if given else None
    if given is None or unit is None:
        shown = value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 1024 else 2
        raise bad_value(path, value, f"give a number and a unit, as in '{shown}GiB' or '512MiB'", kind)
    size = math.ceil(float(given[1]) * unit / MIB) * MIB
    if size == 0:
        raise bad_value(path, value, "give more than nothing, as in '512MiB'", kind)
    return size


def parse_seconds(path: str, value: object, kind: type[InputError] = SpecificationError) -> float:
    """Return seconds from a number of seconds or a text with a unit.

    >>> parse_seconds("lease", "2min"), parse_seconds("lease", 30), parse_seconds("lease", "1.5h")
    (120.0, 30.0, 5400.0)
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value > 0:
        return float(value)
    given = _NUMBER.fullmatch(value.strip()) if isinstance(value, str) else None
    unit = _SECONDS.get(given[2].lower() or "s") if given else None
    if given is None or unit is None or float(given[1]) == 0:
        raise bad_value(path, value, "give seconds, or a number and ms, s, min, h or d, as in '90s'", kind)
    return float(given[1]) * unit


def parse_count(path: str, value: object, least: int, kind: type[InputError] = SpecificationError) -> int:
    """Return a whole number that is at least `least`.

    >>> parse_count("n_workers", 4, least=0)
    4
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise bad_value(path, value, f"give a whole number, {least} or more", kind)
    return value


def format_memory(size: int) -> str:
    """Return bytes in a form that `parse_memory` reads, exact for whole MiB.

    >>> format_memory(2**30), format_memory(1408 * 2**20), format_memory(3 * 2**29)
    ('1GiB', '1408MiB', '1536MiB')
    """
    if size % (1 << 30) == 0:
        return f"{size >> 30}GiB"
    return f"{math.ceil(size / MIB)}MiB"


def format_bytes(size: float) -> str:
    """Return bytes for users, with one decimal.

    >>> format_bytes(0), format_bytes(1536), format_bytes(5 << 30)
    ('0 B', '1.5 KiB', '5.0 GiB')
    """
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def format_elapsed(seconds: float) -> str:
    """Return whole seconds as minutes and seconds, with hours where there are some.

    >>> format_elapsed(3705), format_elapsed(65.4), format_elapsed(-1)
    ('1:01:45', '1:05', '0:00')
    """
    hours, rest = divmod(max(0, int(seconds)), 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02}"


def with_overhead(worker: int) -> int:
    """Return the container size for a worker of this size: 10 % more, at least 384 MiB more. Bytes, whole MiB.

    >>> with_overhead(2**30) >> 20, with_overhead(10 * 2**30) >> 20
    (1408, 11264)
    """
    return math.ceil((worker + max(OVERHEAD_MINIMUM, worker * OVERHEAD_FACTOR)) / MIB) * MIB


def without_overhead(container: int) -> int:
    """Return the size of the largest worker that fits a container of this size, in bytes; 0 or less where none does.

    >>> without_overhead(1408 * 2**20) == 2**30
    True
    >>> with_overhead(without_overhead(11264 * 2**20)) >> 20
    11264
    """
    small = container - OVERHEAD_MINIMUM
    large = math.floor(container / (1 + OVERHEAD_FACTOR) / MIB) * MIB
    return min(small, large)
