"""What a measure is, and the table of them. Every module beside this one that has `measures()` is part of `make bench`.

A measure says its own mark: either how many times cheaper than the peer howdah must be, or a bound in its unit.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Measure:
    """One line of the table.

    howdah, peer : the same quantity in `unit`, less is better; `peer` is None where there is nobody to compare with.
    times : the mark as a ratio peer / howdah. most : the mark as a bound on `howdah`. One of the two is given.
    against : who the peer is.
    """

    name: str
    unit: str
    howdah: float
    peer: float | None = None
    times: float | None = None
    most: float | None = None
    against: str = "distributed"

    @property
    def ratio(self) -> float | None:
        return None if self.peer is None or not self.howdah else self.peer / self.howdah

    @property
    def reached(self) -> bool:
        if self.most is not None:
            return self.howdah <= self.most
        return self.ratio is not None and self.times is not None and self.ratio >= self.times


HEAD = f"{'measure':58} {'howdah':>10} {'peer':>10} {'unit':14} {'ratio':>7} {'mark':>9}"


def line(m: Measure) -> str:
    peer = "" if m.peer is None else f"{m.peer:10.4g}"
    ratio = "" if m.ratio is None else f"{m.ratio:7.1f}"
    mark = f"{m.times:g}x" if m.times is not None else f"<= {m.most:g}"
    name = m.name if m.peer is None or m.against == "distributed" else f"{m.name} (peer: {m.against})"
    return f"{name:58} {m.howdah:10.4g} {peer:>10} {m.unit:14} {ratio:>7} {mark:>9} {'' if m.reached else '  MISSED'}"


def table(found: Iterable[Measure]) -> str:
    return "\n".join([HEAD, *map(line, found)])


def seconds(work: Callable[[], object]) -> float:
    """What one call takes."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def median(work: Callable[[], float], times: int) -> float:
    return statistics.median([work() for _ in range(times)])
