"""What must not cost a step for each layer or item: a merge's inputs, a known function's first run."""

from __future__ import annotations

import pytest

from howdah.engine.protocol.events import (
    BatchDone,
    Event,
    GraphSubmitted,
    LayerSpec,
    StartBatch,
    WorkerInfo,
    WorkerJoined,
)
from howdah.engine.protocol.layers import Dependency, Key, OneToOne, TaskRange, Window
from howdah.engine.scheduler.core import pipelining
from howdah.engine.scheduler.core.dispatch import GROWTH
from howdah.engine.scheduler.core.scheduler import Scheduler
from howdah.engine.scheduler.core.tables import DONE


def test_a_merge_of_many_layers_is_not_gone_through_for_each_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = []
    running_inputs = pipelining.running_inputs
    monkeypatch.setattr(
        pipelining,
        "running_inputs",
        lambda layer_state: looks.append(len(layer_state.inputs)) or running_inputs(layer_state),
    )
    scheduler = Scheduler()
    scheduler.handle(WorkerJoined(WorkerInfo("w", "h")), 0.0)
    ones = [LayerSpec(i.to_bytes(16, "big"), "one", 1) for i in range(1, 200)]
    merge = LayerSpec(b"m" * 16, "merge", 1, tuple(Dependency(one.key, OneToOne()) for one in ones))
    todo: list[StartBatch] = []
    for spec in [*ones, merge]:
        out = scheduler.handle(GraphSubmitted("c", (spec,), (TaskRange(spec.key, 0, 1),)), 0.0)
        todo += [i for i in out if isinstance(i, StartBatch)]
    started = []
    while todo:
        run = todo.pop(0)
        started.append(run.range.layer)
        out = scheduler.handle(BatchDone("w", run.batch, run.attempt, (8,), 1e-6), 0.1)
        todo += [i for i in out if isinstance(i, StartBatch)]
    assert started[-1] == merge.key
    assert len(started) == 200
    assert len(ones) not in looks


@pytest.mark.parametrize(("function", "first"), [(b"f", 16), (b"g", 1), (b"", 1)])
def test_layers_of_one_function_begin_where_the_last_has_come_to(function: bytes, first: int) -> None:
    scheduler = Scheduler()
    scheduler.handle(WorkerJoined(WorkerInfo("w", "h")), 0.0)

    def lengths(letter: bytes, function: bytes, reports: int) -> list[int]:
        spec = LayerSpec(letter * 16, "inc", 1000, function=function)
        out = scheduler.handle(GraphSubmitted("c", (spec,), (TaskRange(spec.key, 0, 1000),)), 0.0)
        found = [i for i in out if isinstance(i, StartBatch) and i.range.layer == spec.key]
        for at in range(reports):
            run = found[at]
            out = scheduler.handle(
                BatchDone("w", run.batch, run.attempt, (8,) * len(run.range), 1e-6 * len(run.range)), 0.1
            )
            found += [i for i in out if isinstance(i, StartBatch) and i.range.layer == spec.key]
        return [len(run.range) for run in found]

    assert lengths(b"a", b"f", 3)[:3] == [1, 1, GROWTH]  # the third is the first after a report
    for run in list(scheduler.state.batches.values()):
        scheduler.handle(BatchDone("w", run.ident, run.attempt, (8,) * (run.hi - run.lo), 1e-5), 0.2)
    waiting = LayerSpec(b"b" * 16, "inc", 1000, function=function)
    out = scheduler.handle(GraphSubmitted("c", (waiting,), (TaskRange(waiting.key, 0, 1000),), 1), 0.3)
    while not (starts := [i for i in out if isinstance(i, StartBatch) and i.range.layer == waiting.key]):
        run = next(iter(scheduler.state.batches.values()))
        out = scheduler.handle(BatchDone("w", run.ident, run.attempt, (8,) * (run.hi - run.lo), 1e-5), 0.4)
    assert (len(starts[0].range) >= first) if first > 1 else (len(starts[0].range) == 1)


def rows(count: int, n: int) -> list[LayerSpec]:
    """Layers of `n` items, each of which needs three neighbours in the layer before."""
    keys = [i.to_bytes(16, "big") for i in range(1, count + 1)]
    made = [LayerSpec(keys[0], "cell", n, function=b"f")]
    for key, last in zip(keys[1:], keys):
        made.append(LayerSpec(key, "cell", n, (Dependency(last, Window(1, 1, wrap=True)),), function=b"f"))
    return made


@pytest.mark.parametrize(("each", "ahead_of_reports"), [(5e-6, True), (5e-3, False)])
def test_rows_of_short_layers_are_given_to_one_worker_before_their_inputs_are_there(
    each: float, ahead_of_reports: bool
) -> None:
    """A step of a stencil that takes half a millisecond is not worth an exchange; one of half a second is shared."""
    scheduler = Scheduler()
    for name in ("v", "w"):
        scheduler.handle(WorkerJoined(WorkerInfo(name, "h")), 0.0)
    known = LayerSpec(b"k" * 16, "cell", 1000, function=b"f")
    play(scheduler, GraphSubmitted("c", (known,), (TaskRange(known.key, 0, 1000),)), each)
    graph = rows(20, 100)
    first, all_of_it = play(
        scheduler, GraphSubmitted("c", tuple(graph), (TaskRange(graph[-1].key, 0, 100),)), each, graph[-1].key
    )
    if ahead_of_reports:
        assert first.depends_on
        assert len(first.range) == 100
        assert len({run.worker for run in all_of_it[-15:]}) == 1
        assert len(all_of_it) < 3 * len(graph)
    else:
        assert not first.depends_on
        assert {run.worker for run in all_of_it} == {"v", "w"}
    assert scheduler.state.layers[graph[-1].key].counts[DONE] == 100


def play(scheduler: Scheduler, event: Event, each: float, of: Key = b"") -> tuple[StartBatch | None, list[StartBatch]]:
    """All runs that follow, done in order; and the first of the layer `of`."""
    now, todo, started, first = scheduler.state.now, [event], [], None
    while todo:
        now += 1e-4
        out = [one for one in scheduler.handle(todo.pop(0), now) if isinstance(one, StartBatch)]
        first = first or next((run for run in out if run.range.layer == of), None)
        started += out
        todo += [BatchDone(r.worker, r.batch, r.attempt, (8,) * len(r.range), each * len(r.range)) for r in out]
    return first, started


def test_one_slow_run_is_not_believed_to_the_letter() -> None:
    """The first call may have imported something for a tenth of a second; what is slow says so again."""
    scheduler = Scheduler()
    scheduler.handle(WorkerJoined(WorkerInfo("w", "h")), 0.0)
    spec = LayerSpec(b"k" * 16, "cell", 100_000)
    runs = list(scheduler.handle(GraphSubmitted("c", (spec,), (TaskRange(spec.key, 0, spec.n),)), 0.0))
    guesses = []
    for seconds in (1e-5, 0.1, *[1e-5] * 4, *[0.1] * 8):
        run = runs.pop(0)
        out = scheduler.handle(
            BatchDone("w", run.batch, run.attempt, (8,) * len(run.range), seconds * len(run.range)), 1.0
        )
        runs += [r for r in out if isinstance(r, StartBatch)]
        guesses.append(scheduler.state.seconds_by_name["cell"])
    assert guesses[1] < 1e-3
    assert guesses[5] < 1e-4
    assert guesses[-1] > 0.05
