"""What is missing on the edge node is reported in seconds, with what to do: no Hadoop runs in these tests."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from howdah.errors import HadoopNotFound, InputError
from howdah.io import HadoopConfig
from howdah.yarn_app.yarn import edge_node


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


def test_the_grace_of_workers_is_yarns() -> None:
    name = "yarn.nodemanager.sleep-delay-before-sigkill.ms"
    assert edge_node.termination_grace(HadoopConfig({name: "10000"})) == 8.0
    with pytest.raises(InputError, match=rf"{name} in yarn-site.xml: got 'long'"):
        edge_node.termination_grace(HadoopConfig({name: "long"}))


def test_folders_of_dead_processes_are_removed_and_others_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    mine, dead = edge_node.private_folder(), tmp_path / "howdah-app-999999999-x"
    dead.mkdir()
    edge_node.remove_stale_folders()
    assert list(tmp_path.iterdir()) == [mine]
    assert mine.name.startswith(f"howdah-app-{os.getpid()}-")


def test_the_user_is_hadoops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HADOOP_USER_NAME", "etl")
    assert edge_node.user() == "etl"
