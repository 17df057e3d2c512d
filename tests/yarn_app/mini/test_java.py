"""The Java for the small Hadoop."""

from __future__ import annotations

from pathlib import Path

import pytest

from howdah.errors import HadoopNotFound
from howdah.yarn_app.mini.java import ensure_java


def fake_java(folder: Path, version: str) -> Path:
    java = folder / "bin" / "java"
    java.parent.mkdir(parents=True)
    java.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\"' >&2\n")
    java.chmod(0o755)
    return folder


def test_the_first_java_that_fits(tmp_path: Path) -> None:
    old, new = fake_java(tmp_path / "old", "1.8.0_301"), fake_java(tmp_path / "new", "25.0.1")
    good = fake_java(tmp_path / "good", "21.0.2")
    assert ensure_java([old, new, good]) == good
    with pytest.raises(HadoopNotFound, match=r"Java 11 to 21; found .*old: Java 8; .*new: Java 25.*apt-get install"):
        ensure_java([old, new])


def test_without_any_java_the_command_to_install_one_is_named() -> None:
    with pytest.raises(HadoopNotFound, match=r"found no Java at all.*apt-get install"):
        ensure_java([])


def test_java_home_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = fake_java(tmp_path / "chosen", "17.0.1")
    monkeypatch.setenv("JAVA_HOME", str(chosen))
    assert ensure_java() == chosen
