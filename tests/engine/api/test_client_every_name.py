"""Every name of the task interface, synchronous and awaited, over Unix sockets and over TLS: one table of scenarios.

A scenario is written once, as a coroutine that waits by ``await now(...)``. For the synchronous client `now` gives back
what it gets, and the coroutine is driven with no event loop anywhere; for the asynchronous one it awaits.
"""

from __future__ import annotations

import asyncio
import io
import os
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

import howdah as hd
from howdah.engine.api import Client
from howdah.engine.deploy.local import LocalCluster
from howdah.errors import Cancelled, DeadlineExceeded, InputError

Now = Callable[[Any], Awaitable[Any]]
Scenario = Callable[[Client, Now, Path], Coroutine[Any, Any, None]]
SCENARIOS: dict[str, Scenario] = {}


def shows(*names: str) -> Callable[[Scenario], Scenario]:
    """The scenario is that of these names."""

    def kept(scenario: Scenario) -> Scenario:
        SCENARIOS.update(dict.fromkeys(names, scenario))
        return scenario

    return kept


def inc(x: int) -> int:
    return x + 1


def fails_once(path: str) -> str:
    if os.path.exists(path):
        return "again"
    Path(path).touch()
    raise OSError("the first time")


def wait_for(path: str) -> str:
    pause = threading.Event()
    while not os.path.exists(path):
        pause.wait(0.005)
    return path


class Counter:
    n = 0

    def add(self, by: int) -> int:
        self.n += by
        return self.n


# -- the scenarios ----------------------------------------------------------------------------------------------------


@shows("submit", "Future")
async def _submit(client: Client, now: Now, folder: Path) -> None:
    future = client.submit(inc, client.submit(inc, 1), pure=False)
    assert await now(future.result()) == 3
    assert (future.status, future.done(), future.cancelled()) == ("finished", True, False)
    assert await now(future.exception()) is None
    assert await now(future.traceback()) is None
    told = threading.Event()
    future.add_done_callback(lambda done: told.set())
    assert told.wait(20)
    bad = client.submit(fails_once, str(folder / "future"))
    assert "the first time" in str(await now(bad.exception()))
    await now(bad.retry())
    assert await now(bad.result(timeout=20)) == "again"
    future.release()


@shows("map", "gather")
async def _map(client: Client, now: Now, folder: Path) -> None:
    futures = client.map(inc, range(50), pure=False)
    assert await now(client.gather(futures)) == list(range(1, 51))
    assert await now(client.gather({"nest": [futures[0], (futures[1],)]})) == {"nest": [1, (2,)]}
    bad = client.map(fails_once, [str(folder / "map")])
    assert await now(client.gather([*bad, futures[0]], errors="skip")) == [1]
    batches = client.map(inc, iter(range(10)), batch_size=4)
    assert await now(client.gather(batches)) == list(range(1, 11))


@shows("scatter")
async def _scatter(client: Client, now: Now, folder: Path) -> None:
    data = await now(client.scatter({"a": [1, 2], "b": "x"}))
    assert await now(client.submit(sum, data["a"]).result()) == 3
    everywhere = await now(client.scatter("everywhere", broadcast=True, hash=False))
    assert len((await now(client.who_has(everywhere)))[everywhere.key]) == 2


@shows("compute", "persist", "delayed")
async def _compute(client: Client, now: Now, folder: Path) -> None:
    lazy = hd.delayed(inc)(hd.delayed(inc)(1))
    assert await now(client.compute(lazy).result()) == 3
    assert await now(client.compute([lazy, lazy + 1], sync=True)) == [3, 4]
    kept = client.persist(lazy)
    assert await now(client.compute(kept + 1).result()) == 4


@shows("get")
async def _get(client: Client, now: Now, folder: Path) -> None:
    assert await now(client.get({"x": 1, "y": (inc, "x")}, ["y", "x"])) == [2, 1]


@shows("cancel")
async def _cancel(client: Client, now: Now, folder: Path) -> None:
    gate = str(folder / "gate")
    blockers = client.map(wait_for, [gate] * 8, pure=False)
    late = client.submit(inc, 1, pure=False)
    await now(client.cancel([late]))
    with pytest.raises(Cancelled):
        await now(late.result(timeout=20))
    other = client.submit(inc, 2, pure=False)
    await now(other.cancel())
    assert other.cancelled()
    Path(gate).touch()
    await now(client.gather(blockers))


@shows("retry")
async def _retry(client: Client, now: Now, folder: Path) -> None:
    bad = client.submit(fails_once, str(folder / "retry"))
    above = client.submit(str.upper, bad)
    assert isinstance(await now(above.exception()), OSError)
    await now(client.retry([above]))
    assert await now(above.result(timeout=20)) == "AGAIN"


@shows("run", "nthreads", "scheduler_info")
async def _run(client: Client, now: Now, folder: Path) -> None:
    workers = (await now(client.scheduler_info()))["workers"]
    assert await now(client.run(os.getpid)) == {name: worker["pid"] for name, worker in workers.items()}
    assert await now(client.nthreads()) == dict.fromkeys(workers, 1)
    one = sorted(workers)[0]
    assert list(await now(client.run(inc, 1, workers=[one]))) == [one]
    with pytest.raises(ZeroDivisionError):
        await now(client.run(divmod, 1, 0))
    assert len(await now(client.run(divmod, 1, 0, on_error="return"))) == 2


@shows("replicate", "rebalance", "who_has", "has_what")
async def _copies(client: Client, now: Now, folder: Path) -> None:
    one, other = sorted(await now(client.nthreads()))
    data = client.map(inc, range(6), pure=False, workers=[one])
    assert await now(client.gather(data)) == [1, 2, 3, 4, 5, 6]
    await now(client.rebalance(data))
    held = list((await now(client.who_has(data))).values())
    assert (held.count([one]), held.count([other])) == (3, 3)
    await now(client.replicate(data))
    assert all(sorted(workers) == [one, other] for workers in (await now(client.who_has(data))).values())
    found = await now(client.has_what())
    assert all(future.key in found[worker] for future in data for worker in (one, other))


@shows("publish_dataset", "list_datasets", "get_dataset", "unpublish_dataset")
async def _datasets(client: Client, now: Now, folder: Path) -> None:
    futures = client.map(inc, range(3), pure=False)
    await now(client.publish_dataset(numbers=futures, plain={"a": 1}))
    del futures
    assert await now(client.list_datasets()) == ("numbers", "plain")
    assert await now(client.gather(await now(client.get_dataset("numbers")))) == [1, 2, 3]
    assert await now(client.get_dataset("plain")) == {"a": 1}
    for name in ("numbers", "plain"):
        await now(client.unpublish_dataset(name))
    with pytest.raises(InputError, match="no dataset 'plain'"):
        await now(client.get_dataset("plain"))


@shows("upload_file", "restart", "wait_for_workers")
async def _restart(client: Client, now: Now, folder: Path) -> None:
    name = f"uploaded_{folder.parent.name}".replace("-", "_")
    module = folder / f"{name}.py"
    module.write_text("def word():\n    return 'uploaded'\n")

    def word() -> str:
        import importlib

        return str(importlib.import_module(name).word())

    assert len(await now(client.upload_file(module))) == 2
    assert await now(client.submit(word, pure=False).result()) == "uploaded"
    started = await now(client.run(_start_of_process))
    await now(client.restart(timeout=60))
    await now(client.wait_for_workers(2, timeout=30))
    again = await now(client.run(_start_of_process))
    assert sorted(again) == sorted(started)
    assert all(again[worker] > started[worker] for worker in again)
    assert set(await now(client.gather(client.map(lambda _: word(), range(6), pure=False)))) == {"uploaded"}
    with pytest.raises(DeadlineExceeded, match="2 of 99 workers"):
        await now(client.wait_for_workers(99, timeout=0.01))


def _start_of_process() -> float:
    from howdah.engine.worker import task_logs as logs

    return logs.STARTED


@shows("get_versions")
async def _versions(client: Client, now: Now, folder: Path) -> None:
    found = await now(client.get_versions(check=True))
    assert found["client"]["howdah"] == found["scheduler"]["howdah"] == hd.__version__
    assert all(mine["python"] == found["client"]["python"] for mine in found["workers"].values())
    assert len(found["workers"]) == 2


@shows("get_executor")
async def _executor(client: Client, now: Now, folder: Path) -> None:
    with client.get_executor() as executor:
        future = executor.submit(inc, 1)
        assert await now(asyncio.wrap_future(future) if client.asynchronous else future.result(20)) == 2


@shows("as_completed")
async def _as_completed(client: Client, now: Now, folder: Path) -> None:
    futures = client.map(inc, range(10), pure=False)
    seen = []
    if client.asynchronous:
        async for future in hd.as_completed(futures):
            seen.append(await future)
    else:
        seen = [future.result() for future in hd.as_completed(futures)]
    assert sorted(seen) == list(range(1, 11))


@shows("wait")
async def _wait(client: Client, now: Now, folder: Path) -> None:
    gate = str(folder / "wait")
    slow, quick = client.submit(wait_for, gate), client.submit(inc, 1)
    done, not_done = await now(hd.wait([slow, quick], return_when="FIRST_COMPLETED"))
    assert (done, not_done) == ({quick}, {slow})
    with pytest.raises(DeadlineExceeded):
        await now(hd.wait([slow], timeout=0.01))
    Path(gate).touch()
    assert (await now(hd.wait([slow, quick], timeout=20))).done == {slow, quick}


@shows("fire_and_forget")
async def _forget(client: Client, now: Now, folder: Path) -> None:
    hd.fire_and_forget(client.submit(Path.touch, folder / "forgotten"))
    deadline = time.monotonic() + 20
    while not (folder / "forgotten").exists():
        assert time.monotonic() < deadline
        await now(client.scheduler_info())


@shows("progress")
async def _progress(client: Client, now: Now, folder: Path) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    file = Terminal()
    futures = client.map(inc, range(20), pure=False)
    await now(client.gather(futures))
    hd.progress(futures, file=file)
    assert "100%  20/20" in file.getvalue()
    assert isinstance(await now(client.summary()), dict)


@shows("story", "summary")
async def _story(client: Client, now: Now, folder: Path) -> None:
    future = client.submit(inc, 1, pure=False)
    await now(future.result())
    assert (await now(client.story(future)))[-1]["new"] == "done"
    assert (await now(client.summary()))["tasks"] >= 1


@shows("get_worker_logs", "logs_of")
async def _logs(client: Client, now: Now, folder: Path) -> None:
    future = client.submit(print, "hello", pure=False)
    await now(future.result())
    assert [line["text"] for line in await now(client.logs_of(future))] == ["hello"]
    assert any("hello" in text for lines in (await now(client.get_worker_logs())).values() for _, text in lines)


@shows("Queue", "Variable")
async def _values(client: Client, now: Now, folder: Path) -> None:
    queue, variable = hd.Queue(client=client), hd.Variable(client=client)
    await now(queue.put({"result": client.submit(inc, 1)}))
    assert await now(queue.qsize()) == 1
    assert await now((await now(queue.get(timeout=20)))["result"].result()) == 2
    await now(variable.set(5))
    assert await now(variable.get(timeout=20)) == 5
    with pytest.raises(TimeoutError):
        await now(queue.get(timeout=0.01))


@shows("Lock", "Semaphore", "Event")
async def _locks(client: Client, now: Now, folder: Path) -> None:
    lock, other = hd.Lock(f"lock {folder}", client=client), hd.Lock(f"lock {folder}", client=client)
    assert await now(lock.acquire()) is True
    assert await now(other.acquire(timeout=0.01)) is False
    await now(lock.release())
    async with other if client.asynchronous else _entered(other):
        assert await now(lock.acquire(timeout=0.01)) is False
    two = hd.Semaphore(2, client=client)
    assert [await now(two.acquire(timeout=0.01)) for _ in range(3)] == [True, True, False]
    event = hd.Event(client=client)
    waiting = client.submit(event.wait, 20)
    await now(event.set())
    assert await now(event.is_set()) is True
    assert await now(waiting.result()) is True


class _entered:  # `with` in a coroutine that no loop drives
    def __init__(self, lock: Any) -> None:
        self._lock = lock

    async def __aenter__(self) -> None:
        self._lock.__enter__()

    async def __aexit__(self, *exc: object) -> None:
        self._lock.__exit__(*exc)


@shows("actors")
async def _actors(client: Client, now: Now, folder: Path) -> None:
    counter = client.submit(Counter, actor=True)
    for n in (1, 3):
        future = counter.add(1 if n == 1 else 2)
        assert await now(future if client.asynchronous else future.result(20)) == n
    assert await now(client.submit(lambda actor: actor.add(5).result(), counter).result()) == 8


@shows("get_client", "worker_client", "get_worker", "secede", "rejoin")
async def _nested(client: Client, now: Now, folder: Path) -> None:
    def outer(n: int) -> tuple[int, str]:
        inner = hd.get_client()
        first = sum(inner.gather(inner.map(inc, range(n))))
        with hd.worker_client() as mine:
            second = mine.submit(inc, first).result()
        hd.secede()
        hd.rejoin()
        return second, hd.get_worker().name

    found = await now(client.gather(client.map(outer, [2, 3, 4], pure=False)))
    assert [value for value, _ in found] == [4, 7, 11]
    assert {name for _, name in found} <= set(await now(client.nthreads()))


@shows("annotate")
async def _annotate(client: Client, now: Now, folder: Path) -> None:
    for name in sorted(await now(client.nthreads())):
        with hd.annotate(workers=name):
            future = client.submit(lambda: hd.get_worker().name, pure=False)
        assert await now(future.result()) == name


# -- played four times ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["unix", "tls"])
def connect(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Any]]:
    if request.param == "unix":
        with LocalCluster(2) as cluster:
            cluster.wait_for_workers()
            yield lambda **options: Client(cluster, **options)
        return
    from tests.engine.comm.test_secure_cluster import Application  # not in workers, which import this file, too

    app = Application(tmp_path_factory.mktemp("tls"))
    try:
        app.worker("w1")
        app.worker("w2")
        with app.client() as client:
            client.wait_for_workers(2, timeout=60)
        yield app.client
    finally:
        app.end()


async def _given(value: Any) -> Any:
    return value


async def _awaited(value: Any) -> Any:
    return await value


@pytest.mark.parametrize("scenario", dict.fromkeys(SCENARIOS.values()), ids=lambda scenario: scenario.__name__[1:])
@pytest.mark.parametrize("kind", ["synchronous", "asyncio"])
def test_it_is_there_and_works(connect: Callable[..., Any], kind: str, scenario: Scenario, tmp_path: Path) -> None:
    if kind == "synchronous":
        with connect() as client:
            playing = scenario(client, _given, tmp_path)
            with pytest.raises(StopIteration):
                playing.send(None)
        return

    async def main() -> None:
        async with connect(asynchronous=True) as client:
            await scenario(client, _awaited, tmp_path)

    asyncio.run(main())


def test_no_name_is_left_out() -> None:
    """The names of the interface, those of the client's public methods, and the face's."""
    asked = [
        "submit",
        "map",
        "gather",
        "scatter",
        "compute",
        "persist",
        "cancel",
        "retry",
        "run",
        "replicate",
        "rebalance",
        "publish_dataset",
        "list_datasets",
        "get_dataset",
        "unpublish_dataset",
        "who_has",
        "has_what",
        "scheduler_info",
        "upload_file",
        "wait_for_workers",
        "get_versions",
        "restart",
        "get_executor",
        "Future",
        "as_completed",
        "wait",
        "fire_and_forget",
        "delayed",
        "progress",
        "Queue",
        "Variable",
        "Lock",
        "Event",
        "Semaphore",
        "actors",
    ]
    assert set(asked) <= set(SCENARIOS)
    elsewhere = {  # test_client_async, test_client_names, the graph's side and the application's
        "as_current", "close", "asynchronous", "compute_graph", "persist_graph", "started_futures", "add_cleanup",
        "drop_cleanup", "gathered", "call_back", "when_lost", "closed",  # the last three: of the port `ClusterClient`
    }  # fmt: skip
    public = {name for name in dir(Client) if not name.startswith("_")}
    assert public - set(SCENARIOS) - elsewhere == set()
    names = {name for name in hd.__all__ if name[0].islower()}
    assert names - set(SCENARIOS) == {
        "account",
        "from_pandas",
        "get_annotations",
        "read_parquet",
        "read_table",
        "visualize",
    }
