"""The state of the coordination primitives: `CoordinationState.on_call(call, now)` returns replies and other effects.

Pure, like the scheduler's core: no sockets, no clock, no user bytes unpickled. A call that cannot be answered yet waits
here, in order, until it can be, until its deadline passes (`wake_at`, `on_tick`), or until its client leaves, which
needs no answer. There are three kinds of primitives:

- *leases*: a lock is a semaphore of one lease. A lease belongs to a client and ends with it at the latest.
- *stores*: queues and variables. Their values may refer to results (task ranges), which are pinned meanwhile. A value
  that is delivered stays pinned, under a ticket, until its getter confirms it; a queue's value whose getter leaves
  before that returns to the head of the queue.
- *events*: a flag. An *actor* is one too: set by the first worker that creates it, so that it is created once.

A primitive that is not in use is not stored: a free lock, an empty queue, a flag that is not set. A primitive with an
owner (it was made without a name) ends with its owner; calls that wait for it then are answered with "closed".
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeAlias

from howdah.engine.protocol.layers import TaskRange


class PackedValue(NamedTuple):
    """A value as a client sent it: its pickle, and the results to which it refers."""

    data: bytes = b""
    ranges: tuple[TaskRange, ...] = ()


class PrimitiveCall(NamedTuple):
    """A client's call. `number` identifies the call (0: it has no answer).

    `limit` is a queue's size or a semaphore's leases (0: no limit), `token` names a lease, `timeout` is in seconds
    (None: none), `batch` is how many values a `get` returns at once (0: all that are there, at once).
    """

    client: str
    number: int
    kind: str
    name: str
    verb: str
    value: PackedValue | None = None
    timeout: float | None = None
    limit: int = 0
    token: str = ""
    ticket: int = 0
    batch: int | None = None


class Reply(NamedTuple):
    """The answer to a call. `outcome`: "ok", "timeout", "wrong" or "closed" (`value` is the reason)."""

    client: str
    number: int
    outcome: str = "ok"
    value: Any = None


class Delivery(NamedTuple):
    """The value of a reply that delivers values; the getter confirms the ticket."""

    ticket: int
    values: tuple[PackedValue, ...]


class Pin(NamedTuple):
    """A value refers to this result from now on: the scheduler must not free it."""

    task_range: TaskRange


class Unpin(NamedTuple):
    """No value refers to this result any more."""

    task_range: TaskRange


class GrantInterest(NamedTuple):
    """The client has confirmed a delivery: it has an interest of its own in these results."""

    client: str
    ranges: tuple[TaskRange, ...]


Effect: TypeAlias = Reply | Pin | Unpin | GrantInterest


class WaitingCall(NamedTuple):
    """A call without an answer so far, and when it times out."""

    call: PrimitiveCall
    deadline: float | None


class PrimitiveState:
    """One queue, variable, semaphore or event."""

    __slots__ = ("flag", "leases", "limit", "owner", "putters", "values", "waiters")

    def __init__(self, owner: str) -> None:
        self.owner = owner
        self.limit = 0
        self.values: deque[PackedValue] = deque()
        self.leases: dict[str, str] = {}
        """By the lease's token: its client."""
        self.flag = False
        self.waiters: deque[WaitingCall] = deque()
        self.putters: deque[WaitingCall] = deque()

    @property
    def unused(self) -> bool:
        """Whether nothing would be lost if the primitive was forgotten."""
        return not (self.values or self.leases or self.flag or self.waiters or self.putters or self.owner)


class Ticket(NamedTuple):
    """A delivery that the getter has not confirmed."""

    call: PrimitiveCall
    values: tuple[PackedValue, ...]


class CoordinationState:
    """All primitives of one cluster.

    Examples
    --------
    >>> state = CoordinationState()
    >>> state.on_call(PrimitiveCall("a", 1, "semaphore", "x", "acquire", limit=1, token="t"), 0.0)
    [Reply(client='a', number=1, outcome='ok', value=True)]
    >>> state.on_call(PrimitiveCall("b", 1, "semaphore", "x", "acquire", limit=1, token="u"), 0.0)
    []
    >>> state.on_client_left("a")
    [Reply(client='b', number=1, outcome='ok', value=True)]
    """

    def __init__(self) -> None:
        self.primitives: dict[tuple[str, str], PrimitiveState] = {}
        self.reference_counts: dict[TaskRange, int] = {}
        """By result: how many values, delivered ones included, refer to it."""
        self.tickets: dict[int, Ticket] = {}
        self.next_ticket = 0
        self.deadlines: list[tuple[float, tuple[str, str]]] = []
        self._out: list[Effect] = []
        self._verbs: dict[tuple[str, str], Callable[[PrimitiveState, PrimitiveCall, float | None], None]] = {
            ("queue", "put"): self._put,
            ("queue", "get"): self._get,
            ("queue", "size"): lambda primitive, call, _: self._reply(call, len(primitive.values)),
            ("queue", "close"): self._close,
            ("variable", "set"): self._set,
            ("variable", "get"): self._get,
            ("variable", "delete"): self._close,
            ("semaphore", "acquire"): self._acquire,
            ("semaphore", "release"): self._release,
            ("semaphore", "value"): lambda primitive, call, _: self._reply(call, len(primitive.leases)),
            ("semaphore", "close"): self._close,
            ("queue", "own"): _owned,
            ("variable", "own"): _owned,
            ("event", "own"): _owned,
            ("actor", "own"): _owned,
            ("actor", "claim"): self._claim,
            ("actor", "close"): self._close,
            ("event", "wait"): self._wait,
            ("event", "set"): self._set_flag,
            ("event", "clear"): self._clear_flag,
            ("event", "state"): lambda primitive, call, _: self._reply(call, primitive.flag),
        }

    @property
    def wake_at(self) -> float | None:
        """When `on_tick` is due: the nearest deadline, perhaps of a call that was answered since."""
        return self.deadlines[0][0] if self.deadlines else None

    def on_call(self, call: PrimitiveCall, now: float) -> list[Effect]:
        """Handle one call. `now`: seconds of any clock that does not run backwards."""
        self._out = []
        if call.verb == "took":
            self._on_confirmed(call)
            return self._out
        if call.verb == "withdraw":
            self._on_withdrawn(call)
            return self._out
        verb = self._verbs.get((call.kind, call.verb))
        if verb is None:
            self._out.append(Reply(call.client, call.number, "wrong", f"no {call.kind} can {call.verb}"))
            return self._out
        key = (call.kind, call.name)
        primitive = self.primitives.get(key)
        if primitive is None:
            primitive = self.primitives[key] = PrimitiveState(call.client if call.verb == "own" else "")
            primitive.limit = call.limit
        deadline = None if call.timeout is None else now + max(call.timeout, 0.0)
        verb(primitive, call, deadline)
        if deadline is not None and any(waiting.call is call for waiting in _waiting_calls(primitive)):
            heapq.heappush(self.deadlines, (deadline, key))
            self._expire(now)
        self._forget(key)
        return self._out

    def on_tick(self, now: float) -> list[Effect]:
        """Answer the calls whose deadline has passed."""
        self._out = []
        self._expire(now)
        return self._out

    def on_client_left(self, client: str) -> list[Effect]:
        """End the calls, leases and primitives of a client that has left for good, and return its deliveries."""
        self._out = []
        for key, primitive in list(self.primitives.items()):
            primitive.waiters = deque(w for w in primitive.waiters if w.call.client != client)
            primitive.putters = deque(w for w in primitive.putters if not self._end_put(w, client))
            for token in [token for token, holder in primitive.leases.items() if holder == client]:
                del primitive.leases[token]
            if primitive.owner == client:
                self._end(primitive, f"the client that made this {key[0]} has left")
        for number in [number for number, ticket in self.tickets.items() if ticket.call.client == client]:
            self._return_delivery(number)
        for key, primitive in list(self.primitives.items()):
            self._serve(key[0], primitive)
            self._forget(key)
        return self._out

    def _end_put(self, waiting: WaitingCall, client: str) -> bool:
        if waiting.call.client != client:
            return False
        self._remove_references(waiting.call.value)
        return True

    # -- queues and variables -----------------------------------------------------------------------------------------

    def _put(self, primitive: PrimitiveState, call: PrimitiveCall, deadline: float | None) -> None:
        if call.limit and not primitive.limit:
            primitive.limit = call.limit
        self._add_references(call.value)
        primitive.putters.append(WaitingCall(call, deadline))
        self._serve("queue", primitive)

    def _set(self, primitive: PrimitiveState, call: PrimitiveCall, deadline: float | None) -> None:
        assert call.value is not None
        self._add_references(call.value)
        for old in primitive.values:
            self._remove_references(old)
        primitive.values = deque((call.value,))
        self._reply(call, None)
        self._serve("variable", primitive)

    def _get(self, primitive: PrimitiveState, call: PrimitiveCall, deadline: float | None) -> None:
        if call.batch == 0:  # all values, at once
            values = tuple(primitive.values)
            primitive.values.clear()
            self._deliver(call, values)
        else:
            primitive.waiters.append(WaitingCall(call, deadline))
        self._serve(call.kind, primitive)

    def _serve(self, kind: str, primitive: PrimitiveState) -> None:
        """Answer the calls that can be answered now, first come, first served."""
        if kind == "queue":
            self._serve_queue(primitive)
        elif kind == "variable":
            while primitive.waiters and primitive.values:
                call = primitive.waiters.popleft().call
                self._add_references(primitive.values[0])
                self._deliver(call, (primitive.values[0],))
        elif kind == "semaphore":
            while primitive.waiters and len(primitive.leases) < primitive.limit:
                call = primitive.waiters.popleft().call
                primitive.leases[call.token] = call.client
                self._reply(call, True)
        elif kind == "event" and primitive.flag:
            while primitive.waiters:
                self._reply(primitive.waiters.popleft().call, True)

    def _serve_queue(self, primitive: PrimitiveState) -> None:
        moved = True
        while moved:
            moved = False
            while primitive.putters and (not primitive.limit or len(primitive.values) < primitive.limit):
                call = primitive.putters.popleft().call
                assert call.value is not None
                primitive.values.append(call.value)
                self._reply(call, None)
                moved = True
            while primitive.waiters and len(primitive.values) >= (primitive.waiters[0].call.batch or 1):
                call = primitive.waiters.popleft().call
                self._deliver(call, tuple(primitive.values.popleft() for _ in range(call.batch or 1)))
                moved = True
            if primitive.waiters and primitive.putters and primitive.limit:
                # A batch that exceeds the queue's size: the queue grows to it, else both sides would wait for ever.
                size = primitive.waiters[0].call.batch or 1
                if size > primitive.limit:
                    call = primitive.putters.popleft().call
                    assert call.value is not None
                    primitive.values.append(call.value)
                    self._reply(call, None)
                    moved = True

    def _deliver(self, call: PrimitiveCall, values: tuple[PackedValue, ...]) -> None:
        self.next_ticket += 1
        self.tickets[self.next_ticket] = Ticket(call, values)
        self._reply(call, Delivery(self.next_ticket, values))

    def _on_confirmed(self, call: PrimitiveCall) -> None:
        ticket = self.tickets.get(call.ticket)
        if ticket is None or ticket.call.client != call.client:
            return
        del self.tickets[call.ticket]
        ranges = tuple(dict.fromkeys(task_range for value in ticket.values for task_range in value.ranges))
        if ranges:
            self._out.append(GrantInterest(call.client, ranges))
        for value in ticket.values:
            self._remove_references(value)

    def _return_delivery(self, number: int) -> None:
        call, values = self.tickets.pop(number)
        if call.kind == "variable":
            for value in values:
                self._remove_references(value)
            return
        key = (call.kind, call.name)
        primitive = self.primitives.setdefault(key, PrimitiveState(""))
        primitive.values.extendleft(reversed(values))
        self._serve("queue", primitive)
        self._forget(key)

    def _on_withdrawn(self, call: PrimitiveCall) -> None:
        """The client waits for its call `ticket` no more: undo the call."""
        key = (call.kind, call.name)
        primitive = self.primitives.get(key)
        for number, ticket in list(self.tickets.items()):
            if (ticket.call.client, ticket.call.number) == (call.client, call.ticket):
                self._return_delivery(number)
                return
        if primitive is None:
            return
        mine = (call.client, call.ticket)
        primitive.waiters = deque(w for w in primitive.waiters if (w.call.client, w.call.number) != mine)
        for waiting in [w for w in primitive.putters if (w.call.client, w.call.number) == mine]:
            primitive.putters.remove(waiting)
            self._remove_references(waiting.call.value)
        if call.token and primitive.leases.get(call.token) == call.client:
            del primitive.leases[call.token]
        self._serve(call.kind, primitive)
        self._forget(key)

    def _close(self, primitive: PrimitiveState, call: PrimitiveCall, deadline: float | None) -> None:
        self._end(primitive, f"this {call.kind} was closed")
        self._reply(call, None)

    def _end(self, primitive: PrimitiveState, why: str) -> None:
        for waiting in _waiting_calls(primitive):
            self._out.append(Reply(waiting.call.client, waiting.call.number, "closed", why))
        for waiting in primitive.putters:
            self._remove_references(waiting.call.value)
        for value in primitive.values:
            self._remove_references(value)
        primitive.values.clear()
        primitive.waiters.clear()
        primitive.putters.clear()
        primitive.leases.clear()
        primitive.flag, primitive.owner = False, ""

    # -- leases and flags ---------------------------------------------------------------------------------------------

    def _acquire(self, primitive: PrimitiveState, call: PrimitiveCall, deadline: float | None) -> None:
        if call.limit != primitive.limit:
            others = f"{primitive.limit} leases" if primitive.limit != 1 else "1 lease"
            self._out.append(Reply(call.client, call.number, "wrong", f"is in use with {others}, not {call.limit}"))
            return
        primitive.waiters.append(WaitingCall(call, deadline))
        self._serve("semaphore", primitive)

    def _release(self, primitive: PrimitiveState, call: PrimitiveCall, deadline: float | None) -> None:
        if primitive.leases.get(call.token) != call.client:
            self._out.append(Reply(call.client, call.number, "wrong", "is not held by this object"))
            return
        del primitive.leases[call.token]
        self._reply(call, True)
        self._serve("semaphore", primitive)

    def _wait(self, primitive: PrimitiveState, call: PrimitiveCall, deadline: float | None) -> None:
        primitive.waiters.append(WaitingCall(call, deadline))
        self._serve("event", primitive)

    def _set_flag(self, primitive: PrimitiveState, call: PrimitiveCall, deadline: float | None) -> None:
        primitive.flag = True
        self._reply(call, None)
        self._serve("event", primitive)

    def _clear_flag(self, primitive: PrimitiveState, call: PrimitiveCall, deadline: float | None) -> None:
        primitive.flag = False
        self._reply(call, None)

    def _claim(self, primitive: PrimitiveState, call: PrimitiveCall, deadline: float | None) -> None:
        """A worker is about to create the actor; only the first may."""
        if primitive.flag or not primitive.owner:
            why = "was lost with its worker" if primitive.flag else "was released by its client"
            self._out.append(Reply(call.client, call.number, "wrong", why))
            return
        primitive.flag = True
        self._reply(call, None)

    # -- common -------------------------------------------------------------------------------------------------------

    def _reply(self, call: PrimitiveCall, value: Any) -> None:
        if call.number:
            self._out.append(Reply(call.client, call.number, "ok", value))

    def _expire(self, now: float) -> None:
        while self.deadlines and self.deadlines[0][0] <= now:
            _, key = heapq.heappop(self.deadlines)
            primitive = self.primitives.get(key)
            if primitive is None:
                continue
            late = [w for w in _waiting_calls(primitive) if w.deadline is not None and w.deadline <= now]
            for waiting in late:
                if waiting in primitive.waiters:
                    primitive.waiters.remove(waiting)
                else:
                    primitive.putters.remove(waiting)
                    self._remove_references(waiting.call.value)
                self._out.append(Reply(waiting.call.client, waiting.call.number, "timeout"))
            if late:
                self._serve(key[0], primitive)  # calls that stood behind them may be answered now
                self._forget(key)

    def _add_references(self, value: PackedValue | None) -> None:
        for task_range in value.ranges if value is not None else ():
            count = self.reference_counts[task_range] = self.reference_counts.get(task_range, 0) + 1
            if count == 1:
                self._out.append(Pin(task_range))

    def _remove_references(self, value: PackedValue | None) -> None:
        for task_range in value.ranges if value is not None else ():
            self.reference_counts[task_range] -= 1
            if not self.reference_counts[task_range]:
                del self.reference_counts[task_range]
                self._out.append(Unpin(task_range))

    def _forget(self, key: tuple[str, str]) -> None:
        primitive = self.primitives.get(key)
        if primitive is not None and primitive.unused:
            del self.primitives[key]


def _owned(primitive: PrimitiveState, call: PrimitiveCall, deadline: float | None) -> None:
    """The call has made the primitive; its client is the owner."""


def _waiting_calls(primitive: PrimitiveState) -> Iterator[WaitingCall]:
    yield from primitive.waiters
    yield from primitive.putters
