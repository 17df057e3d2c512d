"""Locks, queues, variables, events, datasets, files and scattered data outlive a scheduler that is killed."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from waiting import until

from howdah.engine.coordination import Event, Lock, Queue, Semaphore, Variable
from howdah.errors import DeadlineExceeded


class ForgingLock(Lock):
    """A lock that can send any token."""

    def release_token(self, token: str) -> None:
        self._call("release", token=token)


def test_holders_stay_holders_and_who_waits_gets_it(processes: Callable[..., Any]) -> None:
    cluster = processes(1)
    first, second = cluster.client(name="first"), cluster.client(name="second")
    lock, same = ForgingLock("door", first), Lock("door", second)
    pool = Semaphore(2, "pool", first)
    queue, bounded = Queue("work", first), Queue("narrow", first, maxsize=1)
    variable, empty = Variable("answer", first), Variable("empty", first)
    event = Event("go", first)
    raised = Event("raised", first)
    assert lock.acquire()
    assert pool.acquire()
    for item in ("a", "b"):
        queue.put(item)
    bounded.put(1)
    variable.set(42)
    raised.set()
    with ThreadPoolExecutor(6) as threads:
        waits = {
            "lock": threads.submit(same.acquire),
            "get": threads.submit(lambda: Variable("empty", second).get(timeout=60)),
            "put": threads.submit(lambda: Queue("narrow", second).put(2)),
            "event": threads.submit(lambda: Event("go", second).wait(60)),
            "late": threads.submit(lambda: Queue("nothing", second).get(timeout=1.0)),
        }
        second.scheduler_info()
        first.scheduler_info()
        cluster.restart()
        assert queue.get(timeout=30) == "a"
        assert not any(waits[name].done() for name in ("lock", "get", "put", "event"))
        assert (lock.locked(), pool.get_value(), raised.is_set(), event.is_set()) == (True, 1, True, False)
        assert Lock("door", first).acquire(blocking=False) is False
        cluster.restart()
        lock.release()
        empty.set("there")
        event.set()
        assert bounded.get(timeout=30) == 1
        assert waits["lock"].result(30) is True
        assert waits["get"].result(30) == "there"
        waits["put"].result(30)
        assert waits["event"].result(30)
        with pytest.raises(DeadlineExceeded):
            waits["late"].result(30)
    assert bounded.get(timeout=30) == 2
    assert Queue("work", second).get(timeout=30) == "b", "given out once, it is not given out again"
    assert queue.qsize() == 0
    assert Variable("answer", second).get(timeout=30) == 42
    with pytest.raises(Exception, match="is not held by this object"):
        lock.release_token("")
    same.release()
    assert not lock.locked()


def count(path: str) -> int:
    with open(path, "a") as file:
        file.write("run\n")
    return 7


@pytest.mark.slow
def test_an_answer_that_was_lost_with_the_scheduler_is_given_once(processes: Callable[..., Any]) -> None:
    """Killed at any moment while items go through a queue: each arrives once, in order."""
    cluster = processes(1)
    client = cluster.client()
    got: list[int] = []

    def consume() -> None:
        mine = Queue("line", client)
        while (item := mine.get(timeout=60)) is not None:
            got.append(item)

    def produce() -> None:
        mine = Queue("line", client)
        for item in range(300):
            mine.put(item)
        mine.put(None)

    with ThreadPoolExecutor(2) as threads:
        ends = [threads.submit(consume), threads.submit(produce)]
        for enough in (50, 120, 200):
            until(lambda: len(got) >= enough)  # noqa: B023
            cluster.restart()
        for end in ends:
            end.result(60)
    assert got == list(range(300))


def test_what_is_kept_for_everybody(processes: Callable[..., Any], tmp_path: Path) -> None:
    cluster = processes(1)
    client = cluster.client()
    published = client.submit(count, str(cluster.marks))
    client.publish_dataset(numbers=published)
    queued = client.submit(count, str(cluster.marks) + "-queued")
    Queue("futures", client).put(queued)
    scattered = client.scatter(list(range(1000)))
    [big] = client.scatter([b"x" * 3_000_000])
    module = tmp_path / "uploaded_here.py"
    module.write_text("ANSWER = 41\n")
    client.upload_file(module)
    client.gather([published, queued])
    del published, queued
    client.scheduler_info()
    cluster.kill()
    cluster.kill_worker("worker-0")  # the scheduler alone knows the file and the data now
    cluster.begin()
    cluster.work(1)

    def uses_file() -> int:
        import uploaded_here

        return int(uploaded_here.ANSWER) + 1

    assert client.submit(uses_file).result(60) == 42
    assert client.list_datasets() == ("numbers",)
    assert client.get_dataset("numbers").result(30) == 7
    assert Queue("futures", client).get(timeout=30).result(30) == 7
    assert client.gather(scattered) == list(range(1000))
    assert client.submit(len, big).result(30) == 3_000_000


class Tally:
    def __init__(self) -> None:
        self.n = 0

    def add(self, by: int) -> int:
        self.n += by
        return self.n


def with_tasks_of_its_own(path: str) -> int:
    from howdah.engine.api import get_client

    client = get_client()

    def slow(item: int, path: str) -> int:
        with open(path, "a") as file:
            file.write(f"inner-{item}\n")
        time.sleep(0.03)
        return item

    with Lock("inner"):
        return sum(client.gather(client.map(slow, range(40), path=path)))


@pytest.mark.slow
def test_actors_and_tasks_with_tasks_of_their_own_go_on(processes: Callable[..., Any]) -> None:
    cluster = processes(2)
    client = cluster.client()
    tally = client.submit(Tally, actor=True).result(30)
    assert tally.add(1).result(30) == 1
    outer = client.submit(with_tasks_of_its_own, str(cluster.marks))
    until(lambda: len(cluster.counts()) >= 5)
    cluster.kill()
    assert tally.add(2).result(30) == 3, "an actor is called without the scheduler"
    cluster.begin()
    until(lambda: len(cluster.counts()) >= 15)
    cluster.restart()
    assert outer.result(60) == sum(range(40))
    assert max(cluster.counts().values()) == 1
    assert tally.add(3).result(30) == 6
    assert not Lock("inner", client).locked()
