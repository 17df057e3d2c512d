"""Linear fusion keeps results and keys, and leaves alone what is needed elsewhere."""

from __future__ import annotations

from howdah.engine.execution.threads import compute_local
from howdah.engine.graph.fuse import fuse
from howdah.engine.graph.graph import Graph
from howdah.engine.protocol.layers import Broadcast, Dependency, KToOne, Layer, OneToOne


def double(x: int, by: int = 2) -> int:
    return x * by


def numbers(n: int, **changes: object) -> Layer:
    return Layer("numbers", double, n, args=[(i,) for i in range(n)], **changes)


def on(key: bytes, pattern: object = None) -> tuple[Dependency, ...]:
    return (Dependency(key, pattern or OneToOne()),)


def test_fusion_keeps_results_and_keys() -> None:
    graph = Graph()
    a = graph.add(numbers(4, hosts=[("h",)] * 4))
    b = graph.add(Layer("b", double, 4, deps=on(a), kwargs={"by": 3}))
    c = graph.add(Layer("c", pow, 4, deps=on(b), args=[(2,), (1,), (2,), (1,)]))
    total = graph.add(Layer("total", sum, 1, deps=on(c, Broadcast())))
    fused = fuse(graph, [graph.full_range(total)])
    assert [layer.name for layer in fused.layers.values()] == ["numbers+b+c", "total"]
    assert list(fused.layers) == [c, total]
    assert fused.layers[c].hosts == [("h",)] * 4
    assert compute_local(fused, [fused.full_range(total)], threads=0) == compute_local(
        graph, [graph.full_range(total)], threads=0
    )


def test_layers_with_other_dependents_are_not_fused_away() -> None:
    graph = Graph()
    a = graph.add(numbers(2))
    b = graph.add(Layer("b", double, 2, deps=on(a)))
    c = graph.add(Layer("c", double, 2, deps=on(b)))
    d = graph.add(Layer("d", sum, 1, deps=on(b, KToOne(2))))
    assert list(fuse(graph, [graph.full_range(c), graph.full_range(d)]).layers) == [b, c, d]
    assert list(fuse(graph, [graph.full_range(a), graph.full_range(b)]).layers)[:2] == [a, b]
