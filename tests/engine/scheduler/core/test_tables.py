"""Books are no business of Python's collector, so they must not wait for it: nothing of them outlives its use."""

from __future__ import annotations

import gc
import weakref

from howdah.engine.protocol.events import (
    BatchDone,
    ClientLeft,
    GraphSubmitted,
    LayerSpec,
    Released,
    StartBatch,
    WorkerInfo,
    WorkerJoined,
)
from howdah.engine.protocol.layers import Dependency, Key, OneToOne, TaskRange
from howdah.engine.scheduler.core.scheduler import Scheduler


class Name(str):
    """A layer's name that tells when nobody has it."""


def chain(links: int, n: int) -> tuple[list[LayerSpec], list[weakref.ref[Name]]]:
    names = [Name(f"link {i}") for i in range(links)]
    keys: list[Key] = [i.to_bytes(16, "big") for i in range(links)]
    deps = [(), *[(Dependency(key, OneToOne()),) for key in keys]]
    return [LayerSpec(keys[i], names[i], n, deps[i]) for i in range(links)], [weakref.ref(name) for name in names]


def begun(n: int) -> tuple[Scheduler, list[StartBatch], list[weakref.ref[Name]], Key]:
    """A state with a worker that has its first run, and runs behind it, of a chain of layers of `n` items."""
    scheduler = Scheduler()
    scheduler.handle(WorkerJoined(WorkerInfo("w", "host", slots=1)), 0.0)
    layers, names = chain(20, n)
    wanted = TaskRange(layers[-1].key, 0, n)
    out = scheduler.handle(GraphSubmitted("c", tuple(layers), (wanted,)), 0.0)
    return scheduler, [i for i in out if isinstance(i, StartBatch)], names, wanted.layer


def test_what_is_forgotten_is_free_at_once() -> None:
    for n in (1, 30):
        scheduler, started, names, last = begun(n)
        gc.disable()
        try:
            now = 0.0
            while started:
                run = started.pop(0)
                now += 0.001
                out = scheduler.handle(BatchDone("w", run.batch, run.attempt, (28,) * len(run.range), 0.001), now)
                started += [i for i in out if isinstance(i, StartBatch)]
            scheduler.handle(Released("c", (TaskRange(last, 0, n),)), now)
            assert not scheduler.state.layers
            scheduler.handle(ClientLeft("c"), now)
            scheduler.state.history.clear()
            scheduler.state.seconds_by_name.clear()
            scheduler.state.forgotten_statistics.clear()
            del run, out
            assert [name() for name in names] == [None] * len(names)
        finally:
            gc.enable()


def test_a_state_that_ends_with_unfinished_work_takes_its_books_along() -> None:
    for n in (1, 30):
        scheduler, started, names, _ = begun(n)
        assert started
        assert all(name() is not None for name in names)
        del scheduler, started
        gc.collect()  # the state itself is Python's to find
        assert [name() for name in names] == [None] * len(names)
