"""The import graph of the tree, read from the source: every form of import, wherever it stands.

For `test_house.py` and `test_dependencies.py`. `import a`, `from a import b`, imports inside functions, imports under
`TYPE_CHECKING`, and `importlib.import_module("howdah...")` with a literal name count alike; `Import.annotation` tells
those that only a type checker reads.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

ROOT = Path(__file__).parent.parent
FOLDERS = ("howdah", "engine", "io", "yarn_app", "envpack")


@dataclass(frozen=True)
class Import:
    """One import statement's target, as seen from the module that has it."""

    importer: str
    target: str
    """A module of the tree where there is one of that name, else the dotted name as written."""
    line: int
    annotation: bool
    """Whether it stands under `if TYPE_CHECKING`."""


def sources() -> list[Path]:
    """Every source file, once: through the top-level folders, not through their links in `howdah/`."""
    return sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py") if not _linked(path))


def _linked(path: Path) -> bool:
    return any(parent.is_symlink() for parent in path.relative_to(ROOT).parents if str(parent) != ".") or (
        path.resolve() != path
    )


def module_name(path: Path) -> str:
    """The dotted name of a source file: `engine/worker/__init__.py` is `howdah.engine.worker`."""
    parts = list(path.relative_to(ROOT).with_suffix("").parts)
    if parts[-1] == "__init__":
        parts.pop()
    return ".".join(parts if parts[0] == "howdah" else ["howdah", *parts])


@lru_cache
def modules() -> Mapping[str, Path]:
    """Each module's file."""
    return {module_name(path): path for path in sources()}


def folder_of(module: str) -> str:
    """The package that holds a module; a package is its own folder."""
    path = modules()[module]
    return module if path.name == "__init__.py" else module.rpartition(".")[0]


def _for_annotations(tree: ast.AST) -> set[int]:
    found: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for statement in node.body:
                found |= {id(inner) for inner in ast.walk(statement)}
    return found


def imports_of(path: Path) -> Iterator[Import]:
    """All imports of one file, third-party ones too. A relative import raises `AssertionError`."""
    tree = ast.parse(path.read_text())
    annotations = _for_annotations(tree)
    importer = module_name(path)
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import; write the whole name"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Call) and node.args and ast.unparse(node.func).endswith("import_module"):
            first = node.args[0]
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                names = [first.value]
        for name in names:
            target = name if name in modules() or not name.startswith("howdah") else name.rpartition(".")[0]
            yield Import(importer, target, getattr(node, "lineno", 0), id(node) in annotations)


@lru_cache
def graph() -> tuple[Import, ...]:
    """Every import of one of the tree's modules by another."""
    found = (one for path in sources() for one in imports_of(path))
    return tuple(one for one in found if one.target.split(".")[0] == "howdah" and one.target != one.importer)


def circles(edges: Iterable[tuple[str, str]]) -> list[list[str]]:
    """The strongly connected components of more than one node (Tarjan 1972), each sorted.

    >>> circles([("a", "b"), ("b", "c"), ("c", "b"), ("c", "d")])
    [['b', 'c']]
    """
    after: dict[str, set[str]] = {}
    for a, b in edges:
        after.setdefault(a, set()).add(b)
        after.setdefault(b, set())
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in sorted(after[node]):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            component = [stack.pop()]
            while component[-1] != node:
                component.append(stack.pop())
            if len(component) > 1:
                found.append(sorted(component))

    for node in sorted(after):
        if node not in index:
            visit(node)
    return found
