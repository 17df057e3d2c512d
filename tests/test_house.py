"""The house keeps its shape: who may import whom, and that what is built is what is there."""

from __future__ import annotations

import ast
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = ("howdah", "engine", "io", "yarn_app", "envpack")
CORE = ("engine.graph", "engine.scheduler", "engine.worker", "engine.client", "engine.comm")
LEAF = "howdah.errors"  # docs/decisions/0001


def sources() -> list[Path]:
    return sorted(p for folder in FOLDERS for p in (ROOT / folder).rglob("*.py"))


def imports(path: Path) -> set[str]:
    """Dotted names of howdah that a file imports, those inside functions too; `if TYPE_CHECKING` ones as well."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import; write the whole name"
            found |= {f"{node.module}.{a.name}" for a in node.names} | {node.module or ""}
    return {name for name in found if name.split(".")[0] == "howdah"}


def room(path: Path) -> str:
    """`engine.graph`, `engine`, `io`, ...: the part of the house that a file belongs to."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    dotted = ".".join(parts)
    return next((core for core in CORE if dotted.startswith(core)), parts[0])


def may_not(part: str) -> tuple[str, ...]:
    """What files of this part may never import."""
    if part in CORE:
        return ("howdah.io", "howdah.yarn_app", "howdah.envpack", "howdah.engine.relational", "howdah.engine.frame")
    return {
        "envpack": ("howdah.",),
        "io": ("howdah.engine", "howdah.yarn_app", "howdah.envpack"),
        "engine": ("howdah.yarn_app", "howdah.envpack"),
    }.get(part, ())


@pytest.mark.parametrize("path", sources(), ids=lambda p: str(p.relative_to(ROOT)))
def test_nobody_imports_upwards(path: Path) -> None:
    for name in imports(path):
        if name == LEAF or name.startswith(LEAF + "."):
            continue
        own = "howdah." + room(path)
        for banned in may_not(room(path)):
            assert not name.startswith(banned) or name.startswith(own), f"{path.relative_to(ROOT)} imports {name}"


def test_only_one_module_touches_skein() -> None:
    users = []
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if any(n.split(".")[0] == "skein" for n in names):
                users.append(str(path.relative_to(ROOT)))
    assert set(users) <= {"yarn_app/yarn/skein_client.py"}


def test_every_package_is_in_the_distribution() -> None:
    declared = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    there = set()
    for folder in FOLDERS:
        for init in (ROOT / folder).rglob("__init__.py"):
            dotted = ".".join(init.parent.relative_to(ROOT).parts)
            there.add(dotted if folder == "howdah" else f"howdah.{dotted}")
    assert declared == there


@pytest.mark.parametrize("folder", [p for p in sources() if p.name == "__init__.py"], ids=lambda p: str(p.parent.name))
def test_every_folder_says_what_it_promises(folder: Path) -> None:
    assert len(ast.get_docstring(ast.parse(folder.read_text())) or "") > 40, (
        f"{folder}: what lives here, who may call it?"
    )


@pytest.mark.parametrize("path", sources(), ids=lambda p: str(p.relative_to(ROOT)))
def test_no_file_needs_a_scroll_bar(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 600, f"{path.relative_to(ROOT)}: two files would be easier to live in"


def test_importing_howdah_is_quick_and_light() -> None:
    """`import howdah` draws in nothing heavy: names are fetched when they are first used."""
    heavy = ["pandas", "polars", "pyarrow", "numpy", "tornado", "skein"]
    code = f"import sys, howdah; print([m for m in {heavy} if m in sys.modules])"
    began = time.perf_counter()
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"
    assert time.perf_counter() - began < 2.0


def test_the_face_names_exist() -> None:
    import howdah

    for name in howdah.__all__:
        assert getattr(howdah, name) is not None
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = howdah.no_such_name
