"""What the scheduler's state costs: CPU per task, memory per task. ``python tests/engine/scheduler/core/cost.py``

Every run that is started is done at once, so nothing but `Scheduler.handle` is timed (CPU seconds of this thread).
"""

from __future__ import annotations

import time
import tracemalloc
from collections import deque
from collections.abc import Callable, Sequence

from howdah.engine.protocol.events import (
    BatchDone,
    Event,
    GraphSubmitted,
    Instruction,
    LayerSpec,
    Released,
    StartBatch,
    WorkerInfo,
    WorkerJoined,
)
from howdah.engine.protocol.layers import Broadcast, Dependency, Key, KToOne, OneToOne, Pattern, TaskRange
from howdah.engine.protocol.patterns import free
from howdah.engine.scheduler.core.scheduler import Scheduler


class Timed:
    """A state whose `handle` is timed."""

    def __init__(self, workers: int = 2, slots: int = 1) -> None:
        self.scheduler, self.now, self.seconds, self.runs = Scheduler(), 0.0, 0.0, 0
        for i in range(workers):
            self.handle(WorkerJoined(WorkerInfo(f"w{i}", f"h{i}", slots=slots)))

    def handle(self, event: Event) -> list[Instruction]:
        begun = time.thread_time()
        out = self.scheduler.handle(event, self.now)
        self.seconds += time.thread_time() - begun
        return out

    def drive(self, out: Sequence[Instruction], each: float) -> None:
        """Do all that is started, `each` seconds a task."""
        todo = deque(i for i in out if isinstance(i, StartBatch))
        while todo:
            run = todo.popleft()
            n = len(run.range)
            self.now += each * n / max(1, len(todo))
            self.runs += 1
            report = BatchDone(run.worker, run.batch, run.attempt, (28,) * n, each * n)
            todo += [i for i in self.handle(report) if isinstance(i, StartBatch)]


def key(i: int) -> Key:
    return i.to_bytes(16, "big")


def spec(i: int, n: int, *deps: tuple[int, Pattern]) -> LayerSpec:
    return LayerSpec(key(i), f"layer{i}", n, tuple(Dependency(key(d), p) for d, p in deps))


def whole(layer: LayerSpec) -> TaskRange:
    return TaskRange(layer.key, 0, layer.n)


def graph(*layers: LayerSpec, workers: int = 2, slots: int = 1, each: float = 1e-6) -> tuple[float, int]:
    """(microseconds a task, runs) to submit, run and release one graph whose last layer is wanted."""
    timed = Timed(workers, slots)
    timed.seconds = 0.0
    timed.drive(timed.handle(GraphSubmitted("c", layers, (whole(layers[-1]),))), each)
    timed.handle(Released("c", (whole(layers[-1]),)))
    assert not timed.scheduler.state.layers
    return timed.seconds / sum(layer.n for layer in layers) * 1e6, timed.runs


def one_by_one(n: int, chained: bool = False) -> tuple[float, int]:
    """The same for `n` layers of one item, each submitted by itself; chained: each on the one before."""
    timed = Timed()
    timed.seconds = 0.0
    started: list[Instruction] = []
    specs = [spec(i + 1, 1, *([(i, OneToOne())] if chained and i else [])) for i in range(n)]
    for layer in specs:
        started += timed.handle(GraphSubmitted("c", (layer,), (whole(layer),)))
    timed.drive(started, 1e-5)
    for layer in reversed(specs):
        timed.handle(Released("c", (whole(layer),)))
    assert not timed.scheduler.state.layers
    return timed.seconds / n * 1e6, timed.runs


def stencil(width: int, rows: int) -> tuple[float, int]:
    """Rows of free tasks, each on three of the row before."""
    wires = free([[(i + d) % width for d in (-1, 0, 1)] for i in range(width)])
    return graph(*[spec(r + 1, width, *([(r, wires)] if r else [])) for r in range(rows)], each=1e-5)


def memory(n: int, layers: int = 1) -> float:
    """Bytes a task of waiting layers of `n` items."""
    scheduler = Scheduler()
    specs = [spec(i + 1, n) for i in range(layers)]
    tracemalloc.start()
    for layer in specs:
        scheduler.handle(GraphSubmitted("c", (layer,), (whole(layer),)), 0.0)
    size = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return size / (n * layers)


def chain_of_layers(n: int) -> tuple[LayerSpec, ...]:
    return spec(1, n), spec(2, n, (1, OneToOne())), spec(3, -(-n // 16), (2, KToOne(16))), spec(4, 1, (3, Broadcast()))


CASES: dict[str, Callable[[], tuple[float, int]]] = {
    "map, 1e5": lambda: graph(spec(1, 100_000)),
    "map, 1e6": lambda: graph(spec(1, 1_000_000)),
    "map, map, 16 to one, total; 1e5": lambda: graph(*chain_of_layers(100_000)),
    "layers of one item, 1e4 submits": lambda: one_by_one(10_000),
    "chain of 2,000 submits": lambda: one_by_one(2_000, chained=True),
    "stencil, 100 x 100": lambda: stencil(100, 100),
    "map of 50 ms tasks, 1e4 on 100 x 4 slots": lambda: graph(spec(1, 10_000), workers=100, slots=4, each=0.05),
}


def main() -> None:
    for name, case in CASES.items():
        micros, runs = case()
        print(f"{name:45} {micros:8.2f} us a task   {runs:6} runs")
    print(f"{'memory, one layer of 1e6':45} {memory(1_000_000):8.1f} bytes a task")
    print(f"{'memory, 5,000 layers of one item':45} {memory(1, 5000):8.1f} bytes a layer")


if __name__ == "__main__":
    main()
