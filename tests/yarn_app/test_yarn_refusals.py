"""What is refused, at once where the edge can see it, with what to do; on the real YARN. Nothing is submitted."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from howdah.yarn_app.storage.staging import Staging

pytestmark = pytest.mark.hadoop
Yarn = Any  # `conftest.Yarn`, which cannot be imported under pytest's importlib mode


@pytest.fixture(autouse=True)
def nothing_is_submitted(yarn: Yarn) -> Iterator[None]:
    before = yarn.applications()
    yield
    assert yarn.applications() == before


def refused(yarn: Yarn, *words: str, env: dict[str, str] | None = None, seconds: float = 15) -> str:
    """What `howdah submit` says, with an exit code that is not 0, soon."""
    began = time.monotonic()
    done = yarn.command("submit", "--env", "tests", *words, yarn.job("slow.py"), "/dev/null", "1", "0", env=env)
    assert done.returncode in (1, 2), done.stdout + done.stderr
    assert time.monotonic() - began < seconds
    assert "Traceback" not in done.stderr
    return str(done.stderr)


def test_more_memory_than_any_node_has(yarn: Yarn) -> None:
    output = refused(yarn, "--worker-memory", "40GiB")
    assert "a worker of 40GiB (worker_memory) with 4GiB overhead needs a container of 44GiB" in output
    assert f"the largest that this YARN gives is {yarn.hadoop.options.memory_per_node >> 10}GiB" in output
    output = refused(yarn, "--worker-cores", "64")
    assert (
        f"needs 64 cores, and the most that this YARN gives to one container is {yarn.hadoop.options.cores_per_node}"
        in output
    )
    assert "the driver program with the application master needs a container of 65GiB" in refused(
        yarn, "--driver-memory", "64GiB"
    )


def test_yarn_is_not_on_path(yarn: Yarn) -> None:
    output = refused(yarn, env={"PATH": "/usr/bin:/bin"})
    assert "there is no `yarn` command on PATH" in output
    assert "add $HADOOP_HOME/bin to PATH" in output


def test_no_configuration(yarn: Yarn, tmp_path: Path) -> None:
    output = refused(yarn, env={"HADOOP_CONF_DIR": ""})
    assert "HADOOP_CONF_DIR is not set: point it at the folder" in output
    output = refused(yarn, env={"HADOOP_CONF_DIR": str(tmp_path)})
    assert "there is no yarn-site.xml in it" in output


def test_no_java(yarn: Yarn, tmp_path: Path) -> None:
    assert "no Java to run Hadoop's client on" in refused(yarn, env={"JAVA_HOME": str(tmp_path)})


def test_a_dead_resource_manager(yarn: Yarn) -> None:
    yarn.hadoop.kill("resourcemanager")
    try:
        output = refused(yarn)
        doctor = yarn.command("doctor")
    finally:
        yarn.hadoop.restart("resourcemanager")
    assert "YARN's ResourceManager does not answer" in output
    assert "Connection refused" in output
    assert doctor.returncode == 1
    assert "wrong" in doctor.stdout
    assert yarn.command("doctor").returncode == 0


def test_an_environment_that_is_not_there(yarn: Yarn) -> None:
    output = refused(yarn, "--env", "testz")
    assert "no environment 'testz'" in output
    assert "did you mean 'tests'?" in output


def test_an_environment_with_another_python(yarn: Yarn) -> None:
    """The store's description of the packed environment, under another hash and with another Python."""
    from howdah.envpack import EnvStore

    staging = Staging.of_user()
    entry = EnvStore(staging.fs, staging.environments).resolve("tests")
    other = "0" * 32
    facts = {**json.loads(staging.fs.cat_file(entry.path.replace(".tar.gz", ".json"))), "python": "3.9.19"}
    staging.fs.pipe_file(
        f"{staging.environments}/{other}.json", json.dumps(facts | {"hash": other, "size": 3}).encode()
    )
    staging.fs.pipe_file(f"{staging.environments}/{other}.tar.gz", b"abc")
    try:
        output = refused(yarn, "--env", other)
    finally:
        for suffix in (".json", ".tar.gz"):
            staging.fs.rm(f"{staging.environments}/{other}{suffix}")
    import platform

    assert f"has Python 3.9.19 and this program runs on Python {platform.python_version()}" in output
    assert "howdah env pack" in output


def test_files_that_are_not_there(yarn: Yarn) -> None:
    assert "files: 'nix.csv' (nix.csv) is not a file here" in refused(yarn, "--files", "nix.csv")
    assert "YARN unpacks .tar.gz" in refused(yarn, "--archives", __file__)


def test_an_unknown_queue(yarn: Yarn) -> None:
    assert "queue: YARN has no queue 'defalt'; did you mean 'default'?" in refused(yarn, "--queue", "defalt")
