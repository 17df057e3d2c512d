"""The server's listening side: admits clients, owners and workers, and resumes their sessions.

One connection is one call of `on_client`, `on_owner`, `on_worker` or `on_join`, which returns when it ends; a session
outlives its connections until its lease expires (`membership`).
"""

from __future__ import annotations

import secrets
from functools import partial

from howdah.engine.comm.connection.channel import Channel
from howdah.engine.comm.connection.connect import Handler, Listener, send_greeting
from howdah.engine.comm.connection.enrollment import Registrar, answer_request
from howdah.engine.comm.connection.peer_process import has_ended, process_of
from howdah.engine.comm.connection.session import Session, decoder_of
from howdah.engine.comm.data.relay import Relay
from howdah.engine.comm.security.certificates import Role, Security
from howdah.engine.protocol.events import ClientJoined, ClientReturned
from howdah.engine.protocol.messages import ClientMessage, Hello, Welcome, WorkerMessage
from howdah.engine.scheduler.server.client_messages import ClientMessages
from howdah.engine.scheduler.server.context import ServerContext
from howdah.engine.scheduler.server.membership import Membership
from howdah.engine.scheduler.server.sessions import ClientPeer, Peer, Peers, WorkerPeer
from howdah.engine.scheduler.server.worker_messages import WorkerMessages
from howdah.errors import HowdahError, PeerRefused


class Connections:
    """The listener of one server and its handlers.

    Parameters
    ----------
    name : the cluster's name.
    security : of the scheduler's role; None over Unix sockets.
    lease, worker_lease : seconds for which a client, or a worker, may be without a connection. A client may state its
        own.
    """

    def __init__(
        self,
        name: str,
        security: Security | None,
        lease: float,
        worker_lease: float,
        context: ServerContext,
        peers: Peers,
        membership: Membership,
        client_messages: ClientMessages,
        worker_messages: WorkerMessages,
    ) -> None:
        self._name, self._lease, self._worker_lease = name, lease, worker_lease
        self._context, self._peers, self._membership = context, peers, membership
        self._client_messages, self._worker_messages = client_messages, worker_messages
        self._client_decoder = decoder_of(ClientMessage)
        self._worker_decoder = decoder_of(WorkerMessage)
        self._relay = Relay(security, self._is_worker)
        handlers: dict[str, Handler] = {"client": self.on_client, "owner": self.on_owner, "worker": self.on_worker}
        self._listener = Listener({**handlers, "relay": self._relay.serve}, security, name)
        self.registrar: Registrar | None = None
        """Issues certificates to workers; None over Unix sockets."""
        if security is not None:
            self.registrar = Registrar.load(security.directory)
            self._listener.handlers["join"] = self.on_join

    @property
    def address(self) -> str:
        """The address that peers can use; '' before `open`."""
        return self._listener.address

    def open(self, address: str) -> str:
        """Begin to accept connections at `address`; return the address that peers can use."""
        return self._listener.open(address)

    def close(self) -> None:
        """End all connections."""
        self._listener.close()
        self._relay.close()

    def _is_worker(self, address: str) -> bool:
        """Whether a connected worker serves its results at `address`."""
        return any(
            worker.info is not None and worker.info.address == address for worker in self._peers.workers.values()
        )

    async def on_join(self, channel: Channel, role: Role, hello: Hello) -> None:
        """A worker without a certificate requests one."""
        assert self.registrar is not None
        await answer_request(channel, self.registrar)

    async def on_client(self, channel: Channel, role: Role, hello: Hello) -> None:
        """A client connects."""
        await self._serve(channel, self._known(hello, role) or self.admit_client(role, hello), hello)

    async def on_owner(self, channel: Channel, role: Role, hello: Hello) -> None:
        """An owner of the cluster connects."""
        await self._serve(channel, self._known(hello, role) or self.admit_client(role, hello), hello)

    async def on_worker(self, channel: Channel, role: Role, hello: Hello) -> None:
        """A worker connects."""
        await self._serve(channel, self._known(hello, role) or self._admit_worker(role, hello), hello)

    def admit_client(self, role: Role, hello: Hello, session_id: str = "") -> ClientPeer:
        """Open a session for a client or owner; `session_id` names one that a previous server opened."""
        is_owner = hello.purpose == "owner"
        handler = self._client_messages.on_owner_message if is_owner else self._client_messages.on_message

        def open_session(peer: ClientPeer) -> Session[ClientMessage]:
            name = session_id or secrets.token_hex(16)
            return Session(name, self._client_decoder, partial(handler, peer), hello.name)

        peer = ClientPeer(role, hello, open_session, hello.lease or self._lease)
        self._peers.sessions[peer.session.id] = peer
        self._context.journal.record_session(peer)
        self._context.journal.follow(peer)
        if is_owner:
            self._peers.owners[peer.session.id] = peer
        else:
            self._peers.clients[peer.id] = peer
            self._context.handle(ClientJoined(peer.id))
        return peer

    def _admit_worker(self, role: Role, hello: Hello) -> WorkerPeer:
        handler = self._worker_messages.on_message

        def open_session(peer: WorkerPeer) -> Session[WorkerMessage]:
            return Session(secrets.token_hex(16), self._worker_decoder, partial(handler, peer), hello.name)

        peer = WorkerPeer(role, hello, open_session, self._worker_lease)
        self._peers.sessions[peer.session.id] = peer
        self._context.journal.follow(peer)
        return peer

    def _known(self, hello: Hello, role: Role) -> Peer | None:
        peer = self._peers.sessions.get(hello.session) if hello.session else None
        if peer is not None and (peer.role != role or peer.name != hello.name):
            raise PeerRefused(f"session {hello.session} is not that of {hello.purpose} {hello.name!r}")
        return peer

    async def _serve(self, channel: Channel, peer: Peer, hello: Hello) -> None:
        """Go on with the peer's session over this connection."""
        session, process = peer.session, process_of(channel)
        resumed = session.id == hello.session
        if session.suspended:
            session.resume(hello.received)
            if isinstance(peer, ClientPeer) and self._peers.clients.get(peer.id) is peer:
                self._context.handle(ClientReturned(peer.id))
        details = {"epoch": self._context.journal.server_id}
        await send_greeting(channel, Welcome(session.id, self._name, resumed, session.acknowledgeable(), details))
        try:
            await session.run(channel, hello.received if resumed else 0)
        except HowdahError as error:
            self._membership.on_error(peer, str(error))
            return
        if isinstance(peer, ClientPeer) and process and session.disconnected_since is not None:
            lost = session.disconnected_since
            known = self._peers.sessions.get(session.id) is peer  # not after its goodbye
            if known and await has_ended(process) and session.disconnected_since == lost:
                self._membership.on_process_ended(peer, process)
