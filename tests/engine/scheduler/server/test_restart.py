"""SIGKILL of the scheduler at any time: workers' results are not computed again, and the journal stays bounded."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from waiting import until

from howdah.engine.comm.connection.event_loop import loop_thread
from howdah.engine.coordination import Event, Lock, Queue, Variable


def mark(path: str, name: str, value: Any, seconds: float = 0.0) -> Any:
    """A task that says when it is executed."""
    file = os.open(path, os.O_WRONLY | os.O_APPEND)
    os.write(file, f"{name}\n".encode())
    os.close(file)
    time.sleep(seconds)
    return value


def squares(item: int, path: str) -> int:
    return int(mark(path, f"square-{item}", item * item, 0.03))


def total(values: list[int], path: str) -> int:
    return int(mark(path, "total", sum(values)))


@pytest.mark.parametrize("tls", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["unix", "tls"])
def test_a_graph_survives_three_deaths_of_the_scheduler(processes: Callable[..., Any], tls: bool) -> None:
    cluster = processes(2, tls=tls)
    client = cluster.client()
    path = str(cluster.marks)
    futures = client.map(squares, range(60), path=path)
    answer = client.submit(total, futures, path)
    for enough in (5, 20, 40):
        until(lambda: len(cluster.counts()) >= enough)  # noqa: B023
        cluster.restart()
    assert client.gather(futures) == [item * item for item in range(60)]
    assert answer.result(30) == sum(item * item for item in range(60))
    assert max(cluster.counts().values()) == 1
    assert len(cluster.counts()) == 61


def inc(value: int, path: str, name: str = "inc") -> int:
    return int(mark(path, f"{name}-{value}", value + 1))


def held_up(path: str, gate: str, name: str) -> str:
    """Runs until the file `gate` is there."""
    mark(path, name, None)
    until(lambda: os.path.exists(gate))
    return name


def boom(path: str) -> None:
    mark(path, "boom", None)
    raise ValueError("boom")


def test_what_runs_is_not_started_again_and_its_report_counts(processes: Callable[..., Any]) -> None:
    cluster = processes(2, slots=2)
    client = cluster.client()
    client.wait_for_workers(2)
    path, gate = str(cluster.marks), str(cluster.folder / "gate")
    running = [client.submit(held_up, path, gate, f"task-{i}") for i in range(4)]
    queued = client.map(inc, range(10), path=path)
    after = client.submit(inc, client.submit(len, running[0]), path, "after")
    until(lambda: {f"task-{i}" for i in range(4)} <= set(cluster.counts()))
    cluster.restart()
    client.scheduler_info()  # it is there again
    cluster.restart()
    open(gate, "w").close()
    assert client.gather(running) == [f"task-{i}" for i in range(4)]
    assert client.gather(queued) == list(range(1, 11))
    assert after.result(30) == 7
    assert set(cluster.counts().values()) == {1}, cluster.counts()


@pytest.mark.slow
def test_what_was_done_meanwhile_is_adopted(processes: Callable[..., Any]) -> None:
    """Workers finish what they have while there is no scheduler, and say so when it is there."""
    cluster = processes(1, slots=2)
    client = cluster.client()
    path, gate = str(cluster.marks), str(cluster.folder / "gate")
    running = [client.submit(held_up, path, gate, f"task-{i}") for i in range(2)]
    until(lambda: len(cluster.counts()) == 2)
    cluster.kill()
    open(gate, "w").close()
    follower = client.submit(len, running[0])
    cluster.begin()
    assert client.gather(running) == ["task-0", "task-1"]
    assert follower.result(30) == 6
    assert set(cluster.counts().values()) == {1}, cluster.counts()


def test_what_clients_did_while_it_was_down(processes: Callable[..., Any]) -> None:
    cluster = processes(2)
    client = cluster.client()
    client.wait_for_workers(2)
    path, gate = str(cluster.marks), str(cluster.folder / "gate")
    kept, dropped = client.submit(inc, 1, path), client.submit(inc, 2, path)
    assert client.gather([kept, dropped]) == [2, 3]
    blocking = [client.submit(held_up, path, gate, f"task-{i}") for i in range(2)]
    doomed = client.map(inc, range(100, 110), path=path)
    until(lambda: len(cluster.counts()) == 4)
    cluster.kill()
    del dropped
    client.cancel(doomed)
    more = client.map(inc, range(20, 30), path=path)
    sums = client.submit(sum, more)
    on_top = client.submit(inc, kept, path)
    loop_thread().call(asyncio.sleep(0))  # the release is queued for the next scheduler
    cluster.begin()
    client.wait_for_workers(2)
    client.run(os.getpid)  # by now the workers know that what they were to run next is not wanted
    open(gate, "w").close()
    assert sums.result(30) == sum(range(21, 31))
    assert on_top.result(30) == 3
    assert client.gather(blocking) == ["task-0", "task-1"]
    assert all(future.cancelled() for future in doomed)
    counts = cluster.counts()
    assert not [name for name in counts if name.startswith("inc-10")], "cancelled tasks have run"
    assert counts.pop("inc-2") == 2  # as dropped, and as on_top, whose argument is a future
    assert set(counts.values()) == {1}
    mine = {future.key for future in (kept, *more, sums, on_top, *blocking)}
    until(lambda: {key for keys in client.has_what().values() for key in keys} == mine)


@pytest.mark.slow
def test_a_client_of_another_process_does_not_notice(processes: Callable[..., Any]) -> None:
    cluster = processes(2)
    program = """
import sys, time, os
from howdah.engine.api import Client, as_completed
def slow(item, path):
    file = os.open(path, os.O_WRONLY | os.O_APPEND); os.write(file, b"other-%d\\n" % item); os.close(file)
    time.sleep(0.03)
    return item
with Client(sys.argv[1]) as client:
    futures = client.map(slow, range(50), path=sys.argv[2])
    print(sum(result for _, result in as_completed(futures, with_results=True)))
"""
    command = [sys.executable, "-c", program, cluster.address, str(cluster.marks)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for enough in (10, 30):
            until(lambda: len(cluster.counts()) >= enough)  # noqa: B023
            cluster.restart()
        assert process.stdout.read() == f"{sum(range(50))}\n"
    assert process.returncode == 0
    assert set(cluster.counts().values()) == {1}, cluster.counts()


def test_failures_and_cancellations_stay_what_they_are(processes: Callable[..., Any]) -> None:
    cluster = processes(1)
    client = cluster.client()
    path, gate = str(cluster.marks), str(cluster.folder / "gate")
    failed = client.submit(boom, path)
    needs_it = client.submit(inc, failed, path)
    with pytest.raises(ValueError, match="boom"):
        needs_it.result(30)
    running = client.submit(held_up, path, gate, "running")
    until(lambda: "running" in cluster.counts())
    cancelled = client.submit(inc, 5, path)
    client.cancel(cancelled)
    client.scheduler_info()
    cluster.restart()
    open(gate, "w").close()
    assert running.result(30) == "running"
    again = client.submit(inc, failed, path, "again")
    for future in (failed, needs_it, again):
        with pytest.raises(ValueError, match="boom"):
            future.result(30)
    assert cancelled.cancelled()
    assert set(cluster.counts().values()) == {1}, cluster.counts()
    client.retry(failed)
    until(lambda: cluster.counts()["boom"] == 2)
    cluster.restart()
    with pytest.raises(ValueError, match="boom"):
        failed.result(30)
    assert cluster.counts()["boom"] == 2


@pytest.mark.slow
def test_a_lost_clients_work_is_released(processes: Callable[..., Any]) -> None:
    cluster = processes(1, lease=1.0)
    client = cluster.client()
    path = str(cluster.marks)
    mine = client.submit(inc, 1, path)
    program = """
import sys, time
from howdah.engine.api import Client
client = Client(sys.argv[1], lease=1.0)
future = client.submit(str, 12345)
print(future.result(), flush=True)
time.sleep(60)
"""
    command = [sys.executable, "-c", program, cluster.address]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "12345\n"
        cluster.kill()
        process.kill()
    cluster.begin()
    assert mine.result(30) == 2
    until(lambda: len(client.scheduler_info()["clients"]) == 1)
    until(lambda: client.has_what() == {"worker-0": [mine.key]})


@pytest.mark.slow
def test_a_worker_that_does_not_come_back_is_done_without(processes: Callable[..., Any]) -> None:
    cluster = processes(2, worker_lease=1.0)
    client = cluster.client()
    client.wait_for_workers(2)
    path = str(cluster.marks)
    futures = client.map(inc, range(20), path=path)
    assert client.gather(futures) == list(range(1, 21))
    lost = set(client.has_what()["worker-1"])
    assert lost
    cluster.kill()
    cluster.kill_worker("worker-1")
    cluster.begin()
    assert client.submit(sum, futures).result(30) == sum(range(1, 21))
    twice = {name for name, count in cluster.counts().items() if count > 1}
    assert len(twice) == len(lost)
    assert max(cluster.counts().values()) == 2


LIMIT = 300_000
"""Bytes from which on the journal is compacted."""


@pytest.mark.slow
def test_a_journal_does_not_grow_and_says_the_same_after_a_compaction(
    processes: Callable[..., Any], tmp_path: Path
) -> None:
    cluster = processes(1)
    cluster.compacts_from(LIMIT)
    cluster.restart()
    client = cluster.client(name="me")
    other = cluster.client(name="other")
    path = str(cluster.marks)
    # All that is to be there afterwards.
    kept = client.map(inc, range(40), path=path)
    chain = client.map(inc, client.map(inc, range(100, 110), path=path), path=path)
    shared = other.map(inc, range(40), path=path)
    failed = client.submit(boom, path)
    with pytest.raises(ValueError, match="boom"):
        failed.result(30)
    client.publish_dataset(chosen=kept[3])
    lock, queue = Lock("door", client), Queue("line", client)
    assert lock.acquire()
    queue.put(kept[5])
    queue.put("text")
    Variable("plain", client).set({"a": 1})
    (tmp_path / "sent_along.py").write_text("VALUE = 3\n")
    client.upload_file(tmp_path / "sent_along.py")
    client.gather([*kept, *chain])
    threads = ThreadPoolExecutor(2)
    waits = threads.submit(lambda: Lock("door", other).acquire())
    waited = threads.submit(lambda: Event("go", other).wait(60))
    sizes = []
    counter = Variable("counter", client)
    for turn in range(60):  # what comes and goes
        assert client.submit(len, os.urandom(20_000)).result(30) == 20_000
        counter.set(turn)
        assert Variable("counter", other).get() == turn
        queue.put("text")
        assert queue.get() is not None
        sizes.append(cluster.journal.stat().st_size)
        if turn % 10 == 9:
            until(lambda: cluster.journal.stat().st_size < LIMIT)
    assert sum(b < a for a, b in pairwise(sizes)) >= 2, "it was not compacted"
    assert max(sizes) < 4 * LIMIT
    for _ in range(2):  # from the snapshot, and from what a scheduler made of it
        cluster.restart()
        assert client.gather(kept) == other.gather(shared) == list(range(1, 41))
        assert client.gather(chain) == list(range(102, 112))
        with pytest.raises(ValueError, match="boom"):
            failed.result(30)
        assert other.get_dataset("chosen").result(30) == 4
        assert (lock.locked(), waits.done(), waited.done()) == (True, False, False)
        assert Variable("plain", other).get() == {"a": 1}
        assert counter.get() == 59
        assert queue.qsize() == 2
    lock.release()
    assert waits.result(30)
    Event("go", client).set()
    assert waited.result(30)
    cluster.kill_worker("worker-0")
    cluster.work(1)
    assert client.submit(lambda: __import__("sent_along").VALUE).result(60) == 3
    counts = cluster.counts()
    assert counts["boom"] == 1
    until(lambda: client.gather(kept) == list(range(1, 41)))
