"""A modelled cluster around a `State`: workers, links and clients without processes or sockets, for simulation.

Reports travel singly and may be repeated and overtake each other; a link that breaks loses what is in it, and the
worker introduces itself again with what it holds and runs. Tasks compute a number from their inputs' numbers, so a
result made of the wrong inputs shows. Every move is drawn from one seeded generator: a seed is a scenario.
Used by tests; it knows the records and the state's public face alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random

from howdah.engine.graph.layer import Dependency, Key, Span
from howdah.engine.graph.patterns import inputs_of
from howdah.engine.scheduler.records import (
    CancelRequested,
    ClientJoined,
    ClientLeft,
    Event,
    FreeSpans,
    GraphSubmitted,
    InputsMissing,
    Instruction,
    LayerSpec,
    RecallRun,
    Released,
    ResultsMissing,
    RunDone,
    RunReturned,
    StartRun,
    TaskError,
    TellDone,
    TellFailed,
    TellLost,
    Tick,
    WorkerInfo,
    WorkerJoined,
    WorkerLeft,
)
from howdah.engine.scheduler.state import State

Task = tuple[Key, int]

NAMES = {bytes([i]) * 16: chr(96 + i) for i in range(1, 27)}


@dataclass
class ModelRun:
    """A run at its worker. `at` is the next item; `values` are its inputs, fetched when it began."""

    start: StartRun
    at: int
    stop: int
    begun: bool = False
    inputs: dict[Task, int] = field(default_factory=dict)
    sizes: list[int] = field(default_factory=list)
    errors: list[tuple[int, TaskError]] = field(default_factory=list)


@dataclass
class ModelWorker:
    info: WorkerInfo
    store: dict[Task, int] = field(default_factory=dict)
    runs: list[ModelRun] = field(default_factory=list)
    inbox: list[Instruction] = field(default_factory=list)
    unreported: list[Event] = field(default_factory=list)
    linked: bool = True
    """Whether the scheduler knows it as a worker now."""


@dataclass
class ModelClient:
    """What a client believes of the tasks that it wants: None (pending), a holder's name, or an error."""

    name: str
    tasks: dict[Task, str | TaskError | None] = field(default_factory=dict)


class Model:
    """The cluster. `event` hands one event to the state and delivers the instructions; moves are the other methods.

    Parameters
    ----------
    seed : of all that is random.
    after : called after every event, with the model.
    """

    def __init__(self, seed: int, after: Callable[[Model], None] | None = None) -> None:
        self.random = Random(seed)
        self.state = State()
        self.after = after
        self.now = 0.0
        self.layers: dict[Key, LayerSpec] = {}
        self.workers: dict[str, ModelWorker] = {}
        self.clients: dict[str, ModelClient] = {}
        self.executed: Counter[Task] = Counter()
        self.raises: dict[Task, int] = {}
        """Tasks that raise, and how often."""
        self.poison: set[Task] = set()
        """Tasks that kill their worker."""
        self.cut: set[frozenset[str]] = set()
        """Pairs of workers between which nothing passes."""
        self.excused: set[Task] = set()
        """Tasks that may run more than once, for a reason that the model has seen."""
        self.story: list[str] = []
        self.next_pid = 1

    # -- events and instructions ------------------------------------------------------------------------------------

    def event(self, event: Event) -> list[Instruction]:
        self.now += self.random.random() * 0.02
        self.story.append(f"{self.now:.3f} {event}")
        out = self.state.handle(event, self.now)
        for instruction in out:
            self.story.append(f"      -> {instruction}")
            self._deliver(instruction)
        if self.after is not None:
            self.after(self)
        return out

    def _deliver(self, instruction: Instruction) -> None:
        match instruction:
            case StartRun() | RecallRun() | FreeSpans():
                worker = self.workers.get(instruction.worker)
                if worker is not None and worker.linked:
                    worker.inbox.append(instruction)
            case TellDone(client, span, holder):
                self._believe(client, span, holder)
            case TellFailed(client, span, error, _):
                self._believe(client, span, error)
            case TellLost(client, span):
                self._believe(client, span, None)

    def _believe(self, client: str, span: Span, what: str | TaskError | None) -> None:
        known = self.clients.get(client)
        if known is not None:
            for item in range(span.start, span.stop):
                if (span.layer, item) in known.tasks:
                    known.tasks[span.layer, item] = what

    # -- truth ------------------------------------------------------------------------------------------------------

    def inputs(self, task: Task) -> list[Task]:
        spec = self.layers[task[0]]
        return [(dep.layer, i) for dep in spec.deps for i in inputs_of(dep.pattern, task[1], self.layers[dep.layer].n)]

    def compute(self, task: Task, inputs: Sequence[int]) -> int:
        return hash((task[0][0], task[1], *inputs)) % 1_000_003

    def truth(self, task: Task) -> int:
        """The right value."""
        known: dict[Task, int] = {}
        stack = [task]
        while stack:
            top = stack[-1]
            below = [t for t in self.inputs(top) if t not in known]
            if below:
                stack += below
            else:
                known[top] = self.compute(top, [known[t] for t in self.inputs(top)])
                stack.pop()
        return known[task]

    # -- clients ----------------------------------------------------------------------------------------------------

    def join_client(self, name: str, weight: float = 1.0) -> None:
        self.clients[name] = ModelClient(name)
        self.event(ClientJoined(name, weight))

    def submit(self, client: str, layers: Sequence[LayerSpec], wanted: Sequence[Span], priority: int = 0) -> None:
        for spec in layers:
            self.layers[spec.key] = spec
        for key, item in self.executed:  # what nobody needed any more is dropped
            if not self.state.holder_of(Span(key, item, item + 1)):
                self.excused.add((key, item))
        tasks = self.clients[client].tasks
        for span in wanted:
            for item in range(span.start, span.stop):
                tasks.setdefault((span.layer, item), None)
        self.event(GraphSubmitted(client, tuple(layers), tuple(wanted), priority))

    def release(self, client: str, span: Span) -> None:
        for item in range(span.start, span.stop):
            self.clients[client].tasks.pop((span.layer, item), None)
        self.excuse_all()  # dropped results, and what they needed, may be asked for again
        self.event(Released(client, (span,)))

    def cancel(self, client: str, span: Span) -> None:
        self.excuse_all()
        self.event(CancelRequested(client, (span,)))
        for item in range(span.start, span.stop):
            self.clients[client].tasks.pop((span.layer, item), None)

    def leave_client(self, client: str) -> None:
        del self.clients[client]
        self.excuse_all()
        self.event(ClientLeft(client))

    def excuse_all(self) -> None:
        self.excused.update(self.executed)
        for worker in self.workers.values():
            for run in worker.runs:
                span = run.start.span
                self.excused.update((span.layer, i) for i in range(span.start, span.stop))

    # -- workers ----------------------------------------------------------------------------------------------------

    def join_worker(self, name: str, host: str = "h", rack: str = "/r", slots: int = 1) -> None:
        info = WorkerInfo(name, host, rack, slots, pid=self.next_pid)
        self.next_pid += 1
        self.workers[name] = ModelWorker(info)
        self.event(WorkerJoined(info))

    def kill(self, name: str, reason: str = "killed", clean: bool = False) -> None:
        """The worker dies: what it held and what was on its link is gone."""
        worker = self.workers.pop(name)
        self.excuse_all()
        if worker.linked:
            self.event(WorkerLeft(name, reason, clean))

    def unlink(self, name: str, noticed: bool = True) -> None:
        """The link to the scheduler breaks; the worker goes on. If `noticed`, the scheduler takes it for dead."""
        worker = self.workers[name]
        worker.linked = False
        worker.inbox.clear()
        self.excuse_all()
        if noticed:
            self.event(WorkerLeft(name, "link lost"))

    def relink(self, name: str) -> None:
        """The worker comes back with what it holds, runs and has not reported."""
        worker = self.workers[name]
        worker.linked = True
        holdings = tuple([(Span(key, i, i + 1), (8,)) for key, i in sorted(worker.store)])
        running = [(run.start.run, run.start.attempt) for run in worker.runs]
        running += [(e.run, e.attempt) for e in worker.unreported if isinstance(e, RunDone)]
        self.event(WorkerJoined(worker.info, holdings, tuple(running)))

    def step(self, name: str) -> bool:
        """The worker takes its next instruction, or else executes its next item. False if it has nothing to do."""
        worker = self.workers[name]
        if worker.inbox:
            self._take(worker, worker.inbox.pop(0))
            return True
        here = {(run.start.run, run.start.attempt) for run in worker.runs}
        busy = [run for run in worker.runs if here.isdisjoint(run.start.after)][: worker.info.slots]
        if not busy:
            return False
        self._advance(worker, self.random.choice(busy))
        return True

    def _take(self, worker: ModelWorker, instruction: Instruction) -> None:
        match instruction:
            case StartRun():
                worker.runs.append(ModelRun(instruction, instruction.span.start, instruction.span.stop))
            case FreeSpans(_, spans):
                for span in spans:
                    for item in range(span.start, span.stop):
                        worker.store.pop((span.layer, item), None)
            case RecallRun(_, number, attempt):
                for run in worker.runs:
                    if (run.start.run, run.start.attempt) == (number, attempt) and run.at < run.stop:
                        begun = run.at - run.start.span.start
                        run.stop = run.at
                        worker.unreported.append(RunReturned(worker.info.name, number, attempt, begun))
                        if begun == 0:
                            worker.runs.remove(run)
                        else:
                            self._finish(worker, run)
                        break

    def _advance(self, worker: ModelWorker, run: ModelRun) -> None:
        start = run.start
        if not run.begun:
            missing = self._fetch(worker, run)
            if missing is not None:
                worker.runs.remove(run)
                worker.unreported.append(missing)
                return
            run.begun = True
        task = (start.span.layer, run.at)
        if task in self.poison:
            self.kill(worker.info.name, f"exit code 139 in {NAMES.get(task[0])}[{task[1]}]")
            return
        self.executed[task] += 1
        if self.executed[task] > 1 and task not in self.excused:
            raise AssertionError(
                f"{NAMES.get(task[0], task[0].hex())}[{task[1]}] ran {self.executed[task]} times without cause"
            )
        if self.raises.get(task, 0) > 0:
            self.raises[task] -= 1
            self.excused.add(task)
            run.sizes.append(-1)
            run.errors.append((run.at - start.span.start, TaskError("raised", "ZeroDivisionError")))
        else:
            run.sizes.append(8)
            value = self.compute(task, [run.inputs[t] for t in self.inputs(task)])
            worker.store[task] = value
        run.at += 1
        if run.at == run.stop:
            self._finish(worker, run)

    def _finish(self, worker: ModelWorker, run: ModelRun) -> None:
        worker.runs.remove(run)
        start = run.start
        seconds = 0.004 * len(run.sizes)
        worker.unreported.append(
            RunDone(worker.info.name, start.run, start.attempt, tuple(run.sizes), seconds, tuple(run.errors))
        )

    def _fetch(self, worker: ModelWorker, run: ModelRun) -> InputsMissing | None:
        start, name = run.start, worker.info.name
        for span, holder in start.sources:
            peer = self.workers.get(holder)
            tasks = [(span.layer, i) for i in range(span.start, span.stop)]
            if peer is None or frozenset((name, holder)) in self.cut or any(t not in peer.store for t in tasks):
                self.excuse_all()
                return InputsMissing(name, start.run, start.attempt, holder, (span,))
            for task in tasks:
                worker.store[task] = peer.store[task]
        for item in range(start.span.start, start.span.stop):
            for task in self.inputs((start.span.layer, item)):
                if task not in worker.store:
                    self.excuse_all()
                    span = Span(task[0], task[1], task[1] + 1)
                    return InputsMissing(name, start.run, start.attempt, name, (span,))
                run.inputs[task] = worker.store[task]
        return None

    def report(self, name: str) -> bool:
        """One of the worker's reports arrives, any of them; it may arrive again later. False if there is none."""
        worker = self.workers[name]
        if not worker.unreported or not worker.linked:
            return False
        at = self.random.randrange(len(worker.unreported))
        event = worker.unreported[at]
        if self.random.random() > 0.1:
            del worker.unreported[at]
        self.event(event)
        return True

    # -- the whole --------------------------------------------------------------------------------------------------

    def busy(self) -> bool:
        return any(w.inbox or w.runs or w.unreported for w in self.workers.values() if w.linked)

    def turn(self) -> bool:
        """One random move of one worker; a tick when nobody has anything to do. False when nothing is left."""
        names = [n for n, w in self.workers.items() if w.linked]
        self.random.shuffle(names)
        for name in names:
            if self.random.random() < 0.5 and self.report(name):
                return True
            if name in self.workers and (self.step(name) or self.report(name)):
                return True
        return False

    def settle(self, most: int = 20_000) -> None:
        """Move until nothing moves any more; then everything wanted must have an answer that is right."""
        for _ in range(most):
            if not self.turn():
                wake = self.state.wake_at
                self.now = max(self.now + 0.1, wake if wake is not None else 0.0)
                self.event(Tick())
                if not self.busy() and self.state.wake_at is None and not self._unfetchable():
                    break
        else:
            raise AssertionError("the cluster does not come to rest")
        for client in self.clients.values():
            for task, what in client.tasks.items():
                if what is None:
                    raise AssertionError(f"{client.name}: {NAMES.get(task[0])}[{task[1]}] has no answer")
                if isinstance(what, str):
                    assert self.workers[what].store[task] == self.truth(task), f"wrong value of {task}"

    def _unfetchable(self) -> bool:
        """Clients try to fetch, and say what could not be had."""
        for client in self.clients.values():
            for (key, item), what in client.tasks.items():
                if isinstance(what, str) and (key, item) not in getattr(self.workers.get(what), "store", ()):
                    self.excuse_all()
                    self.event(ResultsMissing(client.name, what, (Span(key, item, item + 1),)))
                    return True
        return False

    def answers(self, client: str) -> dict[Task, int | str]:
        """Per task, its value or its error's kind."""
        found: dict[Task, int | str] = {}
        for task, what in self.clients[client].tasks.items():
            if isinstance(what, TaskError):
                found[task] = what.kind
            elif what is not None:
                found[task] = self.workers[what].store[task]
        return found


def layer(letter: str, n: int, *deps: tuple[str, object], retries: int = 0, **more: object) -> LayerSpec:
    """A spec with a one-letter name; dependencies as (letter, pattern)."""
    edges = tuple([Dependency(bytes([ord(d) - 96]) * 16, p) for d, p in deps])  # type: ignore[arg-type]
    return LayerSpec(bytes([ord(letter) - 96]) * 16, letter, n, edges, retries=retries, **more)  # type: ignore[arg-type]


def whole(spec: LayerSpec) -> Span:
    return Span(spec.key, 0, spec.n)
