"""The events that `howdah submit --json` prints, one JSON object a line. Their field names are public (docs/yarn.md).

Each has its kind under `event` and its time under `t`, in seconds since 1970. Written by `ui.progress`; scripts in
Python may read them back with `decode`.
"""

from __future__ import annotations

import msgspec

from howdah.errors import InputError


class JsonEvent(msgspec.Struct, kw_only=True, tag_field="event"):
    """What all events have."""

    t: float


class PhaseEvent(JsonEvent, kw_only=True, tag="phase"):
    """A phase of the start has begun."""

    phase: str
    text: str


class ProgressEvent(JsonEvent, kw_only=True, tag="progress"):
    """How far the phase is, at most once a second."""

    phase: str
    done: float
    total: float


class NoteEvent(JsonEvent, kw_only=True, tag="note"):
    """Something that a person should see, such as a lost worker."""

    text: str


class SubmittedEvent(JsonEvent, kw_only=True, tag="submitted"):
    """YARN has accepted the application. `seconds`: since the command began."""

    app_id: str
    seconds: float


class EndEvent(JsonEvent, kw_only=True, tag="end"):
    """The application has ended.

    Attributes
    ----------
    app_id, status, exit_code, diagnostics : which one, and how it ended.
    seconds : by phase (`summary.PHASES`).
    total, first_task : seconds from the command's start to the end, and to the first task.
    tasks, tasks_failed : how many were done, and failed.
    placed, bytes : tasks that read stored data, and the bytes, by where they ran: node, rack, remote.
    lost_containers, preempted_containers, restarted, attempt : as in `summary.WorkSummary`.
    out, err : the end of the script's output, in cluster mode.
    """

    app_id: str
    status: str
    exit_code: int
    diagnostics: str
    seconds: dict[str, float]
    total: float
    first_task: float | None
    out: str | msgspec.UnsetType = msgspec.UNSET
    err: str | msgspec.UnsetType = msgspec.UNSET
    tasks: int
    tasks_failed: int
    placed: dict[str, int]
    bytes: dict[str, int]
    lost_containers: list[str]
    preempted_containers: list[str]
    restarted: list[str]
    attempt: int


AnyEvent = PhaseEvent | ProgressEvent | NoteEvent | SubmittedEvent | EndEvent


def decode(line: str | bytes) -> AnyEvent:
    """Return the event of one line.

    Raises
    ------
    InputError
        It is none; the message has the path of the wrong field.

    Examples
    --------
    >>> decode('{"event": "note", "t": 1.5, "text": "a worker was lost"}')
    NoteEvent(t=1.5, text='a worker was lost')
    >>> decode('{"event": "note", "t": "now", "text": ""}')
    Traceback (most recent call last):
    ...
    howdah.errors.InputError: no event of howdah: Expected `float`, got `str` - at `$.t`
    """
    try:
        found: AnyEvent = msgspec.json.decode(line, type=AnyEvent)
        return found
    except msgspec.DecodeError as error:
        raise InputError(f"no event of howdah: {error}") from error
