"""The scheduler's books: what it knows of layers, workers, clients and runs.

A layer's facts about its items stand in columns (`spans.Column`), about 30 bytes an item; a layer of one item costs
about a kilobyte. Plain data with the few questions that only one book is needed to answer. Written by the modules of
this folder alone.

Books, edges, runs and accounts are none of Python's collector's business (`gc=False`): it would look again and again at
all that waits, and a chain of tasks would spend a fifth of its time on that. So whoever ends one takes its circles
apart: `graphs.forget` those of a book and its edges, `assign.retire` those of a run,
`SchedulerState.__del__` what is left.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from msgspec import Struct

from howdah.engine.protocol.events import LayerSpec, TaskError, WorkerInfo
from howdah.engine.protocol.layers import Dependency, Key
from howdah.engine.protocol.patterns import Wiring
from howdah.engine.scheduler.core.constraints import Need, need_of, offers
from howdah.engine.scheduler.core.intervals import (
    SMALL,
    Column,
    IntervalSet,
    Stretch,
    column,
    equal_stretches,
    put,
    stretches,
)

IDLE, WAITING, READY, RUNNING, DONE, FAILED = range(6)
STATE_NAMES = ("idle", "waiting", "ready", "running", "done", "failed")

ANYWHERE = -1
"""The group of ready items that have no better place than another, and the place where all workers look."""

NOBODY = -1
"""The holder of an item that has no result."""

ALONE_FROM = 2
"""Deaths that an item may have caused, from which on it runs alone (`quarantine`)."""

MOST_AHEAD = 1024
"""Items of a layer that may be given to a worker ahead (`ahead`)."""

MANY = -2
"""Several workers may have copies of the item."""

Order: TypeAlias = tuple[int, int, int]
"""(-priority, graph number, -depth): least first."""

Place: TypeAlias = int | str
"""Where ready work is looked for: a worker's index, "host:..." or "rack:...", or ANYWHERE."""

Origin: TypeAlias = tuple[TaskError, Key, int, int]
"""An error and the span whose failure it was."""


class Edge(Struct, gc=False, eq=False):
    """`target`'s items need items of `source` in the manner of `wiring`; `every` of them needs all, or not. `one`: it
    is one item that needs one, the most frequent of all."""

    source: LayerState
    target: LayerState
    wiring: Wiring
    every: bool
    one: bool

    def __repr__(self) -> str:
        return f"<Edge {self.source!r} -> {self.target!r}>"


class LayerState(Struct, gc=False, eq=False):
    """One layer. Made by `book_of`.

    Columns: `code` the state; `missing` how many inputs are not there (counts for waiting items only); `need` how
    many waiting, ready or running items need it; `wanted` how many clients do; `holder` the worker that has the
    result; `size` its bytes; `tries` how often it was started. Broadcast inputs count once in `missing`; what
    broadcast needs of this layer is in `claims`, for all items at once. `copies`: by worker, what it has fetched and
    keeps; `copier` says per item which worker that may be (NOBODY, or MANY), so that dropping one need not ask all.
    `arrived`: items whose arguments are here; those beyond miss them as they miss inputs, one more in `missing`.
    """

    ident: int
    key: Key
    name: str
    n: int
    retries: int
    small: bool
    deps: tuple[Dependency, ...]
    code: Column
    missing: Column
    need: Column
    wanted: Column
    holder: Column
    size: Column
    tries: Column
    counts: list[int]
    arrived: int
    resources: tuple[tuple[str, float], ...]
    function: bytes
    timeout: float
    spread: bool
    asks: Need | None
    place: Place
    claims: int = 0
    ins: tuple[Edge, ...] = ()
    out: dict[Edge, None] = {}
    clients: dict[str, Order] = {}
    wanters: dict[str, IntervalSet] = {}
    runs: dict[TaskBatch, None] = {}
    ready: dict[int, IntervalSet] = {}
    copies: dict[int, IntervalSet] | None = None
    copier: Column | None = None
    asked: IntervalSet | None = None
    """Items of which a client has asked for copies: these stay with the result."""
    errors: dict[int, tuple[int, Origin]] | None = None
    deaths: dict[int, list[str]] | None = None
    faults: dict[int, int] | None = None
    paused: dict[int, float] | None = None
    """Until when (`pauses`)."""
    suspects: IntervalSet | None = None
    """Ready items that run alone (`quarantine`)."""
    failures: dict[int, int] | None = None
    home: int = NOBODY
    """The worker that all of it is for (`placement.homes`)."""
    host_sets: tuple[tuple[str, ...], ...] | None = None
    host_index: Any = None
    group_since: dict[int, float] | None = None
    group_level: dict[int, int] | None = None
    nbytes: Any = None
    limit: int = 1
    seconds: float | None = None
    account: Account | None = None

    def __repr__(self) -> str:
        return f"<Book {self.name}[{self.n}]>"

    def copied(self, lo: int, hi: int, index: int) -> None:
        """The worker has copies of these now."""
        if self.copies is None:
            self.copies = {}
        spans = self.copies.get(index)
        if spans is None:
            self.copies[index] = IntervalSet(lo, hi)
        else:
            spans.add(lo, hi)
        copier = self.copier
        if copier is None:
            copier = self.copier = column(self.n, "i4", NOBODY)
        if hi - lo == 1:
            if copier[lo] != index:
                copier[lo] = index if copier[lo] == NOBODY else MANY
            return
        for a, b, who in equal_stretches(copier, lo, hi):
            if who != index:
                put(copier, a, b, index if who == NOBODY else MANY)

    def where(self, lo: int, hi: int, code: int) -> list[Stretch]:
        """The stretches of lo..hi in that state."""
        codes = self.code
        if hi - lo == 1:
            return [(lo, hi)] if codes[lo] == code else []
        if self.small:
            return _where(lambda i: codes[i] == code, lo, hi)
        if self.counts[code] == 0:
            return []
        if self.counts[code] == self.n:
            return [(lo, hi)] if hi > lo else []
        return stretches(codes[lo:hi] == code, lo)

    def complete_stretches(self, lo: int, hi: int) -> list[Stretch]:
        """Items of lo..hi that wait and whose inputs are all there."""
        code, missing = self.code, self.missing
        if hi - lo == 1:
            return [(lo, hi)] if code[lo] == WAITING and missing[lo] == 0 else []
        if self.small:
            return _where(lambda i: code[i] == WAITING and missing[i] == 0, lo, hi)
        return stretches((missing[lo:hi] == 0) & (code[lo:hi] == WAITING), lo)

    def unneeded(self, lo: int, hi: int, code: int) -> list[Stretch]:
        """Items of lo..hi in that state that neither a client nor an unfinished item needs."""
        if self.claims or self.counts[code] == 0:
            return []
        codes, need, wanted = self.code, self.need, self.wanted
        if hi - lo == 1:
            return [(lo, hi)] if codes[lo] == code and need[lo] == 0 and wanted[lo] == 0 else []
        if self.small:
            return _where(lambda i: codes[i] == code and need[i] == 0 and wanted[i] == 0, lo, hi)
        mask = need[lo:hi] == 0
        if self.wanters:
            mask &= wanted[lo:hi] == 0
        if self.counts[code] != self.n:
            mask &= codes[lo:hi] == code
        return stretches(mask, lo)

    def unneeded_by_items(self, lo: int, hi: int) -> list[Stretch]:
        """Items of lo..hi that no unfinished item needs, whatever clients do."""
        if self.claims:
            return []
        need = self.need
        if hi - lo == 1:
            return [(lo, hi)] if need[lo] == 0 else []
        if self.small:
            return _where(lambda i: need[i] == 0, lo, hi)
        return stretches(need[lo:hi] == 0, lo)

    def bytes_of(self, lo: int, hi: int) -> int:
        """Bytes of the results of lo..hi."""
        if hi - lo == 1:
            return int(self.size[lo])
        part = self.size[lo:hi]
        return sum(part) if self.small else int(part.sum())

    def source_bytes(self, lo: int, hi: int) -> int:
        """Bytes that lo..hi read from outside the engine."""
        if self.nbytes is None:
            return 0
        part = self.nbytes[lo:hi]
        return sum(part) if self.small else int(part.sum())

    def done_flags(self) -> Any:
        """One byte per item: 1 where there is a result. A numpy array also for small layers."""
        return (np.array(self.code, "u1") if self.small else self.code) == DONE


def book_of(ident: int, spec: LayerSpec) -> LayerState:
    """The book of a layer of which nothing has happened yet."""
    n = spec.n
    code: Column = [IDLE] if n == 1 else column(n, "u1", IDLE)
    missing, need = ([0], [0]) if n == 1 else (column(n, "i4"), column(n, "i4"))
    wanted, tries = ([0], [0]) if n == 1 else (column(n, "i2"), column(n, "i2"))
    holder: Column = [NOBODY] if n == 1 else column(n, "i4", NOBODY)
    size: Column = [0] if n == 1 else column(n, "i8")
    counts, arrived = [n, 0, 0, 0, 0, 0], n if spec.arrived < 0 else min(n, spec.arrived)
    asks = need_of(spec)
    place: Place = ANYWHERE if asks is None else f"needs:{asks}"
    book = LayerState(
        ident, spec.key, spec.name, n, spec.retries, n <= SMALL, spec.deps, code, missing, need, wanted, holder, size,
        tries, counts, arrived, spec.resources, spec.function, spec.timeout, spec.spread, asks, place,
    )  # fmt: skip
    if spec.host_sets and asks is None:  # a need goes before a preference
        book.host_sets = tuple(tuple(host.lower() for host in hosts) for hosts in spec.host_sets)
        index = spec.host_index or (0,) * n
        book.host_index = list(index) if book.small else np.array(index, "u4")
        book.group_since, book.group_level = {}, {}
    if spec.nbytes:
        book.nbytes = list(spec.nbytes) if book.small else np.array(spec.nbytes, "i8")
    return book


def _where(test: Any, lo: int, hi: int) -> list[Stretch]:
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


class Account(Struct, gc=False, eq=False):
    """A layer's account of what ran where; see `summary.LayerSummary` for the meaning of each."""

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

    def add(self, other: Account) -> None:
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
    """Items `lo` to `hi` of a layer, given to a worker. `expected` seconds are None while nobody timed the layer.

    `after`: the worker's runs that make its inputs (`ahead`); `followers`: those that stand behind this one.
    `twin`: another run of the same item, on another worker (`speculate`).
    """

    ident: int
    attempt: int
    book: LayerState
    lo: int
    hi: int
    worker: Worker
    client: str = ""
    expected: float | None = None
    started: float = 0.0
    group: int = ANYWHERE
    level: int = -1
    recalled: float | None = None
    fetched: list[tuple[LayerState, int, int]] = []
    twin: TaskBatch | None = None
    after: dict[TaskBatch, None] = {}
    followers: dict[TaskBatch, None] = {}

    def __repr__(self) -> str:
        return f"<Run {self.ident} of {self.book!r} {self.lo}:{self.hi} on {self.worker.name}>"


class Worker:
    """A worker: its runs in the order in which they were given, and what they are expected to take."""

    __slots__ = (
        "backlog", "barred", "behind", "declined", "free", "host", "host_place", "index", "info", "items", "later",
        "name", "nbytes", "places", "rack", "rack_place", "runs", "slots", "warm",
    )  # fmt: skip

    def __init__(self, index: int, info: WorkerInfo) -> None:
        self.index, self.info, self.name, self.slots = index, info, info.name, max(1, info.slots)
        self.host, self.rack = info.host.lower(), info.rack
        self.host_place, self.rack_place = f"host:{self.host}", f"rack:{self.rack}"
        self.places: tuple[Place, ...] = (index, self.host_place, self.rack_place, ANYWHERE)
        self.runs: dict[int, TaskBatch] = {}
        self.backlog = 0.0
        self.behind = 0  # runs that cannot begin before others of this worker have ended
        self.later: dict[LayerState, None] = {}  # what could stand behind its runs, if it had room
        self.free = offers(info)
        self.declined = -1
        self.items = 0
        self.nbytes = 0
        self.barred = False  # it gets no work: `quarantine`, `exclusion`
        self.warm = False  # it has finished a run: what its first one imports is there

    @property
    def held(self) -> int:
        """Runs that need no other run's end to begin: they fill slots, or wait for one."""
        return len(self.runs) - self.behind

    def rests(self, now: float) -> list[float]:
        """Seconds that each of its held runs will still take, as far as one can tell.

        One that takes longer than expected, or of which nothing is expected, will take as long as it has: a wrong
        estimate must not make a busy worker look free.
        """
        rests = []
        executing = self.slots
        for run in self.runs.values():
            if run.after:
                continue
            expected = run.expected or 0.0
            if executing:
                executing -= 1
                elapsed = now - run.started
                rests.append(expected - elapsed if elapsed < expected else elapsed)
            else:
                rests.append(expected)
        return rests


class Client:
    """A client: its ready work by place, each a heap of (order, group, book); and its virtual time."""

    __slots__ = ("books", "name", "queues", "running", "virtual", "weight")

    def __init__(self, name: str, weight: float, virtual: float) -> None:
        self.name, self.weight, self.virtual = name, max(weight, 1e-6), virtual
        self.books: dict[LayerState, None] = {}
        self.queues: dict[Place, list[tuple[Order, int, LayerState]]] = {}
        self.running = 0
