"""The coordination state as plain records, for the journal of a scheduler that is started again."""

from __future__ import annotations

import heapq
from collections import deque

import msgspec

from howdah.engine.coordination.state import Call, Coordination, Item, _Thing, _Ticket, _Waiting


class WaitingKept(msgspec.Struct, frozen=True, array_like=True):
    """A call that waits; `until` is the time of day."""

    call: Call
    until: float | None


class ThingKept(msgspec.Struct, frozen=True, array_like=True):
    """A queue, variable, semaphore or event."""

    kind: str
    name: str
    owner: str
    limit: int
    items: list[Item]
    leases: dict[str, str]
    flag: bool
    waiting: list[WaitingKept]
    putters: list[WaitingKept]


class CoordinationKept(msgspec.Struct, frozen=True, array_like=True):
    """All of it. `tickets`: number, call, items."""

    things: list[ThingKept]
    tickets: list[tuple[int, Call, tuple[Item, ...]]]
    next_ticket: int


def kept(state: Coordination, offset: float) -> CoordinationKept:
    """What `restored` makes the same state of. `offset`: what makes a time of day of the state's time."""

    def waits(line: deque[_Waiting]) -> list[WaitingKept]:
        return [WaitingKept(w.call, None if w.deadline is None else w.deadline + offset) for w in line]

    return CoordinationKept(
        [
            ThingKept(
                kind, name, t.owner, t.limit, list(t.items), dict(t.leases), t.flag, waits(t.waiting), waits(t.putters)
            )
            for (kind, name), t in state.things.items()
        ],
        [(number, ticket.call, ticket.items) for number, ticket in state.tickets.items()],
        state._next_ticket,
    )


def restored(found: CoordinationKept, offset: float) -> Coordination:
    """The state that was kept. What it keeps of the scheduler's results is known there."""
    state = Coordination()
    for one in found.things:
        place = (one.kind, one.name)
        thing = state.things[place] = _Thing(one.owner)
        thing.limit, thing.flag = one.limit, one.flag
        thing.items, thing.leases = deque(one.items), dict(one.leases)
        for line, were in ((thing.waiting, one.waiting), (thing.putters, one.putters)):
            for wait in were:
                deadline = None if wait.until is None else wait.until - offset
                line.append(_Waiting(wait.call, deadline))
                if deadline is not None:
                    heapq.heappush(state._deadlines, (deadline, place))
        for item in [*thing.items, *[w.call.item for w in thing.putters]]:
            _count(state, item)
    for number, call, items in found.tickets:
        state.tickets[number] = _Ticket(call, items)
        for item in items:
            _count(state, item)
    state._next_ticket = found.next_ticket
    return state


def _count(state: Coordination, item: Item | None) -> None:
    for span in item.spans if item is not None else ():
        state.kept[span] = state.kept.get(span, 0) + 1
