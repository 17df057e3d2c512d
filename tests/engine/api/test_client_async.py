"""The client in coroutines: the same names, awaited."""

import asyncio
import itertools
import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from howdah.engine.api import Client, Future, as_completed, wait
from howdah.engine.coordination import Queue, Variable
from howdah.engine.delayed.delayed import delayed
from howdah.engine.deploy.local import LocalCluster
from howdah.errors import Cancelled, DeadlineExceeded, HowdahError, InputError


def inc(x: int) -> int:
    return x + 1


def held_until(path: str) -> str:
    import threading

    pause = threading.Event()
    while not os.path.exists(path):
        pause.wait(0.005)
    return path


def fail(x: int) -> int:
    raise ValueError(f"no {x}")


def test_work_and_results(cluster: LocalCluster) -> None:
    async def main() -> None:
        async with Client(cluster, asynchronous=True) as client:
            assert client.asynchronous
            assert await client.submit(inc, 1) == 2
            future = client.submit(inc, 2)
            assert (await future, await future.result(), await future.result(timeout=5)) == (3, 3, 3)
            futures = client.map(inc, range(1000))
            assert await client.gather(futures) == list(range(1, 1001))
            assert await client.gather({"a": [futures[0]], "b": 5}) == {"a": [1], "b": 5}
            assert await asyncio.gather(*futures) == list(range(1, 1001))
            block = client.submit(np.arange, 1_000_000)
            assert len(await block) == 1_000_000
            bad = client.submit(fail, 1)
            with pytest.raises(ValueError, match="no 1"):
                await bad
            assert isinstance(await bad.exception(), ValueError)
            assert await bad.traceback() is not None
            assert await client.gather([bad, future], errors="skip") == [3]
            assert "Client" in repr(client)
        with pytest.raises(HowdahError, match="closed"):
            await client.submit(inc, 99)

    asyncio.run(main())


def test_the_loop_is_never_held_up(cluster: LocalCluster, tmp_path: Path) -> None:
    async def main() -> None:
        async with Client(cluster, asynchronous=True) as client:
            gate = tmp_path / "gate"
            late = client.submit(held_until, str(gate))
            with pytest.raises(DeadlineExceeded, match=r"not done after 0\.01 s"):
                await late.result(timeout=0.01)
            waiting = asyncio.ensure_future(client.gather([late]))
            began = time.perf_counter()
            for _ in range(20):
                await asyncio.sleep(0)
            assert time.perf_counter() - began < 1.0
            assert not waiting.done()
            done, not_done = await wait([late, client.submit(inc, 5)], return_when="FIRST_COMPLETED")
            assert (len(done), not_done) == (1, {late})
            gate.touch()
            assert await waiting == [str(gate)]
            assert (await wait([late])).done == {late}

    asyncio.run(main())


def test_what_a_wait_says_is_the_timeout_that_was_given(
    cluster: LocalCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call may wait several times, each for what is left: once it said "not done after 0.00999 s"."""
    from howdah.engine.client import waiting as waits

    gate = tmp_path / "gate"

    def late(client: Client) -> Any:
        times = itertools.count(step=0.04)
        monkeypatch.setattr(waits, "time", SimpleNamespace(monotonic=lambda: next(times)))  # a slow machine's
        return client.submit(held_until, str(gate)).result(timeout=0.1)

    async def main() -> None:
        async with Client(cluster, asynchronous=True) as client:
            with pytest.raises(DeadlineExceeded, match=r"not done after 0\.1 s"):
                await late(client)

    with Client(cluster) as client, pytest.raises(DeadlineExceeded, match=r"not done after 0\.1 s"):
        late(client)
    monkeypatch.undo()
    asyncio.run(main())
    gate.touch()


def test_as_completed(cluster: LocalCluster, tmp_path: Path) -> None:
    async def main() -> None:
        async with Client(cluster, asynchronous=True) as client:
            gate = tmp_path / "gate"
            running = as_completed([client.submit(held_until, str(gate)), *client.map(inc, range(20))])
            seen: list[Any] = []
            async for future in running:
                seen.append(await future)
                if len(seen) == 20:
                    running.add(client.submit(inc, 100))
                elif len(seen) == 21:
                    gate.touch()
            assert sorted(seen[:20]) == list(range(1, 21))
            assert seen[20:] == [101, str(gate)]
            pairs = [pair async for pair in as_completed(client.map(inc, range(5)), with_results=True)]
            assert sorted(value for _, value in pairs) == [1, 2, 3, 4, 5]
            with pytest.raises(DeadlineExceeded):
                async for _ in as_completed([client.submit(held_until, str(tmp_path / "later"))], timeout=0.05):
                    pass
            (tmp_path / "later").touch()

    asyncio.run(main())


def test_all_the_other_names(cluster: LocalCluster, tmp_path: Path) -> None:
    async def main() -> None:
        client = await Client(cluster, asynchronous=True)
        try:
            await client.wait_for_workers(2)
            workers = set(await client.nthreads())
            assert set((await client.scheduler_info())["workers"]) == workers
            assert set(await client.run(os.getpid)) == workers
            assert len((await client.get_versions(check=True))["workers"]) == 2
            data = await client.scatter([1, 2], broadcast=True)
            assert all(isinstance(future, Future) for future in data)
            assert set((await client.who_has(data))[data[0].key]) == workers
            assert set(await client.has_what()) == workers
            await client.rebalance()
            await client.replicate(data)
            await client.publish_dataset(pair=data)
            assert await client.list_datasets() == ("pair",)
            assert await client.gather(await client.get_dataset("pair")) == [1, 2]
            await client.unpublish_dataset("pair")
            path = tmp_path / "uploaded_async.py"
            path.write_text("X = 1\n")
            assert len(await client.upload_file(path)) == 2
            assert await client.compute(delayed(inc)(1)) == 2
            assert await client.compute(client.persist(delayed(inc)(1))) == 2
            bad = client.submit(fail, 3)
            await wait([bad])
            await bad.retry()
            assert isinstance(await bad.exception(), ValueError)
            gate = tmp_path / "gate"
            blockers = client.map(lambda i, gate: held_until(gate), range(4), gate=str(gate))
            late = client.submit(inc, 7777)
            await client.cancel(late)
            with pytest.raises(Cancelled):
                await late
            gate.touch()
            await client.gather(blockers)
            assert (await client.summary())["tasks"] > 0
            queue, variable = Queue(client=client), Variable(client=client)
            await queue.put(data[0])
            assert await (await queue.get()) == 1
            await variable.set(5)
            assert await variable.get() == 5
        finally:
            await client.close()
        assert "closed" in repr(client)

    asyncio.run(main())


def test_many_waits_at_once(cluster: LocalCluster) -> None:
    async def main() -> float:
        async with Client(cluster, asynchronous=True) as client:
            began = time.perf_counter()
            futures = client.map(inc, range(10_000), pure=False)
            assert sum(await asyncio.gather(*futures)) == sum(range(1, 10_001))
            return time.perf_counter() - began

    assert asyncio.run(main()) < 10


def test_awaiting_with_a_client_of_the_other_kind(cluster: LocalCluster) -> None:
    with Client(cluster) as client:

        async def main() -> int:
            return int(await client.submit(inc, 1))

        assert asyncio.run(main()) == 2
    asynchronous = Client(cluster, asynchronous=True)
    assert "not connected" in repr(asynchronous)
    with asynchronous as client:  # where no loop runs it is as any other
        assert client.submit(inc, 3).result(20) == 4
        assert client.gather(client.map(inc, [1])) == [2]

    async def entered() -> None:
        with pytest.raises(InputError, match="async with"):
            with Client(cluster, asynchronous=True):
                pass

    asyncio.run(entered())


def test_coroutines_as_tasks_wait_for_tasks(cluster: LocalCluster) -> None:
    async def total(n: int) -> int:
        from howdah.engine.api import get_client

        futures = get_client().map(inc, range(n))
        return sum([await future for future in futures])

    with Client(cluster) as client:
        assert client.gather(client.map(total, [2, 3, 4, 5])) == [3, 6, 10, 15]


def test_a_client_with_a_cluster_of_its_own() -> None:
    async def main() -> None:
        async with Client(asynchronous=True, n_workers=1) as client:
            assert await client.submit(inc, 1) == 2
        with pytest.raises(HowdahError, match="closed"):
            client.cluster.scale(2)

    asyncio.run(main())
