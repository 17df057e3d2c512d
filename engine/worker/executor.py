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
from howdah.engine.protocol.messages import Run
from howdah.engine.serialization.exceptions import task_error
from howdah.engine.serialization.import_guard import import_whole
from howdah.engine.serialization.serialize import Buffer
from howdah.engine.worker.inputs import InputGone, readers
from howdah.engine.worker.store.results import measure
from howdah.engine.worker.store.store import Store
from howdah.engine.worker.task_board import Board
from howdah.engine.worker.task_code import Code
from howdah.engine.worker.task_logs import with_words
from howdah.errors import Unpicklable


@dataclass(slots=True)
class Work:
    """A run on its way through a slot. `next` is written by the slot alone, `stop` by the loop alone."""

    message: Run
    code: Code
    offsets: Sequence[int]
    arguments: Buffer
    start: int = field(init=False)
    next: int = field(init=False)
    stop: int = field(init=False)
    begun: bool = False
    waits: int = 0
    """How many works it stands behind."""
    parked: bool = False
    """Ready but for the works that it stands behind."""
    ended: bool = False
    then: list[Work] = field(default_factory=list)
    """Those that stand behind this one."""
    void: bool = False
    """The scheduler has no use for it any more: nothing is kept and nothing reported."""
    due: float | None = None
    """By when the item that is running has to end (monotonic), where its layer has a time limit."""
    results: list[Any] = field(default_factory=list)
    errors: list[tuple[int, TaskError]] = field(default_factory=list)
    settled: bool = False
    """Of a layer with a time limit: its report is being made, by the slot or because it is overdue; not by both."""

    def __post_init__(self) -> None:
        self.start = self.next = self.message.span.start
        self.stop = self.message.span.stop


@dataclass(slots=True)
class Report:
    """What came of a run: a report with inline results, or the inputs that were not there."""

    work: Work
    done: BatchDone | None = None
    lengths: array[int] = field(default_factory=lambda: array("I"))
    blob: bytes = b""
    missing: tuple[Any, ...] = ()


class Slots:
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
        store: Store,
        report: Callable[[Report, bool], None],
        worker: str,
        host: str,
        container: str,
        board: Board | None = None,
    ) -> None:
        self.count, self.store = count, store
        self.board = board or Board(count)
        self.busy = self.extra = 0
        self.on_change: Callable[[BatchReturned | None], None] = lambda cut: None
        """Told on a slot's thread that `extra` is another, with the rest of a run that was given back."""
        self._report = report
        self._where = (worker, host, container)
        self._queue: queue.SimpleQueue[Work | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        for _ in range(count):
            self._start()

    def _start(self) -> None:
        threading.Thread(target=self._serve, name="howdah-slot", daemon=True).start()

    def put(self, work: Work) -> None:
        with self._lock:
            if work.waits:
                work.parked = True
                return
        self._queue.put(work)

    def behind(self, work: Work, others: Iterable[Work | None]) -> None:
        """`work` is not to begin before the others have ended; those that are None have. To be called before `put`."""
        with self._lock:
            for other in others:
                if other is not None and not other.ended:
                    other.then.append(work)
                    work.waits += 1

    def end(self, work: Work) -> None:
        """`work` will not run (any more): what stands behind it has its turn."""
        for follower in self._followers(work):
            self._queue.put(follower)

    def _followers(self, work: Work) -> list[Work]:
        if work.ended:
            return []
        with self._lock:
            work.ended = True
            for follower in work.then:
                follower.waits -= 1
            return [follower for follower in work.then if follower.parked and not follower.waits]

    def recall(self, work: Work) -> BatchReturned:
        """Take back the items that are not begun, if there are any. On the loop's thread."""
        with self._lock:
            # A slot that runs may have read `stop` just now, before it took its next item: leave it that one.
            work.stop = min(work.next + 1, work.stop) if work.begun else work.start
        return BatchReturned(self._where[0], work.message.run, work.message.attempt, work.stop - work.start)

    def release_slot(self, work: Work) -> None:
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
        board, entry = self.board, self.board.take()
        runner = asyncio.Runner()  # makes its loop when the first async function comes
        mine: list[Work] = []  # what stood behind the work just done: this slot goes on with it
        while True:
            work = mine.pop() if mine else self._queue.get()
            if work is None:
                board.give_back(entry)
                runner.close()
                return
            with self._lock:
                runs = not work.void and work.stop > work.start
                work.begun = runs
                self.busy += runs
            gone = False
            if runs:
                place.work = work
                try:
                    span = work.message.span
                    board.write(entry, work.code.layer.name, work.start, work.stop)
                    with self.store.room_for(span.layer, work.stop - work.start):
                        report = self._execute(work, runner)
                    self._report(report, not work.then and self._queue.empty())
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
                board.give_back(entry)
                runner.close()
                return

    def _execute(self, work: Work, runner: asyncio.Runner) -> Report:
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
            return Report(work, self._done(work, [-1] * n, begun, failed))
        timed = code.layer.timeout > 0
        simple = not code.layer.deps and not code.is_async and not code.per_item and not timed
        try:
            results = self._simple(work, errors) if simple else self._general(work, errors, runner)
        except InputGone as gone:
            return Report(work, missing=(gone.span,))
        if timed and not self._settle(work):
            return Report(work)  # it was overdue, and has been reported so
        return self._keep(work, results, errors, begun)

    def _settle(self, work: Work) -> bool:
        with self._lock:
            mine, work.settled = not work.settled, True
            return mine

    def overdue(self, work: Work, now: float) -> tuple[Report, BatchReturned | None] | None:
        """If the item that is running should have ended by `now`: the report of the work without its slot's help, and
        what of it was not begun. On the loop's thread."""
        with self._lock:
            if work.settled or work.due is None or work.due > now:
                return None
            work.settled = True
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

    def _simple(self, work: Work, errors: list[tuple[int, TaskError]]) -> list[Any]:
        """Items without inputs: the tight loop."""
        fn, kwargs = work.code.fn, work.code.kwargs
        offsets, arguments, start = work.offsets, work.arguments, work.start
        results: list[Any] = []
        keep, loads = results.append, pickle.loads
        import_whole(arguments)
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

    def _general(self, work: Work, errors: list[tuple[int, TaskError]], runner: asyncio.Runner) -> list[Any]:
        code, offsets, start = work.code, work.offsets, work.start
        results, limit = work.results, code.layer.timeout
        read = readers(code.layer, start, work.stop, self.store)
        while (item := work.next) < work.stop:
            work.next = item + 1
            at = item - start
            if limit:
                work.due = time.monotonic() + limit
            try:
                arguments = work.arguments[offsets[at] : offsets[at + 1]] if offsets else None
                made = code.call([input_of(item) for input_of in read], arguments)
                results.append(runner.run(made) if code.is_async else made)
                del made
            except InputGone:
                raise
            except BaseException as error:  # noqa: BLE001  # user code, SystemExit included; reported, not swallowed
                results.append(None)
                errors.append((at, self._failed(work, item, error)))
        return results

    def _failed(self, work: Work, item: int, error: BaseException) -> TaskError:
        return with_words(task_error(error, *self._where), work.code.layer.key, item)

    def _keep(self, work: Work, results: list[Any], errors: list[tuple[int, TaskError]], begun: float) -> Report:
        """Put the results into the store, and those that a client waits for into the report, if they are small."""
        failed = {at for at, _ in errors}
        measured = measure(results, failed, work.message.inline)
        for at, fault in measured.faults:
            failed.add(at)
            errors.append((at, task_error(fault, *self._where, kind="unpicklable")))
        sizes = measured.sizes
        if not work.void:
            layer, first = work.code.layer.key, work.start
            if failed:
                good = [at for at in range(len(results)) if at not in failed]
                self.store.put(layer, [first + a for a in good], [results[a] for a in good], [sizes[a] for a in good])
            else:
                self.store.put(layer, range(first, first + len(results)), results, sizes)
        done = self._done(work, sizes, begun, tuple(sorted(errors)))
        return Report(work, done, measured.lengths, b"".join(measured.pieces))

    def _done(self, work: Work, sizes: list[int], begun: float, errors: tuple[tuple[int, TaskError], ...]) -> BatchDone:
        seconds = time.perf_counter() - begun
        return BatchDone(self._where[0], work.message.run, work.message.attempt, tuple(sizes), seconds, errors)


def unpicklable_input(work: Work, fault: str, worker: str, host: str, container: str) -> Report:
    """The report of a run that has an input which cannot travel to this worker."""
    work.next = work.stop
    n = work.stop - work.start
    failure = task_error(Unpicklable(f"an input cannot travel: {fault}"), worker, host, container, kind="unpicklable")
    errors = tuple((at, failure) for at in range(n))
    return Report(work, BatchDone(worker, work.message.run, work.message.attempt, (-1,) * n, 0.0, errors))
