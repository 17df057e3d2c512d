"""Clients that are killed: their work ends with their lease, what others wait for stays, and so does scattered data."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest
from chaos.counting import Counts, leaf
from chaos.parts import Parts
from waiting import until

ENDLESS = """
import sys, threading
sys.path.insert(0, {tests!r})
from chaos.counting import Counts, leaf
futures = client.map(leaf, range({n}), counts=Counts({path!r}), seconds=0.05)
print("submitted", flush=True)
threading.Event().wait()
"""


def code(counts: Counts, n: int) -> str:
    return ENDLESS.format(tests=str(Path(__file__).parent.parent), path=counts.path, n=n)


def status(client) -> dict:  # type: ignore[no-untyped-def, type-arg]
    return client.connection.query("status")  # type: ignore[no-any-return]


@pytest.mark.slow
def test_a_killed_clients_work_ends_with_its_lease(parts: Parts, counts: Counts) -> None:
    parts.lease = 1.0
    client = parts.start(1)
    lost = parts.start_client("lost", code(counts, 10_000))
    until(lambda: counts.total() > 3)
    lost.kill()
    lost.wait()
    until(lambda: not status(client)["layers"], what="the release of the lost client's work")
    ran = counts.total()
    assert client.submit(abs, -1).result(30) == 1  # the worker is free again
    assert counts.total() <= ran + 2
    assert ran < 1000


def test_a_killed_client_of_this_machine_is_gone_long_before_its_lease(parts: Parts, counts: Counts) -> None:
    parts.lease = 600.0
    client = parts.start(1)
    lost = parts.start_client("lost", code(counts, 10_000))
    until(lambda: counts.total() > 3)
    lost.kill()
    until(lambda: not status(client)["layers"], what="the release of the killed client's work")
    lost.wait()
    assert status(client)["clients"] == 1


def test_what_another_client_waits_for_stays(parts: Parts, counts: Counts) -> None:
    parts.lease = 1.0
    client = parts.start(2)
    lost = parts.start_client("lost", code(counts, 60))
    until(lambda: counts.total() > 3)
    mine = client.map(leaf, range(60), counts=counts, seconds=0.05)  # the same keys
    lost.kill()
    lost.wait()
    until(lambda: status(client)["clients"] == 1)
    assert [int(value[0]) for value in client.gather(mine)] == list(range(60))
    assert counts.twice() == {}
    assert counts.total() == 60


def piece(block: np.ndarray, item: int, counts: Counts) -> float:
    counts.note("piece", item)
    return float(block[item])


def test_scattered_data_survives_its_holder(parts: Parts, counts: Counts) -> None:
    client = parts.start(2)
    block = client.scatter(np.arange(100_000.0))
    copied = client.scatter(np.arange(50_000.0), broadcast=True)
    assert client.submit(float, client.submit(np.sum, block)).result(30) == 4999950000.0
    (holder,) = client.who_has([block])[block.key]
    before = client.map(piece, [block] * 20, range(20), counts=counts)
    assert client.gather(before) == [float(i) for i in range(20)]
    parts.kill(holder)
    after = client.map(piece, [block] * 20, range(20, 40), counts=counts)
    assert client.gather(after) == [float(i) for i in range(20, 40)]
    assert {one.item for one in counts.all()} == set(range(40))
    assert counts.twice(parts.killed) == {}
    assert client.submit(lambda b, c: float(b[-1] + c[-1]), block, copied).result(30) == 99999.0 + 49999.0
    assert float(block.result(30)[7]) == 7.0


@pytest.mark.slow
def test_a_client_that_is_stopped_for_a_while_misses_nothing(parts: Parts, counts: Counts) -> None:
    client = parts.start(1)
    code_ = code(counts, 30).replace(
        "threading.Event().wait()", "print(sum(float(v[0]) for v in client.gather(futures)))"
    )
    other = parts.start_client("other", code_)
    until(lambda: counts.total() > 3)
    os.kill(other.pid, signal.SIGSTOP)
    until(lambda: status(client)["tasks"]["done"] >= 30)
    os.kill(other.pid, signal.SIGCONT)
    assert other.wait(30) == 0
    assert "435.0" in parts.log("other")
