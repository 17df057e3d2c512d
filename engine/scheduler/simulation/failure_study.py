"""A large cluster with failing nodes, in modelled time, around a real `Scheduler`: what is lost, what is done again.

``make simulate``, or ``python -m howdah.engine.scheduler.simulation.failure_study --workers 1000 --tasks 1000000``

Nodes fail as those of Los Alamos did: times between failures follow a Weibull distribution with decreasing hazard, of
shape 0.7, and the worst of the systems failed 1000 times a year (B. Schroeder and G. A. Gibson, "A large-scale study of
failures in high-performance computing systems", DSN 2006, and IEEE TDSC 7(4), 2010). Spread over a thousand nodes that
is one failure in nine hours: an hour's job seldom sees one. So the rate is multiplied (`--factors`): a thousandfold is
each node failing three times a day, which is what preemption in a full queue looks like. A dead node is noticed after
the workers' lease; another container comes for it.

The job: `n` tasks that read, `n` that work on one result each, 625 to one, and a total. Seconds of tasks are lognormal.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from random import Random
from typing import Any, NamedTuple

from howdah.engine.protocol.events import (
    BatchDone,
    BatchReturned,
    Event,
    GraphSubmitted,
    InputsMissing,
    LayerSpec,
    NotifyDone,
    NotifyFailed,
    RecallBatch,
    StartBatch,
    Tick,
    WorkerInfo,
    WorkerJoined,
    WorkerLeft,
)
from howdah.engine.protocol.layers import Broadcast, Dependency, Key, KToOne, OneToOne, TaskRange
from howdah.engine.scheduler.core.scheduler import Scheduler

YEAR = 365.25 * 86400
SHAPE = 0.7
FAILURES_A_YEAR = 1000.0
"""Of a system of as many nodes as are simulated."""

NOTICED = 8.0
"""Seconds from a death until the scheduler knows: the lease of workers."""

REPLACED = 30.0
"""Seconds until another container is there."""

TOGETHER = 625
MEAN_SECONDS, SPREAD = 4.0, 0.5
"""Of a task; `SPREAD` is the lognormal's sigma."""

RESULT_BYTES, BANDWIDTH, LATENCY = 20_000_000, 1e9, 2e-3
"""Of a task's result; of the network, in bytes a second and seconds an exchange."""

BEAT = 0.5
SLOTS = 4


class StudyResult(NamedTuple):
    """What a simulation came to. `redone`: tasks executed beyond once each, and their seconds of slots."""

    factor: float
    tasks: int
    deaths: int
    seconds: float
    executed: int
    redone: int
    redone_seconds: float
    unfetched: int
    cpu: float


class Run:
    """At its worker. `end` is when it will be done; None while it waits."""

    __slots__ = ("begun", "each", "end", "start", "stop")

    def __init__(self, start: StartBatch) -> None:
        self.start, self.stop = start, start.range.stop
        self.begun = self.each = 0.0
        self.end: float | None = None


class ModelledWorker:
    """A worker: its runs by number, in the order in which they came."""

    def __init__(self, name: str) -> None:
        self.name, self.runs, self.busy, self.alive = name, dict[tuple[int, int], Run](), 0, True


class ModelledCluster:
    """Workers and a clock around a state; `run` plays until the job is done."""

    def __init__(self, workers: int, tasks: int, factor: float, seed: int = 1) -> None:
        self.random, self.factor, self.workers = Random(seed), factor, workers
        self.scheduler, self.now, self.cpu = Scheduler(), 0.0, 0.0
        self.nodes: dict[str, ModelledWorker] = {}
        self.events: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self.order = itertools.count()
        self.names = itertools.count()
        self.executed: Counter[Key] = Counter()
        self.deaths = self.unfetched = 0
        self.seconds = 0.0
        self.answer: str | None = None
        n = max(TOGETHER, tasks // 2)
        one, some, every = OneToOne(), KToOne(TOGETHER), Broadcast()
        a, b, c, d = b"a" * 16, b"b" * 16, b"c" * 16, b"d" * 16
        self.layers = (
            LayerSpec(a, "read", n),
            LayerSpec(b, "work", n, (Dependency(a, one),)),
            LayerSpec(c, "combine", -(-n // TOGETHER), (Dependency(b, some),)),
            LayerSpec(d, "total", 1, (Dependency(c, every),)),
        )

    def at(self, when: float, what: Callable[..., None], *args: Any) -> None:
        heapq.heappush(self.events, (when, next(self.order), what, args))

    def handle(self, event: Event) -> None:
        begun = time.thread_time()
        out = self.scheduler.handle(event, self.now)
        self.cpu += time.thread_time() - begun
        for instruction in out:
            match instruction:
                case StartBatch(name):
                    node = self.nodes.get(name)
                    if node is not None:
                        node.runs[instruction.batch, instruction.attempt] = Run(instruction)
                        self.begin(node)
                case RecallBatch(name, run, attempt):
                    self.at(self.now + LATENCY, self.recall, name, (run, attempt))
                case NotifyDone():
                    self.answer = "done"
                case NotifyFailed(_, _, error):
                    self.answer = error.message

    # -- workers ------------------------------------------------------------------------------------------------------

    def join(self) -> None:
        node = ModelledWorker(f"w{next(self.names)}")
        self.nodes[node.name] = node
        if self.factor:
            rate = self.factor * FAILURES_A_YEAR / self.workers / YEAR
            life = self.random.weibullvariate(1 / rate / math.gamma(1 + 1 / SHAPE), SHAPE)
            self.at(self.now + life, self.fail_worker, node)
        self.handle(WorkerJoined(WorkerInfo(node.name, f"host-of-{node.name}", slots=SLOTS)))

    def fail_worker(self, node: ModelledWorker) -> None:
        node.alive = False
        self.deaths += 1
        del self.nodes[node.name]
        self.at(self.now + NOTICED, self.handle, WorkerLeft(node.name, "no sign of life"))
        self.at(self.now + REPLACED, self.join)

    def begin(self, node: ModelledWorker) -> None:
        """Fill the slots with what has come and waits for nothing."""
        for name, run in list(node.runs.items()) if node.busy < SLOTS else ():
            if node.busy >= SLOTS:
                return
            if run.end is None and not any(other in node.runs for other in run.start.depends_on):
                node.busy += 1
                n = run.stop - run.start.range.start
                run.begun, run.each = self.now, MEAN_SECONDS * self.random.lognormvariate(-(SPREAD**2) / 2, SPREAD)
                gone = next((part for part in run.start.sources if part[1] not in self.nodes), None)
                if gone is not None:
                    run.end = self.now + 1.0  # no answer comes
                    self.at(run.end, self.blocked, node, name, run, gone)
                    continue
                for task_range, _ in run.start.sources:
                    run.begun += LATENCY + len(task_range) * RESULT_BYTES / BANDWIDTH
                run.end = run.begun + n * run.each
                self.at(run.end, self.done, node, name, run)

    def leave_slot(self, node: ModelledWorker, name: tuple[int, int]) -> None:
        del node.runs[name]
        node.busy -= 1

    def blocked(self, node: ModelledWorker, name: tuple[int, int], run: Run, gone: tuple[TaskRange, str]) -> None:
        if node.alive and node.runs.get(name) is run:
            self.unfetched += 1
            self.leave_slot(node, name)
            self.handle(InputsMissing(node.name, *name, gone[1], (gone[0],)))
            self.begin(node)

    def done(self, node: ModelledWorker, name: tuple[int, int], run: Run) -> None:
        if not node.alive or node.runs.get(name) is not run or run.end is None or run.end > self.now:
            return
        task_range = run.start.range
        n = run.stop - task_range.start
        self.executed[task_range.layer] += n
        self.seconds += n * run.each
        self.leave_slot(node, name)
        self.begin(node)
        self.handle(BatchDone(node.name, *name, (RESULT_BYTES,) * n, n * run.each))

    def recall(self, worker: str, name: tuple[int, int]) -> None:
        node = self.nodes.get(worker)
        run = node.runs.get(name) if node is not None else None
        if node is None or run is None:
            return
        start = run.start.range.start
        if run.end is None:
            del node.runs[name]
            self.handle(BatchReturned(worker, *name, 0))
        else:
            begun = min(run.stop - start, 1 + max(0, int((self.now - run.begun) / max(run.each, 1e-9))))
            if start + begun < run.stop:
                run.stop = start + begun
                run.end = run.begun + begun * run.each
                self.at(run.end, self.done, node, name, run)
                self.handle(BatchReturned(worker, *name, begun))

    # -- the whole ----------------------------------------------------------------------------------------------------

    def tick(self) -> None:
        self.handle(Tick())
        self.at(self.now + BEAT, self.tick)

    def run(self) -> StudyResult:
        for _ in range(self.workers):
            self.join()
        self.tick()
        total = self.layers[-1]
        self.handle(GraphSubmitted("me", self.layers, (TaskRange(total.key, 0, 1),)))
        while self.answer is None:
            when, _, what, args = heapq.heappop(self.events)
            self.now = max(self.now, when)
            what(*args)
        if self.answer != "done":
            raise RuntimeError(f"the simulated job failed: {self.answer}")
        needed = sum(layer.n for layer in self.layers)
        executed = sum(self.executed.values())
        redone = executed - needed
        each = self.seconds / executed
        return StudyResult(
            self.factor, needed, self.deaths, self.now, executed, redone, redone * each, self.unfetched, self.cpu
        )


def simulate(workers: int, tasks: int, factor: float, seed: int = 1) -> StudyResult:
    """One job on such a cluster.

    >>> simulate(20, 2000, 0.0).redone
    0
    """
    return ModelledCluster(workers, tasks, factor, seed).run()


def table(outcomes: Sequence[StudyResult]) -> str:
    """A table to print. Times are the model's, but for the scheduler's own."""
    head = f"{'rate':>8} {'deaths':>7} {'finished':>10} {'against none':>13} {'tasks redone':>16} {'slot-hours':>11}"
    lines = [f"{head} {'unfetched':>10} {'scheduler a task':>17}"]
    none = next((o.seconds for o in outcomes if not o.factor), None)
    for o in outcomes:
        against = f"{100 * (o.seconds / none - 1):+.1f} %" if none else ""
        redone = f"{o.redone} ({100 * o.redone / o.tasks:.2f} %)"
        rate = f"x{o.factor:g}" if o.factor else "none"
        lines.append(
            f"{rate:>8} {o.deaths:>7} {o.seconds:>8.0f} s {against:>13} {redone:>16} {o.redone_seconds / 3600:>11.1f} "
            f"{o.unfetched:>10} {o.cpu / o.executed * 1e6:>14.0f} us"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--workers", type=int, default=1000)
    parser.add_argument("--tasks", type=int, default=1_000_000)
    parser.add_argument("--factors", type=float, nargs="+", default=[0.0, 1000.0], help="of the published rate")
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    print(
        f"{chosen.tasks} tasks of {MEAN_SECONDS:g} s on {chosen.workers} workers of {SLOTS} slots, seed {chosen.seed}"
    )
    with ProcessPoolExecutor(min(2, len(chosen.factors))) as pool:
        runs = [pool.submit(simulate, chosen.workers, chosen.tasks, f, chosen.seed) for f in chosen.factors]
        print(table([run.result() for run in runs]))


if __name__ == "__main__":
    main()
