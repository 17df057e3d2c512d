"""Handlers of the messages that clients and owners send.

Called for each message of their sessions. Each becomes an event of the scheduler, a call of a coordination primitive,
or a request with an answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from howdah.engine.protocol.events import (
    ArgumentsArrived,
    CancelRequested,
    GraphSubmitted,
    Released,
    ResultsMissing,
    TaskError,
)
from howdah.engine.protocol.messages import (
    AppendArguments,
    Bye,
    CancelTasks,
    ClientMessage,
    CoordinationCall,
    FetchFailed,
    Query,
    ReleaseResults,
    Response,
    Submit,
    TasksErred,
    WhoHas,
)
from howdah.engine.scheduler.server.context import ServerContext
from howdah.engine.scheduler.server.coordination import CoordinationServer
from howdah.engine.scheduler.server.journal_records import is_changing
from howdah.engine.scheduler.server.layer_store import LayerStore
from howdah.engine.scheduler.server.membership import Membership
from howdah.engine.scheduler.server.queries import Queries
from howdah.engine.scheduler.server.sessions import ClientPeer
from howdah.engine.scheduler.server.task_cancellation import TaskCancellation
from howdah.errors import HowdahError


class ClientMessages:
    """The handlers of one server."""

    def __init__(
        self,
        context: ServerContext,
        layers: LayerStore,
        membership: Membership,
        queries: Queries,
        coordination: CoordinationServer,
        cancellation: TaskCancellation,
    ) -> None:
        self._context, self._layers, self._membership = context, layers, membership
        self._queries, self._coordination, self._cancellation = queries, coordination, cancellation
        self._handlers: dict[type[Any], Callable[[ClientPeer, Any, Sequence[memoryview]], None]] = {
            Submit: self.on_submit,
            AppendArguments: self.on_arguments,
            ReleaseResults: self.on_release,
            CancelTasks: self.on_cancel,
            FetchFailed: self.on_fetch_failed,
            WhoHas: self.on_who_has,
            Query: self.on_ask,
            CoordinationCall: self.on_coordinate,
            Bye: self.on_bye,
        }

    def on_message(self, client: ClientPeer, message: ClientMessage, frames: Sequence[memoryview]) -> None:
        """Handle one message of a client."""
        if client.last_asked and self._is_repeated(client, message):
            return
        self._handlers[type(message)](client, message, frames)

    def on_owner_message(self, owner: ClientPeer, message: ClientMessage, frames: Sequence[memoryview]) -> None:
        """Handle one message of an owner, who sends requests only."""
        if owner.last_asked and self._is_repeated(owner, message):
            return
        if isinstance(message, Query):
            owner.session.send(self._queries.answer(owner, message, owner=True))
        elif isinstance(message, Bye):
            self._membership.on_client_left(owner)

    def _is_repeated(self, client: ClientPeer, message: ClientMessage) -> bool:
        """Whether the request was received before a restart. If it was answered then, the answer is sent again."""
        if not isinstance(message, Query | CoordinationCall) or not 0 < message.id <= client.last_asked:
            return False
        if self._context.journal.replaying:
            return False
        known = client.replies.pop(message.id, None)
        if known is not None:
            client.session.send(known)
        return known is not None or is_changing(message)

    def on_submit(self, client: ClientPeer, message: Submit, frames: Sequence[memoryview]) -> None:
        """Store the layers of a graph, and have the scheduler compute what is requested of it."""
        layers = self._layers
        try:
            new = layers.add(message.layers, frames)
        except HowdahError as error:
            for task_range in message.requested:
                client.session.send(TasksErred(task_range, TaskError("invalid", str(error)), task_range))
            return
        for task_range in message.requested:
            layers.inline.add(task_range.layer)
        self._context.handle(GraphSubmitted(client.id, message.layers, message.requested, message.priority))
        for key in new:
            if not self._context.views.has_layer(key):
                layers.forget(key)

    def on_arguments(self, client: ClientPeer, message: AppendArguments, frames: Sequence[memoryview]) -> None:
        """Store more arguments of a layer."""
        stop = self._layers.extend(message.layer, message.start, frames)
        if stop:
            self._context.handle(ArgumentsArrived(message.layer, stop))

    def on_release(self, client: ClientPeer, message: ReleaseResults, frames: Sequence[memoryview]) -> None:
        """The client needs these results no more."""
        self._context.handle(Released(client.id, message.ranges))

    def on_cancel(self, client: ClientPeer, message: CancelTasks, frames: Sequence[memoryview]) -> None:
        """The client cancels these tasks."""
        self._context.handle(CancelRequested(client.id, message.ranges))

    def on_fetch_failed(self, client: ClientPeer, message: FetchFailed, frames: Sequence[memoryview]) -> None:
        """The client could not fetch these results from their holder."""
        self._context.handle(ResultsMissing(client.id, message.holder, message.ranges))

    def on_who_has(self, client: ClientPeer, message: WhoHas, frames: Sequence[memoryview]) -> None:
        """Answer which worker holds which part of these results."""
        views = self._context.views
        found = [
            [(p.start, p.stop, holder) for p, holder in views.main_holders(task_range)] for task_range in message.ranges
        ]
        client.session.send(Response(message.id, found))

    def on_ask(self, client: ClientPeer, message: Query, frames: Sequence[memoryview]) -> None:
        """Answer a request."""
        client.session.send(self._queries.answer(client, message, owner=False))

    def on_coordinate(self, client: ClientPeer, message: CoordinationCall, frames: Sequence[memoryview]) -> None:
        """Call a coordination primitive, or handle a request about a single task."""
        if message.kind == "task":
            self._cancellation.on_request(client, message)
        else:
            self._coordination.on_call(client, message)

    def on_bye(self, client: ClientPeer, message: Bye, frames: Sequence[memoryview]) -> None:
        """The client leaves for good."""
        self._membership.on_client_left(client)
