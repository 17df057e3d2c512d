"""Where work goes: preferred hosts with bounded waiting, bytes to move, credit, sizes of runs, turns of clients."""

from __future__ import annotations

from collections import Counter

import pytest

from howdah.engine.protocol.events import (
    BatchDone,
    BatchReturned,
    ClientJoined,
    GraphSubmitted,
    LayerSpec,
    RacksKnown,
    RecallBatch,
    StartBatch,
    Tick,
    WorkerInfo,
    WorkerJoined,
)
from howdah.engine.protocol.layers import KToOne, OneToOne, TaskRange
from howdah.engine.scheduler.core.dispatch import TARGET_SECONDS
from howdah.engine.scheduler.core.placement import COLD_WAIT
from howdah.engine.scheduler.core.scheduler import Scheduler
from howdah.engine.scheduler.simulation.cluster import layer, whole
from howdah.engine.scheduler.simulation.invariants import check_invariants


class Cluster:
    """A state with workers on hosts; runs last as long as told."""

    def __init__(self, *workers: tuple[str, str, str], slots: int = 1) -> None:
        self.scheduler = Scheduler()
        self.now = 0.0
        self.started: list[StartBatch] = []
        for name, host, rack in workers:
            self.say(WorkerJoined(WorkerInfo(name, host, rack, slots)))

    def say(self, event: object, at: float | None = None) -> list:
        self.now = self.now if at is None else at
        out = self.scheduler.handle(event, self.now)
        check_invariants(self.scheduler)
        self.started += [i for i in out if isinstance(i, StartBatch)]
        return out

    def submit(self, *specs: LayerSpec, wanted: TaskRange | None = None, client: str = "me", priority: int = 0) -> list:
        return self.say(GraphSubmitted(client, specs, (wanted or whole(specs[-1]),), priority))

    def done(self, run: StartBatch, each: float = 1.0, size: int = 8) -> list[StartBatch]:
        n = len(run.range)
        out = self.say(BatchDone(run.worker, run.batch, run.attempt, (size,) * n, each * n))
        return [i for i in out if isinstance(i, StartBatch)]

    def run_all(self, each: float = 0.001, size: int = 8) -> None:
        for run in self.started:
            if run.batch in self.scheduler.state.batches:
                self.done(run, each, size)

    def warm_up(self) -> None:
        """One run on every worker: what is waited for then is a busy worker, not one that starts."""
        self.submit(layer("w", 2 * len(self.scheduler.state.workers)))
        self.run_all(each=0.0)
        assert {run.worker for run in self.started} == set(self.scheduler.state.workers)
        self.started.clear()

    def layer_summary(self, name: str) -> dict:
        return next(s for s in self.scheduler.summary()["layers"] if s["name"] == name)


TWO = (("w1", "node1", "/r1"), ("w2", "NODE2.example", "/r2"))


def scan(n: int, *hosts: tuple[str, ...]) -> LayerSpec:
    return layer("a", n, host_sets=hosts, host_index=tuple(i % len(hosts) for i in range(n)), nbytes=(100,) * n)


def test_tasks_go_to_their_data_whatever_the_case_of_its_name() -> None:
    cluster = Cluster(*TWO)
    cluster.submit(scan(40, ("Node1",), ("node2.EXAMPLE", "elsewhere")))
    cluster.run_all()
    for run in cluster.started:
        assert len(run.range) == 1  # preferences alternate, so runs are of one item
        assert run.worker == ("w1", "w2")[run.range.start % 2]
    summary = cluster.layer_summary("a")
    assert (summary["tasks_node"], summary["tasks_rack"], summary["tasks_remote"]) == (40, 0, 0)
    assert summary["bytes_node"] == 4000


def test_neighbours_of_one_preference_share_a_run() -> None:
    cluster = Cluster(*TWO)
    hosts = (("node1",), ("node2.example",))
    cluster.submit(layer("a", 4000, host_sets=hosts, host_index=(0,) * 2000 + (1,) * 2000))
    cluster.run_all(each=1e-5)
    assert len(cluster.started) < 60
    assert all(run.worker == ("w1" if run.range.start < 2000 else "w2") for run in cluster.started)


def test_waiting_for_a_busy_host_is_bounded_first_node_then_rack_then_anywhere() -> None:
    cluster = Cluster(("w1", "node1", "/r1"), ("w2", "node2", "/r1"), ("w3", "node3", "/r2"))
    cluster.warm_up()
    cluster.submit(scan(4, ("node1",)))
    assert [run.worker for run in cluster.started] == ["w1", "w1"]
    assert cluster.scheduler.wake_at == 3.0
    cluster.say(Tick(), at=2.9)
    assert len(cluster.started) == 2
    cluster.say(Tick(), at=3.0)
    assert [run.worker for run in cluster.started[2:]] == ["w2", "w2"]
    assert cluster.scheduler.wake_at == 4.0
    cluster.run_all()
    summary = cluster.layer_summary("a")
    assert (summary["tasks_node"], summary["tasks_rack"], summary["tasks_remote"]) == (2, 2, 0)

    cluster.submit(layer("b", 9, host_sets=(("node1",),), host_index=(0,) * 9))
    cluster.say(Tick(), at=7.1)
    cluster.say(Tick(), at=8.2)
    assert {run.worker for run in cluster.started if run.range.layer == b"\2" * 16} == {"w1", "w2", "w3"}


def test_a_worker_in_its_first_run_is_given_longer_but_not_for_ever() -> None:
    cluster = Cluster(("w1", "node1", "/r1"), ("w2", "node2", "/r1"))
    cluster.submit(scan(4, ("node1",)))
    cluster.say(Tick(), at=8.0)
    assert [run.worker for run in cluster.started] == ["w1", "w1"], "it imports what the tasks need"
    cluster.say(Tick(), at=COLD_WAIT)
    assert [run.worker for run in cluster.started] == ["w1", "w1", "w2", "w2"]


def test_a_host_that_keeps_taking_work_is_waited_for() -> None:
    cluster = Cluster(*TWO)
    cluster.submit(scan(20, ("node1",)))
    for second in range(1, 10):  # each takes two seconds, and one is begun every second
        cluster.say(Tick(), at=second)
        cluster.done(cluster.started[second - 1], each=2.0)
    assert {run.worker for run in cluster.started} == {"w1"}


@pytest.mark.parametrize("hosts", [("nowhere",), ()])
def test_no_wait_where_no_worker_lives(hosts: tuple[str, ...]) -> None:
    cluster = Cluster(*TWO)
    cluster.submit(scan(2, hosts))
    assert {run.worker for run in cluster.started} == {"w1", "w2"}


def test_no_wait_for_the_node_when_only_its_rack_has_workers() -> None:
    cluster = Cluster(*TWO)
    cluster.say(RacksKnown((("Node9", "/r2"),)))
    cluster.submit(scan(2, ("node9",)))
    assert {run.worker for run in cluster.started} == {"w2"}
    cluster.run_all()
    assert cluster.layer_summary("a")["tasks_rack"] == 2


def test_a_new_worker_on_the_right_host_gets_the_waiting_work() -> None:
    cluster = Cluster(*TWO)
    cluster.submit(scan(9, ("node1",)))
    cluster.say(WorkerJoined(WorkerInfo("w3", "node1", "/r1")))
    assert [run.worker for run in cluster.started] == ["w1", "w1", "w3", "w3"]


def test_work_follows_its_inputs() -> None:
    cluster = Cluster(*TWO)
    cluster.submit(layer("a", 20), layer("b", 20, ("a", OneToOne())))
    cluster.run_all(size=10**8)
    where = {i: run.worker for run in cluster.started for i in range(*run.range[1:]) if run.range.layer == b"\1" * 16}
    for run in cluster.started:
        if run.range.layer == b"\2" * 16:
            assert not run.sources
            assert all(where[i] == run.worker for i in range(*run.range[1:]))


def test_a_join_goes_where_most_bytes_are() -> None:
    cluster = Cluster(*TWO)
    cluster.submit(layer("a", 2), layer("b", 1, ("a", KToOne(2))))
    cluster.done(cluster.started[0], size=10)
    cluster.done(cluster.started[1], size=10**6)
    join = cluster.started[2]
    assert join.worker == cluster.started[1].worker
    assert join.sources == ((TaskRange(b"\1" * 16, 0, 1), cluster.started[0].worker),)


def test_small_inputs_are_moved_to_an_idle_worker_and_large_ones_are_not() -> None:
    for size, moved in ((8, True), (10**11, False)):
        cluster = Cluster(("w1", "node1", "/r1"))
        a, b = layer("a", 8), layer("b", 8, ("a", OneToOne()))
        cluster.submit(a, wanted=whole(a))
        cluster.run_all(each=1.0, size=size)
        cluster.submit(a, b)
        cluster.done(cluster.started[-1], each=5.0, size=size)
        cluster.say(WorkerJoined(WorkerInfo("w2", "node2", "/r2")))
        assert ("w2" in {run.worker for run in cluster.started}) is moved


def test_what_was_fetched_once_is_not_fetched_again() -> None:
    cluster = Cluster(*TWO)
    a = layer("a", 1)
    uses = [layer(letter, 1, ("a", OneToOne())) for letter in "bcdefgh"]
    cluster.submit(a, *uses, wanted=whole(a))
    cluster.done(cluster.started[0])
    for spec in uses:
        cluster.submit(a, *uses, wanted=whole(spec))
    cluster.run_all(each=1.0)
    assert Counter(bool(run.sources) for run in cluster.started)[True] <= 2


def test_runs_grow_to_the_target_and_shrink_at_the_end() -> None:
    cluster = Cluster(*TWO)
    cluster.submit(layer("a", 100_000))
    for run in cluster.started:
        out = cluster.scheduler.handle(
            BatchDone(run.worker, run.batch, run.attempt, (8,) * len(run.range), 1e-5 * len(run.range)), 0
        )
        cluster.started += [i for i in out if isinstance(i, StartBatch)]
    lengths = [len(run.range) for run in cluster.started]
    assert lengths[:4] == [1, 1, 1, 1]
    assert max(lengths) == int(TARGET_SECONDS / 1e-5)
    assert len(lengths) < 150
    assert lengths[-1] < max(lengths) / 2
    assert not cluster.scheduler.state.batches


def test_long_tasks_travel_alone_and_are_not_hoarded() -> None:
    cluster = Cluster(*TWO, slots=2)
    cluster.submit(layer("a", 100))
    for run in cluster.started[:30]:
        cluster.done(run, each=5.0)
    assert {len(run.range) for run in cluster.started} == {1}
    held = Counter(run.worker.name for run in cluster.scheduler.state.batches.values())
    assert held == {"w1": 4, "w2": 4}  # two slots, and one run waiting for each


def test_short_layers_of_one_item_are_given_in_numbers() -> None:
    cluster = Cluster(("w1", "node1", "/r1"))
    for i in range(2, 200):
        spec = LayerSpec(bytes([i]) * 16, "inc", 1)
        cluster.submit(spec)
        if i == 3:
            cluster.run_all(each=1e-5)
    assert 20 < len(cluster.scheduler.state.batches) <= 64


def test_a_tail_is_recalled_for_an_idle_worker() -> None:
    cluster = Cluster(("w1", "node1", "/r1"))
    cluster.submit(layer("a", 3))
    first, second = cluster.started
    cluster.done(first, each=2.0)
    assert len(cluster.started) == 3
    cluster.say(WorkerJoined(WorkerInfo("w2", "node2", "/r1")))
    out = cluster.say(Tick(), at=0.5)
    (recall,) = [i for i in out if isinstance(i, RecallBatch)]
    assert (recall.worker, recall.batch) == ("w1", cluster.started[2].batch)
    cluster.say(BatchReturned("w1", recall.batch, recall.attempt, 0))
    assert (cluster.started[-1].worker, cluster.started[-1].range) == ("w2", cluster.started[2].range)
    assert second.batch in cluster.scheduler.state.batches


def test_an_overdue_run_does_not_keep_what_waits_behind_it() -> None:
    """The same name was quick before; now it takes for ever."""
    cluster = Cluster(("w1", "node1", "/r1"))
    cluster.submit(LayerSpec(b"x" * 16, "inc", 1))
    cluster.done(cluster.started[0], each=1e-5)
    for key in (b"y", b"z"):
        cluster.submit(LayerSpec(key * 16, "inc", 1))
    cluster.say(WorkerJoined(WorkerInfo("w2", "node2", "/r1")))
    assert [run.worker for run in cluster.started] == ["w1"] * 3
    out = cluster.say(Tick(), at=0.2)
    assert [i.batch for i in out if isinstance(i, RecallBatch)] == [cluster.started[2].batch]


def recalled(cluster: Cluster) -> list[RecallBatch]:
    """One second of short runs of 0.2 s, one after the other; what was asked back meanwhile."""
    asked = []
    for _ in range(5):
        asked += [i for i in cluster.say(Tick(), at=cluster.now + 0.1) if isinstance(i, RecallBatch)]
        running = next(run for run in cluster.started if run.batch in cluster.scheduler.state.batches)
        cluster.now += 0.1
        cluster.done(running, each=0.2)
    return asked


def test_a_tail_beside_its_data_is_left_there_though_a_worker_elsewhere_is_idle() -> None:
    cluster = Cluster(("w1", "node1", "/r1"), ("w2", "node2", "/r1"))
    cluster.warm_up()
    cluster.submit(scan(30, ("node1",)))
    assert not recalled(cluster)
    assert {run.worker for run in cluster.started} == {"w1"}


def test_a_tail_is_recalled_for_an_idle_worker_on_the_same_node() -> None:
    cluster = Cluster(("w1", "node1", "/r1"))
    cluster.warm_up()
    cluster.submit(scan(3, ("node1",)))
    cluster.done(cluster.started[0], each=2.0)
    cluster.say(WorkerJoined(WorkerInfo("w2", "node1", "/r1")))
    cluster.say(WorkerJoined(WorkerInfo("w3", "node2", "/r1")))
    (recall,) = [i for i in cluster.say(Tick(), at=0.5) if isinstance(i, RecallBatch)]
    cluster.say(BatchReturned("w1", recall.batch, recall.attempt, 0))
    assert [run.worker for run in cluster.started] == ["w1", "w1", "w1", "w2"]


def test_a_run_recalled_in_its_midst_is_cut_there() -> None:
    cluster = Cluster(("w1", "node1", "/r1"))
    cluster.submit(layer("a", 200))
    while len((run := next(r for r in cluster.started if r.batch in cluster.scheduler.state.batches)).range) < 8:
        cluster.done(run, each=0.003)
    cluster.say(BatchReturned("w1", run.batch, run.attempt, 2))
    cluster.say(BatchDone("w1", run.batch, run.attempt, (8, 8), 0.006))
    layer_state = cluster.scheduler.state.layers[run.range.layer]
    assert [int(c) for c in layer_state.state[run.range.start : run.range.start + 2]] == [4, 4]


def test_depth_first_before_breadth() -> None:
    """What is nearer to the end runs first: few intermediate results are there at a time."""
    cluster = Cluster(("w1", "node1", "/r1"))
    cluster.submit(layer("a", 64), layer("b", 16, ("a", KToOne(4))), layer("c", 1, ("b", KToOne(16))))
    most = 0
    for run in cluster.started:
        cluster.done(run, each=1.0)
        most = max(most, sum(layer_state.counts[4] for layer_state in cluster.scheduler.state.layers.values()))
    assert most <= 24


def test_first_wanted_first_done() -> None:
    cluster = Cluster(("w1", "node1", "/r1"))
    leaves = [layer(letter, 1) for letter in "abcdefgh"]
    cluster.say(GraphSubmitted("me", tuple(leaves), tuple(whole(leaf) for leaf in leaves)))
    cluster.run_all(each=1.0)
    assert [run.range.layer for run in cluster.started] == [leaf.key for leaf in leaves]


def test_priority_goes_before_everything() -> None:
    cluster = Cluster(("w1", "node1", "/r1"))
    cluster.submit(layer("a", 10))
    cluster.submit(layer("b", 1), client="you", priority=5)
    assert cluster.done(cluster.started[0])[0].range.layer == b"\2" * 16


def test_a_short_task_does_not_wait_behind_somebody_elses_thousands() -> None:
    cluster = Cluster(("w1", "node1", "/r1"), slots=2)
    cluster.submit(layer("a", 10_000), client="much")
    for i in range(20):
        cluster.now += 0.05
        cluster.done(cluster.started[i], each=0.05)
    cluster.submit(layer("b", 1), client="little")
    before = len(cluster.started)
    cluster.now += 0.05
    assert cluster.done(cluster.started[20], each=0.05)[0].range.layer == b"\2" * 16
    assert len(cluster.started) == before + 1


def test_clients_share_by_weight() -> None:
    cluster = Cluster(("w1", "node1", "/r1"))
    cluster.say(ClientJoined("one", 1.0))
    cluster.say(ClientJoined("three", 3.0))
    cluster.submit(layer("a", 500), client="one")
    cluster.submit(layer("b", 500), client="three")
    served = Counter()
    for run in cluster.started:
        served[run.range.layer[0]] += 1
        if sum(served.values()) == 200:
            break
        cluster.done(run, each=0.1)
    assert 2.5 < served[2] / served[1] < 3.5


def test_an_idle_client_saves_no_credit() -> None:
    cluster = Cluster(("w1", "node1", "/r1"))
    cluster.say(ClientJoined("late"))
    cluster.submit(layer("a", 500), client="early")
    for i in range(100):
        cluster.done(cluster.started[i], each=0.1)
    cluster.submit(layer("b", 500), client="late")
    for i in range(100, 200):
        cluster.done(cluster.started[i], each=0.1)
    served = Counter(run.range.layer[0] for run in cluster.started[102:202])
    assert 40 <= served[1] <= 60
