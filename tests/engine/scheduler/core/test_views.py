"""What can be read of a scheduler: states, holders, sole results, batches; and that reading changes nothing."""

from __future__ import annotations

from howdah.engine.protocol.events import (
    BatchDone,
    CopiesMade,
    CopiesRequested,
    GraphSubmitted,
    StartBatch,
    WorkerInfo,
    WorkerJoined,
)
from howdah.engine.protocol.layers import TaskRange
from howdah.engine.scheduler.core.scheduler import Scheduler
from howdah.engine.scheduler.simulation.cluster import layer, whole
from howdah.engine.scheduler.simulation.invariants import check_invariants


def test_views_follow_a_task_from_its_batch_to_its_result() -> None:
    scheduler, a = Scheduler(), layer("a", 2)
    views = scheduler.views
    assert views.status(whole(a)) == []
    scheduler.handle(WorkerJoined(WorkerInfo("w1", "h1")), 0.0)
    out = scheduler.handle(GraphSubmitted("me", (a,), (whole(a),)), 0.0)
    run = next(i for i in out if isinstance(i, StartBatch))
    view = views.batch_of(TaskRange(a.key, 0, 1))
    assert view is not None
    assert (view.number, view.attempt, view.worker, view.in_slot) == (run.batch, run.attempt, "w1", True)
    assert views.states()["running"] == 2
    scheduler.handle(BatchDone("w1", run.batch, run.attempt, (100,), 0.1), 0.1)
    assert views.status(whole(a)) == ["done", "running"]
    assert views.holders(whole(a)) == [["w1"], []]
    assert views.result_bytes() == {"w1": 100}
    summary = views.layer(a.key)
    assert summary is not None
    assert (summary.done, summary.running, summary.tasks) == (1, 1, 1)
    check_invariants(scheduler)


def test_a_result_with_a_copy_elsewhere_is_no_sole_result() -> None:
    scheduler, a = Scheduler(), layer("a", 1)
    for name in ("w1", "w2", "w3"):
        scheduler.handle(WorkerJoined(WorkerInfo(name, name)), 0.0)
    out = scheduler.handle(GraphSubmitted("me", (a,), (whole(a),)), 0.0)
    run = next(i for i in out if isinstance(i, StartBatch))
    scheduler.handle(BatchDone(run.worker, run.batch, run.attempt, (7,), 0.1), 0.1)
    second, third = sorted({"w1", "w2", "w3"} - {run.worker})
    assert scheduler.views.sole_results(run.worker, [second, third]) == [(whole(a), 7)]
    scheduler.handle(CopiesRequested((whole(a),)), 0.2)
    scheduler.handle(CopiesMade(second, (whole(a),)), 0.2)
    assert scheduler.views.sole_results(run.worker, [second, third]) == []
    assert scheduler.views.sole_results(run.worker, [third]) == [(whole(a), 7)]
