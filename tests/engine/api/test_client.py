"""The client against a real local cluster: values, failures, waiting, release."""

import asyncio
import gc
import operator
import os
import pickle
import queue
import threading
import time
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from waiting import until

from howdah.engine.api import Client, Future, as_completed, wait
from howdah.engine.client.connection import MESSAGES_PER_TURN
from howdah.engine.comm.connection.event_loop import loop_thread
from howdah.engine.comm.connection.session import Session
from howdah.engine.delayed.compute import compute, persist
from howdah.engine.delayed.delayed import delayed
from howdah.engine.deploy.local import LocalCluster
from howdah.engine.execution.default_client import get_default_client
from howdah.engine.execution.dispatch import compute_graph, persist_graph
from howdah.engine.graph.graph import Graph
from howdah.engine.protocol.layers import Broadcast, Dependency, KToOne, Layer, OneToOne, Window
from howdah.errors import Cancelled, DeadlineExceeded, HowdahError, InputError, Unpicklable


def inc(x: int) -> int:
    return x + 1


def fail_at(x: int, bad: int) -> int:
    if x == bad:
        raise ValueError(f"no {x}")
    return x


# -- values ---------------------------------------------------------------------------------------------------------


def test_submit_and_map(client: Client) -> None:
    assert client.submit(inc, 1).result(20) == 2
    assert client.submit(divmod, 7, 2).result(20) == (3, 1)
    assert client.submit(dict, a=1).result(20) == {"a": 1}
    assert client.gather(client.map(inc, range(1000))) == list(range(1, 1001))
    assert client.gather(client.map(pow, [2, 3], [3, 2], [5, 5])) == [3, 4]
    assert client.gather(client.map(int, ["7", "11"], base=8)) == [7, 9]
    assert client.map(inc, []) == []
    base = 10
    assert client.gather(client.map(lambda x: x * base, range(5))) == [0, 10, 20, 30, 40]


class Model:
    """Remembers what it was fitted to, as estimators do."""

    def __init__(self) -> None:
        self.rows: Any = None

    def fit(self, rows: Any) -> "Model":
        self.rows = rows
        return self


def put_into(kept: list[int], value: int) -> list[int]:
    kept.append(value)
    return kept


def test_calls_of_one_object_work_on_objects_of_their_own(client: Client) -> None:
    """Results are kept in the worker's memory while later calls run, several at once."""
    model, n, bound = Model(), 20, partial(put_into, [])
    assert [m.rows for m in client.gather(client.map(model.fit, range(n)))] == list(range(n))
    with client.get_executor() as executor:
        assert [m.rows for m in executor.map(model.fit, range(n))] == list(range(n))
    fit = delayed(model.fit)
    assert [m.rows for m in compute(*[fit(i) for i in range(n)], scheduler=client)] == list(range(n))
    inputs = client.map(inc, range(n))
    assert [m.rows for m in client.gather(client.map(model.fit, inputs))] == list(range(1, n + 1))
    assert client.gather(client.map(bound, range(n))) == [[i] for i in range(n)]
    assert client.gather(client.map(put_into, [[]] * n, range(n))) == [[i] for i in range(n)]
    assert client.gather(client.map(lambda value, kept: put_into(kept, value), range(n), kept=[])) == [
        [i] for i in range(n)
    ]


Parts = namedtuple("Parts", "left right")


@dataclass(frozen=True)
class Both:
    left: Any
    right: Any


def left_of(parts: Any) -> tuple[str, Any]:
    return type(parts).__name__, parts.left


def test_nests_keep_their_class(client: Client) -> None:
    future = client.submit(abs, -5)
    for nest in (Parts(future, 1), Both(future, 1), [Parts(1, [future])], OrderedDict(a=future), deque([future], 3)):
        got = client.gather(nest)
        assert type(got) is type(nest)
        assert "5" in repr(got)
    for parts in (Parts, Both):
        assert client.submit(left_of, parts(future, 1)).result(20) == (parts.__name__, 5)
        assert delayed(left_of)(parts(delayed(abs)(-7), 1)).compute(scheduler=client) == (parts.__name__, 7)
        assert delayed(left_of)(parts(delayed(abs)(-7), 1)).compute(scheduler="inline") == (parts.__name__, 7)
        assert compute(parts(delayed(abs)(-7), 1), scheduler=client) == (parts(7, 1),)
    assert client.gather(client.scatter(Parts(1, 2))) == Parts(1, 2)
    assert client.gather(client.scatter(range(3))) == [0, 1, 2]
    begun = client.compute(Parts(delayed(abs)(-7), delayed(abs)(-8)))
    assert client.gather(begun) == Parts(7, 8)
    assert client.gather(client.compute(defaultdict(list, a=delayed(abs)(-7)))) == {"a": 7}


def test_futures_are_arguments_at_any_depth(client: Client) -> None:
    x, y = client.submit(inc, 1), client.submit(inc, 2)
    assert client.submit(operator.add, x, y).result(20) == 5
    assert client.submit(lambda nest: nest["a"][0] + nest["b"], {"a": [x], "b": y}).result(20) == 5
    assert client.submit(lambda *, z: z, z=[x, 1, x]).result(20) == [2, 1, 2]
    assert client.gather(client.map(lambda n: [n, x, y], range(2))) == [[0, 2, 3], [1, 2, 3]]
    many = client.map(inc, range(100))
    assert client.submit(sum, many).result(20) == 5050
    assert client.gather(client.map(inc, many)) == list(range(2, 102))
    assert client.gather(client.map(operator.add, many, reversed(many))) == [101] * 100
    assert client.gather(client.map(lambda a, b: a + b, many[:3], b=x)) == [3, 4, 5]
    assert client.gather(client.map(operator.add, [x, 1, y], [1, x, y])) == [3, 3, 6]


def test_a_chain_of_tasks(client: Client) -> None:
    x = client.submit(inc, 0)
    for _ in range(300):
        x = client.submit(inc, x)
    assert x.result(30) == 301


def test_gather_keeps_the_nest(client: Client) -> None:
    a, b = client.map(inc, [1, 2])
    assert client.gather({"x": [a, (b, 5)], "y": a}) == {"x": [2, (3, 5)], "y": 2}
    assert client.gather(a) == 2
    assert client.gather([]) == []
    with pytest.raises(InputError, match="make it a list first"):
        client.gather(f for f in [a])
    with pytest.raises(InputError, match="errors: got 'ignore'"):
        client.gather([a], errors="ignore")


def test_large_results_of_all_kinds_come_from_their_holders(client: Client) -> None:
    array = client.submit(np.arange, 1_000_000)
    table = client.submit(lambda: pa.table({"x": range(100_000)}))
    frame = client.submit(lambda: pl.DataFrame({"x": range(100_000)}))
    text = client.submit(lambda: "x" * 3_000_000)
    got = client.gather([array, table, frame, text])
    np.testing.assert_array_equal(got[0], np.arange(1_000_000))
    got[0][0] = 7  # what was gathered is the caller's own
    assert got[1].equals(pa.table({"x": range(100_000)}))
    assert got[2].equals(pl.DataFrame({"x": range(100_000)}))
    assert got[3] == "x" * 3_000_000
    mixed = client.gather(client.map(bytes, [1, 100_000, 2, 200_000]))
    assert [len(part) for part in mixed] == [1, 100_000, 2, 200_000]


def test_large_results_go_from_worker_to_worker(client: Client) -> None:
    blocks = client.map(lambda i: np.full(200_000, float(i)), range(20), pure=False)
    sums = client.map(lambda a, b: float(a[0] + b[-1]), blocks, reversed(blocks))
    assert client.gather(sums) == [19.0] * 20


def test_scatter(client: Client) -> None:
    data = client.scatter({"a": np.arange(10), "b": 5})
    assert client.submit(lambda a, b: int(a.sum()) + b, data["a"], data["b"]).result(20) == 50
    assert client.gather(client.scatter([1, 2])) == [1, 2]


def test_async_functions_are_awaited(client: Client) -> None:
    async def slowly(x: int) -> int:
        await asyncio.sleep(0.001)
        return x + 1

    assert client.gather(client.map(slowly, range(10))) == list(range(1, 11))


def test_the_same_call_runs_once_and_an_impure_one_each_time(client: Client, tmp_path: Path) -> None:
    def note(x: int) -> int:
        with open(tmp_path / "ran", "a") as file:
            file.write(f"{x}\n")
        return x

    def ran() -> int:
        return (tmp_path / "ran").read_text().count("\n")

    a = client.submit(note, 1)
    b = client.submit(note, 1)
    assert (a.result(20), b.result(20), ran(), a.key) == (1, 1, 1, b.key)
    c = client.submit(note, 1, pure=False)
    assert (c.result(20), ran()) == (1, 2)
    with Client(client.cluster) as other:
        assert (other.submit(note, 1).result(20), ran()) == (1, 2)


# -- failures -------------------------------------------------------------------------------------------------------


def test_the_users_exception_comes_back_as_it_was(client: Client) -> None:
    future = client.submit(fail_at, 3, 3)
    with pytest.raises(ValueError, match="no 3") as caught:
        future.result(20)
    import traceback

    text = "".join(traceback.format_exception(caught.value))
    assert 'raise ValueError(f"no {x}")' in text  # her line, as if it had been here
    assert text.rindex("fail_at") > text.rindex("waiting")  # innermost, where eyes go
    assert "howdah: task fail_at[0] failed on worker worker-" in caught.value.__notes__[0]
    assert future.status == "error"
    assert isinstance(future.exception(20), ValueError)
    assert client.submit(inc, 1).exception(20) is None
    # each wait raises an exception of its own: notes do not pile up
    with pytest.raises(ValueError) as again:
        future.result(20)
    assert len(again.value.__notes__) == 1


def test_a_failure_reaches_all_that_need_it(client: Client) -> None:
    futures = client.map(fail_at, range(10), bad=4)
    total = client.submit(sum, futures)
    with pytest.raises(ValueError, match="no 4") as caught:
        total.result(20)
    assert "task fail_at[4]" in caught.value.__notes__[0]
    assert "sum[0] needs it" in caught.value.__notes__[0]
    with pytest.raises(ValueError, match="no 4"):
        client.gather(futures)
    assert client.gather(futures, errors="skip") == [0, 1, 2, 3, 5, 6, 7, 8, 9]


def test_odd_exceptions_travel_too(client: Client) -> None:
    class Picky(Exception):
        def __init__(self, a: int, b: int) -> None:
            super().__init__(f"{a} and {b}")

    def raise_picky() -> None:
        raise Picky(1, 2)

    def raise_holding() -> None:
        error = RuntimeError("holds a lock")
        error.lock = threading.Lock()  # type: ignore[attr-defined]
        raise error

    def raise_chained() -> None:
        try:
            {}["x"]
        except KeyError as error:
            raise TypeError("outer") from error

    with pytest.raises(Exception, match="1 and 2") as caught:
        client.submit(raise_picky).result(20)
    assert type(caught.value).__name__ == "Picky"
    with pytest.raises(Exception, match="holds a lock"):
        client.submit(raise_holding).result(20)
    with pytest.raises(TypeError, match="outer") as chained:
        client.submit(raise_chained).result(20)
    assert isinstance(chained.value.__cause__, KeyError)
    with pytest.raises(SystemExit):
        client.submit(exit, 3).result(20)


def test_what_cannot_travel_is_named(client: Client) -> None:
    with pytest.raises(Unpicklable, match=r"a lock"):
        client.submit(inc, threading.Lock())
    with pytest.raises(Unpicklable, match=r"\['q'\]"):
        client.submit(lambda: {"q": queue.Queue()}).result(20)
    large = client.submit(lambda: [np.zeros(2_000_000), threading.Lock()])
    with pytest.raises(Unpicklable, match=r"\[1\] \(a lock\)"):
        large.result(20)
    future = client.submit(inc, 1)
    with pytest.raises(Unpicklable, match="an argument of submit and map"):
        pickle.dumps(future)
    with pytest.raises(InputError, match="fn: got 5"):
        client.submit(5)


def test_retries_are_for_functions_that_raise(client: Client, tmp_path: Path) -> None:
    def flaky(limit: int) -> int:
        with open(tmp_path / "tries", "a") as file:
            file.write("x")
        tries = len((tmp_path / "tries").read_text())
        if tries < limit:
            raise OSError(f"try {tries}")
        return tries

    assert client.submit(flaky, 3, retries=5).result(20) == 3
    with pytest.raises(OSError, match="try 5"):
        client.submit(flaky, 100, retries=1).result(20)


# -- waiting --------------------------------------------------------------------------------------------------------


def held_until(path: str) -> str:
    pause = threading.Event()
    while not os.path.exists(path):
        pause.wait(0.005)
    return path


def test_waits_end_in_time_and_say_what_is_missing(client: Client, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    future = client.submit(held_until, str(gate))
    with pytest.raises(DeadlineExceeded, match=r"held_until\[0\]"):
        future.result(0.05)
    assert (future.status, future.done()) == ("pending", False)
    quick = client.submit(inc, 1)
    first = wait([future, quick], timeout=20, return_when="FIRST_COMPLETED")
    assert (first.done, first.not_done) == ({quick}, {future})
    with pytest.raises(DeadlineExceeded):
        wait([future, quick], timeout=0.05)
    with pytest.raises(DeadlineExceeded, match="1 futures were not done"):
        list(as_completed([future, quick], timeout=0.2))
    gate.touch()
    assert wait([future, quick], timeout=20).not_done == set()
    with pytest.raises(InputError, match="return_when: got 'SOME'"):
        wait([quick], return_when="SOME")


def test_as_completed_gives_each_once_in_the_order_of_their_ends(client: Client, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    late = client.submit(held_until, str(gate))
    early = client.map(inc, range(50))
    running = as_completed([late, *early])
    got = [next(running) for _ in range(50)]
    assert late not in got
    running.add(client.submit(inc, 1000))
    assert next(running).result() == 1001
    gate.touch()
    assert next(running) is late
    with pytest.raises(StopIteration):
        next(running)
    values = dict(as_completed(early, with_results=True))
    assert sorted(values.values()) == list(range(1, 51))


def test_done_callbacks(client: Client, tmp_path: Path) -> None:
    called: queue.Queue[Future] = queue.Queue()
    gate = tmp_path / "gate"
    future = client.submit(held_until, str(gate))
    future.add_done_callback(called.put)
    assert called.empty()
    gate.touch()
    assert called.get(timeout=20) is future
    future.add_done_callback(lambda f: called.put(f.result()))  # may block: it has a thread of its own
    assert called.get(timeout=20) == str(gate)


def test_cancel(client: Client, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    blockers = client.map(lambda i, gate: held_until(gate) + str(i), range(4), gate=str(gate))
    waiting = client.map(inc, range(10_000, 10_100))
    client.cancel(waiting)
    assert {future.status for future in waiting} == {"cancelled"}
    with pytest.raises(Cancelled):
        waiting[7].result(20)
    gate.touch()
    assert len(client.gather(blockers)) == 4
    # the same call, made again, is computed
    assert client.gather(client.map(inc, range(10_000, 10_100))) == list(range(10_001, 10_101))
    future = client.submit(inc, -1)
    future.result(20)
    with pytest.warns(DeprecationWarning, match="task_range"):
        assert future.span == future.task_range
    future.cancel()
    assert future.result(20) == 0  # it had ended


def test_an_interrupted_wait_leaves_the_client_in_order(client: Client) -> None:
    with pytest.raises(DeadlineExceeded):
        client.submit(time.sleep, 0.3, pure=False).result(0.01)
    assert client.submit(inc, 1).result(20) == 2


# -- release --------------------------------------------------------------------------------------------------------


def test_results_are_freed_with_their_futures(client: Client) -> None:
    def held() -> int:
        workers = client.scheduler_info()["workers"].values()
        return sum(worker["managed"] for worker in workers)

    futures = client.map(lambda i: np.zeros(1_000_000) + i, range(10), pure=False)
    wait(futures, timeout=20)
    assert all(client.who_has(futures).values())
    keys = [future.task_range for future in futures]
    del futures
    gc.collect()
    until(lambda: not any(client.connection.who_has(keys)))
    until(lambda: held() < 40_000_000)
    assert not client.registry.layers()


def test_a_future_that_is_held_twice_is_freed_once(client: Client) -> None:
    a = client.submit(inc, 77)
    b = client.submit(inc, 77)
    task_range = a.task_range
    assert a.result(20) == 78
    del a
    gc.collect()
    client.submit(inc, 5).result(20)
    assert b.result(20) == 78
    assert any(client.connection.who_has([task_range]))
    del b
    gc.collect()
    until(lambda: not any(client.connection.who_has([task_range])))
    again = client.submit(inc, 77)
    assert again.result(20) == 78


def test_parts_of_a_layer_are_freed_alone(client: Client) -> None:
    futures = client.map(inc, range(100))
    client.gather(futures)
    kept = futures[50]
    ranges = [future.task_range for future in futures]
    del futures
    gc.collect()
    until(lambda: sum(map(len, client.connection.who_has(ranges))) == 1)
    assert kept.result(20) == 51


# -- graphs ---------------------------------------------------------------------------------------------------------


def sample_graph() -> tuple[Graph, bytes, bytes]:
    graph = Graph()
    leaves = graph.add(Layer("leaf", inc, 64, args=[(i,) for i in range(64)]))
    moved = graph.add(Layer("moved", sum, 64, deps=(Dependency(leaves, Window(1, 1, wrap=True)),)))
    pairs = graph.add(Layer("pairs", sum, 16, deps=(Dependency(moved, KToOne(4)),)))
    shares = graph.add(
        Layer("shares", lambda mine, all_: mine / sum(all_), 16,
              deps=(Dependency(pairs, OneToOne()), Dependency(pairs, Broadcast())))
    )  # fmt: skip
    return graph, pairs, shares


def test_graphs_run_on_the_current_client(client: Client) -> None:
    graph, pairs, shares = sample_graph()
    assert get_default_client() is client
    wanted = [graph.full_range(pairs), graph.full_range(shares)]
    seen: list[tuple[int, int, str]] = []
    here = compute_graph(graph, wanted, scheduler="inline")
    there = compute_graph(graph, wanted, progress=lambda *news: seen.append(news))
    assert there == here
    assert sum(there[1]) == pytest.approx(1.0)
    assert seen
    until(lambda: not client.registry.layers())


def test_persisted_layers_serve_later_graphs(client: Client) -> None:
    graph, pairs, _ = sample_graph()
    (held,) = persist_graph(graph, [graph.full_range(pairs)])
    later = Graph(persisted={pairs: held})
    total = later.add(Layer("total", sum, 1, deps=(Dependency(pairs, Broadcast()),)))
    expected = 3 * sum(range(1, 65))
    assert compute_graph(later, [later.full_range(total)]) == [[expected]]
    assert sum(held.results.values()) == expected
    del held, later
    gc.collect()
    until(lambda: not client.registry.layers())


def read_number(path: str) -> int:
    return int(Path(path).read_text())


def test_a_failure_is_no_result(client: Client, tmp_path: Path) -> None:
    """A notebook: a cell failed because a file was missing; its future and its traceback are held."""
    path = str(tmp_path / "number")
    with Client(client.cluster, set_as_default=False) as other:
        first, elsewhere = client.submit(read_number, path), other.submit(read_number, path)
        second, several = client.submit(inc, first), client.map(read_number, [path, path])
        lazy = delayed(inc, pure=True)(delayed(read_number, pure=True)(path))
        for future in (first, second, elsewhere, *several):
            assert isinstance(future.exception(20), FileNotFoundError)
        with pytest.raises(FileNotFoundError) as held:
            lazy.compute(scheduler=client)
        frames = [str(entry.frame.f_locals.get("reference")) for entry in held.traceback]
        assert not any("RangeRef" in text for text in frames)
        Path(path).write_text("7")
        assert lazy.compute(scheduler=client) == 8
        assert persist(lazy, scheduler=client)[0].compute(scheduler=client) == 8
        again = client.submit(read_number, path)
        assert again.result(20) == 7
        assert client.submit(inc, again).result(20) == 8
        assert client.gather(client.map(read_number, [path, path])) == [7, 7]
        assert elsewhere.result(20) == 7  # it ran again for all that hold it


def test_a_failing_graph_raises_the_users_exception(client: Client) -> None:
    graph = Graph()
    leaves = graph.add(Layer("leaf", fail_at, 5, args=[(i, 3) for i in range(5)]))
    total = graph.add(Layer("total", sum, 1, deps=(Dependency(leaves, Broadcast()),)))
    with pytest.raises(ValueError, match="no 3") as caught:
        compute_graph(graph, [graph.full_range(total)])
    assert "task leaf[3]" in "".join(caught.value.__notes__)


# -- the cluster ------------------------------------------------------------------------------------------------------


def test_what_the_client_knows_of_its_cluster(client: Client) -> None:
    info = client.scheduler_info()
    assert {worker["slots"] for worker in info["workers"].values()} == {1}
    assert len(info["workers"]) == 2
    client.wait_for_workers(2, timeout=5)
    with pytest.raises(DeadlineExceeded, match="2 of 9 workers"):
        client.wait_for_workers(9, timeout=0.1)
    before = client.summary()["tasks"]
    client.gather(client.map(inc, range(50), pure=False))
    assert client.summary()["tasks"] == before + 50
    assert "2 workers, 2 slots" in repr(client)
    future = client.submit(inc, 1)
    assert list(client.who_has(future)) == [future.key]
    assert "inc[0]" in repr(future)
    assert "inc[0]" in future._repr_html_()
    client.add_cleanup("hdfs:///tmp/job")
    client.drop_cleanup("hdfs:///tmp/job")
    with pytest.raises(HowdahError, match="has no answer to 'sumary'; did you mean 'summary'"):
        client.connection.query("sumary")
    with pytest.raises(HowdahError, match="has no answer to 'retire'"):
        client.connection.query("retire", names=[])


def test_a_closed_client_ends_every_wait(cluster: LocalCluster, tmp_path: Path) -> None:
    client = Client(cluster)
    gate = tmp_path / "gate"
    future = client.submit(held_until, str(gate))
    caught: queue.Queue[BaseException] = queue.Queue()

    def waiter() -> None:
        try:
            future.result()
        except HowdahError as error:
            caught.put(error)

    thread = threading.Thread(target=waiter)
    thread.start()
    until(client.waiter.waiting)
    client.close()
    client.close()
    assert "closed" in str(caught.get(timeout=20))
    thread.join(20)
    gate.touch()
    with pytest.raises(HowdahError, match="closed"):
        client.submit(inc, 1)
    assert "closed" in repr(client)


def test_wrong_options_are_named() -> None:
    with pytest.raises(InputError, match="unknown option 'n_worker'; did you mean 'n_workers'"):
        Client(n_worker=2)
    with pytest.raises(InputError, match="address: got 5"):
        Client(5)
    with pytest.raises(DeadlineExceeded, match="is the cluster running"):
        Client("unix:///tmp/nobody-listens-here", timeout=0.2)


def test_a_closed_client_is_free_at_once(cluster: LocalCluster) -> None:
    """At either end, and not only when Python looks for cycles, which may be hundreds of clients later."""

    def use() -> None:
        with Client(cluster) as client:
            assert sum(client.gather(client.map(operator.neg, range(100), pure=False))) == -4950

    def there_are() -> Counter[str]:
        names = {"Client", "FutureRegistry", "SchedulerConnection", "Session", "ClientPeer", "InprocChannel"}
        return Counter(name for name in (type(found).__name__ for found in gc.get_objects()) if name in names)

    gc.collect()
    gc.disable()
    try:
        before = there_are()
        assert before["Session"] > 0  # the workers'
        for _ in range(3):
            use()
        until(lambda: there_are() <= before, seconds=5)
    finally:
        gc.enable()


def test_a_long_row_of_submits_goes_to_the_scheduler_in_parts(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that had piled up went at once: a scheduler on the client's own loop handled thousands of submits before it
    told a worker of the first."""
    sizes: list[int] = []
    send_queue = Session._send_queue  # how many messages one turn of the loop sends  # noqa: SLF001  # the test reads what is queued

    def counted(session: Session[Any]) -> None:
        if session.peer == "the scheduler":
            sizes.append(len(session._queue))  # as above  # noqa: SLF001  # the test reads what is queued
        send_queue(session)

    monkeypatch.setattr(Session, "_send_queue", counted)
    gate = threading.Event()
    loop_thread().loop.call_soon_threadsafe(gate.wait)  # the loop is busy: all of them pile up
    future = client.submit(inc, 0, pure=False)
    for _ in range(10 * MESSAGES_PER_TURN):
        future = client.submit(inc, future, pure=False)
    gate.set()
    assert future.result(timeout=60) == 10 * MESSAGES_PER_TURN + 1
    assert max(sizes) <= MESSAGES_PER_TURN
