"""What goes wrong under a running application, on the real YARN: containers, memory, the NameNode, an environment."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

pytestmark = pytest.mark.hadoop
Yarn = Any  # `conftest.Yarn`, which cannot be imported under pytest's importlib mode


def test_a_killed_worker_container_costs_only_its_own_tasks(yarn: Yarn, tmp_path: Path) -> None:
    log = tmp_path / "log"
    submitter = yarn.start(yarn.job("slow.py"), str(log), "150", "0.1")
    yarn.until(lambda: len(workers(log)) == 2 and len(yarn.executed(log)) > 20, "both workers work", 90)
    killed = yarn.kill_worker(next(iter(workers(log))))
    out, err = submitter.communicate(timeout=120)
    assert submitter.returncode == 0, err
    end = json.loads(out.splitlines()[-1])
    counts = yarn.executed(log)
    assert set(counts) == set(range(150))
    again = {item for item, count in counts.items() if count > 1}
    theirs = set().union(*(items for pid, items in workers(log).items() if pid in killed))
    assert again <= theirs, "what another worker had done is not done again"
    told = end["lost_containers"][0]
    assert "its worker was seen to use" in told
    assert " MiB at most" in told
    assert len(end["lost_containers"]) == 1
    assert len(workers(log)) >= 2
    yarn.nothing_left(end["app_id"])


def workers(log: Path) -> dict[int, set[int]]:
    """Process id -> the items that it has worked on, as the jobs' tasks tell."""
    found: dict[int, set[int]] = {}
    for line in log.read_text().splitlines() if log.exists() else ():
        item, pid = line.split()
        found.setdefault(int(pid), set()).add(int(item))
    return found


def test_a_task_over_its_workers_memory_says_so_with_the_numbers(yarn: Yarn) -> None:
    run = yarn.submit(yarn.job("hungry.py"), timeout=170)
    assert run.code == 1
    assert run.end["status"] == "FAILED"
    said = run.end["err"]
    assert "WorkerLost: eat[0] was given up" in said, "which task it was"
    assert re.search(r"ended because it used \d+ MiB of memory, and its limit is \d+ MiB; peak memory \d+ MiB", said)
    assert "on 127.0.0." in said, "where"
    yarn.nothing_left(run.app_id)


def test_a_container_that_yarn_ends_costs_its_tasks_a_second_try(yarn: Yarn, tmp_path: Path) -> None:
    """A task's child is not counted by the worker's supervisor, but by YARN, which ends all of the container: the
    child, and so the task, fails of that, and is not to blame."""
    run = yarn.submit(yarn.job("hungry.py"), str(tmp_path / "fed"), timeout=170)
    assert run.code == 0, run.err
    assert (tmp_path / "fed").exists()
    told = run.end["lost_containers"][0]
    assert "physical memory" in told, "what was lost is told, with YARN's reason"
    assert "1 GB" in told, "the container's size"
    yarn.nothing_left(run.app_id)


def test_workers_that_cannot_start_end_the_application_with_their_words(yarn: Yarn, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import os\nif 'SKEIN_CONTAINER_ID' in os.environ:\n    os.write(2, b'no such library\\n')\n    os._exit(3)\n"
    )
    began = time.monotonic()
    run = yarn.submit(
        "--py-files", "sitecustomize.py", "--max-failures", "2", yarn.job("slow.py"), "/dev/null", "5", "0"
    )
    assert run.code == 1
    assert time.monotonic() - began < 90
    assert re.search(r"\d worker containers failed within 10 minutes, and 2 are allowed", run.end["diagnostics"])
    assert "no such library" in run.end["diagnostics"]
    yarn.nothing_left(run.app_id)


def test_the_namenode_is_restarted_during_the_job(yarn: Yarn, tmp_path: Path) -> None:
    log = tmp_path / "log"
    job = [yarn.job("reads.py"), str(log), "hdfs:///in/small"]
    files = yarn.command("--version")
    assert files.returncode == 0
    from howdah.yarn_app.storage.staging import Staging

    staging = Staging.of_user()
    staging.files.mkdirs("/in/small")
    for number in range(4):
        staging.files.create(f"/in/small/{number}.txt", b"x" * 1000)
    submitter = yarn.start(*job)
    yarn.until(lambda: len(yarn.executed(log)) > 10, "some tasks ran", 90)
    yarn.hadoop.kill("namenode")
    yarn.hadoop.restart("namenode")
    out, err = submitter.communicate(timeout=150)
    assert submitter.returncode == 0, err + out
    end = json.loads(out.splitlines()[-1])
    assert set(yarn.executed(log)) == set(range(60))
    yarn.nothing_left(end["app_id"])


def test_a_nodemanager_with_its_containers_dies(yarn: Yarn, tmp_path: Path) -> None:
    """A whole node is lost: YARN tells after its expiry, the scheduler at once; the job goes on elsewhere."""
    log = tmp_path / "log"
    submitter = yarn.start(yarn.job("slow.py"), str(log), "200", "0.1")
    yarn.until(lambda: len(yarn.executed(log)) > 20, "some tasks ran", 90)
    (app_id,) = (one for one in yarn.applications() if not yarn.ended(one))
    master = yarn.application(app_id)["amHostHttpAddress"].partition(":")[0]
    other = 2 if master == "127.0.0.2" else 1
    yarn.hadoop.kill(f"nodemanager-{other}", containers=True)
    try:
        out, err = submitter.communicate(timeout=120)
    finally:
        yarn.hadoop.restart(f"nodemanager-{other}")
    assert submitter.returncode == 0, err
    assert set(yarn.executed(log)) == set(range(200))
    assert all(psutil.pid_exists(p.pid) for p in yarn.hadoop.daemons.values() if p)
    yarn.nothing_left(json.loads(out.splitlines()[-1])["app_id"])
