"""The last transitions of tasks, for debugging: a ring, the `story` of an item, and JSON lines on request.

`transitions.transition` records every step here, with the names of the states, and the worker and batch where there are
any. One entry is for a whole interval, so a layer of a million tasks costs an entry a batch. Entries keep the order of
events; times are the scheduler's clock (seconds, as given to `Scheduler.handle`). Read through
`SchedulerViews.history`.
"""

from __future__ import annotations

import json
from collections import defaultdict, deque
from collections.abc import Iterator
from typing import Any, NamedTuple, TextIO

MAX_ENTRIES = 10_000
"""Entries that are kept; older ones are forgotten (JSON lines keep them all)."""


class HistoryEntry(NamedTuple):
    """Items start to stop of a layer went from `old` to `new`."""

    at: float
    layer: bytes
    name: str
    start: int
    stop: int
    old: str
    new: str
    worker: str = ""
    run: int = 0
    attempt: int = 0
    reason: str = ""

    def to_dict(self) -> dict[str, Any]:
        """As JSON: keys as hexadecimal digits, what is not known left out.

        >>> HistoryEntry(1.5, b"k", "inc", 0, 2, "ready", "running", "w1", 7, 1).to_dict()["layer"]
        '6b'
        """
        found = {name: value for name, value in zip(self._fields, self) if value not in ("", 0) or name == "start"}
        found["layer"] = self.layer.hex()
        return found


class History:
    """The ring, and the counts of all transitions so far."""

    def __init__(self, most: int = MAX_ENTRIES) -> None:
        self._ring: deque[tuple[Any, ...]] = deque(maxlen=most)
        """Notes as bare tuples, with (old, new) in one, which the garbage collector soon leaves alone."""
        self.counts: defaultdict[tuple[str, str], int] = defaultdict(int)
        """Items, by (old, new)."""
        self._file: TextIO | None = None

    @property
    def entries(self) -> list[HistoryEntry]:
        """The last entries, oldest first."""
        return [_entry(fields) for fields in self._ring]

    def record(
        self, at: float, layer: bytes, name: str, start: int, stop: int, step: tuple[str, str],
        worker: str = "", batch: int = 0, attempt: int = 0, reason: str = "",
    ) -> None:  # fmt: skip
        """Add an entry; the fields are those of `HistoryEntry`, and `step` is (old, new)."""
        fields = (at, layer, name, start, stop, step, worker, batch, attempt, reason)
        self._ring.append(fields)
        self.counts[step] += stop - start
        if self._file is not None:
            self._file.write(json.dumps(_entry(fields).to_dict()) + "\n")

    def record_all(
        self, at: float, layer: bytes, name: str, intervals: list[tuple[int, int]], step: tuple[str, str]
    ) -> None:
        """Add an entry for each of the intervals."""
        if self._file is not None:
            for start, stop in intervals:
                self.record(at, layer, name, start, stop, step)
            return
        self._ring.extend([(at, layer, name, start, stop, step, "", 0, 0, "") for start, stop in intervals])
        self.counts[step] += sum([stop - start for start, stop in intervals])

    def write_to(self, path: str) -> None:
        """Write every entry from now on to the end of this file too, one JSON object a line."""
        self.close()
        self._file = open(path, "a", buffering=1)  # noqa: SIM115  # open until `close`

    def clear(self) -> None:
        """Forget the entries; counts and file stay."""
        self._ring.clear()

    def close(self) -> None:
        """Write no more to the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def story(self, layer: bytes, item: int | None = None) -> Iterator[HistoryEntry]:
        """The notes about an item (or a whole layer), oldest first; what the ring has forgotten is missing.

        >>> history = History()
        >>> history.record(0.0, b"k", "inc", 0, 9, ("idle", "waiting"))
        >>> [note.new for note in history.story(b"k", 3)], list(history.story(b"k", 9))
        (['waiting'], [])
        """
        for fields in self._ring:
            if fields[1] == layer and (item is None or fields[3] <= item < fields[4]):
                yield _entry(fields)


def _entry(fields: tuple[Any, ...]) -> HistoryEntry:
    at, layer, name, start, stop, step, *rest = fields
    return HistoryEntry(at, layer, name, start, stop, *step, *rest)
