"""The state of the coordination primitives: `CoordinationState.handle(call, now) -> replies and what to keep or drop`.

Pure, as the scheduler's `State`: no sockets, no clock, no user bytes opened. A call that cannot be answered yet waits
here, in order, and is answered when it can be, when its deadline passes (`wake_at`, `tick`), or never if its client
goes. There are three kinds of things:

- *leases*: a lock is a semaphore of one lease. A lease belongs to a client and ends with it at the latest.
- *stores*: queues and variables. What is in them may refer to results (spans), which are kept meanwhile. What is
  given out stays kept, under a ticket, until its getter says that it has it; a queue's item whose getter dies before
  that goes back to the head of the queue.
- *events*: a flag. An *actor* is one too: raised by whoever makes it, so that it is made once.

What nobody uses is not remembered: a free lock, an empty queue, a flag that is down. A thing with an owner (its maker
gave it no name) ends with its owner; whoever waits for it then is told so.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeAlias

from howdah.engine.protocol.layers import TaskRange


class PackedValue(NamedTuple):
    """A value as it came: its pickle, and the results that it refers to."""

    data: bytes = b""
    spans: tuple[TaskRange, ...] = ()


class PrimitiveCall(NamedTuple):
    """What a client asks. `number` names the call (0: no answer is wanted), `limit` is a queue's size or a semaphore's
    leases (0: no limit), `token` a lease's name, `timeout` in seconds (None: no end)."""

    client: str
    number: int
    kind: str
    name: str
    verb: str
    item: PackedValue | None = None
    timeout: float | None = None
    limit: int = 0
    token: str = ""
    ticket: int = 0
    batch: int | None = None


class Reply(NamedTuple):
    """The answer to a call. outcome: "ok", "timeout", "wrong" (`value` says what), "closed"."""

    client: str
    number: int
    outcome: str = "ok"
    value: Any = None


class Delivery(NamedTuple):
    """The value of a reply that hands out items; the getter confirms the ticket."""

    ticket: int
    items: tuple[PackedValue, ...]


class Pin(NamedTuple):
    """Something here refers to this result now."""

    span: TaskRange


class Unpin(NamedTuple):
    """Nothing here refers to it any more."""

    span: TaskRange


class GrantInterest(NamedTuple):
    """The client has what it was given: the results are its own from now on."""

    client: str
    spans: tuple[TaskRange, ...]


Effect: TypeAlias = Reply | Pin | Unpin | GrantInterest


class WaitingCall(NamedTuple):
    call: PrimitiveCall
    deadline: float | None


class PrimitiveState:
    """One queue, variable, semaphore or event."""

    __slots__ = ("flag", "items", "leases", "limit", "owner", "putters", "waiters")

    def __init__(self, owner: str) -> None:
        self.owner = owner
        self.limit = 0
        self.items: deque[PackedValue] = deque()
        self.leases: dict[str, str] = {}
        """Client by lease."""
        self.flag = False
        self.waiters: deque[WaitingCall] = deque()
        self.putters: deque[WaitingCall] = deque()

    @property
    def idle(self) -> bool:
        return not (self.items or self.leases or self.flag or self.waiters or self.putters or self.owner)


class Ticket(NamedTuple):
    call: PrimitiveCall
    items: tuple[PackedValue, ...]


class CoordinationState:
    """All primitives of one cluster.

    Examples
    --------
    >>> state = CoordinationState()
    >>> state.on_call(Call("a", 1, "semaphore", "x", "acquire", limit=1, token="t"), 0.0)
    [Reply(client='a', number=1, outcome='ok', value=True)]
    >>> state.on_call(Call("b", 1, "semaphore", "x", "acquire", limit=1, token="u"), 0.0)
    []
    >>> state.on_client_left("a")
    [Reply(client='b', number=1, outcome='ok', value=True)]
    """

    def __init__(self) -> None:
        self.primitives: dict[tuple[str, str], PrimitiveState] = {}
        self.reference_counts: dict[TaskRange, int] = {}
        """How often something here refers to each result."""
        self.tickets: dict[int, Ticket] = {}
        self.next_ticket = 0
        self.deadlines: list[tuple[float, tuple[str, str]]] = []
        self._out: list[Effect] = []
        self._verbs: dict[tuple[str, str], Callable[[PrimitiveState, PrimitiveCall, float | None], None]] = {
            ("queue", "put"): self._put,
            ("queue", "get"): self._get,
            ("queue", "size"): lambda thing, call, _: self._reply(call, len(thing.items)),
            ("queue", "close"): self._close,
            ("variable", "set"): self._set,
            ("variable", "get"): self._get,
            ("variable", "delete"): self._close,
            ("semaphore", "acquire"): self._acquire,
            ("semaphore", "release"): self._release,
            ("semaphore", "value"): lambda thing, call, _: self._reply(call, len(thing.leases)),
            ("semaphore", "close"): self._close,
            ("queue", "own"): _owned,
            ("variable", "own"): _owned,
            ("event", "own"): _owned,
            ("actor", "own"): _owned,
            ("actor", "claim"): self._claim,
            ("actor", "close"): self._close,
            ("event", "wait"): self._wait,
            ("event", "set"): self._raise_flag,
            ("event", "clear"): self._lower_flag,
            ("event", "state"): lambda thing, call, _: self._reply(call, thing.flag),
        }

    @property
    def wake_at(self) -> float | None:
        """When `tick` is due: the nearest deadline, of a call that may be answered already."""
        return self.deadlines[0][0] if self.deadlines else None

    def on_call(self, call: PrimitiveCall, now: float) -> list[Effect]:
        """Take one call; `now` is any clock that does not run backwards, in seconds."""
        self._out = []
        if call.verb == "took":
            self._took(call)
            return self._out
        if call.verb == "withdraw":
            self._withdraw(call)
            return self._out
        verb = self._verbs.get((call.kind, call.verb))
        if verb is None:
            self._out.append(Reply(call.client, call.number, "wrong", f"no {call.kind} can {call.verb}"))
            return self._out
        place = (call.kind, call.name)
        thing = self.primitives.get(place)
        if thing is None:
            thing = self.primitives[place] = PrimitiveState(call.client if call.verb == "own" else "")
            thing.limit = call.limit
        deadline = None if call.timeout is None else now + max(call.timeout, 0.0)
        verb(thing, call, deadline)
        if deadline is not None and any(waiting.call is call for waiting in _waits(thing)):
            heapq.heappush(self.deadlines, (deadline, place))
            self._expire(now)
        self._forget(place)
        return self._out

    def on_tick(self, now: float) -> list[Effect]:
        """Time passed: calls whose deadline is over are answered."""
        self._out = []
        self._expire(now)
        return self._out

    def on_client_left(self, client: str) -> list[Effect]:
        """The client has left for good: its waits and leases end, its things are closed, what it was given and did
        not confirm goes back."""
        self._out = []
        for place, thing in list(self.primitives.items()):
            thing.waiters = deque(w for w in thing.waiters if w.call.client != client)
            thing.putters = deque(w for w in thing.putters if not self._dropped(w, client))
            for token in [token for token, holder in thing.leases.items() if holder == client]:
                del thing.leases[token]
            if thing.owner == client:
                self._end(thing, f"the client that made this {place[0]} is gone")
        for number in [number for number, ticket in self.tickets.items() if ticket.call.client == client]:
            self._give_back(number)
        for place, thing in list(self.primitives.items()):
            self._serve(place[0], thing)
            self._forget(place)
        return self._out

    def _dropped(self, waiting: WaitingCall, client: str) -> bool:
        if waiting.call.client != client:
            return False
        self._drop(waiting.call.item)
        return True

    # -- queues and variables -----------------------------------------------------------------------------------------

    def _put(self, thing: PrimitiveState, call: PrimitiveCall, deadline: float | None) -> None:
        if call.limit and not thing.limit:
            thing.limit = call.limit
        self._keep(call.item)
        thing.putters.append(WaitingCall(call, deadline))
        self._serve("queue", thing)

    def _set(self, thing: PrimitiveState, call: PrimitiveCall, deadline: float | None) -> None:
        assert call.item is not None
        self._keep(call.item)
        for old in thing.items:
            self._drop(old)
        thing.items = deque((call.item,))
        self._reply(call, None)
        self._serve("variable", thing)

    def _get(self, thing: PrimitiveState, call: PrimitiveCall, deadline: float | None) -> None:
        if call.batch == 0:  # whatever is there, now
            items = tuple(thing.items)
            thing.items.clear()
            self._give(call, items)
        else:
            thing.waiters.append(WaitingCall(call, deadline))
        self._serve(call.kind, thing)

    def _serve(self, kind: str, thing: PrimitiveState) -> None:
        """Answer whoever can be answered now, first come, first served."""
        if kind == "queue":
            self._serve_queue(thing)
        elif kind == "variable":
            while thing.waiters and thing.items:
                call = thing.waiters.popleft().call
                self._keep(thing.items[0])
                self._give(call, (thing.items[0],))
        elif kind == "semaphore":
            while thing.waiters and len(thing.leases) < thing.limit:
                call = thing.waiters.popleft().call
                thing.leases[call.token] = call.client
                self._reply(call, True)
        elif kind == "event" and thing.flag:
            while thing.waiters:
                self._reply(thing.waiters.popleft().call, True)

    def _serve_queue(self, thing: PrimitiveState) -> None:
        moved = True
        while moved:
            moved = False
            while thing.putters and (not thing.limit or len(thing.items) < thing.limit):
                call = thing.putters.popleft().call
                assert call.item is not None
                thing.items.append(call.item)
                self._reply(call, None)
                moved = True
            while thing.waiters and len(thing.items) >= (thing.waiters[0].call.batch or 1):
                call = thing.waiters.popleft().call
                self._give(call, tuple(thing.items.popleft() for _ in range(call.batch or 1)))
                moved = True
            if thing.waiters and thing.putters and thing.limit:
                # A batch larger than the queue may be: it grows to what is waited for, else both sides wait for ever.
                wanted = thing.waiters[0].call.batch or 1
                if wanted > thing.limit:
                    call = thing.putters.popleft().call
                    assert call.item is not None
                    thing.items.append(call.item)
                    self._reply(call, None)
                    moved = True

    def _give(self, call: PrimitiveCall, items: tuple[PackedValue, ...]) -> None:
        self.next_ticket += 1
        self.tickets[self.next_ticket] = Ticket(call, items)
        self._reply(call, Delivery(self.next_ticket, items))

    def _took(self, call: PrimitiveCall) -> None:
        ticket = self.tickets.get(call.ticket)
        if ticket is None or ticket.call.client != call.client:
            return
        del self.tickets[call.ticket]
        spans = tuple(dict.fromkeys(span for item in ticket.items for span in item.spans))
        if spans:
            self._out.append(GrantInterest(call.client, spans))
        for item in ticket.items:
            self._drop(item)

    def _give_back(self, number: int) -> None:
        call, items = self.tickets.pop(number)
        if call.kind == "variable":
            for item in items:
                self._drop(item)
            return
        place = (call.kind, call.name)
        thing = self.primitives.setdefault(place, PrimitiveState(""))
        thing.items.extendleft(reversed(items))
        self._serve("queue", thing)
        self._forget(place)

    def _withdraw(self, call: PrimitiveCall) -> None:
        """The caller does not wait for its call `ticket` any more: as if it had never been made."""
        place = (call.kind, call.name)
        thing = self.primitives.get(place)
        for number, ticket in list(self.tickets.items()):
            if (ticket.call.client, ticket.call.number) == (call.client, call.ticket):
                self._give_back(number)
                return
        if thing is None:
            return
        mine = (call.client, call.ticket)
        thing.waiters = deque(w for w in thing.waiters if (w.call.client, w.call.number) != mine)
        for waiting in [w for w in thing.putters if (w.call.client, w.call.number) == mine]:
            thing.putters.remove(waiting)
            self._drop(waiting.call.item)
        if call.token and thing.leases.get(call.token) == call.client:
            del thing.leases[call.token]
        self._serve(call.kind, thing)
        self._forget(place)

    def _close(self, thing: PrimitiveState, call: PrimitiveCall, deadline: float | None) -> None:
        self._end(thing, f"this {call.kind} was closed")
        self._reply(call, None)

    def _end(self, thing: PrimitiveState, why: str) -> None:
        for waiting in _waits(thing):
            self._out.append(Reply(waiting.call.client, waiting.call.number, "closed", why))
        for waiting in thing.putters:
            self._drop(waiting.call.item)
        for item in thing.items:
            self._drop(item)
        thing.items.clear()
        thing.waiters.clear()
        thing.putters.clear()
        thing.leases.clear()
        thing.flag, thing.owner = False, ""

    # -- leases and flags ---------------------------------------------------------------------------------------------

    def _acquire(self, thing: PrimitiveState, call: PrimitiveCall, deadline: float | None) -> None:
        if call.limit != thing.limit:
            others = f"{thing.limit} leases" if thing.limit != 1 else "1 lease"
            self._out.append(Reply(call.client, call.number, "wrong", f"is in use with {others}, not {call.limit}"))
            return
        thing.waiters.append(WaitingCall(call, deadline))
        self._serve("semaphore", thing)

    def _release(self, thing: PrimitiveState, call: PrimitiveCall, deadline: float | None) -> None:
        if thing.leases.get(call.token) != call.client:
            self._out.append(Reply(call.client, call.number, "wrong", "is not held by this object"))
            return
        del thing.leases[call.token]
        self._reply(call, True)
        self._serve("semaphore", thing)

    def _wait(self, thing: PrimitiveState, call: PrimitiveCall, deadline: float | None) -> None:
        thing.waiters.append(WaitingCall(call, deadline))
        self._serve("event", thing)

    def _raise_flag(self, thing: PrimitiveState, call: PrimitiveCall, deadline: float | None) -> None:
        thing.flag = True
        self._reply(call, None)
        self._serve("event", thing)

    def _lower_flag(self, thing: PrimitiveState, call: PrimitiveCall, deadline: float | None) -> None:
        thing.flag = False
        self._reply(call, None)

    def _claim(self, thing: PrimitiveState, call: PrimitiveCall, deadline: float | None) -> None:
        """Whoever makes the actor asks first; only the first may."""
        if thing.flag or not thing.owner:
            why = "was lost with its worker" if thing.flag else "is not wanted any more"
            self._out.append(Reply(call.client, call.number, "wrong", why))
            return
        thing.flag = True
        self._reply(call, None)

    # -- common -------------------------------------------------------------------------------------------------------

    def _reply(self, call: PrimitiveCall, value: Any) -> None:
        if call.number:
            self._out.append(Reply(call.client, call.number, "ok", value))

    def _expire(self, now: float) -> None:
        while self.deadlines and self.deadlines[0][0] <= now:
            _, place = heapq.heappop(self.deadlines)
            thing = self.primitives.get(place)
            if thing is None:
                continue
            late = [w for w in _waits(thing) if w.deadline is not None and w.deadline <= now]
            for waiting in late:
                if waiting in thing.waiters:
                    thing.waiters.remove(waiting)
                else:
                    thing.putters.remove(waiting)
                    self._drop(waiting.call.item)
                self._out.append(Reply(waiting.call.client, waiting.call.number, "timeout"))
            if late:
                self._serve(place[0], thing)  # whoever stood behind them may go on
                self._forget(place)

    def _keep(self, item: PackedValue | None) -> None:
        for span in item.spans if item is not None else ():
            count = self.reference_counts[span] = self.reference_counts.get(span, 0) + 1
            if count == 1:
                self._out.append(Pin(span))

    def _drop(self, item: PackedValue | None) -> None:
        for span in item.spans if item is not None else ():
            self.reference_counts[span] -= 1
            if not self.reference_counts[span]:
                del self.reference_counts[span]
                self._out.append(Unpin(span))

    def _forget(self, place: tuple[str, str]) -> None:
        thing = self.primitives.get(place)
        if thing is not None and thing.idle:
            del self.primitives[place]


def _owned(thing: PrimitiveState, call: PrimitiveCall, deadline: float | None) -> None:
    """The call has made the thing, and its client is the owner."""


def _waits(thing: PrimitiveState) -> Iterator[WaitingCall]:
    yield from thing.waiters
    yield from thing.putters
