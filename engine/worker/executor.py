"""Slots: threads that each run whole runs, with no trip to the event loop per task.

A slot opens the run's arguments one by one, calls the function, keeps the results, and hands over one `Report` per
run. Small results that a client waits for are pickled here, next to the cache they are still in.
"""

from __future__ import annotations

import asyncio
import pickle
import queue
import threading
import time
from array import array
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from howdah.engine.execution.task_context import register_slot_thread
from howdah.engine.protocol.events import BatchDone, BatchReturned, TaskError
from howdah.engine.protocol.frames import Buffer
from howdah.engine.protocol.messages import RunBatch
from howdah.engine.serialization.exceptions import task_error
from howdah.engine.serialization.import_guard import import_named_packages
from howdah.engine.worker.inputs import InputMissing, readers
from howdah.engine.worker.status_page import StatusPage
from howdah.engine.worker.store.results import measure
from howdah.engine.worker.store.store import ResultStore
from howdah.engine.worker.task_code import LayerCode
from howdah.engine.worker.task_logs import attach_output
from howdah.errors import Unpicklable


@dataclass(slots=True)
class QueuedBatch:
    """A run on its way through a slot. `next` is written by the slot alone, `stop` by the loop alone."""

    message: RunBatch
    code: LayerCode
    offsets: Sequence[int]
    arguments: Buffer
    start: int = field(init=False)
    next: int = field(init=False)
    stop: int = field(init=False)
    started: bool = False
    unfinished_deps: int = 0
    """How many works it stands behind."""
    ready: bool = False
    """Ready but for the works that it stands behind."""
    ended: bool = False
    dependents: list[QueuedBatch] = field(default_factory=list)
    """Those that stand behind this one."""
    cancelled: bool = False
    """The scheduler has no use for it any more: nothing is kept and nothing reported."""
    deadline: float | None = None
    """By when the item that is running has to end (monotonic), where its layer has a time limit."""
    results: list[Any] = field(default_factory=list)
    errors: list[tuple[int, TaskError]] = field(default_factory=list)
    reported: bool = False
    """Of a layer with a time limit: its report is being made, by the slot or because it is overdue; not by both."""

    def __post_init__(self) -> None:
        self.start = self.next = self.message.span.start
        self.stop = self.message.span.stop


@dataclass(slots=True)
class BatchReport:
    """What came of a run: a report with inline results, or the inputs that were not there."""

    work: QueuedBatch
    done: BatchDone | None = None
    lengths: array[int] = field(default_factory=lambda: array("I"))
    blob: bytes = b""
    missing: tuple[Any, ...] = ()


class SlotPool:
    """`count` threads that take work in order.

    Parameters
    ----------
    report : called on a slot's thread with each finished run, and whether this slot has nothing to do after it.
    worker, host, container : for the errors' sake.
    board : where it is said what runs.
    """

    def __init__(
        self,
        count: int,
        store: ResultStore,
        report: Callable[[BatchReport, bool], None],
        worker: str,
        host: str,
        container: str,
        board: StatusPage | None = None,
    ) -> None:
        self.count, self.store = count, store
        self.status_page = board or StatusPage(count)
        self.busy = self.extra = 0
        self.on_change: Callable[[BatchReturned | None], None] = lambda cut: None
        """Told on a slot's thread that `extra` is another, with the rest of a run that was given back."""
        self._report = report
        self._where = (worker, host, container)
        self._queue: queue.SimpleQueue[QueuedBatch | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        for _ in range(count):
            self._start()

    def _start(self) -> None:
        threading.Thread(target=self._serve, name="howdah-slot", daemon=True).start()

    def put(self, work: QueuedBatch) -> None:
        with self._lock:
            if work.unfinished_deps:
                work.ready = True
                return
        self._queue.put(work)

    def depend_on(self, work: QueuedBatch, others: Iterable[QueuedBatch | None]) -> None:
        """`work` is not to begin before the others have ended; those that are None have. To be called before `put`."""
        with self._lock:
            for other in others:
                if other is not None and not other.ended:
                    other.dependents.append(work)
                    work.unfinished_deps += 1

    def end(self, work: QueuedBatch) -> None:
        """`work` will not run (any more): what stands behind it has its turn."""
        for follower in self._followers(work):
            self._queue.put(follower)

    def _followers(self, work: QueuedBatch) -> list[QueuedBatch]:
        if work.ended:
            return []
        with self._lock:
            work.ended = True
            for follower in work.dependents:
                follower.unfinished_deps -= 1
            return [follower for follower in work.dependents if follower.ready and not follower.unfinished_deps]

    def recall(self, work: QueuedBatch) -> BatchReturned:
        """Take back the items that are not begun, if there are any. On the loop's thread."""
        with self._lock:
            # A slot that runs may have read `stop` just now, before it took its next item: leave it that one.
            work.stop = min(work.next + 1, work.stop) if work.started else work.start
        return BatchReturned(self._where[0], work.message.run, work.message.attempt, work.stop - work.start)

    def release_slot(self, work: QueuedBatch) -> None:
        """A task that waits gives its slot away: another thread takes it, and the rest of the run goes back."""
        with self._lock:
            self.extra += 1
            self.busy -= 1
            cut = None
            if work.next < work.stop:
                work.stop = work.next
                cut = BatchReturned(self._where[0], work.message.run, work.message.attempt, work.stop - work.start)
        self._start()
        self.on_change(cut)

    def reacquire_slot(self, thread_goes_on: bool) -> None:
        """The task has come back to its slot, or has ended: one thread less, or this one ends."""
        with self._lock:
            self.extra -= 1
            self.busy += 1
        if thread_goes_on:
            self._queue.put(None)
        self.on_change(None)

    def close(self) -> None:
        """Slots end after what they are running; nobody waits for them."""
        for _ in range(self.count):
            self._queue.put(None)

    def _serve(self) -> None:
        place = register_slot_thread(self)
        board, entry = self.status_page, self.status_page.acquire()
        runner = asyncio.Runner()  # makes its loop when the first async function comes
        mine: list[QueuedBatch] = []  # what stood behind the work just done: this slot goes on with it
        while True:
            work = mine.pop() if mine else self._queue.get()
            if work is None:
                board.release(entry)
                runner.close()
                return
            with self._lock:
                runs = not work.cancelled and work.stop > work.start
                work.started = runs
                self.busy += runs
            gone = False
            if runs:
                place.work = work
                try:
                    span = work.message.span
                    board.write(entry, work.code.layer.name, work.start, work.stop)
                    with self.store.reserve(span.layer, work.stop - work.start):
                        report = self._execute(work, runner)
                    self._report(report, not work.dependents and self._queue.empty())
                    del report
                finally:
                    board.erase(entry)
                    place.work = None
                    gone = place.ended()
                    with self._lock:
                        self.busy -= 1
            followers = self._followers(work)
            if not gone:
                mine += followers[:1]
            for follower in followers if gone else followers[1:]:
                self._queue.put(follower)
            del work, followers
            if gone:
                for follower in mine:
                    self._queue.put(follower)
                board.release(entry)
                runner.close()
                return

    def _execute(self, work: QueuedBatch, runner: asyncio.Runner) -> BatchReport:
        begun = time.perf_counter()
        code = work.code
        errors = work.errors
        try:
            code.open()
        except BaseException as error:  # noqa: BLE001  # importing the user's modules may raise anything at all
            error.add_note(f"while opening the function of layer {code.layer.name!r}")
            failure = task_error(error, *self._where)
            work.next = work.stop
            n = work.stop - work.start
            failed = tuple((i, failure) for i in range(n))
            return BatchReport(work, self._done(work, [-1] * n, begun, failed))
        timed = code.layer.timeout > 0
        simple = not code.layer.deps and not code.is_async and not code.per_item and not timed
        try:
            results = self._simple(work, errors) if simple else self._general(work, errors, runner)
        except InputMissing as gone:
            return BatchReport(work, missing=(gone.span,))
        if timed and not self._settle(work):
            return BatchReport(work)  # it was overdue, and has been reported so
        return self._keep(work, results, errors, begun)

    def _settle(self, work: QueuedBatch) -> bool:
        with self._lock:
            mine, work.reported = not work.reported, True
            return mine

    def overdue(self, work: QueuedBatch, now: float) -> tuple[BatchReport, BatchReturned | None] | None:
        """If the item that is running should have ended by `now`: the report of the work without its slot's help, and
        what of it was not begun. On the loop's thread."""
        with self._lock:
            if work.reported or work.deadline is None or work.deadline > now:
                return None
            work.reported = True
            done, tail = len(work.results), work.stop
            work.stop = work.start + done + 1
        worker, host, container = self._where
        layer, limit = work.code.layer, work.code.layer.timeout
        message = (
            f"{layer.name}[{work.stop - 1}] did not end within its {limit:g} s (timeout=) on worker {worker} (host "
            f"{host}); the worker is replaced, for a running task cannot be stopped"
        )
        error = TaskError("timeout", message, worker=worker, host=host, container=container)
        report = self._keep(
            work, [*work.results[:done], None], [*work.errors, (done, error)], time.perf_counter() - limit
        )
        cut = BatchReturned(worker, work.message.run, work.message.attempt, done + 1) if work.stop < tail else None
        return report, cut

    def _simple(self, work: QueuedBatch, errors: list[tuple[int, TaskError]]) -> list[Any]:
        """Items without inputs: the tight loop."""
        fn, kwargs = work.code.fn, work.code.kwargs
        offsets, arguments, start = work.offsets, work.arguments, work.start
        results: list[Any] = []
        keep, loads = results.append, pickle.loads
        import_named_packages(arguments)
        while (item := work.next) < work.stop:
            work.next = item + 1
            try:
                if offsets:
                    at = item - start
                    keep(fn(*loads(arguments[offsets[at] : offsets[at + 1]]), **kwargs))
                else:
                    keep(fn(**kwargs))
            except BaseException as error:  # noqa: BLE001  # user code, SystemExit included; reported, not swallowed
                keep(None)
                errors.append((item - start, self._failed(work, item, error)))
        return results

    def _general(self, work: QueuedBatch, errors: list[tuple[int, TaskError]], runner: asyncio.Runner) -> list[Any]:
        code, offsets, start = work.code, work.offsets, work.start
        results, limit = work.results, code.layer.timeout
        read = readers(code.layer, start, work.stop, self.store)
        while (item := work.next) < work.stop:
            work.next = item + 1
            at = item - start
            if limit:
                work.deadline = time.monotonic() + limit
            try:
                arguments = work.arguments[offsets[at] : offsets[at + 1]] if offsets else None
                made = code.call([input_of(item) for input_of in read], arguments)
                results.append(runner.run(made) if code.is_async else made)
                del made
            except InputMissing:
                raise
            except BaseException as error:  # noqa: BLE001  # user code, SystemExit included; reported, not swallowed
                results.append(None)
                errors.append((at, self._failed(work, item, error)))
        return results

    def _failed(self, work: QueuedBatch, item: int, error: BaseException) -> TaskError:
        return attach_output(task_error(error, *self._where), work.code.layer.key, item)

    def _keep(
        self, work: QueuedBatch, results: list[Any], errors: list[tuple[int, TaskError]], begun: float
    ) -> BatchReport:
        """Put the results into the store, and those that a client waits for into the report, if they are small."""
        failed = {at for at, _ in errors}
        measured = measure(results, failed, work.message.inline)
        for at, fault in measured.faults:
            failed.add(at)
            errors.append((at, task_error(fault, *self._where, kind="unpicklable")))
        sizes = measured.sizes
        if not work.cancelled:
            layer, first = work.code.layer.key, work.start
            if failed:
                good = [at for at in range(len(results)) if at not in failed]
                self.store.put(layer, [first + a for a in good], [results[a] for a in good], [sizes[a] for a in good])
            else:
                self.store.put(layer, range(first, first + len(results)), results, sizes)
        done = self._done(work, sizes, begun, tuple(sorted(errors)))
        return BatchReport(work, done, measured.lengths, b"".join(measured.pieces))

    def _done(
        self, work: QueuedBatch, sizes: list[int], begun: float, errors: tuple[tuple[int, TaskError], ...]
    ) -> BatchDone:
        seconds = time.perf_counter() - begun
        return BatchDone(self._where[0], work.message.run, work.message.attempt, tuple(sizes), seconds, errors)


def unpicklable_input_report(work: QueuedBatch, fault: str, worker: str, host: str, container: str) -> BatchReport:
    """The report of a run that has an input which cannot travel to this worker."""
    work.next = work.stop
    n = work.stop - work.start
    failure = task_error(Unpicklable(f"an input cannot travel: {fault}"), worker, host, container, kind="unpicklable")
    errors = tuple((at, failure) for at in range(n))
    return BatchReport(work, BatchDone(worker, work.message.run, work.message.attempt, (-1,) * n, 0.0, errors))
