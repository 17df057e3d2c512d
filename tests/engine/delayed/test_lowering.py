"""Calls become few layers, with regular patterns where they are regular."""

from howdah.engine.delayed.compute import compute
from howdah.engine.delayed.delayed import delayed
from howdah.engine.delayed.lowering import lower
from howdah.engine.protocol.layers import KToOne, OneToOne, Window


def inc(x: int) -> int:
    return x + 1


def test_regular_graphs_are_few_layers() -> None:
    leaves = [delayed(inc)(i) for i in range(8)]
    graph, _ = lower([delayed(sum)(leaves[:4]), delayed(sum)(leaves[4:])])
    assert [layer.n for layer in graph.layers.values()] == [8, 2]
    assert [dep.pattern for layer in graph.layers.values() for dep in layer.deps] == [KToOne(4)]
    graph, _ = lower([delayed(inc)(leaf) for leaf in leaves])
    assert [dep.pattern for layer in graph.layers.values() for dep in layer.deps] == [OneToOne()]
    around = [delayed(max)(leaves[i - 1], leaves[i], leaves[(i + 1) % 8]) for i in range(8)]
    graph, _ = lower(around)
    assert [dep.pattern for layer in graph.layers.values() for dep in layer.deps] == [Window(0, 2, wrap=True)]
    assert compute(*around, scheduler="inline") == (8, 3, 4, 5, 6, 7, 8, 8)
