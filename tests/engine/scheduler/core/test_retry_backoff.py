"""A task that failed because of the platform waits, each time twice as long, and at last fails for good."""

from __future__ import annotations

from howdah.engine.protocol.events import (
    BatchDone,
    GraphSubmitted,
    StartBatch,
    TaskError,
    Tick,
    WorkerInfo,
    WorkerJoined,
)
from howdah.engine.scheduler.core.retry_backoff import FIRST_WAIT, MAX_INFRASTRUCTURE_FAILURES
from howdah.engine.scheduler.core.scheduler import Scheduler
from howdah.engine.scheduler.core.tables import FAILED
from howdah.engine.scheduler.simulation.cluster import layer, whole


def test_each_wait_is_twice_the_one_before_until_the_task_fails() -> None:
    scheduler, spec, now = Scheduler(), layer("a", 1), 0.0
    for host in "bcde":  # a host with many failures is excluded
        scheduler.handle(WorkerJoined(WorkerInfo(host, host)), now)
    out = scheduler.handle(GraphSubmitted("me", (spec,), (whole(spec),)), now)
    waits = []
    for attempt in range(1, MAX_INFRASTRUCTURE_FAILURES + 1):
        (started,) = [i for i in out if isinstance(i, StartBatch)]
        error = TaskError("platform", "disk full", host=started.worker)
        report = BatchDone(started.worker, started.batch, started.attempt, (-1,), 0.1, ((0, error),))
        assert not [i for i in scheduler.handle(report, now) if isinstance(i, StartBatch)]
        if attempt == MAX_INFRASTRUCTURE_FAILURES:
            break
        assert scheduler.wake_at is not None
        until = scheduler.state.layers[spec.key].retry_at
        assert until is not None
        waits.append(until[0] - now)
        assert not [i for i in scheduler.handle(Tick(), until[0] - 1e-6) if isinstance(i, StartBatch)]
        now = until[0]
        out = scheduler.handle(Tick(), now)
    assert [round(wait / FIRST_WAIT) for wait in waits] == [1, 2, 4, 8]
    assert scheduler.state.layers[spec.key].counts[FAILED] == 1
