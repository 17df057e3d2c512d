"""Hosts with faults of their own are left out for a while; faults of the platform are tried again after a pause."""

from __future__ import annotations

from howdah.engine.protocol.events import (
    BatchDone,
    Event,
    GraphSubmitted,
    HostExcluded,
    InputsMissing,
    Instruction,
    LayerSpec,
    NotifyDone,
    NotifyFailed,
    StartBatch,
    TaskError,
    Tick,
    WorkerInfo,
    WorkerJoined,
    WorkerLeft,
)
from howdah.engine.protocol.layers import OneToOne, TaskRange
from howdah.engine.scheduler.core.host_exclusion import FAILURE_WINDOW, FIRST_EXCLUSION, LONGEST_EXCLUSION, MAX_FAILURES
from howdah.engine.scheduler.core.retry_backoff import FIRST_WAIT, MAX_INFRASTRUCTURE_FAILURES
from howdah.engine.scheduler.core.scheduler import Scheduler
from howdah.engine.scheduler.simulation.cluster import key_of, layer, whole
from howdah.engine.scheduler.simulation.invariants import check_invariants
from howdah.engine.scheduler.simulation.scenarios import new_model


class Story:
    """A state and a clock; every event is followed by a check of the books."""

    def __init__(self, *hosts: str) -> None:
        self.scheduler, self.now, self.joined = Scheduler(), 0.0, 0
        for host in hosts:
            self.joins(host)

    def say(self, event: Event, after: float = 0.01) -> list[Instruction]:
        self.now += after
        out = self.scheduler.handle(event, self.now)
        check_invariants(self.scheduler)
        return out

    def joins(self, host: str) -> str:
        self.joined += 1
        name = f"w{self.joined}"
        self.say(WorkerJoined(WorkerInfo(name, host)))
        return name

    def dies(self, name: str, reason: str = "exit code 1", after: float = 0.01) -> list[Instruction]:
        return self.say(WorkerLeft(name, reason), after)

    def host_fails(self, host: str, times: int = MAX_FAILURES) -> list[HostExcluded]:
        told: list[HostExcluded] = []
        for _ in range(times):
            out = self.dies(self.joins(host))
            told += [i for i in out if isinstance(i, HostExcluded)]
        return told

    def submits(self, *specs: LayerSpec) -> list[StartBatch]:
        return runs(self.say(GraphSubmitted("me", specs, (whole(specs[-1]),))))

    def fails(self, run: StartBatch, kind: str = "platform") -> list[Instruction]:
        host = self.scheduler.state.workers[run.worker].host
        error = TaskError(kind, "No space left on device", worker=run.worker, host=host)
        return self.say(BatchDone(run.worker, run.batch, run.attempt, (-1,), 0.1, ((0, error),)))

    def done(self, run: StartBatch) -> list[Instruction]:
        return self.say(BatchDone(run.worker, run.batch, run.attempt, (8,) * len(run.range), 0.1))


def runs(out: list[Instruction]) -> list[StartBatch]:
    return [i for i in out if isinstance(i, StartBatch)]


def test_a_host_on_which_workers_keep_dying_gets_no_work_for_a_while() -> None:
    story = Story("good", "good", "fine")
    (told,) = story.host_fails("bad")
    assert (told.host, told.seconds) == ("bad", FIRST_EXCLUSION)
    assert "exit code 1" in told.reason
    assert story.scheduler.summary()["excluded"] == ("bad",)
    bad = story.joins("bad")
    started = story.submits(layer("a", 12))
    assert started
    assert bad not in {run.worker for run in started}
    assert story.scheduler.wake_at is not None
    out = story.say(Tick(), FIRST_EXCLUSION + 1)
    assert [i.seconds for i in out if isinstance(i, HostExcluded)] == [0.0]
    assert bad in {run.worker for run in runs(out)}
    assert story.scheduler.summary()["excluded"] == ()


def test_the_second_time_it_is_left_out_for_longer_and_a_quiet_host_begins_anew() -> None:
    story = Story("good", "fine")
    assert story.host_fails("bad")[0].seconds == FIRST_EXCLUSION
    story.say(Tick(), FIRST_EXCLUSION + 1)
    assert story.host_fails("bad")[0].seconds == 2 * FIRST_EXCLUSION
    for _ in range(6):
        story.say(Tick(), LONGEST_EXCLUSION + 1)
        last = story.host_fails("bad")
    assert last[0].seconds == FIRST_EXCLUSION  # quiet for longer than WITHIN each time
    assert LONGEST_EXCLUSION > FAILURE_WINDOW


def test_deaths_far_apart_are_bad_luck() -> None:
    story = Story("good", "fine")
    for _ in range(10):
        assert story.host_fails("unlucky", 1) == []
        story.say(Tick(), FAILURE_WINDOW / 2 + 1)


def test_never_more_than_half_of_the_hosts_and_never_the_last_one() -> None:
    alone = Story("only")
    assert alone.host_fails("only") == []
    story = Story("a", "b", "c", "d")
    assert story.host_fails("a")
    assert story.host_fails("b")
    assert story.host_fails("c") == []
    for name in [name for name, w in story.scheduler.state.workers.items() if w.host in ("c", "d")]:
        out = story.dies(name)
    assert {i.host for i in out if isinstance(i, HostExcluded) and not i.seconds} == {"a", "b"}
    assert story.submits(layer("a", 1))


def test_a_poisonous_task_is_not_its_hosts_fault() -> None:
    model = new_model()
    for i in range(6):
        model.join_worker(f"w{i}", f"h{i}")
    model.layer("a", 2)
    model.poison("a", 0)
    model.join_client("me")
    model.submit("me", "a", [("a", 0, 2)])
    model.settle()
    assert not model.scheduler.state.excluded_hosts
    assert max(len(known.failed_at) for known in model.scheduler.state.host_failures.values()) == 1


def test_what_lies_on_an_excluded_host_is_still_used_and_work_beside_it_goes_elsewhere() -> None:
    story = Story("bad", "good")
    a, b = layer("a", 1), layer("b", 1, ("a", OneToOne()))
    (run,) = story.submits(a)
    assert run.worker == "w1"  # on the bad host
    story.done(run)
    story.host_fails("bad")
    assert story.scheduler.state.excluded_hosts
    (then,) = runs(story.say(GraphSubmitted("me", (a, b), (whole(b),))))
    assert then.worker == "w2"
    assert then.sources == ((whole(a), "w1"),)


def test_a_fault_of_the_platform_is_tried_again_after_a_pause_and_costs_no_retries() -> None:
    story = Story("h1", "h2")
    (run,) = story.submits(layer("a", 1))
    pause = FIRST_WAIT
    for _ in range(MAX_INFRASTRUCTURE_FAILURES - 1):
        out = story.fails(run)
        assert not runs(out)
        assert not [i for i in out if isinstance(i, NotifyFailed)]
        assert story.scheduler.wake_at is not None
        assert not runs(story.say(Tick(), pause / 2))
        (run,) = runs(story.say(Tick(), pause / 2))
        pause *= 2
    (told,) = [i for i in story.fails(run) if isinstance(i, NotifyFailed)]
    assert told.error.kind == "platform"
    assert "No space left on device" in told.error.message


def test_after_a_pause_it_can_come_right() -> None:
    story = Story("h1", "h2")
    a, b = layer("a", 1), layer("b", 1, ("a", OneToOne()))
    run, then = story.submits(a, b)  # b is given ahead, to be run after a, and finds nothing
    story.fails(run)
    story.say(InputsMissing(then.worker, then.batch, then.attempt, then.worker, (whole(a),)))
    (run, *_) = runs(story.say(Tick(), FIRST_WAIT + 0.1))
    (then,) = [r for r in runs(story.done(run)) if r.range.layer == b.key] or _
    assert [i for i in story.done(then) if isinstance(i, NotifyDone)]


def test_an_error_of_the_users_is_not_tried_again() -> None:
    story = Story("h1")
    (run,) = story.submits(layer("a", 1))
    assert [i for i in story.fails(run, kind="raised") if isinstance(i, NotifyFailed)]


def test_faults_of_the_platform_count_against_their_host() -> None:
    story = Story("h1", "h2", "h3")
    started = story.submits(layer("a", 9))
    bad = [run for run in started if run.worker == "w1"]
    told: list[Instruction] = []
    while not told and bad:
        out = story.fails(bad[0])
        told = [i for i in out if isinstance(i, HostExcluded)]
        bad = [*bad[1:], *[run for run in runs(out) if run.worker == "w1"]]
    assert [i.host for i in told] == ["h1"]


def test_what_waits_out_a_pause_can_be_released() -> None:
    model = new_model()
    model.join_worker("w0")
    model.layer("a", 2)
    model.faults("a", 0, 1)
    model.join_client("me")
    model.submit("me", "a", [("a", 0, 2)])
    for _ in range(3):
        model.step("w0")
    model.report("w0")
    assert model.scheduler.state.layers[key_of("a")].retry_at
    model.release("me", "a", 0, 1)
    model.submit("me", "a", [("a", 0, 2)])  # and be asked for again while it goes on
    model.settle()
    assert model.answers("me")[key_of("a"), 0] == model.truth((key_of("a"), 0))
    model.end()


def test_span_of_a_paused_item_is_one_item() -> None:
    story = Story("h1")
    (run, *_) = story.submits(layer("a", 20))
    story.fails(run)
    layer_state = story.scheduler.state.layers[key_of("a")]
    assert list(layer_state.retry_at or ()) == [run.range.start]
    assert TaskRange(layer_state.key, run.range.start, run.range.start + 1) == run.range
