"""A client of the soak, in a process of its own: graphs with known answers, until the file `stop` is there."""

from __future__ import annotations

import os
import random
import sys
from typing import Any

from chaos.counting import Counts, known, submitted

from howdah.engine.api import Client
from howdah.engine.graph.graph import Graph
from howdah.engine.protocol.layers import Dependency, KToOne, Layer
from howdah.errors import DeadlineExceeded, WorkerLost

PATIENCE = 120.0
"""Seconds for one graph; whoever waits longer is stuck."""


def step(x: int, by: int) -> int:
    return x + by


def block(i: int, n: int) -> bytes:
    return bytes([i % 251]) * n


def tree(client: Client, dice: random.Random) -> tuple[Any, Any]:
    n, nbytes = dice.randint(20, 80), dice.choice([10, 1000, 200_000])
    graph = Graph()
    key = graph.add(Layer("block", block, n, args=[(i, nbytes) for i in range(n)], pure=False))
    key = graph.add(Layer("len", len, n, deps=(Dependency(key, KToOne(1)),)))
    count = n
    while count > 1:
        count = -(-count // 4)
        key = graph.add(Layer("sum", sum, count, deps=(Dependency(key, KToOne(4)),)))
    return client.compute_graph(graph, [graph.full_range(key)])[0][0], n


def pairs(client: Client, dice: random.Random, counts: Counts) -> tuple[Any, Any]:
    n = 2 * dice.randint(10, 40)  # clients often have the same graph at the same time, and share its work
    nbytes = dice.choice([40_000, 1_000_000])
    return submitted(client, counts, n, seconds=dice.choice([0.0, 0.02]), nbytes=nbytes)[2].result(PATIENCE), known(n)


def chain(client: Client, dice: random.Random) -> tuple[Any, Any]:
    start, length = dice.randint(0, 10**9), dice.randint(5, 30)
    future = client.submit(step, start, 0, pure=False)
    for by in range(length):
        future = client.submit(step, future, by)
    return future.result(PATIENCE), start + length * (length - 1) // 2


def main(address: str, seed: int, stop: str, counts: str, lease: float) -> int:
    dice = random.Random(seed)
    with Client(address, lease=lease, set_as_default=False) as client:
        while not os.path.exists(stop):
            shape = dice.choice(["tree", "pairs", "pairs", "chain"])
            try:
                if shape == "tree":
                    found, right = tree(client, dice)
                elif shape == "pairs":
                    found, right = pairs(client, dice, Counts(counts))
                else:
                    found, right = chain(client, dice)
            except WorkerLost as error:
                # Three workers that were killed at the same task by chance look like a task that kills them.
                print("GIVEN UP", shape, str(error).splitlines()[0], flush=True)
                continue
            except DeadlineExceeded as error:
                print("STUCK", shape, error, flush=True)
                return 2
            print("OK" if found == right else "WRONG", shape, found, right, flush=True)
            if found != right:
                return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4], float(sys.argv[5])))
