"""The scheduler's server: messages become events, instructions become messages. It decides nothing (`State` does).

It keeps what the state must not know: sessions, leases, addresses, and the opaque frames of layers. It never unpickles
a user's bytes. Everything happens on one event loop's thread; the local cluster runs it in the client's process.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Sequence
from typing import Any

from howdah.engine.comm.frames import Channel
from howdah.engine.comm.identity import Role, Security
from howdah.engine.comm.joining import Registrar, answer_request
from howdah.engine.comm.messages import (
    Answer,
    Arguments,
    Ask,
    Bye,
    Cancel,
    ClientSays,
    Coordinate,
    Copied,
    Failed,
    Free,
    Health,
    Hello,
    Introduce,
    Leave,
    Lost,
    Recall,
    Release,
    RunBlocked,
    RunCut,
    RunFinished,
    SlotsNow,
    Stuck,
    Submit,
    Unfetched,
    Welcome,
    WhoHas,
    WorkerSays,
)
from howdah.engine.comm.session import Session, decoder_of
from howdah.engine.comm.transport import Listener, send_greeting
from howdah.engine.coordination.hook import Hook
from howdah.engine.graph.layer import Key, Span
from howdah.engine.observe.history import Note
from howdah.engine.scheduler.records import (
    ArgumentsArrived,
    CancelRequested,
    ClientJoined,
    ClientLeft,
    CopiesMade,
    Event,
    ForgetLayer,
    FreeSpans,
    GraphSubmitted,
    Instruction,
    LayerSpec,
    RecallRun,
    Released,
    ResultsMissing,
    RunDone,
    SlotsChanged,
    StartRun,
    TaskError,
    TellDone,
    TellFailed,
    TellLost,
    TellStuck,
    Tick,
    WorkerJoined,
    WorkerLeft,
)
from howdah.engine.scheduler.server_layers import LayerFrames
from howdah.engine.scheduler.server_peers import ClientPeer, Inline, Peer, WorkerPeer
from howdah.engine.scheduler.server_questions import answer
from howdah.engine.scheduler.server_requests import ended, send_files
from howdah.engine.scheduler.state import State
from howdah.errors import HowdahError, PeerRefused

log = logging.getLogger(__name__)

BEAT = 0.5
"""Seconds between looks at leases and heartbeats."""

SILENCE = 15.0
"""A peer that is connected and says nothing for so long is taken to be cut off: its connection is ended."""


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
    """

    def __init__(
        self,
        security: Security | None = None,
        name: str = "howdah",
        lease: float = 60.0,
        worker_lease: float = 8.0,
        speculation: bool = False,
    ) -> None:
        self.name, self.security, self.lease, self.worker_lease = name, security, lease, worker_lease
        self.state = State(speculation)
        self.layers = LayerFrames()
        self.coordination = Hook(self)
        self.files: dict[str, bytes] = {}
        """Uploaded by users, for every worker."""
        self.epoch = secrets.token_hex(8)
        self.clients: dict[str, ClientPeer] = {}
        self.owners: dict[str, ClientPeer] = {}
        self.workers: dict[str, WorkerPeer] = {}
        self.cleanup: dict[str, None] = {}
        self.first_task: float | None = None
        self.last_client = time.time()
        self.started = time.time()
        self._clock_offset = time.time() - time.monotonic()
        self.failure = ""
        self.failed = asyncio.Event()
        self._sessions: dict[str, Peer] = {}
        self._runs: dict[tuple[int, int], Span] = {}
        self._wanted: set[Key] = set()
        self._client_decoder = decoder_of(ClientSays)
        self._worker_decoder = decoder_of(WorkerSays)
        self._wake: asyncio.TimerHandle | None = None
        self._beating: asyncio.Task[None] | None = None
        self.listener = Listener(
            {"client": self._on_client, "owner": self._on_owner, "worker": self._on_worker}, security, name
        )
        if security is not None:
            self.registrar = Registrar.load(security.directory)
            self.listener.handlers["join"] = self._on_join

    # -- life -----------------------------------------------------------------------------------------------------

    def open(self, address: str) -> str:
        """Begin to serve at `address`; returns the address that others can use. On the loop's thread."""
        opened = self.listener.open(address)
        self._beating = asyncio.ensure_future(self._beat())
        return opened

    async def close(self, reason: str = "the cluster was closed") -> None:
        """Tell everybody to go and stop."""
        if self._beating is not None and self._beating is not asyncio.current_task():
            self._beating.cancel()
        farewells = [w.session.farewell(Leave(reason)) for w in self.workers.values()]
        farewells += [c.session.farewell(Bye(reason)) for c in (*self.clients.values(), *self.owners.values())]
        await asyncio.gather(*farewells, return_exceptions=True)
        self.listener.close()

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(BEAT)
            now = time.monotonic()
            for peer in list(self._sessions.values()):
                peer.session.beat(now, 2 * BEAT, max(SILENCE, peer.lease))
                if peer.overdue(now):
                    self._give_up(peer)
            self.event(Tick())

    def _broken(self, error: Exception) -> None:
        """The state is not what it should be: end everything, and say so to everybody who waits."""
        self.failure = f"an error of howdah's own in the scheduler: {type(error).__name__}: {error}"
        log.critical("%s", self.failure, exc_info=error)
        self.failed.set()
        self._closing = asyncio.ensure_future(self.close(self.failure))

    def _give_up(self, peer: Peer) -> None:
        if isinstance(peer, WorkerPeer):
            self._worker_left(peer, f"its connection was lost and did not come back within {peer.lease:.0f} s")
        elif isinstance(peer, ClientPeer):
            log.info("client %s did not come back within its lease of %.0f s", peer.id, peer.lease)
            self._client_left(peer)

    # -- events and instructions ------------------------------------------------------------------------------------

    def event(self, event: Event, inline: Inline | None = None) -> None:
        """Let the state handle `event` and do what it says."""
        if self.failure:
            return
        try:
            for instruction in self.state.handle(event, time.monotonic()):
                self._follow(instruction, inline)
        except Exception as error:  # noqa: BLE001  # a fault of howdah's own: all waits end, before one hangs
            self._broken(error)
            return
        wake = self.state.wake_at
        if self._wake is not None:
            self._wake.cancel()
            self._wake = None
        if wake is not None:
            delay = wake - time.monotonic()
            if delay < BEAT:
                self._wake = asyncio.get_running_loop().call_later(max(delay, 0.01), self.event, Tick())

    def _follow(self, instruction: Instruction, inline: Inline | None) -> None:
        match instruction:
            case StartRun():
                self._start(instruction)
            case TellDone(name, span, holder):
                client = self.clients.get(name)
                ended(self, name, span)
                if client is not None:
                    # Only what the report brought is inline; a result of another run is fetched from its holder.
                    mine = inline if inline is not None and inline.covers(span) else None
                    client.tell_done(span, holder, self.address_of(holder), mine)
            case FreeSpans(name, spans):
                worker = self.workers.get(name)
                if worker is not None:
                    worker.session.send(Free(spans))
            case TellFailed(name, span, error, origin):
                ended(self, name, span)
                client = self.clients.get(name)
                if client is not None:
                    client.session.send(Failed(span, error, origin))
            case TellStuck(name, span, reason):
                client = self.clients.get(name)
                if client is not None:
                    log.warning("%s", reason)
                    client.session.send(Stuck(span, reason))
            case TellLost(name, span):
                client = self.clients.get(name)
                if client is not None:
                    client.session.send(Lost(span))
            case RecallRun(name, run, attempt):
                worker = self.workers.get(name)
                if worker is not None:
                    worker.session.send(Recall(run, attempt))
            case ForgetLayer(key):
                self.layers.forget(key)
                self._wanted.discard(key)
                for worker in self.workers.values():
                    worker.forget(key)

    def _start(self, run: StartRun) -> None:
        if self.first_task is None:
            self.first_task = time.time()
        worker = self.workers.get(run.worker)
        if worker is None:
            return  # its WorkerLeft is on its way into the state
        self._runs[run.run, run.attempt] = run.span
        worker.start(run, self.layers, run.span.layer in self._wanted, self.address_of)

    def history_entry(self, note: Note) -> dict[str, Any]:
        """A note of the state's history for people: the time of day in place of the state's clock."""
        return note.to_dict() | {"at": note.at + self._clock_offset}

    def address_of(self, worker: str) -> str:
        """Where the worker's data server is; '' when it is not known."""
        peer = self.workers.get(worker)
        return peer.info.address if peer is not None and peer.info is not None else ""

    # -- connections ------------------------------------------------------------------------------------------------

    async def _on_join(self, channel: Channel, role: Role, hello: Hello) -> None:
        await answer_request(channel, self.registrar)

    def _known(self, hello: Hello, role: Role) -> Peer | None:
        peer = self._sessions.get(hello.session) if hello.session else None
        if peer is not None and (peer.role != role or peer.name != hello.name):
            raise PeerRefused(f"session {hello.session} is not that of {hello.purpose} {hello.name!r}")
        return peer

    async def _converse(self, channel: Channel, peer: Peer, hello: Hello) -> None:
        resumed = peer.session.id == hello.session
        details = {"epoch": self.epoch}
        await send_greeting(channel, Welcome(peer.session.id, self.name, resumed, peer.session.received, details))
        try:
            await peer.session.run(channel, hello.received if resumed else 0)
        except HowdahError as error:
            log.error("%s %s is dropped: %s", peer.purpose, peer.name, error)
            if isinstance(peer, WorkerPeer):
                self._worker_left(peer, str(error))
            elif isinstance(peer, ClientPeer):
                self._client_left(peer)

    async def _on_client(self, channel: Channel, role: Role, hello: Hello) -> None:
        peer = self._known(hello, role)
        if peer is None:
            session: Session[ClientSays] = Session(
                secrets.token_hex(16), self._client_decoder, lambda m, f: self._client_said(client, m, f), hello.name
            )
            client = peer = ClientPeer(role, hello, session, hello.lease or self.lease)
            self._sessions[session.id] = client
            self.clients[client.id] = client
            self.event(ClientJoined(client.id))
        await self._converse(channel, peer, hello)

    async def _on_owner(self, channel: Channel, role: Role, hello: Hello) -> None:
        peer = self._known(hello, role)
        if peer is None:
            session: Session[ClientSays] = Session(
                secrets.token_hex(16), self._client_decoder, lambda m, f: self._owner_said(owner, m), hello.name
            )
            owner = peer = ClientPeer(role, hello, session, self.lease)
            self._sessions[session.id] = owner
            self.owners[session.id] = owner
        await self._converse(channel, peer, hello)

    async def _on_worker(self, channel: Channel, role: Role, hello: Hello) -> None:
        peer = self._known(hello, role)
        if peer is None:
            session: Session[WorkerSays] = Session(
                secrets.token_hex(16), self._worker_decoder, lambda m, f: self._worker_said(worker, m, f), hello.name
            )
            worker = peer = WorkerPeer(role, hello, session, self.worker_lease)
            self._sessions[session.id] = worker
        await self._converse(channel, peer, hello)

    # -- what clients say -------------------------------------------------------------------------------------------

    def _client_said(self, client: ClientPeer, message: ClientSays, frames: Sequence[memoryview]) -> None:
        match message:
            case Submit():
                self._submit(client, message, frames)
            case Arguments(key, start):
                stop = self.layers.extend(key, start, frames)
                if stop:
                    self.event(ArgumentsArrived(key, stop))
            case Release(spans):
                self.event(Released(client.id, spans))
            case Cancel(spans):
                self.event(CancelRequested(client.id, spans))
            case Unfetched(holder, spans):
                self.event(ResultsMissing(client.id, holder, spans))
            case WhoHas(number, spans):
                held = [[list(part) for part in self.state.holder_of(span)] for span in spans]
                client.session.send(Answer(number, [[[p[0][1], p[0][2], p[1]] for p in parts] for parts in held]))
            case Ask():
                client.session.send(answer(self, client, message, owner=False))
            case Coordinate():
                self.coordination.called(client, message)
            case Bye():
                self._client_left(client)

    def _owner_said(self, owner: ClientPeer, message: ClientSays) -> None:
        if isinstance(message, Ask):
            owner.session.send(answer(self, owner, message, owner=True))
        elif isinstance(message, Bye):
            self._drop(owner)
            self.owners.pop(owner.session.id, None)

    def _submit(self, client: ClientPeer, message: Submit, frames: Sequence[memoryview]) -> None:
        try:
            new = self.layers.add(message.layers, frames)
        except HowdahError as error:
            for span in message.wanted:
                client.session.send(Failed(span, TaskError("invalid", str(error)), span))
            return
        self._wanted.update(span.layer for span in message.wanted)
        self.event(GraphSubmitted(client.id, message.layers, message.wanted, message.priority))
        for key in new:
            if key not in self.state.core.books:
                self.layers.forget(key)

    def wanted(self, client: str, layers: tuple[LayerSpec, ...], spans: tuple[Span, ...]) -> None:
        """The client wants these results, of layers that are known."""
        self._wanted.update(span.layer for span in spans)
        self.event(GraphSubmitted(client, layers, spans))

    def _client_left(self, client: ClientPeer) -> None:
        self._drop(client)
        if self.clients.get(client.id) is client:
            del self.clients[client.id]
            if not client.worker:
                self.last_client = time.time()
            self.coordination.gone(client.id)
            self.event(ClientLeft(client.id))

    def _drop(self, peer: Peer) -> None:
        self._sessions.pop(peer.session.id, None)
        peer.session.close()

    # -- what workers say -------------------------------------------------------------------------------------------

    def _worker_said(self, worker: WorkerPeer, message: WorkerSays, frames: Sequence[memoryview]) -> None:
        match message:
            case RunFinished(report):
                self._run_finished(worker, report, frames)
            case RunBlocked(report):
                self._runs.pop((report.run, report.attempt), None)
                self.event(_by(worker, report))
                self.coordination.begun.lost()
            case RunCut(report):
                self.coordination.begun.cut(report.run, report.attempt, report.start)
                self.event(_by(worker, report))
            case Copied(spans):
                self.event(CopiesMade(worker.name, spans))
            case SlotsNow(slots):
                self.event(SlotsChanged(worker.name, slots))
            case Health():
                worker.health = message
            case Introduce():
                self._introduced(worker, message)
            case Bye(reason):
                self._worker_left(worker, reason, clean=True)

    def _introduced(self, worker: WorkerPeer, message: Introduce) -> None:
        info = message.worker
        if info.name != worker.name or (worker.role.name and worker.role.name not in (info.container, info.name)):
            raise PeerRefused(f"{worker.role.uri} introduced itself as {info.name!r} of {info.container!r}")
        earlier = self.workers.get(info.name)
        if earlier is not None and earlier is not worker:
            self._drop(earlier)
        worker.info = info
        self.workers[info.name] = worker
        log.info("worker %s on %s with %d slots at %s", info.name, info.host, info.slots, info.address)
        send_files(self, worker, list(self.files))
        self.event(WorkerJoined(info, message.holdings, message.running))

    def _run_finished(self, worker: WorkerPeer, report: RunDone, frames: Sequence[memoryview]) -> None:
        span = self._runs.pop((report.run, report.attempt), None)
        inline = Inline(span, frames) if span is not None and len(frames) == 2 else None
        self.coordination.begun.finished(report.run, report.attempt)
        self.event(_by(worker, report), inline)

    def _worker_left(self, worker: WorkerPeer, reason: str, clean: bool = False) -> None:
        self._drop(worker)
        if self.workers.get(worker.name) is worker:
            del self.workers[worker.name]
            log.info("worker %s left: %s", worker.name, reason)
            for client in [client for client in self.clients.values() if client.worker == worker.name]:
                self._client_left(client)  # its tasks' own
            self.event(WorkerLeft(worker.name, reason, clean))
            self.coordination.begun.lost()

    # -- for the owner of the cluster, on the loop's thread -----------------------------------------------------------

    def worker_lost(self, name: str, reason: str) -> bool:
        """The process of the worker with this name (or container) has ended; `reason` is shown to people."""
        for worker in list(self.workers.values()):
            if worker.info is not None and name in (worker.info.name, worker.info.container):
                self._worker_left(worker, reason)
                return True
        return False

    def retire(self, names: Sequence[str]) -> list[str]:
        """Ask these workers to go; returns those that were there."""
        found = [self.workers[name] for name in names if name in self.workers]
        for worker in found:
            worker.session.send(Leave("the cluster was made smaller"))
        return [worker.name for worker in found]


def _by(worker: WorkerPeer, report: Any) -> Any:
    """The report, if it is in the worker's own name."""
    if report.worker != worker.name:
        raise PeerRefused(f"worker {worker.name} reported in the name of {report.worker}")
    return report
