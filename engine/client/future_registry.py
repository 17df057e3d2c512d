"""`FutureRegistry`: the results of which a client has futures, the number of references to each, and their release.

References are counted on users' threads, dropped by destructors on any thread, and results change on the loop's.
For `Client` and its parts.
"""

from __future__ import annotations

import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from howdah.engine.client.connection import SchedulerConnection
from howdah.engine.client.layer_results import FAILED, LayerResults, TaskFailure
from howdah.engine.comm.connection.event_loop import loop_thread
from howdah.engine.protocol.events import TaskError
from howdah.engine.protocol.layers import Key, TaskRange
from howdah.engine.protocol.messages import (
    ReleaseResults,
    ResultsLost,
    SchedulerToClient,
    TasksDone,
    TasksErred,
    TasksUnschedulable,
    WorkerAddresses,
    WorkerGone,
)
from howdah.engine.serialization.exceptions import rebuild_exception

RELEASE_DELAY = 0.02
"""Seconds for which dropped references are collected before the scheduler is sent their release."""

ResultRanges = Sequence[tuple[LayerResults, int, int]]


class FutureRegistry:
    """Results by layer, and their references.

    Attributes
    ----------
    lock : held while references are counted together with sending the message about them.
    addresses : of workers' data servers, by worker.
    names : of layers in graphs, for messages.
    on_worker_gone : called with the address of a worker that is gone.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.addresses: dict[str, str] = {}
        self.names: dict[Key, str] = {}
        self.on_worker_gone: Callable[[str], None] = lambda address: None
        self._results: dict[Key, LayerResults] = {}
        self._released: deque[tuple[LayerResults, int, int]] = deque()
        self._release_scheduled = False
        self._thread = loop_thread()
        self._loop = self._thread.loop
        self._connection: SchedulerConnection | None = None

    def attach(self, connection: SchedulerConnection) -> None:
        """Send releases over this connection."""
        self._connection = connection

    # -- references -------------------------------------------------------------------------------------------------

    def get(self, key: Key) -> LayerResults | None:
        """Return the results of a layer; None if there are no futures of it."""
        return self._results.get(key)

    def layers(self) -> list[LayerResults]:
        """Return all layers of which there are futures."""
        return list(self._results.values())

    def task_key(self, key: str) -> str:
        """Return the scheduler's key of a task, whose future has the key `key` here; others are left as they are."""
        for results in self.layers():
            if results.labels is not None and key in results.labels:
                return f"{results.key.hex()}-{results.labels.index(key)}"
        return key

    def add_reference(self, key: Key, name: str, n: int, start: int, stop: int) -> LayerResults:
        """Count one more reference to each of these items; their layer's results. Under the lock."""
        results = self._results.get(key)
        if results is None:
            results = self._results[key] = LayerResults(key, name, n)
        results.add_references(start, stop)
        return results

    def add_references(self, ranges: ResultRanges) -> None:
        """Count one more reference to each of these, which have at least one."""
        with self.lock:
            for results, start, stop in ranges:
                results.add_references(start, stop)

    def release(self, results: LayerResults, start: int, stop: int) -> None:
        """Drop one reference to each of these. Called by destructors, on any thread, at any time: takes no lock."""
        if self._thread.inherited:
            return  # a forked child: the results are the parent's
        self._released.append((results, start, stop))
        if not self._release_scheduled:
            self._release_scheduled = True
            if not self._loop.is_closed():
                self._loop.call_soon_threadsafe(self._loop.call_later, RELEASE_DELAY, self._send_releases)

    def detach(self, ranges: ResultRanges) -> None:
        """Forget cancelled results, so that the same call made again is a new task. Under the lock."""
        for results, _, _ in ranges:
            if self._results.get(results.key) is results:
                del self._results[results.key]

    async def forget_failures(self, ranges: ResultRanges) -> None:
        """Make failed ones of these pending again, because they are submitted again. On the loop's thread."""
        for results, start, stop in ranges:
            results.forget_failures(start, stop)

    def failed_before(self, wanted: Iterable[tuple[Key, int, int]]) -> list[tuple[LayerResults, int, int]]:
        """Return those of the wanted items of which there are futures that have failed."""
        found = []
        for key, start, stop in wanted:
            known = self._results.get(key)
            if known is not None and known.failures and known.first_failed(start, stop) >= 0:
                found.append((known, start, stop))
        return found

    def _send_releases(self) -> None:
        """Send the scheduler what has no reference any more. On the loop's thread."""
        self._release_scheduled = False
        free: list[TaskRange] = []
        with self.lock:
            if self._connection is None or self._connection.error is not None:
                self._released.clear()
                return
            for results, start, stop in self._merged_releases():
                if self._results.get(results.key) is not results:
                    continue  # cancelled, and the scheduler was sent that
                for a, b in results.remove_references(start, stop):
                    results.discard_chunks(a, b)
                    free.append(TaskRange(results.key, a, b))
                if not results.referenced:
                    del self._results[results.key]
                    self.names.pop(results.key, None)
            if free:
                self._connection.send(ReleaseResults(tuple(free)))

    def _merged_releases(self) -> Iterator[tuple[LayerResults, int, int]]:
        """Yield the dropped ranges, neighbours merged: a list of futures is destroyed in order, from its end."""
        dropped = self._released
        while dropped:
            results, start, stop = dropped.popleft()
            while dropped and dropped[0][2] == start and dropped[0][0] is results:
                start = dropped.popleft()[1]
            while dropped and dropped[0][1] == stop and dropped[0][0] is results:
                stop = dropped.popleft()[2]
            yield results, start, stop

    # -- reports, on the loop's thread ------------------------------------------------------------------------------

    def on_message(self, message: SchedulerToClient, frames: Sequence[memoryview]) -> None:
        """Record what the scheduler reports about results."""
        match message:
            case TasksDone(task_range, holder):
                results = self._results.get(task_range.layer)
                if results is not None:
                    results.mark_done(task_range.start, task_range.stop, holder, frames)
            case TasksErred(task_range, error, origin):
                results = self._results.get(task_range.layer)
                if results is not None:
                    results.mark_failed(task_range.start, task_range.stop, TaskFailure(error, origin))
            case TasksUnschedulable(_, reason):
                warnings.warn(reason, RuntimeWarning, stacklevel=2)
            case ResultsLost(task_range):
                results = self._results.get(task_range.layer)
                if results is not None:
                    results.mark_lost(task_range.start, task_range.stop)
            case WorkerAddresses(of):
                self.addresses.update(of)
            case WorkerGone(address):
                self.on_worker_gone(address)

    async def mark_cancelled(self, ranges: ResultRanges) -> None:
        """Mark the pending ones of these as cancelled."""
        for results, start, stop in ranges:
            for item in range(start, stop):
                if not results.settled(item, item + 1):
                    error = TaskError("cancelled", f"{results.name}[{item}] was cancelled")
                    results.mark_failed(item, item + 1, TaskFailure(error, TaskRange(results.key, item, item + 1)))

    # -- failures ---------------------------------------------------------------------------------------------------

    def failure(self, results: LayerResults, item: int) -> BaseException | None:
        """Return the exception of a failed item, a new one each time; None if it has not failed."""
        if results.state[item] != FAILED:
            return None
        failure = results.failure_of(item)
        origin = failure.origin.layer
        known = self._results.get(origin)
        name = known.name if known is not None else self.names.get(origin, "")
        return rebuild_exception(failure.error, failure_note(results, item, failure, name))


def failure_note(results: LayerResults, item: int, failure: TaskFailure, name: str) -> str:
    """Return the note for a task's exception: which task (of the layer `name`), and where it ran."""
    error, origin = failure
    name = name or (results.name if origin.layer == results.key else "")
    task = f"{name or origin.layer.hex()[:8]}[{origin.start}]"
    place = f" on worker {error.worker} (host {error.host}" if error.worker else ""
    if place:
        place += f", container {error.container})" if error.container else ")"
    text = f"howdah: task {task} {'failed' if error.kind != 'cancelled' else 'was cancelled'}{place}"
    if origin.layer != results.key or not origin.start <= item < origin.stop:
        text += f"; {results.name}[{item}] needs it"
    return f"{text}; key {results.key_of(item)}"


def ranges_of(futures: Sequence[Any]) -> list[tuple[LayerResults, int, int]]:
    """Return futures as ranges; neighbours of one layer are one range."""
    ranges: list[tuple[LayerResults, int, int]] = []
    current: LayerResults | None = None
    start = stop = 0
    for future in futures:
        if future.results is current and future.item == stop:
            stop += 1
            continue
        if current is not None:
            ranges.append((current, start, stop))
        current, start = future.results, future.item
        stop = start + 1
    if current is not None:
        ranges.append((current, start, stop))
    return ranges


def timeout_message(ranges: ResultRanges, timeout: float) -> str:
    """Return the message of a wait that timed out."""
    names = [f"{r.name}[{a}:{b}]" if b - a > 1 else f"{r.name}[{a}]" for r, a, b in ranges if not r.settled(a, b)]
    shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    return f"not done after {timeout:.3g} s: {shown}"
