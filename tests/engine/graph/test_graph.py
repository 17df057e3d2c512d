"""Graphs are checked as they are written, culled, fused, and travel in slices."""

from __future__ import annotations

import pickle
import threading
import time

import pytest

from howdah.engine.execution.threads import compute_local
from howdah.engine.graph.encode import encode, layer_spec
from howdah.engine.graph.fuse import fuse
from howdah.engine.graph.graph import CollisionError, Graph, PersistedLayer, from_layers
from howdah.engine.protocol.layers import Broadcast, Dependency, KToOne, Layer, OneToOne, TaskRange
from howdah.errors import InputError, Unpicklable


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


def test_what_somebody_else_needs_is_not_fused_away() -> None:
    graph = Graph()
    a = graph.add(numbers(2))
    b = graph.add(Layer("b", double, 2, deps=on(a)))
    c = graph.add(Layer("c", double, 2, deps=on(b)))
    d = graph.add(Layer("d", sum, 1, deps=on(b, KToOne(2))))
    assert list(fuse(graph, [graph.full_range(c), graph.full_range(d)]).layers) == [b, c, d]
    assert list(fuse(graph, [graph.full_range(a), graph.full_range(b)]).layers)[:2] == [a, b]


def test_any_run_is_a_slice_of_the_arguments() -> None:
    layer = Layer("x", double, 3, args=[(1, "a"), ([2],), (None,)], kwargs={"by": 5}, key=b"k" * 16)
    made = encode(layer)
    run = made.args[made.offsets[1] : made.offsets[3]]
    cut = made.offsets[2] - made.offsets[1]
    assert (pickle.loads(run[:cut]), pickle.loads(run[cut:])) == (([2],), (None,))
    fn, kwargs, pass_inputs = pickle.loads(made.code)
    assert (fn(4, **kwargs), pass_inputs) == (20, True)
    assert (made.spec.n, made.spec.key, made.spec.host_sets) == (3, b"k" * 16, ())


def test_what_cannot_travel_is_named() -> None:
    layer = Layer("x", double, 3, args=[(1,), ({"a": [threading.Lock()]},), (3,)], key=b"k")
    with pytest.raises(Unpicklable, match=r"the arguments of x\[1\] cannot travel: .*\['a'\]\[0\] \(a lock\)"):
        encode(layer)
    with pytest.raises(Unpicklable, match=r"keyword arguments of .*x"):
        encode(Layer("x", double, 1, kwargs={"by": threading.Lock()}, key=b"k"))


def test_hosts_travel_once() -> None:
    hosts = [("a", "b"), ("c",)] * 5000
    spec = layer_spec(Layer("x", double, 10_000, hosts=hosts, nbytes=[7] * 10_000, key=b"k"))
    assert spec.host_sets == (("a", "b"), ("c",))
    assert spec.host_index[:3] == (0, 1, 0)


def test_held_forgets_its_keeper_when_pickled() -> None:
    held = PersistedLayer(b"k", 3, threading.Lock())
    again = pickle.loads(pickle.dumps(held))
    assert again == held
    assert again.results is None
