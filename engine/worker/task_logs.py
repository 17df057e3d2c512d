"""The output of tasks: lines of stdout and stderr, and log records from WARNING up, stored per task and bounded.

`capture_output` replaces `sys.stdout` and `sys.stderr` of a worker's process by thin streams. All output still goes
where it went (a container's logs); output of a slot's thread is stored under the task that it runs. A task without
output costs nothing. Lines are stored until newer ones replace them. Called by the worker's process, by its slots for
failed tasks, and by `Client.get_worker_logs` and `Client.logs_of`, which run `newest` and `of_task` here.
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

MAX_LINES, MAX_CHARACTERS = 5_000, 1 << 20
"""Stored by a worker, over all tasks."""

MAX_TASK_LINES = 200
"""Lines that are stored of one task; of more, the newest."""

MAX_LINE = 2_000
"""Characters of a line that are stored."""

SHOWN_LINES, SHOWN_CHARACTERS = 20, 2_000
"""Lines and characters of a failed task's output that travel with its error."""

Task = tuple[bytes, int]


class LogLine(NamedTuple):
    """`level` is that of a log record, or "STDOUT" or "STDERR"; `source` is the logger's name, or the same."""

    at: float
    level: str
    source: str
    text: str
    task: Task | None
    name: str
    """Name of the task's layer; "" outside of tasks."""


@dataclass(slots=True)
class _Unfinished:
    """A line without an end, of one thread and stream."""

    task: Task | None
    name: str
    text: str = ""


class TaskLogBuffer:
    """The newest lines of this process, all and by task.

    >>> lines = TaskLogBuffer()
    >>> lines.write("STDOUT", "one\\ntwo"), [line.text for line in lines.newest(5)]
    (None, ['two', 'one'])
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._all: deque[LogLine] = deque()
        self.by_task: dict[Task, deque[LogLine]] = {}
        self.unfinished: dict[tuple[int, str], _Unfinished] = {}
        self._characters = 0

    def write(self, stream: str, text: str) -> None:
        """Store text that this thread has written to a stream."""
        task, name = _current()
        mine = (threading.get_ident(), stream)
        with self._lock:
            unfinished = self.unfinished.pop(mine, None)
            if unfinished is not None and unfinished.task != task:  # its task has ended without ending its line
                self._add(stream, stream, unfinished.text, unfinished.task, unfinished.name)
                unfinished = None
            *whole, rest = ((unfinished.text if unfinished is not None else "") + text).split("\n")
            for line in whole:
                self._add(stream, stream, line, task, name)
            if rest:
                self.unfinished[mine] = _Unfinished(task, name, rest[-MAX_LINE:])

    def record(self, level: str, logger: str, text: str) -> None:
        """Store a log record of this thread."""
        with self._lock:
            self._add(level, logger, text, *_current())

    def newest(self, n: int | None = None) -> list[LogLine]:
        """Return the last `n` lines (None: all), the newest first."""
        with self._lock:
            found = [*self._all, *self._unfinished_lines()]
        found.reverse()
        return found if n is None else found[:n]

    def of_task(self, task: Task) -> list[LogLine]:
        """Return the task's lines, in order."""
        with self._lock:
            return [*self.by_task.get(task, ()), *[line for line in self._unfinished_lines() if line.task == task]]

    def _unfinished_lines(self) -> list[LogLine]:
        now = time.time()
        return [
            LogLine(now, stream, stream, line.text, line.task, line.name)
            for (_, stream), line in self.unfinished.items()
        ]

    def _add(self, level: str, source: str, text: str, task: Task | None, name: str) -> None:
        line = LogLine(time.time(), level, source, text[:MAX_LINE], task, name)
        if task is not None:
            mine = self.by_task.setdefault(task, deque(maxlen=MAX_TASK_LINES))
            mine.append(line)
        self._all.append(line)
        self._characters += len(line.text)
        while len(self._all) > MAX_LINES or self._characters > MAX_CHARACTERS:
            self._drop(self._all.popleft())

    def _drop(self, oldest: LogLine) -> None:
        self._characters -= len(oldest.text)
        if oldest.task is not None:
            mine = self.by_task.get(oldest.task)
            if mine and mine[0] is oldest:
                mine.popleft()
            if not mine:
                self.by_task.pop(oldest.task, None)


def _current() -> tuple[Task | None, str]:
    """Return the task that this thread runs, and its layer's name."""
    work: Any = current_task()
    if work is None:
        return None, ""
    return (bytes(work.message.range.layer), work.next - 1), work.code.layer.name


class TeeStream:
    """In the place of `sys.stdout` or `sys.stderr`: writes to it, and stores what was written."""

    def __init__(self, below: TextIO, name: str, lines: TaskLogBuffer) -> None:
        self._below, self._name, self._lines = below, name, lines

    def write(self, text: str) -> int:
        try:
            written = self._below.write(text)
        except UnicodeEncodeError:  # a task must not fail because its text does not suit the log's encoding
            encoding = self._below.encoding or "utf-8"
            self._below.write(text.encode(encoding, "backslashreplace").decode(encoding))
            written = len(text)
        self._lines.write(self._name, text)
        return written

    def writelines(self, texts: Sequence[str]) -> None:
        for text in texts:
            self.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._below, name)


class _Handler(logging.Handler):
    """Stores log records; other handlers print them."""

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
"""When this process started, approximately."""


def capture_output() -> None:
    """Store the output of this process from now on. Called once by a worker, after it has set up its own logging."""
    logging.getLogger().addHandler(_Handler(_lines))
    sys.stdout = TeeStream(sys.stdout, "STDOUT", _lines)
    sys.stderr = TeeStream(sys.stderr, "STDERR", _lines)


def attach_output(error: TaskError, layer: bytes, item: int) -> TaskError:
    """Return a failed task's error with the task's last lines; unchanged if there are none."""
    lines = _lines.of_task((bytes(layer), item)) if _lines.by_task or _lines.unfinished else ()
    if not lines:
        return error
    return msgspec.structs.replace(error, log_tail=format_lines(lines))


def format_lines(lines: Sequence[LogLine]) -> str:
    """Return the last of these lines, as an error shows them."""
    text = "\n".join(f"{line.level}: {line.text}" if line.level == line.source else _record(line) for line in lines)
    last = text[-SHOWN_CHARACTERS:].splitlines()[-SHOWN_LINES:]
    return "\n".join(last) if len(text.splitlines()) == len(last) else "...\n" + "\n".join(last)


def _record(line: LogLine) -> str:
    return f"{line.level}: {line.source}: {line.text}"


# -- what clients run here --------------------------------------------------------------------------------------------


def newest(n: int | None) -> list[tuple[str, str]]:
    """Return (level, text) of the newest lines of this worker, the newest first."""
    found = []
    for line in _lines.newest(n):
        task = f"{line.name}[{line.task[1]}]: " if line.task is not None else ""
        found.append((line.level, task + (line.text if line.level == line.source else f"{line.source}: {line.text}")))
    return found


def of_task(layer: bytes, item: int) -> list[tuple[float, str, str, str]]:
    """Return (time, level, source, text) of the task's lines on this worker, in order."""
    return [line[:4] for line in _lines.of_task((layer, item))]
