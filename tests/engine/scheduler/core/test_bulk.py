"""An exchange, whose items the scheduler goes through by arrays: the books checked after every event, nothing left."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest

from howdah.engine.protocol.events import (
    BatchDone,
    BatchReturned,
    ClientLeft,
    Event,
    FreeRanges,
    GraphSubmitted,
    InputsMissing,
    Instruction,
    LayerSpec,
    NotifyDone,
    NotifyLost,
    RecallBatch,
    Released,
    StartBatch,
    Tick,
    WorkerInfo,
    WorkerJoined,
    WorkerLeft,
)
from howdah.engine.protocol.layers import Dependency, Free, Key, TaskRange, inputs_of
from howdah.engine.scheduler.core import bulk
from howdah.engine.scheduler.core.results import DEFERRAL
from howdah.engine.scheduler.core.scheduler import Scheduler
from howdah.engine.scheduler.simulation.invariants import check_invariants

LOAD, SPLIT, MERGE = b"l" * 16, b"s" * 16, b"m" * 16


def exchange(partitions: int) -> dict[Key, LayerSpec]:
    """Each partition is split into as many pieces; the pieces of one number are brought together."""
    n = partitions * partitions
    numbers = np.arange(n, dtype="<u4")
    one_each = Free(np.arange(n + 1, dtype="<u4").tobytes(), (numbers // partitions).tobytes())
    bounds = (np.arange(partitions + 1) * partitions).astype("<u4")
    strided = Free(bounds.tobytes(), numbers.reshape(partitions, partitions).T.tobytes())
    specs = [
        LayerSpec(LOAD, "load", partitions),
        LayerSpec(SPLIT, "split", n, (Dependency(LOAD, one_each),)),
        LayerSpec(MERGE, "merge", partitions, (Dependency(SPLIT, strided),)),
    ]
    return {spec.key: spec for spec in specs}


class Cluster:
    """Workers that do as they are told, and know what they have."""

    def __init__(self, random: Random, specs: dict[Key, LayerSpec]) -> None:
        self.scheduler, self.random, self.specs, self.now = Scheduler(), random, specs, 0.0
        self.stores: dict[str, set[tuple[Key, int]]] = {}
        self.queues: dict[str, list[StartBatch]] = {}
        self.done: set[int] = set()
        self.joined = 0

    def say(self, event: Event) -> None:
        self.now += 0.001
        for instruction in self.scheduler.handle(event, self.now):
            self._follow(instruction)
        check_invariants(self.scheduler)

    def _follow(self, instruction: Instruction) -> None:
        match instruction:
            case StartBatch(worker):
                self.queues[worker].append(instruction)
            case FreeRanges(worker, ranges):
                for key, lo, hi in ranges:
                    self.stores[worker] -= {(key, item) for item in range(lo, hi)}
            case NotifyDone(_, task_range):
                self.done.update(range(task_range.start, task_range.stop))
            case NotifyLost(_, task_range):
                self.done.difference_update(range(task_range.start, task_range.stop))
            case RecallBatch():
                pass

    def join(self) -> None:
        name = f"w{self.joined}"
        self.joined += 1
        self.stores[name], self.queues[name] = set(), []
        self.say(WorkerJoined(WorkerInfo(name, f"h{self.joined % 3}", slots=2, pid=self.joined)))

    def kill(self, name: str) -> None:
        del self.stores[name], self.queues[name]
        self.say(WorkerLeft(name, "killed"))

    def step(self) -> bool:
        busy = [name for name, queue in self.queues.items() if queue]
        if not busy:
            return False
        name = self.random.choice(busy)
        run = self.queues[name].pop(0)
        store, spec = self.stores[name], self.specs[run.range.layer]
        for (key, lo, hi), holder in run.sources:
            wanted = {(key, item) for item in range(lo, hi)}
            if not wanted <= self.stores.get(holder, set()):
                self.say(InputsMissing(name, run.batch, run.attempt, holder, (TaskRange(key, lo, hi),)))
                return True
            store |= wanted
        items = range(run.range.start, run.range.stop)
        for dep in spec.deps:
            n = self.specs[dep.layer].n
            assert {(dep.layer, j) for i in items for j in inputs_of(dep.pattern, i, n)} <= store
        if self.random.random() < 0.1 and len(items) > 1:  # given back in part: the rest is reported by and by
            cut = self.random.randrange(1, len(items))
            self.say(BatchReturned(name, run.batch, run.attempt, cut))
            items = items[:cut]
        store |= {(spec.key, item) for item in items}
        self.say(BatchDone(name, run.batch, run.attempt, (10,) * len(items), 1e-4))
        return True


@pytest.mark.parametrize("few", [2, bulk.FEW])
@pytest.mark.parametrize("faults", [False, True])
def test_an_exchange_ends_and_leaves_nothing(few: int, faults: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "FEW", few)
    for seed in range(4):
        random = Random(seed)
        partitions = random.choice([5, 18, 20])
        specs = exchange(partitions)
        cluster = Cluster(random, specs)
        for _ in range(random.randint(2, 5)):
            cluster.join()
        cluster.say(GraphSubmitted("c", tuple(specs.values()), (TaskRange(MERGE, 0, partitions),)))
        wanted = set(range(partitions))
        if faults and random.random() < 0.5:  # some of what is split is wanted, too, for a while
            some = TaskRange(SPLIT, 3, 3 * partitions)
            cluster.say(GraphSubmitted("d", tuple(specs.values()), (some,)))
        while cluster.step():
            if faults and random.random() < 0.02:
                cluster.kill(random.choice(list(cluster.queues)))
                cluster.join()
            if faults and random.random() < 0.01:
                cluster.say(ClientLeft("d"))
            if faults and random.random() < 0.01 and wanted:
                item = wanted.pop()
                cluster.say(Released("c", (TaskRange(MERGE, item, item + 1),)))
        assert wanted <= cluster.done, seed
        for name in ("d", "c"):
            cluster.say(ClientLeft(name))
        while cluster.step():
            pass
        cluster.now += DEFERRAL  # until then what an exchange has freed is collected
        cluster.say(Tick())
        assert not cluster.scheduler.state.layers
        assert not any(cluster.stores.values()), seed
        assert not any(worker.nbytes or worker.items for worker in cluster.scheduler.state.workers.values())


def test_what_an_exchange_frees_is_said_together_and_before_any_of_it_is_made_again() -> None:
    """Each task of an exchange frees a piece at every worker: a message each would be their product."""
    scheduler, specs, now = Scheduler(), exchange(50), 0.0
    graph = GraphSubmitted("c", tuple(specs.values()), (TaskRange(MERGE, 0, 50),))
    told: list[Instruction] = []

    def play(*events: Event) -> None:
        nonlocal now
        todo = list(events)
        while todo:
            now += 1e-7
            for one in scheduler.handle(todo.pop(0), now):
                told.append(one)
                if isinstance(one, StartBatch):
                    todo.append(
                        BatchDone(one.worker, one.batch, one.attempt, (8,) * len(one.range), 0.1 * len(one.range))
                    )

    def freed() -> list[str]:
        found = [one.worker for one in told if isinstance(one, FreeRanges) and one.ranges[0].layer == SPLIT]
        told.clear()
        return found

    names = [f"w{i}" for i in range(50)]
    for name in names:
        play(WorkerJoined(WorkerInfo(name, name)))
    play(graph)
    assert len(freed()) <= 5
    assert scheduler.wake_at is not None
    play(ClientLeft("c"), graph)  # all of it is forgotten, and begins anew
    assert isinstance(told[0], FreeRanges)
    assert any(isinstance(one, StartBatch) for one in told)
    assert set(freed()[:50]) == set(names)
    now += DEFERRAL
    play(Tick())
    assert sorted(freed()) == sorted(names)
    assert not scheduler.state.results.deferred_frees
