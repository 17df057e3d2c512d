"""Whether a task has begun, and its cancellation if it has not: what `concurrent.futures` requires, exactly.

Only its worker can tell whether a task has begun. So the task's batch is recalled, as when another worker is idle, and
the worker's report shows whether the task was among those returned: such a task is cancelled before anything else can
happen to it. The other tasks that were returned run elsewhere.
"""

from __future__ import annotations

from howdah.engine.protocol.events import CancelRequested
from howdah.engine.protocol.messages import CoordinationCall, Recall, Response
from howdah.engine.scheduler.server.context import ServerContext
from howdah.engine.scheduler.server.sessions import ClientPeer, Peers

Attempt = tuple[int, int]


class TaskCancellation:
    """Requests of clients about single tasks: "running" and "cancel"."""

    def __init__(self, context: ServerContext, peers: Peers) -> None:
        self._context, self._peers = context, peers
        self.pending: dict[Attempt, list[tuple[ClientPeer, CoordinationCall]]] = {}
        """Requests that wait for the report about a recalled batch."""
        self._first: dict[Attempt, int] = {}
        """The first item of each of these batches."""

    def on_request(self, client: ClientPeer, message: CoordinationCall) -> None:
        """Answer at once, or when the task's worker has reported."""
        task, views = message.ranges[0], self._context.views
        if message.verb == "running":
            batch = views.batch_of(task)
            self._answer(client, message, batch is not None and batch.in_slot)
            return
        state = next(iter(views.status(task)), "")
        if state == "running":
            batch = views.batch_of(task)
            if batch is None or batch.worker not in self._peers.workers:
                self._answer(client, message, False)
                return
            attempt = (batch.number, batch.attempt)
            self.pending.setdefault(attempt, []).append((client, message))
            self._first[attempt] = batch.start
            self._context.send_to_worker(batch.worker, Recall(*attempt))
        elif state in ("idle", "waiting", "ready"):
            self._cancel(client, message)
        else:
            self._answer(client, message, False)

    def before_batch_returned(self, batch: int, attempt: int, start: int) -> None:
        """The worker has returned the batch's items from `start` on, which the scheduler has not handled yet."""
        first = self._first.pop((batch, attempt), 0)
        for client, message in self.pending.pop((batch, attempt), []):
            if message.ranges[0].start >= first + start:
                self._cancel(client, message)
            else:
                self._answer(client, message, False)

    def on_batch_finished(self, batch: int, attempt: int) -> None:
        """The batch has run: its tasks had begun."""
        self._first.pop((batch, attempt), None)
        for client, message in self.pending.pop((batch, attempt), []):
            self._answer(client, message, False)

    def on_batches_lost(self) -> None:
        """Batches may have ended without a report, with their workers: handle the requests about them again."""
        for number, attempt in list(self.pending):
            if not self._context.views.has_batch(number):
                self._first.pop((number, attempt), None)
                for client, message in self.pending.pop((number, attempt)):
                    self.on_request(client, message)

    def _cancel(self, client: ClientPeer, message: CoordinationCall) -> None:
        self._context.journal.record_cancellation(client, message.id, message.ranges)
        self._context.handle(CancelRequested(client.id, message.ranges))
        self._answer(client, message, True)

    def _answer(self, client: ClientPeer, message: CoordinationCall, value: bool) -> None:
        client.session.send(Response(message.id, ["ok", value]))
