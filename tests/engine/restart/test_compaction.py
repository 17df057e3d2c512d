"""A long-lived cluster's journal does not grow, and says the same after a compaction as before."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from waiting import until

from howdah.engine.coordination import Event, Lock, Queue, Variable

LIMIT = 300_000


def marked(path: str, name: str, value: Any) -> Any:
    file = os.open(path, os.O_WRONLY | os.O_APPEND)
    os.write(file, f"{name}\n".encode())
    os.close(file)
    return value


def boom(path: str) -> None:
    marked(path, "boom", None)
    raise ValueError("boom")


def inc(value: int, path: str) -> int:
    return int(marked(path, f"inc-{value}", value + 1))


@pytest.mark.slow
def test_it_is_bounded_and_complete(processes: Callable[..., Any], tmp_path: Path) -> None:
    cluster = processes(1)
    cluster.compacts_from(LIMIT)
    cluster.restart()
    client = cluster.client(name="me")
    other = cluster.client(name="other")
    path = str(cluster.marks)
    # All that is to be there afterwards.
    kept = client.map(inc, range(40), path=path)
    chain = client.map(inc, client.map(inc, range(100, 110), path=path), path=path)
    shared = other.map(inc, range(40), path=path)
    failed = client.submit(boom, path)
    with pytest.raises(ValueError, match="boom"):
        failed.result(30)
    client.publish_dataset(chosen=kept[3])
    lock, queue = Lock("door", client), Queue("line", client)
    assert lock.acquire()
    queue.put(kept[5])
    queue.put("text")
    Variable("plain", client).set({"a": 1})
    (tmp_path / "sent_along.py").write_text("VALUE = 3\n")
    client.upload_file(tmp_path / "sent_along.py")
    client.gather([*kept, *chain])
    threads = ThreadPoolExecutor(2)
    waits = threads.submit(lambda: Lock("door", other).acquire())
    waited = threads.submit(lambda: Event("go", other).wait(60))
    sizes = []
    counter = Variable("counter", client)
    for turn in range(60):  # what comes and goes
        assert client.submit(len, os.urandom(20_000)).result(30) == 20_000
        counter.set(turn)
        assert Variable("counter", other).get() == turn
        queue.put("text")
        assert queue.get() is not None
        sizes.append(cluster.journal.stat().st_size)
        if turn % 10 == 9:
            until(lambda: cluster.journal.stat().st_size < LIMIT)
    assert sum(b < a for a, b in pairwise(sizes)) >= 2, "it was not compacted"
    assert max(sizes) < 4 * LIMIT
    for _ in range(2):  # from the snapshot, and from what a scheduler made of it
        cluster.restart()
        assert client.gather(kept) == other.gather(shared) == list(range(1, 41))
        assert client.gather(chain) == list(range(102, 112))
        with pytest.raises(ValueError, match="boom"):
            failed.result(30)
        assert other.get_dataset("chosen").result(30) == 4
        assert (lock.locked(), waits.done(), waited.done()) == (True, False, False)
        assert Variable("plain", other).get() == {"a": 1}
        assert counter.get() == 59
        assert queue.qsize() == 2
    lock.release()
    assert waits.result(30)
    Event("go", client).set()
    assert waited.result(30)
    cluster.kill_worker("worker-0")
    cluster.work(1)
    assert client.submit(lambda: __import__("sent_along").VALUE).result(60) == 3
    counts = cluster.counts()
    assert counts["boom"] == 1
    until(lambda: client.gather(kept) == list(range(1, 41)))
