"""A cluster as a user meets it: how soon it answers, what it costs when idle, and that it does not grow."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import psutil
from measure import Measure, median
from peers import check, inc


def first_result() -> float:
    """Seconds from `LocalCluster(2)` to the first answer."""
    from howdah.engine.api import Client
    from howdah.engine.deploy.local import LocalCluster

    begun = time.perf_counter()
    with LocalCluster(2, threads_per_worker=1) as cluster, Client(cluster) as client:
        check(client.submit(inc, 1).result(), 2)
        return time.perf_counter() - begun


def importing() -> float:
    """Seconds that `import howdah` takes beyond the interpreter's own start."""

    def run(code: str) -> float:
        begun = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        return time.perf_counter() - begun

    return median(lambda: run("import howdah"), 5) - median(lambda: run("pass"), 5)


def idle(seconds: float = 10.0) -> float:
    """Percent of a core that the busiest process of an idle local cluster takes."""
    from howdah.engine.api import Client
    from howdah.engine.deploy.local import LocalCluster

    with LocalCluster(2, threads_per_worker=1) as cluster, Client(cluster) as client:
        client.gather(client.map(inc, range(100)))
        cluster.wait_for_workers()
        pids = [psutil.Process().pid, *(worker["pid"] for worker in client.scheduler_info()["workers"].values())]
        time.sleep(1.0)
        before = [_cpu(pid) for pid in pids]
        time.sleep(seconds)
        return max(_cpu(pid) - b for pid, b in zip(pids, before)) / seconds * 100


def _cpu(pid: int) -> float:
    """CPU seconds to the nanosecond: /proc/PID/stat counts in hundredths, which is too coarse here."""
    total = 0
    for thread in psutil.Process(pid).threads():
        with open(f"/proc/{pid}/task/{thread.id}/schedstat") as file:
            total += int(file.read().split()[0])
    return total / 1e9


def nap(i: int) -> int:
    time.sleep(0.05)
    return i


def second_client(times: int = 20) -> float:
    """95th percentile of the seconds that B's 50 ms task takes while A has 10,000 of them queued on 2 slots."""
    from howdah.engine.api import Client
    from howdah.engine.deploy.local import LocalCluster

    with (
        LocalCluster(2, threads_per_worker=1) as cluster,
        Client(cluster, name="a") as a,
        Client(cluster, name="b") as b,
    ):
        cluster.wait_for_workers()
        queued = a.map(nap, range(10_000), pure=False)
        while not any(future.done() for future in queued[:50]):
            time.sleep(0.05)
        time.sleep(0.5)
        taken = []
        for i in range(times):
            begun = time.perf_counter()
            check(b.submit(nap, i, pure=False).result(), i)
            taken.append(time.perf_counter() - begun)
        a.cancel(queued)
        return statistics.quantiles(taken, n=20)[-1]


def growth(rounds: int = 200, settled: int = 20) -> tuple[float, float]:
    """MiB by which this process (client and scheduler), and the larger of the workers, grow after round `settled`."""
    from howdah.engine.api import Client
    from howdah.engine.deploy.local import LocalCluster

    with LocalCluster(2, threads_per_worker=1) as cluster:
        cluster.wait_for_workers()
        marks: list[float] = []
        pids: list[int] = []
        for number in range(rounds):
            with Client(cluster) as client:
                check(sum(client.gather(client.map(inc, range(1000), pure=False))), 500_500)
                if number in (settled, rounds - 1):
                    pids = [psutil.Process().pid, *(w["pid"] for w in client.scheduler_info()["workers"].values())]
                    marks += [_memory(pid) for pid in sorted(pids)]
        mine = sorted(pids).index(psutil.Process().pid)
        grown = [after - before for before, after in zip(marks[:3], marks[3:])]
        return grown.pop(mine), max(grown)


def _memory(pid: int) -> float:
    info: Any = psutil.Process(pid).memory_full_info()
    return float(info.uss) / 2**20


def measures() -> Iterator[Measure]:
    yield Measure("import howdah", "s", importing(), most=0.2)
    yield Measure("LocalCluster(2) to first result", "s", median(first_result, 3), most=0.7)
    yield Measure("idle cluster, busiest process", "% of a core", idle(), most=0.3)
    yield Measure("B's 50 ms task behind A's 10,000, p95", "s", second_client(), most=0.5)
    scheduler, worker = growth()
    yield Measure("200 clients of 1,000 tasks: scheduler and client grow", "MiB", scheduler, most=1.0)
    yield Measure("200 clients of 1,000 tasks: a worker grows", "MiB", worker, most=1.0)
