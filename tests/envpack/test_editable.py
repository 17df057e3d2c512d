"""Editable projects travel as plain packages, as they are at this moment, and their checkouts stay untouched."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import howdah
from howdah.envpack import describe_environment
from howdah.envpack.distributions import InstalledDistribution, read_site
from howdah.envpack.editable import resolve
from howdah.errors import EnvironmentMismatch

if TYPE_CHECKING:
    from conftest import Venv

RunClean = Callable[[Path, str], dict[str, Any]]


@pytest.fixture(scope="module")
def edited(
    venv: Venv, make_project: Callable[[Path], None], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Venv, Path]:
    """`venv` with a project installed by `pip install -e`, and the project's folder."""
    root = tmp_path_factory.mktemp("source") / "checkout"
    make_project(root)
    made = venv.copy(tmp_path_factory.mktemp("envs") / "edited")
    made.pip("install", "-e", str(root))
    return made, root


@pytest.fixture
def env(edited: tuple[Venv, Path]) -> Venv:
    return edited[0]


@pytest.fixture
def project(edited: tuple[Venv, Path], make_project: Callable[[Path], None]) -> Path:
    """The checkout, as it was at first."""
    shutil.rmtree(edited[1])
    make_project(edited[1])
    return edited[1]


def names(environment: Any) -> set[str]:
    return {m.name.rpartition("/site-packages/")[2] for m in environment.members}


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_setuptools_mapping_becomes_a_plain_package(
    env: Venv, project: Path, tmp_path: Path, unpack: Callable[[Path, Path], Path], run_clean: RunClean
) -> None:
    before = tree(project)
    archive, environment = env.pack(tmp_path / "env.tar.gz")
    assert tree(project) == before
    assert environment.editable == ("revenue-kit",)
    assert {"revenue_kit/__init__.py", "revenue_kit/core/__init__.py", "revenue_kit/core/rates.txt"} <= names(
        environment
    )
    assert not any("__editable__" in n or "tests" in n for n in names(environment))

    there = unpack(Path(archive.path), tmp_path / "there")
    code = """
import importlib.metadata as m, importlib.resources as r, revenue_kit
result = [revenue_kit.RATE, m.version("revenue-kit"), r.files("revenue_kit.core").joinpath("rates.txt").read_text(),
          revenue_kit.core.__file__, m.distribution("revenue-kit").read_text("direct_url.json"),
          sorted(str(f) for f in m.files("revenue-kit"))]
"""
    project.rename(project.with_name("moved"))
    try:
        rate, version, text, file, direct, files = run_clean(there, code)["result"]
    finally:
        project.with_name("moved").rename(project)
    assert (rate, version, text, direct) == (7, "1.2", "seven\n", None)
    assert file == str(next(there.glob("lib/python*/site-packages")) / "revenue_kit" / "core" / "__init__.py")
    assert "revenue_kit/core/__init__.py" in files


def test_changed_source_is_another_environment_with_the_new_content(
    env: Venv, project: Path, tmp_path: Path, unpack: Callable[[Path, Path], Path], run_clean: RunClean
) -> None:
    before = env.describe().hash
    (project / "core" / "__init__.py").write_text("RATE = 8\n")
    archive, environment = env.pack(tmp_path / "env.tar.gz")
    assert environment.hash != before
    there = unpack(Path(archive.path), tmp_path / "there")
    assert run_clean(there, "import revenue_kit; result = revenue_kit.RATE")["result"] == 8
    (project / "core" / "__init__.py").write_text("RATE = 7\n")
    assert env.describe().hash == before


def test_a_new_module_and_no_caches_or_tests(env: Venv, project: Path) -> None:
    before = env.describe()
    (project / "core" / "__pycache__").mkdir(exist_ok=True)
    (project / "core" / "__pycache__" / "x.cpython-311.pyc").write_bytes(b"x")
    (project / "core" / "tests" / "test_more.py").touch()
    (project / "notes.md").touch()
    assert env.describe().hash == before.hash
    (project / "core" / "rates.py").touch()
    assert "revenue_kit/core/rates.py" in names(env.describe())


def test_howdah_itself_in_its_checkout() -> None:
    """The tests run on `pip install -e .`: the sub-packages are links inside the folder `howdah`."""
    environment = describe_environment()
    if "howdah" not in environment.editable:
        pytest.skip("howdah is installed plainly here")
    root = Path(howdah.__file__).parent
    found = {name for name in names(environment) if name.startswith("howdah/")}
    parts = [path for path in root.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    for link in ("engine", "io", "yarn_app", "envpack"):
        parts += [
            root / link / path.relative_to((root / link).resolve()) for path in (root / link).resolve().rglob("*")
        ]
    files = {str(path.relative_to(root.parent)) for path in parts if path.is_file() and "__pycache__" not in path.parts}
    assert found == files
    assert {"howdah/py.typed", "howdah/envpack/elf.py", "howdah/yarn_app/mini/pom.xml"} <= found
    assert f"howdah-{howdah.__version__}.dist-info/METADATA" in names(environment)
    assert not any(n.startswith(("engine/", "__editable__", "howdah/tests/")) for n in names(environment))


# -- what other installers leave


def installed(tmp_path: Path, **files: str) -> InstalledDistribution:
    """A distribution whose RECORD has the given files, and a checkout with a package and more."""
    source, site = tmp_path / "checkout", tmp_path / "site"
    for name in ("prices", "prices/deep", "prices/.git", "docs", "tests", "src/prices2", "env"):
        (source / name).mkdir(parents=True)
    for name in ("prices/__init__.py", "prices/deep/__init__.py", "prices/.git/HEAD", "setup.py", "pyproject.toml"):
        (source / name).touch()
    for name in ("tests/__init__.py", "src/prices2/__init__.py", "src/one.py", "env/__init__.py", "env/pyvenv.cfg"):
        (source / name).touch()
    info = site / "prices-3.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: prices\nVersion: 3.0\n\n")
    (info / "direct_url.json").write_text(json.dumps({"url": source.as_uri(), "dir_info": {"editable": True}}))
    for name, text in files.items():
        (site / name.replace("__pth", ".pth").replace("__py", ".py")).write_text(text.format(source=source))
    recorded = [p.name for p in site.iterdir() if p.is_file()] + ["prices-3.0.dist-info/METADATA"]
    (info / "RECORD").write_text("".join(f"{name},,\n" for name in recorded))
    (found,) = read_site(str(site))
    assert found.source == str(source)
    return found


def test_a_path_to_src(tmp_path: Path) -> None:
    plain = resolve(installed(tmp_path, _prices__pth="{source}/src\n"))
    assert set(plain.files) == {"prices2/__init__.py", "one.py"}
    assert plain.replaced == {"_prices.pth"}


def test_a_path_to_a_flat_checkout_takes_the_package_only(tmp_path: Path) -> None:
    plain = resolve(installed(tmp_path, prices__pth="{source}\n"))
    assert set(plain.files) == {"prices/__init__.py", "prices/deep/__init__.py"}


def test_the_editables_library(tmp_path: Path) -> None:
    finder = (
        "from editables.redirector import RedirectingFinder as F\n"
        "F.install()\n"
        "F.map_module('prices', '{source}/prices/__init__.py')\n"
    )
    plain = resolve(
        installed(tmp_path, _editable_impl_prices__pth="import _editable_impl_prices", _editable_impl_prices__py=finder)
    )
    assert set(plain.files) == {"prices/__init__.py", "prices/deep/__init__.py"}
    assert plain.replaced == {"_editable_impl_prices.pth", "_editable_impl_prices.py"}


def test_a_single_module_of_setuptools(tmp_path: Path) -> None:
    finder = "MAPPING: dict[str, str] = {{'one': '{source}/src/one'}}\n"
    plain = resolve(installed(tmp_path, a__pth="import f; f.install()", f__py=finder))
    assert set(plain.files) == {"one.py"}


def test_a_kind_that_is_not_known_says_what_to_do(tmp_path: Path) -> None:
    dist = installed(tmp_path, a__pth="import _prices_loader", _prices_loader__py="rebuild('{source}')\n")
    with pytest.raises(
        EnvironmentMismatch, match=r"prices 3\.0 is an editable installation of .*cannot read: install it plainly"
    ):
        resolve(dist)


def test_a_checkout_that_is_gone(tmp_path: Path) -> None:
    dist = installed(tmp_path, a__pth="{source}\n")
    shutil.rmtree(tmp_path / "checkout")
    with pytest.raises(EnvironmentMismatch, match="that folder does not exist"):
        resolve(dist)


def test_setup_py_develop(tmp_path: Path) -> None:
    source, site = tmp_path / "checkout", tmp_path / "site"
    (source / "prices").mkdir(parents=True)
    site.mkdir()
    (source / "prices" / "__init__.py").touch()
    (source / "prices.egg-info").mkdir()
    (source / "prices.egg-info" / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: prices\nVersion: 0.9\n\n")
    (source / "prices.egg-info" / "top_level.txt").write_text("prices\n")
    (site / "prices.egg-link").write_text(f"{source}\n.")
    (dist,) = read_site(str(site))
    assert (dist.version, dist.source) == ("0.9", str(source))
    assert set(resolve(dist).files) == {"prices/__init__.py"}
