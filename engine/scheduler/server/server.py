"""The scheduler's server: composes its parts, and runs them from `open` to `close`.

The pure scheduler (`core`) decides; the parts hold what it does not depend on: sessions, leases, addresses, and the
opaque frames of layers. No part unpickles a user's bytes. Everything happens on one event loop's thread; a local
cluster runs it in the client's process. Used by `__main__` and by `engine/deploy`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from howdah.engine.comm.security.certificates import Security
from howdah.engine.protocol.messages import Bye, Leave
from howdah.engine.scheduler.core.scheduler import Scheduler
from howdah.engine.scheduler.server.client_messages import ClientMessages
from howdah.engine.scheduler.server.commands import Commands
from howdah.engine.scheduler.server.connections import Connections
from howdah.engine.scheduler.server.coordination import CoordinationServer
from howdah.engine.scheduler.server.draining import Drains
from howdah.engine.scheduler.server.journal import Journal
from howdah.engine.scheduler.server.journal_writer import JournalWriter, same_port
from howdah.engine.scheduler.server.layer_store import LayerStore
from howdah.engine.scheduler.server.membership import Membership
from howdah.engine.scheduler.server.metrics import Metrics
from howdah.engine.scheduler.server.queries import Queries
from howdah.engine.scheduler.server.reactor import HEARTBEAT, Reactor
from howdah.engine.scheduler.server.restart import LEAST_COMPACTED, Restart
from howdah.engine.scheduler.server.sessions import Peer, Peers
from howdah.engine.scheduler.server.task_cancellation import TaskCancellation
from howdah.engine.scheduler.server.worker_messages import WorkerMessages

SILENCE = 15.0
"""Seconds after which a connection on which nothing arrives is closed. Fewer with a short lease, more with a longer
one: a worker sends nothing during a call that holds the interpreter lock."""


class Server:
    """One scheduler.

    Parameters
    ----------
    security : of the scheduler's role; None over Unix sockets.
    name : the cluster's name.
    lease : seconds for which a client may be without a connection before its work is released.
    worker_lease : seconds for which a worker may be, before its results are computed again. The owner of the cluster,
        who sees its processes, can report its end sooner (`on_worker_process_ended`).
    speculation : see `Scheduler`.
    journal : records what a restarted server needs; None: a restart begins with nothing.
    least_compacted : bytes below which the journal is not compacted.
    """

    def __init__(
        self,
        security: Security | None = None,
        name: str = "howdah",
        lease: float = 60.0,
        worker_lease: float = 8.0,
        speculation: bool = False,
        journal: Journal | None = None,
        least_compacted: int = LEAST_COMPACTED,
    ) -> None:
        self.name = name
        self.scheduler = Scheduler(speculation)
        self.peers = Peers()
        self.workers = self.peers.workers
        """The workers by name, for the owner of the cluster."""
        self.failure = ""
        """Why the server has closed itself; '' while it works."""
        self.failed = asyncio.Event()
        self._worker_lease = worker_lease
        self._layers = LayerStore()
        self._journal = JournalWriter(journal)
        self._awaits_workers = journal is not None
        self._reactor = context = Reactor(self.scheduler, self.peers, self._layers, self._journal, self._on_failure)
        self.coordination = CoordinationServer(context, self._layers)
        cancellation = TaskCancellation(context, self.peers)
        drains = Drains(context, self.peers)
        self.membership = Membership(context, self.peers, self.coordination, cancellation, drains)
        commands = Commands(context, self.peers, self._layers)
        self.queries = Queries(
            name, context, self.peers, self._layers, commands, self.coordination, drains, self.membership
        )
        self.metrics = Metrics(context, self.peers, self._layers, self.queries.started)
        self._connections = Connections(
            name,
            security,
            lease,
            worker_lease,
            context,
            self.peers,
            self.membership,
            ClientMessages(context, self._layers, self.membership, self.queries, self.coordination, cancellation),
            WorkerMessages(context, self.peers, self.membership, commands, cancellation, drains),
        )
        self._restart = Restart(
            context,
            self.peers,
            self._layers,
            commands,
            self.coordination,
            self.membership,
            self._connections,
            least_compacted,
        )
        self._heartbeat: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None

    @property
    def address(self) -> str:
        """The address that peers can use; '' before `open`."""
        return self._connections.address

    def open(self, address: str) -> str:
        """Replay the journal, begin to serve at `address`, and return the address that peers can use.

        Raises HowdahError for a journal that cannot be read.
        """
        self._restart.replay(self._worker_lease)
        opened = self._connections.open(same_port(address, self._journal.address))
        self.queries.address = opened
        self._journal.record_restart(opened)
        self._heartbeat = asyncio.ensure_future(self._beat())
        return opened

    async def close(self, reason: str = "the cluster was closed") -> None:
        """Send `reason` to all peers, end their sessions, and delete the journal unless the server has failed."""
        if self._heartbeat is not None and self._heartbeat is not asyncio.current_task():
            self._heartbeat.cancel()
        peers = self.peers
        sent = [worker.session.close_with(Leave(reason)) for worker in peers.workers.values()]
        sent += [client.session.close_with(Bye(reason)) for client in (*peers.clients.values(), *peers.owners.values())]
        await asyncio.gather(*sent, return_exceptions=True)
        self._connections.close()
        self._journal.close(delete=not self.failure)

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT)
            now = time.monotonic()
            for peer in list(self.peers.sessions.values()):
                self._check(peer, now)
            self._reactor.on_heartbeat()
            self._restart.on_heartbeat()
            if self._awaits_workers and not self.scheduler.views.awaits_workers:
                self._awaits_workers = False
                for name in self._journal.missing_workers(self.peers.workers):
                    reason = f"it did not return within {self._worker_lease:.0f} s of a restart"
                    self.membership.on_worker_missing(name, reason)

    def _check(self, peer: Peer, now: float) -> None:
        peer.session.heartbeat(now, 2 * HEARTBEAT, max(peer.lease, min(SILENCE, 2 * peer.lease + 2.0)))
        if peer.lease_expired(now):
            self.membership.on_lease_expired(peer)

    def _on_failure(self, reason: str) -> None:
        """The scheduler cannot go on: close, and send the reason to all who wait."""
        self.failure = reason
        self.failed.set()
        self._closing = asyncio.ensure_future(self.close(reason))

    # -- for the owner of the cluster, on the loop's thread ---------------------------------------------------------

    def worker_lost(self, name: str, reason: str) -> bool:
        """The process of the worker with this name (or container) has ended; `reason` is shown to users."""
        return self.membership.on_worker_process_ended(name, reason)

    def retire(self, names: Sequence[str]) -> list[str]:
        """Ask these workers to leave; return those that are connected."""
        return self.membership.retire(names)
