"""Tasks that crash, exit, eat memory or never end: the rest of the graph is untouched, and the message says which."""

from __future__ import annotations

import ctypes
import errno
import os
import threading
import traceback
from collections.abc import Callable
from typing import Any

import psutil
import pytest
from chaos.counting import Counts, leaf
from chaos.parts import Parts
from waiting import until

from howdah.engine.scheduler.core.retry_backoff import MAX_INFRASTRUCTURE_FAILURES
from howdah.errors import InputError, StorageAway, TaskTimeout, WorkerLost


def segfaults() -> None:
    ctypes.string_at(0)


def exits() -> None:
    os._exit(7)


def exits_well() -> None:
    os._exit(0)


def allocates() -> None:
    kept = []
    while True:
        kept.append(bytearray(b"x" * (16 << 20)))


def never_ends(item: int, counts: Counts) -> int:
    counts.note("never", item)
    threading.Event().wait(0.05 if item != 3 else 600)
    return item


def slow(*values: Any) -> Any:
    return pytest.param(*values, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    ("task", "reason"),
    [
        (segfaults, r"was ended by signal SIGSEGV.*it was running segfaults\[0\].*Segmentation fault .*in segfaults"),
        slow(exits, r"exited with code 7; peak memory \d+ MiB of 400 MiB; it was running exits\[0\]"),
        slow(exits_well, r"exited with code 0; .*it was running exits_well\[0\]"),
        slow(
            allocates, r"was ended because it used \d+ MiB of memory, and its limit is 400 MiB.*running allocates\[0\]"
        ),
    ],
)
def test_a_task_that_kills_workers(parts: Parts, counts: Counts, task: Callable[[], Any], reason: str) -> None:
    client = parts.start(2, memory=400 << 20)
    poison = client.submit(task)
    leaves = client.map(leaf, range(40), counts=counts)
    with pytest.raises(WorkerLost, match=r"(?s)given up: 3 workers died while running it.*" + reason):
        poison.result(60)
    assert [int(value[0]) for value in client.gather(leaves)] == list(range(40))
    deaths = sum(parts.log(name).count("howdah: worker") for name in ("w0", "w1"))
    assert deaths == 3
    gone = {one.pid for one in counts.all() if not psutil.pid_exists(one.pid)}
    assert counts.twice(gone) == {}  # only what died with a worker ran again
    assert "it was running nothing;" not in parts.log("w0") + parts.log("w1")
    until(lambda: len(client.scheduler_info()["workers"]) == 2)


def test_a_task_that_never_ends_costs_one_worker(parts: Parts, counts: Counts) -> None:
    client = parts.start(2)
    before = {name: parts.pid(name) for name in ("w0", "w1")}
    kept = client.map(leaf, range(30), counts=counts, seconds=0.0)
    client.gather(kept)
    futures = client.map(never_ends, range(12), counts=counts, timeout=0.5)
    with pytest.raises(
        TaskTimeout, match=r"never_ends\[3\] did not end within its 0\.5 s \(timeout=\) on worker w[01]"
    ):
        futures[3].result(30)
    good = [future for at, future in enumerate(futures) if at != 3]
    assert client.gather(good) == [item for item in range(12) if item != 3]
    assert client.gather(client.map(lambda v: int(v[0]), kept)) == list(range(30))
    assert counts.twice() == {}  # what the worker held went to its peer first
    until(lambda: sum(parts.pid(name) not in (0, pid) for name, pid in before.items()) == 1)
    (drained,) = until(lambda: client.summary()["drained"])
    assert "never_ends[3] did not end in time" in drained["reason"]
    assert drained["lost"] == 0


def takes_its_own(timeout: float) -> float:
    return timeout


def test_the_functions_own_timeout_is_its_own(parts: Parts) -> None:
    """Options are checked where they are written; nothing has to run for that but one task of each kind."""
    client = parts.start(1)
    assert client.submit(takes_its_own, timeout=0.001).result(30) == 0.001
    assert client.submit(abs, -1, timeout=5).result(30) == 1
    with pytest.raises(InputError, match="timeout: got -1"):
        client.submit(len, (), timeout=-1)


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), StorageAway("the NameNode does not answer")]
)
def test_a_full_disk_is_not_the_tasks_fault(parts: Parts, counts: Counts, error: OSError) -> None:
    """Nor is an HDFS that is away. Tried again after a pause, without a word of retries; what does not pass is told."""
    client = parts.start(2, slots=1)
    assert client.submit(writes, counts, 2, error).result(30) == "written"
    assert counts.total() == 3
    with pytest.raises(OSError, match=r"No space left on device|does not answer") as caught:
        client.submit(writes, counts, 1000, error).result(60)
    assert "writes" in "".join(traceback.format_exception(caught.value))
    assert counts.total() == 3 + MAX_INFRASTRUCTURE_FAILURES


def writes(counts: Counts, full: int, error: OSError) -> str:
    counts.note("writes", full)
    if sum(one.item == full for one in counts.all()) <= full:
        raise error
    return "written"
