"""Actors on a real cluster: state, order, exceptions, travel, the end of their worker."""

import asyncio
import concurrent.futures as cf
import gc
import os
import signal
import threading
from typing import Any

import numpy as np
import pytest
from waiting import until

from howdah.engine.api import Client
from howdah.engine.coordination import Event, Queue
from howdah.engine.coordination.actors import Actor
from howdah.engine.deploy.local import LocalCluster
from howdah.errors import InputError, Unpicklable, WorkerLost


class Counter:
    """Counts."""

    start = 0

    def __init__(self, start: int = 0, made: Queue | None = None) -> None:
        if start < 0:
            raise ValueError("no negative start")
        self.n = start
        self.seen: list[int] = []
        if made is not None:
            made.put(os.getpid())

    def add(self, by: int = 1) -> int:
        """Count on."""
        self.n += by
        self.seen.append(by)
        return self.n

    async def later(self, by: int) -> int:
        await asyncio.sleep(0)
        return self.add(by)

    def add_to(self, other: Any) -> int:
        return int(other.add().result(20))

    def fail(self) -> None:
        raise KeyError("mine")

    def lock(self) -> Any:
        return threading.Lock()

    def wait(self, event: Event) -> bool:
        return bool(event.wait(20))

    def total(self, array: Any) -> Any:
        return array.sum()

    def pid(self) -> int:
        return os.getpid()

    @property
    def twice(self) -> int:
        return 2 * self.n


def test_state_lives_on_one_worker(client: Client) -> None:
    counter = client.submit(Counter, 10, actor=True)
    futures = [counter.add(1) for _ in range(200)]
    assert [future.result(20) for future in futures] == list(range(11, 211))
    assert counter.n == 210
    assert counter.twice == 420
    assert counter.start == 0
    assert counter.add(by=5).result() == 215
    assert counter.later(5).result() == 220
    assert counter.total(np.ones(100_000)).result() == 100_000
    assert counter.result() is counter  # as dask's users write it
    assert "add" in dir(counter)
    assert counter.add.__doc__ == "Count on."
    assert repr(counter).startswith("<Actor Counter on worker-")


def test_two_actors_are_two(client: Client) -> None:
    one, two = client.submit(Counter, actor=True), client.submit(Counter, actor=True)
    assert one.add(1).result(20) == 1
    assert two.add(1).result(20) == 1


def test_exceptions_are_the_users_own(client: Client) -> None:
    counter = client.submit(Counter, actor=True)
    with pytest.raises(KeyError, match="mine") as raised:
        counter.fail().result(20)
    assert "actor Counter.fail failed on worker worker-" in raised.value.__notes__[0]
    with pytest.raises(AttributeError, match="nothing"):
        _ = counter.nothing
    with pytest.raises(AttributeError, match="can only be read"):
        counter.n = 5
    with pytest.raises(Unpicklable):
        counter.lock().result(20)
    assert counter.add().result() == 1
    bad = client.submit(Counter, -1, actor=True)
    with pytest.raises(ValueError, match="no negative start"):
        bad.add().result(20)
    with pytest.raises(ValueError, match="no negative start"):
        bad.result(20)
    with pytest.raises(InputError, match="give a class"):
        client.submit(len, actor=True)


def test_futures_of_calls_are_futures(client: Client) -> None:
    counter = client.submit(Counter, actor=True)
    event, heard = Event(client=client), threading.Event()
    waiting, after = counter.wait(event), counter.add(7)
    assert not waiting.done()
    assert not waiting.cancel()
    with pytest.raises(TimeoutError):
        after.result(timeout=0.05)  # in its turn
    after.add_done_callback(lambda future: heard.set() if future.result() == 7 else None)
    event.set()
    assert not cf.wait([waiting, after], timeout=20).not_done
    assert heard.wait(20)

    async def awaited() -> Any:
        return await counter.add(1), await counter.add(2)

    assert asyncio.run(awaited()) == (8, 10)


def bump(counter: Any, by: int) -> Any:
    return counter.add(by).result(20)


def test_tasks_and_others_call_it_too(cluster: LocalCluster, client: Client) -> None:
    counter = client.submit(Counter, actor=True)
    futures = [client.submit(bump, counter, 1, pure=False) for _ in range(6)]
    assert sorted(client.gather(futures)) == [1, 2, 3, 4, 5, 6]
    assert client.gather(client.map(lambda by, counter: bump(counter, by), [10, 10], counter=counter))
    queue = Queue(client=client)
    queue.put({"the": counter})
    with Client(cluster) as other:
        theirs = Queue(queue.name, client=other).get(timeout=10)["the"]
        assert isinstance(theirs, Actor)
        assert theirs.add(0).result(20) == 26
    assert counter.n == 26


def test_it_ends_when_nobody_has_it(cluster: LocalCluster, client: Client) -> None:
    counter = client.submit(Counter, actor=True)
    pid = counter.pid().result(20)

    def tasks(pid: int) -> list[str]:
        return os.listdir(f"/proc/{pid}/task")

    before = len(tasks(pid))
    del counter
    gc.collect()
    until(lambda: len(tasks(pid)) < before)
    until(lambda: not any(place[0] == "actor" for place in cluster.server.coordination.state.primitives))


def test_the_end_of_its_worker_is_told(cluster: LocalCluster, client: Client) -> None:
    made = Queue(client=client)
    counter = client.submit(Counter, 5, made, actor=True)
    other = client.submit(bump, counter, 1, pure=False)
    assert other.result(20) == 6
    pid = counter.pid().result(20)
    event = Event(client=client)
    waiting = counter.wait(event)
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(WorkerLost, match="the actor Counter is lost with its state"):
        waiting.result(20)
    with pytest.raises(WorkerLost, match="cannot be reached any more"):
        counter.add().result(20)
    until(lambda: len(cluster.workers()) == 2)
    assert client.submit(abs, -1).result(20) == 1
    assert len(made.get(batch=True)) == 1  # it was made once
    assert client.submit(Counter, 1, actor=True).add().result(20) == 2


class Reporter:
    """Has another actor from its construction on."""

    def __init__(self, counter: Any) -> None:
        self.counter = counter

    def report(self) -> int:
        return int(self.counter.add().result(20))


def test_an_actor_is_an_argument_of_another_one(client: Client) -> None:
    one, two = client.submit(Counter, actor=True), client.submit(Counter, 5, actor=True)
    assert one.add_to(two).result(20) == 6
    assert one.add_to(other=two).result(20) == 7
    assert client.submit(Reporter, two, actor=True).report().result(20) == 8
    broken = client.submit(Counter, -1, actor=True)
    with pytest.raises(ValueError, match="no negative start"):
        one.add_to(broken)
    with pytest.raises(InputError, match="does not wait for tasks"):
        one.add(client.submit(abs, -1))
