"""A server that is started again: replay of the journal, and its compaction into a snapshot.

A replay handles again what clients sent, with suspended sessions that send nothing and at the times of the records.
Then the server has all that its predecessor had, except what its workers hold and run: they report that when they
reconnect. A snapshot is a journal of records that state the present instead of how it came about. Used by `server`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from howdah.engine.comm.security.certificates import Role
from howdah.engine.protocol.events import CancelRequested, EpochOpened, Released, TasksFailed
from howdah.engine.protocol.frames import Buffer
from howdah.engine.protocol.layers import Key, TaskRange
from howdah.engine.protocol.messages import Hello, Response
from howdah.engine.scheduler.server.commands import Commands
from howdah.engine.scheduler.server.connections import Connections
from howdah.engine.scheduler.server.context import ServerContext
from howdah.engine.scheduler.server.coordination import CoordinationServer
from howdah.engine.scheduler.server.journal_records import (
    AnswerRecord,
    BatchReceived,
    CallsTimedOut,
    CancellationRecord,
    CleanupRecord,
    FailureRecord,
    FilesRecord,
    InterestEnded,
    LayerRecord,
    PrimitivesRecord,
    RestartRecord,
    SchedulerRecord,
    SessionClosed,
    SessionOpened,
    WorkerCame,
    WorkerWent,
    decode_record,
    encode_record,
    is_changing,
)
from howdah.engine.scheduler.server.journal_writer import session_record
from howdah.engine.scheduler.server.layer_store import LayerStore
from howdah.engine.scheduler.server.membership import Membership
from howdah.engine.scheduler.server.sessions import ClientPeer, Peers
from howdah.errors import HowdahError

log = logging.getLogger(__name__)

LEAST_COMPACTED = 32 << 20
"""Bytes of a journal that are never worth compacting."""


class Restart:
    """Replay and compaction of one server's journal; without a journal, `replay` only opens the first restart."""

    def __init__(
        self,
        context: ServerContext,
        peers: Peers,
        layers: LayerStore,
        commands: Commands,
        coordination: CoordinationServer,
        membership: Membership,
        connections: Connections,
        least_compacted: int = LEAST_COMPACTED,
    ) -> None:
        self._context, self._peers, self._layers = context, peers, layers
        self._commands, self._coordination = commands, coordination
        self._membership, self._connections = membership, connections
        self._least_compacted = least_compacted
        self._base = 0
        """Bytes of the journal after the last replay or compaction."""
        self._frames: dict[Key, list[memoryview]] = {}
        self._handlers: dict[type[Any], Callable[[Any, list[memoryview]], object]] = {
            RestartRecord: self.on_restart,
            SessionOpened: self.on_session_opened,
            BatchReceived: self.on_batch_received,
            SessionClosed: self.on_session_closed,
            WorkerCame: lambda record, _: context.journal.workers.update({record.name: None}),
            WorkerWent: lambda record, _: context.journal.workers.pop(record.name, None),
            FailureRecord: lambda record, _: context.handle(TasksFailed(record.range, record.error)),
            CancellationRecord: self.on_cancellation,
            InterestEnded: lambda record, _: context.handle(Released(record.client, record.ranges)),
            CallsTimedOut: lambda record, _: coordination.on_time_passed(),
            LayerRecord: lambda record, frames: self._frames.update({record.key: frames}),
            SchedulerRecord: self.on_scheduler,
            PrimitivesRecord: lambda record, _: coordination.restore(record.state),
            FilesRecord: lambda record, frames: commands.files.update(zip(record.names, map(bytes, frames))),
            AnswerRecord: self.on_answer,
            CleanupRecord: lambda record, _: commands.cleanup.update(dict.fromkeys(record.urls)),
        }

    # -- replay -------------------------------------------------------------------------------------------------------

    def replay(self, worker_lease: float) -> None:
        """Replay the journal; then give the workers of the previous server `worker_lease` seconds to report.

        Raises HowdahError for a journal that cannot be read.
        """
        context, writer = self._context, self._context.journal
        journal = writer.journal
        if journal is None:
            return
        began, count = time.perf_counter(), 0
        now = time.monotonic()
        offset = context.clock_offset
        for frames in journal.replay():
            record = decode_record(frames[0])
            at = getattr(record, "at", None)
            if at is not None:
                writer.replay_time = min(at - offset, now)
            self._handlers[type(record)](record, frames[1:])
            count += 1
        self._base = journal.nbytes
        writer.replay_time = None
        writer.restarts += 1
        for peer in self._peers.sessions.values():
            if isinstance(peer, ClientPeer):
                peer.asked = peer.last_asked
        self._coordination.on_time_passed()
        context.handle(EpochOpened(writer.restarts, tuple(writer.workers), worker_lease))
        if count:
            log.warning(
                "restart %d: replayed %d records of the journal in %.2f s: %d layers, %d clients, %d workers expected",
                writer.restarts, count, time.perf_counter() - began, context.views.layer_count,
                len(self._peers.clients), len(writer.workers),
            )  # fmt: skip

    def on_restart(self, record: RestartRecord, frames: Sequence[memoryview]) -> None:
        """Go on with the number and the address of the previous server."""
        writer = self._context.journal
        writer.cluster, writer.restarts, writer.address = record.cluster, record.restart, record.address

    def on_session_opened(self, record: SessionOpened, frames: Sequence[memoryview]) -> None:
        """Admit the client, with a session that is suspended until it reconnects."""
        hello = Hello(record.purpose, record.name, lease=record.lease, host=record.host, worker=record.worker)
        peer = self._connections.admit_client(Role(*record.role), hello, record.session)
        peer.session.received, peer.last_asked = record.received, record.asked
        peer.session.suspended = True
        peer.session.disconnected_since = time.monotonic()
        peer.session.record_undelivered = peer.record_undelivered

    def on_batch_received(self, record: BatchReceived, frames: list[memoryview]) -> None:
        """Handle the batch's messages again, as far as they change anything."""
        peer = self._client(record.session)
        if peer is None:
            return
        peer.session.received = record.number
        try:
            peer.session.replay(frames, lambda message: is_changing(message) and _is_first(peer, message))
        except HowdahError as error:
            log.warning("%s %s: %s", peer.purpose, peer.name, error)

    def on_session_closed(self, record: SessionClosed, frames: Sequence[memoryview]) -> None:
        """Remove the client."""
        peer = self._client(record.session)
        if peer is not None:
            self._membership.on_client_left(peer)

    def on_cancellation(self, record: CancellationRecord, frames: Sequence[memoryview]) -> None:
        """Cancel the tasks, and store the answer that the client may not have received."""
        peer = self._client(record.session)
        if peer is not None:
            self._context.handle(CancelRequested(peer.id, record.ranges))
            peer.replies[record.number] = Response(record.number, ["ok", True])

    def on_scheduler(self, record: SchedulerRecord, frames: Sequence[memoryview]) -> None:
        """Restore the scheduler's state and the layers' frames, whose records came before."""
        state = record.state
        for spec in state.layers:
            self._layers.add((spec,), self._frames.pop(spec.key))
        self._frames.clear()
        for _, ranges in state.requested:
            self._layers.inline.update(task_range.layer for task_range in ranges)
        self._context.handle(state)

    def on_answer(self, record: AnswerRecord, frames: Sequence[memoryview]) -> None:
        """Store an answer that the client may not have received."""
        peer = self._client(record.session)
        if peer is not None:
            peer.replies[record.answer.id] = record.answer

    def _client(self, session: str) -> ClientPeer | None:
        peer = self._peers.sessions.get(session)
        return peer if isinstance(peer, ClientPeer) else None

    # -- compaction ---------------------------------------------------------------------------------------------------

    def on_heartbeat(self) -> None:
        """Flush and sync the journal; compact it if most of it is obsolete."""
        journal = self._context.journal.journal
        if journal is None:
            return
        journal.flush()
        journal.sync()
        size = journal.nbytes
        if size > max(self._least_compacted, 2 * self._base) and size > 2 * self._layers.nbytes:
            self._base = max(self._layers.nbytes, self._least_compacted // 2)
            journal.compact(list(self._snapshot()))

    def _snapshot(self) -> Iterable[list[Buffer]]:
        now, writer = time.time(), self._context.journal
        yield [encode_record(RestartRecord(now, writer.cluster, writer.restarts, self._connections.address))]
        clients = [peer for peer in self._peers.sessions.values() if isinstance(peer, ClientPeer)]
        for peer in clients:
            yield [encode_record(session_record(peer))]
        for name in writer.workers:
            yield [encode_record(WorkerCame(name))]
        state = self._context.views.snapshot()
        for spec in state.layers:
            stored = self._layers.get(spec.key)
            whole = TaskRange(spec.key, 0, stored.arrived if stored.offsets else spec.n)
            yield [encode_record(LayerRecord(spec.key)), stored.code, *self._layers.slice(whole)]
        yield [encode_record(SchedulerRecord(now, state))]
        yield [encode_record(PrimitivesRecord(self._coordination.snapshot()))]
        if self._commands.files:
            yield [encode_record(FilesRecord(tuple(self._commands.files))), *self._commands.files.values()]
        if self._commands.cleanup:
            yield [encode_record(CleanupRecord(tuple(self._commands.cleanup)))]
        for peer in clients:
            for answer in peer.undelivered_responses():
                yield [encode_record(AnswerRecord(peer.session.id, answer))]


def _is_first(peer: ClientPeer, message: Any) -> bool:
    """Whether this request is replayed for the first time: after a restart clients repeat their open requests."""
    number = getattr(message, "id", 0)
    if number:
        if number <= peer.last_asked:
            return False
        peer.last_asked = number
    return True
