"""What a task costs from the client's call to its answer: map, graphs, chains, round trips; against distributed.

distributed's cost is linear in the number of tasks, so it runs a part of what howdah runs. Both run twice, in turn;
figures are medians, a task.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

from measure import Measure, seconds
from peers import add, add3, check, distributed, howdah, inc, raw_pipe, total


def mapped(client: Any, n: int) -> None:
    check(sum(client.gather(client.map(inc, range(n), pure=False))), n * (n + 1) // 2)


def chain(client: Any, n: int) -> None:
    future = client.submit(inc, 0, pure=False)
    for _ in range(n - 1):
        future = client.submit(inc, future, pure=False)
    check(future.result(), n)


def merge(client: Any, n: int) -> None:
    check(client.submit(total, client.map(inc, range(n), pure=False), pure=False).result(), n * (n + 1) // 2)


def submitted(client: Any, n: int) -> tuple[float, float]:
    """Microseconds, and those of this thread's CPU, that each of n calls of `submit` in a loop takes; the results are
    then merged by one more."""
    begun, cpu = time.perf_counter(), time.thread_time()
    futures = [client.submit(inc, i, pure=False) for i in range(n)]
    taken, cpu = time.perf_counter() - begun, time.thread_time() - cpu
    check(client.submit(total, futures, pure=False).result(), n * (n + 1) // 2)
    return taken / n * 1e6, cpu / n * 1e6


def stencil(delayed: Callable[..., Any], rows: int, columns: int = 100) -> None:
    cell, row = delayed(add3), list(range(columns))
    for _ in range(rows):
        row = [cell(row[i - 1], row[i], row[(i + 1) % columns]) for i in range(columns)]
    answer = delayed(total)(row).compute()
    check(answer, sum(range(columns)) * 3**rows)


def tree(delayed: Callable[..., Any], leaves: int) -> None:
    leaf, pair = delayed(inc), delayed(add)
    level = [leaf(i) for i in range(leaves)]
    while len(level) > 1:
        level = [pair(level[i], level[i + 1]) for i in range(0, len(level), 2)]
    check(level[0].compute(), leaves * (leaves + 1) // 2)


def round_trip(client: Any, n: int) -> float:
    """Median seconds from `submit` to its result, one at a time."""
    taken = []
    for i in range(n):
        begun = time.perf_counter()
        check(client.submit(inc, i, pure=False).result(), i + 1)
        taken.append(time.perf_counter() - begun)
    return statistics.median(taken[n // 10 :])


Found = dict[str, list[float]]
"""Microseconds a task, by measure, one entry a time."""


def _each(work: Callable[[int], None], n: int, tasks: int = 0, times: int = 1) -> list[float]:
    return [seconds(lambda: work(n)) / (tasks or n) * 1e6 for _ in range(times)]


def _ours(found: Found) -> None:
    import howdah as hd

    with howdah() as client:
        for name, taken in (
            ("map", _each(lambda n: mapped(client, n), 100_000, times=5)),
            ("merge", _each(lambda n: merge(client, n), 20_000, times=3)),
            ("chain", _each(lambda n: chain(client, n), 2_000, times=5)),
            ("trip", [round_trip(client, 250) * 1e6 for _ in range(2)]),
            ("stencil", _each(lambda n: stencil(hd.delayed, n), 100, 10_000, times=5)),
            ("tree", _each(lambda n: tree(hd.delayed, n), 1 << 14, (2 << 14) - 1, times=3)),
            ("pipe", _each(lambda n: check(raw_pipe(n), n * (n + 1) // 2), 100_000)),
        ):
            found.setdefault(name, []).extend(taken)
        for name, each in zip(("submits", "submits cpu"), zip(*[submitted(client, 20_000) for _ in range(3)])):
            found.setdefault(name, []).extend(each)


def _theirs(found: Found) -> None:
    import dask

    with distributed() as client:
        for name, taken in (
            ("map", _each(lambda n: mapped(client, n), 10_000)),
            ("merge", _each(lambda n: merge(client, n), 2_000)),
            ("chain", _each(lambda n: chain(client, n), 300, times=3)),
            ("trip", [round_trip(client, 100) * 1e6 for _ in range(2)]),
            ("stencil", _each(lambda n: stencil(dask.delayed, n), 15, 1_500, times=3)),
            ("tree", _each(lambda n: tree(dask.delayed, n), 1 << 10, (2 << 10) - 1)),
        ):
            found.setdefault(name, []).extend(taken)


def measures() -> Iterator[Measure]:
    ours_all: Found = {}
    peer_all: Found = {}
    for _ in range(2):  # in turn: the machine's pace changes within minutes
        _ours(ours_all)
        _theirs(peer_all)
    ours, peer = ({name: statistics.median(taken) for name, taken in found.items()} for found in (ours_all, peer_all))
    yield Measure("map + gather of 1e5 trivial tasks", "us a task", ours["map"], peer["map"], times=200)
    yield Measure("the same, batches of 100", "us a task", ours["map"], ours["pipe"], times=1, against="raw pipe")
    yield Measure("merge of 20,000 futures into one", "us a task", ours["merge"], peer["merge"], times=50)
    yield Measure("one of 20,000 submits in a loop", "us", ours["submits"], most=100)
    yield Measure("the same, CPU of the calling thread", "us", ours["submits cpu"], most=50)
    yield Measure("stencil of 100 x 100 free tasks", "us a task", ours["stencil"], peer["stencil"], times=50)
    yield Measure("tree sum over 2^14 delayed leaves", "us a task", ours["tree"], peer["tree"], times=50)
    yield Measure("chain of 2,000 dependent submits", "us a link", ours["chain"], peer["chain"], times=30)
    yield Measure("submit + result round trip, p50", "us", ours["trip"], peer["trip"], times=10)
