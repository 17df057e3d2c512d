"""Copies on request stay with their result; retries begin with what failed first; slots follow their tasks."""

from __future__ import annotations

from howdah.engine.protocol.events import (
    BatchDone,
    CopiesMade,
    CopiesRequested,
    FreeRanges,
    GraphSubmitted,
    InputsMissing,
    Instruction,
    NotifyLost,
    Released,
    RetryRequested,
    SlotsChanged,
    StartBatch,
    TaskError,
    WorkerInfo,
    WorkerJoined,
)
from howdah.engine.protocol.layers import OneToOne
from howdah.engine.scheduler.core.scheduler import Scheduler
from howdah.engine.scheduler.simulation.cluster import layer, whole


def starts(out: list[Instruction]) -> list[StartBatch]:
    return [i for i in out if isinstance(i, StartBatch)]


def test_copies_on_request_are_listed_and_freed_with_their_result() -> None:
    scheduler, a = Scheduler(), layer("a", 1)
    for name in ("w1", "w2"):
        scheduler.handle(WorkerJoined(WorkerInfo(name, name)), 0.0)
    (run,) = starts(scheduler.handle(GraphSubmitted("me", (a,), (whole(a),)), 0.0))
    scheduler.handle(BatchDone(run.worker, run.batch, run.attempt, (8,), 0.1), 0.1)
    other = "w2" if run.worker == "w1" else "w1"
    scheduler.handle(CopiesRequested((whole(a),)), 0.2)
    scheduler.handle(CopiesMade(other, (whole(a),)), 0.3)
    assert scheduler.views.holders(whole(a)) == [[run.worker, other]]
    out = scheduler.handle(Released("me", (whole(a),)), 0.4)
    assert {i.worker for i in out if isinstance(i, FreeRanges)} == {"w1", "w2"}


def test_a_retry_computes_what_failed_and_what_failed_before_it() -> None:
    scheduler, a, b = Scheduler(), layer("a", 1), layer("b", 1, ("a", OneToOne()))
    scheduler.handle(WorkerJoined(WorkerInfo("w", "h")), 0.0)
    run, ahead = starts(scheduler.handle(GraphSubmitted("me", (a, b), (whole(b),)), 0.0))
    scheduler.handle(BatchDone("w", run.batch, run.attempt, (-1,), 0.1, ((0, TaskError("raised", "no")),)), 0.1)
    scheduler.handle(InputsMissing("w", ahead.batch, ahead.attempt, "w", (whole(a),)), 0.1)
    assert scheduler.views.status(whole(b)) == ["failed"]
    out = scheduler.handle(RetryRequested("me", (whole(b),)), 0.2)
    assert [i.range for i in out if isinstance(i, NotifyLost)] == [whole(b)]
    assert starts(out)[0].range == whole(a)


def test_a_released_slot_is_no_slot() -> None:
    scheduler, a = Scheduler(), layer("a", 1)
    scheduler.handle(WorkerJoined(WorkerInfo("w", "h")), 0.0)
    scheduler.handle(SlotsChanged("w", 0), 0.1)
    assert scheduler.views.slots == 0
    assert starts(scheduler.handle(GraphSubmitted("me", (a,), (whole(a),)), 0.2)) == []
    assert starts(scheduler.handle(SlotsChanged("w", 1), 0.3))[0].range == whole(a)
