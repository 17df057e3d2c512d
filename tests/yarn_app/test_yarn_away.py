"""YARN and HDFS themselves fail or take back under a running application: the answer is right, and nothing is left."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import psutil
import pytest

from howdah.yarn_app.storage.staging import Staging

pytestmark = pytest.mark.hadoop
Yarn = Any  # `conftest.Yarn`, which cannot be imported under pytest's importlib mode


def test_the_resourcemanager_is_restarted_during_the_job_and_away_at_its_end(yarn: Yarn, tmp_path: Path) -> None:
    """It keeps the running containers, the application's master finds it again, and so does who waits. 45 s."""
    log, stop = tmp_path / "log", tmp_path / "stop"
    submitter = yarn.start(yarn.job("waves.py"), str(log), str(stop), "0.1")
    yarn.until(lambda: len(pids(log)) == 2, "both workers work", 90)
    before = pids(log)

    def more() -> None:
        lines = len(yarn.executed(log))
        yarn.until(lambda: len(yarn.executed(log)) > lines + 40, "work goes on")

    yarn.hadoop.kill("resourcemanager")
    more()
    yarn.hadoop.restart("resourcemanager")
    more()
    yarn.hadoop.kill("resourcemanager")
    stop.touch()
    yarn.until(lambda: not scripts(), "the program has ended", 60)
    yarn.hadoop.restart("resourcemanager")
    out, err = submitter.communicate(timeout=120)
    assert submitter.returncode == 0, err + out
    end = json.loads(out.splitlines()[-1])
    assert end["status"] == "SUCCEEDED"
    counts = yarn.executed(log)
    assert counts == dict.fromkeys(range(did(end)), 1), "each task ran once, although nobody knew YARN for a while"
    assert pids(log) == before, "the same workers did it"
    assert end["lost_containers"] == []
    yarn.nothing_left(end["app_id"])


def test_a_datanode_is_killed_during_a_scan(yarn: Yarn, tmp_path: Path) -> None:
    """Blocks with two replicas are read from the other one. 30 s."""
    log = tmp_path / "log"
    names = [tmp_path / f"{number}.bin" for number in range(4)]
    for name in names:
        name.write_bytes(bytes(range(256)) * 4096)  # 1 MiB, 4 blocks
    put = ["hdfs", "dfs", "-D", "dfs.replication=2", "-D", "dfs.blocksize=262144"]
    environments = Staging.of_user().environments
    conf = tmp_path / "conf"
    shutil.copytree(yarn.hadoop.conf_dir, conf)
    site = (conf / "hdfs-site.xml").read_text()
    asked = re.sub(r"(<name>dfs.replication</name>\s*<value>)1<", r"\g<1>2<", site)
    assert asked != site
    (conf / "hdfs-site.xml").write_text(asked)
    subprocess.run([*put, "-mkdir", "-p", "/in/scan"], check=True, capture_output=True, timeout=60)
    subprocess.run([*put, "-put", "-f", *map(str, names), "/in/scan"], check=True, capture_output=True, timeout=60)
    # What runs the job is there twice, too: the files of this Hadoop have one replica unless somebody asks for more.
    subprocess.run(["hdfs", "dfs", "-setrep", "-w", "2", environments], check=True, capture_output=True, timeout=60)
    submitter = yarn.start(yarn.job("scans.py"), str(log), "hdfs:///in/scan", "80", env={"HADOOP_CONF_DIR": str(conf)})
    yarn.until(lambda: len(yarn.executed(log)) > 10, "some tasks ran", 90)
    yarn.hadoop.kill("datanode-1")
    try:
        out, err = submitter.communicate(timeout=150)
    finally:
        yarn.hadoop.restart("datanode-1")
    assert submitter.returncode == 0, err + out
    end = json.loads(out.splitlines()[-1])
    assert yarn.executed(log) == dict.fromkeys(range(80), 1), "reading goes on within the task"
    assert end["lost_containers"] == []
    yarn.nothing_left(end["app_id"])


def test_another_queue_takes_its_share_back(yarn: Yarn, tmp_path: Path) -> None:
    """YARN preempts workers over their queue's share: it is told as that, costs what ran, and others are asked for.

    Ours has 84 % of the cluster, and the queue's share is 60 %: what is left has no room for the other's two. 45 s.
    """
    if len(yarn.hadoop.options.queues) < 2:
        pytest.skip("the Hadoop in HOWDAH_TEST_HADOOP has one queue: start it with --queues default:60,other:40")
    log, stop = tmp_path / "log", tmp_path / "stop"
    submitter = yarn.start(
        "--workers", "4", "--worker-memory", "900MiB", "--max-failures", "0",
        yarn.job("waves.py"), str(log), str(stop), "0.1",
    )  # fmt: skip
    yarn.until(lambda: len(pids(log)) == 4, "all workers work", 120)
    (app_id,) = (one for one in yarn.applications() if not yarn.ended(one))
    other = foreign_application(memory=1024, containers=2)
    try:
        told = yarn.until(lambda: preempted(yarn, app_id), "YARN has preempted a worker", 90)
        assert "preempted by scheduler" in told[0]
    finally:
        subprocess.run(["yarn", "application", "-kill", other], check=False, capture_output=True, timeout=60)
    yarn.until(lambda: len(yarn.workers()) == 4, "there are as many workers as before", 60)
    stop.touch()
    out, err = submitter.communicate(timeout=120)
    assert submitter.returncode == 0, err + out
    end = json.loads(out.splitlines()[-1])
    assert end["status"] == "SUCCEEDED", "max_failures 0: what YARN takes is no failure"
    assert end["preempted_containers"]
    assert end["lost_containers"] == []
    assert set(yarn.executed(log)) == set(range(did(end)))
    yarn.nothing_left(app_id)


def did(end: dict[str, Any]) -> int:
    """How many tasks the job says there were."""
    found = re.search(r"did (\d+)", end["out"])
    assert found, end["out"]
    return int(found[1])


def scripts() -> list[int]:
    """Driver programs that run in containers."""
    found = [(one, one.info["cmdline"] or []) for one in psutil.process_iter(["cmdline"])]
    return [one.pid for one, words in found if "waves.py" in words and "howdah" not in words]


def pids(log: Path) -> set[int]:
    """The worker processes that have done something, as the jobs' tasks tell."""
    return {int(line.split()[1]) for line in log.read_text().splitlines()} if log.exists() else set()


def preempted(yarn: Yarn, app_id: str) -> list[str]:
    told = json.loads(yarn.command("status", app_id, "--json").stdout)
    return list((told.get("master") or {}).get("preempted") or [])


def foreign_application(memory: int, containers: int) -> str:
    """Somebody else's application in the queue `other`, which does nothing for a while; returns its id."""
    import skein

    service = skein.Service(
        resources=skein.Resources(memory=memory, vcores=1), script="sleep 180", instances=containers
    )
    with skein.Client() as client:
        return str(client.submit(skein.ApplicationSpec(name="foreign", queue="other", services={"s": service})))
