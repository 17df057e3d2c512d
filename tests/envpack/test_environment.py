"""The content hash: the same for the same content anywhere, another for every change that a worker would notice."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from howdah.envpack import describe_environment
from howdah.errors import EnvironmentMismatch, InputError

if TYPE_CHECKING:
    from conftest import Venv


def test_what_it_says_of_a_venv(venv: Venv) -> None:
    environment = describe_environment(str(venv.path))
    assert environment.kind == "venv"
    assert environment.prefix == str(venv.path)
    assert environment.python == ".".join(map(str, sys.version_info[:3]))
    assert environment.version_of("msgspec")
    assert [p.name for p in environment.packages] == ["msgspec"]
    assert "pip" in [p.name for p in environment.left_out]
    assert not any("/pip/" in m.name for m in environment.members)


def test_the_running_environment_is_the_default() -> None:
    here = describe_environment()
    assert here == describe_environment(sys.prefix)
    assert here.version_of("howdah") is not None
    assert here.version_of("pytest") is None


def test_a_bare_interpreter() -> None:
    environment = describe_environment(sys.base_prefix)
    assert environment.kind in ("interpreter", "conda")
    assert environment.prefix == os.path.realpath(sys.base_prefix)


def test_an_unchanged_environment_is_recognised_quickly() -> None:
    """The whole process, with its start and imports; the environment of the tests has well over ten thousand files."""
    code = "from howdah.envpack import describe_environment; print(describe_environment().hash)"
    began = time.perf_counter()
    ran = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert time.perf_counter() - began < 2.0
    assert len(ran.stdout.strip()) == 32


def test_the_same_packages_elsewhere_have_the_same_hash(venv: Venv, tmp_path: Path) -> None:
    """Its path, its scripts' first lines and its times do not count."""
    other = venv.copy(tmp_path / "a folder of another length")
    for path in other.site.rglob("*.py"):
        os.utime(path)
    assert other.describe().hash == venv.describe().hash


def test_the_same_packages_installed_anew_have_the_same_hash(
    venv: Venv, make_venv: Callable[..., Venv], uv: str, tmp_path: Path
) -> None:
    """uv links files, compiles nothing, and notes other things than pip."""
    other = make_venv(tmp_path / "by-uv")
    version = venv.describe().version_of("msgspec")
    command = [uv, "pip", "install", "-q", "--python", other.python, f"msgspec=={version}"]
    subprocess.run(command, check=True, timeout=120)
    assert other.describe().hash == venv.describe().hash


def test_edits_in_site_packages_are_noticed(venv: Venv, tmp_path: Path) -> None:
    other = venv.copy(tmp_path / "env")
    seen = [other.describe().hash]
    source = other.site / "msgspec" / "json.py"
    text = source.read_text()
    source.write_text(text + "\n# patched\n")
    seen.append(other.describe().hash)
    source.write_text(text[:-2] + "##")  # the recorded size, another content
    seen.append(other.describe().hash)
    source.write_text(text)
    assert other.describe().hash == seen[0]
    (other.site / "loose.py").write_text("x = 1\n")  # in no RECORD
    seen.append(other.describe().hash)
    (other.site / "loose.py").write_text("x = 2\n")
    seen.append(other.describe().hash)
    assert len(set(seen)) == len(seen)


def test_what_is_left_out_does_not_count(venv: Venv, tmp_path: Path) -> None:
    other = venv.copy(tmp_path / "env")
    before = other.describe().hash
    pip = next(other.site.glob("pip-*.dist-info"))
    (other.site / "pip" / "__init__.py").write_text("# another pip\n")
    pip.rename(pip.with_name("pip-999.0.dist-info"))
    (other.site / "msgspec" / "tests").mkdir()
    (other.site / "msgspec" / "tests" / "test_new.py").touch()
    (other.site / "msgspec" / "include").mkdir()
    (other.site / "msgspec" / "include" / "core.h").touch()
    assert other.describe().hash == before


def test_another_version_is_another_hash(venv: Venv, tmp_path: Path) -> None:
    other = venv.copy(tmp_path / "env")
    before = other.describe()
    info = next(other.site.glob("msgspec-*.dist-info"))
    info.rename(info.with_name("msgspec-0.0.1.dist-info"))
    after = other.describe()
    assert after.version_of("msgspec") == "0.0.1"
    assert after.hash != before.hash


def test_names_to_leave_out_and_to_keep(venv: Venv) -> None:
    plain = venv.describe()
    without = venv.describe(exclude=("MsgSpec",))
    assert without.version_of("msgspec") is None
    with_pip = venv.describe(include=("pip",))
    assert with_pip.version_of("pip")
    assert len({plain.hash, without.hash, with_pip.hash}) == 3
    with pytest.raises(InputError, match=r"--include: got 'pipp'.*did you mean 'pip'"):
        venv.describe(include=("pipp",))


def test_packages_of_the_base_count_where_the_venv_sees_them(make_venv: Callable[..., Venv], tmp_path: Path) -> None:
    base = make_venv(tmp_path / "closed").describe()
    both = make_venv(tmp_path / "open", "--system-site-packages").describe()
    assert base.packages == ()
    assert {p.name for p in both.packages} == {p.name for p in describe_environment(sys.base_prefix).packages}


def test_a_folder_that_a_pth_file_adds_goes_along(venv: Venv, tmp_path: Path) -> None:
    other = venv.copy(tmp_path / "env")
    (tmp_path / "mine" / "prices").mkdir(parents=True)
    (tmp_path / "mine" / "prices" / "__init__.py").write_text("x = 1\n")
    (other.site / "mine.pth").write_text(f"{tmp_path / 'mine'}\nimport sys\n")
    environment = other.describe()
    members = {m.name.rpartition("site-packages/")[2]: m for m in environment.members}
    assert members["prices/__init__.py"].source == str(tmp_path / "mine" / "prices" / "__init__.py")
    assert members["mine.pth"].data == b"import sys\n"
    (tmp_path / "mine" / "prices" / "__init__.py").write_text("x = 2\n")
    assert other.describe().hash != environment.hash


def test_no_environment_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"prefix: got .*no bin/python"):
        describe_environment(str(tmp_path))


def test_a_python_that_does_not_start(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    python = tmp_path / "bin" / "python"
    python.write_text("#!/bin/sh\necho no libcrypt.so.9 >&2\nexit 127\n")
    python.chmod(0o755)
    with pytest.raises(EnvironmentMismatch, match=r"exit code 127(.|\n)*libcrypt\.so\.9"):
        describe_environment(str(tmp_path))


def test_a_python_too_old(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    python = tmp_path / "bin" / "python"
    python.write_text(
        f"#!/bin/sh\nexec {sys.executable} -c 'import sys; sys.version_info = (3, 8, 1); exec(sys.argv[3])' \"$@\"\n"
    )
    python.chmod(0o755)
    with pytest.raises(EnvironmentMismatch, match=r"3\.8\.1; howdah needs CPython 3\.11"):
        describe_environment(str(tmp_path))
