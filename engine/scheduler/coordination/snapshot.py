"""The coordination state as plain records, for the journal of a scheduler that is started again."""

from __future__ import annotations

import heapq
from collections import deque

import msgspec

from howdah.engine.scheduler.coordination.state import (
    CoordinationState,
    PackedValue,
    PrimitiveCall,
    PrimitiveState,
    Ticket,
    WaitingCall,
)


class WaitingCallRecord(msgspec.Struct, frozen=True, array_like=True):
    """A call that waits; `until` is the time of day."""

    call: PrimitiveCall
    until: float | None


class PrimitiveRecord(msgspec.Struct, frozen=True, array_like=True):
    """A queue, variable, semaphore or event."""

    kind: str
    name: str
    owner: str
    limit: int
    items: list[PackedValue]
    leases: dict[str, str]
    flag: bool
    waiting: list[WaitingCallRecord]
    putters: list[WaitingCallRecord]


class CoordinationRecord(msgspec.Struct, frozen=True, array_like=True):
    """All of it. `tickets`: number, call, items."""

    things: list[PrimitiveRecord]
    tickets: list[tuple[int, PrimitiveCall, tuple[PackedValue, ...]]]
    next_ticket: int


def snapshot(state: CoordinationState, offset: float) -> CoordinationRecord:
    """What `restored` makes the same state of. `offset`: what makes a time of day of the state's time."""

    def waits(line: deque[WaitingCall]) -> list[WaitingCallRecord]:
        return [WaitingCallRecord(w.call, None if w.deadline is None else w.deadline + offset) for w in line]

    return CoordinationRecord(
        [
            PrimitiveRecord(
                kind, name, t.owner, t.limit, list(t.items), dict(t.leases), t.flag, waits(t.waiters), waits(t.putters)
            )
            for (kind, name), t in state.primitives.items()
        ],
        [(number, ticket.call, ticket.items) for number, ticket in state.tickets.items()],
        state.next_ticket,
    )


def restore(found: CoordinationRecord, offset: float) -> CoordinationState:
    """The state that was kept. What it keeps of the scheduler's results is known there."""
    state = CoordinationState()
    for one in found.things:
        place = (one.kind, one.name)
        thing = state.primitives[place] = PrimitiveState(one.owner)
        thing.limit, thing.flag = one.limit, one.flag
        thing.items, thing.leases = deque(one.items), dict(one.leases)
        for line, were in ((thing.waiters, one.waiting), (thing.putters, one.putters)):
            for wait in were:
                deadline = None if wait.until is None else wait.until - offset
                line.append(WaitingCall(wait.call, deadline))
                if deadline is not None:
                    heapq.heappush(state.deadlines, (deadline, place))
        for item in [*thing.items, *[w.call.item for w in thing.putters]]:
            _count(state, item)
    for number, call, items in found.tickets:
        state.tickets[number] = Ticket(call, items)
        for item in items:
            _count(state, item)
    state.next_ticket = found.next_ticket
    return state


def _count(state: CoordinationState, item: PackedValue | None) -> None:
    for span in item.spans if item is not None else ():
        state.reference_counts[span] = state.reference_counts.get(span, 0) + 1
