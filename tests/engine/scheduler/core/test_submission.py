"""Invalid graphs are rejected with the reason, and layers are forgotten when nothing needs them."""

from __future__ import annotations

import pytest

from howdah.engine.protocol.events import (
    BatchDone,
    ForgetLayer,
    GraphSubmitted,
    LayerSpec,
    NotifyFailed,
    Released,
    StartBatch,
    WorkerInfo,
    WorkerJoined,
)
from howdah.engine.protocol.layers import Dependency, OneToOne, TaskRange
from howdah.engine.scheduler.core.scheduler import Scheduler
from howdah.engine.scheduler.simulation.cluster import layer, whole

A = layer("a", 3)


@pytest.mark.parametrize(
    ("spec", "ranges", "reason"),
    [
        (LayerSpec(b"x", "x", 2, (Dependency(b"?", OneToOne()),)), (), "a layer that is not in the graph"),
        (LayerSpec(b"x", "x", 2, (Dependency(A.key, OneToOne()),)), (), "x: "),
        (LayerSpec(b"x", "x", 2, nbytes=(1,)), (), "sizes for 1 of 2 items"),
        (LayerSpec(b"x", "x", 2, host_sets=(("h",), ("g",)), host_index=(0,)), (), "preferred hosts for 1 of 2 items"),
        (LayerSpec(A.key, "x", 2), (), "another layer of 3 items, not 2, is known under its key"),
        (LayerSpec(b"x", "x", 2), (TaskRange(b"x", 1, 4),), "items 1:4 of a layer of 2"),
        (LayerSpec(b"x", "x", 2), (TaskRange(b"y", 0, 1),), "is not in the graph"),
    ],
)
def test_an_invalid_graph_is_rejected(spec: LayerSpec, ranges: tuple[TaskRange, ...], reason: str) -> None:
    scheduler = Scheduler()
    scheduler.handle(GraphSubmitted("me", (A,), (whole(A),)), 0.0)
    before = scheduler.views.snapshot()
    out = scheduler.handle(GraphSubmitted("me", (spec,), ranges or (whole(spec),)), 0.0)
    assert [i.error.kind for i in out if isinstance(i, NotifyFailed)] == ["invalid"]
    assert reason in out[0].error.message  # type: ignore[union-attr]
    assert scheduler.views.snapshot() == before


def test_a_layer_is_forgotten_with_what_only_it_needed() -> None:
    scheduler, b = Scheduler(), layer("b", 3, ("a", OneToOne()))
    scheduler.handle(WorkerJoined(WorkerInfo("w", "h")), 0.0)
    out, forgotten = scheduler.handle(GraphSubmitted("me", (A, b), (whole(b),)), 0.0), []
    todo = [i for i in out if isinstance(i, StartBatch)]
    while todo:
        run = todo.pop(0)
        out = scheduler.handle(BatchDone("w", run.batch, run.attempt, (8,) * len(run.range), 0.1), 0.1)
        todo += [i for i in out if isinstance(i, StartBatch)]
        forgotten += [i.layer for i in out if isinstance(i, ForgetLayer)]
    assert forgotten == []  # its lineage
    out = scheduler.handle(Released("me", (TaskRange(b.key, 0, 2),)), 1.0)
    assert not [i for i in out if isinstance(i, ForgetLayer)]
    out = scheduler.handle(Released("me", (TaskRange(b.key, 2, 3),)), 1.0)
    assert [i.layer for i in out if isinstance(i, ForgetLayer)] == [b.key, A.key]
    assert scheduler.views.layer_count == 0
