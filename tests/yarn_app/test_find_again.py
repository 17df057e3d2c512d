"""A client whose scheduler is started again elsewhere finds it: by asking its cluster, or in a file; no Hadoop."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from waiting import until

from howdah import Client, Variable
from howdah.engine.client.connection import read_address_file
from howdah.engine.deploy.cluster import Cluster
from howdah.errors import HowdahError


class Moving(Cluster):
    """A cluster whose scheduler has no fixed address, as one on YARN; `where` is what YARN would say."""

    security = None
    scratch_root = None
    expected_workers = 0

    def __init__(self, folder: Path) -> None:
        self.folder, self.where, self.asked = folder, "", 0
        self.process: subprocess.Popen[bytes] | None = None
        self.start("first")
        self.scheduler_address = self.where

    def start(self, name: str) -> None:
        file = self.folder / f"{name}.address"
        command = [sys.executable, "-m", "howdah.engine.scheduler", "--listen", f"unix://{self.folder}/{name}.sock"]
        command += ["--address-file", str(file), "--journal", str(self.folder / "journal"), "--status-port", "-1"]
        self.process = subprocess.Popen(command)
        until(file.exists, f"{name} serves", 30)
        self.where = str(json.loads(file.read_text())["address"])

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait(10)
        self.where = ""

    def close(self) -> None:
        self.kill()

    def locate_scheduler(self) -> str:
        self.asked += 1
        if self.where == "ended":
            raise HowdahError("application_1_0001 ended FAILED: its second attempt failed")
        return self.where


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Moving]:
    one = Moving(tmp_path)
    yield one
    one.kill()


def test_it_asks_its_cluster_and_goes_on(cluster: Moving) -> None:
    with Client(cluster, lease=3.0) as client:
        Variable("colour", client=client).set("grey")
        cluster.kill()
        killed = time.monotonic()
        until(lambda: cluster.asked > 2 and time.monotonic() > killed + 3.2)  # its lease is over, and it asks on
        cluster.start("second")
        assert Variable("colour", client=client).get(timeout=20) == "grey"


def test_it_gives_up_when_its_cluster_has_ended(cluster: Moving) -> None:
    with Client(cluster) as client:
        cluster.kill()
        cluster.where = "ended"
        with pytest.raises(HowdahError, match="its second attempt failed"):
            client.scheduler_info()


def test_a_script_in_client_mode_looks_into_a_file(
    cluster: Moving, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "scheduler"
    monkeypatch.setenv("HOWDAH_SCHEDULER", cluster.where)
    monkeypatch.setenv("HOWDAH_SCHEDULER_FILE", str(file))
    assert read_address_file(str(file)) == ""
    with Client() as client:
        Variable("colour", client=client).set("grey")
        cluster.kill()
        cluster.start("second")
        file.write_text(json.dumps({"address": cluster.where}))
        assert Variable("colour", client=client).get(timeout=20) == "grey"
    file.write_text(json.dumps({"ended": "application_1_0001 has ended KILLED"}))
    with pytest.raises(HowdahError, match="has ended KILLED"):
        read_address_file(str(file))
