"""The workers' ports are closed to the client: results come through the scheduler, and no task runs again."""

from __future__ import annotations

import os
import threading
import time

import numpy as np
import pytest
from chaos.counting import Counts
from chaos.parts import Parts

from howdah.engine.client import fetch
from howdah.engine.coordination import Queue
from howdah.errors import HowdahError

MIB = 1 << 20


def make(counts: Counts, item: int, size: int) -> np.ndarray:
    counts.note("make", item)
    return np.full(size, item % 256, np.uint8)


def test_results_come_through_the_scheduler_and_no_task_runs_again(
    parts: Parts, counts: Counts, caplog: pytest.LogCaptureFixture
) -> None:
    client = parts.start(2)
    for name in ("w0", "w1"):
        parts.interpose(name).cut(os.getpid())  # other workers and the scheduler pass
    futures = client.map(make, [counts] * 6, range(6), [4 * MIB] * 6)
    for item, value in enumerate(client.gather(futures)):
        assert value.nbytes == 4 * MIB
        assert (value == item).all()
    assert sorted(one.item for one in counts.all()) == list(range(6))
    told = [record.getMessage() for record in caplog.records if "through the scheduler" in record.getMessage()]
    assert len(told) == 1
    assert "not reachable" in told[0]


def test_other_clients_are_answered_quickly_while_a_large_result_is_relayed(parts: Parts, counts: Counts) -> None:
    client, other = parts.start(1), parts.client()
    parts.interpose("w0").cut(os.getpid())
    future = client.submit(make, counts, 7, 128 * MIB)  # above the relay's limit in flight
    client.gather(client.submit(make, counts, 8, 1 * MIB))
    ended, slowest = threading.Event(), [0.0]

    def ask() -> None:
        while not ended.is_set():
            began = time.perf_counter()
            other.connection.query("status")
            slowest[0] = max(slowest[0], time.perf_counter() - began)

    asking = threading.Thread(target=ask)
    future.exception()
    asking.start()
    began = time.perf_counter()
    value = future.result()
    took = time.perf_counter() - began
    ended.set()
    asking.join()
    print(f"128 MiB relayed in {took:.2f} s, slowest round trip {1000 * slowest[0]:.1f} ms")
    assert value.nbytes == 128 * MIB
    assert (value == 7).all()
    assert slowest[0] < 2.0  # milliseconds on an idle machine
    assert counts.total() == 2


def test_what_a_client_sends_and_calls_works_too(parts: Parts) -> None:
    client = parts.start(2)
    for name in ("w0", "w1"):
        parts.interpose(name).cut(os.getpid())
    data = np.arange(2 * MIB)
    sent = client.scatter(data)
    assert client.submit(np.sum, sent).result() == data.sum()
    assert (client.gather(sent) == data).all()
    queue = Queue("results", client=client)
    queue.put(client.submit(np.ones, MIB))
    assert queue.get().result().sum() == MIB


def test_a_worker_that_nobody_reaches_is_an_error_and_no_second_run(
    parts: Parts, counts: Counts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "UNREACHABLE_LIMIT", 1.0)
    client = parts.start(1)
    parts.interpose("w0").cut()
    future = client.submit(make, counts, 3, MIB)
    with pytest.raises(HowdahError, match=r"results on worker w0 cannot be fetched.*through the scheduler: .*reach"):
        future.result()
    assert counts.total() == 1
    parts.to_worker["w0"].heal()
    assert (future.result() == 3).all()
    assert counts.total() == 1


def test_a_user_can_switch_direct_fetches_off(parts: Parts, counts: Counts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOWDAH_DIRECT", "0")
    client = parts.start(1)
    link = parts.interpose("w0")
    assert (client.submit(make, counts, 3, 4 * MIB).result() == 3).all()
    assert link.passed >= 4 * MIB  # by the scheduler's connection, of which no memory is shared
