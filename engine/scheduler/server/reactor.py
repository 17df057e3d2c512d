"""The meeting point of the pure scheduler and its peers: an event goes in, its instructions become messages.

`Reactor` is the server's `ServerContext`. It decides nothing; it only carries out what `Scheduler.handle` returns, at
once and in order. An exception in the scheduler is a defect of howdah: the reactor handles no further event, and the
server closes with the reason.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

from howdah.engine.protocol.events import (
    Event,
    ForgetLayer,
    FreeRanges,
    HostExcluded,
    JournalFailure,
    NotifyDone,
    NotifyFailed,
    NotifyLost,
    NotifyStuck,
    RecallBatch,
    Released,
    StartBatch,
    Tick,
)
from howdah.engine.protocol.frames import Buffer
from howdah.engine.protocol.layers import Key, TaskRange
from howdah.engine.protocol.messages import Recall, ResultsLost, TasksErred, TasksUnschedulable
from howdah.engine.scheduler.core.scheduler import Scheduler
from howdah.engine.scheduler.server.commands import FIRE_AND_FORGET
from howdah.engine.scheduler.server.journal_writer import JournalWriter
from howdah.engine.scheduler.server.layer_store import LayerStore
from howdah.engine.scheduler.server.sessions import InlineResults, Peers

log = logging.getLogger(__name__)

HEARTBEAT = 0.5
"""Seconds between two heartbeats of the server; a `Tick` that is due later waits for the heartbeat."""

MOST_FORGOTTEN = 100
"""Forgotten layers that are sent to workers together; fewer are sent with the next heartbeat."""

MOST_OTHERS = 2
"""Other holders of an input that are sent to a worker, beside the one from which it is to fetch."""


class Reactor:
    """One scheduler and the messages that it causes.

    Parameters
    ----------
    on_failure : called once with the reason when the scheduler has raised an exception.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        peers: Peers,
        layers: LayerStore,
        journal: JournalWriter,
        on_failure: Callable[[str], None],
    ) -> None:
        self.scheduler, self.views, self.journal = scheduler, scheduler.views, journal
        self.clock_offset = time.time() - time.monotonic()
        self.failure = ""
        """Why no event is handled any more; '' while all is well."""
        self._peers, self._layers, self._on_failure = peers, layers, on_failure
        self._timer: asyncio.TimerHandle | None = None
        self._forgotten: dict[Key, None] = {}
        """Layers that workers may still have."""
        self._handlers: dict[type[Any], Callable[[Any, InlineResults | None], None]] = {
            StartBatch: self.on_start_batch,
            NotifyDone: self.on_notify_done,
            NotifyFailed: self.on_notify_failed,
            NotifyStuck: self.on_notify_stuck,
            NotifyLost: self.on_notify_lost,
            FreeRanges: self.on_free_ranges,
            RecallBatch: self.on_recall_batch,
            JournalFailure: self.on_note_failure,
            HostExcluded: self.on_host_excluded,
            ForgetLayer: self.on_forget_layer,
        }

    # -- the port -----------------------------------------------------------------------------------------------------

    def clock(self) -> float:
        """Seconds of a monotonic clock; during a replay, the time of the record that is being replayed."""
        past = self.journal.replay_time
        return time.monotonic() if past is None else past

    def send_to_client(self, name: str, message: Any, *frames: Buffer) -> None:
        """Send `message` to the client of this name; nothing happens if it has left."""
        client = self._peers.clients.get(name)
        if client is not None:
            client.session.send(message, *frames)

    def send_to_worker(self, name: str, message: Any, *frames: Buffer) -> None:
        """Send `message` to the worker of this name; nothing happens if it has left."""
        worker = self._peers.workers.get(name)
        if worker is not None:
            worker.session.send(message, *frames)

    def handle(self, event: Event, inline: InlineResults | None = None) -> None:
        """Pass `event` to the scheduler and carry out its instructions. `inline`: results that came with the event."""
        if self.failure:
            return
        past = self.journal.replay_time
        try:
            handlers = self._handlers
            for instruction in self.scheduler.handle(event, time.monotonic() if past is None else past):
                handlers[type(instruction)](instruction, inline)
        except Exception as error:  # a defect of howdah: the server closes, so that no client waits for ever
            self.failure = f"an error of howdah's own in the scheduler: {type(error).__name__}: {error}"
            log.critical("%s", self.failure, exc_info=error)
            self._on_failure(self.failure)
            return
        if past is not None:
            return
        due = self.scheduler.wake_at
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if due is not None:
            delay = due - time.monotonic()
            if delay < HEARTBEAT:
                self._timer = asyncio.get_running_loop().call_later(max(delay, 0.01), self.handle, Tick())

    def on_heartbeat(self) -> None:
        """Pass the time to the scheduler, and send workers the layers that were forgotten."""
        self.handle(Tick())
        if self._forgotten:
            self._send_forgotten()

    # -- instructions -------------------------------------------------------------------------------------------------

    def on_start_batch(self, batch: StartBatch, inline: InlineResults | None) -> None:
        """Send a batch to its worker."""
        peers = self._peers
        if peers.first_task is None:
            peers.first_task = time.time()
        worker = peers.workers.get(batch.worker)
        if worker is None:
            return  # the scheduler is about to handle that it left
        peers.batches[batch.batch, batch.attempt] = batch.range
        if batch.range.layer in self._forgotten:
            self._send_forgotten()  # before the layer is defined again
        others = self._other_holders(batch) if batch.sources else ()
        worker.start(batch, self._layers, peers.address_of, others)

    def _other_holders(self, batch: StartBatch) -> list[tuple[TaskRange, str]]:
        """Further holders of the batch's inputs, in case that fetching from the first fails."""
        found: list[tuple[TaskRange, str]] = []
        copy_holders = self.views.copy_holders
        for task_range, holder in batch.sources:
            found += [(part, name) for part, name in copy_holders(task_range, MOST_OTHERS) if name != holder]
        return found

    def on_notify_done(self, note: NotifyDone, inline: InlineResults | None) -> None:
        """Send a client that tasks have results."""
        peers = self._peers
        client = peers.clients.get(note.client)
        if client is not None:
            # Only results of the reported batch came along; a result of another batch is fetched from its holder.
            mine = inline if inline is not None and inline.covers(note.range) else None
            client.send_done(note.range, note.holder, peers.address_of(note.holder), mine)
        elif note.client == FIRE_AND_FORGET:
            self._end_fire_and_forget(note.range)

    def on_notify_failed(self, note: NotifyFailed, inline: InlineResults | None) -> None:
        """Send a client that tasks have failed."""
        if note.client == FIRE_AND_FORGET:
            self._end_fire_and_forget(note.range)
        self.send_to_client(note.client, TasksErred(note.range, note.error, note.cause))

    def _end_fire_and_forget(self, task_range: TaskRange) -> None:
        """Tasks that no client waits for have ended: their results are released."""
        if not self.journal.replaying:
            self.journal.record_interest_ended(FIRE_AND_FORGET, (task_range,))
            asyncio.get_running_loop().call_soon(self.handle, Released(FIRE_AND_FORGET, (task_range,)))

    def on_notify_stuck(self, note: NotifyStuck, inline: InlineResults | None) -> None:
        """Send a client that tasks wait for a worker that does not exist."""
        if note.client in self._peers.clients:
            log.warning("%s", note.reason)
        self.send_to_client(note.client, TasksUnschedulable(note.range, note.reason))

    def on_notify_lost(self, note: NotifyLost, inline: InlineResults | None) -> None:
        """Send a client that results were lost and are computed again."""
        self.send_to_client(note.client, ResultsLost(note.range))

    def on_free_ranges(self, note: FreeRanges, inline: InlineResults | None) -> None:
        """Send a worker the results that it may delete."""
        worker = self._peers.workers.get(note.worker)
        if worker is not None:
            worker.free(note.ranges)

    def on_recall_batch(self, note: RecallBatch, inline: InlineResults | None) -> None:
        """Send a worker the request to return what it has not begun of a batch."""
        self.send_to_worker(note.worker, Recall(note.batch, note.attempt))

    def on_note_failure(self, note: JournalFailure, inline: InlineResults | None) -> None:
        """Record a failure, which a restarted scheduler must not compute again."""
        self.journal.record_failure(note.range, note.error)

    def on_host_excluded(self, note: HostExcluded, inline: InlineResults | None) -> None:
        """Log that a host gets no work for a while, or gets work again."""
        if note.seconds:
            log.warning("host %s gets no work for %.0f s: %s", note.host, note.seconds, note.reason)
        else:
            log.info("host %s: %s", note.host, note.reason)

    def on_forget_layer(self, note: ForgetLayer, inline: InlineResults | None) -> None:
        """Delete a layer's frames; workers receive the news later, of several layers together."""
        self._layers.forget(note.layer)
        self._forgotten[note.layer] = None
        if len(self._forgotten) >= MOST_FORGOTTEN:
            self._send_forgotten()

    def _send_forgotten(self) -> None:
        for worker in self._peers.workers.values():
            worker.forget(self._forgotten)
        self._forgotten.clear()
