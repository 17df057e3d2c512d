"""A task's exception on its way to the client: the exception, its traceback in the user's frames, and the worker.

The worker makes a `TaskError` of it (`task_error`). The client raises the user's own exception again, with the remote
frames in its traceback (`rebuild_exception`), as if it had been raised there.
"""

from __future__ import annotations

import errno
import linecache
import os
import traceback
import types
from collections.abc import Sequence
from typing import Any, NamedTuple

import howdah.errors as errors
from howdah.engine.protocol.events import TaskError
from howdah.engine.serialization.serialize import dumps, loads

_ENGINE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
MAX_TRACEBACK_FRAMES = 60
"""Frames of a traceback that travel; the middle of a longer one is left out."""

_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS})
"""Errors of a full or broken disk; the disk of another host may work."""


def is_platform_error(error: BaseException) -> bool:
    """Return whether the platform has failed and not the user's code: a disk, or a file system that is away."""
    return isinstance(error, errors.StorageAway) or (isinstance(error, OSError) and error.errno in _DISK)


class TracebackFrame(NamedTuple):
    """One line of a traceback."""

    file: str
    line: int
    function: str
    text: str


def extract_frames(error: BaseException) -> list[TracebackFrame]:
    """Return the traceback of `error` without howdah's own frames at its outer end."""
    found = [
        TracebackFrame(entry.filename, entry.lineno or 0, entry.name, entry.line or "")
        for entry in traceback.extract_tb(error.__traceback__)
    ]
    while found and found[0].file.startswith(_ENGINE):
        found.pop(0)
    if len(found) > MAX_TRACEBACK_FRAMES:
        found = found[: MAX_TRACEBACK_FRAMES // 2] + found[-MAX_TRACEBACK_FRAMES // 2 :]
    return found


def format_error(error: BaseException, frames: Sequence[TracebackFrame]) -> str:
    """Return what Python would print for `error`."""
    lines = ["Traceback (most recent call last):\n"] if frames else []
    lines += traceback.format_list([(f.file, f.line, f.function, f.text) for f in frames])
    lines += traceback.format_exception_only(error)
    return "".join(lines)


def task_error(error: BaseException, worker: str, host: str, container: str, kind: str = "") -> TaskError:
    """Return `error` as a record.

    Without a `kind` it is "platform" where `is_platform_error`, else "raised". Parts that cannot be pickled travel as
    text.
    """
    if not kind:
        kind = "platform" if is_platform_error(error) else "raised"
    frames = extract_frames(error)
    message = "".join(traceback.format_exception_only(error)).strip()
    return TaskError(
        kind=kind,
        message=message,
        traceback=format_error(error, frames),
        frame=_pickled(error, [tuple(f) for f in frames], message),
        worker=worker,
        host=host,
        container=container,
    )


def _pickled(error: BaseException, frames: list[tuple[Any, ...]], message: str) -> bytes:
    bare = error.with_traceback(None)
    cause = bare.__cause__ if isinstance(bare.__cause__, Exception) else None
    for candidate in ((bare, cause), (bare, None)):
        try:
            data = dumps((*candidate, frames))
            loads(data)  # many exceptions pickle well and open badly
        except Exception:  # noqa: BLE001  # a user's __reduce__ or __init__ may raise anything; the next form is tried
            continue
        return data
    return dumps((None, None, frames, type(error).__qualname__, message))


def rebuild_exception(error: TaskError, where: str) -> BaseException:
    """Return the user's exception, with the remote frames as its traceback and `where` as a note. For the client."""
    try:
        opened = loads(error.frame) if error.frame else (None, None, [])
    except Exception as problem:  # noqa: BLE001  # the class may not be importable here; say what it was
        opened = (None, None, [])
        where += f"\n(the exception itself could not be opened here: {type(problem).__name__}: {problem})"
    exception: BaseException | None = opened[0]
    if exception is None:
        exception = _substitute(error)
    elif opened[1] is not None:
        exception.__cause__ = opened[1]
    frames = [TracebackFrame(*frame) for frame in opened[2]]
    if any(not os.path.exists(frame.file) and not linecache.getline(frame.file, frame.line) for frame in frames):
        where = f"{error.traceback.rstrip()}\n{where}"
    if error.kind == "taken":
        where += (
            "\nits worker had got SIGTERM, and perhaps the processes that the task had started; it was tried elsewhere"
        )
    if error.log_tail:
        where += "\nthe last output of the task:\n" + "\n".join(f"  {line}" for line in error.log_tail.splitlines())
    exception.add_note(where)
    return exception.with_traceback(rebuild_traceback(frames))


def _substitute(error: TaskError) -> errors.HowdahError:
    kinds: dict[str, type[errors.HowdahError]] = {
        "lost": errors.WorkerLost,
        "timeout": errors.TaskTimeout,
        "cancelled": errors.Cancelled,
        "unpicklable": errors.Unpicklable,
    }
    return kinds.get(error.kind, errors.HowdahError)(error.message)


def rebuild_traceback(frames: Sequence[TracebackFrame]) -> types.TracebackType | None:
    """Return a traceback that shows `frames`, made of stub code with their names (as tblib does)."""
    made: types.TracebackType | None = None
    for frame in reversed(frames):
        line = max(frame.line, 1)
        stub = compile("\n" * (line - 1) + "raise StopIteration", frame.file, "exec")
        stub = stub.replace(co_name=frame.function, co_qualname=frame.function)
        try:
            exec(stub, {"__name__": frame.file, "__file__": frame.file})
        except StopIteration as stopped:
            inner = stopped.__traceback__
            assert inner is not None
            assert inner.tb_next is not None
            made = types.TracebackType(made, inner.tb_next.tb_frame, inner.tb_next.tb_lasti, line)
    return made
