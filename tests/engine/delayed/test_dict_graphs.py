"""Graphs written as dictionaries, as dask's are, computed by a client."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from howdah.engine.api import Client, Future
from howdah.engine.deploy.local import LocalCluster
from howdah.errors import InputError


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster(1, threads_per_worker=2, resources={"gpu": 1}) as cluster:
        cluster.wait_for_workers()
        yield cluster


def inc(x: int) -> int:
    return x + 1


GRAPH: dict[Any, Any] = {
    "x": 1,
    "y": (inc, "x"),
    "z": (sum, ["x", "y", (inc, 10)]),
    "alias": "z",
    "list": ["x", "y", "no key"],
    ("t", 0): (pow, "y", 3),
    "data": {"x": "stays"},
}


def test_a_dictionary_is_a_graph_and_the_answers_have_the_form_of_the_keys(client: Client) -> None:
    assert client.get(GRAPH, "z") == 14
    assert client.get(GRAPH, ["x", ["y", "alias"], ("t", 0)]) == [1, [2, 14], 8]
    assert client.get(GRAPH, ["list", "data"]) == [[1, 2, "no key"], {"x": "stays"}]
    found = client.get(GRAPH, ["y", "y"], sync=False)
    assert [type(f) for f in found] == [Future] * 2
    assert client.gather(found) == [2, 2]
    worker = next(iter(client.scheduler_info()["workers"]))
    assert client.get(GRAPH, "z", workers=worker, resources={"gpu": 1}, retries=1, priority=2) == 14


def test_a_long_chain_and_a_wide_sum_are_no_trouble(client: Client) -> None:
    chain: dict[Any, Any] = {"k0": 0, **{f"k{i}": (inc, f"k{i - 1}") for i in range(1, 2000)}}
    assert client.get(chain, "k1999") == 1999
    wide: dict[Any, Any] = {("leaf", i): (inc, i) for i in range(1000)}
    assert client.get({**wide, "sum": (sum, list(wide))}, "sum") == sum(range(1001))


def test_a_cycle_is_named(client: Client) -> None:
    graph = {"a": (inc, "b"), "b": (sum, ["x", "c"]), "c": (inc, "a"), "x": 1, "start": (inc, "a")}
    with pytest.raises(InputError, match=r"cycle: 'a' needs 'b' needs 'c' needs 'a'$"):
        client.get(graph, "start")
    with pytest.raises(InputError, match=r"cycle: 'me' needs 'me'$"):
        client.get({"me": (inc, "me")}, "me")
    ring = {f"k{i}": (inc, f"k{(i + 1) % 500}") for i in range(500)}
    with pytest.raises(InputError, match=r"'k0' needs 'k1' .*\(490 more\).* needs 'k0'$"):
        client.get(ring, "k0")
    assert client.get(graph, "x") == 1  # what is not asked for is not looked at


def test_a_key_that_is_not_there_is_answered_with_near_ones(client: Client) -> None:
    with pytest.raises(InputError, match=r"'total' is not in the graph; did you mean 'totals'"):
        client.get({"totals": (inc, 1)}, "total")
    with pytest.raises(InputError, match="dsk: got list"):
        client.get([], "x")


def test_dasks_own_collections_compute_here(client: Client) -> None:
    dask = pytest.importorskip("dask")
    x = dask.delayed(inc)(dask.delayed(inc)(1))
    assert dask.compute(x, x + 1, scheduler=client.get) == (3, 4)
    bag = pytest.importorskip("dask.bag").from_sequence(range(10), npartitions=3)
    assert bag.map(inc).sum().compute(scheduler=client.get) == 55


def test_in_coroutines_it_is_awaited(cluster: LocalCluster) -> None:
    async def main() -> None:
        async with Client(cluster, asynchronous=True) as client:
            assert await client.get(GRAPH, ["z", "y"]) == [14, 2]
            assert await client.get(GRAPH, "z", sync=False) == 14

    asyncio.run(main())


# -- pictures ---------------------------------------------------------------------------------------------------------


def test_a_client_shows_its_workers_in_a_notebook(client: Client) -> None:
    text = client._repr_html_()
    assert "worker-0" in text
    assert "gpu=1" in text
    assert "&lt;Client unix://" in text
    other = Client(client.cluster)
    other.close()
    assert "closed" in other._repr_html_()
