"""The scheduler, and the whole container of the application's master, die under an application on the real YARN."""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import threading
from pathlib import Path
from typing import Any

import psutil
import pytest

from howdah.yarn_app.mini.processes import containers_of

pytestmark = pytest.mark.hadoop
Yarn = Any  # `conftest.Yarn`, which cannot be imported under pytest's importlib mode
SMALL = {"environment": "tests", "worker_memory": "640MiB", "master_memory": "768MiB", "show": "quiet"}


def test_the_scheduler_is_killed_three_times(yarn: Yarn, tmp_path: Path) -> None:
    """The master starts it again on the same address; workers keep what they have, nobody notices. 40 s."""
    log, stop = tmp_path / "log", tmp_path / "stop"
    submitter = yarn.start(yarn.job("waves.py"), str(log), str(stop), "0.1")
    yarn.until(lambda: len(pids(log)) == 2, "both workers work", 90)
    workers = pids(log)
    killed: set[int] = set()
    for _ in range(3):
        (victim,) = yarn.until(lambda: [one for one in schedulers(yarn) if one.pid not in killed], "a scheduler")
        victim.kill()
        killed.add(victim.pid)
        lines = len(yarn.executed(log))
        yarn.until(lambda lines=lines: len(yarn.executed(log)) > lines + 60, "the job goes on")
    stop.touch()
    out, err = submitter.communicate(timeout=120)
    assert submitter.returncode == 0, err + out
    end = json.loads(out.splitlines()[-1])
    assert yarn.executed(log) == dict.fromkeys(range(did(end)), 1), "nothing that a worker holds runs again"
    assert pids(log) == workers, "the same workers"
    assert len(end["restarted"]) == 3
    assert "signal 9, and started again on tls://" in end["restarted"][0]
    assert end["lost_containers"] == []
    yarn.nothing_left(end["app_id"])


def test_the_masters_container_is_killed_and_the_script_begins_anew(yarn: Yarn, tmp_path: Path) -> None:
    """Cluster mode: what the first attempt had begun to write is gone, what the second commits is there once. 60 s."""
    log, name = tmp_path / "log", f"commits-{secrets.token_hex(4)}"
    out_url = f"hdfs:///out/{name}"
    submitter = yarn.start(yarn.job("commits.py"), str(log), out_url, "24", "0.2")
    yarn.until(lambda: len(yarn.executed(log)) > 5, "some parts are written", 90)
    (app_id,) = (one for one in yarn.applications() if not yarn.ended(one))
    yarn.until(lambda: yarn.list_hdfs(f"/user/{user()}/.howdah/apps/{app_id}"), "its folder")
    kill_master(yarn, app_id)
    out, err = submitter.communicate(timeout=200)
    assert submitter.returncode == 0, err + out
    end = json.loads(out.splitlines()[-1])
    assert (end["status"], end["attempt"]) == ("SUCCEEDED", 2)
    assert "attempt 2" in end["out"]
    assert parts(out_url) == list(range(24))
    assert [one for one in yarn.list_hdfs("/out") if name in one] == [name], "nothing half-written"
    counts = yarn.executed(log)
    assert set(counts) == set(range(24))
    assert max(counts.values()) <= 2
    assert len(yarn.attempts(app_id)) == 2
    yarn.nothing_left(app_id)


def test_where_yarn_cannot_be_told_the_next_attempt_only_repeats_the_end(yarn: Yarn, tmp_path: Path) -> None:
    """The master's own word does not reach YARN here, and skein leaves a failed first attempt to be repeated. 40 s."""
    log = tmp_path / "log"
    nowhere = "yarn.resourcemanager.scheduler.address=127.0.0.1:9"
    run = yarn.submit("--conf", nowhere, yarn.job("slow.py"), str(log), "3", "0", "7", timeout=200)
    assert (run.code, run.end["status"]) == (7, "FAILED")
    assert yarn.executed(log) == {0: 1, 1: 1, 2: 1}, "the script is not begun anew"
    app = yarn.application(run.app_id)
    assert (app["finalStatus"], len(yarn.attempts(run.app_id))) == ("FAILED", 2)
    assert "slow.py ended with exit code 7" in app["diagnostics"]
    yarn.nothing_left(run.app_id)


def test_the_masters_container_is_killed_under_a_notebook(yarn: Yarn, tmp_path: Path) -> None:
    """The client finds the second attempt's scheduler; its graph goes on from the journal in HDFS. 60 s."""
    from howdah import Client, Variable, YarnCluster

    log = tmp_path / "log"

    def work(item: int, log: str) -> int:
        import os
        import time

        time.sleep(0.1)
        with open(log, "a") as file:
            file.write(f"{item} {os.getpid()}\n")
        return item * item

    with YarnCluster(n_workers=2, **SMALL) as cluster, Client(cluster) as client:
        app_id = cluster.app_id
        Variable("colour", client=client).set("grey")
        futures = client.map(work, range(150), log=str(log))
        total = client.submit(sum, futures)
        yarn.until(lambda: len(yarn.executed(log)) > 30, "some tasks ran", 90)
        kill_master(yarn, app_id, signal.SIGTERM)  # as YARN's NodeManager does
        assert client.gather(futures) == [item * item for item in range(150)]
        assert total.result() == sum(item * item for item in range(150))
        assert Variable("colour", client=client).get(timeout=10) == "grey"
        assert client.submit(max, 1, 2).result() == 2
        assert cluster.status()["attempt"] == 2
    counts = yarn.executed(log)
    assert set(counts) == set(range(150))
    assert max(counts.values()) <= 2, "a worker's results went with the first attempt, and only those"
    assert yarn.application(app_id)["finalStatus"] == "SUCCEEDED"
    yarn.nothing_left(app_id)


def test_the_masters_node_is_lost_in_client_mode(yarn: Yarn, tmp_path: Path) -> None:
    """Its NodeManager and all that it ran die as in a power cut; the script runs here and goes on. 75 s."""
    log, stop = tmp_path / "log", tmp_path / "stop"
    submitter = yarn.start("--deploy-mode", "client", yarn.job("waves.py"), str(log), str(stop), "0.1")
    said: list[str] = []
    reader = threading.Thread(target=lambda: said.extend(submitter.stdout or []), daemon=True)
    reader.start()
    yarn.until(lambda: len(yarn.executed(log)) > 20, "some tasks ran", 90)
    (app_id,) = (one for one in yarn.applications() if not yarn.ended(one))
    host = yarn.application(app_id)["amHostHttpAddress"].partition(":")[0]
    node = "nodemanager-1" if host == "127.0.0.2" else "nodemanager-2"
    yarn.hadoop.kill(node, containers=True)
    try:
        before = len(yarn.executed(log))
        yarn.until(lambda: len(yarn.executed(log)) > before + 60, "the job goes on in the second attempt", 150)
        stop.touch()
        assert submitter.wait(120) == 0
        reader.join(10)
        submitter.communicate()  # it has ended; its pipes are closed
    finally:
        yarn.hadoop.restart(node)
    end = json.loads(said[-1])
    assert (end["status"], end["attempt"]) == ("SUCCEEDED", 2)
    did_so = re.search(r"did (\d+)", "".join(said))
    assert did_so
    assert set(yarn.executed(log)) == set(range(int(did_so[1])))
    yarn.nothing_left(app_id)


# -- who is who


def schedulers(yarn: Yarn) -> list[psutil.Process]:
    """Scheduler processes in containers."""
    return [p for p in containers_of(yarn.hadoop.folder) if "howdah.engine.scheduler" in words(p)]


def kill_master(yarn: Yarn, app_id: str, number: int = signal.SIGKILL) -> None:
    """SIGKILL to every process of the master's container, as the kernel does when memory is short.

    SIGTERM goes to its process group alone, as YARN sends it to a container that is to go.
    """
    groups = set()
    for process in yarn.containers(app_id):
        try:
            if not process.environ().get("CONTAINER_ID", "").endswith("_01_000001"):
                continue
            if "com.anaconda.skein.ApplicationMaster" in words(process):
                groups.add(os.getpgid(process.pid))
            if number == signal.SIGKILL:
                process.kill()
        except (psutil.NoSuchProcess, ProcessLookupError):
            continue
    if number != signal.SIGKILL:
        assert groups
        for group in groups:
            os.killpg(group, number)


def words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def pids(log: Path) -> set[int]:
    """The worker processes that have done something, as the jobs' tasks tell."""
    return {int(line.split()[1]) for line in log.read_text().splitlines()} if log.exists() else set()


def did(end: dict[str, Any]) -> int:
    """How many tasks the job says there were."""
    found = re.search(r"did (\d+)", end["out"])
    assert found, end["out"]
    return int(found[1])


def parts(url: str) -> list[int]:
    """The rows of the output that `commits.py` writes."""
    import howdah as hd

    return sorted(hd.read_parquet(url).compute(scheduler="threads")["part"].tolist())


def user() -> str:
    return psutil.Process().username()
