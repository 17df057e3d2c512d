"""What tasks say: lines on stdout and stderr, and log records from WARNING up, kept per task and bounded.

`listen` puts a thin stream in the place of `sys.stdout` and of `sys.stderr` in a worker's process. All that is written
still goes where it went (a container's logs); what a slot's thread writes is noted under the task that it runs. A task
that says nothing costs nothing. Lines are kept until newer ones push them out. Called by the worker's process, by its
slots for tasks that fail, and by `Client.get_worker_logs` and `Client.logs_of`, which run here what they ask for.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TextIO

import msgspec

from howdah.engine.execution.task_context import current_task
from howdah.engine.protocol.events import TaskError

MOST_LINES, MOST_CHARACTERS = 5_000, 1 << 20
"""That a worker keeps, over all tasks."""

MOST_OF_TASK = 200
"""Lines that are kept of one task; of more, the newest."""

LONGEST = 2_000
"""Characters of a line that are kept."""

SHOWN_LINES, SHOWN_CHARACTERS = 20, 2_000
"""Of a failed task that travel with its error."""

Task = tuple[bytes, int]


class LogLine(NamedTuple):
    """`level` is that of a log record, or "STDOUT" or "STDERR"; `source` is the logger's name, or the same."""

    at: float
    level: str
    source: str
    text: str
    task: Task | None
    name: str
    """Of the task's layer; "" outside of tasks."""


@dataclass(slots=True)
class _Open:
    """A line that has no end yet, of one thread and stream."""

    task: Task | None
    name: str
    text: str = ""


class TaskLogBuffer:
    """The newest lines of this process, and by task.

    >>> lines = TaskLogBuffer()
    >>> lines.write("STDOUT", "one\\ntwo"), [line.text for line in lines.newest(5)]
    (None, ['two', 'one'])
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._all: deque[LogLine] = deque()
        self._of: dict[Task, deque[LogLine]] = {}
        self._open: dict[tuple[int, str], _Open] = {}
        self._characters = 0

    def write(self, stream: str, text: str) -> None:
        """A piece of text has been written to a stream, by this thread."""
        task, name = _here()
        mine = (threading.get_ident(), stream)
        with self._lock:
            unfinished = self._open.pop(mine, None)
            if unfinished is not None and unfinished.task != task:  # its task has ended without ending its line
                self._note(stream, stream, unfinished.text, unfinished.task, unfinished.name)
                unfinished = None
            *whole, rest = ((unfinished.text if unfinished is not None else "") + text).split("\n")
            for line in whole:
                self._note(stream, stream, line, task, name)
            if rest:
                self._open[mine] = _Open(task, name, rest[-LONGEST:])

    def record(self, level: str, logger: str, text: str) -> None:
        """A log record, of this thread."""
        with self._lock:
            self._note(level, logger, text, *_here())

    def newest(self, n: int | None = None) -> list[LogLine]:
        """The last `n` lines (None: all that are kept), the newest first."""
        with self._lock:
            found = [*self._all, *self._unfinished()]
        found.reverse()
        return found if n is None else found[:n]

    def of_task(self, task: Task) -> list[LogLine]:
        """The task's lines, in order."""
        with self._lock:
            return [*self._of.get(task, ()), *[line for line in self._unfinished() if line.task == task]]

    def _unfinished(self) -> list[LogLine]:
        now = time.time()
        return [
            LogLine(now, stream, stream, line.text, line.task, line.name) for (_, stream), line in self._open.items()
        ]

    def _note(self, level: str, source: str, text: str, task: Task | None, name: str) -> None:
        line = LogLine(time.time(), level, source, text[:LONGEST], task, name)
        if task is not None:
            mine = self._of.setdefault(task, deque(maxlen=MOST_OF_TASK))
            mine.append(line)
        self._all.append(line)
        self._characters += len(line.text)
        while len(self._all) > MOST_LINES or self._characters > MOST_CHARACTERS:
            self._drop(self._all.popleft())

    def _drop(self, oldest: LogLine) -> None:
        self._characters -= len(oldest.text)
        if oldest.task is not None:
            mine = self._of.get(oldest.task)
            if mine and mine[0] is oldest:
                mine.popleft()
            if not mine:
                self._of.pop(oldest.task, None)


def _here() -> tuple[Task | None, str]:
    """The task that this thread runs."""
    work: Any = current_task()
    if work is None:
        return None, ""
    return (bytes(work.message.range.layer), work.next - 1), work.code.layer.name


class TeeStream:
    """In the place of `sys.stdout` or `sys.stderr`: writes to it, and notes what was written."""

    def __init__(self, below: TextIO, name: str, lines: TaskLogBuffer) -> None:
        self._below, self._name, self._lines = below, name, lines

    def write(self, text: str) -> int:
        written = self._below.write(text)
        self._lines.write(self._name, text)
        return written

    def writelines(self, texts: Sequence[str]) -> None:
        for text in texts:
            self.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._below, name)


class _Handler(logging.Handler):
    """Notes log records; what prints them is another's business."""

    def __init__(self, lines: TaskLogBuffer) -> None:
        super().__init__(logging.WARNING)
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._lines.record(record.levelname, record.name, self.format(record))
        except Exception:  # noqa: BLE001  # as in the standard library: a record that cannot be formatted
            self.handleError(record)


_lines = TaskLogBuffer()

STARTED = time.time()
"""When this process began, near enough."""


def capture_output() -> None:
    """From here on, note what this process says. Said once by a worker, after it has set up its own logging."""
    logging.getLogger().addHandler(_Handler(_lines))
    sys.stdout = TeeStream(sys.stdout, "STDOUT", _lines)
    sys.stderr = TeeStream(sys.stderr, "STDERR", _lines)


def attach_output(error: TaskError, layer: bytes, item: int) -> TaskError:
    """A failed task's error with the last lines that it has said; as it is when there were none."""
    said = _lines.of_task((bytes(layer), item)) if _lines._of or _lines._open else ()
    if not said:
        return error
    return msgspec.structs.replace(error, log_tail=format_lines(said))


def format_lines(lines: Sequence[LogLine]) -> str:
    """The last of these lines, as an error shows them."""
    text = "\n".join(f"{line.level}: {line.text}" if line.level == line.source else _record(line) for line in lines)
    last = text[-SHOWN_CHARACTERS:].splitlines()[-SHOWN_LINES:]
    return "\n".join(last) if len(text.splitlines()) == len(last) else "...\n" + "\n".join(last)


def _record(line: LogLine) -> str:
    return f"{line.level}: {line.source}: {line.text}"


# -- what clients run here --------------------------------------------------------------------------------------------


def newest(n: int | None) -> list[tuple[str, str]]:
    """(level, text) of the newest lines of this worker, the newest first."""
    found = []
    for line in _lines.newest(n):
        task = f"{line.name}[{line.task[1]}]: " if line.task is not None else ""
        found.append((line.level, task + (line.text if line.level == line.source else f"{line.source}: {line.text}")))
    return found


def of_task(layer: bytes, item: int) -> list[tuple[float, str, str, str]]:
    """(time, level, source, text) of what the task has said here, in order."""
    return [line[:4] for line in _lines.of_task((layer, item))]
