"""The scheduler's books: what it knows of layers, workers, clients and runs.

A layer's facts about its items stand in columns (`spans.Column`), about 30 bytes an item; a layer of one item costs
about a kilobyte. Plain data with the few questions that only one book is needed to answer. Written by the modules of
this folder alone.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

from howdah.engine.graph.layer import Key
from howdah.engine.graph.patterns import Wiring
from howdah.engine.scheduler.needs import Need, need_of, offers
from howdah.engine.scheduler.records import LayerSpec, TaskError, WorkerInfo
from howdah.engine.scheduler.spans import SMALL, Column, SpanSet, Stretch, column, equal_stretches, put, stretches

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


class Edge:
    """`target`'s items need items of `source` in the manner of `wiring`."""

    __slots__ = ("every", "source", "target", "wiring")

    def __init__(self, source: Book, target: Book, wiring: Wiring):
        self.source, self.target, self.wiring, self.every = source, target, wiring, wiring.every


class Book:
    """One layer.

    Columns: `code` the state; `missing` how many inputs are not there (counts for waiting items only); `need` how
    many waiting, ready or running items need it; `wanted` how many clients do; `holder` the worker that has the
    result; `size` its bytes; `tries` how often it was started. Broadcast inputs count once in `missing`; what
    broadcast needs of this layer is in `claims`, for all items at once. `copies`: by worker, what it has fetched and
    keeps; `copier` says per item which worker that may be (NOBODY, or MANY), so that dropping one need not ask all.
    `arrived`: items whose arguments are here; those beyond miss them as they miss inputs, one more in `missing`.
    """

    __slots__ = (
        "account", "arrived", "asked", "asks", "claims", "clients", "code", "copier", "copies", "counts", "deaths",
        "deps", "errors", "failures", "faults", "function", "group_level", "group_since", "holder", "home",
        "host_index", "host_sets", "ident", "ins", "key", "limit", "missing", "n", "name", "nbytes", "need", "out",
        "paused", "place", "ready", "resources", "retries", "runs", "seconds", "size", "small", "spread", "suspects",
        "timeout", "tries", "wanted", "wanters",
    )  # fmt: skip

    def __init__(self, ident: int, spec: LayerSpec) -> None:
        n = spec.n
        self.ident, self.key, self.name, self.n, self.retries = ident, spec.key, spec.name, n, spec.retries
        self.small = n <= SMALL
        self.deps = spec.deps
        if n == 1:
            self.code: Column = [IDLE]
            self.missing: Column = [0]
            self.need: Column = [0]
            self.wanted: Column = [0]
            self.holder: Column = [NOBODY]
            self.size: Column = [0]
            self.tries: Column = [0]
        else:
            self.code = column(n, "u1", IDLE)
            self.missing = column(n, "i4")
            self.need = column(n, "i4")
            self.wanted = column(n, "i2")
            self.holder = column(n, "i4", NOBODY)
            self.size = column(n, "i8")
            self.tries = column(n, "i2")
        self.arrived = n if spec.arrived < 0 else min(n, spec.arrived)
        self.counts = [n, 0, 0, 0, 0, 0]
        self.claims = 0
        self.ins: list[Edge] = []
        self.out: dict[Edge, None] = {}
        self.clients: dict[str, Order] = {}
        self.wanters: dict[str, SpanSet] = {}
        self.runs: dict[Run, None] = {}
        self.ready: dict[int, SpanSet] = {}
        self.copies: dict[int, SpanSet] | None = None
        self.copier: Column | None = None
        self.asked: SpanSet | None = None  # items of which a client has asked for copies: these stay with the result
        self.errors: dict[int, tuple[int, Origin]] | None = None
        self.deaths: dict[int, list[str]] | None = None
        self.faults: dict[int, int] | None = None
        self.paused: dict[int, float] | None = None  # until when (`pauses`)
        self.suspects: SpanSet | None = None  # ready items that run alone (`quarantine`)
        self.failures: dict[int, int] | None = None
        self.home = NOBODY  # the worker that all of it is for (`placement.homes`)
        self.host_sets: tuple[tuple[str, ...], ...] | None = None
        self.host_index: Any = None
        self.group_since: dict[int, float] | None = None
        self.group_level: dict[int, int] | None = None
        self.nbytes: Any = None
        self.resources = spec.resources
        self.function, self.timeout, self.spread = spec.function, spec.timeout, spec.spread
        self.asks: Need | None = need_of(spec)
        self.place: Place = ANYWHERE if self.asks is None else f"needs:{self.asks}"
        if spec.host_sets and self.asks is None:  # a need goes before a preference
            self.host_sets = tuple(tuple(host.lower() for host in hosts) for hosts in spec.host_sets)
            index = spec.host_index or (0,) * n
            self.host_index = list(index) if self.small else np.array(index, "u4")
            self.group_since, self.group_level = {}, {}
        if spec.nbytes:
            self.nbytes = list(spec.nbytes) if self.small else np.array(spec.nbytes, "i8")
        self.limit = 1
        self.seconds: float | None = None
        self.account: Account | None = None

    def copied(self, lo: int, hi: int, index: int) -> None:
        """The worker has copies of these now."""
        if self.copies is None:
            self.copies = {}
        spans = self.copies.get(index)
        if spans is None:
            self.copies[index] = SpanSet(lo, hi)
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


class Account:
    """A layer's account of what ran where; see `summary.LayerSummary` for the meaning of each."""

    __slots__ = (
        "bytes_node", "bytes_rack", "bytes_remote", "inputs_local", "inputs_moved", "runs", "seconds", "tasks",
        "tasks_node", "tasks_rack", "tasks_remote",
    )  # fmt: skip

    def __init__(self) -> None:
        self.tasks = self.runs = 0
        self.seconds = 0.0
        self.tasks_node = self.tasks_rack = self.tasks_remote = 0
        self.bytes_node = self.bytes_rack = self.bytes_remote = 0
        self.inputs_local = self.inputs_moved = 0

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


class Run:
    """Items `lo` to `hi` of a layer, given to a worker. `expected` seconds are None while nobody timed the layer.

    `after`: the worker's runs that make its inputs (`ahead`); `followers`: those that stand behind this one.
    `twin`: another run of the same item, on another worker (`speculate`).
    """

    __slots__ = (
        "after", "attempt", "book", "client", "expected", "fetched", "followers", "group", "hi", "ident", "level", "lo",
        "recalled", "started", "twin", "worker",
    )  # fmt: skip

    def __init__(self, ident: int, attempt: int, book: Book, lo: int, hi: int, worker: Worker) -> None:
        self.ident, self.attempt, self.book, self.lo, self.hi, self.worker = ident, attempt, book, lo, hi, worker
        self.client: str = ""
        self.expected: float | None = None
        self.started = 0.0
        self.group = ANYWHERE
        self.level = -1
        self.recalled: float | None = None
        self.fetched: list[tuple[Book, int, int]] = []
        self.twin: Run | None = None
        self.after: dict[Run, None] = {}
        self.followers: dict[Run, None] = {}


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
        self.runs: dict[int, Run] = {}
        self.backlog = 0.0
        self.behind = 0  # runs that cannot begin before others of this worker have ended
        self.later: dict[Book, None] = {}  # what could stand behind its runs, if it had room
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
        self.books: dict[Book, None] = {}
        self.queues: dict[Place, list[tuple[Order, int, Book]]] = {}
        self.running = 0
