"""What goes wrong, and what is said: one test for each kind of mistake."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import howdah as hd
from howdah.engine.api import Client
from howdah.engine.deploy.local import LocalCluster
from howdah.errors import InputError, Unpicklable


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster(1) as cluster:
        cluster.wait_for_workers()
        yield cluster


def outer(x: int) -> float:
    return inner(x)


def inner(x: int) -> float:
    return 1 / x


def test_a_task_that_raises_shows_the_users_lines_then_where_it_was(client: Client) -> None:
    info = client.scheduler_info()["workers"]
    worker, host = next((name, worker["host"]) for name, worker in info.items())
    for fail in (
        lambda: client.submit(outer, 0).result(20),
        lambda: client.gather(client.map(outer, [0])),
        lambda: hd.delayed(outer)(0).compute(scheduler=client),
        lambda: client.get({"x": (outer, 0)}, "x"),
    ):
        with pytest.raises(ZeroDivisionError) as caught:
            fail()
        text = "".join(traceback.format_exception(caught.value))
        places = [text.index(f"in {name}\n") for name in ("outer", "inner")]
        error = text.index("ZeroDivisionError: division by zero")
        note = text.index(f"howdah: task outer[0] failed on worker {worker} (host {host})")
        assert places == sorted(places)
        assert places[-1] < error < note
        assert "return 1 / x" in text
        assert os.path.join("engine", "worker") not in text  # nothing of what ran it there
        assert os.path.join("engine", "comm") not in text


def holding_a_lock() -> dict[str, Any]:
    return {"fine": 1, "parts": [1, threading.Lock()]}


def test_a_result_that_cannot_be_pickled_is_named_with_the_part_inside(client: Client) -> None:
    for future in (client.submit(holding_a_lock), client.map(lambda _: holding_a_lock(), [1])[0]):
        with pytest.raises(Unpicklable, match=r"the result cannot travel.*\['parts'\]\[1\] \(a lock\)") as caught:
            future.result(20)
        assert "failed on worker" in "".join(traceback.format_exception(caught.value))


def test_what_a_task_is_given_that_cannot_be_pickled_is_named_when_it_is_given(client: Client) -> None:
    lock = threading.Lock()
    with pytest.raises(Unpicklable, match=r"\['here'\]\[1\] \(a lock\)"):
        client.submit(len, {"here": [1, lock]})
    with pytest.raises(Unpicklable, match=r"closure variable lock"):
        client.submit(lambda: lock)
    with pytest.raises(Unpicklable, match="lock"):
        client.map(len, [[1], [lock]])
    with pytest.raises(Unpicklable, match="lock"):
        hd.delayed(len)([lock]).compute(scheduler=client)
    assert client.submit(len, [1]).result(20) == 1


def test_a_graph_with_a_cycle_is_an_error_that_shows_it(client: Client) -> None:
    mine: list[Any] = [hd.delayed(inner)(1)]
    mine.append(mine)
    with pytest.raises(InputError, match="the graph has a cycle: a list in an argument contains itself"):
        hd.delayed(sum)(mine)
    with pytest.raises(InputError, match="the graph has a cycle: 'a' needs 'b' needs 'a'"):
        client.get({"a": (inner, "b"), "b": (inner, "a")}, "a")


def test_a_million_arguments_are_no_trouble(client: Client) -> None:
    client.submit(sum, [1]).result(20)
    spent = time.process_time()
    numbers = list(range(1_000_000))
    assert client.submit(sum, numbers).result(60) == 499_999_500_000
    assert client.submit(max, *numbers).result(60) == 999_999
    assert client.submit(len, [*numbers, client.submit(inner, 1)]).result(60) == 1_000_001
    assert hd.delayed(sum)(numbers).compute(scheduler=client) == 499_999_500_000
    assert hd.delayed(len)([*numbers, hd.delayed(inner)(1)]).compute(scheduler=client) == 1_000_001
    assert time.process_time() - spent < 15


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda c: c.submit(inner, 1, retrys=2), "submit: unknown keyword 'retrys'.*'retries'"),
        (lambda c: c.map(inner, [1], prioritty=2), "map: unknown keyword 'prioritty'.*'priority'"),
        (lambda c: c.submit(inner, y=1), "'y': inner does not take it"),
        (lambda c: hd.compute(hd.delayed(inner)(1), sheduler=c), "compute: unknown keyword 'sheduler'.*'scheduler'"),
        (lambda c: hd.persist(hd.delayed(inner)(1), resorces={}), "unknown keyword 'resorces'.*'resources'"),
        (lambda c: hd.annotate(retires=2).__enter__(), "unknown annotation 'retires'.*'retries'"),
        (lambda c: Client(n_wokers=2), "unknown option 'n_wokers'.*'n_workers'"),
        (lambda c: c.get_executor(retrise=1), "Executor: unknown option 'retrise'.*'retries'"),
    ],
)
def test_a_keyword_that_does_not_exist_is_answered_with_near_ones(
    client: Client, call: Callable[[Client], Any], says: str
) -> None:
    with pytest.raises(InputError, match=says):
        call(client)


MINE = "{}.{}.{}".format(*sys.version_info[:3])


OTHER = (sys.version_info[0], sys.version_info[1] - 1, 99, "final", 0)


def test_a_client_of_another_version_is_refused_with_both(client: Client) -> None:
    code = f"""
import howdah.version
howdah.version.VERSION = "0.0.7"
from howdah.engine.api import Client
Client({client.address!r})
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert found.returncode == 1
    assert "EnvironmentMismatch: the two ends differ" in found.stderr
    assert re.search(rf"here howdah {re.escape(hd.__version__)} \(.*has howdah 0\.0\.7 ", found.stderr, re.DOTALL)
    assert "howdah env pack" in found.stderr
    assert client.submit(inner, 1).result(20) == 1


def test_a_worker_of_another_python_is_refused_with_both(client: Client, cluster: LocalCluster, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(f"""
import collections, sys
fields = collections.namedtuple("version_info", "major minor micro releaselevel serial")
sys.version_info = fields{OTHER!r}
""")
    found = subprocess.run(
        [
            sys.executable, "-m", "howdah.engine.worker.process", "--scheduler", client.address, "--name", "old",
            "--listen", f"unix://{cluster.directory}/old",
        ],
        env={**os.environ, "PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert found.returncode == 4
    assert f"on Python {MINE}; worker 'old'" in found.stderr
    assert "on Python {}.{}.{}".format(*OTHER[:3]) in found.stderr
    assert "old" not in client.scheduler_info()["workers"]


def test_every_option_of_submit_is_known_to_map_or_has_a_reason() -> None:
    submit, map_ = (set(inspect.signature(method).parameters) for method in (Client.submit, Client.map))
    assert submit - map_ == {"args", "actor"}
    assert map_ - submit == {"iterables", "batch_size"}
