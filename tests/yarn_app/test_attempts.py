"""What one master leaves for the next, and the scheduler that is started again; no Hadoop."""

from __future__ import annotations

import dataclasses
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from waiting import until

from howdah.engine.comm.security.certificates import Authority
from howdah.errors import PathMissing
from howdah.yarn_app.master import scheduler_process
from howdah.yarn_app.master.attempts import ApplicationResult, AttemptState
from howdah.yarn_app.master.fleet import PREEMPTED, ContainerLost, ContainerStatus
from howdah.yarn_app.master.scheduler_process import SchedulerProcess
from howdah.yarn_app.master.status import ExitMessages, MasterStatus
from howdah.yarn_app.protocol import kv_keys
from howdah.yarn_app.submit.application import Application


class Folder:
    """Stands for `Staging`: files of one application, in memory."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    def write(self, app_id: str, name: str, content: bytes, timeout: float | None = None) -> None:
        self.files[name] = content

    def read(self, app_id: str, name: str) -> bytes:
        if name not in self.files:
            raise PathMissing(name)
        return self.files[name]


def test_the_next_attempt_finds_what_was_noted() -> None:
    folder: Any = Folder()
    assert AttemptState.read(folder, "application_1_0001") is None, "the first attempt"
    note = AttemptState(
        5, ["a container"], ["another"], [], ApplicationResult("FAILED", "job.py ended with exit code 3", 3)
    )
    note.write(folder, "application_1_0001")
    assert AttemptState.read(folder, "application_1_0001") == note
    folder.files["master.json"] = b'{"wanted": 3, "of a later version": 1}'
    assert AttemptState.read(folder, "application_1_0001") is None


# -- the scheduler's process


@pytest.fixture
def scheduler(tmp_path: Path) -> Iterator[SchedulerProcess]:
    Authority.create("attempts").write_scheduler_dir(tmp_path / "security")
    one = SchedulerProcess(
        "127.0.0.1", "attempts", tmp_path / "security", tmp_path, tmp_path / "log", str(tmp_path / "j")
    )
    one.start()
    until(lambda: one.poll() or one.ready, "it listens")
    yield one
    one.stop(3.0)


def pid(one: SchedulerProcess) -> int:
    assert one._process is not None
    return one._process.process.pid


def test_a_killed_scheduler_is_back_on_the_same_address(scheduler: SchedulerProcess) -> None:
    before, first = (scheduler.address, scheduler.status_page), pid(scheduler)
    assert scheduler.client is not None
    assert scheduler.client.status()["tasks"]["total"] == 0
    os.kill(first, signal.SIGKILL)
    until(lambda: scheduler.poll() or pid(scheduler) != first, "it is started again")
    until(lambda: scheduler.poll() or scheduler.ready, "it listens again")
    assert (scheduler.address, scheduler.status_page) == before
    assert scheduler.client.status()["tasks"]["total"] == 0, "the master's own line is there again, too"
    assert scheduler.restarts == [f"it was ended by signal 9, and started again on {scheduler.address}"]


def test_one_that_ends_by_itself_ends_the_application(scheduler: SchedulerProcess) -> None:
    os.kill(pid(scheduler), signal.SIGTERM)
    assert "the scheduler ended with exit code 0" in until(scheduler.poll, "it has ended")


def test_one_that_keeps_dying_ends_the_application(
    scheduler: SchedulerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler_process, "DEATHS_ALLOWED", 1)
    os.kill(pid(scheduler), signal.SIGKILL)
    until(lambda: scheduler.poll() or scheduler.restarts, "it is started again")
    os.kill(pid(scheduler), signal.SIGKILL)
    assert "the scheduler died 2 times within 10 minutes, at last it was ended by signal 9" in until(
        scheduler.poll, "that is told"
    )


def test_it_is_in_a_process_group_of_its_own(scheduler: SchedulerProcess) -> None:
    assert os.getpgid(pid(scheduler)) != os.getpgid(0), (
        "YARN signals the container's group, and clients hear a good-bye"
    )


# -- what people are told


def test_a_lost_container_is_told_with_its_memory_and_its_last_words() -> None:
    board = MasterStatus()
    words = ExitMessages()
    seen = ContainerStatus(
        "w_0", "w", "FAILED", "node1", "container_1_0001_01_000002", "Container failed, see logs for more", "node1:1"
    )
    told = words.complete(
        seen, {kv_keys.EXIT_REASON + "w_0": b"howdah: no such library\n/a/container_1_0001_01_000002/lib is missing"}
    )
    line = board.report_loss(ContainerLost("w_0", "node1", seen.container, told.message, True), 700 << 20)
    assert line.splitlines() == [
        "container_1_0001_01_000002 on node1: Container failed; its worker was seen to use 700.0 MiB at most",
        "    howdah: no such library",
        "    lib is missing",
    ]
    taken = dataclasses.replace(seen, name="w_1", message="Container preempted by scheduler")
    assert words.complete(taken, {}) == taken, "YARN's word says it all, and its log is not asked for"
    board.report_loss(ContainerLost("w_1", "node1", "", taken.message, True, PREEMPTED), 0)
    assert (board.lost, board.preempted) == ([line], ["w_1 on node1: Container preempted by scheduler"])


def test_only_the_newest_losses_are_kept() -> None:
    board = MasterStatus()
    for number in range(20):
        board.report_loss(ContainerLost(f"w_{number}", "node1", "", "gone", True), 0)
    assert [line.split()[0] for line in board.lost] == [f"w_{number}" for number in range(12, 20)]


def test_a_watcher_is_told_of_each_loss_once_also_of_the_hundredth() -> None:
    shown: list[str] = []
    show: Any = SimpleNamespace(note=shown.append)
    told: set[str] = set()
    for number in range(100):
        status = {"lost": [f"container_{n} on node1: gone" for n in range(max(0, number - 8), number)]}
        Application.show_losses(status, told, show)
    assert shown == [f"worker container lost: container_{number} on node1: gone" for number in range(99)]
