"""The records of a server's journal: what `journal_writer` appends and `restart` replays.

A record's first frame is one of these, packed; payload follows as opaque frames. Times are Unix times, in seconds.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import msgspec

from howdah.engine.protocol.events import StateRestored, TaskError
from howdah.engine.protocol.layers import Key, TaskRange
from howdah.engine.protocol.messages import (
    AppendArguments,
    Bye,
    CancelTasks,
    CoordinationCall,
    Query,
    ReleaseResults,
    Response,
    Submit,
)
from howdah.engine.scheduler.coordination.snapshot import CoordinationRecord

Changing = Submit | AppendArguments | ReleaseResults | CancelTasks | CoordinationCall | Bye

JOURNALED_ASKS = frozenset({"retry", "upload", "forget", "add_cleanup", "drop_cleanup"})
"""The requests by `Query` that a restarted server must replay; all others change nothing that outlives it."""


class JournalRecord(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Base of all records."""


class RestartRecord(JournalRecord, frozen=True):
    """A server has started listening. `cluster` is the same for all servers of one journal; `restart` counts them."""

    at: float
    cluster: str
    restart: int
    address: str


class SessionOpened(JournalRecord, frozen=True):
    """A client's or owner's session."""

    at: float
    session: str
    purpose: str
    role: tuple[str, str, str]
    name: str
    host: str
    lease: float
    worker: str
    received: int = 0
    asked: int = 0


class BatchReceived(JournalRecord, frozen=True):
    """A batch of messages of that session; its frames follow."""

    at: float
    session: str
    number: int


class SessionClosed(JournalRecord, frozen=True):
    """The client or owner has left."""

    at: float
    session: str


class WorkerCame(JournalRecord, frozen=True):
    """A worker of this name has introduced itself."""

    name: str


class WorkerWent(JournalRecord, frozen=True):
    """The worker of this name will not return."""

    name: str


class FailureRecord(JournalRecord, frozen=True):
    """These tasks failed and are not tried again."""

    at: float
    range: TaskRange
    error: TaskError


class CancellationRecord(JournalRecord, frozen=True):
    """Tasks that had not begun were cancelled, by the request `number` of that session."""

    at: float
    session: str
    number: int
    ranges: tuple[TaskRange, ...]


class InterestEnded(JournalRecord, frozen=True):
    """A client of the server's own (`commands.FIRE_AND_FORGET`) needs these results no more."""

    at: float
    client: str
    ranges: tuple[TaskRange, ...]


class CallsTimedOut(JournalRecord, frozen=True):
    """Calls of coordination primitives were answered because their deadline had passed."""

    at: float


class LayerRecord(JournalRecord, frozen=True):
    """Of a snapshot: a layer; its three frames follow."""

    key: Key


class SchedulerRecord(JournalRecord, frozen=True):
    """Of a snapshot: the scheduler's layers, interests and failures."""

    at: float
    state: StateRestored


class PrimitivesRecord(JournalRecord, frozen=True):
    """Of a snapshot: all coordination primitives."""

    state: CoordinationRecord


class FilesRecord(JournalRecord, frozen=True):
    """Of a snapshot: uploaded files; one frame each follows."""

    names: tuple[str, ...]


class AnswerRecord(JournalRecord, frozen=True):
    """Of a snapshot: an answer that the client may not have received."""

    session: str
    answer: Response


class CleanupRecord(JournalRecord, frozen=True):
    """Of a snapshot: the folders to remove when the application ends."""

    urls: tuple[str, ...]


AnyJournalRecord: TypeAlias = (
    RestartRecord | SessionOpened | BatchReceived | SessionClosed | WorkerCame | WorkerWent | FailureRecord
    | CancellationRecord | InterestEnded | CallsTimedOut | LayerRecord | SchedulerRecord | PrimitivesRecord
    | FilesRecord | AnswerRecord | CleanupRecord
)  # fmt: skip

encode_record = msgspec.msgpack.Encoder().encode
decode_record = msgspec.msgpack.Decoder(AnyJournalRecord).decode


def is_changing(message: Any) -> bool:
    """Whether a restarted server must replay this message of a client."""
    if isinstance(message, CoordinationCall):
        return message.kind != "task"
    return isinstance(message, Changing) or (isinstance(message, Query) and message.query in JOURNALED_ASKS)
