"""Executed tasks, counted by the tasks themselves: each appends a line to one file, which no crash can take back."""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np


class Executed(NamedTuple):
    """One execution: of which task, in which process."""

    name: str
    item: int
    pid: int


class Counts:
    """The executions that are noted in the file `path`. Travels to tasks."""

    def __init__(self, path: str) -> None:
        self.path = path
        open(path, "ab").close()

    def note(self, name: str, item: int) -> None:
        """This process executes the task now: one write, which the system does whole."""
        fd = os.open(self.path, os.O_WRONLY | os.O_APPEND)
        try:
            os.write(fd, f"{name} {item} {os.getpid()}\n".encode())
        finally:
            os.close(fd)

    def all(self) -> list[Executed]:
        with open(self.path) as file:
            return [Executed(name, int(item), int(pid)) for name, item, pid in map(str.split, file)]

    def total(self) -> int:
        return len(self.all())

    def twice(self, gone: Iterable[int] = ()) -> dict[tuple[str, int], int]:
        """Tasks that ran more than once in processes that are not `gone`: what was not lost was made again."""
        lost = set(gone)
        times = Counter((one.name, one.item) for one in self.all() if one.pid not in lost)
        return {task: n for task, n in times.items() if n > 1}


# -- a graph with a known answer --------------------------------------------------------------------------------------


def leaf(item: int, counts: Counts, seconds: float = 0.02, nbytes: int = 40_000) -> np.ndarray:
    counts.note("leaf", item)
    threading.Event().wait(seconds)
    return np.full(nbytes // 8, float(item))


def pair(a: np.ndarray, b: np.ndarray, item: int, counts: Counts) -> np.ndarray:
    counts.note("pair", item)
    return a + b


def total(parts: list[np.ndarray], counts: Counts) -> float:
    counts.note("total", 0)
    return float(sum(part[-1] for part in parts))


def known(n: int) -> float:
    """What `submitted` of n leaves comes to."""
    return n * (n - 1) / 2


def submitted(client, counts: Counts, n: int, seconds: float = 0.02, nbytes: int = 40_000):  # type: ignore[no-untyped-def]
    """(leaves, pairs, the future of the total): leaves are paired with those far away, so that much has to move."""
    leaves = client.map(leaf, range(n), counts=counts, seconds=seconds, nbytes=nbytes)
    half = n // 2
    pairs = client.map(pair, leaves[:half], leaves[half:], range(half), counts=counts)
    return leaves, pairs, client.submit(total, pairs, counts)
