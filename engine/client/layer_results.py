"""What a client knows of one layer's results: which are there, where, and which came along.

One `Results` serves all futures of a layer, so that a hundred thousand of them cost a few bytes each here. It is
changed on the loop's thread only, and read from any.
"""

from __future__ import annotations

import threading
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import Any, NamedTuple, Protocol

from howdah.engine.comm.connection.framing import Buffer
from howdah.engine.protocol.events import TaskError
from howdah.engine.protocol.layers import Key, TaskRange
from howdah.engine.protocol.messages import NOT_INLINE

SMALL = 1024
"""Bytes of results that are kept as bytes of their own: a view keeps all that came with it."""

PENDING, DONE, FAILED = 0, 1, 2
STATUS = ("pending", "finished", "error")

_guard = threading.Lock()
"""Held while lists of parts are changed or cut; for microseconds, so one serves all layers."""

Listener = Callable[["Results", int, int], None]
"""Called on the loop's thread after items start to stop of a layer have changed."""


class Part:
    """Neighbouring items that became known together: who holds them, and the small ones themselves."""

    __slots__ = ("_ends", "alive", "blob", "holder", "lengths", "start", "stop")

    def __init__(self, start: int, stop: int, holder: str, frames: Sequence[memoryview]) -> None:
        self.start, self.stop, self.holder = start, stop, holder
        self.alive = stop - start
        self.lengths: Sequence[int] = ()
        """Of each item's pickle in `blob`; NOT_INLINE of one that did not come along, none where none did."""
        self.blob: Buffer = b""
        self._ends: Sequence[int] = ()
        if len(frames) == 2:
            lengths = array("I")
            lengths.frombytes(frames[0])
            # Of the very many that are one small thing: nothing that the garbage collector has to look at.
            self.lengths = tuple(lengths) if self.alive == 1 else lengths
            self.blob = bytes(frames[1]) if frames[1].nbytes <= SMALL else frames[1]

    def pickles(self, start: int, stop: int) -> Iterator[Buffer | None]:
        """The pickle of each item, None for one that must be fetched."""
        if not self.lengths:
            for _ in range(start, stop):
                yield None
            return
        if not self._ends:
            self._ends = [0, *accumulate(0 if length == NOT_INLINE else length for length in self.lengths)]
        blob, ends, lengths, first = self.blob, self._ends, self.lengths, self.start
        for at in range(start - first, stop - first):
            yield None if lengths[at] == NOT_INLINE else blob[ends[at] : ends[at + 1]]


class Failure(NamedTuple):
    error: TaskError
    origin: TaskRange


class Results:
    """One layer of `n` items under `key`, of which this client has futures."""

    __slots__ = (
        "__weakref__",
        "failures",
        "key",
        "labels",
        "listeners",
        "live",
        "n",
        "name",
        "parts",
        "refs",
        "starts",
        "state",
    )

    def __init__(self, key: Key, name: str, n: int) -> None:
        self.key, self.name, self.n = key, name, n
        self.state = bytearray(n)
        self.refs: array[int] = array("I", bytes(4 * n))
        """How many futures there are of each item, and of how many items there are any. Under the ledger's lock."""
        self.live = 0
        self.starts: list[int] = []
        self.parts: list[Part] = []
        self.failures: tuple[tuple[int, int, Failure], ...] = ()
        self.listeners: tuple[Listener, ...] = ()
        self.labels: list[str] | None = None
        """Keys that the user gave to the items."""

    # -- references, under the ledger's lock --------------------------------------------------------------------------

    def hold(self, start: int, stop: int) -> None:
        """One reference more to each of these."""
        refs = self.refs
        if not self.live:
            refs[start:stop] = array("I", (1,)) * (stop - start)
            self.live = stop - start
            return
        for item in range(start, stop):
            if not refs[item]:
                self.live += 1
            refs[item] += 1

    def unhold(self, start: int, stop: int) -> list[tuple[int, int]]:
        """One reference less to each of these; the stretches of which none is left."""
        refs = self.refs
        n = stop - start
        if refs[start:stop] == array("I", (1,)) * n:
            refs[start:stop] = array("I", bytes(4 * n))
            self.live -= n
            return [(start, stop)]
        gone: list[tuple[int, int]] = []
        for item in range(start, stop):
            refs[item] -= 1
            if not refs[item]:
                self.live -= 1
                if gone and gone[-1][1] == item:
                    gone[-1] = (gone[-1][0], item + 1)
                else:
                    gone.append((item, item + 1))
        return gone

    # -- changes, on the loop's thread ------------------------------------------------------------------------------

    def done(self, start: int, stop: int, holder: str, frames: Sequence[memoryview]) -> None:
        """These have results. Said again (the scheduler was started again, or another worker has them now), what came
        along the first time stays."""
        if not frames and self.state[start] == DONE:
            self._held_by(start, stop, holder)
        else:
            self._made(start, stop, holder, frames)

    def _made(self, start: int, stop: int, holder: str, frames: Sequence[memoryview]) -> None:
        part = Part(start, stop, holder, frames)
        with _guard:
            self._uncover(start, stop)
            at = bisect_right(self.starts, start)
            self.starts.insert(at, start)
            self.parts.insert(at, part)
        self._mark(start, stop, DONE)

    def _held_by(self, start: int, stop: int, holder: str) -> None:
        known = self.known(start, stop)
        with _guard:
            self._uncover(start, stop)
        at = start
        for part, a, b in known:
            if at < a:
                self._made(at, a, holder, ())
            again = part if (part.start, part.stop) == (a, b) else _cut(part, a, b)
            again.holder, at = holder, b
            with _guard:
                place = bisect_right(self.starts, a)
                self.starts.insert(place, a)
                self.parts.insert(place, again)
        if at < stop:
            self._made(at, stop, holder, ())

    def failed(self, start: int, stop: int, failure: Failure) -> None:
        if self.state.count(FAILED, start, stop) == stop - start:
            return  # said again
        self.failures += ((start, stop, failure),)
        self._mark(start, stop, FAILED)

    def lost(self, start: int, stop: int) -> None:
        if not any(self.state[start:stop]):
            return  # they are pending, and known to be
        with _guard:
            self._uncover(start, stop)
        self._mark(start, stop, PENDING)

    def _mark(self, start: int, stop: int, state: int) -> None:
        self.state[start:stop] = bytes((state,)) * (stop - start)
        for listener in self.listeners:
            listener(self, start, stop)

    def listen(self, listener: Listener) -> None:
        """From now on it is called after each change; on any thread. Twice is as good as once."""
        with _guard:
            if listener not in self.listeners:
                self.listeners = (*self.listeners, listener)

    def unlisten(self, listener: Listener) -> None:
        """It is not called any more, if it was."""
        with _guard:
            self.listeners = tuple([one for one in self.listeners if one != listener])

    def _uncover(self, start: int, stop: int) -> None:
        """Cut what is known about these items out of the parts."""
        at = max(bisect_right(self.starts, start) - 1, 0)
        while at < len(self.parts):
            part = self.parts[at]
            if part.start >= stop:
                return
            if part.stop <= start:
                at += 1
                continue
            del self.starts[at], self.parts[at]
            for a, b in ((part.start, start), (stop, part.stop)):
                if a < b:
                    self.starts.insert(at, a)
                    self.parts.insert(at, _cut(part, a, b))
                    at += 1

    def released(self, start: int, stop: int) -> None:
        """Nobody holds futures of these items any more."""
        with _guard:
            at = max(bisect_right(self.starts, start) - 1, 0)
            while at < len(self.parts) and self.parts[at].start < stop:
                part = self.parts[at]
                part.alive -= max(0, min(stop, part.stop) - max(start, part.start))
                if part.alive <= 0:
                    del self.starts[at], self.parts[at]
                else:
                    at += 1

    # -- questions, from any thread ---------------------------------------------------------------------------------

    def settled(self, start: int, stop: int) -> bool:
        """Whether each of these is done or has failed."""
        return self.state.find(PENDING, start, stop) < 0

    def first_failed(self, start: int, stop: int) -> int:
        """The first of these that failed, -1 if none has."""
        return self.state.find(FAILED, start, stop)

    def failure_of(self, item: int) -> Failure:
        for start, stop, failure in reversed(self.failures):
            if start <= item < stop:
                return failure
        raise KeyError(item)

    def known(self, start: int, stop: int) -> list[tuple[Part, int, int]]:
        """The parts that cover these items, with the bounds of what each covers."""
        with _guard:
            at = max(bisect_right(self.starts, start) - 1, 0)
            parts = self.parts[at : bisect_right(self.starts, stop - 1)]
        cuts = [(part, max(part.start, start), min(part.stop, stop)) for part in parts]
        return [cut for cut in cuts if cut[1] < cut[2]]


def _cut(part: Part, start: int, stop: int) -> Part:
    if not part.lengths:
        return Part(start, stop, part.holder, ())
    ends = [0, *accumulate(0 if length == NOT_INLINE else length for length in part.lengths)]
    a, b = start - part.start, stop - part.start
    lengths = memoryview(array("I", part.lengths[a:b])).cast("B")
    return Part(start, stop, part.holder, (lengths, memoryview(part.blob)[ends[a] : ends[b]]))


class Event(Protocol):
    """What a watch needs of the event that it sets."""

    def set(self) -> None: ...


class Watch:
    """Waits until spans of results are settled.

    `event` is set when all are, when one has failed and `first_failure` is asked for, or when the link is lost.
    """

    def __init__(self, spans: Sequence[tuple[Results, int, int]], first_failure: bool, event: Event) -> None:
        self.spans = spans
        self.event: Any = event
        self._first_failure = first_failure
        self._waiting = list(spans)
        self._layers = {id(results): results for results, _, _ in spans}

    def start(self) -> None:
        """Begin to listen; on any thread. What changes while this looks is seen here or told to the listener."""
        for results in self._layers.values():
            results.listen(self._changed)
        self.check()

    def stop(self) -> None:
        for results in self._layers.values():
            results.unlisten(self._changed)

    def _changed(self, results: Results, start: int, stop: int) -> None:
        if self._first_failure and results.state[start] == FAILED:
            self.check()
            return
        # Look only at what is still waited for; a hundred thousand futures must not be looked at for each report.
        waiting = self._waiting  # `start` may put another list in its place meanwhile
        while waiting and waiting[-1][0].settled(*waiting[-1][1:]):
            waiting.pop()
        if not waiting:
            self.check()

    def check(self) -> None:
        self._waiting = [span for span in self.spans if not span[0].settled(*span[1:])]
        failed = self._first_failure and any(results.first_failed(a, b) >= 0 for results, a, b in self.spans)
        if failed or not self._waiting:
            self.event.set()
