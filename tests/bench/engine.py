"""What a task costs: `map` and `gather` of trivial tasks, howdah against distributed, in one run.

    python tests/bench/engine.py [--tasks 100000] [--peer-tasks 10000] [--rounds 3] [--json FILE]

Both systems get a local cluster of 2 worker processes of 1 thread. howdah runs 1e5 tasks, distributed 1e4 (its cost is
linear in n, and 1e5 take it minutes); each answer is checked, each round times both, one after the other. Figures are
microseconds a task; the ratio is of the medians. The mark of the engine's first floor is 30.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

MARK = 30.0


def inc(x: int) -> int:
    return x + 1


def timed_map(client: Any, n: int) -> float:
    """Seconds from the call to the last answer."""
    begun = time.perf_counter()
    total = sum(client.gather(client.map(inc, range(n), pure=False)))
    seconds = time.perf_counter() - begun
    if total != n * (n + 1) // 2:
        raise SystemExit(f"wrong answer: {total} for {n} tasks")
    return seconds


def warm_up(client: Any) -> None:
    timed_map(client, 200)
    timed_map(client, 200)


def round_trip(client: Any, n: int = 300) -> float:
    """Median seconds from `submit` to its result, one at a time."""
    seconds = []
    for i in range(n + 50):
        begun = time.perf_counter()
        if client.submit(inc, i, pure=False).result() != i + 1:
            raise SystemExit("wrong answer")
        seconds.append(time.perf_counter() - begun)
    return statistics.median(seconds[50:])


def with_howdah(measure: Callable[[Any], None]) -> float:
    from howdah.engine.client import Client
    from howdah.engine.local_cluster import LocalCluster

    begun = time.perf_counter()
    with LocalCluster(2, threads_per_worker=1) as cluster, Client(cluster) as client:
        client.submit(inc, 1).result()
        first = time.perf_counter() - begun
        cluster.wait_for_workers()
        warm_up(client)
        measure(client)
    return first


def with_distributed(measure: Callable[[Any], None]) -> float:
    import dask
    from distributed import Client, LocalCluster

    dask.config.set({f"distributed.worker.memory.{name}": False for name in ("target", "spill", "pause", "terminate")})
    begun = time.perf_counter()
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        client.submit(inc, 1).result()
        first = time.perf_counter() - begun
        warm_up(client)
        measure(client)
    return first


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=100_000)
    parser.add_argument("--peer-tasks", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--json", default="", help="write the figures to this file too")
    options = parser.parse_args(argv)
    found: dict[str, list[float]] = {
        name: [] for name in ("map", "peer_map", "trip", "peer_trip", "first", "peer_first")
    }

    def howdah(client: Any) -> None:
        found["map"].append(timed_map(client, options.tasks) / options.tasks)
        found["trip"].append(round_trip(client))

    def distributed(client: Any) -> None:
        found["peer_map"].append(timed_map(client, options.peer_tasks) / options.peer_tasks)
        found["peer_trip"].append(round_trip(client, 100))

    for number in range(options.rounds):
        found["first"].append(with_howdah(howdah))
        found["peer_first"].append(with_distributed(distributed))
        print(
            f"round {number + 1}: howdah {options.tasks} tasks in {found['map'][-1] * options.tasks:.3f} s, "
            f"distributed {options.peer_tasks} tasks in {found['peer_map'][-1] * options.peer_tasks:.3f} s",
            flush=True,
        )
    figures = {name: statistics.median(values) for name, values in found.items()}
    ratio = figures["peer_map"] / figures["map"]
    mine, theirs = figures["map"] * 1e6, figures["peer_map"] * 1e6
    print(
        f"map + gather, us a task howdah {mine:8.2f}   distributed {theirs:8.1f}   ratio {ratio:6.1f}   mark {MARK:g}"
    )
    for label, name in (("submit + result, ms, median", "trip"), ("cluster to first result, ms", "first")):
        mine, theirs = figures[name], figures[f"peer_{name}"]
        print(f"{label:28s} howdah {mine * 1e3:8.2f}   distributed {theirs * 1e3:8.1f}   ratio {theirs / mine:6.1f}")
    if options.json:
        with open(options.json, "w") as file:
            json.dump({"figures": figures, "ratio": ratio, "mark": MARK, "cores": os.cpu_count()}, file, indent=1)
    return 0 if ratio >= MARK else 1


if __name__ == "__main__":
    sys.exit(main())
