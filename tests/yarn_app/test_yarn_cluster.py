"""`YarnCluster` in a program, on the real YARN: one cluster for most of these, as starting one takes seconds."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from howdah.errors import ApplicationFailed, DeadlineExceeded, HowdahError, InputError
from howdah.yarn_app import Specification, YarnCluster
from howdah.yarn_app.submit.application import Application
from howdah.yarn_app.submit.submit import connect_hadoop

pytestmark = pytest.mark.hadoop
Yarn = Any  # `conftest.Yarn`, which cannot be imported under pytest's importlib mode
SMALL = {"environment": "tests", "worker_memory": "640MiB", "master_memory": "768MiB"}


@pytest.fixture(scope="module")
def cluster(packed: str) -> Iterator[YarnCluster]:
    with YarnCluster(name="shared", n_workers=1, show="quiet", **SMALL) as one:
        yield one


def test_work_is_done_and_the_cluster_says_what_it_is(cluster: YarnCluster) -> None:
    from howdah import Client

    with Client(cluster) as client:
        assert client.gather(client.map(lambda x: x + 1, range(10))) == list(range(1, 11))
        assert client.scratch_root == cluster.scratch_root
    assert cluster.scheduler_address.startswith("tls://127.0.0.")
    assert oct(os.stat(cluster.security).st_mode & 0o777) == "0o700"
    assert cluster.app_id.startswith("application_")
    assert cluster.name == "shared"
    assert [worker["state"] for worker in cluster.workers()] == ["RUNNING"]
    assert cluster.app_id in cluster.dashboard_link
    assert cluster.app_id in repr(cluster)
    assert "1 connected, 1 wanted" in cluster._repr_html_()
    console = Console(width=120)
    with console.capture() as shown:
        console.print(cluster)
    assert "1 connected, 1 wanted" in shown.get()


def test_scaling_up_and_down(cluster: YarnCluster, yarn: Yarn) -> None:
    from howdah import Client

    with Client(cluster) as client:
        cluster.scale(3)
        client.wait_for_workers(3, timeout=60)
        hosts = {worker["host"] for worker in cluster.workers()}
        assert hosts == {"127.0.0.2", "127.0.0.3"}, "spread over the nodes"
        cluster.scale(1)
        yarn.until(lambda: len(client.scheduler_info()["workers"]) == 1, "two workers have gone")
        yarn.until(lambda: len(cluster.workers()) == 1, "their containers, too")
        assert client.submit(sum, [1, 2]).result() == 3
        assert cluster.status()["lost"] == [], "who was asked to go is not lost"
    with pytest.raises(InputError, match="n: got -1"):
        cluster.scale(-1)


def test_logs_and_dashboard_of_a_running_application(cluster: YarnCluster, yarn: Yarn) -> None:
    import json
    import urllib.request

    files = {name for container in cluster.logs().values() for name in container}
    assert {"scheduler.log", "application.master.log"} <= files
    application = Application.find(cluster.app_id, *connect_hadoop())
    page = application.master().pages()["howdah"]
    application.close()
    address = f"{yarn.hadoop.resourcemanager_url}/proxy/{cluster.app_id}/pages/howdah/status.json"
    assert f"/proxy/{cluster.app_id}/" in page or cluster.app_id in page
    with urllib.request.urlopen(address, timeout=10) as answer:
        assert "workers" in json.load(answer)


def test_another_shell_joins_and_leaves_it_running(cluster: YarnCluster) -> None:
    code = f"""
from howdah import Client, YarnCluster
with YarnCluster.from_application_id({cluster.app_id!r}) as cluster, Client(cluster) as client:
    print(client.submit(sum, [1, 2]).result())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "3\n"), done.stderr
    assert cluster.workers()


def test_from_current_outside_of_an_application() -> None:
    with pytest.raises(HowdahError, match="not started by `howdah submit`"):
        YarnCluster.from_current()


def test_a_file_a_failing_program_and_an_end(yarn: Yarn, tmp_path: Path) -> None:
    file = tmp_path / "cluster.yaml"
    file.write_text(Specification(name="from-file", n_workers=0, **SMALL).to_yaml())
    one = YarnCluster.from_specification(file, show="quiet")
    app_id = one.app_id

    def program() -> None:
        with one:
            raise ZeroDivisionError("of the user's program")

    with pytest.raises(ZeroDivisionError):
        program()
    app = yarn.application(app_id)
    assert (app["name"], app["finalStatus"]) == ("from-file", "FAILED")
    assert "of the user's program" in app["diagnostics"]
    one.close()
    assert "ended" in repr(one)
    yarn.nothing_left(app_id)


def test_what_yarn_cannot_give_in_time_is_told_and_ended(cluster: YarnCluster, yarn: Yarn) -> None:
    from howdah import Client

    with Client(cluster) as client:
        cluster.scale(4)  # more than one node has room for: no node is free now
        client.wait_for_workers(4, timeout=60)
        before = yarn.applications()
        with pytest.raises(DeadlineExceeded, match=r"no worker started within 12 s .*0 run, 3 are not granted"):
            YarnCluster(n_workers=3, start_timeout=12, show="quiet", **{**SMALL, "worker_memory": "3700MiB"})
        (app_id,) = yarn.applications() - before
        yarn.nothing_left(app_id)
        cluster.scale(1)
        yarn.until(lambda: len(cluster.workers()) == 1, "the cluster is small again")


def test_an_environment_that_cannot_run_is_told_in_its_own_words(yarn: Yarn, tmp_path: Path) -> None:
    import tarfile

    (tmp_path / "python").write_text("#!/bin/sh\necho 'this is no python' >&2; exit 9\n")
    (tmp_path / "python").chmod(0o755)
    with tarfile.open(tmp_path / "env.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "python", "bin/python")
    before = yarn.applications()
    with pytest.raises(ApplicationFailed, match="this is no python") as caught:
        YarnCluster(n_workers=1, show="quiet", **{**SMALL, "environment": str(tmp_path / "env.tar.gz")})
    (app_id,) = yarn.applications() - before
    assert caught.value.app_id == app_id
    yarn.nothing_left(app_id)
