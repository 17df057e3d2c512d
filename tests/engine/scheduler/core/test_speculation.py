"""A straggler is started once more elsewhere; whichever copy reports first counts, and the other is recalled."""

from __future__ import annotations

import pytest

from howdah.engine.protocol.events import (
    BatchDone,
    GraphSubmitted,
    NotifyDone,
    RecallBatch,
    StartBatch,
    Tick,
    WorkerInfo,
    WorkerJoined,
)
from howdah.engine.scheduler.core.scheduler import Scheduler
from howdah.engine.scheduler.simulation.cluster import layer, whole


@pytest.mark.parametrize("first", ["straggler", "copy"])
def test_the_first_report_counts(first: str) -> None:
    scheduler, spec = Scheduler(speculation=True), layer("a", 3)
    for name in ("w1", "w2"):
        scheduler.handle(WorkerJoined(WorkerInfo(name, name)), 0.0)
    running = [i for i in scheduler.handle(GraphSubmitted("me", (spec,), (whole(spec),)), 0.0)
               if isinstance(i, StartBatch)]  # fmt: skip
    slow, *others = running
    for quick in others:
        scheduler.handle(BatchDone(quick.worker, quick.batch, quick.attempt, (8,) * len(quick.range), 0.1), 0.2)
    assert not [i for i in scheduler.handle(Tick(), 1.0) if isinstance(i, StartBatch)]
    (copy,) = [i for i in scheduler.handle(Tick(), 9.0) if isinstance(i, StartBatch)]
    assert (copy.range, copy.worker != slow.worker) == (slow.range, True)
    winner, loser = (slow, copy) if first == "straggler" else (copy, slow)
    out = scheduler.handle(BatchDone(winner.worker, winner.batch, winner.attempt, (8,), 9.0), 9.1)
    assert [i.holder for i in out if isinstance(i, NotifyDone)] == [winner.worker]
    assert [(i.worker, i.batch) for i in out if isinstance(i, RecallBatch)] == [(loser.worker, loser.batch)]
    assert not [i for i in scheduler.handle(BatchDone(loser.worker, loser.batch, loser.attempt, (8,), 9.2), 9.3)
                if isinstance(i, NotifyDone)]  # fmt: skip
    assert scheduler.views.holders(slow.range) == [[winner.worker]]


def test_nothing_is_started_twice_unless_it_is_asked_for() -> None:
    scheduler, spec = Scheduler(), layer("a", 3)
    for name in ("w1", "w2"):
        scheduler.handle(WorkerJoined(WorkerInfo(name, name)), 0.0)
    _, *others = [i for i in scheduler.handle(GraphSubmitted("me", (spec,), (whole(spec),)), 0.0)
                  if isinstance(i, StartBatch)]  # fmt: skip
    for quick in others:
        scheduler.handle(BatchDone(quick.worker, quick.batch, quick.attempt, (8,) * len(quick.range), 0.1), 0.2)
    assert not [i for i in scheduler.handle(Tick(), 99.0) if isinstance(i, StartBatch)]
