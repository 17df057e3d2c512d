"""The peers of one server: clients, owners and workers, each with its session and what has been sent to it.

`Peers` finds them by name; the parts of the server read it, `membership` and `connections` change it.
"""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Self

from howdah.engine.comm.connection.session import Session
from howdah.engine.comm.security.certificates import Role
from howdah.engine.protocol.events import StartBatch, WorkerInfo
from howdah.engine.protocol.frames import Buffer
from howdah.engine.protocol.layers import Key, TaskRange
from howdah.engine.protocol.messages import (
    NOT_INLINE,
    ForgetLayers,
    FreeResults,
    Health,
    Hello,
    Response,
    RunBatch,
    TasksDone,
    WorkerAddresses,
)
from howdah.engine.scheduler.server.layer_store import LayerStore


class Peer:
    """A client, owner or worker, from its first connection until its session ends.

    `open_session` opens the session of the peer that it gets.
    """

    def __init__(self, role: Role, hello: Hello, open_session: Callable[[Self], Session[Any]], lease: float) -> None:
        self.role, self.session, self.lease = role, open_session(self), lease
        self.name, self.host, self.purpose = hello.name, hello.host, hello.purpose
        self.since = time.time()

    def lease_expired(self, now: float) -> bool:
        """Whether the peer has been without a connection for longer than its lease."""
        return self.session.disconnected_since is not None and now - self.session.disconnected_since > self.lease


class ClientPeer(Peer):
    """A client or an owner.

    `last_asked` and `replies` describe a client that outlived a restart: the number of its last request that was
    replayed, and the answers, by request number, that it may not have received. `asked` is the number of its last
    request that this server has journaled.
    """

    def __init__(self, role: Role, hello: Hello, open_session: Callable[[Self], Session[Any]], lease: float) -> None:
        super().__init__(role, hello, open_session, lease)
        self.id = f"{role.name}/{hello.name}" if role.name not in ("", hello.name) else hello.name
        self.worker = hello.worker
        self.replies: dict[int, Response] = {}
        self.last_asked = self.asked = 0
        self._addresses: dict[str, str] = {}
        """By worker, the address that was sent last."""

    def record_undelivered(self, message: Any) -> None:
        """Store an answer that cannot be sent because the session is suspended."""
        if isinstance(message, Response):
            self.replies[message.id] = message

    def undelivered_responses(self) -> list[Response]:
        """The answers that the client may not have received."""
        sent = [message for message, _ in self.session.unacknowledged() if isinstance(message, Response)]
        return [*self.replies.values(), *sent]

    def send_done(self, task_range: TaskRange, holder: str, address: str, inline: InlineResults | None) -> None:
        """Send that these tasks have results, after the holder's address if the client does not have it."""
        if self.session.suspended:
            return  # it is sent again when the client is back, addresses first
        if self._addresses.get(holder) != address:
            self._addresses[holder] = address
            self.session.send(WorkerAddresses({holder: address}))
        frames = inline.of(task_range) if inline is not None else ()
        self.session.send(TasksDone(task_range, holder), *frames)


class WorkerPeer(Peer):
    """A worker, with the layers whose definitions were sent to it."""

    def __init__(self, role: Role, hello: Hello, open_session: Callable[[Self], Session[Any]], lease: float) -> None:
        super().__init__(role, hello, open_session, lease)
        self.info: WorkerInfo | None = None
        self.health = Health(0, 0)
        self._defined: set[Key] = set()
        self._free = FreeResults([])

    def start(
        self,
        batch: StartBatch,
        layers: LayerStore,
        address_of: Callable[[str], str],
        others: Sequence[tuple[TaskRange, str]] = (),
    ) -> None:
        """Send a batch, after its layer's definition if the worker does not have it.

        `others`: further holders of its inputs, beside `batch.sources`.
        """
        task_range = batch.range
        key = task_range.layer
        if key not in self._defined:
            self._defined.add(key)
            stored = layers.get(key)
            self.session.send(stored.define, stored.code)
        sources: tuple[tuple[TaskRange, str, str], ...] = ()
        if batch.sources:
            sources = tuple([(part, holder, address_of(holder)) for part, holder in (*batch.sources, *others)])
        message = RunBatch(batch.batch, batch.attempt, task_range, key in layers.inline, sources, batch.depends_on)
        self.session.send(message, *layers.slice(task_range))

    def free(self, ranges: Iterable[TaskRange]) -> None:
        """Send that the worker may delete these results. Consecutive calls share one message."""
        if self.session.last_queued is not self._free:
            self._free = FreeResults([])
            self.session.send(self._free)
        self._free.ranges.extend(ranges)

    def forget(self, keys: Iterable[Key]) -> None:
        """Send that these layers start no more batches, as far as the worker has them."""
        known = tuple([key for key in keys if key in self._defined])
        if known:
            self._defined.difference_update(known)
            self.session.send(ForgetLayers(known))


class Peers:
    """All peers of one server, by name."""

    def __init__(self) -> None:
        self.sessions: dict[str, Peer] = {}
        """By the session's id: everyone whose lease has not expired."""
        self.clients: dict[str, ClientPeer] = {}
        self.owners: dict[str, ClientPeer] = {}
        """By the session's id."""
        self.workers: dict[str, WorkerPeer] = {}
        """Those that have introduced themselves."""
        self.batches: dict[tuple[int, int], TaskRange] = {}
        """The tasks of each batch that was sent to a worker and not reported, by number and attempt."""
        self.first_task: float | None = None
        """When the first batch was sent to a worker; Unix time."""
        self.last_client_left = time.time()
        """When the last client, those of tasks apart, left; Unix time."""

    def address_of(self, worker: str) -> str:
        """The address of the worker's data server; '' when it is not known."""
        peer = self.workers.get(worker)
        return peer.info.address if peer is not None and peer.info is not None else ""

    def end_session(self, peer: Peer) -> None:
        """Close the peer's session: nothing more is received on it."""
        self.sessions.pop(peer.session.id, None)
        peer.session.close()


class InlineResults:
    """Small results that came with a report: lengths per item (NOT_INLINE for none) and their pickles, joined."""

    def __init__(self, task_range: TaskRange, frames: Sequence[memoryview]) -> None:
        self.range = task_range
        self._lengths, self._blob = frames
        self._ends: list[int] = []

    def covers(self, task_range: TaskRange) -> bool:
        """Whether all of `task_range` is here."""
        own = self.range
        last = own.start + self._lengths.nbytes // 4
        return task_range.layer == own.layer and own.start <= task_range.start and task_range.stop <= last

    def of(self, task_range: TaskRange) -> tuple[Buffer, Buffer]:
        """Lengths and pickles of a part of the batch, not copied."""
        a, b = task_range.start - self.range.start, task_range.stop - self.range.start
        if a == 0 and 4 * b == self._lengths.nbytes:
            return self._lengths, self._blob
        if not self._ends:
            self._ends = _ends(self._lengths)
        return self._lengths[4 * a : 4 * b], self._blob[self._ends[a] : self._ends[b]]


def _ends(lengths: memoryview) -> list[int]:
    values = array("I", bytes(lengths))
    ends, at = [0], 0
    for length in values:
        if length != NOT_INLINE:
            at += length
        ends.append(at)
    return ends
