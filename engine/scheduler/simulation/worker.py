"""What a modelled worker does with instructions: takes them, fetches, executes, reports. A part of `model.py`."""

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
class ModelRun:
    """A run at its worker. `at` is the next item; `inputs` are their values, fetched when it began."""

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
class Copy:
    """To a worker, beside the state's instructions: fetch these and keep them."""

    sources: tuple[tuple[Task, str], ...]


@dataclass
class ModelWorker:
    info: WorkerInfo
    store: dict[Task, int] = field(default_factory=dict)
    runs: list[ModelRun] = field(default_factory=list)
    inbox: list[Instruction | Copy] = field(default_factory=list)
    unreported: list[Event] = field(default_factory=list)
    spans: dict[tuple[int, int], TaskRange] = field(default_factory=dict)
    """What each run that it has taken is of."""
    slots: int = 1
    linked: bool = True
    """Whether what it says arrives, and it hears what it is told."""

    def execute_next(self) -> list[ModelRun]:
        """The runs that its slots have."""
        here = {run.name for run in self.runs}
        return [run for run in self.runs if here.isdisjoint(run.start.depends_on)][: self.slots]


def take(model: Model, worker: ModelWorker, instruction: Instruction | Copy) -> None:
    match instruction:
        case StartBatch():
            run = ModelRun(instruction, instruction.range.start, instruction.range.stop)
            worker.runs.append(run)
            worker.spans[run.name] = instruction.range
        case FreeRanges(_, spans):
            for span in spans:
                for task in tasks_of(span):
                    worker.store.pop(task, None)
        case RecallBatch(_, number, attempt):
            for run in [run for run in worker.runs if run.name == (number, attempt) and run.at < run.stop]:
                if not run.begun:
                    _fetch(model, worker, run.start.sources)  # that began when the run came
                begun = run.at - run.start.range.start
                run.stop = run.at
                worker.unreported.append(BatchReturned(worker.info.name, number, attempt, begun))
                if begun == 0:
                    worker.runs.remove(run)
                else:
                    _finish(worker, run)
        case Copy(sources):
            _fetch(model, worker, [(TaskRange(task[0], task[1], task[1] + 1), holder) for task, holder in sources])
            here = tuple([TaskRange(k, i, i + 1) for (k, i), _ in sources if (k, i) in worker.store])
            worker.unreported.append(CopiesMade(worker.info.name, here))


def advance(model: Model, worker: ModelWorker, run: ModelRun) -> None:
    start = run.start
    if not run.begun:
        missing = _begin(model, worker, run)
        if missing is not None:
            worker.runs.remove(run)
            worker.unreported.append(missing)
            return
        run.begun = True
    task = (start.range.layer, run.at)
    if task in model.poisoned:
        model.kill(worker.info.name, f"exit code 139 in {task}")
        return
    model.executed[task] += 1
    wrong = next((todo for todo in (model.to_raise, model.to_fault) if todo.get(task, 0) > 0), None)
    if wrong is not None:
        wrong[task] -= 1
        model.raised.add(task)
        run.sizes.append(-1)
        kind = "raised" if wrong is model.to_raise else "platform"
        error = TaskError(kind, "it went wrong", host=worker.info.host)
        run.errors.append((run.at - start.range.start, error))
    else:
        run.sizes.append(8)
        worker.store[task] = model.compute(task, [run.inputs[t] for t in model.inputs(task)])
    run.at += 1
    if run.at == run.stop:
        _finish(worker, run)


def _finish(worker: ModelWorker, run: ModelRun) -> None:
    worker.runs.remove(run)
    start = run.start
    seconds = 0.004 * len(run.sizes)
    worker.unreported.append(
        BatchDone(worker.info.name, start.batch, start.attempt, tuple(run.sizes), seconds, tuple(run.errors))
    )


def _fetch(model: Model, worker: ModelWorker, sources: Sequence[tuple[TaskRange, str]]) -> tuple[str, TaskRange] | None:
    """Have these from their holders; the first that cannot be had."""
    for span, holder in sources:
        peer = model.workers.get(holder)
        tasks = tasks_of(span)
        apart = frozenset((worker.info.name, holder)) in model.cuts
        if peer is None or apart or any(t not in peer.store for t in tasks):
            return holder, span
        worker.store.update({task: peer.store[task] for task in tasks})
    return None


def _begin(model: Model, worker: ModelWorker, run: ModelRun) -> InputsMissing | None:
    start, name = run.start, worker.info.name
    missing = _fetch(model, worker, start.sources)
    if missing is None:
        for item in range(start.range.start, start.range.stop):
            for task in model.inputs((start.range.layer, item)):
                if task not in worker.store:
                    missing = name, TaskRange(task[0], task[1], task[1] + 1)
                    break
                run.inputs[task] = worker.store[task]
    if missing is None:
        return None
    return InputsMissing(name, start.batch, start.attempt, missing[0], (missing[1],))
