"""`LayerResults`: the state of one layer's results at a client, their holders, and the small values themselves.

One `LayerResults` serves all futures of a layer, so that a hundred thousand of them cost a few bytes each. It is
changed on the loop's thread only, and read from any. `CompletionWatch` waits for ranges of them.
"""

from __future__ import annotations

import threading
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import Any, NamedTuple, Protocol

from howdah.engine.protocol.events import TaskError
from howdah.engine.protocol.frames import Buffer
from howdah.engine.protocol.layers import Key, TaskRange
from howdah.engine.protocol.messages import NOT_INLINE

COPY_LIMIT = 1024
"""Bytes up to which values are copied out of their message: a view would keep the whole message."""

PENDING, DONE, FAILED = 0, 1, 2
STATUS = ("pending", "finished", "error")

_chunks_lock = threading.Lock()
"""Held while lists of chunks are changed or split; for microseconds, so one lock serves all layers."""

Listener = Callable[["LayerResults", int, int], None]
"""Called on the loop's thread after items start to stop of a layer have changed."""


class ResultChunk:
    """Neighbouring items of one report: their holder, and the values of small ones."""

    __slots__ = ("_ends", "blob", "holder", "lengths", "referenced", "start", "stop")

    def __init__(self, start: int, stop: int, holder: str, frames: Sequence[memoryview]) -> None:
        self.start, self.stop, self.holder = start, stop, holder
        self.referenced = stop - start
        self.lengths: Sequence[int] = ()
        """Bytes of each item's pickle in `blob`; NOT_INLINE for one that was not sent; empty if none was."""
        self.blob: Buffer = b""
        self._ends: Sequence[int] = ()
        if len(frames) == 2:
            lengths = array("I")
            lengths.frombytes(frames[0])
            # Most chunks are one small value: a tuple of integers is not tracked by the garbage collector.
            self.lengths = tuple(lengths) if self.referenced == 1 else lengths
            self.blob = bytes(frames[1]) if frames[1].nbytes <= COPY_LIMIT else frames[1]

    def pickles(self, start: int, stop: int) -> Iterator[Buffer | None]:
        """Yield the pickle of each item, None for one that must be fetched."""
        if not self.lengths:
            for _ in range(start, stop):
                yield None
            return
        if not self._ends:
            self._ends = [0, *accumulate(0 if length == NOT_INLINE else length for length in self.lengths)]
        blob, ends, lengths, first = self.blob, self._ends, self.lengths, self.start
        for at in range(start - first, stop - first):
            yield None if lengths[at] == NOT_INLINE else blob[ends[at] : ends[at + 1]]


class TaskFailure(NamedTuple):
    """Why items failed, and the range of tasks where the error arose."""

    error: TaskError
    origin: TaskRange


class LayerResults:
    """One layer of `n` items under `key`, of which this client has futures.

    Attributes
    ----------
    state : PENDING, DONE or FAILED of each item.
    reference_counts : number of futures of each item; `referenced` is the number of items that have any. Both under the
        registry's lock.
    labels : keys that the user gave to the items; None if she gave none.
    """

    __slots__ = (
        "__weakref__",
        "chunks",
        "failures",
        "key",
        "labels",
        "listeners",
        "n",
        "name",
        "reference_counts",
        "referenced",
        "starts",
        "state",
    )

    def __init__(self, key: Key, name: str, n: int) -> None:
        self.key, self.name, self.n = key, name, n
        self.state = bytearray(n)
        self.reference_counts: array[int] = array("I", bytes(4 * n))
        self.referenced = 0
        self.starts: list[int] = []
        self.chunks: list[ResultChunk] = []
        self.failures: tuple[tuple[int, int, TaskFailure], ...] = ()
        self.listeners: tuple[Listener, ...] = ()
        self.labels: list[str] | None = None

    # -- references, under the registry's lock ----------------------------------------------------------------------

    def add_references(self, start: int, stop: int) -> None:
        """Count one reference more to each of these."""
        refs = self.reference_counts
        if not self.referenced:
            refs[start:stop] = array("I", (1,)) * (stop - start)
            self.referenced = stop - start
            return
        for item in range(start, stop):
            if not refs[item]:
                self.referenced += 1
            refs[item] += 1

    def remove_references(self, start: int, stop: int) -> list[tuple[int, int]]:
        """Count one reference less to each of these; the ranges that have none left."""
        refs = self.reference_counts
        n = stop - start
        if refs[start:stop] == array("I", (1,)) * n:
            refs[start:stop] = array("I", bytes(4 * n))
            self.referenced -= n
            return [(start, stop)]
        gone: list[tuple[int, int]] = []
        for item in range(start, stop):
            refs[item] -= 1
            if not refs[item]:
                self.referenced -= 1
                if gone and gone[-1][1] == item:
                    gone[-1] = (gone[-1][0], item + 1)
                else:
                    gone.append((item, item + 1))
        return gone

    # -- changes, on the loop's thread ------------------------------------------------------------------------------

    def mark_done(self, start: int, stop: int, holder: str, frames: Sequence[memoryview]) -> None:
        """Record results. A repeated report (after a restart of the scheduler, or a move to another worker) changes the
        holder only.
        """
        if not frames and self.state[start] == DONE:
            self._change_holder(start, stop, holder)
        else:
            self._add_chunk(start, stop, holder, frames)

    def _add_chunk(self, start: int, stop: int, holder: str, frames: Sequence[memoryview]) -> None:
        part = ResultChunk(start, stop, holder, frames)
        with _chunks_lock:
            self._cut_out(start, stop)
            at = bisect_right(self.starts, start)
            self.starts.insert(at, start)
            self.chunks.insert(at, part)
        self._mark(start, stop, DONE)

    def _change_holder(self, start: int, stop: int, holder: str) -> None:
        known = self.chunks_in(start, stop)
        with _chunks_lock:
            self._cut_out(start, stop)
        at = start
        for part, a, b in known:
            if at < a:
                self._add_chunk(at, a, holder, ())
            again = part if (part.start, part.stop) == (a, b) else _cut(part, a, b)
            again.holder, at = holder, b
            with _chunks_lock:
                place = bisect_right(self.starts, a)
                self.starts.insert(place, a)
                self.chunks.insert(place, again)
        if at < stop:
            self._add_chunk(at, stop, holder, ())

    def mark_failed(self, start: int, stop: int, failure: TaskFailure) -> None:
        """Record a failure of these items."""
        if self.state.count(FAILED, start, stop) == stop - start:
            return  # a repeated report
        self.failures += ((start, stop, failure),)
        self._mark(start, stop, FAILED)

    def mark_lost(self, start: int, stop: int) -> None:
        """Make these pending again, because their holder is gone."""
        if not any(self.state[start:stop]):
            return  # pending already
        with _chunks_lock:
            self._cut_out(start, stop)
        self._mark(start, stop, PENDING)

    def forget_failures(self, start: int, stop: int) -> None:
        """Make the failed ones of these pending again, because they run again."""
        for item in range(start, stop):
            if self.state[item] == FAILED:
                self._mark(item, item + 1, PENDING)

    def _mark(self, start: int, stop: int, state: int) -> None:
        self.state[start:stop] = bytes((state,)) * (stop - start)
        for listener in self.listeners:
            listener(self, start, stop)

    def add_listener(self, listener: Listener) -> None:
        """Call `listener` after each change from now on. From any thread; adding one twice has no effect."""
        with _chunks_lock:
            if listener not in self.listeners:
                self.listeners = (*self.listeners, listener)

    def remove_listener(self, listener: Listener) -> None:
        """Stop calling `listener`."""
        with _chunks_lock:
            self.listeners = tuple([one for one in self.listeners if one != listener])

    def _cut_out(self, start: int, stop: int) -> None:
        """Remove these items from the chunks."""
        at = max(bisect_right(self.starts, start) - 1, 0)
        while at < len(self.chunks):
            part = self.chunks[at]
            if part.start >= stop:
                return
            if part.stop <= start:
                at += 1
                continue
            del self.starts[at], self.chunks[at]
            for a, b in ((part.start, start), (stop, part.stop)):
                if a < b:
                    self.starts.insert(at, a)
                    self.chunks.insert(at, _cut(part, a, b))
                    at += 1

    def discard_chunks(self, start: int, stop: int) -> None:
        """Free the values of items that have no references any more."""
        with _chunks_lock:
            at = max(bisect_right(self.starts, start) - 1, 0)
            while at < len(self.chunks) and self.chunks[at].start < stop:
                part = self.chunks[at]
                part.referenced -= max(0, min(stop, part.stop) - max(start, part.start))
                if part.referenced <= 0:
                    del self.starts[at], self.chunks[at]
                else:
                    at += 1

    # -- from any thread --------------------------------------------------------------------------------------------

    def key_of(self, item: int) -> str:
        """Return the key of an item for users: its label, else the layer's key and the number."""
        return self.labels[item] if self.labels is not None else f"{self.key.hex()}-{item}"

    def settled(self, start: int, stop: int) -> bool:
        """Return whether each of these is done or has failed."""
        return self.state.find(PENDING, start, stop) < 0

    def first_failed(self, start: int, stop: int) -> int:
        """Return the first of these that has failed; -1 if none has."""
        return self.state.find(FAILED, start, stop)

    def failure_of(self, item: int) -> TaskFailure:
        """Return the failure of a failed item."""
        for start, stop, failure in reversed(self.failures):
            if start <= item < stop:
                return failure
        raise KeyError(item)

    def chunks_in(self, start: int, stop: int) -> list[tuple[ResultChunk, int, int]]:
        """Return the chunks that cover these items, each with the bounds of its share."""
        with _chunks_lock:
            at = max(bisect_right(self.starts, start) - 1, 0)
            parts = self.chunks[at : bisect_right(self.starts, stop - 1)]
        cuts = [(part, max(part.start, start), min(part.stop, stop)) for part in parts]
        return [cut for cut in cuts if cut[1] < cut[2]]


def _cut(part: ResultChunk, start: int, stop: int) -> ResultChunk:
    if not part.lengths:
        return ResultChunk(start, stop, part.holder, ())
    ends = [0, *accumulate(0 if length == NOT_INLINE else length for length in part.lengths)]
    a, b = start - part.start, stop - part.start
    lengths = memoryview(array("I", part.lengths[a:b])).cast("B")
    return ResultChunk(start, stop, part.holder, (lengths, memoryview(part.blob)[ends[a] : ends[b]]))


class Settable(Protocol):
    """What a watch needs of its event."""

    def set(self) -> None: ...


class CompletionWatch:
    """Sets an event when ranges of results are settled.

    `event` is set when all items are done or have failed; with `first_failure`, when one has failed. Its owner sets it
    when the connection is lost.
    """

    def __init__(self, ranges: Sequence[tuple[LayerResults, int, int]], first_failure: bool, event: Settable) -> None:
        self.ranges = ranges
        self.event: Any = event
        self._first_failure = first_failure
        self._waiting = list(ranges)
        self._layers = {id(results): results for results, _, _ in ranges}

    def start(self) -> None:
        """Start to watch; from any thread. A change meanwhile is found by this check or reported to the listener."""
        for results in self._layers.values():
            results.add_listener(self._changed)
        self.check()

    def stop(self) -> None:
        """Stop to watch."""
        for results in self._layers.values():
            results.remove_listener(self._changed)

    def _changed(self, results: LayerResults, start: int, stop: int) -> None:
        if self._first_failure and results.state[start] == FAILED:
            self.check()
            return
        # Check only what is still pending: a report must not cost a look at a hundred thousand futures.
        waiting = self._waiting  # `start` may replace it meanwhile
        while waiting and waiting[-1][0].settled(*waiting[-1][1:]):
            waiting.pop()
        if not waiting:
            self.check()

    def check(self) -> None:
        """Set the event if the ranges are settled."""
        self._waiting = [task_range for task_range in self.ranges if not task_range[0].settled(*task_range[1:])]
        failed = self._first_failure and any(results.first_failed(a, b) >= 0 for results, a, b in self.ranges)
        if failed or not self._waiting:
            self.event.set()
