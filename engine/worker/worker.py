"""A worker's process: one session with the scheduler, one data server for peers, slots that run.

It follows instructions and reports. When the scheduler is lost it keeps what it holds, goes on with its runs, tries
again until its lease is over, and introduces itself anew, with its holdings and what it runs, if the scheduler has
forgotten it. A scheduler that was started again from its journal (its epoch begins alike) takes its runs over; what
one that knows nothing of them told it to run is void.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import socket
import time
from array import array
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec

from howdah.engine.comm.connection.channel import Channel, ChannelClosed
from howdah.engine.comm.connection.connect import Listener, connect, send_greeting
from howdah.engine.comm.connection.enrollment import obtain_certificate
from howdah.engine.comm.connection.event_loop import Loop
from howdah.engine.comm.connection.session import Session, decoder_of
from howdah.engine.comm.data import buffer_pool as kept
from howdah.engine.comm.data.local_socket import LocalSocket
from howdah.engine.comm.data.transfer import PeerConnections, serve_results, welcome_peer
from howdah.engine.comm.security.certificates import Role, Security
from howdah.engine.coordination.actor_host import serve_actors
from howdah.engine.coordination.worker_context import set_current_worker
from howdah.engine.protocol.events import BatchReturned, InputsMissing, WorkerInfo
from howdah.engine.protocol.layers import Key, TaskRange
from howdah.engine.protocol.messages import (
    RESTART,
    BatchBlocked,
    BatchCut,
    BatchFinished,
    Bye,
    CopyResults,
    DefineLayer,
    Draining,
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
from howdah.engine.worker import uploaded_files as files
from howdah.engine.worker.draining import Drain
from howdah.engine.worker.executor import BatchReport, QueuedBatch, SlotPool, unpicklable_input_report
from howdah.engine.worker.fetch import InputFetcher, SourceUnavailable
from howdah.engine.worker.memory_monitor import MemoryMonitor
from howdah.engine.worker.status_page import StatusPage
from howdah.engine.worker.store import scratch
from howdah.engine.worker.store.store import ResultStore
from howdah.engine.worker.task_code import LayerCode
from howdah.engine.worker.timeouts import TimeoutWatcher
from howdah.errors import DeadlineExceeded, EnvironmentMismatch, PeerRefused

log = logging.getLogger(__name__)

MOST_FAILED = 1000
"""Runs in which something failed whose spans are remembered: what is known of failures is in their reports alone."""

MEMORY_PER_FETCH = 64 << 20
"""Bytes of the memory limit for each fetch that is under way at once."""

BEAT = 1.0
"""Seconds between heartbeats."""

GATHER = 0.001
"""Seconds that a report may wait for others while its slot has more to do."""

REPLACE_GRACE = 10.0
"""Seconds in which a worker with a stuck slot finishes what else it runs, before its process is replaced."""

LONGEST_PAUSE = 0.5
"""Seconds between attempts to find the scheduler: one that was started again waits for its last worker."""

NOTHING = TaskRange(b"", 0, 0)
"""The items of a run of which only its report is left: what it made is in the store."""


def _inputs_of(work: QueuedBatch | None) -> tuple[TaskRange, ...]:
    """What the run was to fetch; nothing more, where only its report is left."""
    return () if work is None else tuple([span for span, _, _ in work.message.sources])


class Worker:
    """One worker. `run` returns the exit code: 0 told to leave, 3 the scheduler is lost, 4 refused,
    5 an error of howdah's own.

    Parameters
    ----------
    info : who this is; `address` is filled in when the data server listens.
    scheduler : the scheduler's address.
    security : None over Unix sockets.
    listen : where the data server listens.
    lease : seconds for which a lost scheduler is looked for.
    memory_limit : bytes; 0 for none.
    local_dir : where results go that memory has no room for, and users' files.
    died : why the process before this one ended, of the same name.
    board : where it is said what runs, for the supervisor.
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
        board: StatusPage | None = None,
    ) -> None:
        self.info, self.scheduler, self.security, self.lease = info, scheduler, security, lease
        self.listen, self._local_dir = listen, local_dir
        self._near: LocalSocket | None = None
        self.store = ResultStore(memory_limit, local_dir)
        self.memory = MemoryMonitor(memory_limit)
        self._where = (info.name, info.host, info.container)
        loop = asyncio.get_running_loop()
        assert isinstance(loop, Loop)
        self._loop = loop
        self._pool = ThreadPoolExecutor(8, "howdah-transfer")
        self._slots = SlotPool(info.slots, self.store, self._finished, *self._where, board)
        self._slots.on_change = self._slots_change
        self._files = files.UploadedFiles(local_dir)
        self._codes: dict[Key, LayerCode] = {}
        self._works: dict[tuple[int, int], QueuedBatch] = {}
        self._held_back: list[QueuedBatch] = []
        self._reports: deque[BatchReport] = deque()
        self._woken = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._decoder = decoder_of(SchedulerToWorker)
        self._session: Session[SchedulerToWorker] | None = None
        self._epoch = ""
        self._failed: dict[tuple[int, int], TaskRange] = {}
        self._code = 0
        self._leave: asyncio.Future[str] = self._loop.create_future()
        self._died = died
        self._drain: Drain | None = None
        self._overdue = TimeoutWatcher(self._slots, self._say_overdue)
        self.on_identity: Callable[[Security], None] = lambda mine: None
        """Told the identity that the scheduler has granted."""

    # -- life -----------------------------------------------------------------------------------------------------

    async def run(self) -> int:
        if self.security is not None and not self.security.certificate:
            container = self.info.container or self.info.name
            self.security = await obtain_certificate(self.scheduler, self.security, container)
            self.on_identity(self.security)
        listener = Listener({"data": self._serve_data, "call": self._serve_calls, "actor": serve_actors}, self.security)
        self.info = msgspec.structs.replace(self.info, address=listener.open(self.listen))
        if self.security is not None:
            self._near_folder = scratch.make_folder(self._local_dir, "near")
            self._near = LocalSocket(self._near_folder, self._serve_near)
        set_current_worker(self.info, self.scheduler, self.security)
        limit = self.info.memory or 1 << 40  # what is on its way has to have room, too
        self._peers = PeerConnections(self.info.name, self.security, most=max(2, min(8, limit // MEMORY_PER_FETCH)))
        self._fetching = InputFetcher(self.store, self._peers)
        beating = asyncio.ensure_future(self._beat())
        connecting = asyncio.ensure_future(self._stay_connected())
        try:
            either: list[asyncio.Future[Any]] = [connecting, self._leave]
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if self._leave.done():
                if self._session is not None:
                    await self._session.close_with(Bye(self._leave.result()))
                return self._code
            return connecting.result()
        finally:
            beating.cancel()
            connecting.cancel()
            listener.close()
            if self._near is not None:
                self._near.close()
                shutil.rmtree(self._near_folder, ignore_errors=True)
            self._peers.close()
            self._slots.close()
            self._files.close()
            self.store.close()

    def leave(self, reason: str) -> None:
        """Go, saying so. On the loop's thread."""
        if not self._leave.done():
            self._leave.set_result(reason)

    def drain(self, reason: str, grace: float, code: int = 0, signalled: bool = False) -> None:
        """Go within `grace` seconds, and lose as little by it as can be (`drain`). On the loop's thread."""
        if self._drain is None:
            self._code = code
            self._drain = Drain(self, reason, grace, signalled)
            self._drain.begin()

    async def _stay_connected(self) -> int:
        lost_since = time.monotonic()
        pause = 0.05
        while True:
            session = self._session
            hello = Hello("worker", self.info.name, host=self.info.host, lease=self.lease)
            if session is not None:
                hello.session, hello.received = session.id, session.received
            try:
                channel, answer = await connect(self.scheduler, hello, self.security, expect="scheduler")
            except (PeerRefused, EnvironmentMismatch) as error:
                log.error("the scheduler at %s refused this worker: %s", self.scheduler, error)
                return 4
            except (ChannelClosed, OSError, DeadlineExceeded) as error:
                if time.monotonic() - lost_since > self.lease:
                    log.error("no scheduler at %s for %.0f s (%s); leaving", self.scheduler, self.lease, error)
                    return 3
                await asyncio.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE)
                continue
            session = self._resume(session, answer)
            await session.run(channel, answer.received)
            lost_since, pause = time.monotonic(), 0.05

    def _resume(self, session: Session[SchedulerToWorker] | None, answer: Welcome) -> Session[SchedulerToWorker]:
        if session is not None and answer.resumed:
            return session
        unsaid = session.unacknowledged() if session is not None else []
        fresh: Session[SchedulerToWorker] = Session(answer.session, self._decoder, self._told, "the scheduler")
        epoch = answer.details.get("epoch", "")
        if epoch.partition(".")[0] != self._epoch.partition(".")[0]:
            # Another scheduler: its numbers of runs are its own, and what the old one told us to run is void.
            for work in self._works.values():
                work.cancelled = True
            self._works.clear()
            self._held_back.clear()
            self._failed.clear()
            unsaid = []
        self._codes = {work.code.layer.key: work.code for work in self._works.values()}
        reports = [
            (message, frames)
            for message, frames in unsaid
            if isinstance(message, BatchFinished | BatchBlocked | BatchCut)
        ]
        runs = {name: TaskRange(w.message.span.layer, w.start, w.stop) for name, w in self._works.items()}
        for message, _ in reports:
            name = message.report.batch, message.report.attempt
            runs.setdefault(name, self._failed.get(name, NOTHING))
        self._epoch = epoch
        spans, inputs = tuple(runs.values()), tuple(_inputs_of(self._works.get(name)) for name in runs)
        holdings = tuple(self.store.holdings())
        self._fetching.discard_in_flight_except(
            [*(span for span, _ in holdings), *(span for some in inputs for span in some)]
        )
        fresh.send(RegisterWorker(self.info, holdings, tuple(runs), spans, inputs, self._died))
        self._died = ""
        if self._drain is not None:
            fresh.send(self._drain.message)
        elif self._slots.extra:
            fresh.send(SlotCount(self._slots.count + self._slots.extra))
        for message, frames in reports:
            fresh.send(message, *frames)
        self._session = fresh
        return fresh

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(BEAT)
            now = time.monotonic()
            kept.trim(kept.MAX_IDLE_SECONDS)
            if self._session is None:
                continue
            self.store.spiller.check()
            health = self.memory.sample(self.store.memory)
            if health is not None:
                self._session.send(health)
            self._session.heartbeat(now, BEAT, max(self.lease / 3, 5 * BEAT))
            self._let_go()

    # -- what the scheduler says ----------------------------------------------------------------------------------

    def _told(self, message: SchedulerToWorker, frames: Sequence[memoryview]) -> None:
        match message:
            case RunBatch():
                self._take(message, frames)
            case DefineLayer():
                self._codes[message.key] = LayerCode(message, frames[0])
            case FreeResults(spans):
                self._fetching.free(spans)
            case Recall(run, attempt):
                self._recall((run, attempt))
            case ForgetLayers(keys):
                for key in keys:
                    self._codes.pop(key, None)
            case CopyResults(sources):
                self._background(self._copy(sources))
            case InstallFiles(names):
                self._files.install(names, frames)
            case WorkerGone(address):
                self._peers.abort(address)
            case Leave(reason, grace):
                if reason == RESTART:
                    self._code = -1
                if grace:
                    self.drain(reason, grace)
                else:
                    self.leave(reason or "asked to go")

    def _take(self, message: RunBatch, frames: Sequence[memoryview]) -> None:
        offsets = array("Q")
        offsets.frombytes(frames[0])
        if offsets and offsets[0]:
            first = offsets[0]
            offsets = array("Q", [offset - first for offset in offsets])
        work = QueuedBatch(message, self._codes[message.span.layer], offsets, frames[1])
        self._works[message.run, message.attempt] = work
        self._loop.may_sleep()
        if message.after:
            self._slots.depend_on(work, [self._works.get((run, attempt)) for run, attempt in message.after])
        if work.code.layer.timeout:
            self._overdue.watch(work)
        if self._drain is not None:
            self._recall((message.run, message.attempt))
        elif message.sources:
            self._background(self._prepare(work))
        else:
            self._enqueue(work)

    async def _prepare(self, work: QueuedBatch) -> None:
        """Get what the run needs, then let it run."""
        try:
            await self._fetching.fetch(work.message.sources)
        except SourceUnavailable as failed:
            if work.cancelled:
                return
            if failed.final:
                self._said(unpicklable_input_report(work, failed.reason, *self._where))
                return
            log.info("run %d is given back: %s", work.message.run, failed.reason)
            self._blocked(work, failed.holder, failed.spans)
        else:
            self._enqueue(work)

    async def _copy(self, sources: tuple[tuple[TaskRange, str, str], ...]) -> None:
        with contextlib.suppress(SourceUnavailable):  # what could be had is here; who wants more asks again
            await self._fetching.fetch(sources)
        if self._session is not None:
            here: list[TaskRange] = []
            missing: list[TaskRange] = []
            for span, _, _ in sources:
                (here if self.store.has(span.layer, span.start) else missing).append(span)
            self._session.send(ResultsCopied(tuple(here), tuple(missing)))

    def _slots_change(self, cut: BatchReturned | None) -> None:
        self._loop.call_soon_threadsafe(self._slots_changed, cut)

    def _slots_changed(self, cut: BatchReturned | None) -> None:
        """A task has left its slot, with the rest of its run given back, or has come back."""
        if self._session is not None:
            if cut is not None:
                self._session.send(BatchCut(cut))
            if self._drain is None:
                self._session.send(SlotCount(self._slots.count + self._slots.extra))
        self._let_go()

    def _enqueue(self, work: QueuedBatch) -> None:
        if self.memory.paused and self._slots.busy:
            self._held_back.append(work)  # one slot goes on: a worker that stops altogether frees nothing
        else:
            self._slots.put(work)

    def _let_go(self) -> None:
        while self._held_back and (not self.memory.paused or not self._slots.busy):
            self._slots.put(self._held_back.pop(0))
            if self.memory.paused:
                return

    def _recall(self, name: tuple[int, int]) -> None:
        work = self._works.get(name)
        if work is None or self._session is None:
            return  # it has ended, and its report is on its way
        returned = self._slots.recall(work)
        if returned.start == 0:
            del self._works[name]
            work.cancelled = True
            self._slots.end(work)
        self._session.send(BatchCut(returned))

    # -- what this worker says ------------------------------------------------------------------------------------

    def say(self, message: Draining) -> None:
        if self._session is not None:
            self._session.send(message)

    def give_back(self) -> bool:
        """Give back all that is not begun; whether anything is running still."""
        for name in list(self._works):
            self._recall(name)
        return bool(self._works)

    def _say_overdue(self, report: BatchReport, cut: BatchReturned | None) -> None:
        """A task takes longer than it may: it has failed, and this worker goes, for its slot is stuck."""
        if self._session is not None and cut is not None:
            self._session.send(BatchCut(cut))
        self._said(report)
        name = f"{report.work.code.layer.name}[{report.work.stop - 1}]"
        self.drain(f"{name} did not end in time and keeps its slot; the process is replaced", REPLACE_GRACE, -1)

    def _finished(self, report: BatchReport, idle: bool) -> None:
        """On a slot's thread. One that is idle now says so itself, at once; the reports of one that goes on may wait a
        little for others: a message costs the scheduler more than a report."""
        if idle and self._said_at_once(report):
            return
        self._reports.append(report)
        if not self._woken:
            self._woken = True
            self._loop.call_soon_threadsafe(self._say if idle else self._say_soon)
        elif idle:
            self._loop.call_soon_threadsafe(self._say)

    def _say_soon(self) -> None:
        self._loop.call_later(GATHER, self._say)

    def _said_at_once(self, report: BatchReport) -> bool:
        session, work, done = self._session, report.work, report.done
        if session is None or done is None or done.errors or work.cancelled:
            return False
        with session.lock:  # a report must not overtake that of a run whose results it was made of
            if self._woken:
                return False
            frames = (report.lengths.tobytes(), report.blob) if report.blob else ()
            if not session.send_now(BatchFinished(done), *frames):
                return False
            self._works.pop((work.message.run, work.message.attempt), None)
        if self._held_back:
            self._loop.call_soon_threadsafe(self._let_go)
        elif not self._works:
            self._loop.call_soon_threadsafe(self._expect_more)
        return True

    def _expect_more(self) -> None:
        """Whoever waited for what has just ended may have something to do next."""
        if not self._works:
            self._loop.stay_awake()

    def _say(self) -> None:
        session = self._session
        if not self._woken:
            return  # it was not worth while to wait
        if session is None:
            self._say_all()
            return
        with session.lock:
            mine = session.cork()
            self._say_all()
            if mine:
                session.flush()

    def _say_all(self) -> None:
        self._woken = False
        while self._reports:
            self._said(self._reports.popleft())

    def _said(self, report: BatchReport) -> None:
        work = report.work
        self._works.pop((work.message.run, work.message.attempt), None)
        self._slots.end(work)
        self._let_go()
        if work.cancelled or self._session is None or not (report.missing or report.done):
            return
        if report.missing:
            self._blocked(work, self.info.name, report.missing)
            return
        done = report.done
        assert done is not None
        if done.errors and self._drain is not None and self._drain.signalled:
            taken = tuple((at, msgspec.structs.replace(one, kind="taken")) for at, one in done.errors)
            done = msgspec.structs.replace(done, errors=taken)
        if done.errors:
            self._failed[done.batch, done.attempt] = work.message.span
            if len(self._failed) > MOST_FAILED:
                del self._failed[next(iter(self._failed))]
        if report.blob:
            self._session.send(BatchFinished(done), report.lengths.tobytes(), report.blob)
        else:
            self._session.send(BatchFinished(done))

    def _blocked(self, work: QueuedBatch, holder: str, spans: Sequence[object]) -> None:
        self._works.pop((work.message.run, work.message.attempt), None)
        self._slots.end(work)
        if self._session is not None:
            missing = InputsMissing(self.info.name, work.message.run, work.message.attempt, holder, tuple(spans))  # type: ignore[arg-type]
            self._session.send(BatchBlocked(missing))

    def _background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("a fetch failed in an unforeseen way", exc_info=task.exception())
            self._code = 5
            self.leave("an error of howdah's own; see this worker's log")

    # -- peers ----------------------------------------------------------------------------------------------------

    async def _serve_calls(self, channel: Channel, role: Role, hello: Hello) -> None:
        await send_greeting(channel, Welcome(""))
        while True:
            request = await channel.read()
            await channel.write_and_drain(await asyncio.to_thread(execute_call, request[0], self))

    async def _serve_data(self, channel: Channel, role: Role, hello: Hello) -> None:
        seal = await welcome_peer(channel, hello, self._near.details if self._near is not None else {})
        await serve_results(channel, self.store.pack, self._pool, hello.host != socket.gethostname(), seal)

    async def _serve_near(self, channel: Channel, role: Role, hello: Hello) -> None:
        await welcome_peer(channel, hello)
        await serve_results(channel, self.store.pack, self._pool)
