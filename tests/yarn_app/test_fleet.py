"""The fleet's rules, as little stories: what the application master reports, and what is ordered."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from howdah.yarn_app.master import fleet
from howdah.yarn_app.master.fleet import Add, Fleet, GiveUp, Group, Lost, Remove, Seen, spread

TWO = [Group("w.0", 1, "node1"), Group("w.1", 1, "node2")]


def run(name: str, host: str, state: str = "RUNNING", message: str = "") -> Seen:
    return Seen(name, name.rpartition("_")[0], state, host, f"container_{name}", message)


def test_two_wanted_and_two_there_needs_nothing() -> None:
    there = [run("w.0_0", "node1"), run("w.1_0", "node2")]
    assert Fleet(TWO, 4).look(0, 2, there, {"w.0_0"}) == []


def test_a_lost_container_is_told_once_and_replaced_on_its_own_host_after_a_backoff() -> None:
    ours = Fleet(TWO, 4)
    joined = {"w.0_0", "w.1_0"}
    ours.look(0, 2, [run("w.0_0", "node1"), run("w.1_0", "node2")], joined)
    dead = [run("w.0_0", "node1", "FAILED", "614.1 MB of 256 MB physical memory used"), run("w.1_0", "node2")]
    assert ours.look(10, 2, dead, {"w.1_0"}) == [
        Lost("w.0_0", "node1", "container_w.0_0", "614.1 MB of 256 MB physical memory used", joined=True)
    ]
    assert ours.look(10.1, 2, dead, {"w.1_0"}) == []
    assert ours.look(10 + fleet.BACKOFF, 2, dead, {"w.1_0"}) == [Add("w.0")]


def test_the_backoff_doubles_and_a_worker_that_joins_resets_it() -> None:
    ours = Fleet([Group("w", 1)], None)
    now, gaps, seen = 0.0, [], []
    for number in range(4):
        seen.append(run(f"w_{number}", "", "FAILED"))
        ours.look(now, 1, seen, set())
        died = now
        while Add("w") not in ours.look(now, 1, seen, set()):
            now += 0.125
        gaps.append(now - died)
    assert gaps == [0.5, 1.0, 2.0, 4.0]
    ours.look(now, 1, [*seen, run("w_4", "")], {"w_4"})
    seen.append(run("w_4", "", "FAILED"))
    ours.look(now, 1, seen, set())
    assert ours.look(now + fleet.BACKOFF, 1, seen, set()) == [Add("w")]


def test_a_crash_loop_ends_with_the_last_words() -> None:
    ours = Fleet([Group("w", 1)], 3)
    seen: list[Seen] = []
    for number in range(4):
        seen.append(run(f"w_{number}", "node1", "FAILED", f"no module named x, {number}"))
        orders = ours.look(float(number), 1, seen, set())
    last = orders[-1]
    assert isinstance(last, GiveUp)
    assert "4 worker containers failed" in last.reason
    assert "max_failures" in last.reason
    assert "no module named x, 3" in last.reason


def test_old_losses_do_not_count() -> None:
    ours = Fleet([Group("w", 1)], 3)
    seen: list[Seen] = []
    for number in range(12):
        seen.append(run(f"w_{number}", "node1", "FAILED"))
        orders = ours.look(number * (fleet.WINDOW / 3 + 1), 1, seen, set())
        assert not any(isinstance(order, GiveUp) for order in orders)


def test_without_a_limit_it_never_gives_up() -> None:
    ours = Fleet([Group("w", 1)], None)
    seen = [run(f"w_{number}", "node1", "FAILED") for number in range(50)]
    assert not any(isinstance(order, GiveUp) for order in ours.look(0, 1, seen, set()))


def test_a_node_on_which_nothing_starts_is_excluded() -> None:
    ours = Fleet(TWO, None)
    seen = [run("w.0_0", "node1", "FAILED"), run("w.0_1", "node1", "FAILED"), run("w.1_0", "node2")]
    ours.look(0, 2, seen, {"w.1_0"})
    assert ours.excluded == {"node1"}
    assert ours.look(60, 2, seen, {"w.1_0"}) == [Add("w.1")], "its own service is not asked any more"
    landed = [*seen, run("w.1_1", "node1")]
    assert [o.name for o in ours.look(61, 2, landed, {"w.1_0"}) if isinstance(o, Remove)] == ["w.1_1"]


def test_when_every_node_fails_none_is_excluded() -> None:
    ours = Fleet(TWO, None)
    seen = [run(f"w.{node}_{number}", f"node{node + 1}", "FAILED") for node in (0, 1) for number in (0, 1)]
    ours.look(0, 2, seen, set())
    assert ours.excluded == frozenset()
    assert {type(order) for order in ours.look(99, 2, seen, set())} == {Add}


def test_scaling_down_takes_what_is_not_granted_then_not_joined_then_the_newest() -> None:
    ours = Fleet([Group("w", 4)], 4)
    seen = [run("w_0", "node1"), run("w_1", "node2"), run("w_2", "node1"), Seen("w_3", "w", "REQUESTED")]
    joined = {"w_0", "w_1"}
    orders = ours.look(0, 1, seen, joined)
    assert [order.name for order in orders if isinstance(order, Remove)] == ["w_3", "w_2", "w_1"]
    ended = [seen[0], *(run(f"w_{n}", "", "KILLED") for n in (1, 2, 3))]
    assert ours.look(1, 1, ended, {"w_0"}) == [], "what was given back is no loss"


def test_scaling_up_spreads_over_the_services() -> None:
    orders = Fleet(TWO, 4).look(0, 5, [run("w.0_0", "node1")], set())
    assert [order.service for order in orders if isinstance(order, Add)] == ["w.1", "w.0", "w.1", "w.0"]


def test_what_its_host_does_not_grant_in_time_is_asked_for_anywhere() -> None:
    ours = Fleet([*TWO, Group("w.any", 0)], 4)
    there, asked = run("w.0_0", "node1"), Seen("w.1_0", "w.1", "REQUESTED")
    assert ours.look(0, 2, [there, asked], set()) == []
    assert ours.look(fleet.HOST_PATIENCE - 0.1, 2, [there, asked], set()) == []
    orders = ours.look(fleet.HOST_PATIENCE, 2, [there, asked], set())
    assert [(type(order), getattr(order, "service", "")) for order in orders] == [(Remove, ""), (Add, "w.any")]
    given = [there, run("w.1_0", "", "KILLED"), Seen("w.any_0", "w.any", "REQUESTED")]
    assert ours.look(60, 2, given, set()) == [], "anywhere is waited for as long as it takes"


def test_many_hosts_are_one_service() -> None:
    assert spread(7, [f"node{n}" for n in range(fleet.MOST_GROUPS + 1)]) == [Group("howdah.worker", 7)]


@given(st.integers(0, 50), st.integers(1, fleet.MOST_GROUPS))
def test_spreading_loses_no_worker_and_is_even(workers: int, hosts: int) -> None:
    groups = spread(workers, [f"node{n}" for n in range(hosts)])
    assert groups[-1] == Group("howdah.worker.any", 0), "for what a host does not give"
    counts = [group.instances for group in groups[:-1]]
    assert sum(counts) == workers
    assert max(counts) - min(counts) <= 1


@given(st.lists(st.sampled_from(["die", "join", "wait", "up", "down"]), max_size=40))
def test_whatever_happens_the_wanted_number_is_reached_again(story: list[str]) -> None:
    """Plays the orders against a YARN that grants everything, then lets things be: the count must fit."""
    ours, now, wanted = Fleet(TWO, None), 0.0, 2
    containers: dict[str, Seen] = {}
    joined: set[str] = set()

    def play() -> None:
        for order in ours.look(now, wanted, list(containers.values()), joined):
            if isinstance(order, Add):
                number = sum(one.service == order.service for one in containers.values())
                name = f"{order.service}_{number}"
                containers[name] = run(name, "node1" if order.service == "w.0" else "node2")
            elif isinstance(order, Remove):
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
    ours.look(0, 2, [run("w.0_0", "node1"), run("w.1_0", "node2")], joined)
    preempted = [run("w.0_0", "node1", "FAILED", "Container preempted by scheduler"), run("w.1_0", "node2")]
    assert ours.look(10, 2, preempted, {"w.1_0"}) == [
        Lost("w.0_0", "node1", "container_w.0_0", "Container preempted by scheduler", True, fleet.PREEMPTED),
        Add("w.0"),
    ], "no backoff, and none of the 0 failures that are allowed"
    gone = [*preempted[:1], run("w.1_0", "node2", "FAILED", "Container released on a *lost* node")]
    orders = ours.look(11, 2, gone, set())
    assert [order.taken for order in orders if isinstance(order, Lost)] == [fleet.NODE_LOST]
    assert not any(isinstance(order, GiveUp) for order in orders)
    assert ours.excluded == frozenset()


def test_a_preempted_newcomer_is_no_strike_against_its_node() -> None:
    ours = Fleet(TWO, None)
    seen: list[Seen] = []
    for number in range(3 * fleet.NODE_STRIKES):
        seen.append(run(f"w.0_{number}", "node1", "FAILED", "Container preempted by scheduler"))
        ours.look(float(number), 2, [*seen, run("w.1_0", "node2")], set())
    assert ours.excluded == frozenset()
