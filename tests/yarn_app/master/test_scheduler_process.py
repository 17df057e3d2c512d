"""A scheduler that dies is started again on the same address; one that keeps dying ends the application."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from waiting import until

from howdah.engine.comm.security.certificates import Authority
from howdah.yarn_app.master.scheduler_process import SchedulerProcess


@pytest.fixture
def scheduler(tmp_path: Path) -> Iterator[SchedulerProcess]:
    Authority.create("attempts").write_scheduler_dir(tmp_path / "security")
    one = SchedulerProcess(
        "127.0.0.1", "attempts", tmp_path / "security", tmp_path, tmp_path / "log", str(tmp_path / "j"), max_deaths=1
    )
    one.start()
    until(lambda: one.poll() or one.ready, "it listens")
    yield one
    one.stop(3.0)


def kill(one: SchedulerProcess, number: int = signal.SIGKILL) -> None:
    assert one.pid is not None
    os.kill(one.pid, number)


def test_a_killed_scheduler_is_back_on_the_same_address(scheduler: SchedulerProcess) -> None:
    before, first = (scheduler.address, scheduler.status_page), scheduler.pid
    assert scheduler.client is not None
    assert scheduler.client.status()["tasks"]["total"] == 0
    kill(scheduler)
    until(lambda: scheduler.poll() or scheduler.pid != first, "it is started again")
    until(lambda: scheduler.poll() or scheduler.ready, "it listens again")
    assert (scheduler.address, scheduler.status_page) == before
    assert scheduler.client.status()["tasks"]["total"] == 0, "the master's own connection is there again, too"
    assert scheduler.restarts == [f"it was ended by signal 9, and started again on {scheduler.address}"]


def test_one_that_ends_by_itself_ends_the_application(scheduler: SchedulerProcess) -> None:
    kill(scheduler, signal.SIGTERM)
    assert "the scheduler ended with exit code 0" in until(scheduler.poll, "it has ended")


def test_one_that_keeps_dying_ends_the_application(scheduler: SchedulerProcess) -> None:
    kill(scheduler)
    until(lambda: scheduler.poll() or scheduler.restarts, "it is started again")
    kill(scheduler)
    assert "the scheduler died 2 times within 10 minutes, at last it was ended by signal 9" in until(
        scheduler.poll, "the reason"
    )


def test_it_is_in_a_process_group_of_its_own(scheduler: SchedulerProcess) -> None:
    assert scheduler.pid is not None
    assert os.getpgid(scheduler.pid) != os.getpgid(0), "YARN signals the container's group; sessions stay open"
