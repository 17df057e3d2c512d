"""Files of installed packages: which are collected, and when their digests are read anew."""

from __future__ import annotations

import hashlib
import os
from base64 import urlsafe_b64encode
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from howdah.envpack.collect import CollectedFiles, collect, is_program, sha256
from howdah.envpack.exclusions import Exclusions
from howdah.envpack.interpreter import Interpreter, probe

TEXT = b"x = 1\n"


@pytest.fixture
def python(tmp_path: Path) -> Interpreter:
    """This interpreter, with one folder of packages of the test."""
    site = tmp_path / "site-packages"
    site.mkdir()
    return replace(probe(), prefix=str(tmp_path), sites=(str(site),))


def install(python: Interpreter, name: str, content: bytes = TEXT, requires: str = "") -> Path:
    site = Path(python.sites[0])
    module = site / name / "__init__.py"
    module.parent.mkdir()
    module.write_bytes(content)
    os.utime(module, (1e9, 1e9))
    info = site / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Name: {name}\nVersion: 1.0\n" + (f"Requires-Dist: {requires}\n" if requires else "")
    )
    (info / "INSTALLER").write_text("pip\n")
    (info / "RECORD").write_text(
        f"{name}/__init__.py,sha256={sha256(content)},{len(content)}\n{name}-1.0.dist-info/RECORD,,\n"
    )
    return module


def found(python: Interpreter, **rules: frozenset[str]) -> tuple[CollectedFiles, set[str]]:
    collected = collect(python, Exclusions(**rules))
    return collected, {member.name.partition("/site-packages/")[2] for member in collected.members}


def test_files_of_packages_without_those_of_installers(python: Interpreter) -> None:
    install(python, "kit")
    (Path(python.sites[0]) / "loose.py").write_bytes(TEXT)
    collected, names = found(python)
    assert names == {"kit/__init__.py", "kit-1.0.dist-info/METADATA", "kit-1.0.dist-info/RECORD", "loose.py"}
    assert [(package.name, package.version) for package in collected.packages] == [("kit", "1.0")]


def test_a_recorded_digest_is_trusted_and_an_edit_is_read(python: Interpreter) -> None:
    module = install(python, "kit")
    by_name = {member.name: member for member in collect(python, Exclusions()).members}
    member = by_name[f"{python.site}/kit/__init__.py"]
    assert (member.digest, member.read) == (sha256(TEXT), False)
    module.write_bytes(b"x = 2\n")  # the same size, and newer than RECORD
    os.utime(module, (4e9, 4e9))
    member = next(m for m in collect(python, Exclusions()).members if m.name == member.name)
    assert (member.digest, member.read) == (sha256(b"x = 2\n"), True)


def test_tools_are_left_out_unless_something_needs_them(python: Interpreter) -> None:
    install(python, "pytest", requires="pluggy")
    install(python, "pluggy")
    install(python, "kit")
    collected, names = found(python)
    assert [package.name for package in collected.left_out] == ["pluggy", "pytest"]
    assert not any(name.startswith(("pytest", "pluggy")) for name in names)
    install(python, "plugin", requires="pluggy")
    assert "pluggy/__init__.py" in found(python)[1]
    assert "kit/__init__.py" not in found(python, exclude=frozenset({"kit"}))[1]


@given(st.binary(max_size=200))
def test_digests_are_in_records_form(data: bytes) -> None:
    assert sha256(data) == urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


def test_programs_are_elf_files(tmp_path: Path) -> None:
    assert is_program("/proc/self/exe")
    (tmp_path / "script").write_text("#!/bin/sh\n")
    assert not is_program(str(tmp_path / "script"))
