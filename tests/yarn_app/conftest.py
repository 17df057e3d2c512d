"""What tests on the real YARN share: one packed environment, `howdah` as a command, and the question what is left."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest
from waiting import until

from howdah.yarn_app.mini import MiniHadoop
from howdah.yarn_app.mini.processes import containers_of
from howdah.yarn_app.storage.staging import Staging

JOBS = Path(__file__).parent / "jobs"
HOWDAH = [sys.executable, "-m", "howdah"]
ENVIRONMENT = "tests"
SMALL = (
    "--env",
    ENVIRONMENT,
    "--workers",
    "2",
    "--worker-memory",
    "640MiB",
    "--master-memory",
    "768MiB",
    "--driver-memory",
    "512MiB",
)


@dataclass
class Run:
    """A `howdah submit --json` that has ended."""

    code: int
    err: str
    events: list[dict[str, Any]]

    @property
    def end(self) -> dict[str, Any]:
        found = [event for event in self.events if event["event"] == "end"]
        assert found, f"no `end` event; exit code {self.code}\n{self.err}\n{self.events}"
        return found[-1]

    @property
    def app_id(self) -> str:
        return str(next(event["app_id"] for event in self.events if event["event"] == "submitted"))


@dataclass
class Yarn:
    """The small Hadoop as a user sees it."""

    hadoop: MiniHadoop
    folder: Path
    known: set[int] = field(default_factory=set)

    @staticmethod
    def job(name: str) -> str:
        """The path of a script of `jobs/`."""
        return str(JOBS / name)

    @staticmethod
    def executed(log: Path) -> Counter[int]:
        """How often each item was worked on, from the lines that the jobs' tasks leave."""
        return Counter(int(line.split()[0]) for line in log.read_text().splitlines()) if log.exists() else Counter()

    until = staticmethod(until)

    def command(
        self, *words: str, timeout: float = 90, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """`howdah ...`, to its end."""
        return subprocess.run(
            [*HOWDAH, *words], capture_output=True, text=True, timeout=timeout, check=False,
            env={**os.environ, **(env or {})}, cwd=self.folder,
        )  # fmt: skip

    def start(self, *words: str, env: dict[str, str] | None = None) -> subprocess.Popen[str]:
        """`howdah submit --json ...` in a session of its own, as from a shell that can be killed."""
        return subprocess.Popen(
            [*HOWDAH, "submit", "--json", *SMALL, *words],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True, cwd=self.folder,
            env={**os.environ, **(env or {})},
        )  # fmt: skip

    def submit(self, *words: str, timeout: float = 120) -> Run:
        """`howdah submit --json ...`, to its end."""
        done = self.command("submit", "--json", *SMALL, *words, timeout=timeout)
        return Run(
            done.returncode, done.stderr, [json.loads(line) for line in done.stdout.splitlines() if line[:1] == "{"]
        )

    def application(self, app_id: str) -> dict[str, Any]:
        with urllib.request.urlopen(
            f"{self.hadoop.resourcemanager_url}/ws/v1/cluster/apps/{app_id}", timeout=10
        ) as answer:
            return dict(json.load(answer)["app"])

    def applications(self) -> set[str]:
        with urllib.request.urlopen(f"{self.hadoop.resourcemanager_url}/ws/v1/cluster/apps", timeout=10) as answer:
            return {app["id"] for app in (json.load(answer)["apps"] or {}).get("app", [])}

    def attempts(self, app_id: str) -> list[dict[str, Any]]:
        """The attempts of an application, as YARN lists them."""
        address = f"{self.hadoop.resourcemanager_url}/ws/v1/cluster/apps/{app_id}/appattempts"
        with urllib.request.urlopen(address, timeout=10) as answer:
            return list(json.load(answer)["appAttempts"]["appAttempt"])

    def ended(self, app_id: str) -> bool:
        return self.application(app_id)["state"] in ("FINISHED", "FAILED", "KILLED")

    def workers(self) -> dict[str, list[psutil.Process]]:
        """YARN's id of each container with a worker -> its processes, the worker's supervisor among them."""
        found: dict[str, list[psutil.Process]] = {}
        for process in containers_of(self.hadoop.folder):
            if "howdah.engine.worker.process" in _words(process):
                found.setdefault(_environ(process).get("CONTAINER_ID", ""), []).append(process)
        return found

    def kill_worker(self, pid: int) -> set[int]:
        """SIGKILL to all of the container in which this process works; returns their process ids."""
        (container,) = (name for name, members in self.workers().items() if pid in {one.pid for one in members})
        members = self.workers()[container]
        for one in members:
            one.kill()
        return {one.pid for one in members}

    def list_hdfs(self, path: str) -> list[str]:
        """Names under a path; [] when it is not there."""
        files = Staging.of_user().files
        return [one.path.rpartition("/")[2] for one in files.ls(path)] if files.exists(path) else []

    def left(self, app_id: str) -> list[str]:
        """What is left of an application: containers, processes of ours, folders in HDFS and here."""
        staging = Staging.of_user()
        found = [f"container process {p.pid} {_words(p)}" for p in self.containers(app_id)]
        found += [
            path
            for path in (staging.application_folder(app_id), staging.skein_folder(app_id))
            if staging.files.exists(path)
        ]
        found += [f"process {p.pid} {_words(p)}" for p in self._ours(app_id)]
        found += [
            str(path)
            for path in Path("/tmp").glob("howdah-app-*-*")
            if not psutil.pid_exists(int(path.name.split("-")[2]))
        ]
        return found

    def containers(self, app_id: str) -> list[psutil.Process]:
        """Processes in the application's containers."""
        return [
            p for p in containers_of(self.hadoop.folder) if _environ(p).get("SKEIN_APPLICATION_ID", app_id) == app_id
        ]

    def _ours(self, app_id: str) -> Iterator[psutil.Process]:
        for process in psutil.process_iter():
            words = _words(process)
            if process.pid in self.known or not any(
                mark in words for mark in ("com.anaconda.skein", "howdah.engine", "howdah submit", str(JOBS))
            ):
                continue
            environ = _environ(process)
            mine = environ.get("HADOOP_CONF_DIR") == str(self.hadoop.conf_dir)
            if mine and environ.get("SKEIN_APPLICATION_ID", app_id) == app_id:
                yield process

    def nothing_left(self, app_id: str) -> None:
        """Asserts it, within the seconds that NodeManagers take to end containers."""
        until(lambda: self.ended(app_id), f"{app_id} has ended")
        until(
            lambda: not self.left(app_id),
            f"nothing is left of {app_id}; it was:\n" + "\n".join(self.left(app_id)),
            20,
        )


def _environ(process: psutil.Process) -> dict[str, str]:
    try:
        return dict(process.environ())
    except psutil.Error:
        return {}


def _words(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


@pytest.fixture(scope="session")
def packed(hadoop: MiniHadoop) -> str:
    """The environment that runs the tests, in HDFS; packed once a session."""
    done = subprocess.run(
        [*HOWDAH, "env", "pack", "--name", ENVIRONMENT], capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stderr
    return ENVIRONMENT


@pytest.fixture
def yarn(hadoop: MiniHadoop, packed: str, tmp_path: Path) -> Iterator[Yarn]:
    """The small Hadoop with the environment; what a failed test leaves running is ended."""
    ours = Yarn(hadoop, tmp_path, {process.pid for process in psutil.process_iter()})
    before = ours.applications()
    yield ours
    for app_id in ours.applications() - before:
        if not ours.ended(app_id):
            ours.command("kill", app_id)
