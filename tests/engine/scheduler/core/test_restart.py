"""A state that was started again: inventory first, runs taken over, clients told. One story per promise."""

from __future__ import annotations

from collections.abc import Iterable

from howdah.engine.protocol.events import (
    BatchDone,
    CancelRequested,
    ClientReturned,
    EpochOpened,
    Event,
    FreeRanges,
    GraphSubmitted,
    Instruction,
    LayerSpec,
    NotifyDone,
    NotifyFailed,
    NotifyLost,
    RecallBatch,
    Released,
    RetryRequested,
    StartBatch,
    StateRestored,
    TaskError,
    TasksFailed,
    Tick,
    WorkerInfo,
    WorkerJoined,
    WorkerLeft,
)
from howdah.engine.protocol.layers import Broadcast, OneToOne, TaskRange
from howdah.engine.scheduler.core.restart import EPOCH_BITS, snapshot
from howdah.engine.scheduler.simulation.cluster import layer, whole
from howdah.engine.scheduler.simulation.invariants import check_invariants
from howdah.engine.scheduler.simulation.replay import JOURNALED, failures, replay

GRACE = 8.0


def of(kind: type, out: Iterable[Instruction]) -> list:
    return [instruction for instruction in out if isinstance(instruction, kind)]


class Story:
    """A scheduler with a journal; `dies` begins the next epoch. Every event is followed by a check of the books."""

    def __init__(self, *workers: str, slots: int = 1) -> None:
        self.journal: list[tuple[float, Event]] = []
        self.now, self.epoch = 0.0, 0
        self.workers: dict[str, int] = {}
        self.started: list[StartBatch] = []
        self.dies()
        for name in workers:
            self.joins(name, slots=slots)

    def say(self, event: Event, after: float = 0.001) -> list[Instruction]:
        self.now += after
        if isinstance(event, JOURNALED):
            self.journal.append((self.now, event))
        out = self.scheduler.handle(event, self.now)
        self.journal += [(self.now, failed) for failed in failures(out)]
        check_invariants(self.scheduler)
        self.started += of(StartBatch, out)
        return out

    def dies(self, compacted: bool = False) -> None:
        if compacted:
            self.journal = [(self.now, snapshot(self.scheduler.state))]
        self.epoch += 1
        self.now += 1.0
        self.scheduler = replay(self.journal, EpochOpened(self.epoch, tuple(self.workers), GRACE), self.now)
        check_invariants(self.scheduler)

    def joins(
        self, name: str, *running: StartBatch, holdings: Iterable[TaskRange] = (), slots: int = 1
    ) -> list[Instruction]:
        self.workers[name] = slots
        held = tuple([(task_range, (8,) * len(task_range)) for task_range in holdings])
        runs, ranges = tuple([(r.batch, r.attempt) for r in running]), tuple([r.range for r in running])
        return self.say(WorkerJoined(WorkerInfo(name, name, slots=slots, pid=1), held, runs, ranges))

    def submits(self, *specs: LayerSpec, wanted: Iterable[TaskRange] = (), client: str = "me") -> list[Instruction]:
        return self.say(GraphSubmitted(client, specs, tuple(wanted) or (whole(specs[-1]),)))

    def done(self, run: StartBatch) -> list[Instruction]:
        return self.say(BatchDone(run.worker, run.batch, run.attempt, (8,) * len(run.range), 0.001 * len(run.range)))

    def run_of(self, spec: LayerSpec, item: int = 0) -> StartBatch:
        return [r for r in self.started if r.range.layer == spec.key and r.range.start <= item < r.range.stop][-1]


def test_nothing_is_given_out_before_the_inventory_is_complete() -> None:
    story = Story("w1", "w2")
    a, b = layer("a", 2), layer("b", 2, ("a", OneToOne()))
    story.submits(a, b)
    for item in range(2):
        story.done(story.run_of(a, item))
    first = story.run_of(b, 0)
    story.done(first)
    assert first.worker == "w1"
    second = story.run_of(b, 1)
    story.dies()
    before = len(story.started)
    out = story.joins("w1", holdings=[first.range])
    assert of(NotifyDone, out) == [NotifyDone("me", first.range, "w1")]
    assert story.say(Tick()) == []
    out = story.joins("w2", second, holdings=[story.run_of(a, 1).range])
    assert len(story.started) == before, "all that is left is running, or held"
    assert of(NotifyLost, out) == [NotifyLost("me", second.range)]
    assert of(NotifyDone, story.done(second)) == [NotifyDone("me", second.range, "w2")]
    assert len(story.started) == before


def test_new_runs_have_numbers_above_all_of_the_last_epoch() -> None:
    story = Story("w")
    a, b = layer("a", 1), layer("b", 1)
    story.submits(a)
    old = story.run_of(a)
    story.dies()
    story.joins("w", old)
    story.done(old)
    story.submits(b)
    assert old.batch >> EPOCH_BITS == 1
    assert story.run_of(b).batch >> EPOCH_BITS == 2


def test_a_worker_that_stays_away_is_done_without_after_the_grace() -> None:
    story = Story("w1", "w2")
    a = layer("a", 2)
    story.submits(a)
    first, second = story.run_of(a, 0), story.run_of(a, 1)
    story.dies()
    story.joins("w1", first)
    wake = story.scheduler.wake_at
    assert wake is not None
    assert story.say(Tick(), wake - story.now - 0.01) == []
    out = story.say(Tick(), 0.02)
    assert [run.range for run in of(StartBatch, out)] == [second.range]
    late = story.joins("w2", second)
    assert [recall for recall in of(RecallBatch, late) if recall.worker == "w2"] == [
        RecallBatch("w2", second.batch, second.attempt)
    ]
    assert of(FreeRanges, story.done(second)) == [FreeRanges("w2", (second.range,))]


def test_a_worker_that_is_known_to_be_dead_is_not_waited_for() -> None:
    story = Story("w1", "w2")
    story.submits(layer("a", 4))
    story.dies()
    story.joins("w1")
    out = story.say(WorkerLeft("w2", "exit code 137"))
    assert of(StartBatch, out)


def test_without_workers_nothing_is_waited_for() -> None:
    story = Story()
    story.dies()
    story.submits(layer("a", 1))
    assert of(StartBatch, story.joins("w"))


def test_what_was_released_and_cancelled_stays_so() -> None:
    story = Story("w")
    a, b, c = layer("a", 3), layer("b", 3), layer("c", 3)
    for spec in (a, b, c):
        story.submits(spec)
    running = story.run_of(a)
    story.say(Released("me", (whole(a),)))
    story.say(CancelRequested("me", (whole(b),)))
    story.dies()
    assert list(story.scheduler.state.layers) == [c.key]
    out = story.joins("w", running, holdings=[TaskRange(b.key, 0, 1)])
    assert of(RecallBatch, out) == [RecallBatch("w", running.batch, running.attempt)]
    assert FreeRanges("w", (TaskRange(b.key, 0, 1),)) in out
    assert FreeRanges("w", (running.range,)) in story.done(running)


def test_a_run_of_which_a_part_was_released_goes_on() -> None:
    story = Story("w")
    b = layer("b", 40)
    story.submits(b)
    at = 0
    while len((run := story.started[at]).range) < 3:
        story.done(run)
        at += 1
    story.say(Released("me", (TaskRange(b.key, run.range.start + 1, run.range.start + 2),)))
    story.dies()
    assert not of(RecallBatch, story.joins("w", run))
    out = story.done(run)
    assert [tell.range[1:] for tell in of(NotifyDone, out)] == [
        (run.range.start, run.range.start + 1),
        (run.range.start + 2, run.range.stop),
    ]


def test_failures_are_not_tried_again_and_reach_their_dependants() -> None:
    story = Story("w")
    a, b = layer("a", 1), layer("b", 1, ("a", OneToOne()))
    story.submits(a, b)
    error = TaskError("raised", "boom", worker="w")
    run = story.run_of(a)
    story.say(BatchDone("w", run.batch, run.attempt, (-1,), 0.1, ((0, error),)))
    assert [event for _, event in story.journal if isinstance(event, TasksFailed)] == [TasksFailed(whole(a), error)]
    for compacted in (False, True):
        story.dies(compacted)
        before = len(story.started)
        story.joins("w")
        out = story.say(ClientReturned("me"))
        assert of(NotifyFailed, out) == [NotifyFailed("me", whole(b), error, whole(a))]
        assert len(story.started) == before
    story.say(RetryRequested("me", (whole(b),)))
    assert story.run_of(a).batch >> EPOCH_BITS == story.epoch
    story.dies()
    assert not of(NotifyFailed, story.say(ClientReturned("me")))


def test_copies_that_a_queued_run_needs_are_kept() -> None:
    story = Story("w1", "w2")
    a, b = layer("a", 2), layer("b", 8, ("a", Broadcast()))
    story.submits(a, b, wanted=[whole(a), whole(b)])
    for item in range(2):
        story.done(story.run_of(a, item))
    runs = [run for run in story.started if run.range.layer == b.key]
    assert {run.worker for run in runs} == {"w1", "w2"}
    story.dies()
    out: list[Instruction] = []
    for name in ("w1", "w2"):
        out += story.joins(name, *[run for run in runs if run.worker == name], holdings=[whole(a)])
    assert not of(FreeRanges, out)
    at = 0
    while at < len(runs):
        out += story.done(runs[at])
        runs = runs[: at + 1] + [
            run for run in story.started if run.range.layer == b.key and run.batch in story.scheduler.state.batches
        ]
        at += 1
    assert {free.worker for free in of(FreeRanges, out)} == {"w2"}, "only its copies are of no use any more"


def test_a_snapshot_says_what_the_whole_journal_said() -> None:
    story = Story("w1", "w2")
    a, b = layer("a", 40), layer("b", 40, ("a", OneToOne()))
    c = layer("c", 3, ("b", Broadcast()))
    story.submits(a, b)
    story.submits(c, client="you")
    story.say(Released("me", (TaskRange(b.key, 3, 9),)))
    for at in range(12):
        story.done(story.started[at])
    before = snapshot(story.scheduler.state)
    again = replay([(0.0, before)], EpochOpened(9), 1.0)
    check_invariants(again)
    after = snapshot(again.state)
    assert (after.layers, after.requested, after.clients) == (before.layers, before.requested, before.clients)
    assert sorted(after.interests) == sorted(before.interests)
    assert isinstance(before, StateRestored)
    plain = replay(story.journal, EpochOpened(9), 1.0)
    assert sorted(snapshot(plain.state).requested) == sorted(before.requested)


def test_preferred_hosts_are_waited_for_again() -> None:
    story = Story("w1", "w2")
    near = layer("a", 1, host_sets=(("w2",),), host_index=(0,))
    busy = layer("b", 2)
    story.submits(busy)
    story.submits(near)
    runs = [story.run_of(busy, item) for item in range(2)]
    story.dies()
    story.joins("w1")
    second = next(run for run in runs if run.worker == "w2")
    out = story.joins("w2", *[run for run in runs if run.worker == "w2"])
    assert [run.worker for run in of(StartBatch, out) if run.range.layer == near.key] in ([], ["w2"])
    story.done(second)
    assert story.run_of(near).worker == "w2"


def test_what_was_told_lost_is_told_when_it_is_made() -> None:
    story = Story("w1", "w2")
    a = layer("a", 2)
    story.submits(a)
    for item in range(2):
        story.done(story.run_of(a, item))
    gone = story.run_of(a, 1)
    story.dies()
    kept = story.run_of(a, 0)
    assert of(NotifyLost, story.joins("w1", holdings=[kept.range])) == []
    assert of(NotifyDone, story.say(ClientReturned("me"))) == [NotifyDone("me", kept.range, "w1")]
    out = story.say(WorkerLeft("w2", "its node is gone"))
    assert of(NotifyLost, out) == [NotifyLost("me", gone.range)]
    assert of(NotifyLost, story.say(ClientReturned("me"))) == [NotifyLost("me", gone.range)]
    [again] = of(StartBatch, out)
    assert of(NotifyDone, story.done(again)) == [NotifyDone("me", gone.range, "w1")]
