"""Queue, Variable, Lock, Event and Semaphore on a real cluster: between clients, in tasks, after deaths."""

import asyncio
import os
import pickle
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from waiting import until

from howdah.engine.api import Client, wait
from howdah.engine.coordination import Event, Lock, Queue, Semaphore, Variable
from howdah.engine.deploy.local import LocalCluster
from howdah.errors import DeadlineExceeded, HowdahError, InputError


def state_of(cluster: LocalCluster) -> Any:
    return cluster.server.coordination.state


def test_values_and_futures_go_from_client_to_client(cluster: LocalCluster, client: Client) -> None:
    with Client(cluster) as other:
        mine, theirs = Queue("hand-over", client=client), Queue("hand-over", client=other)
        mine.put({"n": 1, "list": [client.submit(pow, 2, 5), client.submit(pow, 3, 3)]})
        got = theirs.get(timeout=10)
        assert got["n"] == 1
        assert other.gather(got["list"]) == [32, 27]
        assert theirs.qsize() == 0


def test_a_future_in_a_queue_outlives_its_client(cluster: LocalCluster) -> None:
    with Client(cluster) as first:
        Queue("left", client=first).put(first.submit(bytes, 100_000))
        blocked = Event("left-go", client=first)
        slow = first.submit(lambda go: go.wait(20) and 7, blocked)
        Variable("left", client=first).set(slow)
        del slow
    with Client(cluster) as second:
        assert len(Queue("left", client=second).get(timeout=10).result(10)) == 100_000
        Event("left-go", client=second).set()
        assert Variable("left", client=second).get(timeout=10).result(20) == 7  # it was not begun, perhaps, by then
        Variable("left", client=second).delete()
        Event("left-go", client=second).clear()
    until(lambda: not state_of(cluster).reference_counts and not state_of(cluster).tickets)
    until(lambda: not cluster.server.scheduler.views.layer_count)


def test_a_queue_waits_at_both_ends(cluster: LocalCluster, client: Client) -> None:
    queue = Queue(maxsize=1)
    queue.put(1)
    with pytest.raises(DeadlineExceeded, match=r"put was not possible within 0\.05 s"):
        queue.put(2, timeout=0.05)
    with ThreadPoolExecutor(1) as pool:
        putting = pool.submit(queue.put, 3)
        assert queue.get() == 1
        putting.result(10)
    assert queue.get(batch=True) == [3]
    assert queue.get(batch=True) == []
    with pytest.raises(TimeoutError):
        queue.get(timeout="10 ms")
    with ThreadPoolExecutor(1) as pool:
        getting = pool.submit(queue.get)
        until(lambda: any(primitive.waiters for primitive in state_of(cluster).primitives.values()))
        queue.close()
        with pytest.raises(HowdahError, match="this queue was closed"):
            getting.result(10)


def test_tasks_use_them_too(client: Client) -> None:
    queue, lock, go = Queue(), Lock(), Event()

    def work(n: int) -> int:
        go.wait()
        with lock:
            queue.put(n)
        return n

    futures = client.map(work, range(2))
    assert queue.qsize() == 0
    go.set()
    assert sorted(queue.get(batch=2, timeout=20)) == [0, 1]
    assert client.gather(futures) == [0, 1]
    assert pickle.loads(pickle.dumps(lock)).name == lock.name


def test_a_lock_excludes(client: Client) -> None:
    lock = Lock("one")
    assert not lock.locked()
    assert lock.acquire()
    assert lock.locked()
    other = Lock("one")
    assert not other.acquire(blocking=False)
    assert not other.acquire(timeout=0.02)
    with pytest.raises(InputError, match="not held by this object"):
        other.release()
    with pytest.raises(InputError, match="blocking"):
        other.acquire(blocking=False, timeout=1)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(other.acquire)
        lock.release()
        assert waiting.result(10)
    other.release()
    assert not lock.locked()


def test_a_semaphore_counts(client: Client) -> None:
    semaphore = Semaphore(2, "two")
    with semaphore, semaphore:
        assert semaphore.get_value() == 2
        assert not Semaphore(2, "two").acquire(timeout=0.02)
        with pytest.raises(InputError, match="in use with 2 leases, not 3"):
            Semaphore(3, "two").acquire()
    assert semaphore.get_value() == 0
    with pytest.raises(InputError, match="max_leases: got 0"):
        Semaphore(0)


def test_a_lock_is_free_when_its_client_parts(cluster: LocalCluster, client: Client) -> None:
    other = Client(cluster)
    Lock("parting", client=other).acquire()
    mine = Lock("parting", client=client)
    assert not mine.acquire(blocking=False)
    other.close()
    assert mine.acquire(timeout=10)


def hold(name: str, queue: Queue) -> None:
    Lock(name).acquire()
    queue.put(os.getpid())
    threading.Event().wait(60)


def test_a_lock_is_free_when_the_worker_of_its_task_is_killed(cluster: LocalCluster, client: Client) -> None:
    queue, lock = Queue(), Lock("killed")
    future = client.submit(hold, "killed", queue, pure=False)
    pid = queue.get(timeout=20)
    assert lock.locked()
    future.cancel()
    os.kill(pid, signal.SIGKILL)
    begun = time.monotonic()
    assert lock.acquire(timeout=20)
    assert time.monotonic() - begun < 4  # no lease has to run out for it
    until(lambda: len(cluster.workers()) == 2)


def test_whoever_stops_waiting_takes_the_question_back(cluster: LocalCluster, client: Client) -> None:
    queue = Queue("given up")

    async def give_up() -> None:
        work = asyncio.ensure_future(asyncio.wrap_future(asyncio.run_coroutine_threadsafe(
            queue._request("get"), client.loop_thread.loop)))  # fmt: skip  # noqa: SLF001  # the test looks inside the client
        await asyncio.sleep(0)
        work.cancel()
        await asyncio.wait([work])

    asyncio.run(give_up())
    until(lambda: not any(primitive.waiters for primitive in state_of(cluster).primitives.values()))
    queue.put(5)
    assert queue.get(timeout=5) == 5


def test_nothing_is_left_of_a_client_that_died(cluster: LocalCluster) -> None:
    client = Client(cluster, lease=0.2, set_as_default=False)
    queue, variable = Queue(client=client), Variable(client=client)
    variable.set(client.submit(abs, -1))
    for _ in range(3):
        queue.put(client.submit(abs, -2))
    Semaphore(2, "dead", client=client).acquire()
    wait([client.submit(abs, -1), client.submit(abs, -2)])
    # Its process is gone: the connection ends, and it never says good-bye.
    client.loop_thread.loop.call_soon_threadsafe(lambda: [task.cancel() for task in client.connection._tasks])  # noqa: SLF001  # the test looks inside the client
    until(lambda: not state_of(cluster).primitives and not state_of(cluster).reference_counts)
    until(lambda: not cluster.server.scheduler.views.layer_count)
    client.close()


def test_async_with(client: Client) -> None:
    async def both() -> list[int]:
        found: list[int] = []
        lock = Lock("async")

        async def one(n: int) -> None:
            async with Lock("async"):
                found.append(n)

        async with lock:
            waiting = [asyncio.ensure_future(one(n)) for n in range(3)]
            await asyncio.sleep(0)
            assert not found
        await asyncio.gather(*waiting)
        return found

    assert sorted(asyncio.run(both())) == [0, 1, 2]


def test_an_asynchronous_client_awaits_them(cluster: LocalCluster) -> None:
    async def main() -> None:
        async with Client(cluster, asynchronous=True) as client:
            queue, lock, event = Queue(client=client), Lock("awaited", client=client), Event(client=client)
            getting = asyncio.ensure_future(_get(queue))
            await queue.put([client.submit(pow, 2, 4)])
            [future] = await getting
            assert await future == 16
            with pytest.raises(DeadlineExceeded):
                await queue.get(timeout=0.01)
            assert await lock.acquire()
            assert not await Lock("awaited", client=client).acquire(timeout=0.01)
            await lock.release()
            assert not await lock.locked()
            assert not await event.wait(timeout=0.01)
            await event.set()
            assert await event.is_set()
            await Variable("awaited", client=client).set(5)
            assert await Variable("awaited", client=client).get() == 5
            await Variable("awaited", client=client).delete()

    asyncio.run(main())


async def _get(queue: Queue) -> Any:
    return await queue.get()


def test_a_task_that_waits_gives_its_slot_away(cluster: LocalCluster, client: Client) -> None:
    event = Event(client=client)
    waiting = [client.submit(event.wait, 20, pure=False) for _ in range(4)]  # twice as many as there are slots
    assert client.submit(abs, -1, pure=False).result(20) == 1
    event.set()
    assert client.gather(waiting) == [True] * 4


def test_a_primitive_can_be_awaited() -> None:
    async def main() -> None:
        async with Client(asynchronous=True, n_workers=1) as client:
            for kind in (Queue, Variable, Lock, Event, Semaphore):
                made = kind(name="mine", client=client)
                assert await made is made
            queue = await Queue("other", client=client)
            await queue.put(5)
            assert await queue.get() == 5

    asyncio.run(main())
