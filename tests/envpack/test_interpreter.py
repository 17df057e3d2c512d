"""Facts of interpreters: the running one, another environment's, and what is refused."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from howdah.envpack.interpreter import probe
from howdah.envpack.interpreter_facts import interpreter_facts
from howdah.errors import EnvironmentMismatch, InputError


def test_the_running_interpreter() -> None:
    found = probe()
    assert found.version == ".".join(map(str, sys.version_info[:3]))
    assert (found.build, found.prefix, found.base_prefix) == (sys.version, sys.prefix, sys.base_prefix)
    assert found.lib == f"lib/python{found.short}"
    assert sysconfig.get_path("purelib") in found.sites
    assert Path(found.stdlib, "os.py").exists()
    assert probe(sys.prefix) == found, "its own prefix is not another one"


def test_another_environment_has_the_same_facts_but_its_own_folders(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "env"], check=True, timeout=60)
    found, own = probe(str(tmp_path / "env")), probe()
    assert found.prefix == str(tmp_path / "env")
    assert all(Path(site).is_relative_to(tmp_path / "env") for site in found.sites)
    same = ("version", "short", "build", "cache_tag", "magic", "soabi", "platform", "glibc", "stdlib", "dynload")
    assert {name: getattr(found, name) for name in same} == {name: getattr(own, name) for name in same}


def test_facts_are_json_values() -> None:
    facts = interpreter_facts()
    assert all(isinstance(value, str | bool | list) for value in facts.values())
    assert facts["executable"] == os.path.realpath(sys.executable)


def test_a_folder_without_python(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"there is no bin/python in it"):
        probe(str(tmp_path))


@pytest.mark.parametrize(
    ("script", "text"),
    [
        ("echo broken >&2; exit 3", r"does not start \(exit code 3\).*\nbroken"),
        ("echo; echo '{}'", None),
    ],
)
def test_a_python_that_does_not_start(tmp_path: Path, script: str, text: str | None) -> None:
    program = tmp_path / "bin" / "python"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    if text is None:
        with pytest.raises((KeyError, TypeError)):
            probe(str(tmp_path))
        return
    with pytest.raises(EnvironmentMismatch, match=text):
        probe(str(tmp_path))
