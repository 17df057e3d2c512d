"""The scheduler's mutable state, shared by the rule modules of this folder, and the notifications to its clients.

Data, but for `notify_*`. Made by `scheduler.Scheduler`; written by the rule modules alone: the server reads it through
`Scheduler.views`. Instructions are collected in `instructions`; what workers free is collected in `results`, and sent
before anything new is dispatched.
"""

from __future__ import annotations

from typing import NamedTuple

from howdah.engine.protocol.events import Instruction, NotifyDone, NotifyFailed, NotifyLost
from howdah.engine.protocol.layers import Key, TaskRange
from howdah.engine.scheduler.core.constraints import Constraint
from howdah.engine.scheduler.core.history import History
from howdah.engine.scheduler.core.intervals import group_equal
from howdah.engine.scheduler.core.results import ResultTable
from howdah.engine.scheduler.core.tables import (
    ClientState,
    FailureCause,
    LayerState,
    LayerStatistics,
    QueueKey,
    TaskBatch,
    WorkerState,
)
from howdah.engine.scheduler.core.timers import TimerQueue


class ZombieBatch(NamedTuple):
    """A batch that the scheduler has given up while its worker may still run it; and what it was to fetch."""

    range: TaskRange
    fetched: tuple[TaskRange, ...]


class HostFailures:
    """The times of a host's latest failures, and how often and until when it was excluded (`host_exclusion`)."""

    __slots__ = ("exclusions", "failed_at", "until")

    def __init__(self) -> None:
        self.failed_at: list[float] = []
        self.exclusions = 0
        self.until = float("-inf")


class SchedulerState:
    """All tables of one scheduler. `now` is the time of the event being handled, in seconds."""

    def __init__(self) -> None:
        self.now = 0.0
        self.instructions: list[Instruction] = []
        self.history = History()
        self.timers = TimerQueue()

        # tables
        self.layers: dict[Key, LayerState] = {}
        self.workers: dict[str, WorkerState] = {}
        self.by_index: dict[int, WorkerState] = {}
        self.clients: dict[str, ClientState] = {}
        self.batches: dict[int, TaskBatch] = {}
        self.results = ResultTable(self.by_index, self.timers)
        self.forget_candidates: dict[LayerState, None] = {}
        # counters that only grow: dense numbers of layers, workers, batches, graphs
        self.next_layer = self.next_worker = self.next_batch = self.next_graph = 0
        self.ready = 0  # items in READY, over all layers
        self.slots = 0  # of all workers

        # placement
        self.placement_version = 0  # grows whenever work is enqueued: a worker that declined need not look before
        self.wakeups: dict[int, None] = {}  # workers for which work was enqueued under their own key
        self.idle: dict[int, WorkerState] = {}  # workers with a free slot
        self.accepting: dict[int, WorkerState] = {}  # workers whose slots are busy, but that may hold one batch more
        self.next_steal = float("-inf")  # no idle worker looks at others' work before
        self.rebalanced_at = float("-inf")
        self.host_workers: dict[str, int] = {}
        self.rack_workers: dict[str, int] = {}
        self.rack_of: dict[str, str] = {}
        self.constraint_queues: dict[Constraint, QueueKey] = {}  # where layers with a constraint are enqueued
        self.constraint_layers: dict[Constraint, int] = {}  # the number of layers with it
        self.aliases: dict[str, dict[int, WorkerState]] = {}  # workers by every name that a constraint may give them
        self.pipelining_candidates: list[LayerState] = []  # layers that wait as a whole (`pipelining`)

        # fairness and batch sizes
        self.virtual_time = 0.0  # of the client served last
        self.seconds_by_name: dict[str, float] = {}  # of an item, for layers without an estimate of their own
        self.batch_limit_by_function: dict[bytes, int] = {}  # the items that a batch was last allowed to have

        # failures
        self.speculation = False
        self.host_failures: dict[str, HostFailures] = {}
        self.excluded_hosts: dict[str, float] = {}  # until when (`host_exclusion`)
        self.poison_suspects: dict[LayerState, None] = {}  # layers with ready items that run alone (`poison_isolation`)
        self.isolated_workers: dict[int, WorkerState] = {}  # workers reserved for them
        self.zombies: dict[str, dict[tuple[int, int], ZombieBatch]] = {}  # by worker, (batch, attempt)
        self.stale_reports = 0

        # a scheduler that was restarted (`restart`)
        self.epoch = 0
        self.awaited_workers: set[str] | None = None  # workers that have not reported their inventory; None: it is over

        self.forgotten_statistics: dict[str, LayerStatistics] = {}  # by name, of forgotten layers

    def __del__(self) -> None:
        for layer in self.layers.values():  # see `tables`: these cycles are invisible to Python's collector
            layer.inputs = ()
            layer.dependents.clear()
            layer.batches.clear()
        for batch in self.batches.values():
            batch.depends_on.clear()
            batch.dependents.clear()
            batch.speculative_copy = None
            batch.worker.batches.clear()

    def flush_deferred_frees(self) -> None:
        """Send at once the frees that `results` has deferred: before one of these results is made again."""
        self.instructions += self.results.take_deferred_frees()

    # -- notifications to clients -----------------------------------------------------------------------------------

    def notify_done(self, layer: LayerState, lo: int, hi: int, only: str | None = None) -> None:
        """Notify the clients with an interest in lo..hi (or `only` one of them), all done, of their holders."""
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
        """Notify the clients with an interest in lo..hi (or `only` one of them) of the failure."""
        error, key, first, last = cause
        for client, intervals in layer.interests.items():
            if only is None or client == only:
                for a, b in intervals.overlap(lo, hi):
                    self.instructions.append(
                        NotifyFailed(client, TaskRange(layer.key, a, b), error, TaskRange(key, first, last))
                    )

    def notify_lost(self, layer: LayerState, lo: int, hi: int) -> None:
        """Notify the clients with an interest in lo..hi that these are pending again."""
        for client, intervals in layer.interests.items():
            for a, b in intervals.overlap(lo, hi):
                self.instructions.append(NotifyLost(client, TaskRange(layer.key, a, b)))
