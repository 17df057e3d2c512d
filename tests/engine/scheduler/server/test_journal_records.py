"""The journal's records: each is what was packed, and a replay needs exactly the messages that change anything."""

from __future__ import annotations

import pytest

from howdah.engine.protocol.events import LayerSpec, StateRestored, TaskError
from howdah.engine.protocol.layers import TaskRange
from howdah.engine.protocol.messages import (
    AppendArguments,
    Bye,
    CancelTasks,
    CoordinationCall,
    FetchFailed,
    Query,
    ReleaseResults,
    Response,
    Submit,
    WhoHas,
)
from howdah.engine.scheduler.coordination.snapshot import snapshot
from howdah.engine.scheduler.coordination.state import CoordinationState, PackedValue, PrimitiveCall
from howdah.engine.scheduler.server import journal_records as records
from howdah.engine.scheduler.server.journal_records import decode_record, encode_record, is_changing

ONE = TaskRange(b"k" * 16, 0, 1)


def primitives() -> records.CoordinationRecord:
    state = CoordinationState()
    state.on_call(PrimitiveCall("a", 1, "queue", "q", "put", PackedValue(b"x", (ONE,))), 0.0)
    return snapshot(state, 0.0)


@pytest.mark.parametrize(
    "record",
    [
        records.RestartRecord(1.0, "cluster", 3, "tls://h:1"),
        records.SessionOpened(1.0, "s", "client", ("app", "client", "me"), "me", "h", 60.0, "", 7, 5),
        records.BatchReceived(1.0, "s", 8),
        records.SessionClosed(1.0, "s"),
        records.WorkerCame("w"),
        records.WorkerWent("w"),
        records.FailureRecord(1.0, ONE, TaskError("raised", "boom")),
        records.CancellationRecord(1.0, "s", 9, (ONE,)),
        records.InterestEnded(1.0, "me", (ONE,)),
        records.CallsTimedOut(1.0),
        records.LayerRecord(b"k" * 16),
        records.SchedulerRecord(1.0, StateRestored((LayerSpec(b"k" * 16, "layer", 1),), (), (), (), ())),
        records.PrimitivesRecord(primitives()),
        records.FilesRecord(("a.py",)),
        records.AnswerRecord("s", Response(3, ["ok", True])),
        records.CleanupRecord(("hdfs://nn/x",)),
    ],
    ids=lambda record: type(record).__name__,
)
def test_a_record_is_what_was_packed(record: records.JournalRecord) -> None:
    assert decode_record(encode_record(record)) == record


def test_what_a_restarted_server_replays() -> None:
    changing = [
        Submit((), ()), AppendArguments(b"k" * 16, 0), ReleaseResults((ONE,)), CancelTasks((ONE,)), Bye(),
        CoordinationCall(1, "queue", "q", "put"), *[Query(1, name) for name in records.JOURNALED_ASKS],
    ]  # fmt: skip
    others = [
        FetchFailed("w", (ONE,)), WhoHas(1, (ONE,)), Query(1, "status"), CoordinationCall(1, "task", "", "cancel"),
    ]  # fmt: skip
    assert all(map(is_changing, changing))
    assert not any(map(is_changing, others))
