"""What is missing on the edge node is said in seconds, with what to do: no Hadoop runs in these tests."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from howdah.errors import EnvironmentMismatch, HadoopNotFound, HowdahError, ResourceRefused
from howdah.io import HadoopConfig
from howdah.yarn_app.master.processes import ChildProcess, tail, with_parent_death_signal
from howdah.yarn_app.storage import bundle
from howdah.yarn_app.yarn import edge_node
from howdah.yarn_app.yarn.resource_manager import NodeReport, ResourceManager

GIB = 1 << 30


@pytest.fixture
def hadoop_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A `yarn`, a configuration and a Java that say what they must; nothing answers behind them."""
    for name, says in (("bin/yarn", "echo"), ("java/bin/java", "echo 'openjdk version \"17.0.1\" 2021' >&2")):
        program = tmp_path / name
        program.parent.mkdir(parents=True)
        program.write_text(f"#!/bin/sh\n{says}\n")
        program.chmod(0o755)
    conf = tmp_path / "conf"
    conf.mkdir()
    (conf / "yarn-site.xml").write_text("<configuration/>")
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    monkeypatch.setenv("HADOOP_CONF_DIR", str(conf))
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "java"))
    return tmp_path


def test_all_there(hadoop_here: Path) -> None:
    edge_node.check_prerequisites()


def test_no_yarn_on_path(hadoop_here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(HadoopNotFound, match=r"no `yarn` command on PATH.*add .*bin to PATH"):
        edge_node.check_prerequisites()


def test_no_configuration(hadoop_here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (hadoop_here / "conf" / "yarn-site.xml").unlink()
    with pytest.raises(HadoopNotFound, match=r"there is no yarn-site\.xml in it"):
        edge_node.check_prerequisites()
    monkeypatch.delenv("HADOOP_CONF_DIR")
    with pytest.raises(HadoopNotFound, match=r"HADOOP_CONF_DIR is not set.*/etc/hadoop/conf"):
        edge_node.check_prerequisites()


def test_a_java_that_is_too_new_or_not_there(hadoop_here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    java = hadoop_here / "java" / "bin" / "java"
    java.write_text("#!/bin/sh\necho 'openjdk version \"25\" 2025-09-16' >&2\n")
    with pytest.raises(HadoopNotFound, match=r"is Java 25.*8 to 21.*set JAVA_HOME"):
        edge_node.check_prerequisites()
    monkeypatch.setenv("JAVA_HOME", str(hadoop_here / "nix"))
    with pytest.raises(HadoopNotFound, match=r"JAVA_HOME is .*nix\. Set JAVA_HOME"):
        edge_node.check_prerequisites()


def test_a_resource_manager_that_does_not_answer_is_told_in_seconds() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        port = nobody.getsockname()[1]
        manager = ResourceManager(HadoopConfig({"yarn.resourcemanager.address": f"127.0.0.1:{port}"}))
        began = time.monotonic()
        with pytest.raises(HadoopNotFound, match=rf"127\.0\.0\.1:{port}.*howdah doctor"):
            manager.check()
    assert time.monotonic() - began < 5


def test_a_configuration_without_a_resource_manager() -> None:
    with pytest.raises(HadoopNotFound, match=r"names no yarn\.resourcemanager\.hostname"):
        ResourceManager(HadoopConfig({})).check()


def test_with_high_availability_every_resource_manager_is_known() -> None:
    manager = ResourceManager(
        HadoopConfig(
            {
                "yarn.resourcemanager.ha.rm-ids": "rm1, rm2",
                "yarn.resourcemanager.hostname.rm1": "one",
                "yarn.resourcemanager.hostname.rm2": "two",
                "yarn.resourcemanager.address.rm2": "two:9032",
                "yarn.http.policy": "HTTPS_ONLY",
            }
        )
    )
    assert manager.addresses == ["one:8032", "two:9032"]
    assert manager.urls == ["https://one:8090", "https://two:8090"]


def test_a_request_that_no_node_can_give_is_refused_with_the_maximum() -> None:
    manager = ResourceManager(HadoopConfig({"yarn.scheduler.maximum-allocation-vcores": "4"}))
    nodes = [NodeReport("node1", "/r", "RUNNING", 4 * GIB, 4, ""), NodeReport("node2", "/r", "RUNNING", 8 * GIB, 4, "")]
    manager.check_capacity({"a worker": (8 * GIB, 4)}, nodes)
    with pytest.raises(ResourceRefused, match=r"a worker needs a container of 9GiB, and the largest .* is 8GiB"):
        manager.check_capacity({"a worker": (9 * GIB, 4)}, nodes)
    with pytest.raises(ResourceRefused, match=r"needs 5 cores.*is 4"):
        manager.check_capacity({"a worker": (GIB, 5)}, nodes)


# -- payload


@pytest.fixture
def container(tmp_path: Path) -> Path:
    """A container's folder as YARN would make it from the master's archive."""
    conf = tmp_path / "conf"
    conf.mkdir()
    (conf / "core-site.xml").write_text(
        "<configuration><property><name>a.b</name><value>old</value><final>true</final></property></configuration>"
    )
    staged = tmp_path / "staged"
    staged.mkdir()
    config = {
        "token": "etl-0001",
        "versions": bundle.versions(),
        "driver": {"script": "x.py", "arguments": ["secret"]},
    }
    master, worker = bundle.write_bundles(staged, config, conf, {"a.b": "new", "c": "d"}, "me")
    for archive in (master, worker):
        folder = tmp_path / archive.name.partition(".")[0] / bundle.FOLDER
        folder.mkdir(parents=True)
        subprocess.run(["tar", "-xzf", archive, "-C", folder], check=True)
        assert stat.S_IMODE(archive.stat().st_mode) == 0o600
    return tmp_path / "master"


def test_roles_get_what_they_need_and_no_more(container: Path) -> None:
    worker = container.parent / "worker"
    assert bundle.read_config(container)["driver"]["arguments"] == ["secret"]
    assert "driver" not in bundle.read_config(worker)
    security = {path.name for path in (worker / bundle.FOLDER / "security" / "worker").iterdir()}
    assert security == {"ca.pem", "join.key"}, "a worker's containers hold nobody's key"
    copied = bundle.copy_security(container, "scheduler")
    assert {stat.S_IMODE(path.stat().st_mode) for path in copied.iterdir()} == {0o600}
    assert stat.S_IMODE(copied.stat().st_mode) == 0o700


def test_the_applications_properties_win(container: Path) -> None:
    from howdah.io import load_hadoop_config

    config = load_hadoop_config(container / bundle.FOLDER / "conf")
    assert (config.get("a.b"), config.get("c")) == ("new", "d")


@pytest.mark.parametrize(("what", "value"), [("python", "3.10"), ("howdah", "9.9")])
def test_another_version_in_the_container_is_refused_with_both(container: Path, what: str, value: str) -> None:
    path = container / bundle.FOLDER / "config.json"
    config = json.loads(path.read_text())
    config["versions"][what] = value
    path.write_text(json.dumps(config))
    with pytest.raises(EnvironmentMismatch, match=rf"{what} {bundle.versions()[what]}.*has {value}.*howdah env pack"):
        bundle.read_config(container)


def test_outside_of_a_container(tmp_path: Path) -> None:
    with pytest.raises(HowdahError, match="only inside a container"):
        bundle.read_config(tmp_path)


# -- programs


def test_the_last_words_of_a_program_and_its_exit_code(tmp_path: Path) -> None:
    code = "import sys; print('out'); print('x' * 9000, file=sys.stderr); print('last', file=sys.stderr); sys.exit(7)"
    program = ChildProcess([sys.executable, "-c", code], out=tmp_path / "out", err=tmp_path / "err")
    program.process.wait(30)
    assert program.poll() == 7
    assert program.tail() == "last\n"
    assert tail(tmp_path / "out") == "out\n"
    assert tail(tmp_path / "nix") == ""


def test_stopping_leaves_no_child_even_one_that_ignores_sigterm(tmp_path: Path) -> None:
    child = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(600)"
    parent = f"import subprocess, sys, time; p = subprocess.Popen([sys.executable, '-c', {child!r}]); time.sleep(600)"
    program = ChildProcess([sys.executable, "-c", parent], out=tmp_path / "out", err=tmp_path / "out")
    deadline = time.monotonic() + 30
    while not tail(tmp_path / "out") and time.monotonic() < deadline:
        os.sched_yield()
    children = psutil.Process(program.process.pid).children(recursive=True)
    assert children
    program.stop(0.3)
    assert program.poll() == 143
    assert not any(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in children)


def test_a_child_dies_with_its_killed_parent(tmp_path: Path) -> None:
    child = with_parent_death_signal(
        [sys.executable, "-c", "import os, time; print(os.getpid(), flush=True); time.sleep(600)"]
    )
    code = f"""
import subprocess, sys, time
from howdah.yarn_app.master.processes import with_parent_death_signal
subprocess.Popen(with_parent_death_signal([sys.executable, "-c", {child[-1]!r}]))
time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child_process = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
        child_process.wait(20)
