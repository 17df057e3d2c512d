"""Python itself as part of an archive: its files, and what they need of a node."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from howdah.envpack import base, elf
from howdah.envpack.interpreter import probe
from howdah.envpack.records import Member


@pytest.fixture(scope="module")
def members() -> dict[str, Member]:
    return {member.name: member for member in base.python_members(probe())}


def test_the_program_with_its_names_and_library(members: dict[str, Member]) -> None:
    program = members["bin/python"]
    assert program.executable
    assert program.data is not None
    assert members["bin/python3"].link == "python"
    facts = elf.read(io.BytesIO(program.data))
    assert facts is not None
    shared = [name for name in facts.needed if name.startswith("libpython")]
    assert [name for name in shared if f"lib/{name}" not in members] == []
    assert not shared or "$ORIGIN/../lib" in facts.search


def test_the_standard_library_without_tests_and_packages(members: dict[str, Member]) -> None:
    lib = f"lib/python{sys.version_info[0]}.{sys.version_info[1]}"
    assert {f"{lib}/os.py", f"{lib}/json/__init__.py"} <= members.keys()
    unwanted = [name for name in members if "/site-packages/" in name or "/test/" in name or name.endswith(".pyc")]
    assert unwanted == []


def test_libraries_lose_debug_sections_and_nothing_else(members: dict[str, Member]) -> None:
    for member in members.values():
        if member.name.endswith(".so") and member.data is not None:
            original = Path(member.source).read_bytes()
            assert len(member.data) < len(original)
            assert elf.read(io.BytesIO(member.data)) == elf.read(io.BytesIO(original))


def test_what_the_nodes_must_have(members: dict[str, Member]) -> None:
    needs = base.node_requirements(list(members.values()))
    assert "libc.so.6" in needs["libraries"]  # type: ignore[operator]
    assert not [name for name in needs["libraries"] if name.startswith(("ld-linux", "libpython"))]  # type: ignore[attr-defined]
    facts = [elf.read_path(m.source) for m in members.values() if m.name.endswith(".so")]
    newest = max(each.glibc for each in facts if each is not None)
    assert tuple(map(int, str(needs["glibc"]).split("."))) >= newest
    text = Member("x.so", data=b"no library")
    link = Member("lib/y.so", link="x.so")
    assert base.node_requirements([text, link]) == {"glibc": "", "libraries": []}
