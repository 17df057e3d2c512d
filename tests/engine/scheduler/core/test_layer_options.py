"""Resources, speculation, chains given ahead, and fairness: stories and one simulation."""

from __future__ import annotations

from howdah.engine.protocol.events import (
    ArgumentsArrived,
    BatchDone,
    BatchReturned,
    GraphSubmitted,
    InputsMissing,
    Instruction,
    LayerSpec,
    NotifyDone,
    NotifyFailed,
    NotifyStuck,
    RecallBatch,
    Released,
    StartBatch,
    TaskError,
    Tick,
    WorkerInfo,
    WorkerJoined,
    WorkerLeft,
)
from howdah.engine.protocol.layers import OneToOne, TaskRange
from howdah.engine.scheduler.core.scheduler import Scheduler
from howdah.engine.scheduler.core.tables import spec_of
from howdah.engine.scheduler.simulation.cluster import layer, whole
from howdah.engine.scheduler.simulation.invariants import check_invariants
from howdah.engine.scheduler.simulation.scenarios import new_model

GPU = (("gpu", 1.0),)


class Story:
    def __init__(self, speculation: bool = False) -> None:
        self.scheduler, self.now, self.started = Scheduler(speculation), 0.0, []

    def say(self, event: object, after: float = 0.001) -> list[Instruction]:
        self.now += after
        out = self.scheduler.handle(event, self.now)
        check_invariants(self.scheduler)
        self.started += [i for i in out if isinstance(i, StartBatch)]
        return out

    def joins(self, name: str, slots: int = 1, **more: object) -> list[Instruction]:
        return self.say(WorkerJoined(WorkerInfo(name, name, slots=slots, **more)))

    def submits(self, *specs: LayerSpec, **more: object) -> list[Instruction]:
        return self.say(GraphSubmitted("me", specs, (whole(specs[-1]),), **more))

    def done(self, run: StartBatch, seconds: float = 0.1, after: float = 0.001) -> list[Instruction]:
        n = len(run.range)
        return self.say(BatchDone(run.worker, run.batch, run.attempt, (8,) * n, seconds * n), after)


def test_a_layer_keeps_what_was_said_of_it_in_a_snapshot() -> None:
    """What a compacted journal holds is all that a scheduler which is started again knows."""
    said = layer(
        "a", 3, resources=GPU, workers=("node7",), allow_other_workers=True, timeout=2.5, spread=True, function=b"f",
        nbytes=(1, 2, 3),
    )  # fmt: skip
    near = LayerSpec(b"h" * 16, "near", 100, host_sets=(("h1", "h2"),))  # one set, of all items
    story = Story()
    story.submits(said)
    story.say(GraphSubmitted("me", (near,), (whole(near),)))
    assert spec_of(story.scheduler.state.layers[said.key]) == said
    assert spec_of(story.scheduler.state.layers[near.key]) == near


# -- resources --------------------------------------------------------------------------------------------------------


def test_only_workers_with_the_resource_run_it_and_never_more_than_they_have() -> None:
    story = Story()
    story.joins("plain", slots=4)
    story.joins("gpus", slots=4, resources=(("gpu", 2.0),))
    story.submits(layer("a", 6, resources=GPU))
    assert [run.worker for run in story.started] == ["gpus", "gpus"]
    for at in range(6):
        story.done(story.started[at])
        assert len(story.started) == min(6, at + 3)
    assert {run.worker for run in story.started} == {"gpus"}


def test_work_without_needs_passes_work_that_waits_for_a_resource() -> None:
    story = Story()
    story.joins("w", slots=2, resources=GPU)
    story.submits(layer("a", 3, resources=GPU))
    story.submits(layer("b", 1))
    assert [run.range.layer[0] for run in story.started] == [1, 2]


def test_needs_of_different_kinds_do_not_stand_in_each_others_way() -> None:
    story = Story()
    story.joins("g", resources=GPU)
    story.joins("l", resources=(("licence", 1.0),))
    story.submits(layer("a", 3, resources=GPU))
    story.submits(layer("b", 1, resources=(("licence", 1.0),)))
    assert [(run.range.layer[0], run.worker) for run in story.started] == [(1, "g"), (2, "l")]


def test_a_task_that_no_worker_can_satisfy_is_told_once_and_runs_when_one_comes() -> None:
    story = Story()
    story.joins("w", resources=GPU)
    story.submits(layer("a", 2, resources=(("gpu", 2.0),)))
    assert not [i for i in story.say(Tick(), 1.0) if isinstance(i, NotifyStuck)]
    told = [i for i in story.say(Tick(), 3.0) if isinstance(i, NotifyStuck)]
    assert len(told) == 1
    assert told[0].range.stop == 2
    assert "gpu=2" in told[0].reason
    assert "gpu=1" in told[0].reason
    assert not [i for i in story.say(Tick(), 5.0) if isinstance(i, NotifyStuck)]
    story.joins("big", resources=(("gpu", 4.0),))
    assert {run.worker for run in story.started} == {"big"}


def test_a_worker_that_dies_gives_its_tasks_with_needs_back() -> None:
    story = Story()
    story.joins("g1", resources=GPU)
    story.joins("g2", resources=GPU)
    story.submits(layer("a", 2, resources=GPU))
    story.say(WorkerLeft("g1", "exit code 137"))
    first = next(run for run in story.started if run.worker == "g2")
    story.done(first)
    assert [run.worker for run in story.started] == ["g1", "g2", "g2"]


# -- chains -----------------------------------------------------------------------------------------------------------


def chain(letters: str) -> list[LayerSpec]:
    return [layer(c, 1, *([(letters[i - 1], OneToOne())] if i else [])) for i, c in enumerate(letters)]


def test_a_chain_of_submits_goes_whole_to_the_worker_of_its_first_link() -> None:
    story = Story()
    story.joins("w1")
    story.joins("w2")
    links = chain("abcd")
    story.scheduler.state.seconds_by_name.update(dict.fromkeys("abcd", 0.001))
    for link in links:
        story.submits(link)
    assert len({run.worker for run in story.started}) == 1
    assert [run.depends_on for run in story.started] == [(), ((1, 1),), ((2, 1),), ((3, 1),)]
    for run in list(story.started):
        story.done(run, 0.001)
    assert story.scheduler.state.layers[links[-1].key].counts[4] == 1


def test_other_work_still_gets_the_slots_that_a_chain_does_not_use() -> None:
    story = Story()
    story.joins("w", slots=2)
    story.scheduler.state.seconds_by_name.update(dict.fromkeys("abcd", 0.001))
    for link in chain("abcd"):
        story.submits(link)
    story.submits(layer("z", 1))
    assert [run.range.layer[0] for run in story.started][-1] == 26


def test_a_link_that_raises_fails_those_behind_it() -> None:
    story = Story()
    story.joins("w")
    for link in chain("abc"):
        story.submits(link)
    a, b = story.started
    error = TaskError("raised", "boom")
    story.say(BatchDone("w", a.batch, a.attempt, (-1,), 0.1, ((0, error),)))
    out = story.say(InputsMissing("w", b.batch, b.attempt, "w", (TaskRange(a.range.layer, 0, 1),)))
    assert {i.range.layer[0] for i in out if isinstance(i, NotifyFailed)} >= {2}
    c = story.started[2]  # given when the first had ended
    story.say(InputsMissing("w", c.batch, c.attempt, "w", (TaskRange(b.range.layer, 0, 1),)))
    assert not story.scheduler.state.batches


def test_when_the_worker_of_a_chain_dies_another_makes_it_from_the_start() -> None:
    story = Story()
    story.joins("w1")
    links = chain("abc")
    for link in links:
        story.submits(link)
    story.joins("w2")
    story.say(WorkerLeft("w1", "exit code 137"))
    seen = 0
    while seen < len(story.started):
        run = story.started[seen]
        seen += 1
        if run.worker == "w2":
            story.done(run)
    assert story.scheduler.state.layers[links[-1].key].counts[4] == 1


# -- speculation ------------------------------------------------------------------------------------------------------


def straggler(speculation: bool) -> tuple[Story, StartBatch]:
    """Four items of 0.1 s; the last one hangs on w1 while w2 has nothing to do."""
    story = Story(speculation)
    story.joins("w1")
    story.joins("w2")
    story.submits(layer("a", 4))
    while len(story.scheduler.state.batches) > 1 or len(story.started) < 4:
        run = next(r for r in story.started if r.batch in story.scheduler.state.batches and r.worker == "w2")
        story.done(run, 0.1, after=0.1)
        if not any(r.worker == "w2" and r.batch in story.scheduler.state.batches for r in story.started):
            for recall in [r for r in story.started if r.batch in story.scheduler.state.batches][1:]:
                story.say(BatchReturned(recall.worker, recall.batch, recall.attempt, 0), 0.1)
    return story, next(r for r in story.started if r.batch in story.scheduler.state.batches)


def test_a_straggler_gets_a_twin_and_the_first_result_counts() -> None:
    story, slow = straggler(True)
    before = len(story.started)
    story.say(Tick(), 10.0)
    twin = story.started[before]
    assert twin.range == slow.range
    assert twin.worker != slow.worker
    out = story.done(twin)
    assert [i.holder for i in out if isinstance(i, NotifyDone)] == [twin.worker]
    assert [(i.batch, i.worker) for i in out if isinstance(i, RecallBatch)] == [(slow.batch, slow.worker)]
    out = story.done(slow)  # what it made nevertheless is dropped
    assert any(getattr(i, "ranges", None) == (slow.range,) and i.worker == slow.worker for i in out)


def test_a_twin_goes_on_when_the_other_worker_dies() -> None:
    story, slow = straggler(True)
    story.say(Tick(), 10.0)
    twin = story.started[-1]
    before = len(story.started)
    story.say(WorkerLeft(slow.worker, "exit code 137"))
    assert not any(run.range == slow.range for run in story.started[before:])
    story.done(twin)
    assert not any(run.range == slow.range for run in story.scheduler.state.batches.values())


def test_nothing_is_started_twice_by_default() -> None:
    story, _ = straggler(False)
    before = len(story.started)
    story.say(Tick(), 100.0)
    assert len(story.started) == before


# -- all of it --------------------------------------------------------------------------------------------------------


def test_random_clusters_with_needs_keep_their_books() -> None:
    for speculation in (False, True):
        model = new_model(speculation)
        for i in range(3):
            model.join_worker(f"w{i}", f"h{i}", slots=2, resources=GPU if i else ())
        model.layer("a", 5)
        model.layer("b", 5, ("a", "one"))
        model.layer("c", 5, resources=GPU)
        model.layer("d", 5, ("c", "one"), ("b", "all"))
        model.join_client("me")
        model.submit("me", "abcd", [("b", 0, 5), ("d", 0, 5)])
        model.settle()
        model.end()


# -- graphs that stream in ---------------------------------------------------------------------------------------------


def test_items_run_while_the_arguments_of_others_are_on_their_way() -> None:
    story = Story()
    story.joins("w")
    first, then = layer("a", 40, arrived=2), layer("b", 40, ("a", OneToOne()))
    story.submits(first, then)
    seen = 0
    for stop in (2, 30, 30, 10, 40):  # parts may come twice, and old ones late
        story.say(ArgumentsArrived(first.key, stop))
        while seen < len(story.started):
            story.done(story.started[seen])
            seen += 1
        assert {i for run in story.started for i in range(*run.range[1:])} == set(range(max(stop, 30 * (stop == 10))))
    assert story.scheduler.state.layers[then.key].counts[4] == 40


def test_arguments_of_a_layer_that_nobody_wants_any_more_are_ignored() -> None:
    story = Story()
    story.joins("w")
    first = layer("a", 40, arrived=0)
    story.submits(first)
    story.say(Released("me", (whole(first),)))
    assert story.say(ArgumentsArrived(first.key, 40)) == []
