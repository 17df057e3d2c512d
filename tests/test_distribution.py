"""The wheel and the source distribution hold everything, and howdah runs from an installed wheel and from a checkout.

Both are built without a network, in a copy of the checkout: setuptools writes beside the sources.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import howdah

ROOT = Path(__file__).parent.parent
FOLDERS = ("engine", "io", "yarn_app", "envpack")
IGNORED = shutil.ignore_patterns("__pycache__", "*.pyc", "*.egg-info", "build", "dist", ".*")


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what git tracks of howdah itself, with the links inside `howdah/`."""
    copy = tmp_path_factory.mktemp("checkout")
    for folder in ("howdah", *FOLDERS):
        shutil.copytree(ROOT / folder, copy / folder, symlinks=True, ignore=IGNORED)
    for file in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / file, copy)
    return copy


@pytest.fixture(scope="module")
def built(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The source distribution, and the wheel that is built from it."""
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "uv", "build", "-q", "--python", sys.executable, "--no-build-isolation"]
    subprocess.run([*command, "--offline", "--out-dir", out, checkout], check=True, timeout=120, env=_environment())
    (source,), (wheel,) = out.glob("*.tar.gz"), out.glob("*.whl")
    return source, wheel


@pytest.fixture(scope="module")
def installed(built: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of packages with the wheel's howdah alone; its dependencies are those of the tests."""
    target = tmp_path_factory.mktemp("installed") / "site-packages"
    command = [sys.executable, "-m", "uv", "pip", "install", "-q", "--python", sys.executable, "--offline", "--no-deps"]
    subprocess.run([*command, "--target", target, built[1]], check=True, timeout=120, env=_environment())
    return target


def _environment(packages: Path | None = None) -> dict[str, str]:
    """This process's environment, with a folder of packages before the editable installation of the tests."""
    mine = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "COVERAGE"))}
    return {**mine, "PYTHONPATH": str(packages)} if packages else mine


def tree() -> set[str]:
    """Every file of howdah in the checkout, by its path inside the package."""
    files = {path.name for path in (ROOT / "howdah").iterdir() if path.is_file()}
    for folder in FOLDERS:
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts and not path.name.startswith("."):
                files.add(str(path.relative_to(ROOT)))
    assert len(files) > 250
    return {f"howdah/{name}" for name in files}


def test_the_wheel_has_every_file_and_no_other(built: tuple[Path, Path]) -> None:
    with zipfile.ZipFile(built[1]) as wheel:
        names = {name for name in wheel.namelist() if not name.endswith("/")}
    info = f"howdah-{howdah.__version__}.dist-info/"
    assert {name for name in names if not name.startswith(info)} == tree()
    assert {f"{info}METADATA", f"{info}entry_points.txt", f"{info}RECORD"} <= names


def test_the_source_distribution_has_every_file_and_what_builds_it(built: tuple[Path, Path]) -> None:
    with tarfile.open(built[0]) as source:
        members = source.getmembers()
    names = {member.name.partition("/")[2] for member in members if member.isfile()}
    assert {name for name in names if name.startswith("howdah/")} == tree()
    assert {"pyproject.toml", "README.md", "PKG-INFO"} <= names
    assert not [member.name for member in members if member.issym()], "links do not survive everywhere"


def test_howdah_runs_from_the_installed_wheel(installed: Path, tmp_path: Path) -> None:
    version = run("-m", "howdah", "--version", packages=installed, cwd=tmp_path)
    assert howdah.__version__ in version
    where = run("-c", "import howdah.yarn_app.mini as m; print(m.__file__)", packages=installed, cwd=tmp_path)
    assert Path(where.strip()).is_relative_to(installed), "not the editable installation of the tests"
    script = subprocess.run(
        [sys.executable, installed / "bin" / "howdah", "--version"],
        capture_output=True, text=True, check=True, timeout=60, cwd=tmp_path, env=_environment(installed),
    )  # fmt: skip
    assert script.stdout == version


def test_howdah_runs_in_the_root_of_a_checkout_with_a_normal_installation(installed: Path, checkout: Path) -> None:
    """There `howdah/` is imported from the checkout, and its links lead to the folders."""
    assert howdah.__version__ in run("-m", "howdah", "--version", packages=installed, cwd=checkout)
    where = run("-c", "import howdah.engine as e, io; print(e.__file__, io.__file__)", packages=installed, cwd=checkout)
    engine, standard = where.split()
    assert Path(engine) == checkout / "howdah" / "engine" / "__init__.py"
    assert not Path(standard).is_relative_to(checkout), "the folder io/ does not hide the standard library's"


def test_the_readmes_first_example_runs_from_the_installed_wheel(installed: Path, tmp_path: Path) -> None:
    block = re.search(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    assert block is not None
    (tmp_path / "example.py").write_text(block[1] + "\nprint('file', hd.__file__)\n")
    shown = run("example.py", packages=installed, cwd=tmp_path)
    assert f"file {installed}" in shown
    assert "mon" in block[1]


def run(*arguments: str, packages: Path, cwd: Path) -> str:
    ran = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, check=False, timeout=60, cwd=cwd,
        env=_environment(packages),
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    return ran.stdout
