"""What the server writes into its journal, how a server that is started again hears it, and its compaction.

The journal is a log of what clients said: each batch that changes anything, as it came, before it is handled; with the
sessions, the names of workers, and the few things that happened without a client's word (`Event` says which).
Nothing leaves the server before the journal has what it follows from, as far as the journal's `flush` is one.
Hearing it again is handling it again, with sessions that say nothing (`Session.dormant`) and at the times of old.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections import deque
from collections.abc import Callable, Container, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from howdah.engine.comm.connection.framing import Buffer
from howdah.engine.comm.security.certificates import Role
from howdah.engine.protocol.events import (
    CancelRequested,
    EpochOpened,
    LayerSpec,
    Released,
    StateRestored,
    TaskError,
    TasksFailed,
)
from howdah.engine.protocol.layers import Key, TaskRange
from howdah.engine.protocol.messages import (
    AppendArguments,
    Bye,
    CancelTasks,
    CoordinationCall,
    Hello,
    Query,
    ReleaseResults,
    Response,
    Submit,
)
from howdah.engine.scheduler.coordination.snapshot import CoordinationRecord
from howdah.engine.scheduler.core import restart as epoch
from howdah.engine.scheduler.server.commands import JOURNALED_ASKS
from howdah.engine.scheduler.server.journal import Journal
from howdah.engine.scheduler.server.sessions import ClientPeer, Peer
from howdah.errors import HowdahError

if TYPE_CHECKING:
    from howdah.engine.scheduler.server.server import Server

log = logging.getLogger(__name__)

LEAST_COMPACTED = 32 << 20
"""Bytes of a journal that are never worth compacting."""

Changing = Submit | AppendArguments | ReleaseResults | CancelTasks | CoordinationCall | Bye


class Entry(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Base of what records begin with. `at` is the time of day."""


class Opened(Entry, frozen=True):
    """A scheduler has begun; `cluster` is the same for all that go on with the journal."""

    at: float
    cluster: str
    epoch: int
    address: str


class Joined(Entry, frozen=True):
    """A client's or owner's session."""

    at: float
    session: str
    purpose: str
    role: tuple[str, str, str]
    name: str
    host: str
    lease: float
    worker: str
    received: int = 0
    asked: int = 0


class Said(Entry, frozen=True):
    """A batch of that session; its frames follow."""

    at: float
    session: str
    number: int


class Gone(Entry, frozen=True):
    at: float
    session: str


class WorkerCame(Entry, frozen=True):
    name: str


class WorkerWent(Entry, frozen=True):
    name: str


class Failed(Entry, frozen=True):
    at: float
    span: TaskRange
    error: TaskError


class Cancelled(Entry, frozen=True):
    """A task that had not begun, at the request `number` of that session."""

    at: float
    session: str
    number: int
    spans: tuple[TaskRange, ...]


class Ended(Entry, frozen=True):
    """Nobody of the server's own wants these any more."""

    at: float
    client: str
    spans: tuple[TaskRange, ...]


class TimedOut(Entry, frozen=True):
    """Calls of primitives whose time was over were answered."""

    at: float


class LayerKept(Entry, frozen=True):
    """Of a snapshot: a layer's three frames follow."""

    key: Key


class BooksKept(Entry, frozen=True):
    at: float
    books: StateRestored


class PrimitivesKept(Entry, frozen=True):
    kept: CoordinationRecord


class FilesKept(Entry, frozen=True):
    """One frame each."""

    names: tuple[str, ...]


class Answered(Entry, frozen=True):
    """An answer that the client may not have."""

    session: str
    answer: Response


class CleanupKept(Entry, frozen=True):
    urls: tuple[str, ...]


Entries: TypeAlias = (
    Opened | Joined | Said | Gone | WorkerCame | WorkerWent | Failed | Cancelled | Ended | TimedOut | LayerKept
    | BooksKept | PrimitivesKept | FilesKept | Answered | CleanupKept
)  # fmt: skip

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Entries).decode


class ServerJournal:
    """One server's writing."""

    def __init__(self, server: Server, journal: Journal) -> None:
        self._server, self.journal = server, journal
        self.cluster, self.epoch = secrets.token_hex(8), 0
        self.address = ""
        """Where the last scheduler was."""
        self.hearing: float | None = None
        """The time, by the server's clock, of what is being heard again; None when it is now."""
        self._base = 0
        self._frames: dict[Key, list[memoryview]] = {}
        self._workers: dict[str, None] = {}
        self._handlers: dict[type[Any], Callable[[Any, list[memoryview]], object]] = {
            Opened: self._opened,
            Joined: self._joined,
            Said: self._said,
            Gone: self._gone,
            WorkerCame: lambda entry, _: self._workers.update({entry.name: None}),
            WorkerWent: lambda entry, _: self._workers.pop(entry.name, None),
            Failed: lambda entry, _: server.event(TasksFailed(entry.span, entry.error)),
            Cancelled: self._cancelled,
            Ended: lambda entry, _: server.event(Released(entry.client, entry.spans)),
            TimedOut: lambda entry, _: server.coordination.timed_out(),
            LayerKept: lambda entry, frames: self._frames.update({entry.key: frames}),
            BooksKept: self._books,
            PrimitivesKept: lambda entry, _: server.coordination.restore(entry.kept, self._offset),
            FilesKept: lambda entry, frames: server.files.update(zip(entry.names, map(bytes, frames))),
            Answered: self._answered,
            CleanupKept: lambda entry, _: server.cleanup.update(dict.fromkeys(entry.urls)),
        }

    @property
    def _offset(self) -> float:
        return self._server.clock_offset

    # -- hearing ------------------------------------------------------------------------------------------------------

    def hear(self) -> None:
        """Be what the last scheduler was, but for what the workers know; then open a new epoch."""
        begun, count = time.perf_counter(), 0
        now = time.monotonic()
        for frames in self.journal.replay():
            entry = _decode(frames[0])
            at = getattr(entry, "at", None)
            if at is not None:
                self.hearing = min(at - self._offset, now)
            self._handlers[type(entry)](entry, frames[1:])
            count += 1
        self._base = self.journal.nbytes
        self.hearing = None
        self.epoch += 1
        server = self._server
        for peer in server.sessions.values():
            if isinstance(peer, ClientPeer):
                peer.asked = peer.last_asked
        server.coordination.resume()
        server.event(EpochOpened(self.epoch, tuple(self._workers), server.worker_lease))
        if count:
            log.warning(
                "epoch %d: heard %d records of the journal in %.2f s: %d layers, %d clients, %d workers to wait for",
                self.epoch, count, time.perf_counter() - begun, len(server.state.core.layers), len(server.clients),
                len(self._workers),
            )  # fmt: skip

    def opened(self, address: str) -> None:
        """The server listens."""
        self._write(Opened(time.time(), self.cluster, self.epoch, address))
        self.journal.flush()

    def _opened(self, entry: Opened, frames: Sequence[memoryview]) -> None:
        self.cluster, self.epoch, self.address = entry.cluster, entry.epoch, entry.address

    def _joined(self, entry: Joined, frames: Sequence[memoryview]) -> None:
        hello = Hello(entry.purpose, entry.name, lease=entry.lease, host=entry.host, worker=entry.worker)
        peer = self._server.admit(Role(*entry.role), hello, entry.session)
        peer.session.received, peer.last_asked = entry.received, entry.asked
        peer.session.suspended = True
        peer.session.disconnected_since = time.monotonic()
        peer.session.record_undelivered = peer.overheard

    def _said(self, entry: Said, frames: list[memoryview]) -> None:
        peer = self._peer(entry.session)
        if peer is None:
            return
        peer.session.received = entry.number
        try:
            peer.session.replay(frames, lambda message: is_changing(message) and _is_new(peer, message))
        except HowdahError as error:
            log.warning("%s %s: %s", peer.purpose, peer.name, error)

    def _gone(self, entry: Gone, frames: Sequence[memoryview]) -> None:
        peer = self._peer(entry.session)
        if peer is not None:
            self._server.client_left(peer)

    def _peer(self, session: str) -> ClientPeer | None:
        peer = self._server.sessions.get(session)
        return peer if isinstance(peer, ClientPeer) else None

    def _cancelled(self, entry: Cancelled, frames: Sequence[memoryview]) -> None:
        peer = self._peer(entry.session)
        if peer is not None:
            self._server.event(CancelRequested(peer.id, entry.spans))
            peer.replies[entry.number] = Response(entry.number, ["ok", True])

    def _books(self, entry: BooksKept, frames: Sequence[memoryview]) -> None:
        for spec in entry.books.layers:
            self._server.layers.add((spec,), self._frames.pop(spec.key))
        self._frames.clear()
        for _, spans in entry.books.requested:
            self._server.inline.update(span.layer for span in spans)
        self._server.event(entry.books)

    def _answered(self, entry: Answered, frames: Sequence[memoryview]) -> None:
        peer = self._peer(entry.session)
        if peer is not None:
            peer.replies[entry.answer.id] = entry.answer

    # -- writing ------------------------------------------------------------------------------------------------------

    def _write(self, entry: Entry, frames: Iterable[Buffer] = ()) -> int:
        return self.journal.append([_encode(entry), *frames]) if self.hearing is None else 0

    def follow(self, peer: Peer) -> None:
        """From now on nothing is sent to the peer that the journal does not account for."""
        session, journal = peer.session, self.journal
        if not isinstance(peer, ClientPeer):

            def flushed() -> int:
                journal.flush()
                return session.received

            session.acknowledge_limit = flushed
            return
        pending: deque[tuple[int, int]] = deque()

        def wrote(number: int, messages: list[Any], frames: Sequence[Buffer]) -> None:
            if any(map(is_changing, messages)):
                peer.asked = max(peer.asked, *[getattr(message, "id", 0) for message in messages], 0)
                pending.append((number, self._write(Said(time.time(), session.id, number), frames)))

        def confirms() -> int:
            journal.flush()
            while pending and pending[0][1] <= journal.written:
                pending.popleft()
            return pending[0][0] - 1 if pending else session.received

        session.on_batch, session.acknowledge_limit = wrote, confirms

    def info(self) -> dict[str, Any]:
        """For people: how large the journal is, and why it is written no more, if that is so."""
        return {"nbytes": self.journal.nbytes, "failure": self.journal.failure}

    def client_joined(self, peer: ClientPeer) -> None:
        self._write(self._joined_entry(peer))

    def _joined_entry(self, peer: ClientPeer) -> Joined:
        role = (peer.role.app, peer.role.kind, peer.role.name)
        return Joined(
            time.time(), peer.session.id, peer.purpose, role, peer.name, peer.host, peer.lease, peer.worker,
            peer.session.received, peer.asked,
        )  # fmt: skip

    def missing(self, there: Container[str]) -> list[str]:
        """The workers of old that have not come back."""
        return [name for name in self._workers if name not in there]

    def client_left(self, peer: Peer) -> None:
        self._write(Gone(time.time(), peer.session.id))

    def worker_came(self, name: str) -> None:
        if name not in self._workers:
            self._workers[name] = None
            self._write(WorkerCame(name))

    def worker_went(self, name: str) -> None:
        if name in self._workers:
            del self._workers[name]
            self._write(WorkerWent(name))

    def failed(self, span: TaskRange, error: TaskError) -> None:
        self._write(Failed(time.time(), span, error))

    def cancelled(self, peer: ClientPeer, number: int, spans: tuple[TaskRange, ...]) -> None:
        self._write(Cancelled(time.time(), peer.session.id, number, spans))

    def ended(self, client: str, spans: tuple[TaskRange, ...]) -> None:
        self._write(Ended(time.time(), client, spans))

    def timed_out(self) -> None:
        self._write(TimedOut(time.time()))

    # -- compaction ---------------------------------------------------------------------------------------------------

    def beat(self) -> None:
        """Now and then: what protects from more than a process's death, and a new journal if most of it is dead."""
        self.journal.flush()
        self.journal.sync()
        size = self.journal.nbytes
        if size > max(LEAST_COMPACTED, 2 * self._base) and size > 2 * self._server.layers.nbytes:
            self.compact()

    def compact(self) -> None:
        """Let the journal say what is, in place of how it came to be."""
        self._base = max(self._server.layers.nbytes, LEAST_COMPACTED // 2)
        self.journal.compact(list(self._snapshot()))

    def _snapshot(self) -> Iterable[list[Buffer]]:
        server, now = self._server, time.time()
        yield [_encode(Opened(now, self.cluster, self.epoch, server.listener.address))]
        peers = [peer for peer in server.sessions.values() if isinstance(peer, ClientPeer)]
        for peer in peers:
            yield [_encode(self._joined_entry(peer))]
        for name in self._workers:
            yield [_encode(WorkerCame(name))]
        books = epoch.snapshot(server.state.core)
        specs: list[LayerSpec] = []
        for spec in books.layers:
            kept = server.layers.get(spec.key)
            whole = TaskRange(spec.key, 0, kept.arrived if kept.raw else spec.n)
            specs.append(spec)
            yield [_encode(LayerKept(spec.key)), kept.code, *server.layers.slice(whole)]
        yield [_encode(BooksKept(now, msgspec.structs.replace(books, layers=tuple(specs))))]
        yield [_encode(PrimitivesKept(server.coordination.kept(server.clock_offset)))]
        if server.files:
            yield [_encode(FilesKept(tuple(server.files))), *server.files.values()]
        if server.cleanup:
            yield [_encode(CleanupKept(tuple(server.cleanup)))]
        for peer in peers:
            for answer in peer.unheard():
                yield [_encode(Answered(peer.session.id, answer))]


def is_changing(message: Any) -> bool:
    """Whether a scheduler that is started again must hear this of a client."""
    if isinstance(message, CoordinationCall):
        return message.kind != "task"
    return isinstance(message, Changing) or (isinstance(message, Query) and message.query in JOURNALED_ASKS)


def _is_new(peer: ClientPeer, message: Any) -> bool:
    """Whether this is heard for the first time: an earlier restart had the client ask again what it had asked."""
    number = getattr(message, "id", 0)
    if number:
        if number <= peer.last_asked:
            return False
        peer.last_asked = number
    return True


def same_port(address: str, last: str) -> str:
    """`address`; where it leaves the port open, that of `last`, so that all find the scheduler again.

    >>> same_port("tls://node1:0", "tls://node1:4711"), same_port("tls://node2:0", "tls://node1:4711")
    ('tls://node1:4711', 'tls://node2:0')
    """
    host, _, port = address.rpartition(":")
    return last if port == "0" and last.rpartition(":")[0] == host else address
