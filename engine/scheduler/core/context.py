"""All that the scheduler knows, in one object, and the few deeds that every module of this folder does with it.

`move` is the only function that changes an item's state, and it keeps the counters. Instructions are collected in
`out`; what workers may drop is collected in `frees` and said before anything new is started, the results of an
exchange in `late_frees` and said a little later.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from howdah.engine.protocol.events import FreeRanges, Instruction, TellDone, TellFailed, TellLost
from howdah.engine.protocol.layers import Key, TaskRange
from howdah.engine.scheduler.core.constraints import Need
from howdah.engine.scheduler.core.history import History
from howdah.engine.scheduler.core.intervals import IntervalSet, by_worker, equal_stretches, put
from howdah.engine.scheduler.core.tables import (
    DONE,
    FAILED,
    IDLE,
    READY,
    RUNNING,
    STATE_NAMES,
    WAITING,
    Account,
    Client,
    LayerState,
    Origin,
    Place,
    TaskBatch,
    Worker,
)

TRANSITIONS: dict[tuple[int, int], str] = {
    (IDLE, WAITING): "a client wants it, or an unfinished item needs it; it claims its inputs",
    (WAITING, READY): "all its inputs have results",
    (READY, WAITING): "an input was lost with its worker",
    (READY, RUNNING): "given to a worker, as part of a run",
    (WAITING, RUNNING): "given to the worker that is making its inputs, to be run after them",
    (RUNNING, WAITING): "given back, its worker died, its inputs could not be had, or it raised and may try again",
    (RUNNING, DONE): "the worker has the result; the claims on its inputs end",
    (WAITING, DONE): "a worker that came back holds the result",
    (READY, DONE): "a worker that came back holds the result",
    (RUNNING, FAILED): "it raised, or too many workers died of it",
    (WAITING, FAILED): "an input failed, or it was cancelled",
    (READY, FAILED): "it was cancelled",
    (WAITING, IDLE): "nobody needs it any more",
    (READY, IDLE): "nobody needs it any more",
    (RUNNING, IDLE): "nobody needs it any more, and it was not begun",
    (DONE, IDLE): "nobody needs it any more, or the result was lost",
    (FAILED, IDLE): "nobody wants it any more",
}
"""(from, to): why. An item makes no other step; `move` refuses."""


STATES = len(STATE_NAMES)

STEPS = [
    (STATE_NAMES[a], STATE_NAMES[b]) if (a, b) in TRANSITIONS else None for a in range(STATES) for b in range(STATES)
]
"""The names of from and to at `STATES * from + to`; None where there is no such step."""


def table() -> str:
    """The transitions, as printed in the documentation."""
    return "\n".join(f"{STATE_NAMES[a]:>8} -> {STATE_NAMES[b]:<8} {why}" for (a, b), why in TRANSITIONS.items())


class Ghost(NamedTuple):
    """A run that is over for the scheduler, while its worker may still be busy with it; and what it was to fetch."""

    span: TaskRange
    fetched: tuple[TaskRange, ...]


class HostFaults:
    """When a host's latest faults were, and how often and until when it was left out (`exclusion`)."""

    __slots__ = ("pauses", "times", "until")

    def __init__(self) -> None:
        self.times: list[float] = []
        self.pauses = 0
        self.until = float("-inf")


class SchedulerState:
    """The scheduler's memory. `now` is the time of the event being handled."""

    def __init__(self) -> None:
        self.now = 0.0
        self.books: dict[Key, LayerState] = {}
        self.workers: dict[str, Worker] = {}
        self.by_index: dict[int, Worker] = {}
        self.clients: dict[str, Client] = {}
        self.runs: dict[int, TaskBatch] = {}
        self.out: list[Instruction] = []
        self.history = History()
        self.frees: dict[str, dict[Key, IntervalSet]] = {}
        self.late_frees: dict[Key, list[tuple[Any, Any]]] = {}  # arrays of workers' indices and items (`free_items`)
        self.late_since = 0.0
        self.closing: dict[LayerState, None] = {}
        # counters that only grow: dense ids of layers, workers, runs, graphs
        self.next_book = self.next_worker = self.next_run = self.next_graph = 0
        self.ready = 0  # items in READY, over all layers
        self.slots = 0  # of all workers
        # placement
        self.stamp = 0  # grows whenever work appears somewhere: a worker that declined need not look before it does
        self.needs: dict[Need, Place] = {}  # what layers ask of workers, and where they are on offer (`needs`)
        self.asking: dict[Need, int] = {}  # how many layers ask for it
        self.marks: dict[str, dict[int, Worker]] = {}  # workers by all that they may be called
        self.speculating = False
        self.chained: list[LayerState] = []  # layers that wait as a whole, and may be given ahead (`ahead`)
        self.faults: dict[str, HostFaults] = {}  # by host
        self.excluded: dict[str, float] = {}  # hosts that get no work, until when (`exclusion`)
        self.pauses: list[tuple[float, int, LayerState, int]] = []  # heap of (until, order, layer, item) (`pauses`)
        self.suspects: dict[LayerState, None] = {}  # layers with ready items that run alone (`quarantine`)
        self.kept: dict[int, Worker] = {}  # workers kept for them
        self.called: dict[int, None] = {}  # workers for which work appeared at home since the last hand-out
        self.next_steal = float("-inf")  # no idle worker looks at others' work before
        self.host_workers: dict[str, int] = {}
        self.rack_workers: dict[str, int] = {}
        self.rack_of: dict[str, str] = {}
        self.waits: list[tuple[float, int, LayerState, int]] = []
        self.next_wait = 0
        self.idle: dict[int, Worker] = {}  # workers with a slot that has nothing
        self.open: dict[int, Worker] = {}  # workers whose slots are busy but that may hold one run more
        # fairness and run sizes
        self.clock = 0.0  # virtual time of the client served last
        self.seconds_of: dict[str, float] = {}  # by layer name, for layers that nobody has timed yet
        self.limit_of: dict[bytes, int] = {}  # by function, how many items a run was last allowed to have
        self.rebalanced = float("-inf")
        # accounts
        self.past: dict[str, Account] = {}  # by name, of forgotten layers
        self.stale_reports = 0
        # a scheduler that was started again (`epoch`): its number, and which workers are waited for until when
        self.epoch = 0
        self.expected: set[str] | None = None
        self.hold_until = 0.0
        # by worker: the runs it may still be busy with, should it come back, or because twins were quicker
        self.ghosts: dict[str, dict[tuple[int, int], Ghost]] = {}

    def __del__(self) -> None:
        for book in self.books.values():  # see `books`: these circles are invisible to Python's collector
            book.ins = ()
            book.out.clear()
            book.runs.clear()
        for run in self.runs.values():
            run.after.clear()
            run.followers.clear()
            run.twin = None
            run.worker.runs.clear()

    def move(
        self, book: LayerState, lo: int, hi: int, old: int, new: int, by: TaskBatch | None = None, why: str = ""
    ) -> None:
        """All of lo..hi goes from `old` to `new`; `by` the run that was given out or has ended, if one was."""
        step = STEPS[STATES * old + new]
        if step is None:
            raise RuntimeError(f"no transition from {STATE_NAMES[old]} to {STATE_NAMES[new]} (layer {book.name})")
        count = hi - lo
        if by is None:
            self.history.note(self.now, book.key, book.name, lo, hi, step, "", 0, 0, why)
        else:
            self.history.note(self.now, book.key, book.name, lo, hi, step, by.worker.name, by.ident, by.attempt, why)
        if count == 1:
            book.code[lo] = new
        else:
            put(book.code, lo, hi, new)
        counts = book.counts
        counts[old] -= count
        counts[new] += count
        if new == READY:
            self.ready += count
        elif old == READY:
            self.ready -= count

    def move_items(self, book: LayerState, items: Any, stretches: list[tuple[int, int]], old: int, new: int) -> None:
        """The same for an array of items (`stretches` are the same items) of which none is or becomes ready."""
        step = STEPS[STATES * old + new]
        if step is None or READY in (old, new):
            raise RuntimeError(f"no transition from {STATE_NAMES[old]} to {STATE_NAMES[new]} (layer {book.name})")
        self.history.note_all(self.now, book.key, book.name, stretches, step)
        book.code[items] = new
        book.counts[old] -= items.size
        book.counts[new] += items.size

    def free(self, worker: str, book_key: Key, lo: int, hi: int) -> None:
        """The worker may drop these."""
        spans = self.frees.setdefault(worker, {})
        have = spans.get(book_key)
        if have is None:
            spans[book_key] = IntervalSet(lo, hi)
        else:
            have.add(lo, hi)

    def free_items(self, book_key: Key, holders: Any, items: Any) -> None:
        """Each of `holders` (indices) may drop the one of `items` at its place (arrays): results that are no more. An
        exchange frees one item of every worker with each of its tasks, so this is said a little later, and together; at
        the latest before one of them is made again."""
        if not self.late_frees:
            self.late_since = self.now
        self.late_frees.setdefault(book_key, []).append((holders, items))

    def free_stray(self, worker: Worker, book_key: Key, lo: int, hi: int) -> None:
        """The worker may have these, though the books do not say so: it drops them, unless it is making them now."""
        stray = IntervalSet(lo, hi)
        for run in worker.runs.values():
            if run.book.key == book_key:
                stray.remove(run.lo, run.hi)
        for a, b in stray:
            self.free(worker.name, book_key, a, b)

    def flush_late(self) -> None:
        """Say what `free_items` has collected."""
        found: dict[int, list[TaskRange]] = {}
        new = tuple.__new__  # what `TaskRange` calls itself
        for key, chunks in self.late_frees.items():
            for index, lo, hi in by_worker(chunks):
                spans = found.get(index)
                if spans is None:
                    spans = found[index] = []
                spans.append(new(TaskRange, (key, lo, hi)))
        for index, theirs in found.items():
            owner = self.by_index.get(index)
            if owner is not None:
                self.out.append(FreeRanges(owner.name, tuple(theirs)))
        self.late_frees = {}

    def flush_frees(self) -> None:
        """Say what `free` has collected."""
        for worker, layers in self.frees.items():
            dropped = tuple([TaskRange(key, lo, hi) for key, parts in layers.items() for lo, hi in parts])
            if dropped and worker in self.workers:
                self.out.append(FreeRanges(worker, dropped))
        self.frees = {}

    # -- what clients hear ------------------------------------------------------------------------------------------

    def tell_done(self, book: LayerState, lo: int, hi: int, only: str | None = None) -> None:
        """lo..hi, all done, to the clients that want them (to `only` one of them, if given)."""
        for client, spans in book.wanters.items():
            if only is not None and client != only:
                continue
            if book.n == 1:
                self.out.append(TellDone(client, TaskRange(book.key, 0, 1), self.by_index[book.holder[0]].name))
                continue
            for a, b in spans.overlap(lo, hi):
                for start, stop, holder in equal_stretches(book.holder, a, b):
                    self.out.append(TellDone(client, TaskRange(book.key, start, stop), self.by_index[holder].name))

    def tell_failed(self, book: LayerState, lo: int, hi: int, origin: Origin, only: str | None = None) -> None:
        error, key, first, last = origin
        for client, spans in book.wanters.items():
            if only is None or client == only:
                for a, b in spans.overlap(lo, hi):
                    self.out.append(TellFailed(client, TaskRange(book.key, a, b), error, TaskRange(key, first, last)))

    def tell_lost(self, book: LayerState, lo: int, hi: int) -> None:
        for client, spans in book.wanters.items():
            for a, b in spans.overlap(lo, hi):
                self.out.append(TellLost(client, TaskRange(book.key, a, b)))
