"""An observer's ledger: which batches are under way and which worker has which result, from the messages alone.

The tables are the scheduler's own view. The ledger sees only events and instructions; it raises when the scheduler
starts a task without a cause (one of its batches goes on, or its result is there), when it has a worker free what the
tables still count on, and when it reports that a task failed which nothing made fail.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TypeAlias

from howdah.engine.protocol.events import (
    BatchDone,
    BatchReturned,
    Event,
    FreeRanges,
    InputsMissing,
    Instruction,
    ResultsMissing,
    StartBatch,
    WorkerJoined,
    WorkerLeft,
)
from howdah.engine.protocol.layers import Key, TaskRange
from howdah.engine.scheduler.core.scheduler import Scheduler

Task: TypeAlias = tuple[Key, int]


def tasks_of(task_range: TaskRange) -> list[Task]:
    return [(task_range.layer, item) for item in range(task_range.start, task_range.stop)]


class Unjustified(AssertionError):
    """The scheduler returned an instruction for which there was no cause."""


class ObserverLedger:
    """What is under way and what is there. `record_event` takes each event before the scheduler does,
    `check_instruction` each instruction."""

    def __init__(self) -> None:
        self.given: dict[tuple[int, int], tuple[str, TaskRange]] = {}
        self.held: dict[Task, set[str]] = {}
        self.pids: dict[str, int] = {}
        self.starts: Counter[Task] = Counter()
        self.deaths: Counter[Task] = Counter()
        """How many workers have died, or seemed to, with a run that had the task in it."""

    def restart(self) -> None:
        """The scheduler has forgotten everything but its journal; workers will report what they have."""
        self.given.clear()
        self.held.clear()
        self.pids.clear()

    def record_event(self, event: Event) -> None:
        match event:
            case BatchDone(worker, batch, attempt, sizes):
                given = self._end(worker, batch, attempt)
                for task, size in zip(tasks_of(given) if given is not None else (), sizes):
                    if size >= 0:
                        self.held.setdefault(task, set()).add(worker)
            case BatchReturned(worker, batch, attempt, start):
                given = self._end(worker, batch, attempt)
                if given is not None and start > 0:
                    task_range = TaskRange(given.layer, given.start, min(given.stop, given.start + start))
                    self.given[batch, attempt] = worker, task_range
            case InputsMissing(worker, batch, attempt, holder, ranges):
                if self._end(worker, batch, attempt) is not None:
                    self._drop(holder, ranges)
            case ResultsMissing(_, holder, ranges):
                self._drop(holder, ranges)
            case WorkerLeft(worker):
                self._gone(worker)
            case WorkerJoined(info, holdings, running):
                if self.pids.get(info.name) != info.pid:
                    self._gone(info.name)
                self.pids[info.name] = info.pid
                alive = {(r[0], r[1]) for r in running}
                for name in [n for n, (w, _) in self.given.items() if w == info.name and n not in alive]:
                    del self.given[name]
                for holders in self.held.values():
                    holders.discard(info.name)
                for task_range, _ in holdings:
                    for task in tasks_of(task_range):
                        self.held.setdefault(task, set()).add(info.name)

    def _end(self, worker: str, batch: int, attempt: int) -> TaskRange | None:
        given = self.given.get((batch, attempt))
        if given is None or given[0] != worker:
            return None
        del self.given[batch, attempt]
        return given[1]

    def _drop(self, holder: str, ranges: tuple[TaskRange, ...]) -> None:
        for task_range in ranges:
            for task in tasks_of(task_range):
                self.held.get(task, set()).discard(holder)

    def _gone(self, worker: str) -> None:
        self.pids.pop(worker, None)
        for name, (who, task_range) in list(self.given.items()):
            if who == worker:
                self.deaths.update(tasks_of(task_range))
                del self.given[name]
        for holders in self.held.values():
            holders.discard(worker)

    def take_over(self, worker: str, batch: int, attempt: int, task_range: TaskRange) -> None:
        """A worker that reconnected after a restart of the scheduler continues this batch."""
        self.given[batch, attempt] = worker, task_range

    def check_instruction(self, instruction: Instruction, scheduler: Scheduler) -> None:
        match instruction:
            case StartBatch(worker, batch, attempt, task_range):
                under_way = {} if scheduler.state.speculation else self._under_way()
                for task in tasks_of(task_range):
                    if task in under_way:
                        raise Unjustified(f"{task} was started as batch {batch}, but batch {under_way[task]} goes on")
                    if self.held.get(task):
                        raise Unjustified(f"{task} was started as batch {batch}, but {self.held[task]} have its result")
                    self.starts[task] += 1
                self.given[batch, attempt] = worker, task_range
            case FreeRanges(worker, ranges):
                self._drop(worker, ranges)
                for task_range, where in tracked_results(scheduler, worker):
                    for other in ranges:
                        if (
                            other.layer == task_range.layer
                            and other.start < task_range.stop
                            and other.stop > task_range.start
                        ):
                            raise Unjustified(
                                f"{worker} was instructed to free {other}, which is {where} in the tables"
                            )

    def _under_way(self) -> dict[Task, int]:
        return {task: batch for (batch, _), (_, task_range) in self.given.items() for task in tasks_of(task_range)}


def tracked_results(scheduler: Scheduler, worker: str, copies: bool = True) -> Iterator[tuple[TaskRange, str]]:
    """What the tables have of the worker."""
    known = scheduler.state.workers.get(worker)
    if known is None:
        return
    for layer in scheduler.state.layers.values():
        for task_range, holder in scheduler.holder_of(TaskRange(layer.key, 0, layer.n)):
            if holder == worker:
                yield task_range, "a result"
        for lo, hi in (layer.copies or {}).get(known.index, ()) if copies else ():
            yield TaskRange(layer.key, lo, hi), "a copy"
