"""Build the documentation as HTML: the pages of this folder, and an API reference from the docstrings.

Run by `make docs`; the result is build/docs/html/index.html. The pages are copied beside the generated ones first, so
that nothing is generated inside the source tree. A warning ends the build with exit code 1.
"""

from __future__ import annotations

import importlib
import shutil
import sys
from pathlib import Path

from sphinx.application import Sphinx

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "build" / "docs" / "source"
HTML = ROOT / "build" / "docs" / "html"

REFERENCE = {
    "howdah": "What a program imports: `import howdah as hd`.",
    "howdah.errors": "Every error that howdah raises.",
    "howdah.io": "File systems, Parquet tables and readers.",
    "howdah.envpack": "Python environments as artifacts.",
}
"""Modules whose public names are the reference, one page each."""

START = ["tutorial", "coming-from-spark", "coming-from-dask"]
GUIDE = [
    "frames",
    "client",
    "coordination",
    "yarn",
    "environments",
    "files",
    "observing",
    "failures",
    "troubleshooting",
]
OPERATE = ["administration", "security", "dependencies", "benchmarks", "simulation"]
INSIDE = ["design", "glossary"]


def public_names(module: str) -> list[str]:
    """Return the names that a module declares as public, or the classes that it defines."""
    loaded = importlib.import_module(module)
    declared = getattr(loaded, "__all__", None)
    if declared is not None:
        return sorted(declared)
    return [
        name for name, value in vars(loaded).items() if getattr(value, "__module__", "") == module and name[0] != "_"
    ]


def reference_page(module: str, summary: str) -> str:
    """Return a page that documents each public name of a module."""
    lines = [f"# {module}", "", summary, "", "```{eval-rst}", f".. currentmodule:: {module}", ""]
    for name in public_names(module):
        value = getattr(importlib.import_module(module), name)
        if isinstance(value, type):
            lines += [f".. autoclass:: {name}", "   :members:", "   :inherited-members: Exception, tuple", ""]
        elif callable(value):
            lines += [f".. autofunction:: {name}", ""]
        else:
            lines += [f".. autodata:: {name}", ""]
    return "\n".join([*lines, "```", ""])


def index_page() -> str:
    """Return the first page: the README's opening, and a table of contents."""
    opening = (ROOT / "README.md").read_text().partition("## By hand")[0]
    decisions = sorted(f"decisions/{path.stem}" for path in (ROOT / "docs" / "decisions").glob("*.md"))
    parts = {
        "Start": START,
        "Guide": GUIDE,
        "Reference": [f"reference/{module}" for module in REFERENCE],
        "Operate": OPERATE,
        "Inside": [*INSIDE, *decisions],
    }
    trees = (
        f"```{{toctree}}\n:caption: {title}\n:maxdepth: 1\n\n" + "\n".join(pages) + "\n```\n"
        for title, pages in parts.items()
    )
    return opening + "\n" + "\n".join(trees)


def write_sources() -> None:
    """Fill SOURCE anew."""
    shutil.rmtree(SOURCE.parent, ignore_errors=True)
    shutil.copytree(ROOT / "docs", SOURCE, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    (SOURCE / "reference").mkdir()
    for module, summary in REFERENCE.items():
        (SOURCE / "reference" / f"{module}.md").write_text(reference_page(module, summary))
    (SOURCE / "index.md").write_text(index_page())


def build() -> int:
    """Write the HTML; return 1 if a page is wrong."""
    write_sources()
    app = Sphinx(
        srcdir=SOURCE,
        confdir=None,
        outdir=HTML,
        doctreedir=SOURCE.parent / "doctrees",
        buildername="html",
        confoverrides={
            "project": "howdah",
            "extensions": ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"],
            "html_theme": "furo",
            "autodoc_typehints": "none",
            "autodoc_member_order": "bysource",
            "myst_heading_anchors": 4,
            "napoleon_google_docstring": False,
            "napoleon_use_param": False,
            "napoleon_use_rtype": False,
            "napoleon_use_ivar": True,
            # Links out of this folder lead into the repository, and docstrings' backquotes name code.
            "suppress_warnings": ["myst.xref_missing", "misc.highlighting_failure", "ref.python"],
            "default_role": "code",
        },
        status=None,
        warningiserror=True,
    )
    app.build()
    return app.statuscode


if __name__ == "__main__":
    sys.exit(build())
