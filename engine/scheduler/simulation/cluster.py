"""A modelled cluster around a `Scheduler`: workers, links and clients without processes or sockets.

Every *move* is a method whose arguments are literals, so a scenario is a list of calls that can be printed, shortened
and played again (`scenarios`). A move that is impossible in the present situation does nothing and returns False: a
script stays valid when parts of it are left out. Nothing is random here.

Reports travel one by one, in any order, may come twice, and may come long after (`echo`); a link that breaks loses what
is in it, and the worker introduces itself again with what it holds and runs. Tasks compute a number from their inputs'
numbers, so a result made of the wrong inputs shows. The model uses the records of `howdah.engine.protocol` and the
public methods of `Scheduler`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from howdah.engine.protocol.events import (
    ArgumentsArrived,
    BatchDone,
    BatchReturned,
    CancelRequested,
    ClientJoined,
    ClientLeft,
    ClientReturned,
    CopiesMade,
    CopiesRequested,
    EpochOpened,
    Event,
    ForgetLayer,
    FreeRanges,
    GraphSubmitted,
    InputsMissing,
    Instruction,
    LayerSpec,
    NotifyDone,
    NotifyFailed,
    NotifyLost,
    RacksKnown,
    RecallBatch,
    Released,
    ResultsMissing,
    RetryRequested,
    SlotsChanged,
    StartBatch,
    TaskError,
    Tick,
    WorkerInfo,
    WorkerJoined,
    WorkerLeft,
)
from howdah.engine.protocol.layers import (
    Broadcast,
    Dependency,
    Key,
    KToOne,
    OneToOne,
    Pattern,
    TaskRange,
    Window,
    inputs_of,
)
from howdah.engine.protocol.patterns import free, problem_of
from howdah.engine.scheduler.core.constraints import aliases_of
from howdah.engine.scheduler.core.restart import snapshot
from howdah.engine.scheduler.core.scheduler import Scheduler
from howdah.engine.scheduler.simulation.oracle import (
    ObserverLedger,
    Task,
    Unjustified,
    tasks_of,
    tracked_results,
)
from howdah.engine.scheduler.simulation.replay import JOURNALED, failures, replay
from howdah.engine.scheduler.simulation.worker import CopyOrder, ModelWorker, advance, take

MAX_ECHOES = 20
"""Reports that may come again."""

MAX_TURNS = 3000
"""Rounds of all workers in which a cluster must come to rest."""


@dataclass
class ModelClient:
    """What a client knows of its tasks: None (pending), a holder's name, or an error."""

    name: str
    tasks: dict[Task, str | TaskError | None] = field(default_factory=dict)


class Model:
    """The cluster. `event` passes one event to the scheduler and delivers the instructions; moves are the other
    methods.

    Parameters
    ----------
    after : called after every event, with the model.
    speculation : see `Scheduler`.
    """

    def __init__(self, after: Callable[[Model], None] | None = None, speculation: bool = False) -> None:
        self.scheduler = Scheduler(speculation)
        self.after = after
        self.speculation = speculation
        self.journal: list[tuple[float, Event]] = []
        self.awaited: set[str] = set()
        self.grace_ends = 0.0
        """Workers that are alive and have not yet introduced themselves to a scheduler that was started again."""
        self.away: set[str] = set()
        """Clients that have not."""
        self.now = 0.0
        self.events = 0
        self.ledger = ObserverLedger()
        self.layers: dict[Key, LayerSpec] = {}
        self.arrived: dict[Key, int] = {}
        self.workers: dict[str, ModelWorker] = {}
        self.clients: dict[str, ModelClient] = {}
        self.executed: Counter[Task] = Counter()
        self.to_raise: dict[Task, int] = {}
        self.to_fault: dict[Task, int] = {}
        self.raised: set[Task] = set()
        self.poisoned: set[Task] = set()
        self.cuts: set[frozenset[str]] = set()
        self.cancelled = False
        self.echoes: list[Event] = []
        self.pid = 0
        self.epoch = 1
        self.scheduler.handle(EpochOpened(self.epoch), 0.0)  # it has a journal
        self.log: list[tuple[float, Event, list[Instruction]]] = []
        """Every event with its time, and the instructions it led to."""

    # -- events and instructions ------------------------------------------------------------------------------------

    def event(self, event: Event) -> bool:
        self.events += 1
        self.now += 0.001 + (self.events * 7919 % 17) * 0.001  # any small steps will do
        self.ledger.record_event(event)
        out = self.scheduler.handle(event, self.now)
        self.log.append((self.now, event, out))
        if isinstance(event, JOURNALED):
            self.journal.append((self.now, event))
        self.journal += [(self.now, failed) for failed in failures(out)]
        for instruction in out:
            self.ledger.check_instruction(instruction, self.scheduler)
            self._deliver(instruction)
        if self.after is not None:
            self.after(self)
        return True

    def _deliver(self, instruction: Instruction) -> None:
        match instruction:
            case StartBatch(name, range=task_range):
                if task_range.stop > self.arrived.get(task_range.layer, 1 << 40):
                    raise Unjustified(f"{task_range} was started before its arguments came")
                if self.awaited and self.now < self.grace_ends:
                    raise Unjustified(f"{task_range} was started before {self.awaited} reported what they hold")
                self._send(name, instruction)
            case RecallBatch(name) | FreeRanges(name):
                self._send(name, instruction)
            case NotifyDone(client, task_range, holder):
                self._believe(client, task_range, holder)
            case NotifyFailed(client, task_range, error, origin):
                self._must_have_failed(error, origin)
                self._believe(client, task_range, error)
            case NotifyLost(client, task_range):
                self._believe(client, task_range, None)
            case ForgetLayer(key):
                self.arrived.pop(key, None)

    def _send(self, name: str, instruction: Instruction | CopyOrder) -> None:
        worker = self.workers.get(name)
        if worker is not None and worker.linked:
            worker.inbox.append(instruction)

    def _believe(self, client: str, task_range: TaskRange, what: str | TaskError | None) -> None:
        known = self.clients.get(client)
        for task in tasks_of(task_range) if known is not None else ():
            if task in known.tasks:  # type: ignore[union-attr]  # not when it is None: see the line above
                known.tasks[task] = what  # type: ignore[union-attr]

    def _must_have_failed(self, error: TaskError, origin: TaskRange) -> None:
        tasks = tasks_of(origin)
        match error.kind:
            case "raised" | "platform":
                caused = any(task in self.raised for task in tasks)
            case "lost":
                caused = any(self.ledger.deaths[task] >= 3 or self.ledger.starts[task] >= 50 for task in tasks)
            case "cancelled":
                caused = self.cancelled
            case _:
                caused = False
        if not caused:
            raise Unjustified(
                f"{origin} is reported to have failed ({error.kind}: {error.message}), and nothing made it fail"
            )

    # -- truth ------------------------------------------------------------------------------------------------------

    def inputs(self, task: Task) -> list[Task]:
        spec = self.layers[task[0]]
        return [(dep.layer, i) for dep in spec.deps for i in inputs_of(dep.pattern, task[1], self.layers[dep.layer].n)]

    def compute(self, task: Task, inputs: Sequence[int]) -> int:
        return hash((task[0][0], task[1], *inputs)) % 1_000_003

    def truth(self, task: Task, known: dict[Task, int] | None = None) -> int:
        """The right value. `known` keeps values for the next question."""
        known = {} if known is None else known
        stack = [task]
        while stack:
            top = stack[-1]
            below = [t for t in self.inputs(top) if t not in known] if top not in known else []
            if below:
                stack += below
            else:
                known[top] = self.compute(top, [known[t] for t in self.inputs(top)])
                stack.pop()
        return known[task]

    # -- clients ----------------------------------------------------------------------------------------------------

    def layer(self, letter: str, n: int, *deps: tuple[Any, ...], **more: Any) -> bool:
        """Make a layer known to clients. A dependency is (letter, "one"), (letter, "k", 3), (letter, "all"),
        (letter, "window", before, after, wrap) or (letter, "free", adjacency)."""
        edges = [(name, pattern(*how)) for name, *how in deps]
        for name, how in edges:
            source = self.layers.get(key_of(name))
            if source is None or problem_of(how, n, source.n) is not None:
                return False
        self.layers[key_of(letter)] = layer(letter, n, *edges, **more)
        return True

    def join_client(self, name: str, weight: float = 1.0) -> bool:
        self.clients.setdefault(name, ModelClient(name))
        return self.event(ClientJoined(name, weight))

    def submit(self, client: str, letters: str, wanted: Sequence[tuple[str, int, int]], priority: int = 0) -> bool:
        if client not in self.clients:
            return False
        specs = [self.layers[key_of(c)] for c in letters if key_of(c) in self.layers]
        known = {spec.key for spec in specs}
        ranges = [s for s in (self.task_range(*want) for want in wanted) if s is not None and s.layer in known]
        if not all(dep.layer in known for spec in specs for dep in spec.deps):
            return False
        self.comes_back(client)
        tasks = self.clients[client].tasks
        for task_range in ranges:
            tasks.update({task: tasks.get(task) for task in tasks_of(task_range)})
        for spec in specs:
            if spec.arrived >= 0 and spec.key not in self.scheduler.state.layers:
                self.arrived[spec.key] = spec.arrived
        return self.event(GraphSubmitted(client, tuple(specs), tuple(ranges), priority))

    def task_range(self, letter: str, lo: int, hi: int) -> TaskRange | None:
        spec = self.layers.get(key_of(letter))
        if spec is None or not 0 <= lo < min(hi, spec.n):
            return None
        return TaskRange(spec.key, lo, min(hi, spec.n))

    def _ask(self, client: str, letter: str, lo: int, hi: int, kind: Callable[..., Event], forget: bool) -> bool:
        task_range = self.task_range(letter, lo, hi)
        if client not in self.clients or task_range is None:
            return False
        self.comes_back(client)
        self.event(kind(client, (task_range,)))
        for task in tasks_of(task_range) if forget else ():
            self.clients[client].tasks.pop(task, None)
        return True

    def release(self, client: str, letter: str, lo: int, hi: int) -> bool:
        return self._ask(client, letter, lo, hi, Released, forget=True)

    def cancel(self, client: str, letter: str, lo: int, hi: int) -> bool:
        self.cancelled = True
        return self._ask(client, letter, lo, hi, CancelRequested, forget=True)

    def retry(self, client: str, letter: str, lo: int, hi: int) -> bool:
        return self._ask(client, letter, lo, hi, RetryRequested, forget=False)

    def unfetched(self, client: str, letter: str, item: int) -> bool:
        """The client could not have this from its holder, which need not be the holder's fault."""
        self.comes_back(client)
        what = self.clients[client].tasks.get((key_of(letter), item)) if client in self.clients else None
        return isinstance(what, str) and self.event(
            ResultsMissing(client, what, (TaskRange(key_of(letter), item, item + 1),))
        )

    def leave_client(self, client: str) -> bool:
        if self.clients.pop(client, None) is None:
            return False
        self.away.discard(client)
        return self.event(ClientLeft(client))

    def arguments(self, letter: str, stop: int) -> bool:
        """More of the layer's arguments come."""
        key = key_of(letter)
        if key not in self.layers:
            return False
        if key in self.arrived:
            self.arrived[key] = max(self.arrived[key], stop)
        return self.event(ArgumentsArrived(key, stop))

    def raises(self, letter: str, item: int, times: int) -> bool:
        """The task raises so often before it does not."""
        self.to_raise[key_of(letter), item] = times
        return True

    def faults(self, letter: str, item: int, times: int) -> bool:
        """The task fails so often because of the platform before it does not."""
        self.to_fault[key_of(letter), item] = times
        return True

    def poison(self, letter: str, item: int) -> bool:
        """The task kills its worker, every time."""
        self.poisoned.add((key_of(letter), item))
        return True

    def comes_back(self, client: str) -> bool:
        """The client finds the scheduler that was started again."""
        if client not in self.away:
            return False
        self.away.discard(client)
        return self.event(ClientReturned(client))

    # -- the scheduler ----------------------------------------------------------------------------------------------

    def restart(self, compacted: bool = False, grace: float = 8.0) -> bool:
        """The scheduler dies, and is started again with its journal; all links break."""
        if compacted:
            self.journal = [(self.now, snapshot(self.scheduler.state))]
        known = tuple(self.scheduler.state.workers)
        for name in list(self.workers):
            self.unlink(name, noticed=False)
        self.awaited = {name for name in known if name in self.workers}
        self.away = set(self.clients)
        self.ledger.restart()
        self.epoch += 1
        self.now += 0.5
        opened = EpochOpened(self.epoch, known, grace)
        self.grace_ends = self.now + grace
        self.scheduler = replay(self.journal, opened, self.now, self.speculation)
        self.log.append((self.now, opened, []))
        return True

    # -- workers ----------------------------------------------------------------------------------------------------

    def join_worker(
        self,
        name: str,
        host: str = "h",
        rack: str = "/r",
        slots: int = 1,
        resources: tuple[tuple[str, float], ...] = (),
    ) -> bool:
        """A new process; another of its name, if there is one, has died unseen."""
        self.pid += 1
        earlier = self.workers.get(name)
        if earlier is not None:
            self._keep_echoes(earlier)
        self.awaited.discard(name)
        info = WorkerInfo(name, host, rack, slots, pid=self.pid, resources=resources)
        self.workers[name] = ModelWorker(info, slots=slots)
        return self.event(WorkerJoined(info))

    def kill(self, name: str, reason: str = "killed", clean: bool = False) -> bool:
        """The worker dies: what it held and what was on its link is gone."""
        worker = self.workers.pop(name, None)
        if worker is None:
            return False
        self._keep_echoes(worker)
        self.awaited.discard(name)
        return name not in self.scheduler.state.workers or self.event(WorkerLeft(name, reason, clean))

    def unlink(self, name: str, noticed: bool = True) -> bool:
        """The link to the scheduler breaks; the worker goes on. If `noticed`, the scheduler takes it for dead."""
        worker = self.workers.get(name)
        if worker is None or not worker.linked:
            return False
        worker.linked = False
        worker.inbox.clear()
        return not noticed or self.event(WorkerLeft(name, "link lost"))

    def relink(self, name: str) -> bool:
        """The worker comes back with what it holds, runs and has not reported."""
        worker = self.workers.get(name)
        if worker is None:
            return False
        worker.linked = True
        worker.inbox.clear()
        holdings = tuple([(TaskRange(key, i, i + 1), (8,)) for key, i in sorted(worker.store)])
        running = dict.fromkeys([batch.name for batch in worker.batches])
        for e in worker.unreported:
            match e:
                case (
                    BatchDone(_, batch, attempt)
                    | InputsMissing(_, batch, attempt)
                    | BatchReturned(_, batch, attempt, 0)
                ):
                    running[batch, attempt] = None
        self.awaited.discard(name)
        ranges = tuple([worker.ranges[known] for known in running])
        sources = {batch.name: tuple([task_range for task_range, _ in batch.start.sources]) for batch in worker.batches}
        inputs = tuple([sources.get(known, ()) for known in running])
        self.event(WorkerJoined(worker.info, holdings, tuple(running), ranges, inputs))
        for (number, count), task_range in zip(running, ranges):
            if number in self.scheduler.state.batches:
                self.ledger.take_over(name, number, count, task_range)
        return worker.slots == worker.info.slots or self.event(SlotsChanged(name, worker.slots))

    def slots(self, name: str, count: int) -> bool:
        worker = self.workers.get(name)
        if worker is None:
            return False
        worker.slots = count
        return not worker.linked or self.event(SlotsChanged(name, count))

    def copy(self, name: str, letter: str, lo: int, hi: int) -> bool:
        """The server has the worker fetch what there is of these."""
        task_range = self.task_range(letter, lo, hi)
        if task_range is None or name not in self.workers:
            return False
        held = [(task, h) for part, h in self.scheduler.holder_of(task_range) if h != name for task in tasks_of(part)]
        if held:
            self.event(CopiesRequested((task_range,)))
            self._send(name, CopyOrder(tuple(held)))
        return bool(held)

    def racks(self, host: str, rack: str) -> bool:
        return self.event(RacksKnown(((host, rack),)))

    def cut(self, one: str, other: str) -> bool:
        """Nothing passes between the two."""
        self.cuts.add(frozenset((one, other)))
        return True

    def mend(self) -> bool:
        self.cuts.clear()
        return True

    def wait(self, seconds: float) -> bool:
        self.now += seconds
        return self.event(Tick())

    def step(self, name: str, slot: int = 0) -> bool:
        """The worker takes its next instruction, or else executes the next item in one of its slots."""
        worker = self.workers.get(name)
        if worker is None:
            return False
        if worker.inbox:
            take(self, worker, worker.inbox.pop(0))
            return True
        busy = worker.execute_next()
        if busy:
            advance(self, worker, busy[slot % len(busy)])
        return bool(busy)

    def report(self, name: str, at: int = 0) -> bool:
        """One of the worker's reports arrives, any of them; it may come again (`echo`)."""
        worker = self.workers.get(name)
        if worker is None or not worker.unreported or not worker.linked:
            return False
        event = worker.unreported.pop(at % len(worker.unreported))
        self.echoes = [event, *self.echoes[: MAX_ECHOES - 1]]
        return self.event(event)

    def _keep_echoes(self, worker: ModelWorker) -> None:
        self.echoes = [*worker.unreported, *self.echoes][:MAX_ECHOES]

    def echo(self, at: int) -> bool:
        """A report that has come already, or whose worker has died, comes (again)."""
        if not self.echoes:
            return False
        event = self.echoes[at % len(self.echoes)]
        if isinstance(event, CopiesMade | SlotsChanged):
            return False  # they carry no number: their order is the session's business
        return self.event(event)

    # -- the whole --------------------------------------------------------------------------------------------------

    def busy(self) -> bool:
        return any(w.inbox or w.batches or w.unreported for w in self.workers.values() if w.linked)

    def settle(self) -> bool:
        """All goes well from here on, until nothing moves; then everything wanted must be there, and right."""
        self.cuts.clear()
        for key, spec in list(self.layers.items()):
            if self.arrived.get(key, spec.n) < spec.n:
                self.arguments(letter_of(key), spec.n)
        for name, worker in list(self.workers.items()):
            if not worker.linked:
                self.relink(name)
        for name in list(self.clients):
            self.comes_back(name)
        for _ in range(MAX_TURNS):
            self._enough_workers()
            moved = False
            for name in list(self.workers):
                moved |= self.step(name) or self.report(name)
            if moved:
                continue
            wake = self.scheduler.wake_at
            self.now = max(self.now + 0.1, wake if wake is not None else 0.0)
            self.event(Tick())
            if not self.busy() and self.scheduler.wake_at is None and not self._unfetchable():
                break
        else:
            raise AssertionError("the cluster does not come to rest")
        self._all_is_right()
        return True

    def _enough_workers(self) -> None:
        """Poisonous tasks kill workers: others come, as on YARN. Some worker has what tasks require."""
        specs = [self.layers[key] for key in self.scheduler.state.layers]
        for spec in specs:
            there = {mark for worker in self.workers.values() for mark in aliases_of(worker.info)}
            if spec.workers and not there.intersection(spec.workers):
                mark = spec.workers[0]
                self.join_worker(*((mark, "h2") if mark.startswith("w") else (f"w-{mark}-{self.pid + 1}", mark)))
        needed = {need for spec in specs for need in spec.resources}
        for name, amount in needed:
            if not any(dict(w.info.resources).get(name, 0.0) >= amount for w in self.workers.values()):
                self.join_worker(f"w-{name}-{self.pid + 1}", "h2", resources=((name, amount),))
        if not self.workers:
            self.join_worker(f"w-more-{self.pid + 1}", "h2")

    def _unfetchable(self) -> bool:
        """Clients try to fetch, and say what could not be had."""
        for client in self.clients.values():
            for (key, item), what in client.tasks.items():
                if isinstance(what, str) and (key, item) not in getattr(self.workers.get(what), "store", ()):
                    return self.event(ResultsMissing(client.name, what, (TaskRange(key, item, item + 1),)))
        return False

    def _all_is_right(self) -> None:
        known: dict[Task, int] = {}
        for client in self.clients.values():
            for task, what in client.tasks.items():
                if what is None:
                    raise AssertionError(f"{client.name}: {letter_of(task[0])}[{task[1]}] has no answer")
                if isinstance(what, str) and self.workers[what].store[task] != self.truth(task, known):
                    raise AssertionError(f"{client.name}: {letter_of(task[0])}[{task[1]}] has a wrong value")
        for name, worker in self.workers.items():
            results = {
                task
                for task_range, _ in tracked_results(self.scheduler, name, copies=False)
                for task in tasks_of(task_range)
            }
            copies = {
                task for task_range, where in tracked_results(self.scheduler, name) for task in tasks_of(task_range)
            }
            if results - worker.store.keys():
                raise AssertionError(f"{name} has, by the tables, {results - worker.store.keys()}")
            if worker.store.keys() - copies:
                raise AssertionError(f"{name} keeps {worker.store.keys() - copies}, which nothing needs")

    def end(self) -> bool:
        """When all clients have gone, nothing is left anywhere."""
        for name in list(self.clients):
            self.leave_client(name)
        self.settle()
        state = self.scheduler.state
        unsaid = state.results.pending_frees or state.results.deferred_frees
        if state.layers or state.batches or unsaid or any(worker.store for worker in self.workers.values()):
            kept = {name: sorted(worker.store) for name, worker in self.workers.items() if worker.store}
            raise AssertionError(f"left when all had gone: {list(state.layers)}, {list(state.batches)}, {kept}")
        return True

    def answers(self, client: str) -> dict[Task, int | str]:
        """Per task, its value or its error's kind."""
        found: dict[Task, int | str] = {}
        for task, what in self.clients[client].tasks.items():
            if isinstance(what, TaskError):
                found[task] = what.kind
            elif what is not None:
                found[task] = self.workers[what].store[task]
        return found


def key_of(letter: str) -> Key:
    return bytes([ord(letter) - 96]) * 16


def letter_of(key: Key) -> str:
    return chr(96 + key[0])


def pattern(kind: str, *more: Any) -> Pattern:
    """A dependency pattern of its name and numbers."""
    kinds: dict[str, Callable[..., Pattern]] = {
        "one": OneToOne, "k": KToOne, "all": Broadcast, "window": Window, "free": free,
    }  # fmt: skip
    return kinds[kind](*more)


def layer(letter: str, n: int, *deps: tuple[str, Any], retries: int = 0, **more: Any) -> LayerSpec:
    """A spec with a one-letter name; dependencies as (letter, pattern)."""
    edges = tuple([Dependency(key_of(name), how) for name, how in deps])
    return LayerSpec(key_of(letter), letter, n, edges, retries=retries, **more)


def whole(spec: LayerSpec) -> TaskRange:
    return TaskRange(spec.key, 0, spec.n)
