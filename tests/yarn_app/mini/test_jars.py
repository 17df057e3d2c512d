"""Hadoop's jars: complete or not there, and what to do where Maven is missing or fails."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from howdah.errors import HadoopNotFound
from howdah.yarn_app.mini.jars import ensure_jars


def test_no_maven(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOWDAH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(HadoopNotFound, match=r"`mvn`.*apt-get install -y openjdk-17-jdk-headless maven"):
        ensure_jars()
    assert list((tmp_path / "cache").glob("hadoop*")) == []


def test_maven_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    maven = tmp_path / "bin" / "mvn"
    maven.parent.mkdir()
    maven.write_text("#!/bin/sh\necho could not resolve hadoop-common\nexit 1\n")
    maven.chmod(0o755)
    monkeypatch.setenv("HOWDAH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", f"{maven.parent}:{os.environ['PATH']}")
    java = tmp_path / "jdk" / "bin" / "java"
    java.parent.mkdir(parents=True)
    java.write_text("#!/bin/sh\necho 'openjdk version \"17.0.1\"' >&2\n")
    java.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "jdk"))
    with pytest.raises(HadoopNotFound, match=r"(?s)exit code 1.*could not resolve hadoop-common"):
        ensure_jars()
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["fetching.lock"]
