"""Every way in which an application ends, on the real YARN; after each nothing is left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tarfile
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest

from howdah.yarn_app.storage.staging import Staging

pytestmark = pytest.mark.hadoop
Yarn = Any  # `conftest.Yarn`, which cannot be imported under pytest's importlib mode


def test_success_and_what_reaches_the_script_and_the_tasks(yarn: Yarn, tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("a,b")
    (tmp_path / "extra.py").write_text("VALUE = 'from py-files'")
    with zipfile.ZipFile(tmp_path / "lib.zip", "w") as archive:
        archive.writestr("zipped/__init__.py", "")
        archive.writestr("zipped/inner.py", "VALUE = 'from a zip'")
    (tmp_path / "weights.txt").write_text("0.5")
    with tarfile.open(tmp_path / "model.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "weights.txt", "weights.txt")
    arguments = ["--env", "x", "a b", "it's", '"q"', "$HOME", "*", "", "--", "-n"]
    run = yarn.submit(
        "--files", "data.csv#lookup.csv", "--py-files", "extra.py,lib.zip", "--archives", "model.tar.gz#model",
        "--env-var", "COLOUR=a=b c", "--tags", "Nightly,x", yarn.job("everything.py"), *arguments,
    )  # fmt: skip
    assert run.code == 0, run.err
    told = json.loads(run.end["out"])
    assert told["arguments"] == arguments
    assert told["total"] == sum(x * x for x in range(100))
    for place in (told["here"], told["there"]):
        assert (place["file"], place["archive"], place["variable"]) == ("a,b", "0.5", "a=b c")
        assert (place["module"], place["zipped"]) == ("from py-files", "from a zip")
        assert place["user_site"] is False
        assert place["java_options"] is None, "those are for skein's application master alone"
        assert place["python"].endswith("/environment/bin/python")
    assert told["here"]["python"] != told["there"]["python"], "another container"
    app = yarn.application(run.app_id)
    assert (app["name"], app["finalStatus"]) == ("everything", "SUCCEEDED")
    assert set(app["applicationTags"].split(",")) == {"howdah", "nightly", "x"}
    assert run.end["tasks"] == 101
    assert {"driver", "submit", "AM", "containers", "environment", "workers", "compute"} <= set(run.end["seconds"])
    yarn.nothing_left(run.app_id)


@pytest.mark.pace
def test_a_second_submission_uploads_nothing_and_starts_soon(yarn: Yarn) -> None:
    first = yarn.submit("--env", "current", yarn.job("both.py"))
    assert first.code == 0, first.err
    environments = Staging.of_user().environments
    before = yarn.list_hdfs(environments)
    assert before, "the environment that ran is there"
    run = yarn.submit("--env", "current", yarn.job("both.py"))
    assert run.code == 0, run.err
    phases = [event.get("phase") for event in run.events]
    assert "uploading" not in phases
    assert yarn.list_hdfs(environments) == before
    assert run.end["seconds"]["environment"] < 3, "the nodes have it unpacked"
    assert run.end["first_task"] < 15
    yarn.nothing_left(run.app_id)


def test_a_users_exception_is_shown_here_and_leaves_no_output(yarn: Yarn) -> None:
    run = yarn.submit(yarn.job("raises.py"), "hdfs:///out/raises")
    assert run.code == 1
    assert run.end["status"] == "FAILED"
    assert "one part is written" in run.end["out"]
    assert "Traceback (most recent call last):" in run.end["err"]
    assert 'in mistake\n    return {"a": 1}[key]' in run.end["err"]
    assert "KeyError: 'b'" in run.end["err"]
    app = yarn.application(run.app_id)
    assert (app["state"], app["finalStatus"]) == ("FINISHED", "FAILED")
    assert "KeyError: 'b'" in app["diagnostics"], "YARN's own pages tell it too"
    assert yarn.list_hdfs("/out/raises") == []
    yarn.nothing_left(run.app_id)


def test_a_scripts_exit_code_is_ours_and_it_is_not_begun_anew(yarn: Yarn, tmp_path: Path) -> None:
    """skein alone would let YARN start the next attempt."""
    log = tmp_path / "log"
    run = yarn.submit(yarn.job("slow.py"), str(log), "3", "0", "7")
    assert run.code == 7
    assert (run.end["status"], run.end["exit_code"], run.end["attempt"]) == ("FAILED", 7, 1)
    assert yarn.executed(log) == {0: 1, 1: 1, 2: 1}
    assert len(yarn.attempts(run.app_id)) == 1
    yarn.nothing_left(run.app_id)


def test_howdah_kill(yarn: Yarn, tmp_path: Path) -> None:
    log = tmp_path / "log"
    submitter = yarn.start(yarn.job("slow.py"), str(log), "5000", "0.05")
    yarn.until(lambda: yarn.executed(log), "a task ran", 90)
    listed = [json.loads(line) for line in yarn.command("list", "--json").stdout.splitlines()]
    assert [one["state"] for one in listed] == ["RUNNING"]
    app_id = listed[0]["app_id"]

    def joined() -> dict[str, Any] | None:
        found: dict[str, Any] = json.loads(yarn.command("status", app_id, "--json").stdout)
        return found if found["master"].get("joined") == 2 else None

    status = yarn.until(joined, "both workers have joined", 60)
    assert status["master"]["work"]["tasks"]["total"] == 5000
    assert "scheduler.log" in yarn.command("logs", app_id).stdout, "logs of a running application"
    killed = yarn.command("kill", app_id)
    assert killed.returncode == 0, killed.stderr
    out, err = submitter.communicate(timeout=60)
    assert submitter.returncode == 137, err
    assert json.loads(out.splitlines()[-1])["status"] == "KILLED"
    assert "howdah kill" in yarn.application(app_id)["diagnostics"]
    yarn.nothing_left(app_id)
    again = yarn.command("kill", app_id)
    assert (again.returncode, "has ended already" in again.stdout) == (0, True)


def test_killed_by_yarn_itself_leaves_nothing_after_the_next_command(yarn: Yarn, tmp_path: Path) -> None:
    """YARN's own kill gives the master a quarter of a second."""
    log = tmp_path / "log"
    job = [yarn.job("slow.py"), str(log), "5000", "0.05"]
    submitted = yarn.command("submit", "--env", "tests", "--worker-memory", "640MiB", "--no-wait", *job)
    assert submitted.returncode == 0, submitted.stderr
    app_id = submitted.stdout.strip()
    assert app_id.startswith("application_")
    yarn.until(lambda: yarn.executed(log), "a task ran", 90)
    subprocess.run(["yarn", "application", "-kill", app_id], check=True, capture_output=True, timeout=60)
    yarn.until(lambda: yarn.ended(app_id), "YARN has killed it")
    assert yarn.command("list").returncode == 0
    yarn.nothing_left(app_id)


def test_cluster_mode_goes_on_when_its_shell_is_killed(yarn: Yarn, tmp_path: Path) -> None:
    log = tmp_path / "log"
    submitter = yarn.start(yarn.job("slow.py"), str(log), "120", "0.1")
    yarn.until(lambda: yarn.executed(log), "a task ran", 90)
    os.killpg(submitter.pid, signal.SIGKILL)
    submitter.communicate()
    assert len(yarn.executed(log)) < 120
    (app_id,) = (one for one in yarn.applications() if not yarn.ended(one))
    yarn.until(lambda: yarn.ended(app_id), "it has ended")
    assert yarn.application(app_id)["finalStatus"] == "SUCCEEDED"
    assert len(yarn.executed(log)) == 120
    assert "all 120" in yarn.command("logs", app_id, "--file", "driver.out").stdout
    yarn.nothing_left(app_id)


def test_client_mode_ends_within_its_lease_when_its_shell_is_killed(yarn: Yarn, tmp_path: Path) -> None:
    log = tmp_path / "log"
    job = [yarn.job("slow.py"), str(log), "5000", "0.05"]
    submitter = yarn.start("--deploy-mode", "client", "--lease", "4", *job)
    yarn.until(lambda: yarn.executed(log), "a task ran", 90)
    (app_id,) = (one for one in yarn.applications() if not yarn.ended(one))
    submitter.kill()  # the submitter alone: the script must not outlive it
    killed = time.monotonic()
    submitter.communicate()
    yarn.until(lambda: yarn.ended(app_id), "it has ended", 15)
    assert time.monotonic() - killed < 4 + 6
    assert "no client renewed the lease for" in yarn.application(app_id)["diagnostics"]
    yarn.command("list")
    yarn.nothing_left(app_id)


def test_client_mode_runs_here_and_mirrors_the_code(yarn: Yarn, tmp_path: Path) -> None:
    log = tmp_path / "log"
    done = yarn.command(
        "submit", "--env", "tests", "--workers", "1", "--worker-memory", "640MiB", "--deploy-mode", "client",
        yarn.job("slow.py"), str(log), "6", "0.01", "5",
    )  # fmt: skip
    assert done.returncode == 5, done.stderr
    assert done.stdout == "all 6\n", "the script's output is the command's, and nothing else is"
    app_id = next(word for word in done.stderr.split() if word.startswith("application_"))
    assert yarn.application(app_id)["finalStatus"] == "FAILED"
    yarn.nothing_left(app_id)
