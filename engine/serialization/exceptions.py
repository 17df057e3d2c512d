"""A task's exception on its way to the client: the exception, its traceback in the user's frames, and the worker.

The worker makes a `TaskError` of it (`task_error`). The client raises the user's own exception again, with the remote
frames in its traceback (`rebuild_exception`), as if it had been raised there.
"""

from __future__ import annotations

import contextlib
import errno
import linecache
import os
import traceback
import types
from collections.abc import Sequence
from typing import Any, NamedTuple

import howdah.errors as errors
from howdah.engine.protocol.events import TaskError
from howdah.engine.protocol.text import describe_error, shortened
from howdah.engine.serialization.serialize import dumps, loads, new_exception

_ENGINE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
MAX_TRACEBACK_FRAMES = 60
"""Frames of a traceback that travel; the middle of a longer one is left out."""

MAX_CHAIN = 20
"""Exceptions of a chain of causes and contexts that travel."""

MAX_PICKLE = 1 << 20
"""Bytes of a pickled exception that travel; of a larger one, its text does."""

_NOT_SHOWN = "an exception of the chain that could not travel"

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


def _printed(error: BaseException, frames: Sequence[TracebackFrame]) -> str:
    """Return what Python would print, of bounded length; the type alone where the user's own `__str__` fails."""
    try:
        return shortened(format_error(error, frames)).strip()
    except BaseException:  # noqa: BLE001  # a user's __str__, __notes__ or __qualname__ may raise anything at all
        return describe_error(error)


def task_error(error: BaseException, worker: str, host: str, container: str, kind: str = "") -> TaskError:
    """Return `error` as a record.

    Without a `kind` it is "platform" where `is_platform_error`, else "raised". Parts that cannot be pickled travel as
    text.
    """
    if not kind:
        kind = "platform" if is_platform_error(error) else "raised"
    message = _printed(error, [])
    return TaskError(
        kind=kind,
        message=message,
        traceback=_printed(error, extract_frames(error)),
        frame=_pickled(error, message),
        worker=worker,
        host=host,
        container=container,
    )


class _Links(NamedTuple):
    """Where an exception's cause and context are in the chain (-1: none), and whether the context is shown."""

    cause: int
    context: int
    suppressed: bool


def _chain(error: BaseException) -> tuple[list[BaseException], list[_Links]]:
    """Return `error`, its causes and contexts, and theirs, `MAX_CHAIN` at most; and how they are linked."""
    found, places = [error], {id(error): 0}
    links: list[_Links] = []

    def place_of(other: BaseException | None) -> int:
        if other is None:
            return -1
        if id(other) not in places:
            if len(found) == MAX_CHAIN:
                return -1
            places[id(other)] = len(found)
            found.append(other)
        return places[id(other)]

    for one in found:
        links.append(_Links(place_of(one.__cause__), place_of(one.__context__), one.__suppress_context__))
    return found, links


def _pickled(error: BaseException, message: str) -> bytes:
    chain, links = _chain(error)
    frames = [[tuple(frame) for frame in extract_frames(one)] for one in chain]
    data = _if_it_travels((chain, links, frames))
    if not data:
        data = _if_it_travels(([_that_travels(one) for one in chain], links, frames))
    return data or dumps(([None], links[:1], frames[:1], type(error).__qualname__, message))


def _if_it_travels(value: Any) -> bytes:
    """Return the pickle of `value`; empty if it cannot be pickled or opened, or is too large for a message."""
    try:
        data = dumps(value)
        if len(data) > MAX_PICKLE:
            return b""
        loads(data)  # many exceptions pickle well and open badly
    except BaseException:  # noqa: BLE001  # a user's __reduce__ or __init__ may raise anything; the next form is tried
        return b""
    return data


def _that_travels(error: BaseException) -> BaseException | None:
    """Return `error`, or one of its type without the attributes that cannot travel; None if there is no such."""
    if _if_it_travels(error):
        return error
    try:
        bare = new_exception(type(error), error.args)
        for name, value in vars(error).items():
            if _if_it_travels(value):
                setattr(bare, name, value)
            else:
                bare.add_note(f"howdah: its attribute {name} could not travel")
    except BaseException:  # noqa: BLE001  # the user's class may raise anything; the text is left
        return None
    return bare if _if_it_travels(bare) else None


def rebuild_exception(error: TaskError, where: str) -> BaseException:
    """Return the user's exception, with the remote frames as its traceback and `where` as a note. For the client."""
    chain: list[BaseException | None] = [None]
    links: list[_Links] = []
    traces: list[list[TracebackFrame]] = [[]]
    try:
        if error.frame:
            opened = loads(error.frame)
            chain, links = opened[0], opened[1]
            traces = [[TracebackFrame(*frame) for frame in frames] for frames in opened[2]]
    except KeyboardInterrupt:  # Ctrl-C here, for the worker has opened it without one
        raise
    except BaseException as problem:  # noqa: BLE001  # its class may not be importable here, or raise anything at all
        where += f"\n(the exception itself could not be opened here: {describe_error(problem)})"
    made = [one if one is not None else _substitute(error) for one in chain[:1]]
    made += [one if one is not None else errors.HowdahError(_NOT_SHOWN) for one in chain[1:]]
    for one, link, frames in zip(made, links, traces):
        one.__cause__ = made[link.cause] if link.cause >= 0 else None
        one.__context__ = made[link.context] if link.context >= 0 else None
        one.__suppress_context__ = link.suppressed
        one.__traceback__ = rebuild_traceback(frames)
    exception, frames = made[0], traces[0]
    if any(not os.path.exists(frame.file) and not linecache.getline(frame.file, frame.line) for frame in frames):
        where = f"{error.traceback.rstrip()}\n{where}"
    if error.kind == "taken":
        where += (
            "\nits worker had got SIGTERM, and perhaps the processes that the task had started; it was tried elsewhere"
        )
    if error.log_tail:
        where += "\nthe last output of the task:\n" + "\n".join(f"  {line}" for line in error.log_tail.splitlines())
    with contextlib.suppress(Exception):  # the user's class may have an add_note of its own, or __notes__ of its own
        BaseException.add_note(exception, where)
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
