"""The server's view of those who are connected: their sessions, what they were told, since when they are silent."""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from howdah.engine.comm.connection.framing import Buffer
from howdah.engine.comm.connection.session import Session
from howdah.engine.comm.security.certificates import Role
from howdah.engine.protocol.events import StartBatch, WorkerInfo
from howdah.engine.protocol.layers import Key, TaskRange
from howdah.engine.protocol.messages import (
    NOT_INLINE,
    ForgetLayers,
    FreeResults,
    Health,
    Hello,
    Response,
    RunBatch,
    TasksDone,
    WorkerAddresses,
)
from howdah.engine.scheduler.server.layer_store import LayerFrames


class Peer:
    """A client, owner or worker for as long as its session may go on."""

    def __init__(self, role: Role, hello: Hello, session: Session[Any], lease: float) -> None:
        self.role, self.session, self.lease = role, session, lease
        self.name, self.host, self.purpose = hello.name, hello.host, hello.purpose
        self.since = time.time()

    def overdue(self, now: float) -> bool:
        """Whether it has been without a connection for longer than its lease."""
        return self.session.disconnected_since is not None and now - self.session.disconnected_since > self.lease


class ClientPeer(Peer):
    """A client: knows which workers' addresses it has been told.

    Of one that was there before the scheduler was started again: `replies` has the answers that it may not have got, by
    the numbers of its questions, of which `last_asked` was the last; `asked` is the last that is written down now.
    """

    def __init__(self, role: Role, hello: Hello, session: Session[Any], lease: float) -> None:
        super().__init__(role, hello, session, lease)
        self.id = f"{role.name}/{hello.name}" if role.name not in ("", hello.name) else hello.name
        self.cleanup: list[str] = []
        self.worker = hello.worker
        self.replies: dict[int, Response] = {}
        self.last_asked = self.asked = 0
        self._told: dict[str, str] = {}

    def overheard(self, message: Any) -> None:
        """What the client would have been told, had it been there."""
        if isinstance(message, Response):
            self.replies[message.id] = message

    def unheard(self) -> list[Response]:
        """The answers that it may not have got."""
        sent = [message for message, _ in self.session.unacknowledged() if isinstance(message, Response)]
        return [*self.replies.values(), *sent]

    def tell_done(self, span: TaskRange, holder: str, address: str, inline: Inline | None) -> None:
        if self.session.suspended:
            return  # it is told again when it is back, addresses first
        if self._told.get(holder) != address:
            self._told[holder] = address
            self.session.send(WorkerAddresses({holder: address}))
        frames = inline.of(span) if inline is not None else ()
        self.session.send(TasksDone(span, holder), *frames)


class WorkerPeer(Peer):
    """A worker: knows which layers it has been told."""

    def __init__(self, role: Role, hello: Hello, session: Session[Any], lease: float) -> None:
        super().__init__(role, hello, session, lease)
        self.info: WorkerInfo | None = None
        self.health = Health(0, 0)
        self.running = 0
        self._defined: set[Key] = set()
        self._free = FreeResults([])

    def start(
        self,
        run: StartBatch,
        layers: LayerFrames,
        inline: bool,
        address_of: Callable[[str], str],
        others: Sequence[tuple[TaskRange, str]] = (),
    ) -> None:
        key = run.range.layer
        if key not in self._defined:
            self._defined.add(key)
            kept = layers.get(key)
            self.session.send(kept.define, kept.code)
        sources: tuple[tuple[TaskRange, str, str], ...] = ()
        if run.sources:
            sources = tuple([(span, holder, address_of(holder)) for span, holder in (*run.sources, *others)])
        self.session.send(
            RunBatch(run.batch, run.attempt, run.range, inline, sources, run.depends_on), *layers.slice(run.range)
        )

    def free(self, spans: Iterable[TaskRange]) -> None:
        """It may drop these; said together with what it was told of that just before."""
        if self.session.last_queued is not self._free:
            self._free = FreeResults([])
            self.session.send(self._free)
        self._free.spans.extend(spans)

    def forget(self, keys: Iterable[Key]) -> None:
        known = tuple([key for key in keys if key in self._defined])
        if known:
            self._defined.difference_update(known)
            self.session.send(ForgetLayers(known))


class Inline:
    """Small results that came with a report: lengths per item (NOT_INLINE for none) and their pickles, joined."""

    def __init__(self, span: TaskRange, frames: Sequence[memoryview]) -> None:
        self.span = span
        self._lengths, self._blob = frames
        self._ends: list[int] = []

    def covers(self, span: TaskRange) -> bool:
        own = self.span
        last = own.start + self._lengths.nbytes // 4
        return span.layer == own.layer and own.start <= span.start and span.stop <= last

    def of(self, span: TaskRange) -> tuple[Buffer, Buffer]:
        """The same for a part of the run."""
        a, b = span.start - self.span.start, span.stop - self.span.start
        if a == 0 and 4 * b == self._lengths.nbytes:
            return self._lengths, self._blob
        if not self._ends:
            self._ends = _ends(self._lengths)
        return self._lengths[4 * a : 4 * b], self._blob[self._ends[a] : self._ends[b]]


def _ends(lengths: memoryview) -> list[int]:
    values = array("I", bytes(lengths))
    ends, at = [0], 0
    for length in values:
        if length != NOT_INLINE:
            at += length
        ends.append(at)
    return ends
