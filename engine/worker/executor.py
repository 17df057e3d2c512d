"""Slots: threads that each run whole batches, without a trip to the event loop for each task.

A slot unpickles the arguments of one item after the other, calls the function, stores the results, and returns one
`BatchReport` for the batch. Small results that a client waits for are pickled here, while they are in the processor's
cache. Used by `worker`, `batches` and `timeouts`.
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
from howdah.engine.protocol.layers import TaskRange
from howdah.engine.protocol.messages import RunBatch
from howdah.engine.protocol.text import describe_error
from howdah.engine.serialization.exceptions import task_error
from howdah.engine.serialization.import_guard import import_named_packages
from howdah.engine.worker.inputs import InputMissing, readers
from howdah.engine.worker.internal_errors import InternalErrors
from howdah.engine.worker.status_page import StatusPage
from howdah.engine.worker.store.results import measure
from howdah.engine.worker.store.store import ResultStore
from howdah.engine.worker.task_code import LayerCode
from howdah.engine.worker.task_logs import attach_output
from howdah.errors import HowdahError, Unpicklable


@dataclass(slots=True)
class QueuedBatch:
    """A batch that this worker has accepted. `next` is written by its slot alone, `stop` by the event loop alone."""

    message: RunBatch
    code: LayerCode
    offsets: Sequence[int]
    arguments: Buffer
    start: int = field(init=False)
    next: int = field(init=False)
    stop: int = field(init=False)
    started: bool = False
    unfinished_deps: int = 0
    """Number of batches that must end before this one starts."""
    ready: bool = False
    """Its inputs are here; it waits for other batches only."""
    ended: bool = False
    dependents: list[QueuedBatch] = field(default_factory=list)
    """Batches that wait for this one to end."""
    cancelled: bool = False
    """The scheduler does not need it any more: results are not stored, and nothing is reported."""
    deadline: float | None = None
    """When the item that is running must end (of `time.monotonic`), for a layer with a time limit."""
    results: list[Any] = field(default_factory=list)
    errors: list[tuple[int, TaskError]] = field(default_factory=list)
    reported: bool = False
    """For a layer with a time limit: the slot or the timeout has taken on the report, so the other must not."""

    def __post_init__(self) -> None:
        self.start = self.next = self.message.range.start
        self.stop = self.message.range.stop


@dataclass(slots=True)
class BatchReport:
    """The outcome of a batch: `done` with inline results, or `missing` inputs. Neither if it was reported before."""

    batch: QueuedBatch
    done: BatchDone | None = None
    lengths: array[int] = field(default_factory=lambda: array("I"))
    blob: bytes = b""
    missing: tuple[Any, ...] = ()


class SlotPool:
    """`count` threads that run batches in the order of `put`.

    Parameters
    ----------
    on_batch_end : called on a slot's thread with each report, and whether the slot is idle after it.
    worker, host, container : for error messages.
    status_page : where slots write what they run.
    errors : where errors of the worker's own code are counted.
    """

    def __init__(
        self,
        count: int,
        store: ResultStore,
        on_batch_end: Callable[[BatchReport, bool], None],
        worker: str,
        host: str,
        container: str,
        status_page: StatusPage | None = None,
        errors: InternalErrors | None = None,
    ) -> None:
        self.errors = errors or InternalErrors()
        self.count, self.store = count, store
        self.status_page = status_page or StatusPage(count)
        self.busy = self.extra = 0
        """Batches that are running; slots beyond `count`, for tasks that have released theirs."""
        self.on_change: Callable[[BatchReturned | None], None] = lambda cut: None
        """Called on a slot's thread when `extra` has changed, with the rest of a batch that was returned, if any."""
        self._on_batch_end = on_batch_end
        self._identity = (worker, host, container)
        self._queue: queue.SimpleQueue[QueuedBatch | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        for _ in range(count):
            self._start()

    def _start(self) -> None:
        threading.Thread(target=self._serve, name="howdah-slot", daemon=True).start()

    def put(self, batch: QueuedBatch) -> None:
        with self._lock:
            if batch.unfinished_deps:
                batch.ready = True
                return
        self._queue.put(batch)

    def depend_on(self, batch: QueuedBatch, others: Iterable[QueuedBatch | None]) -> None:
        """Do not start `batch` before the others have ended (None: ended already). Call it before `put`."""
        with self._lock:
            for other in others:
                if other is not None and not other.ended:
                    other.dependents.append(batch)
                    batch.unfinished_deps += 1

    def end(self, batch: QueuedBatch) -> None:
        """Mark `batch` as ended, and queue the batches that waited for it alone."""
        for dependent in self._unblocked(batch):
            self._queue.put(dependent)

    def _unblocked(self, batch: QueuedBatch) -> list[QueuedBatch]:
        if batch.ended:
            return []
        with self._lock:
            batch.ended = True
            for dependent in batch.dependents:
                dependent.unfinished_deps -= 1
            return [dependent for dependent in batch.dependents if dependent.ready and not dependent.unfinished_deps]

    def recall(self, batch: QueuedBatch) -> BatchReturned:
        """Return the items that have not started, if there are any, to the scheduler. On the loop's thread."""
        with self._lock:
            # A running slot may have read `stop` already, and then starts one more item: leave it that one.
            batch.stop = min(batch.next + 1, batch.stop) if batch.started else batch.start
        return BatchReturned(self._identity[0], batch.message.batch, batch.message.attempt, batch.stop - batch.start)

    def release_slot(self, batch: QueuedBatch) -> None:
        """Give the slot of a waiting task to another thread, and return the rest of its batch."""
        with self._lock:
            self.extra += 1
            self.busy -= 1
            cut = None
            if batch.next < batch.stop:
                batch.stop = batch.next
                cut = BatchReturned(
                    self._identity[0], batch.message.batch, batch.message.attempt, batch.stop - batch.start
                )
        self._start()
        self.on_change(cut)

    def reacquire_slot(self, thread_goes_on: bool) -> None:
        """End one thread: the task has its slot again, or has ended and its own thread ends."""
        with self._lock:
            self.extra -= 1
            self.busy += 1
        if thread_goes_on:
            self._queue.put(None)
        self.on_change(None)

    def close(self) -> None:
        """End each slot after the batch that it is running; does not wait for them."""
        for _ in range(self.count):
            self._queue.put(None)

    def _serve(self) -> None:
        context = register_slot_thread(self)
        page, entry = self.status_page, self.status_page.acquire()
        runner = asyncio.Runner()  # creates its loop for the first async function
        mine: list[QueuedBatch] = []  # a batch that waited for the one just done: this slot continues with it
        while True:
            batch = mine.pop() if mine else self._queue.get()
            if batch is None:
                page.release(entry)
                runner.close()
                return
            with self._lock:
                runs = not batch.cancelled and batch.stop > batch.start
                batch.started = runs
                self.busy += runs
            gone = False
            if runs:
                context.work = batch
                try:
                    self._run_and_report(batch, runner, entry)
                finally:
                    page.erase(entry)
                    context.work = None
                    gone = context.ended()
                    with self._lock:
                        self.busy -= 1
            unblocked = self._unblocked(batch)
            if not gone:
                mine += unblocked[:1]
            for dependent in unblocked if gone else unblocked[1:]:
                self._queue.put(dependent)
            del batch, unblocked
            if gone:
                for dependent in mine:
                    self._queue.put(dependent)
                page.release(entry)
                runner.close()
                return

    def _run_and_report(self, batch: QueuedBatch, runner: asyncio.Runner, entry: int) -> None:
        """Run a batch. Whatever goes wrong on the way is the outcome of its tasks: the slot goes on."""
        try:
            self.status_page.write(entry, batch.code.layer.name, batch.start, batch.stop)
            with self.store.reserve(batch.message.range.layer, batch.stop - batch.start):
                report = self._execute(batch, runner)
            self._on_batch_end(report, not batch.dependents and self._queue.empty())
        except BaseException as error:  # noqa: BLE001  # the tasks fail with it; otherwise the error is lost
            self._on_batch_end(self.broken_report(batch, error, "running a batch or reporting it"), False)

    def broken_report(self, batch: QueuedBatch, error: BaseException, step: str) -> BatchReport:
        """Return the report of a batch all of whose tasks fail, because of an error of the worker's own in `step`."""
        self.errors.record(step, error)
        with self._lock:
            batch.next = batch.stop
        self.store.free([TaskRange(batch.code.layer.key, batch.start, batch.stop)])
        n = batch.stop - batch.start
        reason = HowdahError(f"an error of howdah's own while {step}: {describe_error(error)}")
        reason.__cause__ = error if isinstance(error, Exception) else None
        failure = task_error(reason, *self._identity)
        failed = tuple((at, failure) for at in range(n))
        return BatchReport(batch, self._done(batch, [-1] * n, time.perf_counter(), failed))

    def _execute(self, batch: QueuedBatch, runner: asyncio.Runner) -> BatchReport:
        started = time.perf_counter()
        code = batch.code
        errors = batch.errors
        try:
            code.open()
        except BaseException as error:  # noqa: BLE001  # importing the user's modules may raise anything at all
            error.add_note(f"while opening the function of layer {code.layer.name!r}")
            failure = task_error(error, *self._identity)
            batch.next = batch.stop
            n = batch.stop - batch.start
            failed = tuple((i, failure) for i in range(n))
            return BatchReport(batch, self._done(batch, [-1] * n, started, failed))
        timed = code.layer.timeout > 0
        simple = not code.layer.deps and not code.is_async and not code.per_item and not timed
        try:
            results = self._simple(batch, errors) if simple else self._general(batch, errors, runner)
        except InputMissing as gone:
            return BatchReport(batch, missing=(gone.task_range,))
        if timed and not self._claim_report(batch):
            return BatchReport(batch)  # its timeout has been reported
        return self._store(batch, results, errors, started)

    def _claim_report(self, batch: QueuedBatch) -> bool:
        with self._lock:
            mine, batch.reported = not batch.reported, True
            return mine

    def overdue(self, batch: QueuedBatch, now: float) -> tuple[BatchReport, BatchReturned | None] | None:
        """Return the report of a batch whose running item has exceeded its time limit, and its items that have not
        started; None while it has not. On the loop's thread."""
        with self._lock:
            if batch.reported or batch.deadline is None or batch.deadline > now:
                return None
            batch.reported = True
            done, tail = len(batch.results), batch.stop
            batch.stop = batch.start + done + 1
        worker, host, container = self._identity
        layer, limit = batch.code.layer, batch.code.layer.timeout
        message = (
            f"{layer.name}[{batch.stop - 1}] did not end within its {limit:g} s (timeout=) on worker {worker} (host "
            f"{host}); the worker is replaced, for a running task cannot be stopped"
        )
        error = TaskError("timeout", message, worker=worker, host=host, container=container)
        report = self._store(
            batch, [*batch.results[:done], None], [*batch.errors, (done, error)], time.perf_counter() - limit
        )
        cut = BatchReturned(worker, batch.message.batch, batch.message.attempt, done + 1) if batch.stop < tail else None
        return report, cut

    def _simple(self, batch: QueuedBatch, errors: list[tuple[int, TaskError]]) -> list[Any]:
        """Run items without inputs: the inner loop."""
        fn, kwargs = batch.code.fn, batch.code.kwargs
        offsets, arguments, start = batch.offsets, batch.arguments, batch.start
        results: list[Any] = []
        append, loads = results.append, pickle.loads
        import_named_packages(arguments)
        while (item := batch.next) < batch.stop:
            batch.next = item + 1
            try:
                if offsets:
                    at = item - start
                    append(fn(*loads(arguments[offsets[at] : offsets[at + 1]]), **kwargs))
                else:
                    append(fn(**kwargs))
            except BaseException as error:  # noqa: BLE001  # user code, SystemExit included; reported, not swallowed
                append(None)
                errors.append((item - start, self._failed(batch, item, error)))
        return results

    def _general(self, batch: QueuedBatch, errors: list[tuple[int, TaskError]], runner: asyncio.Runner) -> list[Any]:
        code, offsets, start = batch.code, batch.offsets, batch.start
        results, limit = batch.results, code.layer.timeout
        read = readers(code.layer, start, batch.stop, self.store)
        while (item := batch.next) < batch.stop:
            batch.next = item + 1
            at = item - start
            if limit:
                batch.deadline = time.monotonic() + limit
            try:
                arguments = batch.arguments[offsets[at] : offsets[at + 1]] if offsets else None
                made = code.call([input_of(item) for input_of in read], arguments)
                results.append(runner.run(made) if code.is_async else made)
                del made
            except InputMissing:
                raise
            except BaseException as error:  # noqa: BLE001  # user code, SystemExit included; reported, not swallowed
                results.append(None)
                errors.append((at, self._failed(batch, item, error)))
        return results

    def _failed(self, batch: QueuedBatch, item: int, error: BaseException) -> TaskError:
        return attach_output(task_error(error, *self._identity), batch.code.layer.key, item)

    def _store(
        self, batch: QueuedBatch, results: list[Any], errors: list[tuple[int, TaskError]], started: float
    ) -> BatchReport:
        """Store the results, and put the small ones that a client waits for into the report."""
        failed = {at for at, _ in errors}
        measured = measure(results, failed, batch.message.inline)
        for at, error in measured.errors:
            failed.add(at)
            errors.append((at, task_error(error, *self._identity, kind="unpicklable")))
        sizes = measured.sizes
        if not batch.cancelled:
            layer, first = batch.code.layer.key, batch.start
            if failed:
                good = [at for at in range(len(results)) if at not in failed]
                self.store.put(layer, [first + a for a in good], [results[a] for a in good], [sizes[a] for a in good])
            else:
                self.store.put(layer, range(first, first + len(results)), results, sizes)
        done = self._done(batch, sizes, started, tuple(sorted(errors)))
        return BatchReport(batch, done, measured.lengths, b"".join(measured.pieces))

    def _done(
        self, batch: QueuedBatch, sizes: list[int], started: float, errors: tuple[tuple[int, TaskError], ...]
    ) -> BatchDone:
        seconds = time.perf_counter() - started
        return BatchDone(self._identity[0], batch.message.batch, batch.message.attempt, tuple(sizes), seconds, errors)


def unpicklable_input_report(batch: QueuedBatch, reason: str, worker: str, host: str, container: str) -> BatchReport:
    """Return the report of a batch with an input that cannot be pickled or unpickled."""
    batch.next = batch.stop
    n = batch.stop - batch.start
    failure = task_error(Unpicklable(f"an input cannot travel: {reason}"), worker, host, container, kind="unpicklable")
    errors = tuple((at, failure) for at in range(n))
    return BatchReport(batch, BatchDone(worker, batch.message.batch, batch.message.attempt, (-1,) * n, 0.0, errors))
