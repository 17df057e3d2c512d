"""Handlers of the messages that workers send: reports become events of the scheduler.

Called for each message of a worker's session. A handler raises PeerRefused, and the session ends, when a worker reports
in the name of another.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from howdah.engine.protocol.events import (
    BatchDone,
    BatchReturned,
    CopiesMade,
    InputsMissing,
    SlotsChanged,
    WorkerJoined,
)
from howdah.engine.protocol.messages import (
    BatchBlocked,
    BatchCut,
    BatchFinished,
    Bye,
    Draining,
    Health,
    RegisterWorker,
    ResultsCopied,
    SlotCount,
    WorkerMessage,
)
from howdah.engine.scheduler.server.commands import Commands
from howdah.engine.scheduler.server.context import ServerContext
from howdah.engine.scheduler.server.draining import Drains
from howdah.engine.scheduler.server.membership import Membership
from howdah.engine.scheduler.server.sessions import InlineResults, Peers, WorkerPeer
from howdah.engine.scheduler.server.task_cancellation import TaskCancellation
from howdah.errors import PeerRefused

log = logging.getLogger(__name__)

Report = TypeVar("Report", BatchDone, InputsMissing, BatchReturned)


class WorkerMessages:
    """The handlers of one server."""

    def __init__(
        self,
        context: ServerContext,
        peers: Peers,
        membership: Membership,
        commands: Commands,
        cancellation: TaskCancellation,
        drains: Drains,
    ) -> None:
        self._context, self._peers, self._membership = context, peers, membership
        self._commands, self._cancellation, self._drains = commands, cancellation, drains
        self._handlers: dict[type[Any], Callable[[WorkerPeer, Any, Sequence[memoryview]], None]] = {
            RegisterWorker: self.on_introduce,
            BatchFinished: self.on_batch_finished,
            BatchBlocked: self.on_batch_blocked,
            BatchCut: self.on_batch_returned,
            ResultsCopied: self.on_copied,
            SlotCount: self.on_slots,
            Health: self.on_health,
            Draining: self.on_draining,
            Bye: self.on_bye,
        }

    def on_message(self, worker: WorkerPeer, message: WorkerMessage, frames: Sequence[memoryview]) -> None:
        """Handle one message of `worker`."""
        self._handlers[type(message)](worker, message, frames)

    def on_batch_finished(self, worker: WorkerPeer, message: BatchFinished, frames: Sequence[memoryview]) -> None:
        """The tasks of a batch have ended; small results may come along."""
        report = message.report
        task_range = self._peers.batches.pop((report.batch, report.attempt), None)
        inline = InlineResults(task_range, frames) if task_range is not None and len(frames) == 2 else None
        if self._cancellation.pending:
            self._cancellation.on_batch_finished(report.batch, report.attempt)
        self._context.handle(_own(worker, report), inline)
        if self._drains.under_way:
            self._drains.on_progress()

    def on_batch_blocked(self, worker: WorkerPeer, message: BatchBlocked, frames: Sequence[memoryview]) -> None:
        """A batch could not begin because the worker could not fetch its inputs."""
        report = message.report
        self._peers.batches.pop((report.batch, report.attempt), None)
        self._context.handle(_own(worker, report))
        self._cancellation.on_batches_lost()
        self._drains.on_progress()

    def on_batch_returned(self, worker: WorkerPeer, message: BatchCut, frames: Sequence[memoryview]) -> None:
        """The worker returns the tasks of a batch that it has not begun."""
        report = message.report
        self._cancellation.before_batch_returned(report.batch, report.attempt, report.start)
        self._context.handle(_own(worker, report))
        self._drains.on_progress()

    def on_copied(self, worker: WorkerPeer, message: ResultsCopied, frames: Sequence[memoryview]) -> None:
        """The worker has made copies that it was asked for, or could not."""
        self._context.handle(CopiesMade(worker.name, message.ranges))
        self._drains.on_copies_refused(worker.name, message.missing)
        self._drains.on_progress()

    def on_slots(self, worker: WorkerPeer, message: SlotCount, frames: Sequence[memoryview]) -> None:
        """A task that waits for others has released its slot, or has reacquired it."""
        self._context.handle(SlotsChanged(worker.name, message.slots))

    def on_health(self, worker: WorkerPeer, message: Health, frames: Sequence[memoryview]) -> None:
        """Store what the worker's process uses."""
        worker.health = message

    def on_draining(self, worker: WorkerPeer, message: Draining, frames: Sequence[memoryview]) -> None:
        """The worker leaves within its grace."""
        self._drains.on_draining(worker, message)

    def on_bye(self, worker: WorkerPeer, message: Bye, frames: Sequence[memoryview]) -> None:
        """The worker has left by itself."""
        self._membership.on_worker_left(worker, message.reason, clean=True)

    def on_introduce(self, worker: WorkerPeer, message: RegisterWorker, frames: Sequence[memoryview]) -> None:
        """A worker joins, or reports what it holds and runs in a new session."""
        info = message.worker
        if info.name != worker.name or (worker.role.name and worker.role.name not in (info.container, info.name)):
            raise PeerRefused(f"{worker.role.uri} introduced itself as {info.name!r} of {info.container!r}")
        peers = self._peers
        earlier = peers.workers.get(info.name)
        if earlier is not None and earlier is not worker:
            if earlier.info is not None and earlier.info.pid != info.pid:
                self._membership.on_worker_left(earlier, message.died or "another process has taken its name")
            peers.end_session(earlier)
        worker.info = info
        peers.workers[info.name] = worker
        log.info("worker %s on %s with %d slots at %s", info.name, info.host, info.slots, info.address)
        self._commands.send_all_files(worker)
        self._context.journal.record_worker(info.name)
        peers.batches.update(zip(message.running, message.ranges))
        self._context.handle(WorkerJoined(info, message.holdings, message.running, message.ranges, message.inputs))


def _own(worker: WorkerPeer, report: Report) -> Report:
    """Return the report; raise PeerRefused if it names another worker."""
    if report.worker != worker.name:
        raise PeerRefused(f"worker {worker.name} reported in the name of {report.worker}")
    return report
