"""Workers with little memory and much to keep: real processes, their real peaks."""

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from howdah.engine.api import Client, Future
from howdah.engine.deploy.local import LocalCluster
from howdah.engine.graph.graph import Graph
from howdah.engine.protocol.layers import Dependency, KToOne, Layer

LIMIT = 256 << 20
BLOCK = 4 << 20


@pytest.fixture
def root() -> Iterator[Path]:
    """A folder with a short name: paths of Unix sockets may have 107 bytes."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def generated(i: int, nbytes: int) -> np.ndarray:
    return np.full(nbytes // 8, float(i))


def added(a: list[np.ndarray]) -> np.ndarray:
    return sum(a[1:], a[0])


def pair(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a + b


def pids(client: Client) -> list[int]:
    return [worker["pid"] for worker in client.scheduler_info()["workers"].values()]


def peak(pid: int) -> int:
    """Most bytes of RAM that the process had at any time."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) << 10


def tree_in_one_graph(client: Client) -> tuple[float, int]:
    n = 512  # 2 GiB
    graph = Graph()
    key = graph.add(Layer("generated", generated, n, args=[(i, BLOCK) for i in range(n)]))
    count = n
    while count > 1:
        count = -(-count // 4)
        key = graph.add(Layer("added", added, count, deps=(Dependency(key, KToOne(4)),)))
    return float(client.compute_graph(graph, [graph.full_range(key)])[0][0][-1]), n


def tree_of_kept_futures(client: Client) -> tuple[float, int]:
    n = 128  # 512 MiB and as much again for the sums, all of it kept to the end: most must go to disk
    kept: list[list[Future]] = [client.map(generated, range(n), [BLOCK] * n)]
    while len(kept[-1]) > 1:
        last = kept[-1]
        kept.append(client.map(pair, last[::2], last[1::2]) + last[len(last) & ~1 :])
    answer = float(kept[-1][0].result(timeout=100)[-1])
    assert [float(leaf.result()[0]) for leaf in kept[0][::17]] == [float(i) for i in range(0, n, 17)]
    return answer, n


@pytest.mark.parametrize("tree", [tree_in_one_graph, tree_of_kept_futures])
def test_a_tree_of_many_times_the_memory_never_goes_over_the_limit(
    tree: Callable[[Client], tuple[float, int]], root: Path
) -> None:
    with LocalCluster(2, memory_limit=LIMIT, local_directory=root) as cluster, Client(cluster) as client:
        client.wait_for_workers(2, timeout=30)
        before = pids(client)
        answer, n = tree(client)
        assert answer == n * (n - 1) / 2
        assert pids(client) == before
        peaks = [peak(pid) for pid in before]
        assert max(peaks) <= LIMIT, [f"{p >> 20} MiB" for p in peaks]
    assert os.listdir(root) == []  # nothing of what went to disk is left


def test_a_damaged_file_on_disk_costs_only_the_time_to_make_it_again(root: Path) -> None:
    with LocalCluster(1, memory_limit=LIMIT, local_directory=root) as cluster, Client(cluster) as client:
        kept = client.map(generated, range(64), [BLOCK] * 64)
        for future in kept:
            client.submit(len, future).result(timeout=60)
        files = sorted(Path(cluster.directory).glob("howdah-spill-*/*.result"))
        assert len(files) > 8
        for file in files[::2]:
            with open(file, "r+b") as damaged:
                damaged.seek(BLOCK // 2)
                damaged.write(b"\xff" * 16)
        files[1].unlink()
        assert client.submit(lambda blocks: sum(float(b[BLOCK // 16]) for b in blocks), kept[:10]).result(60) == 45.0
        for i, future in enumerate(kept):  # one at a time: this process has room for all, the worker has not
            assert float(future.result(timeout=60).mean()) == float(i)
