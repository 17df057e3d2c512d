"""The coordination state as plain records, for the journal of a server that is restarted.

Called by `server.coordination`; `restore(snapshot(state))` is the same state.
"""

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
    """A call without an answer; `until` is its deadline as a Unix time."""

    call: PrimitiveCall
    until: float | None


class PrimitiveRecord(msgspec.Struct, frozen=True, array_like=True):
    """A queue, variable, semaphore or event."""

    kind: str
    name: str
    owner: str
    limit: int
    values: list[PackedValue]
    leases: dict[str, str]
    flag: bool
    waiting: list[WaitingCallRecord]
    putters: list[WaitingCallRecord]


class CoordinationRecord(msgspec.Struct, frozen=True, array_like=True):
    """All primitives. `tickets`: number, call and values of each delivery that is not confirmed."""

    primitives: list[PrimitiveRecord]
    tickets: list[tuple[int, PrimitiveCall, tuple[PackedValue, ...]]]
    next_ticket: int


def snapshot(state: CoordinationState, offset: float) -> CoordinationRecord:
    """Return the state as a record. `offset`: seconds to add to the state's time for a Unix time."""

    def waiting(calls: deque[WaitingCall]) -> list[WaitingCallRecord]:
        return [WaitingCallRecord(w.call, None if w.deadline is None else w.deadline + offset) for w in calls]

    return CoordinationRecord(
        [
            PrimitiveRecord(
                kind,
                name,
                t.owner,
                t.limit,
                list(t.values),
                dict(t.leases),
                t.flag,
                waiting(t.waiters),
                waiting(t.putters),
            )
            for (kind, name), t in state.primitives.items()
        ],
        [(number, ticket.call, ticket.values) for number, ticket in state.tickets.items()],
        state.next_ticket,
    )


def restore(record: CoordinationRecord, offset: float) -> CoordinationState:
    """Return the state of a record. It pins no results again: the scheduler has a record of its own."""
    state = CoordinationState()
    for one in record.primitives:
        key = (one.kind, one.name)
        primitive = state.primitives[key] = PrimitiveState(one.owner)
        primitive.limit, primitive.flag = one.limit, one.flag
        primitive.values, primitive.leases = deque(one.values), dict(one.leases)
        for calls, records in ((primitive.waiters, one.waiting), (primitive.putters, one.putters)):
            for wait in records:
                deadline = None if wait.until is None else wait.until - offset
                calls.append(WaitingCall(wait.call, deadline))
                if deadline is not None:
                    heapq.heappush(state.deadlines, (deadline, key))
        for value in [*primitive.values, *[w.call.value for w in primitive.putters]]:
            _count(state, value)
    for number, call, values in record.tickets:
        state.tickets[number] = Ticket(call, values)
        for value in values:
            _count(state, value)
    state.next_ticket = record.next_ticket
    return state


def _count(state: CoordinationState, value: PackedValue | None) -> None:
    for task_range in value.ranges if value is not None else ():
        state.reference_counts[task_range] = state.reference_counts.get(task_range, 0) + 1
