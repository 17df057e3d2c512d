"""Search paths of programs, read and changed in place; the changed programs run."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from howdah.envpack import elf

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc to make a program")


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("elf")
    (folder / "answer.c").write_text("int answer(void) { return 42; }\n")
    (folder / "main.c").write_text("int answer(void);\nint main(void) { return answer(); }\n")
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", "libanswer.so", "answer.c"], cwd=folder, check=True)
    return folder


def program(folder: Path, *options: str) -> bytes:
    command = ["gcc", "-o", "main", "main.c", "-L.", "-lanswer", *options]
    subprocess.run(command, cwd=folder, check=True)
    return (folder / "main").read_bytes()


def run_moved(data: bytes, library: Path, folder: Path) -> int:
    (folder / "bin").mkdir(parents=True)
    (folder / "lib").mkdir()
    shutil.copy(library, folder / "lib")
    (folder / "bin" / "main").write_bytes(data)
    (folder / "bin" / "main").chmod(0o755)
    return subprocess.run([folder / "bin" / "main"], env={}, check=False, capture_output=True).returncode


@pytest.mark.parametrize(
    "options",
    [
        ("-Wl,-rpath,/a/path/that/is/long/enough/for/it",),
        ("-Wl,--disable-new-dtags,-rpath,/a/path/that/is/long/enough/for/it",),
        ("-Wl,-rpath,/x",),  # too short to hold the new one
        (),  # none at all
    ],
    ids=["runpath", "rpath", "short", "none"],
)
def test_a_moved_program_finds_its_library(parts: Path, tmp_path: Path, options: tuple[str, ...]) -> None:
    data = program(parts, *options)
    facts = elf.read(data)
    assert facts is not None
    assert "libanswer.so" in facts.needed
    assert facts.glibc >= (2, 2)
    changed = elf.with_search_path(data, "$ORIGIN/../lib")
    assert changed is not None
    assert len(changed) == len(data)
    moved = elf.read(changed)
    assert moved is not None
    assert moved.search == ("$ORIGIN/../lib",)
    assert (moved.needed, moved.soname, moved.glibc) == (facts.needed, facts.soname, facts.glibc)
    assert run_moved(data, parts / "libanswer.so", tmp_path / "before") == 127
    assert run_moved(changed, parts / "libanswer.so", tmp_path / "after") == 42


def test_no_room_is_said(parts: Path) -> None:
    assert elf.with_search_path(program(parts, "-Wl,-rpath,/x"), "$ORIGIN/" + "../" * 20) is None


def test_what_is_no_program_is_left_alone() -> None:
    assert elf.read(b"\x7fELF\x01\x01 a 32-bit one") is None
    assert elf.with_search_path(b"#!/bin/sh\n", "$ORIGIN") is None
    assert elf.read(Path(os.__file__).read_bytes()) is None


def test_debug_information_goes_and_the_program_stays(parts: Path, tmp_path: Path) -> None:
    data = program(parts, "-g3", "-Wl,-rpath,$ORIGIN/../lib")
    less = elf.without_debug(data)
    assert len(less) < 0.8 * len(data)
    (tmp_path / "less").write_bytes(less)
    assert run_moved(less, parts / "libanswer.so", tmp_path / "run") == 42
    assert elf.without_debug(less) == less
    said = subprocess.run(["readelf", "-WSs", tmp_path / "less"], capture_output=True, text=True, check=True)
    assert said.stderr == ""
    assert " main\n" in said.stdout, "symbols stay, for profilers"
    assert elf.without_debug(b"no program") == b"no program"
