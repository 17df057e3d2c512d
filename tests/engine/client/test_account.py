"""The account of a computation: tasks and seconds by part."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from howdah.engine.api import Client
from howdah.engine.client.account import account
from howdah.engine.deploy.local import LocalCluster
from howdah.engine.execution.dispatch import compute_graph
from howdah.engine.graph.graph import Graph
from howdah.engine.protocol.layers import Broadcast, Dependency, Layer


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster(1) as made:
        yield made


def whole_graph(values: list[object]) -> tuple[Graph, object]:
    graph = Graph()
    first = graph.add(Layer("itself", one, len(values), args=[(value,) for value in values], pure=False))
    last = graph.add(Layer("total", sum, 1, deps=(Dependency(first, Broadcast()),), pure=False))
    return graph, graph.full_range(last)


def one(value: int) -> int:
    return value


def test_the_account_of_a_compute_tells_tasks_and_time_by_part(client: Client) -> None:
    client.gather(client.map(one, range(7), pure=False))
    with account(client) as cost:
        graph, wanted = whole_graph(list(range(50)))
        compute_graph(graph, [wanted], scheduler=client)
    assert {name: part["tasks"] for name, part in cost.parts.items()} == {"itself": 50, "total": 1}
    assert 0 < cost.total("seconds") < cost.wall * cost.slots + 0.1
    text = str(cost)
    assert text.startswith("51 tasks in ")
    assert "itself" in text
