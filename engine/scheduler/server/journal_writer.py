"""What the server appends to its journal while it runs.

The journal is a log of what clients sent: each batch that changes anything, as it came, before it is handled; beside
it the sessions, the names of workers, and the few things that happened without a client's request. Nothing leaves the
server before the journal has what it follows from, as far as the journal's `flush` is one (`follow`). `restart` replays
the log. Without a journal nothing is recorded; callers need not check for one.
"""

from __future__ import annotations

import secrets
import time
from collections import deque
from collections.abc import Container, Iterable, Sequence
from typing import Any

from howdah.engine.protocol.events import TaskError
from howdah.engine.protocol.frames import Buffer
from howdah.engine.protocol.layers import TaskRange
from howdah.engine.scheduler.server.journal import Journal
from howdah.engine.scheduler.server.journal_records import (
    BatchReceived,
    CallsTimedOut,
    CancellationRecord,
    FailureRecord,
    InterestEnded,
    JournalRecord,
    RestartRecord,
    SessionClosed,
    SessionOpened,
    WorkerCame,
    WorkerWent,
    encode_record,
    is_changing,
)
from howdah.engine.scheduler.server.sessions import ClientPeer, Peer
from howdah.engine.scheduler.server.status import JournalStatus


class JournalWriter:
    """Records of one server.

    Parameters
    ----------
    journal : where they are appended; None records nothing.
    """

    def __init__(self, journal: Journal | None = None) -> None:
        self.journal = journal
        self.cluster, self.restarts = secrets.token_hex(8), 0
        """The cluster's name in the journal, and how many servers have used it."""
        self.address = ""
        """Where the previous server listened."""
        self.replay_time: float | None = None
        """The time, by the server's clock, of the record that is being replayed; None outside a replay."""
        self.workers: dict[str, None] = {}
        """Names of workers that have introduced themselves and have not left."""

    @property
    def replaying(self) -> bool:
        """Whether records are being replayed: nothing is sent then, and nothing recorded."""
        return self.replay_time is not None

    @property
    def server_id(self) -> str:
        """Names this server process; up to the point it is the same for all servers of one journal."""
        return self.cluster if self.journal is None else f"{self.cluster}.{self.restarts}"

    def status(self) -> JournalStatus | None:
        """The journal's size and health; None without a journal."""
        return None if self.journal is None else JournalStatus(self.journal.nbytes, self.journal.failure)

    def append(self, record: JournalRecord, frames: Iterable[Buffer] = ()) -> int:
        """Append `record`; return its number, or 0 if nothing is recorded now."""
        if self.journal is None or self.replay_time is not None:
            return 0
        return self.journal.append([encode_record(record), *frames])

    def follow(self, peer: Peer) -> None:
        """From now on confirm nothing to the peer, and send it nothing, before the journal has what it follows from."""
        if self.journal is None:
            return
        session, journal = peer.session, self.journal
        if not isinstance(peer, ClientPeer):

            def flushed() -> int:
                journal.flush()
                return session.received

            session.acknowledge_limit = flushed
            return
        pending: deque[tuple[int, int]] = deque()

        def record(number: int, messages: list[Any], frames: Sequence[Buffer]) -> None:
            if any(map(is_changing, messages)):
                peer.asked = max(peer.asked, *[getattr(message, "id", 0) for message in messages], 0)
                pending.append((number, self.append(BatchReceived(time.time(), session.id, number), frames)))

        def last_recorded() -> int:
            journal.flush()
            while pending and pending[0][1] <= journal.written:
                pending.popleft()
            return pending[0][0] - 1 if pending else session.received

        session.on_batch, session.acknowledge_limit = record, last_recorded

    def record_restart(self, address: str) -> None:
        """Record that the server listens at `address`."""
        if self.journal is not None:
            self.append(RestartRecord(time.time(), self.cluster, self.restarts, address))
            self.journal.flush()

    def record_session(self, peer: ClientPeer) -> None:
        """Record a client's or owner's session."""
        if self.journal is not None:
            self.append(session_record(peer))

    def record_session_closed(self, peer: Peer) -> None:
        """Record that a client or owner has left."""
        if self.journal is not None:
            self.append(SessionClosed(time.time(), peer.session.id))

    def record_worker(self, name: str) -> None:
        """Record that a worker has introduced itself."""
        if self.journal is not None and name not in self.workers:
            self.workers[name] = None
            self.append(WorkerCame(name))

    def record_worker_left(self, name: str) -> None:
        """Record that a worker will not return."""
        if name in self.workers:
            del self.workers[name]
            self.append(WorkerWent(name))

    def missing_workers(self, present: Container[str]) -> list[str]:
        """The recorded workers that are not in `present`."""
        return [name for name in self.workers if name not in present]

    def record_failure(self, task_range: TaskRange, error: TaskError) -> None:
        """Record that tasks failed and are not tried again."""
        if self.journal is not None:
            self.append(FailureRecord(time.time(), task_range, error))

    def record_cancellation(self, peer: ClientPeer, number: int, ranges: tuple[TaskRange, ...]) -> None:
        """Record that the request `number` of this client cancelled tasks that had not begun."""
        if self.journal is not None:
            self.append(CancellationRecord(time.time(), peer.session.id, number, ranges))

    def record_interest_ended(self, client: str, ranges: tuple[TaskRange, ...]) -> None:
        """Record that a client of the server's own needs these results no more."""
        if self.journal is not None:
            self.append(InterestEnded(time.time(), client, ranges))

    def record_timeouts(self) -> None:
        """Record that calls of coordination primitives were answered at their deadline."""
        if self.journal is not None:
            self.append(CallsTimedOut(time.time()))

    def close(self, *, delete: bool) -> None:
        """Write what was appended. `delete`: the cluster has ended, and nothing of the journal is to remain."""
        if self.journal is not None:
            self.journal.close(done=delete)


def session_record(peer: ClientPeer) -> SessionOpened:
    """The record of a client's session as it is now."""
    role = (peer.role.app, peer.role.kind, peer.role.name)
    return SessionOpened(
        time.time(), peer.session.id, peer.purpose, role, peer.name, peer.host, peer.lease, peer.worker,
        peer.session.received, peer.asked,
    )  # fmt: skip


def same_port(address: str, last: str) -> str:
    """`address`; where it leaves the port open, that of `last`, so that peers find the restarted server.

    >>> same_port("tls://node1:0", "tls://node1:4711"), same_port("tls://node2:0", "tls://node1:4711")
    ('tls://node1:4711', 'tls://node2:0')
    """
    host, _, port = address.rpartition(":")
    return last if port == "0" and last.rpartition(":")[0] == host else address
