"""What it means that a client or worker leaves: the session ends, and every part that depends on the peer continues.

Called by the handlers of messages, by `connections`, by the server's heartbeat and by the cluster's owner.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

from howdah.engine.protocol.events import ClientLeft, WorkerLeft
from howdah.engine.protocol.messages import Leave, WorkerGone
from howdah.engine.scheduler.server.context import ServerContext
from howdah.engine.scheduler.server.coordination import CoordinationServer
from howdah.engine.scheduler.server.draining import Drains
from howdah.engine.scheduler.server.sessions import ClientPeer, Peer, Peers, WorkerPeer
from howdah.engine.scheduler.server.task_cancellation import TaskCancellation

log = logging.getLogger(__name__)

RETIRE_GRACE = 10.0
"""Seconds in which a worker that is retired finishes its batches, and others copy the results that it alone holds."""


class Membership:
    """Removal of one server's clients and workers."""

    def __init__(
        self,
        context: ServerContext,
        peers: Peers,
        coordination: CoordinationServer,
        cancellation: TaskCancellation,
        drains: Drains,
    ) -> None:
        self._context, self._peers = context, peers
        self._coordination, self._cancellation, self._drains = coordination, cancellation, drains

    def on_client_left(self, client: ClientPeer) -> None:
        """Remove a client or owner for good; the scheduler releases what only this client needs."""
        peers = self._peers
        peers.end_session(client)
        peers.owners.pop(client.session.id, None)
        self._context.journal.record_session_closed(client)
        if peers.clients.get(client.id) is client:
            del peers.clients[client.id]
            if not client.worker:
                peers.last_client_left = time.time()
            self._coordination.on_client_left(client.id)
            self._context.handle(ClientLeft(client.id))

    def on_worker_left(self, worker: WorkerPeer, reason: str, *, clean: bool = False) -> None:
        """Remove a worker for good; its batches run elsewhere, its results are computed again if they are needed.

        `clean`: the worker left by itself, so its end counts against none of its tasks.
        """
        peers = self._peers
        peers.end_session(worker)
        if peers.workers.get(worker.name) is not worker:
            return
        del peers.workers[worker.name]
        self._drains.before_worker_left(worker.name)
        self.on_worker_missing(worker.name, reason, clean=clean)
        self._drains.on_progress()  # the worker may have had copies for another that is leaving
        if worker.info is not None:
            for peer in (*peers.workers.values(), *peers.clients.values()):
                peer.session.send(WorkerGone(worker.info.address))

    def on_worker_missing(self, name: str, reason: str, *, clean: bool = False) -> None:
        """The same for a worker that may have been connected to this server's predecessor only."""
        log.info("worker %s left: %s", name, reason)
        self._context.journal.record_worker_left(name)
        for client in [client for client in self._peers.clients.values() if client.worker == name]:
            self.on_client_left(client)  # the client that its tasks use
        self._context.handle(WorkerLeft(name, reason, clean))
        self._cancellation.on_batches_lost()

    def on_lease_expired(self, peer: Peer) -> None:
        """Remove a peer whose connection was lost and did not return in time."""
        if isinstance(peer, WorkerPeer):
            self.on_worker_left(peer, f"its connection was lost and did not return within {peer.lease:.0f} s")
        elif isinstance(peer, ClientPeer):
            log.info("client %s did not return within its lease of %.0f s", peer.id, peer.lease)
            self.on_client_left(peer)

    def on_process_ended(self, client: ClientPeer, process: int) -> None:
        """Remove a client of this machine whose process has ended without a goodbye: it cannot return."""
        if self._peers.sessions.get(client.session.id) is client:
            log.info("client %s is gone: its process %d has ended", client.id, process)
            self.on_client_left(client)

    def on_error(self, peer: Peer, reason: str) -> None:
        """Remove a peer that sent what it may not send."""
        log.error("%s %s is removed: %s", peer.purpose, peer.name, reason)
        if isinstance(peer, WorkerPeer):
            self.on_worker_left(peer, reason)
        elif isinstance(peer, ClientPeer):
            self.on_client_left(peer)

    # -- for the owner of the cluster ---------------------------------------------------------------------------------

    def on_worker_process_ended(self, name: str, reason: str) -> bool:
        """The process of the worker with this name (or container) has ended; False if there is no such worker."""
        for worker in list(self._peers.workers.values()):
            if worker.info is not None and name in (worker.info.name, worker.info.container):
                self.on_worker_left(worker, reason)
                return True
        if name in self._context.journal.missing_workers(self._peers.workers):
            self.on_worker_missing(name, reason)  # it has not reconnected since the restart
            return True
        return False

    def retire(self, names: Sequence[str]) -> list[str]:
        """Ask these workers to leave; return those that are connected."""
        found = [name for name in names if name in self._peers.workers]
        for name in found:
            self._context.send_to_worker(name, Leave("the cluster was made smaller", RETIRE_GRACE))
        return found
