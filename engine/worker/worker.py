"""A worker: one session with the scheduler, one data server for peers, slots that run batches.

It follows the scheduler's messages (`on_<message>`) and reports. When the scheduler is lost it keeps its results, goes
on with its batches, and tries to reconnect until its lease is over. A scheduler that has forgotten it gets a new
registration with its results and its running batches. A scheduler that was restarted from its journal (its restart
number begins alike) takes these batches over; to one that does not know them they mean nothing, so they are cancelled.
Made by `process.main`; clients reach it as `dask_worker` in functions that they run here.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

import msgspec

from howdah.engine.comm.connection.channel import Channel
from howdah.engine.comm.connection.connect import Handler, send_greeting
from howdah.engine.comm.connection.enrollment import obtain_certificate
from howdah.engine.comm.connection.event_loop import Loop
from howdah.engine.comm.connection.session import Session
from howdah.engine.comm.data import buffer_pool
from howdah.engine.comm.data.transfer import PeerConnections
from howdah.engine.comm.security.certificates import Role, Security
from howdah.engine.protocol.events import BatchReturned, WorkerInfo
from howdah.engine.protocol.layers import TaskRange
from howdah.engine.protocol.messages import (
    RESTART,
    BatchBlocked,
    BatchCut,
    BatchFinished,
    Bye,
    CopyResults,
    DefineLayer,
    ForgetLayers,
    FreeResults,
    Hello,
    InstallFiles,
    Leave,
    Recall,
    RegisterWorker,
    ResultsCopied,
    RunBatch,
    SchedulerToWorker,
    SlotCount,
    Welcome,
    WorkerGone,
)
from howdah.engine.serialization.remote_calls import execute_call
from howdah.engine.worker.batches import AcceptedBatches, BatchId
from howdah.engine.worker.data_server import DataServer
from howdah.engine.worker.draining import Drain
from howdah.engine.worker.executor import BatchReport, QueuedBatch, SlotPool, unpicklable_input_report
from howdah.engine.worker.exits import BROKEN, LEFT, RESTART_CODE
from howdah.engine.worker.fetch import FetchSource, InputFetcher, SourceUnavailable
from howdah.engine.worker.internal_errors import InternalErrors
from howdah.engine.worker.memory_monitor import MemoryMonitor
from howdah.engine.worker.reporting import Reporter
from howdah.engine.worker.scheduler_link import SchedulerLink
from howdah.engine.worker.status_page import StatusPage
from howdah.engine.worker.store.store import ResultStore
from howdah.engine.worker.task_code import LayerCode
from howdah.engine.worker.timeouts import TimeoutWatcher
from howdah.engine.worker.uploaded_files import UploadedFiles

log = logging.getLogger(__name__)

MEMORY_PER_FETCH = 64 << 20
"""Bytes of the memory limit for each fetch that is under way at once."""

HEARTBEAT = 1.0
"""Seconds between heartbeats."""

REPLACE_GRACE = 10.0
"""Seconds in which a worker with a stuck slot finishes its other batches, before its process is replaced."""

NO_ITEMS = TaskRange(b"", 0, 0)
"""The items of a batch of which only the report is left: its results are in the store."""


def _inputs_of(batch: QueuedBatch | None) -> tuple[TaskRange, ...]:
    """The inputs that a batch has to fetch; none where only its report is left."""
    return () if batch is None else tuple([task_range for task_range, _, _ in batch.message.sources])


class Worker:
    """One worker. `run` returns an exit code of `exits`; the worker does not run twice.

    Parameters
    ----------
    info : name, host and resources; `address` is filled in when the data server listens.
    scheduler : the scheduler's address.
    security : None over Unix sockets.
    listen : where the data server listens.
    lease : seconds for which a lost scheduler is searched.
    memory_limit : bytes; 0 for none.
    local_dir : where results go that exceed the memory, and users' files.
    died : why the process before this one, of the same name, ended.
    status_page : where slots write what they run, for the supervisor.
    handlers : purpose of a connection -> what serves it, besides "data" and "call".
    """

    def __init__(
        self,
        info: WorkerInfo,
        scheduler: str,
        security: Security | None,
        listen: str,
        lease: float = 60.0,
        memory_limit: int = 0,
        local_dir: str = "",
        died: str = "",
        status_page: StatusPage | None = None,
        handlers: Mapping[str, Handler] | None = None,
    ) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, Loop)
        self.info, self.scheduler, self.security = info, scheduler, security
        self.store = ResultStore(memory_limit, local_dir)
        self.memory = MemoryMonitor(memory_limit)
        self.on_identity: Callable[[Security], None] = lambda granted: None
        """Called with the identity that the scheduler has granted."""
        self.on_listening: Callable[[Worker], None] = lambda worker: None
        """Called when the data server listens and `info.address` is known, before the first task."""
        self._identity = (info.name, info.host, info.container)
        self._loop, self._listen = loop, listen
        self.errors = InternalErrors()
        """Errors of the worker's own code, counted."""
        self._reporter = Reporter(info.name, loop)
        self._slots = SlotPool(
            info.slots, self.store, self._reporter.on_batch_end, *self._identity, status_page, self.errors
        )
        self._reporter.slots = self._slots
        self._slots.on_change = self._on_slots_change
        self._batches = self._reporter.batches = AcceptedBatches(self._slots, self.memory)
        self._timeouts = TimeoutWatcher(self._slots, self._on_timeout)
        self._data_server = DataServer(self.store.pack, {"call": self._serve_calls, **(handlers or {})}, local_dir)
        self._link = SchedulerLink(scheduler, info.name, info.host, lease, self._on_message, self._on_new_session)
        self._files = UploadedFiles(local_dir)
        self._tasks: set[asyncio.Task[None]] = set()
        self._restart = ""
        """The scheduler's restart number: before the first dot what all restarts from one journal have in common."""
        self._code = LEFT
        self._leaving: asyncio.Future[str] = loop.create_future()
        self._died = died
        self._drain: Drain | None = None
        self._handlers: dict[type, Callable[[Any, Sequence[memoryview]], None]] = {
            RunBatch: self.on_run_batch,
            DefineLayer: self.on_define_layer,
            FreeResults: self.on_free_results,
            Recall: self.on_recall,
            ForgetLayers: self.on_forget_layers,
            CopyResults: self.on_copy_results,
            InstallFiles: self.on_install_files,
            WorkerGone: self.on_worker_gone,
            Leave: self.on_leave,
        }

    # -- life -----------------------------------------------------------------------------------------------------

    async def run(self) -> int:
        """Serve until the worker is asked to leave, is refused, or has lost the scheduler."""
        if self.security is not None and not self.security.certificate:
            container = self.info.container or self.info.name
            self.security = await obtain_certificate(self.scheduler, self.security, container)
            self.on_identity(self.security)
        self._link.security = self.security
        address = self._data_server.open(self._listen, self.security)
        self.info = msgspec.structs.replace(self.info, address=address)
        self.on_listening(self)
        limit = self.info.memory or 1 << 40  # results that are being fetched need memory, too
        self._peers = PeerConnections(
            self.info.name, self.security, max_requests=max(2, min(8, limit // MEMORY_PER_FETCH))
        )
        self._fetcher = InputFetcher(self.store, self._peers)
        beating = asyncio.ensure_future(self._heartbeat())
        connecting = asyncio.ensure_future(self._link.run())
        try:
            either: list[asyncio.Future[Any]] = [connecting, self._leaving]
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if self._leaving.done():
                await self._link.close_with(Bye(self._leaving.result()))
                return self._code
            return connecting.result()
        finally:
            beating.cancel()
            connecting.cancel()
            self._data_server.close()
            self._peers.close()
            self._slots.close()
            self._files.close()
            self.store.close()

    def leave(self, reason: str) -> None:
        """Leave at once, and send the reason. On the event loop's thread."""
        if not self._leaving.done():
            self._leaving.set_result(reason)

    def drain(self, reason: str, grace: float, code: int = LEFT, terminated: bool = False) -> None:
        """Leave within `grace` seconds, and lose as little as possible (see `draining`). On the event loop's thread.

        Parameters
        ----------
        code : the exit code.
        terminated : whether all processes of the container got SIGTERM, those that tasks have started among them.
        """
        if self._drain is None:
            self._code = code
            self._reporter.terminated = terminated
            self._drain = Drain(reason, grace, self._link.send, self._return_batches, self.leave)
            self._drain.begin()

    async def _heartbeat(self) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT)
            now = time.monotonic()
            buffer_pool.trim(buffer_pool.MAX_IDLE_SECONDS)
            if self._link.session is None:
                continue
            self.store.spiller.check()
            health = self.memory.sample(self.store.memory, self.errors.count)
            if health is not None:
                self._link.send(health)
            self._link.heartbeat(now, HEARTBEAT)
            self._batches.release_held_back()

    def _on_new_session(
        self, session: Session[SchedulerToWorker], old: Session[SchedulerToWorker] | None, restart: str
    ) -> None:
        """Register with a scheduler that does not know this worker, or has forgotten it."""
        unacknowledged = old.unacknowledged() if old is not None else []
        if restart.partition(".")[0] != self._restart.partition(".")[0]:
            # Another scheduler: its batch numbers are its own, and the batches of the old one mean nothing to it.
            self._batches.cancel_all()
            self._reporter.failed.clear()
            unacknowledged = []
        self._batches.forget_unused_codes()
        reports = [
            (message, frames)
            for message, frames in unacknowledged
            if isinstance(message, BatchFinished | BatchBlocked | BatchCut)
        ]
        running: dict[BatchId, TaskRange] = {
            name: TaskRange(batch.message.range.layer, batch.start, batch.stop)
            for name, batch in self._batches.by_id.items()
        }
        for message, _ in reports:
            name = message.report.batch, message.report.attempt
            running.setdefault(name, self._reporter.failed.get(name, NO_ITEMS))
        self._restart = restart
        ranges = tuple(running.values())
        inputs = tuple(_inputs_of(self._batches.by_id.get(name)) for name in running)
        holdings = tuple(self.store.holdings())
        self._fetcher.discard_in_flight_except(
            [*(task_range for task_range, _ in holdings), *(task_range for some in inputs for task_range in some)]
        )
        session.send(RegisterWorker(self.info, holdings, tuple(running), ranges, inputs, self._died))
        self._died = ""
        if self._drain is not None:
            session.send(self._drain.message)
        elif self._slots.extra:
            session.send(SlotCount(self._slots.count + self._slots.extra))
        for message, frames in reports:
            session.send(message, *frames)
        session.on_unencodable = self._reporter.on_unencodable
        self._reporter.session = session

    # -- messages of the scheduler --------------------------------------------------------------------------------

    def _on_message(self, message: SchedulerToWorker, frames: Sequence[memoryview]) -> None:
        try:
            self._handlers[type(message)](message, frames)
        except Exception as error:  # noqa: BLE001  # one message must not end the session, and with it all batches
            self._on_broken_message(message, error)

    def _on_broken_message(self, message: SchedulerToWorker, error: Exception) -> None:
        """Fail the tasks of a batch that could not be accepted; any other message is counted and logged."""
        step = f"handling {type(message).__name__}"
        batch = self._batches.by_id.get((message.batch, message.attempt)) if isinstance(message, RunBatch) else None
        if batch is None and isinstance(message, RunBatch) and message.range.layer in self._batches.codes:
            batch = QueuedBatch(message, self._batches.codes[message.range.layer], (), b"")
        if batch is None:
            self.errors.record(step, error)
        else:
            self._reporter.report_broken(batch, error, step)

    def on_run_batch(self, message: RunBatch, frames: Sequence[memoryview]) -> None:
        batch = self._batches.accept(message, frames)
        self._loop.may_sleep()
        if batch.code.layer.timeout:
            self._timeouts.watch(batch)
        if self._drain is not None:
            self._recall((message.batch, message.attempt))
        elif message.sources:
            self._run_in_background(self._fetch_inputs(batch))
        else:
            self._batches.enqueue(batch)

    def on_define_layer(self, message: DefineLayer, frames: Sequence[memoryview]) -> None:
        self._batches.codes[message.key] = LayerCode(message, frames[0])

    def on_free_results(self, message: FreeResults, frames: Sequence[memoryview]) -> None:
        self._fetcher.free(message.ranges)

    def on_recall(self, message: Recall, frames: Sequence[memoryview]) -> None:
        self._recall((message.batch, message.attempt))

    def on_forget_layers(self, message: ForgetLayers, frames: Sequence[memoryview]) -> None:
        for key in message.keys:
            self._batches.codes.pop(key, None)

    def on_copy_results(self, message: CopyResults, frames: Sequence[memoryview]) -> None:
        self._run_in_background(self._copy(message.sources))

    def on_install_files(self, message: InstallFiles, frames: Sequence[memoryview]) -> None:
        self._files.install(message.names, frames)

    def on_worker_gone(self, message: WorkerGone, frames: Sequence[memoryview]) -> None:
        self._peers.abort(message.address)

    def on_leave(self, message: Leave, frames: Sequence[memoryview]) -> None:
        if message.reason == RESTART:
            self._code = RESTART_CODE
        if message.grace:
            self.drain(message.reason, message.grace, self._code)
        else:
            self.leave(message.reason or "asked to go")

    # -- batches --------------------------------------------------------------------------------------------------

    async def _fetch_inputs(self, batch: QueuedBatch) -> None:
        """Fetch the inputs of a batch, then queue it."""
        try:
            await self._fetcher.fetch(batch.message.sources)
        except SourceUnavailable as error:
            if batch.cancelled:
                return
            if error.final:
                self._reporter.report(unpicklable_input_report(batch, error.reason, *self._identity))
                return
            log.info("batch %d is returned: %s", batch.message.batch, error.reason)
            self._reporter.report_blocked(batch, error.holder, error.ranges)
        except Exception as error:  # noqa: BLE001  # the batch fails with it; the worker goes on
            self._reporter.report_broken(batch, error, "fetching the inputs of a batch")
        else:
            self._batches.enqueue(batch)

    async def _copy(self, sources: tuple[FetchSource, ...]) -> None:
        try:
            await self._fetcher.fetch(sources)
        except SourceUnavailable:
            pass  # the report below says what is here
        except Exception as error:  # noqa: BLE001  # the scheduler looks for another source, or another worker
            self.errors.record("copying results", error)
        here: list[TaskRange] = []
        missing: list[TaskRange] = []
        for task_range, _, _ in sources:
            (here if self.store.has(task_range.layer, task_range.start) else missing).append(task_range)
        self._link.send(ResultsCopied(tuple(here), tuple(missing)))

    def _recall(self, batch_id: BatchId) -> None:
        if self._link.session is not None:
            returned = self._batches.recall(batch_id)
            if returned is not None:
                self._link.session.send(BatchCut(returned))

    def _return_batches(self) -> None:
        """Return all items that have not started."""
        for batch_id in list(self._batches.by_id):
            self._recall(batch_id)

    def _on_slots_change(self, cut: BatchReturned | None) -> None:
        """On a slot's thread."""
        self._loop.call_soon_threadsafe(self._on_slots_changed, cut)

    def _on_slots_changed(self, cut: BatchReturned | None) -> None:
        """A task has released its slot, and the rest of its batch is returned; or it has a slot again."""
        if cut is not None:
            self._link.send(BatchCut(cut))
        if self._drain is None:
            self._link.send(SlotCount(self._slots.count + self._slots.extra))
        self._batches.release_held_back()

    def _on_timeout(self, report: BatchReport, cut: BatchReturned | None) -> None:
        """A task has exceeded its time limit: it has failed, and this worker leaves, for its slot is stuck."""
        if cut is not None:
            self._link.send(BatchCut(cut))
        self._reporter.report(report)
        name = f"{report.batch.code.layer.name}[{report.batch.stop - 1}]"
        reason = f"{name} did not end in time and keeps its slot; the process is replaced"
        self.drain(reason, REPLACE_GRACE, RESTART_CODE)

    def _run_in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._on_background_end)

    def _on_background_end(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("a fetch failed in an unforeseen way", exc_info=task.exception())
            self._code = BROKEN
            self.leave("an error of howdah's own; see this worker's log")

    # -- calls ----------------------------------------------------------------------------------------------------

    async def _serve_calls(self, channel: Channel, role: Role, hello: Hello) -> None:
        """Run the functions that clients send, each on a thread of its own (`Client.run`)."""
        await send_greeting(channel, Welcome(""))
        while True:
            request = await channel.read()
            await channel.write_and_drain(await asyncio.to_thread(execute_call, request[0], self))
