"""Work that may run on some workers only: stories, and random clusters in which workers come and go."""

from __future__ import annotations

from howdah.engine.protocol.events import (
    BatchDone,
    GraphSubmitted,
    Instruction,
    LayerSpec,
    NotifyStuck,
    RecallBatch,
    StartBatch,
    Tick,
    WorkerInfo,
    WorkerJoined,
    WorkerLeft,
)
from howdah.engine.scheduler.core.scheduler import Scheduler
from howdah.engine.scheduler.simulation.cluster import layer, whole
from howdah.engine.scheduler.simulation.invariants import check_invariants
from howdah.engine.scheduler.simulation.scenarios import new_model

GPU = (("gpu", 1.0),)


class Story:
    def __init__(self) -> None:
        self.scheduler, self.now, self.started = Scheduler(), 0.0, []

    def say(self, event: object, after: float = 0.001) -> list[Instruction]:
        self.now += after
        out = self.scheduler.handle(event, self.now)
        check_invariants(self.scheduler)
        self.started += [i for i in out if isinstance(i, StartBatch)]
        return out

    def joins(self, name: str, host: str = "", slots: int = 1, **more: object) -> None:
        self.say(WorkerJoined(WorkerInfo(name, host or name, slots=slots, **more)))

    def submits(self, *specs: LayerSpec, **more: object) -> list[Instruction]:
        return self.say(GraphSubmitted("me", specs, (whole(specs[-1]),), **more))

    def done(self, run: StartBatch, seconds: float = 0.1, after: float = 0.001) -> list[Instruction]:
        n = len(run.range)
        return self.say(BatchDone(run.worker, run.batch, run.attempt, (8,) * n, seconds * n), after)

    def all_done(self, seconds: float = 0.1) -> None:
        seen = 0
        while seen < len(self.started):
            self.done(self.started[seen], seconds)
            seen += 1

    def stuck(self, after: float) -> list[str]:
        return [i.reason for i in self.say(Tick(), after) if isinstance(i, NotifyStuck)]


def test_only_the_named_worker_runs_it_however_busy_it_is_and_idle_the_others_are() -> None:
    story = Story()
    for name in ("w1", "w2", "w3"):
        story.joins(name)
    story.submits(layer("a", 20, workers=("w2",)))
    story.all_done()
    assert {run.worker for run in story.started} == {"w2"}
    assert sum(len(run.range) for run in story.started) == 20


def test_workers_can_be_named_by_host_and_by_address_in_any_case() -> None:
    story = Story()
    story.joins("w1", "Node1")
    story.joins("w2", "node2", address="tls://10.0.0.2:4040")
    story.joins("w3", "node3")
    story.submits(layer("a", 8, workers=("NODE1", "10.0.0.2:4040")))
    story.all_done()
    assert {run.worker for run in story.started} == {"w1", "w2"}


def test_nobody_is_asked_to_give_back_what_no_idle_worker_may_run() -> None:
    story = Story()
    story.joins("w1")
    story.joins("w2")
    story.submits(layer("a", 50, workers=("w1",)))
    said: list[Instruction] = []
    for _ in range(20):
        said += story.say(Tick(), 1.0)
        said += story.done(story.started[0]) if _ == 10 else []
    assert not [i for i in said if isinstance(i, RecallBatch)]


def test_it_waits_for_its_worker_and_the_client_is_told_who_is_there() -> None:
    story = Story()
    story.joins("w1")
    story.submits(layer("a", 2, workers=("w7",)))
    assert not story.started
    assert story.stuck(1.0) == []
    (reason,) = story.stuck(3.0)
    assert "w7 only" in reason
    assert "w1" in reason
    story.joins("w7")
    story.all_done()
    assert {run.worker for run in story.started} == {"w7"}


def test_when_the_last_named_worker_dies_the_client_is_told() -> None:
    story = Story()
    story.joins("w1")
    story.joins("w2")
    story.submits(layer("a", 3, workers=("w1",)))
    story.say(WorkerLeft("w1", "exit code 137"))
    assert len(story.stuck(5.0)) == 1
    assert {run.worker for run in story.started} == {"w1"}


def test_a_preference_holds_while_one_of_the_named_is_there_and_no_longer() -> None:
    story = Story()
    story.joins("w1")
    story.joins("w2")
    story.submits(layer("a", 12, workers=("w1",), allow_other_workers=True))
    for _ in range(3):
        story.done(story.started[_])
    assert {run.worker for run in story.started} == {"w1"}
    before = len(story.started)
    story.say(WorkerLeft("w1", "exit code 137"))
    assert {run.worker for run in story.started[before:]} == {"w2"}
    story.submits(layer("b", 1, workers=("w9",), allow_other_workers=True))
    story.done(story.started[-1])
    assert story.stuck(5.0) == []


def test_resources_and_names_hold_together() -> None:
    story = Story()
    story.joins("w1", slots=2, resources=GPU)
    story.joins("w2", slots=2, resources=GPU)
    story.joins("w3", slots=2)
    story.submits(layer("a", 4, workers=("w2", "w3"), resources=GPU))
    assert [run.worker for run in story.started] == ["w2"]
    story.all_done()
    assert {run.worker for run in story.started} == {"w2"}
    story.submits(layer("b", 1, workers=("w3",), resources=GPU))
    assert "named (w3)" in story.stuck(5.0)[0]


def test_the_one_named_worker_is_asked_among_hundreds_that_idle() -> None:
    story = Story()
    for i in range(300):
        story.joins(f"w{i}")
    story.submits(layer("a", 1, workers=("w271",)))
    story.submits(layer("b", 1, resources=GPU))
    assert [run.worker for run in story.started] == ["w271"]
    story.joins("g", resources=GPU)
    assert [run.worker for run in story.started] == ["w271", "g"]


def test_of_two_layers_in_one_graph_the_one_of_higher_priority_is_first() -> None:
    story = Story()
    story.joins("w")
    a, b, c = layer("a", 1), layer("b", 1, priority=5), layer("c", 1, priority=-5)
    story.say(GraphSubmitted("me", (c, a, b), tuple(map(whole, (c, a, b)))))
    story.all_done()
    assert [run.range.layer[0] for run in story.started] == [2, 1, 3]


def test_nothing_is_remembered_of_needs_whose_layers_are_forgotten() -> None:
    model = new_model()
    model.join_worker("w0", "h1")
    model.join_client("me")
    model.layer("a", 3, workers=("w0",))
    model.layer("b", 3, ("a", "one"), workers=("h1",), allow_other_workers=True)
    model.submit("me", "ab", [("b", 0, 3)])
    model.settle()
    assert model.scheduler.state.constraint_queues
    model.end()
    state = model.scheduler.state
    assert not state.layers
    assert not state.constraint_queues
    assert not state.constraint_layers
