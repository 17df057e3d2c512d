"""From `compute` to the first task that runs, with a million tasks to send."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from measure import Measure, median
from peers import check, howdah

from howdah.engine.execution.dispatch import compute_graph
from howdah.engine.graph.graph import Graph
from howdah.engine.protocol.layers import Broadcast, Dependency, Free, KToOne, Layer, OneToOne


def begin(i: int, path: str) -> int:
    """The first task says when it ran."""
    if i == 0:
        with open(path, "w") as file:
            file.write(repr(time.time()))
    return i


def inc(x: int) -> int:
    return x + 1


def pair(values: list[int]) -> int:
    return sum(values)


def layers(n: int, path: str) -> Graph:
    """Half of the tasks begin, the other half goes on with each; then they are summed up."""
    graph, half = Graph(), n // 2
    first = graph.add(Layer("begin", begin, half, args=[(i,) for i in range(half)], kwargs={"path": path}, pure=False))
    second = graph.add(Layer("inc", inc, half, deps=(Dependency(first, OneToOne()),), pure=False))
    return _summed(graph, second, half)


def free_tasks(n: int, path: str) -> Graph:
    """The same, with an explicit adjacency: a task of the second half needs two of the first."""
    graph, half = Graph(), n // 2
    first = graph.add(Layer("begin", begin, half, args=[(i,) for i in range(half)], kwargs={"path": path}, pure=False))
    indices = (np.arange(half)[:, None] + np.array([0, 1])) % half
    pattern = Free((np.arange(half + 1) * 2).astype("<u4").tobytes(), indices.astype("<u4").tobytes())
    second = graph.add(Layer("pair", pair, half, deps=(Dependency(first, pattern),), pure=False))
    return _summed(graph, second, half)


def _summed(graph: Graph, of: bytes, n: int) -> Graph:
    parts = graph.add(Layer("sum", sum, -(-n // 1000), deps=(Dependency(of, KToOne(1000)),), pure=False))
    graph.add(Layer("sum", sum, 1, deps=(Dependency(parts, Broadcast()),), pure=False))
    return graph


def to_first_task(client: Any, graph: Graph, path: str, answer: int) -> float:
    last = list(graph.layers)[-1]
    called = time.time()
    check(compute_graph(graph, [graph.full_range(last)], scheduler=client), [[answer]])
    with open(path) as file:
        return float(file.read()) - called


def measures() -> Iterator[Measure]:
    n = 1_000_000
    half = n // 2
    with howdah() as client, tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "first")
        in_layers = median(lambda: to_first_task(client, layers(n, path), path, half * (half + 1) // 2), 3)
        free = median(lambda: to_first_task(client, free_tasks(n, path), path, half * (half - 1)), 3)
    yield Measure("compute to first task running, 1e6 tasks in layers", "s", in_layers, most=0.2)
    yield Measure("compute to first task running, 1e6 free tasks", "s", free, most=1.0)
