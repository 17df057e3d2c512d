"""Stories: a few workers, a few events, and what the scheduler says. One per promise."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby

import pytest

from howdah.engine.protocol.events import (
    BatchDone,
    BatchReturned,
    CancelRequested,
    ClientJoined,
    ClientLeft,
    CopiesMade,
    CopiesRequested,
    Event,
    ForgetLayer,
    FreeRanges,
    GraphSubmitted,
    InputsMissing,
    Instruction,
    LayerSpec,
    NotifyDone,
    NotifyFailed,
    NotifyLost,
    RecallBatch,
    Released,
    ResultsMissing,
    StartBatch,
    TaskError,
    Tick,
    WorkerInfo,
    WorkerJoined,
    WorkerLeft,
)
from howdah.engine.protocol.layers import Broadcast, KToOne, OneToOne, TaskRange
from howdah.engine.scheduler.core import replicas
from howdah.engine.scheduler.core.recovery import MAX_LOCAL_ATTEMPTS
from howdah.engine.scheduler.core.scheduler import Scheduler
from howdah.engine.scheduler.simulation.cluster import layer, whole
from howdah.engine.scheduler.simulation.invariants import check_invariants


class Story:
    """A state, a clock, and shorthand. Every event is followed by a check of the books."""

    def __init__(self, *workers: str, slots: int = 1) -> None:
        self.scheduler = Scheduler()
        self.now = 0.0
        self.started: list[StartBatch] = []
        for name in workers:
            self.joins(name, slots=slots)

    def say(self, event: Event, after: float = 0.001) -> list[Instruction]:
        self.now += after
        out = self.scheduler.handle(event, self.now)
        check_invariants(self.scheduler)
        self.started += of(StartBatch, out)
        return out

    def joins(self, name: str, host: str = "h", slots: int = 1, pid: int = 1, **more: object) -> list[Instruction]:
        return self.say(WorkerJoined(WorkerInfo(name, host, slots=slots, pid=pid), **more))

    def submits(
        self, *specs: LayerSpec, wanted: Iterable[TaskRange] = (), client: str = "me", **more: object
    ) -> list[Instruction]:
        return self.say(GraphSubmitted(client, specs, tuple(wanted) or (whole(specs[-1]),), **more))

    def dies(self, worker: str, reason: str = "exit code 137") -> list[Instruction]:
        return self.say(WorkerLeft(worker, reason))

    def done(self, run: StartBatch, size: int = 8, each: float = 0.1, after: float = 0.001) -> list[Instruction]:
        n = len(run.range)
        return self.say(BatchDone(run.worker, run.batch, run.attempt, (size,) * n, each * n), after)

    def fails(self, run: StartBatch, message: str = "boom") -> list[Instruction]:
        error = TaskError("raised", message, worker=run.worker)
        return self.say(BatchDone(run.worker, run.batch, run.attempt, (-1,), 0.1, ((0, error),)))

    def run_of(self, spec: LayerSpec, item: int = 0) -> StartBatch:
        """The last run that began the item."""
        return [r for r in self.started if r.range.layer == spec.key and r.range.start <= item < r.range.stop][-1]

    def run_all(self, *specs: LayerSpec, size: int = 8) -> None:
        """Everything that is started of these layers is done, until nothing more is."""
        keys, seen = {spec.key for spec in specs}, 0
        while seen < len(self.started):
            run = self.started[seen]
            seen += 1
            if run.range.layer in keys and run.batch in self.scheduler.state.batches:
                self.done(run, size)

    def code(self, spec: LayerSpec, item: int = 0) -> int:
        return int(self.scheduler.state.layers[spec.key].state[item])


def of(kind: type, out: Iterable[Instruction]) -> list:
    return [instruction for instruction in out if isinstance(instruction, kind)]


def test_a_layer_runs_is_told_and_is_forgotten_when_released() -> None:
    story = Story("w1", "w2")
    a = layer("a", 3)
    story.submits(a)
    story.run_all(a)
    assert sorted(run.worker for run in story.started) == ["w1", "w1", "w2"]
    out = story.say(Released("me", (whole(a),)))
    assert {free.worker for free in of(FreeRanges, out)} == {"w1", "w2"}
    assert of(ForgetLayer, out) == [ForgetLayer(a.key)]


def test_wanted_twice_is_wanted_once_and_told_at_once() -> None:
    story = Story("w")
    a = layer("a", 1)
    story.submits(a)
    story.done(story.run_of(a))
    assert of(NotifyDone, story.submits(a)) == [NotifyDone("me", whole(a), "w")]
    assert of(NotifyDone, story.submits(a, client="you")) == [NotifyDone("you", whole(a), "w")]
    assert not of(FreeRanges, story.say(Released("me", (whole(a),))))
    assert of(FreeRanges, story.say(Released("you", (whole(a),))))
    assert len(story.started) == 1


def test_equal_layers_of_two_clients_run_once() -> None:
    story = Story("w")
    a = layer("a", 1)
    story.submits(a, client="me")
    story.submits(a, client="you")
    out = story.done(story.run_of(a))
    assert [tell.client for tell in of(NotifyDone, out)] == ["me", "you"]
    assert len(story.started) == 1


def test_inputs_are_freed_when_their_last_user_is_done() -> None:
    story = Story("w")
    a, b, c = layer("a", 1), layer("b", 1, ("a", OneToOne())), layer("c", 1, ("a", OneToOne()))
    story.submits(a, b, c, wanted=[whole(b), whole(c)])
    story.done(story.run_of(a))
    assert not of(FreeRanges, story.done(story.run_of(b)))
    assert of(FreeRanges, story.done(story.run_of(c))) == [FreeRanges("w", (whole(a),))]


def test_only_the_items_that_are_needed_run() -> None:
    story = Story("w", slots=8)
    a, b = layer("a", 6), layer("b", 3, ("a", KToOne(2)))
    story.submits(a, b, wanted=[TaskRange(b.key, 1, 2)])
    assert [run.range[1:] for run in story.started] == [(2, 3), (3, 4)]


def test_a_dead_workers_results_are_made_again_only_where_they_are_needed() -> None:
    """Three workers; the second dies after everything is done: only its part of the wanted layer is lost."""
    story = Story("w1", "w2", "w3")
    a, b = layer("a", 6), layer("b", 6, ("a", OneToOne()))
    story.submits(a, b)
    story.run_all(a, b)
    lost = [task_range for task_range, worker in story.scheduler.holder_of(whole(b)) if worker == "w2"]
    before = len(story.started)
    out = story.dies("w2")
    assert [tell.range for tell in of(NotifyLost, out)] == lost
    story.run_all(a, b)
    again = story.started[before:]
    items = {i for task_range in lost for i in range(*task_range[1:])}
    for spec in (a, b):  # a's results had been freed: lineage makes those of the lost items again
        assert {i for run in again if run.range.layer == spec.key for i in range(*run.range[1:])} == items
    assert story.scheduler.state.layers[b.key].counts[4] == 6


def test_a_dead_workers_runs_go_to_others() -> None:
    story = Story("w1", "w2")
    a = layer("a", 2)
    story.submits(a)
    story.joins("w3")
    story.dies("w1")
    again = story.run_of(a, 0)
    assert (again.worker, again.attempt) == ("w3", 2)


def test_late_reports_are_ignored_and_what_they_brought_is_dropped() -> None:
    story = Story("w1")
    a = layer("a", 1)
    story.submits(a)
    first = story.run_of(a)
    story.dies("w1", "lost touch")
    story.joins("w2")
    story.joins("w1", running=((first.batch, first.attempt),))
    assert story.done(first) == [FreeRanges("w1", (whole(a),))]
    assert of(NotifyDone, story.done(story.run_of(a))) == [NotifyDone("me", whole(a), "w2")]
    assert not of(NotifyDone, story.done(story.run_of(a)))


def test_a_worker_that_comes_back_brings_its_results() -> None:
    story = Story("w1")
    a = layer("a", 3)
    story.submits(a)
    story.done(story.run_of(a, 0))
    story.dies("w1", "lost touch")
    out = story.joins("w1", holdings=((TaskRange(a.key, 0, 2), (8, 8)), (TaskRange(b"?" * 16, 0, 1), (8,))))
    assert of(NotifyDone, out) == [NotifyDone("me", TaskRange(a.key, 0, 2), "w1")]
    assert of(FreeRanges, out) == [FreeRanges("w1", (TaskRange(b"?" * 16, 0, 1),))]
    assert [run.range[1:] for run in of(StartBatch, out)] == [(2, 3)]


def test_a_new_process_under_an_old_name_has_nothing() -> None:
    story = Story("w")
    a = layer("a", 1)
    story.submits(a)
    story.done(story.run_of(a))
    out = story.joins("w", pid=2)
    assert of(NotifyLost, out) == [NotifyLost("me", whole(a))]
    assert len(of(StartBatch, out)) == 1


def test_a_poisonous_task_is_given_up_with_the_reasons_and_spares_its_neighbours() -> None:
    story = Story("w0")
    a = layer("a", 4)
    story.submits(a)
    story.done(story.run_of(a, 0), each=0.001)
    poisonous, deaths, told = 2, 0, []
    while story.code(a, poisonous) != 5:
        run = next(iter(story.scheduler.state.batches.values()))
        if run.lo <= poisonous < run.hi:
            deaths += 1
            out = story.dies(run.worker.name, f"exit code 139 ({deaths})")
            told += of(NotifyFailed, out)
            story.joins(f"w{deaths}")
        else:
            story.done(story.run_of(a, run.lo))
    assert deaths == 3
    (failed,) = told
    assert failed.error.kind == "lost"
    assert failed.range == TaskRange(a.key, poisonous, poisonous + 1)
    for text in ("a[2] was given up: 3 workers died", "exit code 139 (1)", "exit code 139 (3)", "w0 on h"):
        assert text in failed.error.message
    story.run_all(a)
    assert [story.code(a, i) for i in range(4)] == [4, 4, 5, 4]


def test_a_worker_that_was_asked_to_go_blames_nobody() -> None:
    story = Story("w0")
    a = layer("a", 1)
    story.submits(a)
    for i in range(5):
        story.joins(f"w{i + 1}")
        story.say(WorkerLeft(f"w{i}", "scaled down", clean=True))
    assert not story.scheduler.state.layers[a.key].worker_deaths


def test_an_error_reaches_all_that_depend_on_it_with_its_origin() -> None:
    story = Story("w")
    a, b, c = layer("a", 3), layer("b", 3, ("a", OneToOne())), layer("c", 1, ("b", Broadcast()))
    story.submits(a, b, c, wanted=[whole(b), whole(c)])
    out = story.fails(story.run_of(a, 0))
    assert {(t.range, t.cause, t.error.message) for t in of(NotifyFailed, out)} == {
        (TaskRange(b.key, 0, 1), TaskRange(a.key, 0, 1), "boom"),
        (whole(c), TaskRange(a.key, 0, 1), "boom"),
    }
    story.run_all(a, b)
    assert [story.code(b, i) for i in range(3)] == [5, 4, 4]
    out = story.submits(a, b, c, client="you")  # a failure is no result: it runs again, for both
    assert not of(NotifyFailed, out)
    assert {(t.client, t.range) for t in of(NotifyLost, out)} >= {("me", whole(c))}
    assert story.run_of(a, 0)


def test_retries_are_for_what_raised() -> None:
    story = Story("w")
    a = layer("a", 1, retries=2)
    story.submits(a)
    assert not of(NotifyFailed, story.fails(story.run_of(a)))
    assert not of(NotifyFailed, story.fails(story.run_of(a)))
    assert story.run_of(a).attempt == 3
    assert len(of(NotifyFailed, story.fails(story.run_of(a)))) == 1


def test_a_missing_input_comes_from_another_copy_or_is_made_again() -> None:
    story = Story("w1", "w2")
    a, b = layer("a", 1), layer("b", 6, ("a", Broadcast()))
    story.submits(a, b)
    holder = story.run_of(a).worker
    story.done(story.run_of(a))
    run = next(run for run in story.started if run.sources)
    assert run.sources == ((whole(a), holder),)
    out = story.say(InputsMissing(run.worker, run.batch, run.attempt, holder, (whole(a),)))
    assert FreeRanges(holder, (whole(a),)) in out
    assert story.run_of(a).attempt == 2
    story.run_all(a, b)
    assert {story.code(b, i) for i in range(6)} == {4}


def test_of_two_workers_that_do_not_reach_each_other_none_is_asked_for_ever() -> None:
    """Though most of the inputs are with one, and the other makes again what it could not get; the third is slow."""
    story = Story("w1", "w2", "w3")
    a, b = layer("a", 40), layer("b", 1, ("a", Broadcast()))
    story.submits(a, b)
    other, tried = {"w1": "w2", "w2": "w1"}, []
    while running := [run for run in story.started if run.batch in story.scheduler.state.batches]:
        run = next((run for run in running if run.worker != "w3"), running[0])
        cut = tuple([task_range for task_range, holder in run.sources if holder == other.get(run.worker)])
        if cut:
            tried.append(run.worker)
            story.say(InputsMissing(run.worker, run.batch, run.attempt, other[run.worker], cut))
        else:
            story.done(run)
    assert story.code(b) == 4
    assert len(tried) > MAX_LOCAL_ATTEMPTS
    turns = [len(list(turn)) for _, turn in groupby(tried)]
    assert max(turns) <= MAX_LOCAL_ATTEMPTS + 1


def test_a_result_that_a_client_could_not_fetch_is_made_again() -> None:
    story = Story("w1", "w2")
    a = layer("a", 1)
    story.submits(a)
    story.done(story.run_of(a))
    out = story.say(ResultsMissing("me", story.run_of(a).worker, (whole(a),)))
    assert of(NotifyLost, out) == [NotifyLost("me", whole(a))]
    assert len(of(StartBatch, out)) == 1


def test_a_copy_takes_the_place_of_a_lost_result() -> None:
    story = Story("w1", "w2")
    a, b = layer("a", 1), layer("b", 6, ("a", Broadcast()))
    story.submits(a, b, wanted=[whole(a), whole(b)])
    story.done(story.run_of(a))
    fetching = next(run for run in story.started if run.sources)
    story.done(fetching)
    holder = story.run_of(a).worker
    out = story.dies(holder)
    assert of(NotifyDone, out)[0] == NotifyDone("me", whole(a), fetching.worker)
    assert not of(NotifyLost, [o for o in out if getattr(o, "range", None) == whole(a)])


@pytest.mark.parametrize("asked", [True, False])
def test_copies_that_somebody_asked_for_stay_when_no_run_needs_them(asked: bool) -> None:
    """Asked for while a run fetches the same: when that ends its copy goes, and with it the one that was asked for."""
    story = Story("w1", "w2")
    a, b = layer("a", 1), layer("b", 6, ("a", Broadcast()))
    story.submits(a, b, wanted=[whole(a), whole(b)])
    story.done(story.run_of(a))
    taker = next(run for run in story.started if run.sources).worker
    if asked:
        story.say(CopiesRequested((whole(a),)))
    story.run_all(b)
    story.say(Released("me", (whole(b),)))
    story.say(CopiesMade(taker, (whole(a),) if asked else ()))  # it has answered, if it was asked
    assert replicas.holders(story.scheduler.state, whole(a))[0][1:] == ([taker] if asked else [])
    out = story.dies(story.run_of(a).worker)
    assert bool(of(NotifyLost, out)) is not asked


def test_cancel_stops_what_nobody_else_wants() -> None:
    story = Story("w")
    a, b = layer("a", 4), layer("b", 1, ("a", Broadcast()))
    story.submits(a, b, wanted=[whole(a), whole(b)])
    out = story.say(CancelRequested("me", (whole(a),)))
    assert {tell.error.kind for tell in of(NotifyFailed, out)} == {"cancelled"}
    assert whole(b) in [tell.range for tell in of(NotifyFailed, out)]
    assert len(of(RecallBatch, out)) == 2
    for run in list(story.started):
        out = story.say(BatchReturned("w", run.batch, run.attempt, 0))
    assert not story.scheduler.state.batches
    assert not of(StartBatch, out)


def test_cancel_does_not_touch_what_others_want() -> None:
    story = Story("w")
    a = layer("a", 1)
    story.submits(a, client="me")
    story.submits(a, client="you")
    out = story.say(CancelRequested("me", (whole(a),)))
    assert [tell.client for tell in of(NotifyFailed, out)] == ["me"]
    assert [tell.client for tell in of(NotifyDone, story.done(story.run_of(a)))] == ["you"]


def test_a_client_that_leaves_takes_its_work_along() -> None:
    story = Story("w")
    a, b = layer("a", 3), layer("b", 3)
    story.submits(a, client="me")
    story.submits(b, client="you")
    story.say(ClientLeft("me"))
    story.run_all(a, b)
    assert list(story.scheduler.state.layers) == [b.key]


def test_two_contents_under_one_key_and_unknown_layers_are_refused() -> None:
    story = Story("w")
    story.submits(layer("a", 2))
    out = story.submits(layer("a", 3), client="you")
    assert [tell.error.kind for tell in of(NotifyFailed, out)] == ["invalid"]
    assert "another layer of 2 items, not 3" in of(NotifyFailed, out)[0].error.message
    out = story.submits(layer("d", 1, ("c", OneToOne())))
    assert "needs a layer that is not in the graph" in of(NotifyFailed, out)[0].error.message
    assert len(story.scheduler.state.layers) == 1


def test_an_empty_layer_is_complete() -> None:
    story = Story("w")
    a, b = layer("a", 0), layer("b", 1, ("a", Broadcast()))
    story.submits(a, b)
    assert of(NotifyDone, story.done(story.run_of(b)))


def test_no_workers_yet_is_no_problem() -> None:
    story = Story()
    a = layer("a", 2)
    assert not story.submits(a)
    assert len(of(StartBatch, story.joins("w"))) == 2


UNKNOWN = [
    ClientLeft("?"), Released("?", (TaskRange(b"?", 0, 1),)), WorkerLeft("?"), Tick(), BatchDone("?", 1, 1, (), 0.0),
    BatchReturned("?", 1, 1, 0), ClientJoined("x"), InputsMissing("?", 1, 1, "?", ()),
    CancelRequested("?", (TaskRange(b"?", 0, 1),)),
]  # fmt: skip


@pytest.mark.parametrize("kind", UNKNOWN)
def test_what_is_unknown_is_ignored(kind: Event) -> None:
    assert Story("w").say(kind) == []
