"""Workers that are killed, stopped and cut off while a graph with a known answer runs: what is not lost runs once."""

from __future__ import annotations

import signal
import threading

import pytest
from chaos.counting import Counts, known, submitted
from chaos.parts import Parts
from waiting import until


def test_one_worker_is_killed_in_the_middle(parts: Parts, counts: Counts) -> None:
    client = parts.start(3)
    leaves, _, answer = submitted(client, counts, 60)
    until(lambda: sum(leaf.done() for leaf in leaves) > 15)
    parts.kill("w1")
    assert answer.result(60) == known(60)
    assert counts.twice(parts.killed) == {}
    assert counts.total() > 91 - 20
    assert "signal SIGKILL" in parts.log("w1")


@pytest.mark.slow
def test_two_at_once(parts: Parts, counts: Counts) -> None:
    client = parts.start(3)
    leaves, _, answer = submitted(client, counts, 60)
    until(lambda: sum(leaf.done() for leaf in leaves) > 15)
    for name in ("w0", "w2"):
        parts.kill(name)
    assert answer.result(60) == known(60)
    assert counts.twice(parts.killed) == {}


@pytest.mark.slow
def test_every_worker_in_turn_during_one_graph(parts: Parts, counts: Counts) -> None:
    client = parts.start(3)
    answer = submitted(client, counts, 90)[2]
    for number, so_far in enumerate((20, 40, 60)):
        until(lambda least=so_far: counts.total() > least)
        parts.kill(f"w{number}")
    assert answer.result(60) == known(90)
    assert counts.twice(parts.killed) == {}
    assert len(parts.killed) == 3
    until(lambda: len(client.scheduler_info()["workers"]) == 3)  # each was started again by its supervisor


@pytest.mark.slow
def test_a_stopped_workers_tasks_go_elsewhere(parts: Parts, counts: Counts) -> None:
    parts.worker_lease = 0.5
    client = parts.start(2)
    leaves, _, answer = submitted(client, counts, 40)
    until(lambda: sum(leaf.done() for leaf in leaves) > 10)
    stopped = parts.signal("w0", signal.SIGSTOP)
    assert answer.result(60) == known(40)
    assert counts.twice({stopped}) == {}
    ran = counts.total()
    parts.signal("w0", signal.SIGCONT)
    until(lambda: "w0" in client.scheduler_info()["workers"])
    # What it reports late changes nothing, what it holds is dropped or taken, and it works again.
    assert client.gather(client.map(abs, range(-50, 0))) == list(range(50, 0, -1))
    assert answer.result(1) == known(40)
    assert counts.total() - ran <= 1  # the one that it was executing
    assert parts.pid("w0") == stopped


@pytest.mark.parametrize("seconds", [0.6, pytest.param(4.0, marks=pytest.mark.slow)])
def test_a_worker_is_cut_off_from_the_scheduler(parts: Parts, counts: Counts, seconds: float) -> None:
    """For less than the lease of 2 s, and for more."""
    client = parts.start(2)
    leaves, _, answer = submitted(client, counts, 60)
    until(lambda: sum(leaf.done() for leaf in leaves) > 15)
    cut_off = parts.pid("w0")
    parts.to_scheduler["w0"].cut()
    healer = threading.Timer(seconds, parts.to_scheduler["w0"].heal)
    healer.start()
    assert answer.result(60) == known(60)
    healer.join()
    if seconds < parts.worker_lease:
        assert counts.twice() == {}
    assert counts.twice({cut_off}) == {}
    until(lambda: len(client.scheduler_info()["workers"]) == 2)
    assert parts.pid("w0") == cut_off


@pytest.mark.slow
def test_a_slow_link_costs_only_time(parts: Parts, counts: Counts) -> None:
    client = parts.start(2)
    for proxy in parts.to_scheduler.values():
        proxy.delay = 0.02
    _, _, answer = submitted(client, counts, 20, seconds=0.0)
    assert answer.result(60) == known(20)
    assert counts.twice() == {}


@pytest.mark.parametrize("for_good", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_the_link_of_two_workers_is_cut(parts: Parts, counts: Counts, for_good: bool) -> None:
    client = parts.start(3)
    for name in ("w0", "w1"):
        parts.interpose(name)
    leaves, _, answer = submitted(client, counts, 40, nbytes=400_000)
    until(lambda: sum(leaf.done() for leaf in leaves) > 15)
    for mine, other in (("w0", "w1"), ("w1", "w0")):
        if for_good:
            parts.to_worker[mine].cut(parts.pid(other))
        else:
            parts.to_worker[mine].drop()
    assert answer.result(60) == known(40)
    if not for_good:
        assert counts.twice() == {}
    assert len(client.scheduler_info()["workers"]) == 3
