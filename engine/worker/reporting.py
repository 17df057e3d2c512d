"""How reports of ended batches reach the scheduler: at once from an idle slot's thread, otherwise gathered.

A message costs the scheduler more than a report, so the reports of slots that go on wait up to `GATHER` seconds for
others. Used by `worker`; slots call `on_batch_end` on their threads, all else runs on the event loop's thread.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

import msgspec

from howdah.engine.comm.connection.event_loop import Loop
from howdah.engine.comm.connection.session import Session
from howdah.engine.protocol.events import BatchDone, InputsMissing
from howdah.engine.protocol.layers import TaskRange
from howdah.engine.protocol.messages import BatchBlocked, BatchFinished, SchedulerToWorker
from howdah.engine.serialization.exceptions import task_error
from howdah.engine.worker.batches import AcceptedBatches, BatchId
from howdah.engine.worker.executor import BatchReport, QueuedBatch, SlotPool
from howdah.errors import HowdahError

GATHER = 0.001
"""Seconds that a report may wait for others while its slot has more to do."""

MAX_FAILED = 1000
"""Batches with failed items whose ranges are remembered: only their reports know of the failures."""


class Reporter:
    """Sends reports over `session`; without one (None) ended batches are forgotten.

    Parameters
    ----------
    worker : name of this worker.
    loop : the running event loop.
    """

    slots: SlotPool
    """Makes the reports of batches whose own cannot be sent. Set by the owner before the first batch arrives."""
    batches: AcceptedBatches
    """Set by the owner before the first batch arrives."""

    def __init__(self, worker: str, loop: Loop) -> None:
        self.session: Session[SchedulerToWorker] | None = None
        self.failed: dict[BatchId, TaskRange] = {}
        """The ranges of reported batches of which an item has failed."""
        self.terminated = False
        """Whether SIGTERM has reached this worker, and perhaps the processes of its tasks, whose errors it excuses."""
        self._worker, self._loop = worker, loop
        self._gathered: deque[BatchReport] = deque()
        self._scheduled = False

    def on_batch_end(self, report: BatchReport, idle: bool) -> None:
        """Send the report of a slot: at once if the slot is idle, because the cost per message dominates otherwise.

        On the slot's thread.
        """
        if idle and self._send_now(report):
            return
        self._gathered.append(report)
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon_threadsafe(self._send_gathered if idle else self._send_later)
        elif idle:
            self._loop.call_soon_threadsafe(self._send_gathered)

    def _send_later(self) -> None:
        self._loop.call_later(GATHER, self._send_gathered)

    def _send_now(self, report: BatchReport) -> bool:
        """Send on the slot's thread, if that is possible and nothing else needs the loop's."""
        session, batch, done = self.session, report.batch, report.done
        if session is None or done is None or done.errors or batch.cancelled:
            return False
        with session.lock:  # a report must not overtake that of a batch whose results it depends on
            if self._scheduled:
                return False
            frames = (report.lengths.tobytes(), report.blob) if report.blob else ()
            if not session.send_now(BatchFinished(done), *frames):
                return False
            self.batches.forget(batch)
        if self.batches.held_back:
            self._loop.call_soon_threadsafe(self.batches.release_held_back)
        elif not self.batches.by_id:
            self._loop.call_soon_threadsafe(self._expect_more)
        return True

    def _expect_more(self) -> None:
        """Stay awake: the client that waited for the last result may submit more at once."""
        if not self.batches.by_id:
            self._loop.stay_awake()

    def _send_gathered(self) -> None:
        session = self.session
        if not self._scheduled:
            return  # an idle slot's report has taken the others along
        if session is None:
            self._report_all()
            return
        with session.lock:
            mine = session.cork()
            self._report_all()
            if mine:
                session.flush()

    def _report_all(self) -> None:
        self._scheduled = False
        while self._gathered:
            report = self._gathered.popleft()
            try:
                self.report(report)
            except Exception as error:  # noqa: BLE001  # the reports behind it must not be lost with it
                self.report_broken(report.batch, error, "reporting a batch")

    def report(self, report: BatchReport) -> None:
        """Send a report, and start what waited for its batch."""
        batch = report.batch
        self.batches.finish(batch)
        self.batches.release_held_back()
        if batch.cancelled or self.session is None or not (report.missing or report.done):
            return
        if report.missing:
            self.report_blocked(batch, self._worker, report.missing)
            return
        done = report.done
        assert done is not None
        if done.errors and self.terminated:
            taken = tuple((at, msgspec.structs.replace(one, kind="taken")) for at, one in done.errors)
            done = msgspec.structs.replace(done, errors=taken)
        if done.errors:
            self.failed[done.batch, done.attempt] = batch.message.range
            if len(self.failed) > MAX_FAILED:
                del self.failed[next(iter(self.failed))]
        if report.blob:
            self.session.send(BatchFinished(done), report.lengths.tobytes(), report.blob)
        else:
            self.session.send(BatchFinished(done))

    def report_broken(self, batch: QueuedBatch, error: BaseException, step: str) -> None:
        """Report a batch all of whose tasks fail, because of an error of this worker's own in `step`."""
        self.report(self.slots.broken_report(batch, error, step))

    def on_unencodable(self, message: Any, error: HowdahError) -> bool:
        """Report a batch as failed whose report cannot be encoded; other messages end the session (False)."""
        if not isinstance(message, BatchFinished) or self.session is None:
            return False
        done, worker = message.report, message.report.worker
        self.slots.errors.record("encoding a report", error)
        failure = task_error(error, worker, "", "")
        errors = tuple((at, failure) for at in range(len(done.sizes)))
        failed = BatchDone(worker, done.batch, done.attempt, (-1,) * len(done.sizes), 0.0, errors)
        self.session.send(BatchFinished(failed))
        return True

    def report_blocked(self, batch: QueuedBatch, holder: str, missing: Sequence[TaskRange]) -> None:
        """Return a batch to the scheduler because `holder` could not supply some of its inputs."""
        self.batches.finish(batch)
        if self.session is not None:
            name, message = self._worker, batch.message
            self.session.send(BatchBlocked(InputsMissing(name, message.batch, message.attempt, holder, tuple(missing))))
