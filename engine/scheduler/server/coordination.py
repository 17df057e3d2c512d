"""The server's side of queues, variables, locks, semaphores, events and actors: messages become calls of the pure state
(`engine.scheduler.coordination`), its effects become messages and events."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from howdah.engine.protocol.events import Released
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
from howdah.engine.scheduler.server.context import ServerContext
from howdah.engine.scheduler.server.layer_store import LayerStore
from howdah.engine.scheduler.server.sessions import ClientPeer

PINNING_CLIENT = "howdah/coordination"
"""The scheduler's client that holds the results to which queues and variables refer. No peer can have this name."""


class CoordinationServer:
    """The primitives of one cluster."""

    def __init__(self, context: ServerContext, layers: LayerStore) -> None:
        self.state = CoordinationState()
        self._context, self._layers = context, layers
        self._timer: asyncio.TimerHandle | None = None

    def on_call(self, client: ClientPeer, message: CoordinationCall) -> None:
        """Handle a client's call; the reply is sent when the state gives one."""
        value = None if message.data is None else PackedValue(message.data, message.ranges)
        call = PrimitiveCall(
            client.id, message.id, message.kind, message.name, message.verb, value, message.timeout, message.limit,
            message.token, message.ticket, message.batch,
        )  # fmt: skip
        self._follow(self.state.on_call(call, self._context.clock()))

    def on_client_left(self, client: str) -> None:
        """End the client's calls, leases and primitives."""
        self._follow(self.state.on_client_left(client))

    def on_time_passed(self) -> None:
        """Answer the calls whose deadline has passed."""
        self._follow(self.state.on_tick(self._context.clock()))

    def _on_timer(self) -> None:
        self._timer = None
        effects = self.state.on_tick(self._context.clock())
        if effects:
            self._context.journal.record_timeouts()
        self._follow(effects)

    def names(self, kind: str) -> list[str]:
        """The names of the primitives of this kind that are in use."""
        return [name for one, name in self.state.primitives if one == kind]

    def snapshot(self) -> CoordinationRecord:
        """All primitives, for the journal."""
        return snapshot(self.state, self._context.clock_offset)

    def restore(self, record: CoordinationRecord) -> None:
        """Replace all primitives by those of a snapshot."""
        self.state = restore(record, self._context.clock_offset)

    def _follow(self, effects: Sequence[Effect]) -> None:
        context = self._context
        for effect in effects:
            match effect:
                case Reply(client, number, outcome, value):
                    context.send_to_client(client, Response(number, [outcome, self._encoded(value)]))
                case Pin(task_range):
                    context.handle(self._layers.request(PINNING_CLIENT, (task_range,)))
                case Unpin(task_range):
                    context.handle(Released(PINNING_CLIENT, (task_range,)))
                case GrantInterest(client, ranges):
                    context.handle(self._layers.request(client, ranges))
        if context.journal.replaying:
            return
        due = self.state.wake_at
        if self._timer is not None and (due is None or self._timer.when() > due):
            self._timer.cancel()
            self._timer = None
        if due is not None and self._timer is None:
            self._timer = asyncio.get_running_loop().call_at(due, self._on_timer)

    def _encoded(self, value: Any) -> Any:
        """A reply's value as the message has it: for results, what a client needs to make futures of them."""
        if not isinstance(value, Delivery):
            return value
        return [
            value.ticket,
            [[one.data, [self._described(part) for part in one.ranges]] for one in value.values],
        ]

    def _described(self, task_range: TaskRange) -> list[Any]:
        define = self._layers.get(task_range.layer).define if task_range.layer in self._layers else None
        return [
            task_range.layer,
            task_range.start,
            define.name if define else "",
            define.n if define else task_range.stop,
        ]
