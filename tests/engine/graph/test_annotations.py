"""Resources, named workers and `annotate`, on real worker processes and every way to give work."""

from __future__ import annotations

import asyncio
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from waiting import until

import howdah as hd
from howdah.engine.api import Client
from howdah.engine.deploy.local import LocalCluster
from howdah.engine.execution.dispatch import for_cluster
from howdah.engine.graph.annotations import Annotations, active_annotations
from howdah.errors import InputError


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster(2, threads_per_worker=2, resources={"gpu": 1, "licence": 3}) as cluster:
        cluster.wait_for_workers()
        yield cluster


def where(*_: Any) -> str:
    return hd.get_worker().name


def overlap(i: int, folder: str) -> int:
    """How many of these run at once on this worker, at most."""
    mine = Path(folder) / f"{where()}-{i}"
    mine.touch()
    most = 0
    until = time.monotonic() + 0.03
    while time.monotonic() < until:
        most = max(most, len(list(Path(folder).glob(f"{where()}-*"))))
    mine.unlink()
    return most


def test_never_more_run_at_once_than_their_workers_resources_allow(client: Client, tmp_path: Path) -> None:
    with_gpu = client.map(overlap, range(12), folder=str(tmp_path), resources={"gpu": 1}, pure=False)
    assert set(client.gather(with_gpu)) == {1}
    free = client.map(overlap, range(40), folder=str(tmp_path), resources={"licence": 0.5}, pure=False)
    assert max(client.gather(free)) == 2  # the slots are the limit again
    assert client.submit(where, resources={"gpu": 1, "licence": 3}).result(20).startswith("worker-")


def test_no_more_run_at_once_than_a_workers_memory_has_room_for(client: Client, tmp_path: Path) -> None:
    limit = next(iter(client.scheduler_info()["workers"].values()))["memory"]
    with hd.annotate(memory=int(0.6 * limit)):
        large = client.map(overlap, range(12), folder=str(tmp_path), pure=False)
    assert set(client.gather(large)) == {1}
    with hd.annotate(memory=f"{0.4 * limit / (1 << 20):.0f} MiB"):
        lazy = [hd.delayed(overlap)(i, str(tmp_path)) for i in range(40)]
    assert max(hd.compute(*lazy)) == 2
    with hd.annotate(memory=2 * limit):
        too_large = client.submit(where, pure=False)
    with pytest.raises(TimeoutError), pytest.warns(RuntimeWarning, match=r"asks for memory=\d+ MiB, which none"):
        too_large.result(5)
    too_large.cancel()


def test_a_spread_layers_tasks_are_on_all_workers_wherever_their_inputs_lie(client: Client) -> None:
    here = client.map(where, range(40), workers="worker-1", pure=False)
    assert set(client.gather(here)) == {"worker-1"}
    with hd.annotate(spread=True):
        spread = client.gather(client.map(where, here, pure=False))
    assert sorted(map(spread.count, client.nthreads())) == [20, 20]


def test_hosts_of_a_block_are_preferred(client: Client) -> None:
    with hd.annotate(hosts="nowhere"):  # a preference is no condition
        assert len(client.gather(client.map(where, range(20), pure=False))) == 20
    assert hd.get_annotations() == {}


def test_what_a_worker_offers_is_in_scheduler_info(client: Client) -> None:
    offered = [worker["resources"] for worker in client.scheduler_info()["workers"].values()]
    assert offered == [{"gpu": 1.0, "licence": 3.0}] * 2


def test_a_resource_without_a_worker_gives_a_warning_and_the_work_can_be_cancelled(client: Client) -> None:
    said = threading.Event()
    found: list[str] = []

    def note(message: Any, *_: Any, **__: Any) -> None:
        found.append(str(message))
        said.set()

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        shown, warnings.showwarning = warnings.showwarning, note
        try:
            future = client.submit(where, resources={"gpu": 5}, pure=False)
            lost = client.submit(where, workers="worker-99", pure=False)
            assert said.wait(20)
            deadline = time.monotonic() + 20
            while len(found) < 2 and time.monotonic() < deadline:
                threading.Event().wait(0.01)
        finally:
            warnings.showwarning = shown
    text = "\n".join(sorted(found))
    assert "gpu=5, which none of the 2 workers has (they have gpu=1, licence=3)" in text
    assert "may run on worker-99 only, and no such worker is there" in text
    client.cancel([future, lost])
    assert future.cancelled()


def test_workers_restricts_and_allow_other_workers_makes_it_a_preference(client: Client) -> None:
    workers = client.scheduler_info()["workers"]
    for name in workers:
        assert set(client.gather(client.map(where, range(30), workers=name, pure=False))) == {name}
        assert client.submit(where, workers=[workers[name]["address"]], pure=False).result(20) == name
    host = next(iter(workers.values()))["host"]
    assert len(set(client.gather(client.map(where, range(200), workers=host, pure=False)))) >= 1
    prefers = client.submit(where, workers=["worker-99"], allow_other_workers=True, pure=False)
    assert prefers.result(20) in workers


def test_scatter_and_actors_use_the_named_workers(client: Client) -> None:
    for name in client.scheduler_info()["workers"]:
        data = client.scatter([f"{name}-{i}" for i in range(5)], workers=[name])
        hd.wait(data, timeout=20)
        assert set(map(tuple, client.who_has(data).values())) == {(name,)}
        actor = client.submit(Counting, actor=True, workers=name, resources={"gpu": 1})
        assert actor.where().result(20) == name
        del actor


class Counting:
    def where(self) -> str:
        return where()


def test_an_annotation_holds_for_the_calls_that_are_written_in_its_block(client: Client) -> None:
    one, other = sorted(client.scheduler_info()["workers"])
    place = hd.delayed(where)
    with hd.annotate(workers=one):
        here = [place(i) for i in range(5)]
        with hd.annotate(workers=[other], resources={"gpu": 1}):
            there = [place(i) for i in range(5)]
    both = hd.delayed(list)([hd.delayed(list)(here), hd.delayed(list)(there)])
    assert both.compute(scheduler=client) == [[one] * 5, [other] * 5]
    assert hd.delayed(pow)(2, 3).compute(scheduler="inline") == 8


def test_it_holds_for_all_that_is_given_to_a_cluster_in_it(client: Client, tmp_path: Path) -> None:
    import pandas

    one, other = sorted(client.scheduler_info()["workers"])
    bare = [hd.delayed(where)(i) for i in range(4)]
    with hd.annotate(workers=other):
        assert client.submit(where, pure=False).result(20) == other
        assert client.submit(where, pure=False, workers=one).result(20) == one  # what is said nearer counts
        assert set(client.gather(client.map(where, range(9), pure=False))) == {other}
        assert set(hd.compute(*bare, scheduler=client)) == {other}
        assert set(client.gather(client.compute(bare))) == {other}
        kept = client.persist(bare)
        frame = hd.from_pandas(pandas.DataFrame({"x": [1, 2]}), npartitions=2)
        placed = frame.map_partitions(_place, meta=pandas.DataFrame({"x": [1], "w": ["worker"]}))
        assert set(placed.compute()["w"]) == {other}
    assert set(client.gather(client.compute(kept))) == {other}
    bare = [hd.delayed(where)(i) for i in range(4)]
    assert set(client.gather(client.compute(bare, workers=[one]))) == {one}
    assert set(hd.compute(*bare, scheduler=client, workers=one)) == {one}
    assert client.compute(bare[0], resources={"gpu": 1}, sync=True) in (one, other)


def _place(part: Any) -> Any:
    return part.assign(w=where())


def fails_first(path: str, times: int) -> int:
    with open(path, "a") as file:
        file.write("x")
    runs = len(Path(path).read_text())
    if runs <= times:
        raise ValueError(runs)
    return runs


def test_retries_can_be_annotated(client: Client, tmp_path: Path) -> None:
    with hd.annotate(retries=2):
        assert client.submit(fails_first, str(tmp_path / "a"), 2).result(20) == 3
        lazy = hd.delayed(fails_first)(str(tmp_path / "b"), 2)
    assert lazy.compute(scheduler=client) == 3
    assert hd.compute(hd.delayed(fails_first)(str(tmp_path / "c"), 1), scheduler=client, retries=1) == (2,)


def test_priority_can_be_annotated(tmp_path: Path) -> None:
    gate, begun = tmp_path / "gate", tmp_path / "begun"
    with LocalCluster(1, threads_per_worker=1) as cluster, Client(cluster) as client:  # of two slots one may be slow
        blocker = client.submit(wait_for_file, str(gate), str(begun))
        until(begun.exists)
        with hd.annotate(priority=-5):
            low = [hd.delayed(stamp)(i) for i in range(12)]
        with hd.annotate(priority=5):
            high = [hd.delayed(stamp)(i) for i in range(12)]
        futures = client.compute([*low, *high])
        gate.touch()
        times = client.gather(futures)
        blocker.result(20)
    assert max(times[12:]) < min(times[:12])


def wait_for_file(path: str, begun: str) -> None:
    Path(begun).touch()
    while not Path(path).exists():
        threading.Event().wait(0.01)


def stamp(i: int) -> float:
    at = time.time()
    threading.Event().wait(0.01)
    return at


def test_layers_with_other_annotations_are_not_fused_into_one() -> None:
    with hd.annotate(resources={"gpu": 1}):
        first = [hd.delayed(abs, pure=True)(-i) for i in range(3)]
    then = [hd.delayed(str, pure=True)(x) for x in first]
    from howdah.engine.delayed.lowering import lower

    graph, places = lower(then)
    wanted = [graph.full_range(places[0][0])]
    assert len(for_cluster(None, graph, wanted).layers) == 2  # type: ignore[arg-type]
    with hd.annotate(resources={"gpu": 1}):
        assert [layer.annotations for layer in for_cluster(None, graph, wanted).layers.values()] == [  # type: ignore[arg-type]
            (("resources", (("gpu", 1.0),)),)
        ]


def test_blocks_nest_and_end_with_an_exception_too() -> None:
    with hd.annotate(priority=1, retries=3):
        with pytest.raises(ZeroDivisionError), hd.annotate(priority=2):
            1 / (0 if hd.get_annotations() == {"priority": 2, "retries": 3} else 1)
        assert active_annotations() == Annotations(priority=1, retries=3)
    assert hd.get_annotations() == {}
    seen: list[Any] = []
    with hd.annotate(priority=1):
        thread = threading.Thread(target=lambda: seen.append(active_annotations()))
        thread.start()
        thread.join()
    assert seen == [None]  # it is the block's thread that it holds for


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"prioritee": 1}, r"unknown annotation 'prioritee'; did you mean 'priority'"),
        ({"retries": -1}, "retries: got -1"),
        ({"priority": "high"}, "priority: got 'high'"),
        ({"resources": {"gpu": 0}}, r"resources\['gpu'\]: got 0"),
        ({"resources": "gpu"}, "resources: got 'gpu'"),
        ({"workers": []}, "workers: got"),
        ({"workers": [1]}, "workers: got"),
        ({"allow_other_workers": "no"}, "allow_other_workers: got 'no'"),
        ({"spread": 1}, "spread: got 1"),
        ({"hosts": []}, "hosts: got"),
        ({"memory": "2 monkeys"}, "memory: got '2 monkeys': write bytes, or a number with a unit"),
        ({"memory": 0}, "memory: got 0"),
    ],
)
def test_wrong_annotations_are_refused_where_they_are_written(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says), hd.annotate(**wrong):
        pass


def test_in_coroutines_each_has_its_own(cluster: LocalCluster) -> None:
    asyncio.run(_in_coroutines(cluster))


async def _in_coroutines(cluster: LocalCluster) -> None:
    async with Client(cluster, asynchronous=True) as client:
        names = sorted((await client.scheduler_info())["workers"])

        async def one(name: str) -> str:
            with hd.annotate(workers=name):
                await asyncio.sleep(0)
                return str(await client.submit(where, pure=False))

        assert await asyncio.gather(*map(one, names)) == names
