"""The fleet's rules, as little stories: what the application master reports, and the actions that follow."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from howdah.yarn_app.master import fleet
from howdah.yarn_app.master.fleet import AddContainer, ContainerLost, FailApplication, Fleet, RemoveContainer
from howdah.yarn_app.protocol.config import ServiceGroup
from howdah.yarn_app.yarn.reports import ContainerStatus

TWO = [ServiceGroup("w.0", 1, "node1"), ServiceGroup("w.1", 1, "node2")]


def run(name: str, host: str, state: str = "RUNNING", message: str = "") -> ContainerStatus:
    return ContainerStatus(name, name.rpartition("_")[0], state, host, f"container_{name}", message)


def test_two_wanted_and_two_there_needs_nothing() -> None:
    there = [run("w.0_0", "node1"), run("w.1_0", "node2")]
    assert Fleet(TWO, 4).reconcile(0, 2, there, {"w.0_0"}) == []


def test_a_lost_container_is_told_once_and_replaced_on_its_own_host_after_a_backoff() -> None:
    ours = Fleet(TWO, 4)
    joined = {"w.0_0", "w.1_0"}
    ours.reconcile(0, 2, [run("w.0_0", "node1"), run("w.1_0", "node2")], joined)
    dead = [run("w.0_0", "node1", "FAILED", "614.1 MB of 256 MB physical memory used"), run("w.1_0", "node2")]
    assert ours.reconcile(10, 2, dead, {"w.1_0"}) == [
        ContainerLost("w.0_0", "node1", "container_w.0_0", "614.1 MB of 256 MB physical memory used", joined=True)
    ]
    assert ours.reconcile(10.1, 2, dead, {"w.1_0"}) == []
    assert ours.reconcile(10 + fleet.BACKOFF, 2, dead, {"w.1_0"}) == [AddContainer("w.0")]


def test_the_backoff_doubles_and_a_worker_that_joins_resets_it() -> None:
    ours = Fleet([ServiceGroup("w", 1)], None)
    now, gaps, seen = 0.0, [], []
    for number in range(4):
        seen.append(run(f"w_{number}", "", "FAILED"))
        ours.reconcile(now, 1, seen, set())
        died = now
        while AddContainer("w") not in ours.reconcile(now, 1, seen, set()):
            now += 0.125
        gaps.append(now - died)
    assert gaps == [0.5, 1.0, 2.0, 4.0]
    ours.reconcile(now, 1, [*seen, run("w_4", "")], {"w_4"})
    seen.append(run("w_4", "", "FAILED"))
    ours.reconcile(now, 1, seen, set())
    assert ours.reconcile(now + fleet.BACKOFF, 1, seen, set()) == [AddContainer("w")]


def test_a_crash_loop_ends_with_the_last_words() -> None:
    ours = Fleet([ServiceGroup("w", 1)], 3)
    seen: list[ContainerStatus] = []
    for number in range(4):
        seen.append(run(f"w_{number}", "node1", "FAILED", f"no module named x, {number}"))
        orders = ours.reconcile(float(number), 1, seen, set())
    last = orders[-1]
    assert isinstance(last, FailApplication)
    assert "4 worker containers failed" in last.reason
    assert "max_failures" in last.reason
    assert "no module named x, 3" in last.reason


def test_old_losses_do_not_count() -> None:
    ours = Fleet([ServiceGroup("w", 1)], 3)
    seen: list[ContainerStatus] = []
    for number in range(12):
        seen.append(run(f"w_{number}", "node1", "FAILED"))
        orders = ours.reconcile(number * (fleet.WINDOW / 3 + 1), 1, seen, set())
        assert not any(isinstance(order, FailApplication) for order in orders)


def test_without_a_limit_it_never_gives_up() -> None:
    ours = Fleet([ServiceGroup("w", 1)], None)
    seen = [run(f"w_{number}", "node1", "FAILED") for number in range(50)]
    assert not any(isinstance(order, FailApplication) for order in ours.reconcile(0, 1, seen, set()))


def test_a_node_on_which_nothing_starts_is_excluded() -> None:
    ours = Fleet(TWO, None)
    seen = [run("w.0_0", "node1", "FAILED"), run("w.0_1", "node1", "FAILED"), run("w.1_0", "node2")]
    ours.reconcile(0, 2, seen, {"w.1_0"})
    assert ours.excluded == {"node1"}
    assert ours.reconcile(60, 2, seen, {"w.1_0"}) == [AddContainer("w.1")], "its own service is not asked any more"
    landed = [*seen, run("w.1_1", "node1")]
    assert [o.name for o in ours.reconcile(61, 2, landed, {"w.1_0"}) if isinstance(o, RemoveContainer)] == ["w.1_1"]


def test_when_every_node_fails_none_is_excluded() -> None:
    ours = Fleet(TWO, None)
    seen = [run(f"w.{node}_{number}", f"node{node + 1}", "FAILED") for node in (0, 1) for number in (0, 1)]
    ours.reconcile(0, 2, seen, set())
    assert ours.excluded == frozenset()
    assert {type(order) for order in ours.reconcile(99, 2, seen, set())} == {AddContainer}


def test_scaling_down_takes_what_is_not_granted_then_not_joined_then_the_newest() -> None:
    ours = Fleet([ServiceGroup("w", 4)], 4)
    seen = [run("w_0", "node1"), run("w_1", "node2"), run("w_2", "node1"), ContainerStatus("w_3", "w", "REQUESTED")]
    joined = {"w_0", "w_1"}
    orders = ours.reconcile(0, 1, seen, joined)
    assert [order.name for order in orders if isinstance(order, RemoveContainer)] == ["w_3", "w_2", "w_1"]
    ended = [seen[0], *(run(f"w_{n}", "", "KILLED") for n in (1, 2, 3))]
    assert ours.reconcile(1, 1, ended, {"w_0"}) == [], "what was given back is no loss"


def test_scaling_up_spreads_over_the_services() -> None:
    orders = Fleet(TWO, 4).reconcile(0, 5, [run("w.0_0", "node1")], set())
    assert [order.service for order in orders if isinstance(order, AddContainer)] == ["w.1", "w.0", "w.1", "w.0"]


def test_what_its_host_does_not_grant_in_time_is_asked_for_anywhere() -> None:
    ours = Fleet([*TWO, ServiceGroup("w.any", 0)], 4)
    there, asked = run("w.0_0", "node1"), ContainerStatus("w.1_0", "w.1", "REQUESTED")
    assert ours.reconcile(0, 2, [there, asked], set()) == []
    assert ours.reconcile(fleet.HOST_TIMEOUT - 0.1, 2, [there, asked], set()) == []
    orders = ours.reconcile(fleet.HOST_TIMEOUT, 2, [there, asked], set())
    assert [(type(order), getattr(order, "service", "")) for order in orders] == [
        (RemoveContainer, ""),
        (AddContainer, "w.any"),
    ]
    given = [there, run("w.1_0", "", "KILLED"), ContainerStatus("w.any_0", "w.any", "REQUESTED")]
    assert ours.reconcile(60, 2, given, set()) == [], "anywhere is waited for as long as it takes"


@given(st.lists(st.sampled_from(["die", "join", "wait", "up", "down"]), max_size=40))
def test_whatever_happens_the_wanted_number_is_reached_again(story: list[str]) -> None:
    """Plays the orders against a YARN that grants everything, then lets things be: the count must fit."""
    ours, now, wanted = Fleet(TWO, None), 0.0, 2
    containers: dict[str, ContainerStatus] = {}
    joined: set[str] = set()

    def play() -> None:
        for order in ours.reconcile(now, wanted, list(containers.values()), joined):
            if isinstance(order, AddContainer):
                number = sum(one.service == order.service for one in containers.values())
                name = f"{order.service}_{number}"
                containers[name] = run(name, "node1" if order.service == "w.0" else "node2")
            elif isinstance(order, RemoveContainer):
                containers[order.name] = run(order.name, "", "KILLED")
                joined.discard(order.name)

    for step in story:
        alive = [name for name, one in containers.items() if one.active]
        if step == "die" and alive:
            containers[alive[0]] = run(alive[0], containers[alive[0]].host, "FAILED")
            joined.discard(alive[0])
        elif step == "join":
            joined.update(alive)
        wanted = max(0, wanted + {"up": 1, "down": -1}.get(step, 0))
        now += 1.0
        play()
    for _ in range(60):
        now += 1.0
        play()
        joined.update(name for name, one in containers.items() if one.active)
    assert sum(one.active for one in containers.values()) == wanted


def test_what_yarn_takes_is_told_as_that_and_is_no_failure() -> None:
    ours = Fleet(TWO, 0)
    joined = {"w.0_0", "w.1_0"}
    ours.reconcile(0, 2, [run("w.0_0", "node1"), run("w.1_0", "node2")], joined)
    preempted = [run("w.0_0", "node1", "FAILED", "Container preempted by scheduler"), run("w.1_0", "node2")]
    assert ours.reconcile(10, 2, preempted, {"w.1_0"}) == [
        ContainerLost("w.0_0", "node1", "container_w.0_0", "Container preempted by scheduler", True, fleet.PREEMPTED),
        AddContainer("w.0"),
    ], "no backoff, and none of the 0 failures that are allowed"
    gone = [*preempted[:1], run("w.1_0", "node2", "FAILED", "Container released on a *lost* node")]
    orders = ours.reconcile(11, 2, gone, set())
    assert [order.reclaimed for order in orders if isinstance(order, ContainerLost)] == [fleet.NODE_LOST]
    assert not any(isinstance(order, FailApplication) for order in orders)
    assert ours.excluded == frozenset()


def test_a_preempted_newcomer_is_no_strike_against_its_node() -> None:
    ours = Fleet(TWO, None)
    seen: list[ContainerStatus] = []
    for number in range(3 * fleet.NODE_STRIKES):
        seen.append(run(f"w.0_{number}", "node1", "FAILED", "Container preempted by scheduler"))
        ours.reconcile(float(number), 2, [*seen, run("w.1_0", "node2")], set())
    assert ours.excluded == frozenset()
