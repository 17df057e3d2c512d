"""All that the scheduler knows, in one object, and the few deeds that every module of this folder does with it.

`move` is the only function that changes an item's state, and it keeps the counters. Instructions are collected in
`out`; what workers may drop is collected in `frees` and said before anything new is started, the results of an
exchange in `late_frees` and said a little later.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from howdah.engine.protocol.events import FreeRanges, Instruction, NotifyDone, NotifyFailed, NotifyLost
from howdah.engine.protocol.layers import Key, TaskRange
from howdah.engine.scheduler.core.constraints import Constraint
from howdah.engine.scheduler.core.history import History
from howdah.engine.scheduler.core.intervals import IntervalSet, fill, group_by_worker, group_equal
from howdah.engine.scheduler.core.tables import (
    DONE,
    FAILED,
    IDLE,
    READY,
    RUNNING,
    STATE_NAMES,
    WAITING,
    Client,
    FailureCause,
    LayerState,
    LayerStatistics,
    QueueKey,
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


def transition_table() -> str:
    """The transitions, as printed in the documentation."""
    return "\n".join(f"{STATE_NAMES[a]:>8} -> {STATE_NAMES[b]:<8} {why}" for (a, b), why in TRANSITIONS.items())


class ZombieBatch(NamedTuple):
    """A run that is over for the scheduler, while its worker may still be busy with it; and what it was to fetch."""

    range: TaskRange
    fetched: tuple[TaskRange, ...]


class HostFailures:
    """When a host's latest faults were, and how often and until when it was left out (`exclusion`)."""

    __slots__ = ("exclusions", "failed_at", "until")

    def __init__(self) -> None:
        self.failed_at: list[float] = []
        self.exclusions = 0
        self.until = float("-inf")


class SchedulerState:
    """The scheduler's memory. `now` is the time of the event being handled."""

    def __init__(self) -> None:
        self.now = 0.0
        self.layers: dict[Key, LayerState] = {}
        self.workers: dict[str, Worker] = {}
        self.by_index: dict[int, Worker] = {}
        self.clients: dict[str, Client] = {}
        self.batches: dict[int, TaskBatch] = {}
        self.instructions: list[Instruction] = []
        self.history = History()
        self.pending_frees: dict[str, dict[Key, IntervalSet]] = {}
        self.deferred_frees: dict[
            Key, list[tuple[Any, Any]]
        ] = {}  # arrays of workers' indices and items (`free_items`)
        self.late_since = 0.0
        self.forget_candidates: dict[LayerState, None] = {}
        # counters that only grow: dense ids of layers, workers, runs, graphs
        self.next_layer = self.next_worker = self.next_batch = self.next_graph = 0
        self.ready = 0  # items in READY, over all layers
        self.slots = 0  # of all workers
        # placement
        self.placement_version = (
            0  # grows whenever work appears somewhere: a worker that declined need not look before it does
        )
        self.constraint_queues: dict[
            Constraint, QueueKey
        ] = {}  # what layers ask of workers, and where they are on offer (`needs`)
        self.constraint_layers: dict[Constraint, int] = {}  # how many layers ask for it
        self.aliases: dict[str, dict[int, Worker]] = {}  # workers by all that they may be called
        self.speculation = False
        self.pipelining_candidates: list[
            LayerState
        ] = []  # layers that wait as a whole, and may be given ahead (`ahead`)
        self.host_failures: dict[str, HostFailures] = {}  # by host
        self.excluded_hosts: dict[str, float] = {}  # hosts that get no work, until when (`exclusion`)
        self.pauses: list[tuple[float, int, LayerState, int]] = []  # heap of (until, order, layer, item) (`pauses`)
        self.poison_suspects: dict[LayerState, None] = {}  # layers with ready items that run alone (`quarantine`)
        self.isolated_workers: dict[int, Worker] = {}  # workers kept for them
        self.wakeups: dict[int, None] = {}  # workers for which work appeared at home since the last hand-out
        self.next_steal = float("-inf")  # no idle worker looks at others' work before
        self.host_workers: dict[str, int] = {}
        self.rack_workers: dict[str, int] = {}
        self.rack_of: dict[str, str] = {}
        self.waits: list[tuple[float, int, LayerState, int]] = []
        self.next_wait = 0
        self.idle: dict[int, Worker] = {}  # workers with a slot that has nothing
        self.accepting: dict[int, Worker] = {}  # workers whose slots are busy but that may hold one run more
        # fairness and run sizes
        self.virtual_time = 0.0  # virtual time of the client served last
        self.seconds_by_name: dict[str, float] = {}  # by layer name, for layers that nobody has timed yet
        self.batch_limit_by_function: dict[
            bytes, int
        ] = {}  # by function, how many items a run was last allowed to have
        self.rebalanced_at = float("-inf")
        # accounts
        self.forgotten_statistics: dict[str, LayerStatistics] = {}  # by name, of forgotten layers
        self.stale_reports = 0
        # a scheduler that was started again (`epoch`): its number, and which workers are waited for until when
        self.epoch = 0
        self.awaited_workers: set[str] | None = None
        self.hold_until = 0.0
        # by worker: the runs it may still be busy with, should it come back, or because twins were quicker
        self.zombies: dict[str, dict[tuple[int, int], ZombieBatch]] = {}

    def __del__(self) -> None:
        for layer in self.layers.values():  # see `books`: these circles are invisible to Python's collector
            layer.inputs = ()
            layer.dependents.clear()
            layer.batches.clear()
        for batch in self.batches.values():
            batch.depends_on.clear()
            batch.dependents.clear()
            batch.speculative_copy = None
            batch.worker.batches.clear()

    def transition(
        self, layer: LayerState, lo: int, hi: int, old: int, new: int, by: TaskBatch | None = None, why: str = ""
    ) -> None:
        """All of lo..hi goes from `old` to `new`; `by` the run that was given out or has ended, if one was."""
        step = STEPS[STATES * old + new]
        if step is None:
            raise RuntimeError(f"no transition from {STATE_NAMES[old]} to {STATE_NAMES[new]} (layer {layer.name})")
        count = hi - lo
        if by is None:
            self.history.record(self.now, layer.key, layer.name, lo, hi, step, "", 0, 0, why)
        else:
            self.history.record(
                self.now, layer.key, layer.name, lo, hi, step, by.worker.name, by.ident, by.attempt, why
            )
        if count == 1:
            layer.state[lo] = new
        else:
            fill(layer.state, lo, hi, new)
        counts = layer.counts
        counts[old] -= count
        counts[new] += count
        if new == READY:
            self.ready += count
        elif old == READY:
            self.ready -= count

    def transition_items(
        self, layer: LayerState, items: Any, stretches: list[tuple[int, int]], old: int, new: int
    ) -> None:
        """The same for an array of items (`true_intervals` are the same items) of which none is or becomes ready."""
        step = STEPS[STATES * old + new]
        if step is None or READY in (old, new):
            raise RuntimeError(f"no transition from {STATE_NAMES[old]} to {STATE_NAMES[new]} (layer {layer.name})")
        self.history.record_all(self.now, layer.key, layer.name, stretches, step)
        layer.state[items] = new
        layer.counts[old] -= items.size
        layer.counts[new] += items.size

    def queue_free(self, worker: str, book_key: Key, lo: int, hi: int) -> None:
        """The worker may drop these."""
        intervals = self.pending_frees.setdefault(worker, {})
        have = intervals.get(book_key)
        if have is None:
            intervals[book_key] = IntervalSet(lo, hi)
        else:
            have.add(lo, hi)

    def defer_free_items(self, book_key: Key, holders: Any, items: Any) -> None:
        """Each of `holders` (indices) may drop the one of `items` at its place (arrays): results that are no more. An
        exchange frees one item of every worker with each of its tasks, so this is said a little later, and together; at
        the latest before one of them is made again."""
        if not self.deferred_frees:
            self.late_since = self.now
        self.deferred_frees.setdefault(book_key, []).append((holders, items))

    def free_untracked(self, worker: Worker, book_key: Key, lo: int, hi: int) -> None:
        """The worker may have these, though the books do not say so: it drops them, unless it is making them now."""
        untracked = IntervalSet(lo, hi)
        for batch in worker.batches.values():
            if batch.layer.key == book_key:
                untracked.remove(batch.lo, batch.hi)
        for a, b in untracked:
            self.queue_free(worker.name, book_key, a, b)

    def flush_deferred_frees(self) -> None:
        """Say what `free_items` has collected."""
        found: dict[int, list[TaskRange]] = {}
        new = tuple.__new__  # what `TaskRange` calls itself
        for key, chunks in self.deferred_frees.items():
            for index, lo, hi in group_by_worker(chunks):
                intervals = found.get(index)
                if intervals is None:
                    intervals = found[index] = []
                intervals.append(new(TaskRange, (key, lo, hi)))
        for index, theirs in found.items():
            owner = self.by_index.get(index)
            if owner is not None:
                self.instructions.append(FreeRanges(owner.name, tuple(theirs)))
        self.deferred_frees = {}

    def flush_frees(self) -> None:
        """Say what `free` has collected."""
        for worker, layers in self.pending_frees.items():
            dropped = tuple([TaskRange(key, lo, hi) for key, parts in layers.items() for lo, hi in parts])
            if dropped and worker in self.workers:
                self.instructions.append(FreeRanges(worker, dropped))
        self.pending_frees = {}

    # -- what clients hear ------------------------------------------------------------------------------------------

    def notify_done(self, layer: LayerState, lo: int, hi: int, only: str | None = None) -> None:
        """lo..hi, all done, to the clients that want them (to `only` one of them, if given)."""
        for client, intervals in layer.interests.items():
            if only is not None and client != only:
                continue
            if layer.n == 1:
                self.instructions.append(
                    NotifyDone(client, TaskRange(layer.key, 0, 1), self.by_index[layer.holder[0]].name)
                )
                continue
            for a, b in intervals.overlap(lo, hi):
                for start, stop, holder in group_equal(layer.holder, a, b):
                    self.instructions.append(
                        NotifyDone(client, TaskRange(layer.key, start, stop), self.by_index[holder].name)
                    )

    def notify_failed(self, layer: LayerState, lo: int, hi: int, cause: FailureCause, only: str | None = None) -> None:
        error, key, first, last = cause
        for client, intervals in layer.interests.items():
            if only is None or client == only:
                for a, b in intervals.overlap(lo, hi):
                    self.instructions.append(
                        NotifyFailed(client, TaskRange(layer.key, a, b), error, TaskRange(key, first, last))
                    )

    def notify_lost(self, layer: LayerState, lo: int, hi: int) -> None:
        for client, intervals in layer.interests.items():
            for a, b in intervals.overlap(lo, hi):
                self.instructions.append(NotifyLost(client, TaskRange(layer.key, a, b)))
