"""Where graphs run: the default client, an unknown scheduler, results persisted for later graphs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

import howdah as hd
from howdah.engine.api import Client
from howdah.engine.execution.default_client import remove_default_client, set_default_client
from howdah.engine.execution.dispatch import client_for, compute_graph, persist_graph
from howdah.engine.execution.threads import compute_local
from howdah.engine.graph.graph import Graph, PersistedLayer
from howdah.engine.protocol.layers import (
    Broadcast,
    Dependency,
    Layer,
    OneToOne,
    Pattern,
    TaskRange,
)
from howdah.errors import InputError

EXECUTORS = ["inline", "threads"]


def number(i: int) -> int:
    return i


def mix(*inputs: object) -> int:
    return hash(repr(inputs)) % 1_000_003


def on(key: bytes, pattern: Pattern | None = None) -> tuple[Dependency, ...]:
    return (Dependency(key, pattern or OneToOne()),)


def numbers(n: int) -> Layer:
    return Layer("numbers", number, n, args=[(i,) for i in range(n)])


def test_persisted_results_serve_later_graphs() -> None:
    ran: list[int] = []

    def note(i: int) -> int:
        ran.append(i)
        return i * i

    graph = Graph()
    a = graph.add(Layer("a", note, 4, args=[(i,) for i in range(4)]))
    (held,) = persist_graph(graph, [graph.full_range(a)], scheduler="inline")
    later = Graph(persisted={a: held})
    total = later.add(Layer("total", sum, 1, deps=on(a, Broadcast())))
    for executor in EXECUTORS:
        assert compute_graph(later, [later.full_range(total), later.full_range(a)], scheduler=executor) == [
            [14],
            [0, 1, 4, 9],
        ]
    assert ran == [0, 1, 2, 3]
    with pytest.raises(InputError, match="are not in this process"):
        compute_graph(Graph(persisted={a: PersistedLayer(a, 4)}), [TaskRange(a, 0, 4)], scheduler="inline")
    with pytest.raises(InputError, match="only whole layers"):
        persist_graph(graph, [TaskRange(a, 0, 1)])


class FakeClient:
    """Runs what it is given, inline; remembers the layers."""

    def __init__(self) -> None:
        self.seen: list[list[str]] = []

    def compute_graph(
        self, graph: Graph, wanted: list[TaskRange], progress: Callable[..., None] | None
    ) -> list[list[object]]:
        self.seen.append([layer.name for layer in graph.layers.values()])
        return compute_local(graph, wanted, threads=0)

    def persist_graph(self, graph: Graph, wanted: list[TaskRange]) -> list[PersistedLayer]:
        self.seen.append([layer.name for layer in graph.layers.values()])
        return [PersistedLayer(task_range.layer, task_range.stop, self) for task_range in wanted]


def test_the_current_client_computes_and_gets_culled_fused_graphs() -> None:
    client = FakeClient()
    graph = Graph()
    a = graph.add(numbers(3))
    b = graph.add(Layer("b", mix, 3, deps=on(a)))
    graph.add(Layer("unused", mix, 3, deps=on(a)))
    expected = compute_graph(graph, [graph.full_range(b)], scheduler="inline")
    set_default_client(client)
    try:
        assert compute_graph(graph, [graph.full_range(b)]) == expected
        persist_graph(graph, [graph.full_range(b)])
        (here,) = persist_graph(graph, [graph.full_range(a)], scheduler="threads")
        later = Graph(persisted={a: here})
        c = later.add(Layer("c", sum, 1, deps=on(a, Broadcast())))
        assert compute_graph(later, [later.full_range(c)]) == [[3]]
    finally:
        remove_default_client(client)
    assert client.seen == [["numbers+b"], ["numbers+b"], ["persisted", "c"]]


def test_an_unknown_executor_is_refused_with_the_near_one() -> None:
    with pytest.raises(InputError, match="did you mean 'threads'"):
        compute_graph(Graph(), [], scheduler="thread")


def test_distributed_is_the_current_client() -> None:
    df = hd.from_pandas(pd.DataFrame({"x": [1, 2]}))
    with pytest.raises(InputError, match=r"no current client: open one with howdah\.Client"):
        df.x.sum().compute(scheduler="distributed")
    with Client(n_workers=1) as client:
        assert df.x.sum().compute(scheduler="distributed") == 3
        assert client_for("distributed") is client
        assert hd.delayed(abs)(-1).compute(scheduler="distributed") == 1
        assert "the cluster" in df.explain(scheduler="distributed")


@pytest.mark.parametrize("name", ["dask", "thread", ""])
def test_an_unknown_scheduler_is_refused_with_the_names(name: str, tmp_path: Path) -> None:
    df = hd.from_pandas(pd.DataFrame({"x": [1, 2]}))
    for use in (df.compute, df.x.max().compute, df.persist, df.explain, hd.delayed(abs)(-1).compute):
        with pytest.raises(InputError, match=r"one of 'threads', 'inline', 'processes', 'distributed'"):
            use(scheduler=name)
    with pytest.raises(InputError, match="scheduler"):
        df.to_parquet(tmp_path / "out", scheduler=name)
