"""Workers that are told to go, and supervisors: what a worker alone holds moves to others first."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from chaos.counting import Counts, known, leaf, submitted
from chaos.parts import Parts
from waiting import until

from howdah.engine.api import wait
from howdah.engine.worker.exits import GAVE_UP


def test_sigterm_saves_what_the_worker_alone_holds(parts: Parts, counts: Counts) -> None:
    client = parts.start(3, slots=1)
    leaves = client.map(leaf, range(60), counts=counts, seconds=0.01)
    wait(leaves, timeout=30)
    leaver = client.who_has(leaves)[leaves[7].key][0]
    parts.processes[leaver].terminate()  # its supervisor hands it on, as in a container of YARN
    assert parts.processes[leaver].wait(10) == 0
    until(lambda: leaver not in client.scheduler_info()["workers"])
    assert [int(value[0]) for value in client.gather(leaves)] == list(range(60))
    assert counts.twice() == {}
    (drained,) = until(lambda: client.summary()["drained"])
    assert (drained["worker"], drained["reason"], drained["lost"]) == (leaver, "it got SIGTERM", 0)
    assert drained["results"] > 0


def test_what_one_peer_cannot_fetch_another_saves(parts: Parts, counts: Counts) -> None:
    client = parts.start(3, slots=1)
    parts.start_worker("w3", "--grace", "30")
    client.wait_for_workers(4, timeout=30)
    parts.interpose("w3").cut(parts.pid("w0"), parts.pid("w1"))
    leaves = client.map(leaf, range(60), counts=counts, seconds=0.01, workers="w3")
    wait(leaves, timeout=30)
    parts.processes["w3"].terminate()
    assert parts.processes["w3"].wait(20) == 0
    (drained,) = until(lambda: client.summary()["drained"])
    assert (drained["results"], drained["lost"]) == (60, 0)
    assert [int(value[0]) for value in client.gather(leaves)] == list(range(60))
    assert counts.twice() == {}


def bound_to_its_process() -> tuple[np.ndarray, Any]:
    return np.ones(1_000_000), threading.Lock()


def test_nobody_waits_for_what_cannot_be_saved(parts: Parts) -> None:
    """Its grace is half a minute; what cannot travel is no reason to stay so long."""
    client = parts.start(1)
    parts.start_worker("w1", "--grace", "30")
    client.wait_for_workers(2, timeout=30)
    stays = client.submit(bound_to_its_process, workers="w1", allow_other_workers=True)
    wait(stays, timeout=30)
    parts.processes["w1"].terminate()
    assert parts.processes["w1"].wait(20) == 0
    (drained,) = until(lambda: client.summary()["drained"])
    assert drained["lost"] == 1
    wait(stays, timeout=30)
    assert client.who_has(stays)[stays.key] == ["w0"]


def test_sigterm_in_the_middle_of_a_graph(parts: Parts, counts: Counts) -> None:
    """Unstarted runs go back; the running one ends within the grace; nothing is made twice."""
    client = parts.start(2, slots=1)
    parts.start_worker("w2", "--grace", "5")
    client.wait_for_workers(3, timeout=30)
    leaves, _, answer = submitted(client, counts, 60, seconds=0.03)
    until(lambda: sum(leaf.done() for leaf in leaves) > 20)
    parts.processes["w2"].terminate()
    assert parts.processes["w2"].wait(10) == 0
    assert answer.result(60) == known(60)
    assert counts.twice() == {}
    assert until(lambda: client.summary()["drained"])[0]["lost"] == 0


@pytest.mark.slow
def test_the_grace_is_kept(parts: Parts) -> None:
    """A task that goes on for longer does not keep the worker, and runs again elsewhere; nobody is blamed."""
    client = parts.start(1)
    endless = client.submit(waits, 3)
    until(lambda: status_running(client) == 1)
    parts.processes["w0"].terminate()
    assert parts.processes["w0"].wait(3) == 0  # 0.2 s of grace
    parts.start_worker("w1")
    assert endless.result(30) is False


def test_what_sigterm_does_to_a_tasks_own_processes_is_not_the_tasks_fault(parts: Parts, counts: Counts) -> None:
    """YARN sends it to all processes of a container: the task's child dies of it, and the task raises. It has no
    retries, and runs again on the next worker."""
    client = parts.start(1)
    answer = client.submit(by_a_child, counts)
    until(lambda: psutil.Process(parts.pid("w0")).children() if parts.pid("w0") and counts.total() else None)
    supervisor = psutil.Process(parts.processes["w0"].pid)
    for process in (supervisor, *supervisor.children(recursive=True)):  # the worker before its task's child
        process.terminate()
    assert parts.processes["w0"].wait(10) == 0
    parts.start_worker("w1")
    assert answer.result(30) == 0
    assert counts.total() == 2


def by_a_child(counts: Counts) -> int:
    counts.note("child", 0)
    again = counts.total() > 1
    return subprocess.run(
        [sys.executable, "-c", f"import time; time.sleep({0 if again else 60})"], check=True
    ).returncode


def waits(seconds: float) -> bool:
    return threading.Event().wait(seconds)


def status_running(client) -> int:  # type: ignore[no-untyped-def]
    return client.connection.query("status")["tasks"]["running"]  # type: ignore[no-any-return]


@pytest.mark.slow
def test_a_killed_supervisor_takes_its_worker_along(parts: Parts) -> None:
    client = parts.start(1)
    worker = psutil.Process(parts.pid("w0"))
    parts.processes["w0"].kill()
    parts.processes["w0"].wait()
    worker.wait(5)
    until(lambda: not client.scheduler_info()["workers"])


@pytest.mark.slow
def test_a_worker_that_always_dies_is_given_up(parts: Parts) -> None:
    """After eleven deaths within a minute, with pauses that grow."""
    parts.start_scheduler()
    parts.start_worker("w0", "--listen", f"unix://{parts.folder}/nowhere/w0")  # it cannot even listen
    supervisor = parts.processes["w0"]
    until(lambda: "exited with code 5" in parts.log("w0"))
    assert "the end of its log" in parts.log("w0")
    assert "FileNotFoundError" in parts.log("w0")
    assert supervisor.wait(60) == GAVE_UP
    assert "worker w0 died 11 times within 60 s and is given up; the last time: its process" in parts.log("w0")


def test_a_spill_that_is_damaged_is_made_again(parts: Parts, counts: Counts) -> None:
    client = parts.start(1, memory=256 << 20)
    n, nbytes = 60, 4 << 20
    blocks = client.map(leaf, range(n), counts=counts, seconds=0.0, nbytes=nbytes)
    wait(blocks, timeout=60)
    files = until(lambda: (found := sorted(parts.folder.glob("howdah-spill-*/*.result"))) and len(found) > 12 and found)
    for file in files[:4]:
        with open(file, "r+b") as damaged:
            damaged.seek(nbytes // 2)
            damaged.write(b"\xff" * 16)
    means = client.map(lambda block: float(block.mean()), blocks)
    assert client.gather(means) == [float(i) for i in range(n)]
    again = counts.twice()
    assert 0 < len(again) <= 4
    assert set(again.values()) == {2}


def test_a_killed_workers_files_are_removed(parts: Parts, counts: Counts, tmp_path: Path) -> None:
    client = parts.start(1, memory=256 << 20)
    (tmp_path / "uploaded.py").write_text("value = 7\n")
    client.upload_file(tmp_path / "uploaded.py")
    blocks = client.map(leaf, range(60), counts=counts, seconds=0.0, nbytes=4 << 20)
    wait(blocks, timeout=60)
    until(lambda: len(list(parts.folder.glob("howdah-spill-*/*.result"))) > 12)
    assert len(list(parts.folder.glob("howdah-files-*/uploaded.py"))) == 1
    del blocks
    pid = parts.kill("w0")
    until(lambda: not list(parts.folder.glob(f"howdah-*-{pid}-*")))
    assert client.submit(lambda: __import__("uploaded").value).result(30) == 7


@pytest.mark.slow
def test_a_full_disk_while_spilling(parts: Parts, counts: Counts) -> None:
    """No file may be larger than 1 MiB: as if the disk were full. Results stay in memory, and the log says so."""
    client = parts.start(1, memory=512 << 20)

    def full() -> None:
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, resource.RLIM_INFINITY))

    client.submit(full, pure=False).result(30)
    blocks = client.map(leaf, range(80), counts=counts, seconds=0.0, nbytes=4 << 20)
    until(lambda: "results cannot be moved to disk" in parts.log("w0"))
    assert client.gather(client.map(lambda block: float(block[-1]), blocks)) == [float(i) for i in range(80)]
    assert counts.twice() == {}
    assert "File too large" in parts.log("w0")


@pytest.mark.slow
def test_a_worker_holds_its_own_line_only(parts: Parts) -> None:
    """A process that a task leaves behind does not keep the supervisor from seeing the worker's death."""
    client = parts.start(1)
    pid = client.submit(leave_a_process).result(30)
    try:
        parts.kill("w0")
        until(lambda: "was ended by signal SIGKILL" in parts.log("w0"), seconds=5)
        assert client.submit(np.sum, [1, 2]).result(30) == 3
    finally:
        os.kill(pid, signal.SIGKILL)


def leave_a_process() -> int:
    import subprocess

    return subprocess.Popen(["sleep", "60"]).pid
