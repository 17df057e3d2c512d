"""Workers of a local cluster that are asked to go, restarted, or die: their names, what they hold, what is said."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from waiting import until

from howdah.engine.api import Client, wait
from howdah.engine.deploy.local import LocalCluster


@pytest.fixture
def root() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="howdah-test-") as folder:
        yield Path(folder)


def noted(i: int, folder: str) -> np.ndarray:
    with open(f"{folder}/{i}", "a") as file:
        file.write("x")
    return np.full(10_000, i)


def test_a_smaller_cluster_keeps_what_those_that_go_have_made(root: Path, tmp_path: Path) -> None:
    with LocalCluster(3, local_directory=root) as cluster, Client(cluster) as client:
        cluster.wait_for_workers()
        futures = client.map(noted, range(60), folder=str(tmp_path))
        wait(futures, timeout=60)
        cluster.scale(1)
        until(lambda: len(client.scheduler_info()["workers"]) == 1)
        assert [int(value[0]) for value in client.gather(futures)] == list(range(60))
        assert {len(path.read_text()) for path in tmp_path.iterdir()} == {1}
        drained = client.summary()["drained"]
        assert [(one["reason"], one["lost"]) for one in drained] == [("the cluster was made smaller", 0)] * 2
        assert sum(one["results"] for one in drained) > 0


def test_a_worker_that_dies_comes_back_under_its_name(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    with LocalCluster(1, local_directory=root) as cluster, Client(cluster) as client:
        cluster.wait_for_workers()
        pid = client.scheduler_info()["workers"]["worker-0"]["pid"]
        supervisor = cluster.processes["worker-0"].pid
        assert pid != supervisor
        os.kill(pid, signal.SIGKILL)
        assert client.submit(abs, -1).result(30) == 1
        again = client.scheduler_info()["workers"]["worker-0"]["pid"]
        assert again not in (pid, supervisor)
        assert cluster.processes["worker-0"].pid == supervisor
        assert f"worker worker-0: its process {pid} was ended by signal SIGKILL; peak memory" in caplog.text
        client.restart()
        until(lambda: client.scheduler_info()["workers"].get("worker-0", {}).get("pid", again) != again)
        assert cluster.processes["worker-0"].pid == supervisor  # nobody's fault, and no new process for the cluster


@pytest.mark.slow
def test_a_cluster_whose_workers_cannot_live_says_so(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eleven deaths, with pauses between them: about half a minute."""
    (root / "tornado.py").write_text("import os; os._exit(9)\n")
    monkeypatch.syspath_prepend(str(root))
    cluster = LocalCluster(1, local_directory=root)
    try:
        until(lambda: cluster.failure, seconds=90)
        assert "workers die as soon as they are started" in cluster.failure
    finally:
        cluster.close()
