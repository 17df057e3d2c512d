"""Whether a task has begun, and its cancellation if it has not: what `concurrent.futures` asks, exactly.

A worker alone knows what it has begun. So its run is asked back, as when another worker idles, and the answer says
whether the task was among what was given back: such a task is cancelled before anything else can happen to it. The
rest of the run begins again elsewhere. On the event loop's thread, as all of the server.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from howdah.engine.protocol.events import CancelRequested
from howdah.engine.protocol.layers import TaskRange
from howdah.engine.protocol.messages import CoordinationCall, Recall, Response
from howdah.engine.scheduler.core.tables import IDLE, READY, RUNNING, WAITING, TaskBatch

if TYPE_CHECKING:
    from howdah.engine.scheduler.server.server import Server
    from howdah.engine.scheduler.server.sessions import ClientPeer

Attempt = tuple[int, int]


class Begun:
    """The questions of one server's clients about tasks: "running" and "cancel"."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._asked: dict[Attempt, list[tuple[ClientPeer, CoordinationCall]]] = {}
        self._first: dict[Attempt, int] = {}

    def asked(self, client: ClientPeer, message: CoordinationCall) -> None:
        """Answer, now or when the task's worker has."""
        span = message.spans[0]
        book = self._server.state.core.layers.get(span.layer)
        code = book.state[span.start] if book is not None else IDLE
        if message.verb == "running":
            run = self._run_of(span)
            slots = run.worker.slots if run is not None else 0
            ahead = list(run.worker.batches.values())[:slots] if run is not None else []
            self._answer(client, message, run in ahead)
        elif code == RUNNING:
            run = self._run_of(span)
            worker = self._server.workers.get(run.worker.name) if run is not None else None
            if run is None or worker is None:
                self._answer(client, message, False)
                return
            attempt = (run.ident, run.attempt)
            self._asked.setdefault(attempt, []).append((client, message))
            self._first[attempt] = run.lo
            worker.session.send(Recall(*attempt))
        elif code in (IDLE, WAITING, READY) and book is not None:
            self._cancel(client, message)
        else:
            self._answer(client, message, False)

    def cut(self, run: int, attempt: int, start: int) -> None:
        """The worker has given back the run's items from `start` on. Before the state hears of it."""
        first = self._first.pop((run, attempt), 0)
        for client, message in self._asked.pop((run, attempt), []):
            if message.spans[0].start >= first + start:
                self._cancel(client, message)
            else:
                self._answer(client, message, False)

    def finished(self, run: int, attempt: int) -> None:
        """The run has ended: it was begun."""
        if not self._asked:
            return
        self._first.pop((run, attempt), None)
        for client, message in self._asked.pop((run, attempt), []):
            self._answer(client, message, False)

    def lost(self) -> None:
        """Runs may have ended without a word, with their workers: look again at those that are not there any more."""
        runs = self._server.state.core.batches
        for number, attempt in list(self._asked):
            if number not in runs:
                self._first.pop((number, attempt), None)
                for client, message in self._asked.pop((number, attempt)):
                    self.asked(client, message)

    def _run_of(self, span: TaskRange) -> TaskBatch | None:
        book = self._server.state.core.layers.get(span.layer)
        if book is None:
            return None
        return next((run for run in book.batches if run.lo <= span.start < run.hi), None)

    def _cancel(self, client: ClientPeer, message: CoordinationCall) -> None:
        if self._server.written is not None:
            self._server.written.cancelled(client, message.id, message.spans)
        self._server.event(CancelRequested(client.id, message.spans))
        self._answer(client, message, True)

    def _answer(self, client: ClientPeer, message: CoordinationCall, value: bool) -> None:
        client.session.send(Response(message.id, ["ok", value]))
