"""Peak memory of workers: a tree reduction of ten times more generated arrays than the two workers may hold.

The peak is the kernel's own (``VmHWM`` in /proc), of the whole process, interpreter and libraries included.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from measure import Measure
from peers import check

LIMIT = 1 << 30
LEAVES, NBYTES = 1280, 8 << 20


def leaf(i: int, nbytes: int) -> np.ndarray:
    return np.full(nbytes // 8, float(i))


def peak(pid: int) -> int:
    """Bytes of RAM that the process has used at most."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) << 10


def tree_reduction(leaves: int = LEAVES, nbytes: int = NBYTES, limit: int = LIMIT) -> float:
    """The largest share of its limit that a worker has used."""
    from howdah.engine.api import Client
    from howdah.engine.delayed.delayed import delayed
    from howdah.engine.deploy.local import LocalCluster

    make, add, ends = delayed(leaf), delayed(operator.add), delayed(lambda a: (a[0], a[-1]))
    with LocalCluster(2, threads_per_worker=1, memory_limit=limit) as cluster, Client(cluster) as client:
        cluster.wait_for_workers()
        pids = sorted(worker["pid"] for worker in client.scheduler_info()["workers"].values())
        level = [make(i, nbytes) for i in range(leaves)]
        while len(level) > 1:
            odd = level[-1:] if len(level) % 2 else []
            level = [add(one, other) for one, other in zip(level[::2], level[1::2])] + odd
        total = leaves * (leaves - 1) / 2
        check(tuple(ends(level[0]).compute(scheduler=client)), (total, total))
        check(sorted(worker["pid"] for worker in client.scheduler_info()["workers"].values()), pids)
        return max(map(peak, pids)) / limit


def measures() -> Iterator[Measure]:
    yield Measure("10 GB tree reduction, 2 workers of 1 GB: peak of a worker", "of its limit", tree_reduction(), most=1)
