"""The local executors: the same answers inline and on threads, memory that follows need, errors as they are."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from howdah.engine.execution.dispatch import compute_graph
from howdah.engine.execution.threads import compute_local
from howdah.engine.graph.graph import Graph
from howdah.engine.protocol.layers import (
    Broadcast,
    Dependency,
    KToOne,
    Layer,
    OneToOne,
    Pattern,
    TaskRange,
    Window,
    inputs_of,
)
from howdah.engine.protocol.patterns import free

EXECUTORS = ["inline", "threads"]


def number(i: int) -> int:
    return i


def mix(*inputs: object) -> int:
    return hash(repr(inputs)) % 1_000_003


def on(key: bytes, pattern: Pattern | None = None) -> tuple[Dependency, ...]:
    return (Dependency(key, pattern or OneToOne()),)


def numbers(n: int) -> Layer:
    return Layer("numbers", number, n, args=[(i,) for i in range(n)])


def random_graph(random: Random) -> Graph:
    graph = Graph()
    keys = [graph.add(numbers(random.randint(0, 12)))]
    for number_ in range(random.randint(1, 6)):
        source = random.choice(keys)
        n_source = graph.length(source) or 0
        k = random.randint(1, 5)
        pattern, n = random.choice(
            [(OneToOne(), n_source), (KToOne(k), -(-n_source // k)), (Broadcast(), random.randint(0, 4)),
             (Window(random.randint(0, 2), random.randint(0, 2), random.random() < 0.5), n_source)]
        )  # fmt: skip
        if n_source and random.random() < 0.3:
            n = random.randint(1, 6)
            pattern = free([random.choices(range(n_source), k=random.randint(0, 4)) for _ in range(n)])
        deps = on(source, pattern) + (on(random.choice(keys), Broadcast()) if random.random() < 0.3 else ())
        keys.append(graph.add(Layer(f"mix{number_}", mix, n, deps=deps, args=[(number_,)] * n)))
    return graph


def reference(graph: Graph, key: bytes, item: int) -> object:
    layer = graph.layers[key]
    inputs = []
    for dep in layer.deps:
        values = [reference(graph, dep.layer, i) for i in inputs_of(dep.pattern, item, graph.length(dep.layer) or 0)]
        inputs.append(values[0] if isinstance(dep.pattern, OneToOne) else values)
    return layer.fn(*inputs, *(layer.args[item] if layer.args else ()))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**9))
def test_random_graphs_give_the_right_answer(seed: int) -> None:
    random = Random(seed)
    graph = random_graph(random)
    wanted = []
    for key in random.sample(list(graph.layers), min(2, len(graph.layers))):
        stop = random.randint(0, graph.layers[key].n)
        wanted.append(TaskRange(key, random.randint(0, stop), stop))
    expected = [
        [reference(graph, task_range.layer, i) for i in range(task_range.start, task_range.stop)]
        for task_range in wanted
    ]
    for executor in EXECUTORS:
        assert compute_graph(graph, wanted, scheduler=executor) == expected


def test_only_what_is_needed_runs_and_once() -> None:
    ran: list[int] = []

    def note(i: int) -> int:
        ran.append(i)
        return i

    graph = Graph()
    a = graph.add(Layer("a", note, 9, args=[(i,) for i in range(9)]))
    b = graph.add(Layer("b", sum, 3, deps=on(a, KToOne(3))))
    c = graph.add(Layer("c", max, 3, deps=(*on(b), *on(b)), args=[(0,)] * 3))
    assert compute_local(graph, [TaskRange(c, 1, 2), TaskRange(a, 8, 9)], threads=0) == [[12], [8]]
    assert sorted(ran) == [3, 4, 5, 8]


class Value:
    """A result whose life can be watched."""

    alive = 0
    most = 0
    lock = threading.Lock()

    def __init__(self, *_: object) -> None:
        with Value.lock:
            Value.alive += 1
            Value.most = max(Value.most, Value.alive)
        weakref.finalize(self, Value.gone)

    @staticmethod
    def gone() -> None:
        with Value.lock:
            Value.alive -= 1


@pytest.mark.parametrize("threads", [0, 2])
def test_memory_follows_need(threads: int) -> None:
    """A tree over 256 leaves holds a few values per level at a time, not all leaves."""
    Value.most = Value.alive = 0
    graph = Graph()
    key = graph.add(Layer("leaf", Value, 256, args=[(i,) for i in range(256)]))
    while (graph.length(key) or 0) > 1:
        key = graph.add(Layer("join", Value, (graph.length(key) or 0) // 4, deps=on(key, KToOne(4))))
    result = compute_local(graph, [graph.full_range(key)], threads=threads)
    gc.collect()
    assert Value.alive == 1
    assert Value.most <= 32
    del result


@pytest.mark.parametrize("executor", EXECUTORS)
def test_the_users_exception_as_it_is(executor: str) -> None:
    begun: list[int] = []

    def fail(i: int) -> int:
        begun.append(i)
        if i == 5:
            raise ZeroDivisionError("mine")
        return i

    graph = Graph()
    a = graph.add(Layer("fail", fail, 2000, args=[(i,) for i in range(2000)]))
    b = graph.add(Layer("total", sum, 1, deps=on(a, Broadcast())))
    with pytest.raises(ZeroDivisionError, match="mine") as caught:
        compute_graph(graph, [graph.full_range(b)], scheduler=executor)
    assert caught.value.__notes__ == ["while computing fail[5]"]
    assert len(begun) < 2000
    assert not [t for t in threading.enumerate() if t.name.startswith("howdah-local")]


def test_threads_run_at_the_same_time() -> None:
    barrier = threading.Barrier(3, timeout=30)
    graph = Graph()
    a = graph.add(Layer("meet", lambda i: barrier.wait() >= 0, 3, args=[(i,) for i in range(3)]))
    assert compute_local(graph, [graph.full_range(a)], threads=3) == [[True] * 3]


@pytest.mark.parametrize("threads", [0, 2])
def test_an_interrupt_leaves_no_thread(threads: int) -> None:
    def interrupt(i: int) -> int:
        raise KeyboardInterrupt

    graph = Graph()
    a = graph.add(Layer("a", interrupt, 5, args=[(i,) for i in range(5)]))
    with pytest.raises(KeyboardInterrupt):
        compute_local(graph, [graph.full_range(a)], threads=threads)
    assert not [t for t in threading.enumerate() if t.name.startswith("howdah-local")]


@pytest.mark.parametrize("executor", EXECUTORS)
def test_async_functions(executor: str) -> None:
    async def later(x: int) -> int:
        await asyncio.sleep(0)
        return x + 1

    graph = Graph()
    a = graph.add(Layer("later", later, 3, args=[(i,) for i in range(3)]))
    assert compute_graph(graph, [graph.full_range(a)], scheduler=executor) == [[1, 2, 3]]


@pytest.mark.parametrize("executor", EXECUTORS)
def test_progress_ends_at_the_end(executor: str) -> None:
    calls: list[tuple[int, int, str]] = []
    graph = Graph()
    a = graph.add(numbers(100))
    compute_graph(graph, [graph.full_range(a)], scheduler=executor, progress=lambda *call: calls.append(call))
    assert calls[-1][:2] == (100, 100)
    assert all(done <= total for done, total, _ in calls)
