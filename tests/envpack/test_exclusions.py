"""What is left out: tools and tests, unless running code needs them; and the page that says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from howdah.envpack import exclusions
from howdah.envpack.exclusions import Exclusions, drops_package_file, drops_package_folder, drops_prefix_path
from howdah.errors import InputError

PAGE = Path(__file__).parents[2] / "docs" / "environments.md"


def test_every_rule_is_documented() -> None:
    page = PAGE.read_text()
    rules = [name for names in exclusions.DEVELOPER_TOOLS.values() for name in names]
    for group in (
        "STDLIB_FOLDERS",
        "STDLIB_FOLDERS_ANYWHERE",
        "STDLIB_FILES",
        "PACKAGE_FOLDERS",
        "PACKAGE_FILES",
        "HEADERS",
    ):
        rules += getattr(exclusions, group)
    rules += [*exclusions.PREFIX_FOLDERS, *exclusions.PREFIX_FILES, *exclusions.KEPT_FILES, *exclusions.KEEPS_HEADERS]
    rules += exclusions.HEADER_FOLDERS
    assert [rule for rule in rules if f"`{rule}`" not in page] == []


def test_a_tool_that_a_kept_package_needs_stays_with_what_it_needs_itself() -> None:
    installed = {
        "report": ("nbconvert",),
        "nbconvert": ("nbformat", "jupyter-core"),
        "nbformat": (),
        "jupyter-core": (),
    }
    installed |= {"jupyterlab": ("jupyter-core",), "ipython": ()}
    assert Exclusions().dropped(installed) == {"jupyterlab", "ipython"}


def test_users_have_the_last_word() -> None:
    installed = {"pytest": ("pluggy",), "pluggy": (), "dask": (), "howdah": ()}
    assert Exclusions(include=frozenset({"pytest"})).dropped(installed) == set()
    assert Exclusions(exclude=frozenset({"dask"})).dropped(installed) == {"dask", "pytest", "pluggy"}
    with pytest.raises(InputError, match=r"--exclude: got 'dusk'.*did you mean 'dask'"):
        Exclusions(exclude=frozenset({"dusk"})).dropped(installed)


@pytest.mark.parametrize("name", ["dask", "distributed", "setuptools", "howdah", "numpy", "rich", "pyzmq", "traitlets"])
def test_what_programs_use_is_no_developer_tool(name: str) -> None:
    assert not exclusions.is_developer_tool(name)


@pytest.mark.parametrize("name", ["pytest-xdist", "types-pyyaml", "pandas-stubs", "jupyterlab-widgets", "uv"])
def test_tools_by_pattern(name: str) -> None:
    assert exclusions.is_developer_tool(name)


def test_tests_go_unless_the_package_imports_them(tmp_path: Path) -> None:
    for name, init in (("plain", ""), ("astro", "from .tests.runner import TestRunner\n"), ("data", "")):
        (tmp_path / name / "tests").mkdir(parents=True)
        (tmp_path / name / "__init__.py").write_text(init)
        if name != "data":
            (tmp_path / name / "tests" / "test_it.py").touch()
    assert drops_package_folder(str(tmp_path / "plain" / "tests"))
    assert not drops_package_folder(str(tmp_path / "astro" / "tests"))
    assert not drops_package_folder(str(tmp_path / "data" / "tests")), "no test modules in it: not tests"
    assert not drops_package_folder(str(tmp_path / "plain" / "testing"))


def test_files() -> None:
    assert drops_package_file("pyarrow/include/arrow/api.h")
    assert not drops_package_file("triton/backends/nvidia/include/cuda.h")
    assert not drops_package_file("xcffib/declarations.h"), "cffi may read it"
    assert drops_package_file("pandas/_libs/lib.pyi")
    assert not drops_package_file("skimage/__init__.pyi")
    assert not drops_package_file("mine/table.parquet")
    assert drops_prefix_path("share/jupyter/kernels/python3/kernel.json")
    assert not drops_prefix_path("share/proj/proj.db")
