"""What the scheduler costs by itself: memory of waiting tasks, and CPU a task in a simulated cluster of 1,000 workers.

Nothing but `State.handle` is timed: workers are a queue of times.
"""

from __future__ import annotations

import time
import tracemalloc
from collections import deque
from collections.abc import Iterator, Sequence
from heapq import heappop, heappush

import numpy as np
from measure import Measure

from howdah.engine.protocol.events import (
    BatchDone,
    BatchReturned,
    Event,
    GraphSubmitted,
    Instruction,
    LayerSpec,
    RecallBatch,
    StartBatch,
    Tick,
    WorkerInfo,
    WorkerJoined,
)
from howdah.engine.protocol.layers import Dependency, Free, Key, OneToOne, Pattern, TaskRange
from howdah.engine.scheduler.core.scheduler import Scheduler


def key(i: int) -> Key:
    return i.to_bytes(16, "big")


def spec(i: int, n: int, *deps: tuple[int, Pattern]) -> LayerSpec:
    return LayerSpec(key(i), f"layer{i}", n, tuple(Dependency(key(d), p) for d, p in deps))


def whole(layer: LayerSpec) -> TaskRange:
    return TaskRange(layer.key, 0, layer.n)


def shuffle_like(partitions: int) -> list[LayerSpec]:
    """Load, split each partition into as many pieces, and bring together the pieces of one number: free patterns."""
    n = partitions * partitions
    numbers = np.arange(n, dtype="<u4")
    one_each = Free(np.arange(n + 1, dtype="<u4").tobytes(), (numbers // partitions).tobytes())
    bounds = (np.arange(partitions + 1) * partitions).astype("<u4")
    strided = Free(bounds.tobytes(), numbers.reshape(partitions, partitions).T.tobytes())
    return [spec(1, partitions), spec(2, n, (1, one_each)), spec(3, partitions, (2, strided))]


class Cluster:
    """Simulated workers: each slot runs its runs in turn, `each` seconds a task; recalls are answered."""

    def __init__(self, workers: int, slots: int, each: float, racks: int = 20) -> None:
        self.scheduler, self.now, self.seconds, self.runs, self.begun, self.each = Scheduler(), 0.0, 0.0, 0, 0, each
        self.queues: dict[str, deque[StartBatch]] = {}
        self.free: dict[str, int] = {}
        self.running: dict[tuple[int, int], float] = {}
        self.stops: dict[tuple[int, int], int] = {}
        self.heap: list[tuple[float, int, StartBatch]] = []
        for i in range(workers):
            self.queues[f"w{i}"], self.free[f"w{i}"] = deque(), slots
            self.handle(WorkerJoined(WorkerInfo(f"w{i}", f"h{i}", f"/r{i % racks}", slots)))
        self.seconds = 0.0

    def handle(self, event: Event) -> Sequence[Instruction]:
        begun = time.thread_time()
        out = self.scheduler.handle(event, self.now)
        self.seconds += time.thread_time() - begun
        return out

    def say(self, event: Event) -> None:
        for instruction in self.handle(event):
            if isinstance(instruction, StartBatch):
                self.runs += 1
                self.stops[instruction.batch, instruction.attempt] = len(instruction.range)
                self.queues[instruction.worker].append(instruction)
                self.begin(instruction.worker)
            elif isinstance(instruction, RecallBatch):
                self.recall(instruction)

    def recall(self, asked: RecallBatch) -> None:
        name = (asked.batch, asked.attempt)
        if name not in self.stops:
            return
        begun = self.running.get(name)
        keep = 0 if begun is None else min(int((self.now - begun) / self.each) + 1, self.stops[name])
        self.stops[name] = keep
        self.say(BatchReturned(asked.worker, asked.batch, asked.attempt, keep))

    def begin(self, worker: str) -> None:
        queue = self.queues[worker]
        while self.free[worker] and queue:
            run = queue.popleft()
            n = self.stops[run.batch, run.attempt]
            if n == 0:
                continue
            self.free[worker] -= 1
            self.running[run.batch, run.attempt] = self.now
            self.begun += 1
            heappush(self.heap, (self.now + self.each * n, self.begun, run))

    def drive(self) -> None:
        tick = self.now
        while self.heap:
            at, _, run = heappop(self.heap)
            name = (run.batch, run.attempt)
            n = self.stops[name]
            due = self.running[name] + self.each * n
            if due < at - 1e-9:
                at = max(due, self.now)
            self.now = max(self.now, at)
            del self.stops[name], self.running[name]
            self.free[run.worker] += 1
            self.begin(run.worker)
            self.say(BatchDone(run.worker, run.batch, run.attempt, (1000,) * n, self.each * n))
            if self.now - tick > 0.5:
                tick = self.now
                self.say(Tick())


def simulated(workers: int, slots: int, partitions: int, each: float) -> tuple[float, float, int]:
    """(microseconds of the scheduler's CPU a task, simulated seconds, runs)."""
    graph = shuffle_like(partitions)
    cluster = Cluster(workers, slots, each)
    cluster.say(GraphSubmitted("c", tuple(graph), (whole(graph[-1]),)))
    cluster.drive()
    tasks = sum(layer.n for layer in graph)
    done = cluster.scheduler.state.layers[graph[-1].key].counts[4]
    if done != graph[-1].n:
        raise SystemExit(f"the simulated graph did not end: {done} of {graph[-1].n}")
    return cluster.seconds / tasks * 1e6, cluster.now, cluster.runs


def memory(*layers: LayerSpec) -> float:
    """Bytes a task of waiting layers, what the scheduler keeps of their records included."""
    scheduler = Scheduler()
    tracemalloc.start()
    copies = [
        LayerSpec(s.key, s.name, s.n, tuple(Dependency(d.layer, _copy(d.pattern)) for d in s.deps)) for s in layers
    ]
    scheduler.handle(GraphSubmitted("c", tuple(copies), (whole(copies[-1]),)), 0.0)
    size = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return size / sum(layer.n for layer in layers)


def _copy(pattern: Pattern) -> Pattern:
    return (
        Free(bytes(bytearray(pattern.indptr)), bytes(bytearray(pattern.indices)))
        if isinstance(pattern, Free)
        else pattern
    )


def free_tasks(n: int) -> list[LayerSpec]:
    """n / 2 tasks without inputs and as many that need two of those each, as `delayed` makes them."""
    half = n // 2
    indices = (np.arange(half)[:, None] + np.array([0, 1])) % half
    pattern = Free((np.arange(half + 1) * 2).astype("<u4").tobytes(), indices.astype("<u4").tobytes())
    return [spec(1, half), spec(2, half, (1, pattern))]


def measures() -> Iterator[Measure]:
    yield Measure(
        "scheduler memory, one layer of 1e6 waiting tasks", "bytes a task", memory(spec(1, 1_000_000)), most=100
    )
    one_to_one = [spec(1, 500_000), spec(2, 500_000, (1, OneToOne()))]
    yield Measure("scheduler memory, two layers, 1e6 waiting tasks", "bytes a task", memory(*one_to_one), most=100)
    yield Measure("scheduler memory, 1e6 free tasks", "bytes a task", memory(*free_tasks(1_000_000)), most=300)
    micros, _, _ = simulated(1000, 20, 1000, 0.002)
    yield Measure("1,000 workers x 20 slots, 1e6 tasks of a shuffle, 2 ms each", "us CPU a task", micros, most=20)


if __name__ == "__main__":
    print(simulated(1000, 20, 300, 0.01))
