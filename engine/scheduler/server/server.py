"""The scheduler's server: messages become events, instructions become messages. It decides nothing (`State` does).

It keeps what the state must not know: sessions, leases, addresses, and the opaque frames of layers. It never unpickles
a user's bytes. Everything happens on one event loop's thread; the local cluster runs it in the client's process.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any

from howdah.engine.comm.connection.connect import Listener, send_greeting
from howdah.engine.comm.connection.enrollment import Registrar, answer_request
from howdah.engine.comm.connection.framing import Channel
from howdah.engine.comm.connection.session import Session, decoder_of
from howdah.engine.comm.security.certificates import Role, Security
from howdah.engine.protocol.events import (
    ArgumentsArrived,
    CancelRequested,
    ClientJoined,
    ClientLeft,
    ClientReturned,
    Event,
    ForgetLayer,
    FreeRanges,
    GraphSubmitted,
    HostExcluded,
    JournalFailure,
    LayerSpec,
    NotifyDone,
    NotifyFailed,
    NotifyLost,
    NotifyStuck,
    RecallBatch,
    Released,
    ResultsMissing,
    StartBatch,
    TaskError,
    Tick,
)
from howdah.engine.protocol.layers import Key, TaskRange
from howdah.engine.protocol.messages import (
    AppendArguments,
    Bye,
    CancelTasks,
    ClientMessage,
    CoordinationCall,
    FetchFailed,
    Hello,
    Leave,
    Query,
    Recall,
    ReleaseResults,
    Response,
    ResultsLost,
    Submit,
    TasksErred,
    TasksUnschedulable,
    Welcome,
    WhoHas,
    WorkerMessage,
)
from howdah.engine.scheduler.core.history import HistoryEntry
from howdah.engine.scheduler.core.scheduler import Scheduler
from howdah.engine.scheduler.server import worker_messages as server_workers
from howdah.engine.scheduler.server.commands import ended
from howdah.engine.scheduler.server.coordination import Hook
from howdah.engine.scheduler.server.draining import Drains
from howdah.engine.scheduler.server.journal import Journal
from howdah.engine.scheduler.server.journal_records import ServerJournal, is_changing, same_port
from howdah.engine.scheduler.server.layer_store import LayerFrames
from howdah.engine.scheduler.server.queries import answer
from howdah.engine.scheduler.server.sessions import ClientPeer, Inline, Peer, WorkerPeer
from howdah.errors import HowdahError, PeerRefused

log = logging.getLogger(__name__)

BEAT = 0.5
"""Seconds between looks at leases and heartbeats."""

RETIRE_GRACE = 10.0
"""Seconds in which a worker that is asked to go finishes what it runs, and others take over what it alone holds."""

MOST_FORGOTTEN = 100
"""Layers that workers may keep the code of, for half a second, though nobody needs it any more."""

MOST_OTHERS = 2
"""Other holders of an input that a worker is told, besides the one that it is to fetch it from."""

SILENCE = 15.0
"""A peer that is connected and says nothing for so long is taken to be cut off: its connection is ended. Sooner with a
short lease, later with a longer one: a worker in the middle of a call that holds the interpreter lock says nothing."""


class Server:
    """One scheduler.

    Parameters
    ----------
    security : of the scheduler's role; None over Unix sockets.
    name : the cluster's name.
    lease : seconds for which a client may be without a connection before its work is released.
    speculation : see `State`.
    worker_lease : the same for a worker before what it held is made again. The owner of the cluster, who sees its
        processes, can say so sooner (`worker_lost`).
    journal : where to write what a server that is started again must know, and to read it from (`server_journal`).
    """

    def __init__(
        self,
        security: Security | None = None,
        name: str = "howdah",
        lease: float = 60.0,
        worker_lease: float = 8.0,
        speculation: bool = False,
        journal: Journal | None = None,
    ) -> None:
        self.name, self.security, self.lease, self.worker_lease = name, security, lease, worker_lease
        self.state = Scheduler(speculation)
        self.layers = LayerFrames()
        self.coordination = Hook(self)
        self.drains = Drains(self)
        self.files: dict[str, bytes] = {}
        """Uploaded by users, for every worker."""
        self.written = None if journal is None else ServerJournal(self, journal)
        self._plain_epoch = secrets.token_hex(8)
        self.clients: dict[str, ClientPeer] = {}
        self.owners: dict[str, ClientPeer] = {}
        self.workers: dict[str, WorkerPeer] = {}
        self.cleanup: dict[str, None] = {}
        self.first_task: float | None = None
        self.last_client = time.time()
        self.started = time.time()
        self.clock_offset = time.time() - time.monotonic()
        self.failure = ""
        self.failed = asyncio.Event()
        self.sessions: dict[str, Peer] = {}
        self._inventory = journal is not None
        self.runs: dict[tuple[int, int], TaskRange] = {}
        self.inline: set[Key] = set()
        self._client_decoder = decoder_of(ClientMessage)
        self._worker_decoder = decoder_of(WorkerMessage)
        self._wake: asyncio.TimerHandle | None = None
        self._forgotten: dict[Key, None] = {}  # and no worker has been told
        self._follow: dict[type[Any], Callable[[Any, Inline | None], None]] = {
            StartBatch: self._start_run,
            NotifyDone: self._tell_done,
            NotifyFailed: self._tell_failed,
            NotifyStuck: self._tell_stuck,
            NotifyLost: self._tell_lost,
            FreeRanges: self._free,
            RecallBatch: self._recall,
            JournalFailure: self._note_failure,
            HostExcluded: self._host_excluded,
            ForgetLayer: self._forget,
        }
        self._beating: asyncio.Task[None] | None = None
        self.listener = Listener(
            {"client": self._on_client, "owner": self._on_owner, "worker": self._on_worker}, security, name
        )
        if security is not None:
            self.registrar = Registrar.load(security.directory)
            self.listener.handlers["join"] = self._on_join

    @property
    def epoch(self) -> str:
        """Names this scheduler; up to the point it is the same for all that go on with one journal."""
        return self._plain_epoch if self.written is None else f"{self.written.cluster}.{self.written.epoch}"

    @property
    def hearing(self) -> bool:
        """Whether this is the past: the journal is being heard."""
        return self.written is not None and self.written.hearing is not None

    def clock(self) -> float:
        """The time of what is being handled: now, or that of the journal's record."""
        past = self.written.hearing if self.written is not None else None
        return time.monotonic() if past is None else past

    # -- life -----------------------------------------------------------------------------------------------------

    def open(self, address: str) -> str:
        """Begin to serve at `address`; returns the address that others can use. On the loop's thread."""
        if self.written is not None:
            self.written.hear()
            address = same_port(address, self.written.address)
        opened = self.listener.open(address)
        if self.written is not None:
            self.written.opened(opened)
        self._beating = asyncio.ensure_future(self._beat())
        return opened

    async def close(self, reason: str = "the cluster was closed") -> None:
        """Tell everybody to go and stop."""
        if self._beating is not None and self._beating is not asyncio.current_task():
            self._beating.cancel()
        farewells = [w.session.close_with(Leave(reason)) for w in self.workers.values()]
        farewells += [c.session.close_with(Bye(reason)) for c in (*self.clients.values(), *self.owners.values())]
        await asyncio.gather(*farewells, return_exceptions=True)
        self.listener.close()
        if self.written is not None:
            self.written.journal.close(done=not self.failure)

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(BEAT)
            now = time.monotonic()
            for peer in list(self.sessions.values()):
                peer.session.heartbeat(now, 2 * BEAT, max(peer.lease, min(SILENCE, 2 * peer.lease + 2.0)))
                if peer.overdue(now):
                    self._give_up(peer)
            self.event(Tick())
            if self._forgotten:
                self._tell_forgotten()
            if self.written is not None:
                self.written.beat()
                if self._inventory and self.state.core.awaited_workers is None:
                    self._inventory = False
                    for name in self.written.missing(self.workers):
                        server_workers.went(
                            self, name, f"it did not come back within {self.worker_lease:.0f} s of a restart"
                        )

    def _broken(self, error: Exception) -> None:
        """The state is not what it should be: end everything, and say so to everybody who waits."""
        self.failure = f"an error of howdah's own in the scheduler: {type(error).__name__}: {error}"
        log.critical("%s", self.failure, exc_info=error)
        self.failed.set()
        self._closing = asyncio.ensure_future(self.close(self.failure))

    def _give_up(self, peer: Peer) -> None:
        if isinstance(peer, WorkerPeer):
            server_workers.left(self, peer, f"its connection was lost and did not come back within {peer.lease:.0f} s")
        elif isinstance(peer, ClientPeer):
            log.info("client %s did not come back within its lease of %.0f s", peer.id, peer.lease)
            self.client_left(peer)

    # -- events and instructions ------------------------------------------------------------------------------------

    def event(self, event: Event, inline: Inline | None = None) -> None:
        """Let the state handle `event` and do what it says."""
        if self.failure:
            return
        past = self.written.hearing if self.written is not None else None
        try:
            follow = self._follow
            for instruction in self.state.handle(event, time.monotonic() if past is None else past):
                follow[type(instruction)](instruction, inline)
        except Exception as error:  # noqa: BLE001  # a fault of howdah's own: all waits end, before one hangs
            self._broken(error)
            return
        if past is not None:
            return
        wake = self.state.wake_at
        if self._wake is not None:
            self._wake.cancel()
            self._wake = None
        if wake is not None:
            delay = wake - time.monotonic()
            if delay < BEAT:
                self._wake = asyncio.get_running_loop().call_later(max(delay, 0.01), self.event, Tick())

    def _start_run(self, run: StartBatch, inline: Inline | None) -> None:
        if self.first_task is None:
            self.first_task = time.time()
        worker = self.workers.get(run.worker)
        if worker is None:
            return  # its WorkerLeft is on its way into the state
        self.runs[run.batch, run.attempt] = run.range
        if run.range.layer in self._forgotten:
            self._tell_forgotten()  # before it is told anew
        others = self._copies_of(run) if run.sources else ()
        worker.start(run, self.layers, run.range.layer in self.inline, self.address_of, others)

    def _tell_done(self, told: NotifyDone, inline: Inline | None) -> None:
        ended(self, told.client, told.range)
        client = self.clients.get(told.client)
        if client is not None:
            # Only what the report brought is inline; a result of another run is fetched from its holder.
            mine = inline if inline is not None and inline.covers(told.range) else None
            client.tell_done(told.range, told.holder, self.address_of(told.holder), mine)

    def _tell_failed(self, told: NotifyFailed, inline: Inline | None) -> None:
        ended(self, told.client, told.range)
        self._tell(told.client, TasksErred(told.range, told.error, told.cause))

    def _tell_stuck(self, told: NotifyStuck, inline: Inline | None) -> None:
        if told.client in self.clients:
            log.warning("%s", told.reason)
        self._tell(told.client, TasksUnschedulable(told.range, told.reason))

    def _tell_lost(self, told: NotifyLost, inline: Inline | None) -> None:
        self._tell(told.client, ResultsLost(told.range))

    def _tell(self, name: str, message: Any) -> None:
        client = self.clients.get(name)
        if client is not None:
            client.session.send(message)

    def _free(self, what: FreeRanges, inline: Inline | None) -> None:
        worker = self.workers.get(what.worker)
        if worker is not None:
            worker.free(what.ranges)

    def _recall(self, what: RecallBatch, inline: Inline | None) -> None:
        worker = self.workers.get(what.worker)
        if worker is not None:
            worker.session.send(Recall(what.batch, what.attempt))

    def _note_failure(self, note: JournalFailure, inline: Inline | None) -> None:
        if self.written is not None:
            self.written.failed(note.range, note.error)

    def _host_excluded(self, what: HostExcluded, inline: Inline | None) -> None:
        if what.seconds:
            log.warning("host %s gets no work for %.0f s: %s", what.host, what.seconds, what.reason)
        else:
            log.info("host %s: %s", what.host, what.reason)

    def _forget(self, what: ForgetLayer, inline: Inline | None) -> None:
        self.layers.forget(what.layer)
        self.inline.discard(what.layer)
        self._forgotten[what.layer] = None
        if len(self._forgotten) >= MOST_FORGOTTEN:
            self._tell_forgotten()

    def _tell_forgotten(self) -> None:
        for worker in self.workers.values():
            worker.forget(self._forgotten)
        self._forgotten.clear()

    def _copies_of(self, run: StartBatch) -> tuple[tuple[TaskRange, str], ...]:
        """Who else has what the run is to fetch: for the case that its source fails."""
        core = self.state.core
        found: list[tuple[TaskRange, str]] = []
        for span, holder in run.sources:
            book = core.layers[span.layer]
            for index, spans in islice((book.copies or {}).items(), MOST_OTHERS):
                name = core.by_index[index].name
                if name != holder:
                    found += [(TaskRange(span.layer, a, b), name) for a, b in spans.overlap(span.start, span.stop)]
        return tuple(found)

    def history_entry(self, note: HistoryEntry) -> dict[str, Any]:
        """A note of the state's history for people: the time of day in place of the state's clock."""
        return note.to_dict() | {"at": note.at + self.clock_offset}

    def address_of(self, worker: str) -> str:
        """Where the worker's data server is; '' when it is not known."""
        peer = self.workers.get(worker)
        return peer.info.address if peer is not None and peer.info is not None else ""

    # -- connections ------------------------------------------------------------------------------------------------

    async def _on_join(self, channel: Channel, role: Role, hello: Hello) -> None:
        await answer_request(channel, self.registrar)

    def _known(self, hello: Hello, role: Role) -> Peer | None:
        peer = self.sessions.get(hello.session) if hello.session else None
        if peer is not None and (peer.role != role or peer.name != hello.name):
            raise PeerRefused(f"session {hello.session} is not that of {hello.purpose} {hello.name!r}")
        return peer

    async def _converse(self, channel: Channel, peer: Peer, hello: Hello) -> None:
        resumed = peer.session.id == hello.session
        details = {"epoch": self.epoch}
        if peer.session.suspended:
            peer.session.resume(hello.received)
            if isinstance(peer, ClientPeer) and self.clients.get(peer.id) is peer:
                self.event(ClientReturned(peer.id))
        await send_greeting(
            channel, Welcome(peer.session.id, self.name, resumed, peer.session.acknowledgeable(), details)
        )
        try:
            await peer.session.run(channel, hello.received if resumed else 0)
        except HowdahError as error:
            log.error("%s %s is dropped: %s", peer.purpose, peer.name, error)
            if isinstance(peer, WorkerPeer):
                server_workers.left(self, peer, str(error))
            elif isinstance(peer, ClientPeer):
                self.client_left(peer)

    async def _on_client(self, channel: Channel, role: Role, hello: Hello) -> None:
        await self._converse(channel, self._known(hello, role) or self.admit(role, hello), hello)

    async def _on_owner(self, channel: Channel, role: Role, hello: Hello) -> None:
        await self._converse(channel, self._known(hello, role) or self.admit(role, hello), hello)

    def admit(self, role: Role, hello: Hello, session_id: str = "") -> ClientPeer:
        """A client or owner that is new here, or was of an earlier scheduler's."""
        said = self._owner_said if hello.purpose == "owner" else self._client_said
        session: Session[ClientMessage] = Session(
            session_id or secrets.token_hex(16), self._client_decoder, lambda m, f: said(peer, m, f), hello.name
        )
        peer = ClientPeer(role, hello, session, hello.lease or self.lease)
        self.sessions[session.id] = peer
        if self.written is not None:
            self.written.client_joined(peer)
            self.written.follow(peer)
        if hello.purpose == "owner":
            self.owners[session.id] = peer
        else:
            self.clients[peer.id] = peer
            self.event(ClientJoined(peer.id))
        return peer

    async def _on_worker(self, channel: Channel, role: Role, hello: Hello) -> None:
        peer = self._known(hello, role)
        if peer is None:
            session: Session[WorkerMessage] = Session(
                secrets.token_hex(16),
                self._worker_decoder,
                lambda m, f: server_workers.said(self, worker, m, f),
                hello.name,
            )
            worker = peer = WorkerPeer(role, hello, session, self.worker_lease)
            self.sessions[session.id] = worker
            if self.written is not None:
                self.written.follow(worker)
        await self._converse(channel, peer, hello)

    # -- what clients say -------------------------------------------------------------------------------------------

    def _client_said(self, client: ClientPeer, message: ClientMessage, frames: Sequence[memoryview]) -> None:
        if client.last_asked and self._asked_again(client, message):
            return
        match message:
            case Submit():
                self._submit(client, message, frames)
            case AppendArguments(key, start):
                stop = self.layers.extend(key, start, frames)
                if stop:
                    self.event(ArgumentsArrived(key, stop))
            case ReleaseResults(spans):
                self.event(Released(client.id, spans))
            case CancelTasks(spans):
                self.event(CancelRequested(client.id, spans))
            case FetchFailed(holder, spans):
                self.event(ResultsMissing(client.id, holder, spans))
            case WhoHas(number, spans):
                held = [[list(part) for part in self.state.holder_of(span)] for span in spans]
                client.session.send(Response(number, [[[p[0][1], p[0][2], p[1]] for p in parts] for parts in held]))
            case Query():
                client.session.send(answer(self, client, message, owner=False))
            case CoordinationCall():
                self.coordination.called(client, message)
            case Bye():
                self.client_left(client)

    def _asked_again(self, client: ClientPeer, message: ClientMessage) -> bool:
        """Whether this is known from before the scheduler was started again: answered then, or it is being waited for
        (or the answer has just been sent)."""
        if not isinstance(message, Query | CoordinationCall) or not 0 < message.id <= client.last_asked or self.hearing:
            return False
        known = client.replies.pop(message.id, None)
        if known is not None:
            client.session.send(known)
        return known is not None or is_changing(message)

    def _owner_said(self, owner: ClientPeer, message: ClientMessage, frames: Sequence[memoryview]) -> None:
        if owner.last_asked and self._asked_again(owner, message):
            return
        if isinstance(message, Query):
            owner.session.send(answer(self, owner, message, owner=True))
        elif isinstance(message, Bye):
            self.client_left(owner)

    def _submit(self, client: ClientPeer, message: Submit, frames: Sequence[memoryview]) -> None:
        try:
            new = self.layers.add(message.layers, frames)
        except HowdahError as error:
            for span in message.wanted:
                client.session.send(TasksErred(span, TaskError("invalid", str(error)), span))
            return
        for span in message.wanted:
            self.inline.add(span.layer)
        self.event(GraphSubmitted(client.id, message.layers, message.wanted, message.priority))
        for key in new:
            if key not in self.state.core.layers:
                self.layers.forget(key)

    def wanted(self, client: str, layers: tuple[LayerSpec, ...], spans: tuple[TaskRange, ...]) -> None:
        """The client wants these results, of layers that are known."""
        self.inline.update(span.layer for span in spans)
        self.event(GraphSubmitted(client, layers, spans))

    def client_left(self, client: ClientPeer) -> None:
        """A client or owner has gone for good."""
        self.drop(client)
        self.owners.pop(client.session.id, None)
        if self.written is not None:
            self.written.client_left(client)
        if self.clients.get(client.id) is client:
            del self.clients[client.id]
            if not client.worker:
                self.last_client = time.time()
            self.coordination.gone(client.id)
            self.event(ClientLeft(client.id))

    def drop(self, peer: Peer) -> None:
        self.sessions.pop(peer.session.id, None)
        peer.session.close()

    # -- for the owner of the cluster, on the loop's thread -----------------------------------------------------------

    def worker_lost(self, name: str, reason: str) -> bool:
        """The process of the worker with this name (or container) has ended; `reason` is shown to people."""
        for worker in list(self.workers.values()):
            if worker.info is not None and name in (worker.info.name, worker.info.container):
                server_workers.left(self, worker, reason)
                return True
        if self.written is not None and name in self.written.missing(self.workers):
            server_workers.went(self, name, reason)  # it has not come back to a scheduler that was started again
            return True
        return False

    def retire(self, names: Sequence[str]) -> list[str]:
        """Ask these workers to go; returns those that were there."""
        found = [self.workers[name] for name in names if name in self.workers]
        for worker in found:
            worker.session.send(Leave("the cluster was made smaller", RETIRE_GRACE))
        return [worker.name for worker in found]
