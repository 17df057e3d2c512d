"""What a modelled worker does with instructions: takes them, fetches, executes, reports. A part of `cluster`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from howdah.engine.protocol.events import (
    BatchDone,
    BatchReturned,
    CopiesMade,
    Event,
    FreeRanges,
    InputsMissing,
    Instruction,
    RecallBatch,
    StartBatch,
    TaskError,
    WorkerInfo,
)
from howdah.engine.protocol.layers import TaskRange
from howdah.engine.scheduler.simulation.oracle import Task, tasks_of

if TYPE_CHECKING:
    from howdah.engine.scheduler.simulation.cluster import Model


@dataclass
class ModelBatch:
    """A batch at its worker. `at` is the next item; `inputs` are their values, fetched when it began."""

    start: StartBatch
    at: int
    stop: int
    begun: bool = False
    inputs: dict[Task, int] = field(default_factory=dict)
    sizes: list[int] = field(default_factory=list)
    errors: list[tuple[int, TaskError]] = field(default_factory=list)

    @property
    def name(self) -> tuple[int, int]:
        return self.start.batch, self.start.attempt


@dataclass(frozen=True)
class CopyOrder:
    """An order to a worker, beside the scheduler's instructions: fetch these and keep them."""

    sources: tuple[tuple[Task, str], ...]


@dataclass
class ModelWorker:
    info: WorkerInfo
    store: dict[Task, int] = field(default_factory=dict)
    batches: list[ModelBatch] = field(default_factory=list)
    inbox: list[Instruction | CopyOrder] = field(default_factory=list)
    unreported: list[Event] = field(default_factory=list)
    ranges: dict[tuple[int, int], TaskRange] = field(default_factory=dict)
    """What each run that it has taken is of."""
    slots: int = 1
    linked: bool = True
    """Whether its reports and the scheduler's instructions arrive."""

    def execute_next(self) -> list[ModelBatch]:
        """The batches that its slots have."""
        here = {batch.name for batch in self.batches}
        return [batch for batch in self.batches if here.isdisjoint(batch.start.depends_on)][: self.slots]


def take(model: Model, worker: ModelWorker, instruction: Instruction | CopyOrder) -> None:
    """Take the next instruction."""
    match instruction:
        case StartBatch():
            batch = ModelBatch(instruction, instruction.range.start, instruction.range.stop)
            worker.batches.append(batch)
            worker.ranges[batch.name] = instruction.range
        case FreeRanges(_, ranges):
            for task_range in ranges:
                for task in tasks_of(task_range):
                    worker.store.pop(task, None)
        case RecallBatch(_, number, attempt):
            for batch in [
                batch for batch in worker.batches if batch.name == (number, attempt) and batch.at < batch.stop
            ]:
                if not batch.begun:
                    _fetch(model, worker, batch.start.sources)  # that began when the run came
                begun = batch.at - batch.start.range.start
                batch.stop = batch.at
                worker.unreported.append(BatchReturned(worker.info.name, number, attempt, begun))
                if begun == 0:
                    worker.batches.remove(batch)
                else:
                    _finish(worker, batch)
        case CopyOrder(sources):
            _fetch(model, worker, [(TaskRange(task[0], task[1], task[1] + 1), holder) for task, holder in sources])
            here = tuple([TaskRange(k, i, i + 1) for (k, i), _ in sources if (k, i) in worker.store])
            worker.unreported.append(CopiesMade(worker.info.name, here))


def advance(model: Model, worker: ModelWorker, batch: ModelBatch) -> None:
    start = batch.start
    if not batch.begun:
        missing = _begin(model, worker, batch)
        if missing is not None:
            worker.batches.remove(batch)
            worker.unreported.append(missing)
            return
        batch.begun = True
    task = (start.range.layer, batch.at)
    if task in model.poisoned:
        model.kill(worker.info.name, f"exit code 139 in {task}")
        return
    model.executed[task] += 1
    wrong = next((todo for todo in (model.to_raise, model.to_fault) if todo.get(task, 0) > 0), None)
    if wrong is not None:
        wrong[task] -= 1
        model.raised.add(task)
        batch.sizes.append(-1)
        kind = "raised" if wrong is model.to_raise else "platform"
        error = TaskError(kind, "it went wrong", host=worker.info.host)
        batch.errors.append((batch.at - start.range.start, error))
    else:
        batch.sizes.append(8)
        worker.store[task] = model.compute(task, [batch.inputs[t] for t in model.inputs(task)])
    batch.at += 1
    if batch.at == batch.stop:
        _finish(worker, batch)


def _finish(worker: ModelWorker, batch: ModelBatch) -> None:
    worker.batches.remove(batch)
    start = batch.start
    seconds = 0.004 * len(batch.sizes)
    worker.unreported.append(
        BatchDone(worker.info.name, start.batch, start.attempt, tuple(batch.sizes), seconds, tuple(batch.errors))
    )


def _fetch(model: Model, worker: ModelWorker, sources: Sequence[tuple[TaskRange, str]]) -> tuple[str, TaskRange] | None:
    """Have these from their holders; the first that cannot be had."""
    for task_range, holder in sources:
        peer = model.workers.get(holder)
        tasks = tasks_of(task_range)
        apart = frozenset((worker.info.name, holder)) in model.cuts
        if peer is None or apart or any(t not in peer.store for t in tasks):
            return holder, task_range
        worker.store.update({task: peer.store[task] for task in tasks})
    return None


def _begin(model: Model, worker: ModelWorker, batch: ModelBatch) -> InputsMissing | None:
    start, name = batch.start, worker.info.name
    missing = _fetch(model, worker, start.sources)
    if missing is None:
        for item in range(start.range.start, start.range.stop):
            for task in model.inputs((start.range.layer, item)):
                if task not in worker.store:
                    missing = name, TaskRange(task[0], task[1], task[1] + 1)
                    break
                batch.inputs[task] = worker.store[task]
    if missing is None:
        return None
    return InputsMissing(name, start.batch, start.attempt, missing[0], (missing[1],))
