"""Conda environments, packed by conda-pack: a real prefix with a true `conda-meta`, made here without any channel."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from howdah.envpack import Archive, Environment, check_archive, describe_environment, pack
from howdah.envpack import conda as conda_module
from howdah.errors import EnvironmentMismatch

if TYPE_CHECKING:
    from conftest import Venv

pytest.importorskip("conda_pack")
pytestmark = pytest.mark.slow

RunClean = Callable[[Path, str], dict[str, Any]]


def record(prefix: Path, name: str, version: str, files: list[str]) -> None:
    """What conda notes of a package; `link.source` is its place in the package cache, here gone, as it often is."""
    facts = {
        "name": name,
        "version": version,
        "build": "h0_0",
        "build_number": 0,
        "depends": [],
        "files": sorted(files),
    }
    facts |= {"url": f"file:///channel/linux-64/{name}-{version}-h0_0.conda", "link": {"source": "/gone", "type": 1}}
    (prefix / "conda-meta" / f"{name}-{version}-h0_0.json").write_text(json.dumps(facts))


@pytest.fixture(scope="module")
def prefix(
    packed: tuple[Archive, Environment],
    unpack: Callable[[Path, Path], Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """Three conda packages: python (a movable one: it was packed), msgspec, and a program with data and a header."""
    folder = tmp_path_factory.mktemp("opt") / "conda" / "envs" / "etl"
    unpack(Path(packed[0].path), folder)
    subprocess.run(["chmod", "-R", "u+w", folder], check=True)
    (folder / "howdah-environment.json").unlink()
    site = next(folder.glob("lib/python*/site-packages"))
    inside = str(site.relative_to(folder))
    files = [str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_symlink() or p.is_file()]
    (folder / "conda-meta").mkdir()
    (folder / "conda-meta" / "history").touch()
    record(folder, "python", ".".join(map(str, sys.version_info[:3])), [f for f in files if not f.startswith(inside)])
    record(folder, "msgspec", "1.0", [f for f in files if f.startswith(inside)])
    for name in ("share/proj/proj.db", "share/man/man1/proj.1", "include/proj.h", "etc/proj.conf", "bin/proj-config"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"{folder}/share\n")
    shutil.copy("/bin/true", folder / "bin" / "proj")
    mine = [
        "share/proj/proj.db",
        "share/man/man1/proj.1",
        "include/proj.h",
        "etc/proj.conf",
        "bin/proj-config",
        "bin/proj",
    ]
    record(folder, "proj", "9.3", mine)
    return folder


def test_it_is_seen_as_conda(prefix: Path) -> None:
    environment = describe_environment(str(prefix))
    assert environment.kind == "conda"
    assert environment.version_of("msgspec")
    assert environment.hash == describe_environment(str(prefix)).hash


def test_another_build_of_a_package_is_another_hash(prefix: Path, tmp_path: Path) -> None:
    before = describe_environment(str(prefix)).hash
    meta = prefix / "conda-meta" / "proj-9.3-h0_0.json"
    other = meta.rename(meta.with_name("proj-9.3-h0_1.json"))
    try:
        assert describe_environment(str(prefix)).hash != before
    finally:
        other.rename(meta)


@pytest.fixture(scope="module")
def conda_archive(prefix: Path, tmp_path_factory: pytest.TempPathFactory) -> Archive:
    return pack(str(prefix), output=tmp_path_factory.mktemp("conda-packed") / "env.tar.gz")


def test_it_runs_elsewhere_without_conda_unpack(
    prefix: Path,
    conda_archive: Archive,
    unpack: Callable[[Path, Path], Path],
    run_clean: RunClean,
    all_inside: Callable[[dict[str, Any], Path], None],
    tmp_path: Path,
) -> None:
    there = unpack(Path(conda_archive.path), tmp_path / "there")
    prefix.rename(prefix.with_name("moved"))
    try:
        facts = run_clean(there, "import msgspec, sqlite3, ssl; result = msgspec.__version__")
    finally:
        prefix.with_name("moved").rename(prefix)
    all_inside(facts, there)
    found = {str(p.relative_to(there)) for p in there.rglob("*") if p.is_file()}
    assert {"share/proj/proj.db", "etc/proj.conf", "bin/proj", "bin/python"} <= found
    assert not {"share/man/man1/proj.1", "include/proj.h", "bin/proj-config", "conda-meta/history"} & found
    assert any(f.endswith("msgspec/__pycache__/json." + sys.implementation.cache_tag + ".pyc") for f in found)
    subprocess.run([there / "bin" / "proj"], check=True)


def test_it_passes_the_check(prefix: Path, conda_archive: Archive) -> None:
    assert check_archive(conda_archive, describe_environment(str(prefix))) > 0


def test_packages_of_conda_can_be_left_out_by_name(prefix: Path, tmp_path: Path) -> None:
    made = pack(str(prefix), output=tmp_path / "env.tar.gz", exclude=("proj",))
    listed = subprocess.run(["tar", "-tzf", made.path], check=True, capture_output=True, text=True).stdout
    assert "proj" not in listed
    assert made.hash != describe_environment(str(prefix)).hash


def test_an_editable_project_goes_along(
    prefix: Path,
    venv: Venv,
    project: Path,
    tmp_path: Path,
    unpack: Callable[[Path, Path], Path],
    run_clean: RunClean,
) -> None:
    site = next(prefix.glob("lib/python*/site-packages"))
    info = site / "revenue_kit-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: revenue-kit\nVersion: 1.2\n\n")
    (info / "direct_url.json").write_text(json.dumps({"url": project.as_uri(), "dir_info": {"editable": True}}))
    (site / "kit.pth").write_text("import kit_finder")
    mapping = {"revenue_kit": str(project / "face"), "revenue_kit.core": str(project / "core")}
    (site / "kit_finder.py").write_text(f"MAPPING = {mapping!r}\n")
    (info / "RECORD").write_text("kit.pth,,\nkit_finder.py,,\nrevenue_kit-1.2.dist-info/METADATA,,\n")
    try:
        made = pack(str(prefix), output=tmp_path / "env.tar.gz")
    finally:
        shutil.rmtree(info)
        (site / "kit.pth").unlink()
        (site / "kit_finder.py").unlink()
    there = unpack(Path(made.path), tmp_path / "there")
    assert run_clean(there, "import revenue_kit; result = revenue_kit.core.__file__")["result"].startswith(str(there))
    assert list(there.rglob("kit.pth")) == []


def test_without_conda_pack_it_says_what_to_install(
    prefix: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "conda_pack", None)
    with pytest.raises(EnvironmentMismatch, match=r"needs conda-pack: pip install 'howdah\[yarn\]'"):
        pack(str(prefix), output=tmp_path / "env.tar.gz")


def test_what_conda_pack_refuses_is_told_in_its_words(prefix: Path, tmp_path: Path) -> None:
    """As a rule: pip has replaced files of a conda package."""
    os.rename(prefix / "share/proj/proj.db", prefix / "share/proj/other.db")
    try:
        with pytest.raises(EnvironmentMismatch, match=r"conda-pack cannot pack (.|\n)*proj\.db"):
            pack(str(prefix), output=tmp_path / "env.tar.gz")
    finally:
        os.rename(prefix / "share/proj/other.db", prefix / "share/proj/proj.db")
    assert conda_module.__doc__
