"""A forked child with its parent's client or cluster gets an error that says what to do, and harms nothing."""

import io
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor as StandardExecutor
from typing import Any

import pytest

import howdah as hd
from howdah.engine.api import Client
from howdah.engine.client.progress import progress
from howdah.engine.deploy.local import LocalCluster
from howdah.errors import HowdahError


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with LocalCluster(1) as cluster, Client(cluster) as client:
        yield client


def _in_child(work: Callable[[], Any], seconds: float = 40) -> int:
    """Run `work` in a forked child; return its exit code: 0 if it raised the error, 1 if it returned, 2 for others."""
    child = os.fork()
    if child == 0:
        code = 2
        try:
            work()
            code = 1
        except HowdahError as error:
            code = 0 if "create a client of its own in the child" in str(error) else 3
        finally:
            os._exit(code)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        threading.Event().wait(0.02)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    raise AssertionError("the child hangs")


def _sleep(seconds: float) -> None:
    threading.Event().wait(seconds)


CALLS: dict[str, Callable[[Client, Any, Any, StandardExecutor], Any]] = {
    "compute": lambda client, done, pending, executor: hd.delayed(abs)(-3).compute(),
    "submit": lambda client, done, pending, executor: client.submit(abs, -3),
    "map": lambda client, done, pending, executor: client.map(abs, [-3]),
    "gather": lambda client, done, pending, executor: client.gather([done, pending]),
    "result of a pending one": lambda client, done, pending, executor: pending.result(),
    "result of one that is done": lambda client, done, pending, executor: done.result(),
    "exception": lambda client, done, pending, executor: pending.exception(),
    "cancel": lambda client, done, pending, executor: pending.cancel(),
    "wait": lambda client, done, pending, executor: hd.wait([pending]),
    "as_completed": lambda client, done, pending, executor: list(hd.as_completed([pending])),
    "callback": lambda client, done, pending, executor: pending.add_done_callback(print),
    "progress": lambda client, done, pending, executor: progress(pending, file=io.StringIO()),
    "scatter": lambda client, done, pending, executor: client.scatter([1]),
    "who_has": lambda client, done, pending, executor: client.who_has(done),
    "run": lambda client, done, pending, executor: client.run(os.getpid),
    "scale": lambda client, done, pending, executor: client.cluster.scale(2),  # type: ignore[union-attr]
    "executor": lambda client, done, pending, executor: executor.submit(abs, -3),
    "queue": lambda client, done, pending, executor: hd.Queue("q").put(1),
    "lock": lambda client, done, pending, executor: hd.Lock("l").acquire(),
    "event": lambda client, done, pending, executor: hd.Event("e").wait(),
    "variable": lambda client, done, pending, executor: hd.Variable("v").get(),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_each_call_in_a_child_says_at_once_what_to_do(client: Client, call: Callable[..., Any]) -> None:
    done = client.submit(abs, -1)
    done.result(30)
    pending = client.submit(_sleep, 1.0, pure=False)
    executor = client.get_executor()
    assert _in_child(lambda: call(client, done, pending, executor)) == 0
    pending.cancel()
    assert client.submit(abs, -4, pure=False).result(30) == 4
    executor.shutdown()


def _end(client: Client, executor: StandardExecutor, future: Any) -> None:
    """All that a child does at its end."""
    from howdah.engine.api.client import _close_all as close_clients
    from howdah.engine.deploy.local import _close_all as close_clusters

    del future
    threading._shutdown()  # type: ignore[attr-defined]  # noqa: SLF001  # which ends executors
    close_clients()
    close_clusters()
    client.close()
    client.cluster.close()  # type: ignore[union-attr]


def test_the_end_of_a_child_ends_neither_the_parents_workers_nor_hangs(client: Client) -> None:
    worker = client.submit(os.getpid, pure=False).result(30)
    executor = client.get_executor()
    slow = executor.submit(_sleep, 0.5)
    assert _in_child(lambda: _end(client, executor, slow)) == 1
    slow.result(30)
    assert client.submit(os.getpid, pure=False).result(30) == worker
    executor.shutdown()


def _compute(address: str) -> None:
    with Client(address) as own:
        assert own.submit(abs, -3, pure=False).result(30) == 3
        assert hd.delayed(abs)(-5).compute() == 5
    raise HowdahError("create a client of its own in the child")


def test_a_child_computes_with_a_client_of_its_own(client: Client) -> None:
    assert _in_child(lambda: _compute(client.address)) == 0
    assert client.submit(abs, -6, pure=False).result(30) == 6
