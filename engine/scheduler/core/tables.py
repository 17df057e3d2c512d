"""The scheduler's tables: layers, workers, clients and batches.

A layer's facts about its items stand in columns (`intervals.Column`), about 30 bytes an item; a layer of one item costs
about two kilobytes. Plain data, with the queries that need only one record. Written by the rule modules of this folder;
the columns of results by `results.ResultTable` alone.

Layers, edges, batches and statistics are invisible to Python's garbage collector (`gc=False`): it would visit all that
waits again and again, and a chain of tasks would spend a fifth of its time on that. So the code that ends one breaks
its reference cycles: `submission.forget_layers` those of a layer and its edges, `dispatch.finish_batch` those of a
batch, `SchedulerState.__del__` what is left.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from howdah.engine.protocol.events import LayerSpec, TaskError, WorkerInfo
from howdah.engine.protocol.layers import Key
from howdah.engine.protocol.patterns import Wiring
from howdah.engine.scheduler.core.constraints import Constraint, capacity, constraint_of
from howdah.engine.scheduler.core.intervals import (
    SMALL,
    Column,
    Interval,
    IntervalSet,
    column,
    true_intervals,
)

HOST_EXCLUDED, ISOLATED = "its host is excluded", "it is reserved for poison suspects"
"""The reasons in `Worker.unschedulable_reasons`; each is added and removed by the module of its rule."""

IDLE, WAITING, READY, RUNNING, DONE, FAILED = range(6)
STATE_NAMES = ("idle", "waiting", "ready", "running", "done", "failed")

ANYWHERE = -1
"""The group of ready items that have no preferred worker, and the queue in which all workers look."""

NO_WORKER = -1
"""The holder of an item that has no result."""

ISOLATE_AFTER = 2
"""Deaths of workers that an item may have caused, from which on it runs alone (`poison_isolation`)."""

MAX_PIPELINED = 1024
"""Items of a layer that may be dispatched to a worker ahead (`pipelining`)."""

MANY = -2
"""Several workers may have copies of the item."""

Priority: TypeAlias = tuple[int, int, int]
"""(-priority, graph number, -depth): least first."""

QueueKey: TypeAlias = int | str
"""A queue of ready work: a worker's index, "host:...", "rack:...", "constraint:...", or ANYWHERE."""

FailureCause: TypeAlias = tuple[TaskError, Key, int, int]
"""An error, and the range of tasks (layer, start, stop) that caused it."""


class Edge(Struct, gc=False, eq=False):
    """`target`'s items need items of `source` as `wiring` says. `broadcast`: each needs all. `single`: one item needs
    one item, the most frequent case."""

    source: LayerState
    target: LayerState
    wiring: Wiring
    broadcast: bool
    single: bool

    def __repr__(self) -> str:
        return f"<Edge {self.source!r} -> {self.target!r}>"


class LayerState(Struct, gc=False, eq=False):
    """One layer: its specification, and what the scheduler knows of its items. Made by `new_layer_state`.

    What is known per item stands in columns (`intervals.Column`), about 30 bytes an item. `spec` is the only copy of
    what the client submitted; the fields after it repeat what rules read for every batch.
    """

    ident: int
    spec: LayerSpec
    """As submitted, without the columns `host_index` and `nbytes`, which have columns of their own here (`spec_of`)."""
    key: Key
    name: str
    n: int
    small: bool
    """Whether columns are lists (`intervals.SMALL`)."""
    resources: tuple[tuple[str, float], ...]

    # columns
    state: Column
    unfinished_deps: Column
    """The inputs that have no result; counts for waiting items only. A broadcast input counts once, and so do arguments
    that have not arrived and a wait before a retry."""
    dependent_refs: Column
    """The waiting, ready or running items that need the item."""
    client_refs: Column
    """The clients with an interest in the item."""
    holder: Column
    """The index of the worker that has the result, or NO_WORKER."""
    size: Column
    """The bytes of the result."""
    attempts: Column
    """The number of times that the item was dispatched."""
    counts: list[int]
    """The number of items in each state."""
    arrived: int
    """The items whose arguments have arrived; each item beyond has one more in `unfinished_deps`."""
    spread: bool
    """As in the spec; also set when workers cannot fetch the layer's inputs (`recovery`)."""

    # other layers and clients
    broadcast_refs: int = 0
    """The waiting, ready or running items that need all of this layer, for all its items at once."""
    inputs: tuple[Edge, ...] = ()
    dependents: dict[Edge, None] = {}
    priorities: dict[str, Priority] = {}
    """By client that has this layer in a graph."""
    interests: dict[str, IntervalSet] = {}
    """By client, the items whose results it has requested."""
    batches: dict[TaskBatch, None] = {}

    # placement
    constraint: Constraint | None = None
    queue_key: QueueKey = -1
    """Where ready items without a preferred worker are enqueued."""
    ready: dict[int, IntervalSet] = {}
    """By group (`placement`)."""
    preferred_worker: int = -1
    """The worker that all of the layer is for, or NO_WORKER (`placement.preferred_workers`)."""
    host_sets: tuple[tuple[str, ...], ...] | None = None
    host_index: Any = None
    group_since: dict[int, float] | None = None
    group_level: dict[int, int] | None = None
    nbytes: Any = None

    # copies of results (`results`)
    copies: dict[int, IntervalSet] | None = None
    """By worker, what it has fetched and keeps."""
    copy_holder: Column | None = None
    """Per item the single worker with a copy, NO_WORKER, or MANY; avoids a scan of `copies`."""
    pinned: IntervalSet | None = None
    """Items whose copies were requested: these stay with the result."""

    # failures
    errors: dict[int, tuple[int, FailureCause]] | None = None
    """By first item, the end and the cause of each range of failed items."""
    worker_deaths: dict[int, list[str]] | None = None
    infrastructure_failures: dict[int, int] | None = None
    user_failures: dict[int, int] | None = None
    retry_at: dict[int, float] | None = None
    """When a wait before a retry ends (`retry_backoff`)."""
    poison_suspects: IntervalSet | None = None
    """Ready items that run alone (`poison_isolation`)."""

    # estimates
    batch_limit: int = 1
    task_seconds: float | None = None
    statistics: LayerStatistics | None = None

    def __repr__(self) -> str:
        return f"<LayerState {self.name}[{self.n}]>"

    def in_state(self, lo: int, hi: int, code: int) -> list[Interval]:
        """The intervals of lo..hi in that state."""
        codes = self.state
        if hi - lo == 1:
            return [(lo, hi)] if codes[lo] == code else []
        if self.small:
            return _where(lambda i: codes[i] == code, lo, hi)
        if self.counts[code] == 0:
            return []
        if self.counts[code] == self.n:
            return [(lo, hi)] if hi > lo else []
        return true_intervals(codes[lo:hi] == code, lo)

    def runnable(self, lo: int, hi: int) -> list[Interval]:
        """The intervals of lo..hi that wait and whose inputs all have results."""
        code, missing = self.state, self.unfinished_deps
        if hi - lo == 1:
            return [(lo, hi)] if code[lo] == WAITING and missing[lo] == 0 else []
        if self.small:
            return _where(lambda i: code[i] == WAITING and missing[i] == 0, lo, hi)
        return true_intervals((missing[lo:hi] == 0) & (code[lo:hi] == WAITING), lo)

    def unneeded(self, lo: int, hi: int, code: int) -> list[Interval]:
        """The intervals of lo..hi in that state that neither a client nor an unfinished item needs."""
        if self.broadcast_refs or self.counts[code] == 0:
            return []
        codes, constraint, wanted = self.state, self.dependent_refs, self.client_refs
        if hi - lo == 1:
            return [(lo, hi)] if codes[lo] == code and constraint[lo] == 0 and wanted[lo] == 0 else []
        if self.small:
            return _where(lambda i: codes[i] == code and constraint[i] == 0 and wanted[i] == 0, lo, hi)
        mask = constraint[lo:hi] == 0
        if self.interests:
            mask &= wanted[lo:hi] == 0
        if self.counts[code] != self.n:
            mask &= codes[lo:hi] == code
        return true_intervals(mask, lo)

    def unneeded_by_tasks(self, lo: int, hi: int) -> list[Interval]:
        """The intervals of lo..hi that no unfinished item needs, whatever clients need."""
        if self.broadcast_refs:
            return []
        constraint = self.dependent_refs
        if hi - lo == 1:
            return [(lo, hi)] if constraint[lo] == 0 else []
        if self.small:
            return _where(lambda i: constraint[i] == 0, lo, hi)
        return true_intervals(constraint[lo:hi] == 0, lo)

    def result_bytes(self, lo: int, hi: int) -> int:
        """The bytes of the results of lo..hi."""
        if hi - lo == 1:
            return int(self.size[lo])
        part = self.size[lo:hi]
        return sum(part) if self.small else int(part.sum())

    def source_bytes(self, lo: int, hi: int) -> int:
        """The bytes that lo..hi read from outside the engine."""
        if self.nbytes is None:
            return 0
        part = self.nbytes[lo:hi]
        return sum(part) if self.small else int(part.sum())

    def done_flags(self) -> Any:
        """One byte per item: 1 where there is a result. A numpy array also for small layers."""
        return (np.array(self.state, "u1") if self.small else self.state) == DONE


def new_layer_state(ident: int, spec: LayerSpec) -> LayerState:
    """The state of a layer of which nothing has happened yet."""
    n = spec.n
    state: Column = [IDLE] if n == 1 else column(n, "u1", IDLE)
    unfinished_deps, dependent_refs = ([0], [0]) if n == 1 else (column(n, "i4"), column(n, "i4"))
    client_refs, attempts = ([0], [0]) if n == 1 else (column(n, "i2"), column(n, "i2"))
    holder: Column = [NO_WORKER] if n == 1 else column(n, "i4", NO_WORKER)
    size: Column = [0] if n == 1 else column(n, "i8")
    counts, arrived = [n, 0, 0, 0, 0, 0], n if spec.arrived < 0 else min(n, spec.arrived)
    bare = replace(spec, host_index=(), nbytes=()) if spec.host_index or spec.nbytes else spec
    layer = LayerState(
        ident, bare, spec.key, spec.name, n, n <= SMALL, spec.resources, state, unfinished_deps, dependent_refs,
        client_refs, holder, size, attempts, counts, arrived, spec.spread,
    )  # fmt: skip
    if spec.resources or spec.workers:
        layer.constraint = constraint_of(spec)
        layer.queue_key = f"constraint:{layer.constraint}"
    elif spec.host_sets:  # a constraint takes precedence over a preference
        layer.host_sets = tuple(tuple(host.lower() for host in hosts) for hosts in spec.host_sets)
        index = spec.host_index or (0,) * n
        layer.host_index = list(index) if layer.small else np.array(index, "u4")
        layer.group_since, layer.group_level = {}, {}
    if spec.nbytes:
        layer.nbytes = list(spec.nbytes) if layer.small else np.array(spec.nbytes, "i8")
    return layer


def spec_of(layer: LayerState) -> LayerSpec:
    """The layer as it was submitted, with as many arguments as have arrived."""
    index = layer.host_index if layer.host_sets is not None and len(layer.host_sets) > 1 else ()
    return replace(
        layer.spec,
        host_index=tuple([int(i) for i in index]),
        nbytes=tuple([int(i) for i in layer.nbytes]) if layer.nbytes is not None else (),
        arrived=layer.arrived if layer.arrived < layer.n else -1,
        spread=layer.spread,
    )


def _where(test: Any, lo: int, hi: int) -> list[Interval]:
    found, start = [], -1
    for i in range(lo, hi):
        if test(i):
            if start < 0:
                start = i
        elif start >= 0:
            found.append((start, i))
            start = -1
    if start >= 0:
        found.append((start, hi))
    return found


class LayerStatistics(Struct, gc=False, eq=False):
    """What ran where, for one layer; `summary.LayerSummary` explains each field."""

    tasks: int = 0
    runs: int = 0
    seconds: float = 0.0
    tasks_node: int = 0
    tasks_rack: int = 0
    tasks_remote: int = 0
    bytes_node: int = 0
    bytes_rack: int = 0
    bytes_remote: int = 0
    inputs_local: int = 0
    inputs_moved: int = 0

    def add(self, other: LayerStatistics) -> None:
        self.tasks += other.tasks
        self.runs += other.runs
        self.seconds += other.seconds
        self.inputs_local += other.inputs_local
        self.inputs_moved += other.inputs_moved
        if other.tasks_node or other.tasks_rack or other.tasks_remote:
            self.tasks_node += other.tasks_node
            self.tasks_rack += other.tasks_rack
            self.tasks_remote += other.tasks_remote
            self.bytes_node += other.bytes_node
            self.bytes_rack += other.bytes_rack
            self.bytes_remote += other.bytes_remote


class TaskBatch(Struct, gc=False, eq=False):
    """Items `lo` to `hi` of a layer, dispatched to a worker. `expected` seconds are None while the layer has no
    estimate.

    `depends_on`: the worker's batches that compute its inputs (`pipelining`); `dependents`: those that depend on this
    one. `speculative_copy`: another batch of the same item, on another worker (`speculation`).
    """

    ident: int
    attempt: int
    layer: LayerState
    lo: int
    hi: int
    worker: WorkerState
    client: str = ""
    expected: float | None = None
    started: float = 0.0
    group: int = ANYWHERE
    locality: int = -1
    recalled_at: float | None = None
    fetched: list[tuple[LayerState, int, int]] = []
    speculative_copy: TaskBatch | None = None
    depends_on: dict[TaskBatch, None] = {}
    dependents: dict[TaskBatch, None] = {}

    def __repr__(self) -> str:
        return f"<TaskBatch {self.ident} of {self.layer!r} {self.lo}:{self.hi} on {self.worker.name}>"


class WorkerState:
    """A worker: its batches in the order in which they were dispatched, and what they are expected to take."""

    __slots__ = (
        "available", "backlog", "batches", "blocked", "declined_version", "host", "host_key", "index", "info",
        "items", "name", "nbytes", "pipelining_candidates", "queue_keys", "rack", "rack_key", "slots",
        "unschedulable_reasons", "warm",
    )  # fmt: skip

    def __init__(self, index: int, info: WorkerInfo) -> None:
        self.index, self.info, self.name, self.slots = index, info, info.name, max(1, info.slots)
        self.host, self.rack = info.host.lower(), info.rack
        self.host_key, self.rack_key = f"host:{self.host}", f"rack:{self.rack}"
        self.queue_keys: tuple[QueueKey, ...] = (index, self.host_key, self.rack_key, ANYWHERE)
        self.batches: dict[int, TaskBatch] = {}
        self.backlog = 0.0
        self.blocked = 0  # batches that wait for others of this worker
        self.pipelining_candidates: dict[LayerState, None] = {}  # layers for `pipelining` when it has room
        self.available = capacity(info)
        self.declined_version = -1
        self.items = 0
        self.nbytes = 0
        self.unschedulable_reasons: set[str] = set()  # it gets no work while there is one
        self.warm = False  # it has finished a batch: what its first one imports is loaded

    @property
    def unblocked(self) -> int:
        """The number of batches that wait for no other batch: they fill slots, or wait for one."""
        return len(self.batches) - self.blocked

    def remaining_seconds(self, now: float) -> list[float]:
        """Estimated seconds until each of its unblocked batches ends.

        One that has taken longer than expected, or has no estimate, is expected to take as long again: a wrong estimate
        must not make a busy worker look free.
        """
        rests = []
        executing = self.slots
        for batch in self.batches.values():
            if batch.depends_on:
                continue
            expected = batch.expected or 0.0
            if executing:
                executing -= 1
                elapsed = now - batch.started
                rests.append(expected - elapsed if elapsed < expected else elapsed)
            else:
                rests.append(expected)
        return rests


class ClientState:
    """A client: its ready work by queue, each a heap of (priority, group, layer); and its virtual time."""

    __slots__ = ("layers", "name", "queues", "running", "virtual_time", "weight")

    def __init__(self, name: str, weight: float, virtual: float) -> None:
        self.name, self.weight, self.virtual_time = name, max(weight, 1e-6), virtual
        self.layers: dict[LayerState, None] = {}
        self.queues: dict[QueueKey, list[tuple[Priority, int, LayerState]]] = {}
        self.running = 0
