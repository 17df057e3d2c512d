"""Resolve editable installations: which files of a checkout are the packages that `import` finds there.

Promises: nothing is built, run or written in the user's tree: the mapping is read from the installer's files in
site-packages (setuptools' finder, `.pth` paths of hatch, poetry, flit, uv and pdm, `editables`, `setup.py develop`),
and the files are taken as they are at this moment, compiled extensions among them. An unknown kind is an error that
says to install without `-e`. Why not build a wheel: it takes seconds, needs the project's build backend
installed, and may give other files than those that the user just tested. Called by `collect`.
"""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass

from packaging.utils import canonicalize_name

from howdah.envpack.distributions import InstalledDistribution
from howdah.envpack.exclusions import drops_package_file, drops_package_folder
from howdah.errors import EnvironmentMismatch

# At the root of a flat checkout these are not what the project installs.
_NOT_INSTALLED = {"tests", "test", "docs", "doc", "examples", "benchmarks", "build", "dist", "scripts", "tools"}
_NOT_INSTALLED |= {"setup.py", "conftest.py", "noxfile.py", "tasks.py", "fabfile.py"}
_ROOT_MARKS = ("pyproject.toml", "setup.py", "setup.cfg")
_MAP_MODULE = re.compile(r"map_module\(\s*(['\"])(?P<name>[\w.]+)\1\s*,\s*(['\"])(?P<path>.+?)\3\s*\)")
_ADD_PATH = re.compile(r"^import (?P<module>[\w.]+)\s*(;|$)")


@dataclass(frozen=True, slots=True)
class ResolvedEditable:
    """The files that replace one editable installation."""

    files: dict[str, str]  # path relative to site-packages -> the file on this machine
    replaced: frozenset[str]  # names in site-packages that are not needed any more


def resolve(dist: InstalledDistribution) -> ResolvedEditable:
    """Return the files that an editable distribution stands for.

    Raises
    ------
    EnvironmentMismatch
        The checkout is gone, or the installer's way of pointing to it is unknown.
    """
    source = dist.source or ""
    if not os.path.isdir(source):
        raise EnvironmentMismatch(
            f"{dist.name} {dist.version} is an editable installation of {source}, and that folder does not exist: "
            f"install it again, or uninstall {dist.name}"
        )
    files: dict[str, str] = {}
    replaced: set[str] = set()
    if dist.info.endswith(".egg-link"):
        replaced.add(dist.info)
        files.update(_importable(source, dist))
    pointers = [name for name in dist.files if name.endswith(".pth") and "/" not in name]
    for pointer in pointers:
        replaced.add(pointer)
        for line in _lines(os.path.join(dist.site, pointer)):
            if match := _ADD_PATH.match(line):
                finder = match["module"] + ".py"
                replaced.add(finder)
                for name, path in _mapping(dist, os.path.join(dist.site, finder)).items():
                    files.update(_package(name, path))
            elif not line.startswith(("import ", "import\t", "#")) and os.path.isdir(os.path.join(dist.site, line)):
                files.update(_importable(os.path.join(dist.site, line), dist))
    if not files:
        raise EnvironmentMismatch(_unknown(dist))
    return ResolvedEditable(files, frozenset(replaced))


def outside_folders(site: str, pth: str) -> list[str]:
    """Return the folders that a `.pth` file adds to sys.path by absolute path."""
    lines = _lines(os.path.join(site, pth))
    return [line for line in lines if os.path.isabs(line) and os.path.isdir(line)]


def importable(folder: str) -> dict[str, str]:
    """Return the files of everything that can be imported from a folder on sys.path."""
    return dict(_importable(folder, None))


def _unknown(dist: InstalledDistribution) -> str:
    return (
        f"{dist.name} {dist.version} is an editable installation of {dist.source} in a way that howdah cannot read: "
        f"install it plainly (pip install {dist.source}) and pack again"
    )


def _lines(path: str) -> list[str]:
    with open(path, encoding="utf-8", errors="replace") as file:
        return [line.strip() for line in file if line.strip()]


def _mapping(dist: InstalledDistribution, finder: str) -> dict[str, str]:
    """Return module name -> folder from the source of a finder module, which is not run."""
    try:
        with open(finder, encoding="utf-8") as file:
            text = file.read()
        tree = ast.parse(text)
    except (OSError, SyntaxError) as error:
        raise EnvironmentMismatch(_unknown(dist)) from error
    found = {match["name"]: match["path"] for match in _MAP_MODULE.finditer(text)}
    for node in tree.body:
        if isinstance(node, ast.Assign):
            names = [target.id for target in node.targets if isinstance(target, ast.Name)]
            value: ast.expr | None = node.value
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names, value = [node.target.id], node.value
        else:
            continue
        if "MAPPING" in names and value is not None:
            found.update(ast.literal_eval(value))
    if not found:
        raise EnvironmentMismatch(_unknown(dist))
    return found


def _package(name: str, path: str) -> Iterator[tuple[str, str]]:
    """Yield the files of one module or package that is mapped to a folder of its own."""
    target = name.replace(".", "/")
    if os.path.basename(path) == "__init__.py":
        path = os.path.dirname(path)
    if os.path.isdir(path):
        yield from walk(path, target)
        return
    folder, stem = os.path.split(path.removesuffix(".py"))
    for entry in sorted(os.listdir(folder)) if os.path.isdir(folder) else []:
        if entry == stem + ".py" or (entry.startswith(stem + ".") and entry.endswith(".so")):
            yield "/".join([*name.split(".")[:-1], entry]), os.path.join(folder, entry)


def _importable(folder: str, dist: InstalledDistribution | None) -> Iterator[tuple[str, str]]:
    wanted = set(dist.top_level) if dist else set()
    own = canonicalize_name(dist.name).replace("-", "_") if dist else ""
    is_root = any(os.path.exists(os.path.join(folder, mark)) for mark in _ROOT_MARKS)
    for entry in sorted(os.scandir(folder), key=lambda e: e.name):
        stem = entry.name.partition(".")[0]
        if entry.name.startswith((".", "__pycache__")) or (wanted and stem not in wanted):
            continue
        if not wanted and is_root and entry.name in _NOT_INSTALLED:
            continue
        if entry.is_dir():
            if not entry.name.isidentifier() or _is_environment(entry.path):
                continue
            plain = os.path.exists(os.path.join(entry.path, "__init__.py"))
            namespace = entry.name in wanted or own.split("_")[0] == entry.name or own == entry.name or not is_root
            if plain or namespace:
                yield from walk(entry.path, entry.name)
        elif entry.name.endswith((".py", ".so")):
            yield entry.name, entry.path


def walk(folder: str, target: str) -> Iterator[tuple[str, str]]:
    """Yield the files of a package in a checkout: no caches, tests, hidden folders or environments."""
    for entry in sorted(os.scandir(folder), key=lambda e: e.name):
        name = f"{target}/{entry.name}"
        if entry.is_dir():
            skipped = entry.name.startswith(".") or entry.name == "node_modules" or entry.name.endswith(".egg-info")
            skipped = skipped or drops_package_folder(entry.path)
            if not skipped and not _is_environment(entry.path):
                yield from walk(entry.path, name)
        elif entry.is_file() and not entry.name.endswith(".pyc") and not drops_package_file(name):
            yield name, entry.path


def _is_environment(folder: str) -> bool:
    return any(os.path.exists(os.path.join(folder, mark)) for mark in ("pyvenv.cfg", "conda-meta"))
