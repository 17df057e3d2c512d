"""What must not cost a step for each layer or item: a merge's inputs, a known function's first run."""

from __future__ import annotations

import pytest

from howdah.engine.graph.layer import Dependency, OneToOne, Span
from howdah.engine.scheduler import ahead
from howdah.engine.scheduler.records import GraphSubmitted, LayerSpec, RunDone, StartRun, WorkerInfo, WorkerJoined
from howdah.engine.scheduler.state import State


def test_a_merge_of_many_layers_is_not_gone_through_for_each_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = []
    running_inputs = ahead._running_inputs
    monkeypatch.setattr(ahead, "_running_inputs", lambda book: looks.append(len(book.ins)) or running_inputs(book))
    state = State()
    state.handle(WorkerJoined(WorkerInfo("w", "h")), 0.0)
    ones = [LayerSpec(i.to_bytes(16, "big"), "one", 1) for i in range(1, 200)]
    merge = LayerSpec(b"m" * 16, "merge", 1, tuple(Dependency(one.key, OneToOne()) for one in ones))
    todo: list[StartRun] = []
    for spec in [*ones, merge]:
        out = state.handle(GraphSubmitted("c", (spec,), (Span(spec.key, 0, 1),)), 0.0)
        todo += [i for i in out if isinstance(i, StartRun)]
    started = []
    while todo:
        run = todo.pop(0)
        started.append(run.span.layer)
        out = state.handle(RunDone("w", run.run, run.attempt, (8,), 1e-6), 0.1)
        todo += [i for i in out if isinstance(i, StartRun)]
    assert started[-1] == merge.key
    assert len(started) == 200
    assert len(ones) not in looks


@pytest.mark.parametrize(("function", "first"), [(b"f", 16), (b"g", 1), (b"", 1)])
def test_layers_of_one_function_begin_where_the_last_has_come_to(function: bytes, first: int) -> None:
    state = State()
    state.handle(WorkerJoined(WorkerInfo("w", "h")), 0.0)

    def lengths(letter: bytes, function: bytes, reports: int) -> list[int]:
        spec = LayerSpec(letter * 16, "inc", 1000, function=function)
        out = state.handle(GraphSubmitted("c", (spec,), (Span(spec.key, 0, 1000),)), 0.0)
        found = [i for i in out if isinstance(i, StartRun) and i.span.layer == spec.key]
        for at in range(reports):
            run = found[at]
            out = state.handle(RunDone("w", run.run, run.attempt, (8,) * len(run.span), 1e-6 * len(run.span)), 0.1)
            found += [i for i in out if isinstance(i, StartRun) and i.span.layer == spec.key]
        return [len(run.span) for run in found]

    assert lengths(b"a", b"f", 3)[:3] == [1, 1, 4]  # the third is the first after a report: four times as long
    for run in list(state.core.runs.values()):
        state.handle(RunDone("w", run.ident, run.attempt, (8,) * (run.hi - run.lo), 1e-5), 0.2)
    waiting = LayerSpec(b"b" * 16, "inc", 1000, function=function)
    out = state.handle(GraphSubmitted("c", (waiting,), (Span(waiting.key, 0, 1000),), 1), 0.3)
    while not (starts := [i for i in out if isinstance(i, StartRun) and i.span.layer == waiting.key]):
        run = next(iter(state.core.runs.values()))
        out = state.handle(RunDone("w", run.ident, run.attempt, (8,) * (run.hi - run.lo), 1e-5), 0.4)
    assert (len(starts[0].span) >= first) if first > 1 else (len(starts[0].span) == 1)
