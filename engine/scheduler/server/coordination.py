"""Where the coordination state meets the scheduler's server: messages become calls, effects become messages and events.

On the event loop's thread, as all of the server.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from howdah.engine.protocol.events import LayerSpec, Released
from howdah.engine.protocol.layers import TaskRange
from howdah.engine.protocol.messages import CoordinationCall, Response
from howdah.engine.scheduler.coordination.snapshot import CoordinationRecord, restore, snapshot
from howdah.engine.scheduler.coordination.state import (
    CoordinationState,
    Delivery,
    Effect,
    GrantInterest,
    PackedValue,
    Pin,
    PrimitiveCall,
    Reply,
    Unpin,
)
from howdah.engine.scheduler.server.task_cancellation import Begun

if TYPE_CHECKING:
    from howdah.engine.scheduler.server.server import Server
    from howdah.engine.scheduler.server.sessions import ClientPeer

KEEPER = "howdah/coordination"
"""The client of the scheduler's state that wants what queues and variables refer to. No peer can have this name."""


class Hook:
    """The primitives of `server`'s cluster."""

    def __init__(self, server: Server) -> None:
        self.state = CoordinationState()
        self.begun = Begun(server)
        self._server = server
        self._timer: asyncio.TimerHandle | None = None

    def called(self, client: ClientPeer, message: CoordinationCall) -> None:
        """A client asks for something."""
        if message.kind == "task":
            self.begun.asked(client, message)
            return
        item = None if message.data is None else PackedValue(message.data, message.spans)
        call = PrimitiveCall(
            client.id, message.id, message.kind, message.name, message.verb, item, message.timeout, message.limit,
            message.token, message.ticket, message.batch,
        )  # fmt: skip
        self._follow(self.state.on_call(call, self._server.clock()))

    def gone(self, client: str) -> None:
        """The client has left for good."""
        self._follow(self.state.on_client_left(client))

    def _tick(self) -> None:
        self._timer = None
        effects = self.state.on_tick(self._server.clock())
        if effects and self._server.written is not None:
            self._server.written.timed_out()
        self._follow(effects)

    # -- a scheduler that was started again ---------------------------------------------------------------------------

    def timed_out(self) -> None:
        """The journal says that calls were answered because their time was over."""
        self._follow(self.state.on_tick(self._server.clock()))

    def kept(self, offset: float) -> CoordinationRecord:
        """What is here, for the journal; `offset` makes times of day of the server's clock."""
        return snapshot(self.state, offset)

    def restore(self, found: CoordinationRecord, offset: float) -> None:
        """Be what was kept."""
        self.state = restore(found, offset)

    def resume(self) -> None:
        """The journal has been heard: time goes on."""
        self._follow(self.state.on_tick(self._server.clock()))

    def _follow(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            match effect:
                case Reply(name, number, outcome, value):
                    client = self._server.clients.get(name)
                    if client is not None:
                        client.session.send(Response(number, [outcome, self._shown(value)]))
                case Pin(span):
                    self._want(KEEPER, (span,))
                case Unpin(span):
                    self._server.event(Released(KEEPER, (span,)))
                case GrantInterest(name, spans):
                    self._want(name, spans)
        if self._server.hearing:
            return
        due = self.state.wake_at
        if self._timer is not None and (due is None or self._timer.when() > due):
            self._timer.cancel()
            self._timer = None
        if due is not None and self._timer is None:
            self._timer = asyncio.get_running_loop().call_at(due, self._tick)

    def _want(self, client: str, spans: tuple[TaskRange, ...]) -> None:
        """The client wants results of layers that others have submitted: it pays for them too, if they wait."""
        specs: list[LayerSpec] = []
        for key in dict.fromkeys(span.layer for span in spans):
            if key in self._server.layers:
                define = self._server.layers.get(key).define
                specs.append(LayerSpec(key, define.name, define.n, define.deps))
        self._server.wanted(client, tuple(specs), spans)

    def _shown(self, value: Any) -> Any:
        """A reply's value as the message has it; of results, what a client must know to hold them."""
        if not isinstance(value, Delivery):
            return value
        return [value.ticket, [[item.data, [self._named(span) for span in item.spans]] for item in value.items]]

    def _named(self, span: TaskRange) -> list[Any]:
        layers = self._server.layers
        define = layers.get(span.layer).define if span.layer in layers else None
        return [span.layer, span.start, define.name if define else "", define.n if define else span.stop]
