"""Small real environments: made by venv and by uv, with a package of the registry and an editable project."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import howdah
from howdah.envpack import Archive, Environment
from howdah.envpack.archive import pack_described
from howdah.envpack.environment import describe

PACKAGE = "msgspec"


@dataclass(frozen=True)
class Venv:
    """A virtual environment of a test."""

    path: Path

    @property
    def python(self) -> Path:
        return self.path / "bin" / "python"

    @property
    def site(self) -> Path:
        return next(self.path.glob("lib/python*/site-packages"))

    def pip(self, *arguments: str) -> None:
        subprocess.run([self.python, "-m", "pip", "-q", *arguments], check=True, timeout=240)

    def copy(self, folder: Path) -> Venv:
        """Another environment with the same packages; nothing in it names the first."""
        made = _make_venv(folder)
        shutil.copytree(self.site, made.site, dirs_exist_ok=True, symlinks=True)
        return made

    def describe(self, **options: tuple[str, ...]) -> Environment:
        return describe(str(self.path), **options)[0]

    def pack(self, output: Path) -> tuple[Archive, Environment]:
        environment, python = describe(str(self.path))
        return pack_described(environment, python, output=output), environment


def _make_venv(folder: Path, *options: str) -> Venv:
    # not `python -m venv`: from within an environment that makes one of the same base Python, as a user gets it
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", *options, folder], check=True, timeout=60)
    return Venv(folder)


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Compiled modules go to a cache of this test session."""
    before = os.environ.get("XDG_CACHE_HOME")
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))
    yield
    if before is None:
        del os.environ["XDG_CACHE_HOME"]
    else:
        os.environ["XDG_CACHE_HOME"] = before


@pytest.fixture(scope="session")
def venv(tmp_path_factory: pytest.TempPathFactory) -> Venv:
    """A venv with pip and one package of the registry. Shared: do not change it, `copy` it."""
    folder = tmp_path_factory.mktemp("envs") / "plain"
    subprocess.run([sys.executable, "-m", "venv", folder], check=True, timeout=120)
    made = Venv(folder)
    made.pip("install", PACKAGE)
    made.pip("uninstall", "-y", "setuptools")  # Python 3.11 gives one to every environment
    return made


@pytest.fixture(scope="session")
def with_howdah(venv: Venv, tmp_path_factory: pytest.TempPathFactory) -> Venv:
    """`venv` with howdah in it, installed plainly. Shared: do not change it, `copy` it."""
    made = venv.copy(tmp_path_factory.mktemp("envs") / "with-howdah")
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(Path(howdah.__file__).parent, made.site / "howdah", ignore=ignored)
    info = made.site / f"howdah-{howdah.__version__}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: howdah\nVersion: {howdah.__version__}\n\n")
    return made


@pytest.fixture(scope="session")
def packed(venv: Venv, tmp_path_factory: pytest.TempPathFactory) -> tuple[Archive, Environment]:
    """`venv`, packed once."""
    return venv.pack(tmp_path_factory.mktemp("packed") / "plain.tar.gz")


@pytest.fixture(scope="session")
def unpacked(packed: tuple[Archive, Environment], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`packed`, unpacked by GNU tar elsewhere, and read-only."""
    return _unpack(Path(packed[0].path), tmp_path_factory.mktemp("node") / "filecache" / "10" / "environment")


@pytest.fixture(scope="session")
def uv() -> str:
    if importlib.util.find_spec("uv") is None and shutil.which("uv") is None:
        pytest.skip("uv is not installed")
    return shutil.which("uv") or str(Path(sys.executable).parent / "uv")


def _make_project(root: Path) -> None:
    (root / "face").mkdir(parents=True)
    (root / "core" / "tests").mkdir(parents=True)
    (root / "pyproject.toml").write_text(
        """
[build-system]
requires = ["setuptools>=64"]
build-backend = "setuptools.build_meta"
[project]
name = "revenue-kit"
version = "1.2"
[tool.setuptools]
package-dir = { revenue_kit = "face", "revenue_kit.core" = "core" }
packages = ["revenue_kit", "revenue_kit.core"]
[tool.setuptools.package-data]
"revenue_kit.core" = ["*.txt"]
"""
    )
    (root / "face" / "__init__.py").write_text("from revenue_kit.core import RATE\n")
    (root / "core" / "__init__.py").write_text("RATE = 7\n")
    (root / "core" / "rates.txt").write_text("seven\n")
    (root / "core" / "tests" / "test_core.py").write_text("assert False\n")


@pytest.fixture(scope="session")
def make_project() -> Callable[[Path], None]:
    """Makes a checkout whose folders are mapped to sub-packages, with package data."""
    return _make_project


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Such a checkout of one test."""
    _make_project(tmp_path / "checkout")
    return tmp_path / "checkout"


def _unpack(archive: Path, folder: Path) -> Path:
    folder.mkdir(parents=True)
    subprocess.run(["tar", "-xzf", archive, "-C", folder], check=True, timeout=120)
    for path in folder.rglob("*"):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode & ~0o222)
    return folder


FACTS = """
import json, sys
maps = {l.split(None, 5)[5].strip() for l in open('/proc/self/maps') if '/' in l}
files = {n: m.__file__ for n, m in sys.modules.items() if getattr(m, '__file__', None)}
print(json.dumps({"prefix": sys.prefix, "path": sys.path, "maps": sorted(maps), "files": files, "result": result}))
"""


def _run_clean(folder: Path, code: str) -> dict[str, Any]:
    """Run code in an unpacked environment under `env -i`; `result` in it comes back, with what the process loaded."""
    command = ["env", "-i", str(folder / "bin" / "python"), "-s", "-c", "result = None\n" + code + "\n" + FACTS]
    ran = subprocess.run(command, check=True, capture_output=True, text=True, cwd="/", timeout=60)
    facts: dict[str, Any] = json.loads(ran.stdout)
    return facts


def _all_inside(facts: dict[str, Any], folder: Path) -> None:
    """Nothing of the process comes from elsewhere, the system's own libraries aside."""
    root = str(folder.resolve())
    assert facts["prefix"] == root
    assert [p for p in facts["path"] if p and not p.startswith(root)] == []
    assert {n: f for n, f in facts["files"].items() if not f.startswith(root)} == {}
    system = ("/lib/", "/usr/lib/", "/lib64/", "/usr/lib64/", root)
    assert [p for p in facts["maps"] if not p.startswith(system)] == []
    assert [p for p in facts["maps"] if "libpython" in p and not p.startswith(root)] == []


@pytest.fixture(scope="session")
def make_venv() -> Callable[..., Venv]:
    return _make_venv


@pytest.fixture(scope="session")
def unpack() -> Callable[[Path, Path], Path]:
    return _unpack


@pytest.fixture(scope="session")
def run_clean() -> Callable[[Path, str], dict[str, Any]]:
    return _run_clean


@pytest.fixture(scope="session")
def all_inside() -> Callable[[dict[str, Any], Path], None]:
    return _all_inside
