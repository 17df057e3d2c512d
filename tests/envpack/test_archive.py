"""A packed environment runs by itself: from a read-only folder elsewhere, without the Python that it was made of."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from howdah.envpack import Archive, Environment, archive, check_archive, pack
from howdah.errors import EnvironmentMismatch, StorageError

if TYPE_CHECKING:
    from conftest import Venv

Packed = tuple[Archive, Environment]
RunClean = Callable[[Path, str], dict[str, Any]]
AllInside = Callable[[dict[str, Any], Path], None]
MORE = "import ssl, sqlite3, ctypes, lzma, bz2, asyncio, decimal, zoneinfo, multiprocessing.shared_memory"


def test_it_runs_alone(unpacked: Path, run_clean: RunClean, all_inside: AllInside) -> None:
    facts = run_clean(unpacked, f"{MORE}\nimport msgspec; result = msgspec.json.encode({{'a': 1}}).decode()")
    assert facts["result"] == '{"a":1}'
    all_inside(facts, unpacked)


def test_it_runs_through_a_link_as_in_a_container(unpacked: Path, run_clean: RunClean, tmp_path: Path) -> None:
    """YARN links `environment` in the container's folder to its cache."""
    link = tmp_path / "environment"
    link.symlink_to(unpacked)
    code = "result = subprocess.check_output([sys.executable, '-c', 'print(5)'], text=True)"
    facts = run_clean(link, "import msgspec, subprocess, sys\n" + code)
    assert facts["result"] == "5\n"
    assert Path(facts["files"]["msgspec"]).resolve().is_relative_to(unpacked)


def test_it_runs_when_it_was_moved(
    packed: Packed, unpack: Callable[[Path, Path], Path], run_clean: RunClean, tmp_path: Path
) -> None:
    first = unpack(Path(packed[0].path), tmp_path / "one" / "here")
    (tmp_path / "one").rename(tmp_path / "two")
    assert run_clean(tmp_path / "two" / "here", "import msgspec; result = 1")["prefix"] == str(
        tmp_path / "two" / "here"
    )
    assert not first.exists()


def test_everything_comes_compiled(unpacked: Path, run_clean: RunClean) -> None:
    """Without checks against sources: whatever an unpacker does to times, nothing is compiled again."""
    sources = {p for p in (unpacked / "lib").rglob("*.py") if "__pycache__" not in p.parts}
    tag = sys.implementation.cache_tag
    without = [p for p in sources if not (p.parent / "__pycache__" / f"{p.stem}.{tag}.pyc").exists()]
    assert len(sources) > 500
    assert len(without) < 5
    for compiled in list((unpacked / "lib").rglob("*.pyc"))[::50]:
        assert int.from_bytes(compiled.read_bytes()[4:8], "little") == 1, "PEP 552: hash-based, not checked"
    facts = run_clean(
        unpacked,
        "import msgspec.json as m; result = [m.__cached__, m.__loader__.get_code('msgspec.json').co_filename]",
    )
    assert facts["result"][0].startswith(str(unpacked))
    assert facts["result"][1] == str(
        unpacked / f"lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages/msgspec/json.py"
    )


def test_what_is_left_out_and_what_is_not(packed: Packed) -> None:
    with tarfile.open(packed[0].path) as tar:
        names = tar.getnames()
        python = tar.getmember("bin/python")
    assert python.isreg()
    for gone in ("/test/", "/idlelib/", "/tkinter/", "/ensurepip/", "/pip/", "pyvenv.cfg", ".a", "/config-", "bin/pip"):
        assert [n for n in names if n.endswith(gone) or (gone.endswith("/") and gone in n)] == []
    assert any(n.endswith("site-packages/msgspec/__init__.py") for n in names)
    assert any(n.endswith("lib-dynload") for n in names)
    assert "howdah-environment.json" in names


def test_the_folder_says_what_it_is(packed: Packed, unpacked: Path) -> None:
    facts = json.loads((unpacked / "howdah-environment.json").read_text())
    assert facts["hash"] == packed[1].hash
    assert facts["python"] == packed[1].python
    assert facts["packages"]["msgspec"] == packed[1].version_of("msgspec")
    assert facts["needs"]["glibc"].startswith("2.")
    assert "libc.so.6" in facts["needs"]["libraries"]


def test_every_reader_reads_it(packed: Packed) -> None:
    path = packed[0].path
    subprocess.run(["gzip", "-t", path], check=True)
    listed = subprocess.run(["tar", "-tzf", path], check=True, capture_output=True, text=True).stdout.splitlines()
    with tarfile.open(path) as tar:
        members = tar.getmembers()
    assert [n.rstrip("/") for n in listed] == [m.name for m in members]
    assert sum(m.size for m in members) == packed[0].unpacked
    assert {(m.uid, m.gid, m.mtime) for m in members} == {(0, 0, 315532800)}
    assert Path(path).stat().st_size == packed[0].size


def test_the_same_environment_gives_the_same_bytes(packed: Packed, venv: Venv, tmp_path: Path) -> None:
    again = pack(str(venv.path), output=tmp_path / "again.tar.gz", threads=1)
    assert again.hash == packed[0].hash
    one, two = (hashlib.sha256(Path(p).read_bytes()).hexdigest() for p in (packed[0].path, again.path))
    assert one == two


def test_nothing_is_written_in_the_environment(venv: Venv, tmp_path: Path) -> None:
    own = venv.copy(tmp_path / "env")
    before = {p: p.lstat().st_mtime_ns for p in own.path.rglob("*")}
    own.pack(tmp_path / "out.tar.gz")
    assert {p: p.lstat().st_mtime_ns for p in own.path.rglob("*")} == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["env", "out.tar.gz"]


def test_an_environment_of_uv(
    uv: str,
    tmp_path: Path,
    unpack: Callable[[Path, Path], Path],
    run_clean: RunClean,
    all_inside: AllInside,
    project: Path,
) -> None:
    folder = tmp_path / "uv-env"
    subprocess.run([uv, "venv", "-q", "--python", sys.executable, folder], check=True, timeout=60)
    install = [uv, "pip", "install", "-q", "--python", folder / "bin" / "python", "--link-mode", "symlink"]
    subprocess.run([*install, "msgspec", "-e", project], check=True, timeout=240)
    made = pack(str(folder), output=tmp_path / "uv.tar.gz")
    there = unpack(Path(made.path), tmp_path / "there")
    shutil.rmtree(project)  # the copy is its own
    shutil.rmtree(folder)
    facts = run_clean(there, "import msgspec, revenue_kit; result = revenue_kit.RATE")
    assert facts["result"] == 7
    all_inside(facts, there)


def debian() -> str | None:
    """The system's own Python, where it is new enough and another one than that of the tests."""
    python = "/usr/bin/python3"
    code = "import sys, sysconfig; print(sys.version_info >= (3, 11), sysconfig.get_config_var('Py_ENABLE_SHARED'))"
    if not Path(python).exists() or Path(sys.base_prefix).resolve() == Path("/usr"):
        return None
    ran = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    return python if ran.stdout.startswith("True") else None


@pytest.mark.skipif(debian() is None, reason="no other system Python here")
def test_a_venv_of_the_system_python(
    uv: str, tmp_path: Path, unpack: Callable[[Path, Path], Path], run_clean: RunClean, all_inside: AllInside
) -> None:
    """Debian's looks for packages in dist-packages, unless it runs in a venv."""
    folder = tmp_path / "env"
    subprocess.run([uv, "venv", "-q", "--python", debian(), folder], check=True, timeout=60)
    subprocess.run(
        [uv, "pip", "install", "-q", "--python", folder / "bin" / "python", "msgspec"], check=True, timeout=240
    )
    made = pack(str(folder), output=tmp_path / "env.tar.gz")
    there = unpack(Path(made.path), tmp_path / "there")
    facts = run_clean(there, "import msgspec, json, importlib.metadata; result = importlib.metadata.version('msgspec')")
    assert facts["result"]
    all_inside(facts, there)


def test_a_source_edited_meanwhile_is_not_packed_under_the_old_hash(venv: Venv, tmp_path: Path) -> None:
    own = venv.copy(tmp_path / "env")
    (own.site / "loose.py").write_text("x = 1\n")
    environment, python = archive.describe(str(own.path))
    (own.site / "loose.py").write_text("x = 2\n")
    with pytest.raises(archive.SourceChanged, match=r"loose\.py was changed"):
        archive.pack_described(environment, python, output=tmp_path / "out.tar.gz")
    assert not (tmp_path / "out.tar.gz").exists()


def test_an_output_that_cannot_be_written(venv: Venv, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"cannot pack into .*no-such-folder"):
        pack(str(venv.path), output=tmp_path / "no-such-folder" / "env.tar.gz")


# -- the check before an upload


def test_a_good_archive_passes(packed: Packed) -> None:
    seen: list[str] = []
    assert check_archive(*packed, progress=lambda phase, done, total: seen.append(phase)) > 0
    assert set(seen) == {"checking"}


def test_a_broken_package_is_named(venv: Venv, tmp_path: Path) -> None:
    own = venv.copy(tmp_path / "env")
    next(own.site.glob("msgspec/_core*.so")).unlink()
    with pytest.raises(EnvironmentMismatch, match=r"cannot import 'msgspec'(.|\n)*Traceback(.|\n)*_core"):
        check_archive(*own.pack(tmp_path / "env.tar.gz"))


def test_a_package_that_reaches_outside_is_named(venv: Venv, tmp_path: Path) -> None:
    own = venv.copy(tmp_path / "env")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "prices.py").write_text("x = 1\n")
    init = own.site / "msgspec" / "__init__.py"
    init.write_text(
        init.read_text() + f"\nimport sys; sys.path.append({str(tmp_path / 'elsewhere')!r}); import prices\n"
    )
    with pytest.raises(EnvironmentMismatch, match=r"reaches outside its own folder:\nprices is .*elsewhere/prices\.py"):
        check_archive(*own.pack(tmp_path / "env.tar.gz"))


def test_a_python_that_crashes_is_told_with_its_last_words(venv: Venv, tmp_path: Path) -> None:
    own = venv.copy(tmp_path / "env")
    (own.site / "sitecustomize.py").write_text(
        "import os, sys\nif sys.prefix == sys.base_prefix: os.write(2, b'goodbye'); os._exit(3)\n"
    )
    with pytest.raises(EnvironmentMismatch, match=r"does not start \(exit code 3\):\ngoodbye"):
        check_archive(*own.pack(tmp_path / "env.tar.gz"))
