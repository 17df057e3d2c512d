"""What tasks print and log: kept per task and bounded, asked for by clients, and shown with failures."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Iterator

import pytest

import howdah as hd
from howdah.engine.api import Client
from howdah.engine.deploy.local import LocalCluster
from howdah.engine.worker import task_logs as logs
from howdah.engine.worker.task_logs import TaskLogBuffer
from howdah.errors import InputError


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster(2, threads_per_worker=2) as cluster:
        cluster.wait_for_workers()
        yield cluster


def talk(i: int) -> int:
    print("first", i)
    for part in ("sec", "ond ", str(i)):
        sys.stdout.write(part)
        time.sleep(0.002)  # the other slot's thread writes meanwhile
    print()
    print("to stderr", i, file=sys.stderr)
    logging.getLogger("my.module").warning("careful with %d", i)
    logging.getLogger("my.module").info("of no interest")
    return i


def said(client: Client, task: object) -> list[tuple[str, str]]:
    return [(line["level"], line["text"]) for line in client.logs_of(task)]


def test_each_task_has_its_own_lines_though_they_run_side_by_side(client: Client) -> None:
    futures = client.map(talk, range(8), pure=False)
    client.gather(futures)
    for i, future in enumerate(futures):
        assert said(client, future) == [
            ("STDOUT", f"first {i}"),
            ("STDOUT", f"second {i}"),
            ("STDERR", f"to stderr {i}"),
            ("WARNING", f"careful with {i}"),
        ]
    line = client.logs_of(futures[3].key)[-1]
    assert (line["source"], line["worker"]) == ("my.module", client.logs_of(futures[3])[0]["worker"])
    assert abs(line["time"] - time.time()) < 60


def test_a_key_of_the_users_own_names_the_task(client: Client) -> None:
    future = client.submit(print, "hello", key="greeting")
    future.result(20)
    assert said(client, "greeting") == [("STDOUT", "hello")]
    assert said(client, client.submit(abs, -1)) == []
    with pytest.raises(InputError, match="'no such key': give a future"):
        client.logs_of("no such key")


def test_a_line_without_end_is_told_too_and_does_not_run_into_the_next_task(client: Client) -> None:
    worker = sorted(client.scheduler_info()["workers"])[0]
    first = client.submit(print, "unfinished", end="", pure=False, workers=worker)
    first.result(20)
    assert said(client, first) == [("STDOUT", "unfinished")]
    more = client.map(print, ["next"] * 4, pure=False, workers=worker)
    client.gather(more)
    assert [said(client, f) for f in [first, *more]] == [[("STDOUT", "unfinished")], *[[("STDOUT", "next")]] * 4]


async def wait_and_talk(i: int) -> None:
    await asyncio.sleep(0.01)
    print("awaited", i)
    warnings.warn("deprecated", stacklevel=1)


def test_async_tasks_and_warnings_are_heard(client: Client) -> None:
    futures = client.map(wait_and_talk, range(2))
    client.gather(futures)
    for i, future in enumerate(futures):
        lines = said(client, future)
        assert lines[0] == ("STDOUT", f"awaited {i}")
    assert any("deprecated" in text for f in futures for _, text in said(client, f))


def in_thread() -> None:
    thread = threading.Thread(target=print, args=("from a thread of its own",))
    thread.start()
    thread.join()


def test_the_workers_lines_are_the_newest_first_and_say_whose_they_are(client: Client) -> None:
    one, other = sorted(client.scheduler_info()["workers"])
    client.submit(print, "a line", workers=one, pure=False).result(20)
    client.submit(in_thread, workers=one, pure=False).result(20)
    client.run(print, "run", workers=[one])
    found = client.get_worker_logs(3)
    assert sorted(found) == [one, other]
    assert found[one] == [("STDOUT", "run"), ("STDOUT", "from a thread of its own"), ("STDOUT", "print[0]: a line")]
    assert list(client.get_worker_logs(1, workers=[other])) == [other]
    with pytest.raises(InputError, match="n: got -1"):
        client.get_worker_logs(-1)


def fails(lines: int) -> None:
    for i in range(lines):
        print("step", i)
    raise KeyError("x")


def test_a_failed_task_tells_what_it_has_said(client: Client) -> None:
    with pytest.raises(KeyError) as caught:
        client.submit(fails, 2).result(20)
    text = "".join(traceback.format_exception(caught.value))
    assert text.index("KeyError: 'x'") < text.index("howdah: task fails[0] failed on worker")
    assert text.endswith("the last output of the task:\n  STDOUT: step 0\n  STDOUT: step 1\n")
    with pytest.raises(KeyError) as caught:
        client.submit(fails, 100).result(20)
    text = "".join(traceback.format_exception(caught.value))
    assert "step 79" not in text
    assert text.endswith("STDOUT: step 98\n  STDOUT: step 99\n")
    assert "\n  ...\n" in text
    with pytest.raises(KeyError) as caught:
        client.submit(fails, 0).result(20)
    assert "the last output" not in "".join(traceback.format_exception(caught.value))


def test_what_is_printed_still_goes_where_it_went(capfd: pytest.CaptureFixture[str]) -> None:
    with LocalCluster(1) as cluster, Client(cluster) as client:
        client.submit(lambda: print("to the container's log", flush=True)).result(20)
        client.submit(lambda: logging.getLogger("x").error("once")).result(20)
        assert client.submit(lambda: (sys.stdout.fileno(), sys.stdout.encoding, sys.stdout.isatty())).result(20)[0] == 1
    out, err = capfd.readouterr()
    assert "to the container's log" in out
    assert err.count("once") == 1


def test_in_coroutines_logs_are_awaited(cluster: LocalCluster) -> None:
    async def main() -> None:
        async with Client(cluster, asynchronous=True) as client:
            future = client.submit(print, "async", pure=False)
            await future
            assert [line["text"] for line in await client.logs_of(future)] == ["async"]
            assert sorted(await client.get_worker_logs(1)) == ["worker-0", "worker-1"]

    asyncio.run(main())


# -- bounds -----------------------------------------------------------------------------------------------------------


def test_lines_are_bounded_per_task_and_per_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    lines, task = TaskLogBuffer(), (b"k", 0)
    monkeypatch.setattr(logs, "_current", lambda: (task, "fn"))
    for i in range(3 * logs.MAX_LINES):
        lines.write("STDOUT", f"{i}\n")
    assert [line.text for line in lines.newest(2)] == [str(3 * logs.MAX_LINES - 1), str(3 * logs.MAX_LINES - 2)]
    assert len(lines.newest()) == logs.MAX_LINES
    assert len(lines.of_task(task)) == logs.MAX_TASK_LINES
    lines.write("STDOUT", "x" * 100_000 + "\n")
    assert len(lines.newest(1)[0].text) == logs.MAX_LINE
    for _ in range(2 * logs.MAX_CHARACTERS // logs.MAX_LINE):
        lines.write("STDOUT", "x" * 100_000 + "\n")
    assert sum(len(line.text) for line in lines.newest()) <= logs.MAX_CHARACTERS


def test_of_tasks_whose_lines_are_gone_nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = TaskLogBuffer()
    for i in range(3 * logs.MAX_LINES):
        monkeypatch.setattr(logs, "_current", lambda i=i: ((b"k", i), "fn"))
        lines.write("STDOUT", "said")  # the end of the line comes with the thread's next task
    assert len(lines.by_task) <= logs.MAX_LINES
    assert len(lines.unfinished) == 1
    assert lines.of_task((b"k", 5)) == []
    assert [line.text for line in lines.of_task((b"k", 3 * logs.MAX_LINES - 1))] == ["said"]


def test_a_worker_of_its_own_says_nothing_about_tasks_elsewhere() -> None:
    assert hd.compute(hd.delayed(print)("here"), scheduler="inline") == (None,)
    assert logs.newest(None) == []
