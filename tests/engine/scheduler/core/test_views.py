"""The views of the scheduler's state, against what the story says."""

from __future__ import annotations

from howdah.engine.protocol.events import (
    BatchDone,
    CopiesMade,
    CopiesRequested,
    GraphSubmitted,
    LayerSpec,
    StartBatch,
    WorkerInfo,
    WorkerJoined,
)
from howdah.engine.protocol.layers import TaskRange
from howdah.engine.scheduler.core.scheduler import Scheduler
from howdah.engine.scheduler.core.views import BatchView

KEY = b"k" * 16
WHOLE = TaskRange(KEY, 0, 2)


def story() -> tuple[Scheduler, StartBatch]:
    """Worker `a` has computed item 0 and runs item 1; `b` has a copy of item 0; `c` has nothing."""
    scheduler = Scheduler()
    scheduler.handle(WorkerJoined(WorkerInfo("a", "host")), 0.0)
    out = scheduler.handle(GraphSubmitted("me", (LayerSpec(KEY, "layer", 2),), (WHOLE,)), 0.1)
    first, second = [one for one in out if isinstance(one, StartBatch)]
    assert first.range == TaskRange(KEY, 0, 1)
    scheduler.handle(BatchDone("a", first.batch, first.attempt, (8,), 0.5), 0.2)
    for name in "bc":
        scheduler.handle(WorkerJoined(WorkerInfo(name, "host")), 0.3)
    scheduler.handle(CopiesRequested((TaskRange(KEY, 0, 1),)), 0.4)
    scheduler.handle(CopiesMade("b", (TaskRange(KEY, 0, 1),)), 0.5)
    return scheduler, second


def test_views_of_tasks_and_results() -> None:
    scheduler, second = story()
    views = scheduler.views
    assert (views.has_layer(KEY), views.has_layer(b"o" * 16), views.layer_count) == (True, False, 1)
    assert views.status(WHOLE) == ["done", "running"]
    assert views.status(TaskRange(b"o" * 16, 0, 1)) == []
    assert views.batch_of(TaskRange(KEY, 1, 2)) == BatchView(second.batch, second.attempt, 1, "a", True)
    assert views.batch_of(TaskRange(KEY, 0, 1)) is None
    assert views.has_batch(second.batch)
    assert views.main_holders(WHOLE) == [(TaskRange(KEY, 0, 1), "a")]
    assert views.copy_holders(WHOLE, 2) == [(TaskRange(KEY, 0, 1), "b")]
    assert views.copy_holders(WHOLE, 0) == []
    assert views.holders(WHOLE) == [["a", "b"], []]
    assert views.results_by_worker() == {"a": [TaskRange(KEY, 0, 1)], "b": [TaskRange(KEY, 0, 1)], "c": []}


def test_a_result_is_sole_only_among_the_workers_that_count() -> None:
    views = story()[0].views
    assert views.sole_results("a", ["c"]) == [(TaskRange(KEY, 0, 1), 8)]
    assert views.sole_results("a", ["b", "c"]) == []


def test_views_of_workers_and_accounts() -> None:
    scheduler, _ = story()
    views = scheduler.views
    assert views.workers == ("a", "b", "c")
    assert views.slots == 3
    assert views.batch_counts() == {"a": 1, "b": 0, "c": 0}
    assert views.result_bytes()["a"] == 8
    assert not views.awaits_workers
    assert views.states() == {"idle": 0, "waiting": 0, "ready": 0, "running": 1, "done": 1, "failed": 0}
    layer = views.layer(KEY)
    assert layer is not None
    assert (layer.n, layer.done, layer.running, layer.tasks) == (2, 1, 1, 1)
    assert views.layers_of("me") == [layer]
    assert views.layers_of("another") == []
    assert views.summary().tasks == 1
    assert views.summary(layers=False).layers == ()
    assert [spec.key for spec in views.snapshot().layers] == [KEY]
