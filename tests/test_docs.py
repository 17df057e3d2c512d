"""The documentation is true: docstring examples run, and so does every Python block of the pages."""

from __future__ import annotations

import doctest
import importlib
import os
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = {"howdah": "howdah", "engine": "howdah.engine", "io": "howdah.io", "yarn_app": "howdah.yarn_app",
           "envpack": "howdah.envpack"}  # fmt: skip


def modules() -> list[str]:
    names = []
    for folder, package in FOLDERS.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            runs = any(">>> " in line and "+SKIP" not in line for line in path.read_text().splitlines())
            if (
                runs and parts[-1] != "__main__"
            ):  # an example that needs a Hadoop is skipped here, and run in yarn_app's tests
                names.append(".".join((package, *(p for p in parts if p != "__init__"))))
    return names


@pytest.mark.parametrize("name", modules())
def test_docstring_examples(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    assert result.attempted > 0
    assert result.failed == 0


def python_blocks() -> list[tuple[str, str]]:
    """(page, all of its ```python blocks joined), where the blocks are not marked `no-run`: a page is one session."""
    pages = []
    for page in sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]):
        blocks = re.findall(r"^```python\n(.*?)^```", page.read_text(), flags=re.MULTILINE | re.DOTALL)
        if blocks:
            pages.append((str(page.relative_to(ROOT)), "\n".join(blocks)))
    return pages


@pytest.mark.parametrize(("page", "code"), python_blocks(), ids=[p for p, _ in python_blocks()])
def test_pages_run(page: str, code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks that need a Hadoop are fenced as ```python on-yarn and run in tests/yarn_app instead."""
    monkeypatch.chdir(tmp_path)
    exec(compile(code, page, "exec"), {"__name__": "__docs__"})


def test_links_between_pages_lead_somewhere() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert os.path.exists(page.parent / target), f"{page.relative_to(ROOT)} links to {target}"
