"""The structure of the source tree: who may import whom, and that packages are what tools see.

The rules are those of docs/design.md. The exceptions are empty and stay empty.
"""

from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

import pytest
from imports import FOLDERS, ROOT, Import, circles, folder_of, graph, imports_of, modules, sources

LEAVES = {"howdah.errors", "howdah.backoff", "howdah.version"}
"""Modules that import nothing of howdah and that every folder may import (docs/decisions/0001)."""

CORE = (
    "howdah.engine.protocol",
    "howdah.engine.serialization",
    "howdah.engine.comm",
    "howdah.engine.graph",
    "howdah.engine.scheduler",
    "howdah.engine.worker",
    "howdah.engine.client",
    "howdah.engine.coordination",
)
NEVER: dict[tuple[str, ...], tuple[str, ...]] = {
    ("howdah.envpack",): ("howdah",),
    ("howdah.io",): ("howdah.engine", "howdah.yarn_app", "howdah.envpack"),
    CORE: (
        "howdah.io",
        "howdah.yarn_app",
        "howdah.envpack",
        "howdah.engine.plan",
        "howdah.engine.relational",
        "howdah.engine.frame",
    ),
    ("howdah.engine",): ("howdah.yarn_app", "howdah.envpack"),
}
"""What the modules below the names on the left may never import, in any form."""

FOLDERS_IN_CIRCLES: frozenset[frozenset[str]] = frozenset()
MODULES_IN_CIRCLES: frozenset[frozenset[str]] = frozenset()


def _below(module: str, packages: tuple[str, ...]) -> bool:
    return any(module == package or module.startswith(package + ".") for package in packages)


def _say(found: list[list[str]], of: dict[tuple[str, str], list[Import]]) -> str:
    lines = []
    for circle in found:
        lines.append("circle: " + ", ".join(circle))
        for (a, b), ones in sorted(of.items()):
            if a in circle and b in circle:
                lines += [f"  {one.importer}:{one.line} imports {one.target}" for one in ones]
    return "\n".join(lines)


def test_no_folders_import_each_other() -> None:
    of: dict[tuple[str, str], list[Import]] = defaultdict(list)
    for one in graph():
        a, b = folder_of(one.importer), folder_of(one.target)
        if a != b and one.target not in LEAVES:
            of[a, b].append(one)
    found = circles(of)
    assert {frozenset(circle) for circle in found} == FOLDERS_IN_CIRCLES, _say(found, of)


def test_no_modules_import_each_other() -> None:
    """Circles that only a type checker sees are allowed within a folder."""
    of: dict[tuple[str, str], list[Import]] = defaultdict(list)
    for one in graph():
        if not one.annotation:
            of[one.importer, one.target].append(one)
    found = circles(of)
    assert {frozenset(circle) for circle in found} == MODULES_IN_CIRCLES, _say(found, of)


@pytest.mark.parametrize("below", NEVER, ids=lambda names: names[0] if len(names) == 1 else "core")
def test_nothing_imports_upwards(below: tuple[str, ...]) -> None:
    wrong = [
        f"{one.importer}:{one.line} imports {one.target}"
        for one in graph()
        if _below(one.importer, below)
        and _below(one.target, NEVER[below])
        and not _below(one.target, below)
        and one.target not in LEAVES
    ]
    assert not wrong, "\n".join(wrong)


def test_leaves_import_nothing_of_howdah() -> None:
    assert not [one for one in graph() if one.importer in LEAVES]


def test_nothing_but_the_command_line_imports_the_root() -> None:
    assert not [one for one in graph() if one.target == "howdah" and not one.importer.startswith("howdah.__")]


def test_every_import_of_howdah_resolves_to_a_file_that_tools_can_see() -> None:
    """As an editor resolves it: from the root of the checkout, through the links in `howdah/`."""
    missing = []
    for one in graph():
        path = ROOT.joinpath(*one.target.split("."))
        if not path.with_suffix(".py").exists() and not (path / "__init__.py").exists():
            missing.append(f"{one.importer}:{one.line} imports {one.target}")
    assert not missing, "\n".join(missing)


def test_the_links_are_relative_and_tracked() -> None:
    command = ["git", "ls-files", "-s", "howdah"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout
    for folder in FOLDERS[1:]:
        assert (ROOT / "howdah" / folder).readlink() == Path("..") / folder
        if listed:  # not in an unpacked sdist
            assert any(line.startswith("120000") and line.endswith(f"howdah/{folder}") for line in listed.splitlines())


def test_every_folder_with_code_is_a_package() -> None:
    assert not [str(p.relative_to(ROOT)) for p in sources() if not (p.parent / "__init__.py").exists()]


def test_only_one_module_imports_skein() -> None:
    users = {one.importer for path in sources() for one in imports_of(path) if one.target.split(".")[0] == "skein"}
    assert users == {"howdah.yarn_app.yarn.skein_client"}


def test_nothing_but_tests_and_make_uses_the_simulation() -> None:
    simulation = ("howdah.engine.scheduler.simulation",)
    assert not [one for one in graph() if _below(one.target, simulation) and not _below(one.importer, simulation)]


@pytest.mark.parametrize("name", [m for m, path in modules().items() if path.name == "__init__.py"])
def test_every_folder_says_what_it_promises(name: str) -> None:
    docstring = ast.get_docstring(ast.parse(modules()[name].read_text())) or ""
    first, _, rest = docstring.partition("\n\n")
    assert first.endswith("."), f"{name}: the docstring's first paragraph is one sentence that says what lives here"
    assert len(rest) > 40, f"{name}: who may call it, and what does it promise?"


def test_the_table_of_folders_is_that_of_the_docstrings() -> None:
    spec = importlib.util.spec_from_file_location("folders", ROOT / "docs" / "folders.py")
    assert spec is not None
    assert spec.loader is not None
    folders = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(folders)
    assert folders.with_table((ROOT / "docs" / "design.md").read_text()) == (ROOT / "docs" / "design.md").read_text(), (
        "run `python docs/folders.py`"
    )


def test_importing_howdah_is_quick_and_light() -> None:
    """`import howdah` loads nothing heavy: names are imported when they are first used."""
    heavy = ["pandas", "polars", "pyarrow", "numpy", "tornado", "skein", "requests"]
    code = f"import sys, howdah; print([m for m in {heavy} if m in sys.modules])"
    began = time.perf_counter()
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"
    assert time.perf_counter() - began < 2.0


def test_the_public_names_exist() -> None:
    import howdah

    for name in howdah.__all__:
        assert getattr(howdah, name) is not None
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = howdah.no_such_name


def test_each_class_name_has_one_meaning() -> None:
    """A leading underscore does not make another name of it."""
    homes: dict[str, list[str]] = defaultdict(list)
    for name, path in modules().items():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                homes[node.name.lstrip("_")].append(name)
    assert not {name: places for name, places in homes.items() if len(places) > 1}
