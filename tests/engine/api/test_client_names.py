"""Every name of `Client` beyond giving work and waiting, on a real cluster."""

import io
import operator
import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from waiting import until

import howdah
from howdah.engine.api import (
    Client,
    Future,
    ProgressBar,
    as_completed,
    fire_and_forget,
    get_client,
    get_worker,
    progress,
    rejoin,
    secede,
    wait,
    worker_client,
)
from howdah.engine.delayed.delayed import delayed
from howdah.engine.deploy.local import LocalCluster
from howdah.errors import Cancelled, HowdahError, InputError, PathExists, Unpicklable


def inc(x: int) -> int:
    return x + 1


def count_runs(path: str, fail_until: int = 0) -> int:
    with open(path, "a") as file:
        file.write("x")
    with open(path) as file:
        runs = len(file.read())
    if runs <= fail_until:
        raise OSError(f"run {runs}")
    return runs


# -- options of submit and map ----------------------------------------------------------------------------------------


def test_keys_are_the_users(client: Client) -> None:
    x = client.submit(inc, 1, key="first")
    assert (x.key, x.result(20)) == ("first", 2)
    assert client.submit(inc, 1, key="first").result(20) == 2
    with pytest.raises(InputError, match="'first' is the key of 'inc' with other arguments"):
        client.submit(inc, 2, key="first")
    assert [f.key for f in client.map(inc, range(3), key="part")] == ["part-0", "part-1", "part-2"]
    assert [f.key for f in client.map(inc, range(2), key=["a", "b"])] == ["a", "b"]
    with pytest.raises(InputError, match="1 keys"):
        client.map(inc, range(2), key=["a"])
    with pytest.raises(InputError, match="twice"):
        client.map(inc, range(2), key=["a", "a"])


def test_batches_are_one_list(client: Client) -> None:
    assert client.gather(client.map(operator.add, range(25), range(25), batch_size=10)) == list(range(0, 50, 2))
    assert [f.key for f in client.map(inc, range(5), key="k", batch_size=2)] == [f"k-{i}" for i in range(5)]


def test_retries_and_priorities(client: Client, tmp_path: Path) -> None:
    assert client.submit(count_runs, str(tmp_path / "a"), 2, retries=2).result(20) == 3
    assert client.submit(inc, 1, priority=10, retries=None).result(20) == 2
    gate = tmp_path / "gate"

    def block(i: int) -> int:
        pause = threading.Event()
        while not gate.exists():
            pause.wait(0.01)
        return i

    order: list[str] = []
    one = sorted(client.nthreads())[0]  # two workers would run both at once
    blockers = client.map(block, range(4), pure=False, workers=one)
    low = client.submit(str, "low", priority=-1, pure=False, workers=one)
    high = client.submit(str, "high", priority=5, pure=False, workers=one)
    for future in (low, high):
        future.add_done_callback(lambda f: order.append(f.result()))
    gate.touch()
    client.gather(blockers)
    until(lambda: len(order) == 2)
    assert order == ["high", "low"]


def test_wrong_keywords_are_named(client: Client) -> None:
    with pytest.raises(InputError, match=r"unknown keyword 'retrys'.*did you mean 'retries'"):
        client.submit(inc, 1, retrys=3)
    with pytest.raises(InputError, match="unknown keyword 'y'"):
        client.map(inc, [1], y=3)
    with pytest.raises(InputError, match="retries: got -1"):
        client.submit(inc, 1, retries=-1)
    with pytest.raises(InputError, match="priority: got 'high'"):
        client.submit(inc, 1, priority="high")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="fn: got 5"):
        client.submit(5)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="unknown option 'n_wokers'; did you mean 'n_workers'"):
        Client(n_wokers=2)
    assert client.submit(dict, anything=1).result(20) == {"anything": 1}


def test_a_million_arguments(client: Client) -> None:
    began = time.perf_counter()
    assert client.submit(sum, list(range(1_000_000))).result(30) == 499_999_500_000
    assert client.submit(max, *range(100_000)).result(30) == 99_999
    futures = client.map(inc, range(20_000))
    assert client.submit(sum, futures).result(30) == sum(range(1, 20_001))
    assert time.perf_counter() - began < 10


def test_what_cannot_travel_is_named(client: Client) -> None:
    with pytest.raises(Unpicklable, match=r"\['here'\]\[1\] \(a lock\)"):
        client.submit(len, {"here": [1, threading.Lock()]})
    lock = threading.Lock()
    with pytest.raises(Unpicklable, match="closure variable lock"):
        client.submit(lambda: lock)
    with pytest.raises(Unpicklable, match=r"result cannot travel.*lock"):
        client.submit(lambda: [threading.Lock()]).result(20)


# -- futures ----------------------------------------------------------------------------------------------------------


def test_failed_tasks_are_tried_again(client: Client, tmp_path: Path) -> None:
    base = client.submit(count_runs, str(tmp_path / "a"), 1)
    above = client.submit(inc, base)
    with pytest.raises(OSError, match="run 1"):
        above.result(20)
    above.retry()
    assert above.result(20) == 3
    assert base.result(20) == 2
    alone = client.submit(count_runs, str(tmp_path / "b"), 1)
    wait([alone], timeout=20)
    client.retry([alone, base])
    assert alone.result(20) == 2


def test_futures_tell_of_themselves(client: Client) -> None:
    def fail() -> None:
        raise ValueError("no")

    failed = client.submit(fail)
    import traceback

    assert "fail" in [entry.name for entry in traceback.extract_tb(failed.traceback(20))]
    assert client.submit(inc, 1).traceback(20) is None
    x = client.submit(inc, 41, pure=False)
    x.result(20)
    x.release()
    x.release()
    until(lambda: client.who_has(x)[x.key] == [])


def test_as_completed_in_all_ways(client: Client) -> None:
    running = as_completed(client.map(inc, range(10)))
    batches = list(running.batches())
    assert sorted(f.result() for batch in batches for f in batch) == list(range(1, 11))
    assert running.is_empty()
    assert running.next_batch(block=False) == []
    running.add(client.submit(inc, 1))
    until(running.has_ready)
    assert len(running.next_batch()) == 1

    def fail(x: int) -> int:
        raise ValueError(x)

    ((_, error),) = as_completed([client.submit(fail, 1)], with_results=True, raise_errors=False)
    assert isinstance(error, ValueError)
    running.update(client.map(inc, range(3)))
    running.clear()
    assert running.count() == 0


def test_fire_and_forget(cluster: LocalCluster, tmp_path: Path) -> None:
    with Client(cluster) as client:
        fire_and_forget(client.map(lambda i: (tmp_path / str(i)).touch(), range(5)))
    until(lambda: len(list(tmp_path.iterdir())) == 5)
    with pytest.raises(InputError, match="give a future"):
        fire_and_forget(5)


# -- where results are ------------------------------------------------------------------------------------------------


def test_copies(client: Client) -> None:
    workers = set(client.nthreads())
    assert client.nthreads() == dict.fromkeys(workers, 1)
    x = client.submit(np.arange, 1000, pure=False)
    wait([x])
    assert len(client.who_has(x)[x.key]) == 1
    client.replicate(x)
    assert set(client.who_has(x)[x.key]) == workers
    held = client.has_what()
    assert all(x.key in keys for keys in held.values())
    with pytest.raises(InputError, match="n: got 0"):
        client.replicate(x, n=0)
    task_range = x.task_range
    del x
    until(lambda: not any(task_range.layer.hex() in key for keys in client.has_what().values() for key in keys))


def test_scatter_in_all_ways(client: Client) -> None:
    x = client.scatter(np.arange(10), broadcast=True)
    assert len(client.who_has(x)[x.key]) == 2
    assert client.scatter(5).key == client.scatter(5).key
    assert client.scatter(5, hash=False).key != client.scatter(5, hash=False).key
    assert client.gather(client.scatter({"a": 1, "b": 2})) == {"a": 1, "b": 2}
    with pytest.raises(InputError, match="make it a list"):
        client.scatter(iter([1]))


def test_rebalance(client: Client) -> None:
    first, second = client.nthreads()
    data = client.map(lambda i: np.full(1000, i), range(8), pure=False)
    wait(data)
    client.replicate(data, workers=[first])
    on_second = [f for f, held in zip(data, client.who_has(data).values()) if second in held]
    for future in on_second:  # now all of it is on the first alone
        from howdah.engine.protocol.messages import FetchFailed

        client.connection.send(FetchFailed(second, (future.task_range,)))
    until(lambda: all(held == [first] for held in client.who_has(data).values()))
    client.rebalance(data)
    placed = list(client.who_has(data).values())
    assert sorted(map(len, placed)) == [1] * 8
    assert placed.count([first]) == placed.count([second]) == 4
    assert [int(value[0]) for value in client.gather(data)] == list(range(8))


def test_datasets_outlive_their_client(cluster: LocalCluster) -> None:
    with Client(cluster) as first:
        futures = first.map(inc, range(3), pure=False)
        kept = delayed(inc)(10).persist(scheduler=first)
        first.publish_dataset(numbers=futures, limits={"most": 5})
        first.publish_dataset(kept, name="kept")
        assert first.submit(lambda lazy: lazy.compute(), kept).result(20) == 11
        with pytest.raises(PathExists, match="override=True"):
            first.publish_dataset(limits=1)
        first.publish_dataset(limits={"most": 6}, override=True)
    with Client(cluster) as second:
        assert second.list_datasets() == ("kept", "limits", "numbers")
        assert second.gather(second.get_dataset("numbers")) == [1, 2, 3]
        assert second.get_dataset("limits") == {"most": 6}
        assert (second.get_dataset("kept") + 1).compute(scheduler=second) == 12
        with pytest.raises(InputError, match="no dataset 'limit'; did you mean 'limits'"):
            second.get_dataset("limit")
        assert second.get_dataset("none", default=None) is None
        for name in second.list_datasets():
            second.unpublish_dataset(name)
        assert second.list_datasets() == ()
        with pytest.raises(InputError, match="none is there"):
            second.unpublish_dataset("limits")


# -- workers ----------------------------------------------------------------------------------------------------------


def test_run_on_every_worker(client: Client) -> None:
    pids = client.run(os.getpid)
    info = client.scheduler_info()["workers"]
    assert pids == {name: worker["pid"] for name, worker in info.items()}
    one = next(iter(pids))
    assert client.run(os.getpid, workers=[one]) == {one: pids[one]}
    assert set(client.run(lambda dask_worker: dask_worker.info.name).values()) == set(pids)

    def fail(x: int) -> None:
        raise ValueError(f"no {x}")

    with pytest.raises(ValueError, match="no 1") as caught:
        client.run(fail, 1)
    assert "raised on worker" in caught.value.__notes__[-1]
    assert all(isinstance(error, ValueError) for error in client.run(fail, 1, on_error="return").values())
    assert client.run(fail, 1, on_error="ignore") == {}
    assert client.run(os.getpid, wait=False) == {}

    async def later() -> int:
        return 5

    assert set(client.run(later).values()) == {5}


def test_versions(client: Client) -> None:
    found = client.get_versions(check=True)
    assert found["client"]["howdah"] == found["scheduler"]["howdah"] == howdah.__version__
    assert len(found["workers"]) == 2
    assert found["client"] == next(iter(found["workers"].values()))


def test_uploaded_files_can_be_imported(client: Client, tmp_path: Path) -> None:
    module = tmp_path / "uploaded_words.py"
    module.write_text("WORD = 'one'\n")

    def word() -> str:
        import uploaded_words  # type: ignore[import-not-found]

        return str(uploaded_words.WORD)

    assert len(client.upload_file(module)) == 2
    assert client.submit(word, pure=False).result(20) == "one"
    module.write_text("WORD = 'another'\n")
    client.upload_file(str(module))
    assert set(client.gather([client.submit(word, pure=False) for _ in range(4)])) == {"another"}
    with pytest.raises(InputError, match="No such file"):
        client.upload_file(tmp_path / "nothing.py")


def test_workers_start_anew(tmp_path: Path) -> None:
    with Client(n_workers=1) as client:
        module = tmp_path / "kept_over_restart.py"
        module.write_text("X = 7\n")
        client.upload_file(module)

        def leave_a_mark() -> None:
            import builtins

            builtins.marked = True  # type: ignore[attr-defined]

        client.run(leave_a_mark)
        future = client.submit(inc, 1)
        future.result(20)
        client.restart()
        assert future.status in ("cancelled", "finished")

        def look() -> tuple[bool, int]:
            import builtins

            import kept_over_restart  # type: ignore[import-not-found]

            return hasattr(builtins, "marked"), kept_over_restart.X

        assert client.submit(look).result(20) == (False, 7)  # a new interpreter, and the uploaded file is there


# -- tasks that give work -------------------------------------------------------------------------------------------


def fibonacci(n: int) -> int:
    if n < 2:
        return n
    client = get_client()
    a, b = client.submit(fibonacci, n - 1), client.submit(fibonacci, n - 2)
    return int(a.result()) + int(b.result())


def test_tasks_wait_for_tasks_of_their_own(client: Client) -> None:
    assert client.submit(fibonacci, 8).result(60) == 21


def test_worker_clients_and_seceding(client: Client) -> None:
    def outer(n: int) -> int:
        with worker_client() as inner:
            return sum(inner.gather(inner.map(inc, range(n))))

    assert client.gather(client.map(outer, [3, 4, 5, 6])) == [6, 10, 15, 21]

    def leaves(n: int) -> tuple[int, str]:
        secede()
        total = sum(get_client().gather(get_client().map(inc, range(n))))
        rejoin()
        return total, get_worker().name

    total, name = client.submit(leaves, 4).result(20)
    assert total == 10
    assert name in client.nthreads()
    until(lambda: client.nthreads() == dict.fromkeys(client.nthreads(), 1))
    assert client.gather(client.map(inc, range(100), pure=False)) == list(range(1, 101))
    with pytest.raises(HowdahError, match="this process is no worker"):
        get_worker()
    assert get_client() is client


# -- lazy objects and progress --------------------------------------------------------------------------------------


def test_lazy_objects_on_a_client(client: Client) -> None:
    x = delayed(inc)(1)
    future = client.compute(x)
    assert isinstance(future, Future)
    assert future.result(20) == 2
    assert client.gather(client.compute([x, x + 1, 5])) == [2, 3, 5]
    assert client.compute(x, sync=True) == 2
    kept = client.persist(x)
    assert kept.compute() == 2
    assert client.compute(kept).result(20) == 2
    assert client.submit(inc, client.compute(x)).result(20) == 3
    with client.as_current():
        assert x.compute() == 2


def test_frames_are_lazy_objects_too(client: Client) -> None:
    import pandas as pd

    plain = pd.DataFrame({"x": range(10), "y": [i % 2 for i in range(10)]})
    frame = howdah.from_pandas(plain, npartitions=2)
    assert int(delayed(lambda df: df.x.sum())(frame).compute(scheduler=client)) == 45
    assert int(delayed(lambda df: df.x.sum())(frame).compute(scheduler="threads")) == 45
    pd.testing.assert_frame_equal(client.compute(frame[frame.x > 5]).result(60), plain[plain.x > 5])
    both = howdah.compute(frame.x.sum(), delayed(inc)(1), scheduler=client)
    assert (int(both[0]), both[1]) == (45, 2)
    kept = client.persist(frame)
    assert len(kept.compute()) == 10


def test_progress_in_a_terminal(client: Client) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    file = Terminal()
    futures = client.map(inc, range(100), pure=False)
    progress(futures, file=file)
    assert "100%  100/100" in file.getvalue()
    assert file.getvalue().endswith("\n")
    quiet = io.StringIO()
    progress(futures, file=quiet)
    assert quiet.getvalue() == ""
    kept = client.persist(delayed(inc)(1))
    progress(kept, file=file)
    bar = Terminal()
    with ProgressBar(bar) as shown:
        assert delayed(inc)(1).compute(progress=shown) == 2
    assert "1/1" in bar.getvalue()
    assert delayed(inc)(1).compute(progress=True) == 2
    with pytest.raises(InputError, match="give futures"):
        progress(5)


def test_cancelled_is_not_failed(client: Client, tmp_path: Path) -> None:
    gate = tmp_path / "gate"

    def block(i: int) -> None:
        pause = threading.Event()
        while not gate.exists():
            pause.wait(0.01)

    blockers = client.map(block, range(4), pure=False)
    waiting = client.submit(inc, 123456)
    waiting.cancel()
    with pytest.raises(Cancelled):
        waiting.result(20)
    gate.touch()
    wait(blockers, timeout=20)


def test_progress_of_lazy_objects_counts_what_is_done_and_freed_too(client: Client, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []

    def hold(x: int, path: str) -> int:
        pause = threading.Event()
        while not os.path.exists(path):
            pause.wait(0.01)
        return x

    leaves = [delayed(inc)(i) for i in range(6)]
    pairs = [delayed(sum)(leaves[i : i + 2]) for i in range(0, 6, 2)]
    last = delayed(hold)(delayed(sum)(pairs), str(tmp_path / "gate"))

    def look(done: int, total: int, name: str) -> None:
        seen.append((done, total))
        if done == total - 1:
            (tmp_path / "gate").touch()

    assert last.compute(scheduler=client, progress=look) == 21
    assert {total for _, total in seen} == {10}  # the last two are one task, as nothing else needs the first
    assert seen[-1] == (10, 10)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
