"""Graphs are checked as they are written, culled, fused, and travel in slices."""

from __future__ import annotations

import pickle
import threading
import time

import pytest

from howdah.engine.graph.graph import CollisionError, Graph, PersistedLayer, from_layers
from howdah.engine.protocol.layers import Dependency, Layer, OneToOne, TaskRange
from howdah.errors import InputError


def double(x: int, by: int = 2) -> int:
    return x * by


def numbers(n: int, **changes: object) -> Layer:
    return Layer("numbers", double, n, args=[(i,) for i in range(n)], **changes)


def on(key: bytes, pattern: object = None) -> tuple[Dependency, ...]:
    return (Dependency(key, pattern or OneToOne()),)


def test_equal_layers_are_one() -> None:
    graph = Graph()
    assert graph.add(numbers(3)) == graph.add(numbers(3)) != graph.add(numbers(4))
    assert len(graph) == 2


def test_two_contents_under_one_key_are_refused() -> None:
    graph = Graph()
    graph.add(numbers(3, key=b"same"))
    with pytest.raises(CollisionError, match="key 73616d65 is that of 'numbers', which is other work"):
        graph.add(numbers(4, key=b"same"))


@pytest.mark.parametrize(
    ("layer", "says"),
    [
        (Layer("x", double, 2, args=[(1,)]), "layer 'x': args for 1 items, where n is 2"),
        (Layer("x", double, 2, hosts=[()]), "hosts for 1 items"),
        (Layer("x", double, 2, nbytes=[1]), "nbytes for 1 items"),
        (Layer("x", double, -1), "n is -1"),
        (Layer("x", 3, 1), "fn is 3, which cannot be called"),
        (Layer("x", double, 1, deps=on(b"nowhere")), "needs layer 6e6f7768657265, which is not in the graph"),
        (Layer("x", double, 2, deps=on(b"held")), "same length"),
    ],
)
def test_bad_layers_are_refused_where_they_are_written(layer: Layer, says: str) -> None:
    with pytest.raises(InputError, match=says):
        Graph(persisted={b"held": PersistedLayer(b"held", 3)}).add(layer)


def test_a_cycle_is_named() -> None:
    layers = [Layer(n, double, 1, deps=on(d), key=n.encode()) for n, d in [("a", b"c"), ("b", b"a"), ("c", b"b")]]
    with pytest.raises(InputError, match="a -> c -> b -> a"):
        from_layers(layers)
    assert list(from_layers([Layer("b", double, 1, deps=on(b"a"), key=b"b"), numbers(1, key=b"a")]).layers) == [
        b"a",
        b"b",
    ]


def test_cull_keeps_what_is_needed() -> None:
    graph = Graph(persisted={b"held": PersistedLayer(b"held", 2), b"other": PersistedLayer(b"other", 2)})
    a = graph.add(numbers(2))
    b = graph.add(Layer("b", double, 2, deps=on(a)))
    c = graph.add(Layer("c", max, 2, deps=(*on(b), *on(b"held"))))
    graph.add(Layer("d", double, 2, deps=on(b"other")))
    culled = graph.cull([graph.full_range(c)])
    assert list(culled.layers) == [a, b, c]
    assert list(culled.persisted) == [b"held"]
    assert list(graph.cull([graph.full_range(a)]).layers) == [a]
    with pytest.raises(InputError, match="items 0 to 3 of layer"):
        graph.cull([TaskRange(a, 0, 3)])


def test_building_is_linear() -> None:
    """A chain of 2,000 and a fan of 2,000 layers, each added in constant time (distributed's is quadratic)."""
    graph = Graph()
    begun = time.thread_time()
    key = graph.add(numbers(1))
    for _ in range(2000):
        key = graph.add(Layer("chain", double, 1, deps=on(key)))
    for i in range(2000):
        graph.add(Layer("fan", double, 1, deps=on(key), args=[(i,)]))
    graph.cull([graph.full_range(key)])
    assert time.thread_time() - begun < 2


def test_held_forgets_its_keeper_when_pickled() -> None:
    held = PersistedLayer(b"k", 3, threading.Lock())
    again = pickle.loads(pickle.dumps(held))
    assert again == held
    assert again.results is None
