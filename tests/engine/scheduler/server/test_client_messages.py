"""Graphs from a real client: chains of tasks, and arguments that travel in parts."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from howdah.engine.api import Client
from howdah.engine.deploy.local import LocalCluster
from howdah.engine.execution.dispatch import compute_graph
from howdah.engine.graph.encode import FIRST_PART, PART
from howdah.engine.graph.graph import Graph
from howdah.engine.protocol.layers import Broadcast, Dependency, Layer
from howdah.errors import Unpicklable


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster(1) as made:
        yield made


def boom(x: int) -> float:
    return 1 / x


def test_a_chain_of_submits_is_answered_on_one_worker(client: Client) -> None:
    future = client.submit(abs, 0, pure=False)
    for _ in range(300):
        future = client.submit(lambda x: x + 1, future)
    assert future.result(30) == 300


def test_a_chain_behind_a_failure_fails_with_it(client: Client) -> None:
    future = client.submit(boom, 0, pure=False)
    for _ in range(50):
        future = client.submit(lambda x: x + 1, future)
    with pytest.raises(ZeroDivisionError):
        future.result(30)


def test_a_chain_behind_a_task_that_succeeds_at_its_second_try(client: Client, tmp_path: Path) -> None:
    flag = str(tmp_path / "tried")

    def second(path: str) -> int:
        import os

        if os.path.exists(path):
            return 1
        open(path, "w").close()
        raise OSError("not yet")

    future = client.submit(second, flag, retries=1)
    for _ in range(20):
        future = client.submit(lambda x: x + 1, future)
    assert future.result(30) == 21


def whole_graph(values: list[object]) -> tuple[Graph, object]:
    graph = Graph()
    first = graph.add(Layer("itself", one, len(values), args=[(value,) for value in values], pure=False))
    last = graph.add(Layer("total", sum, 1, deps=(Dependency(first, Broadcast()),), pure=False))
    return graph, graph.full_range(last)


def one(value: int) -> int:
    return value


def test_arguments_that_travel_in_parts_reach_their_items(client: Client) -> None:
    values = list(range(FIRST_PART + PART + 10))
    graph, wanted = whole_graph(values)
    assert compute_graph(graph, [wanted], scheduler=client) == [[sum(values)]]


def test_an_argument_that_cannot_travel_in_a_later_part_is_named_and_nothing_stays(client: Client) -> None:
    values: list[object] = [*range(FIRST_PART + 100), threading.Lock()]
    graph, wanted = whole_graph(values)
    with pytest.raises(Unpicklable, match=rf"itself\[{FIRST_PART + 100}\]"):
        compute_graph(graph, [wanted], scheduler=client)
    assert client.submit(abs, -5).result(30) == 5
