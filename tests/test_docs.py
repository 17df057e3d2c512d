"""The documentation is true: docstring examples run, and so does every Python block of the pages."""

from __future__ import annotations

import doctest
import importlib
import os
import re
from pathlib import Path

import pytest
from imports import ROOT, modules

TOP = "engine|io|yarn_app|envpack|howdah|tests|docs|examples"


def modules_with_examples() -> list[str]:
    """An example that needs a Hadoop is skipped here and run in the tests of yarn_app."""
    return [
        name
        for name, path in modules().items()
        if not name.endswith("__main__")
        and any(">>> " in line and "+SKIP" not in line for line in path.read_text().splitlines())
    ]


def pages() -> list[Path]:
    return sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])


@pytest.mark.parametrize("name", modules_with_examples())
def test_docstring_examples(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    assert result.attempted > 0
    assert result.failed == 0


def python_blocks() -> list[tuple[str, str]]:
    """(page, all of its ```python blocks joined), where the blocks are not marked `no-run`: a page is one session."""
    found = []
    for page in pages():
        blocks = re.findall(r"^```python\n(.*?)^```", page.read_text(), flags=re.MULTILINE | re.DOTALL)
        if blocks:
            found.append((str(page.relative_to(ROOT)), "\n".join(blocks)))
    return found


@pytest.mark.parametrize(("page", "code"), python_blocks(), ids=[p for p, _ in python_blocks()])
def test_pages_run(page: str, code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks that need a Hadoop are fenced as ```python on-yarn and run in tests/yarn_app instead."""
    monkeypatch.chdir(tmp_path)
    exec(compile(code, page, "exec"), {"__name__": "__docs__"})


def test_links_between_pages_lead_somewhere() -> None:
    for page in pages():
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert os.path.exists(page.parent / target), f"{page.relative_to(ROOT)} links to {target}"


def prose() -> list[tuple[str, str]]:
    """(file, text) of every page, and of every source file and test, where comments and docstrings name things too."""
    tests = sorted((ROOT / "tests").rglob("*.py"))
    files = [*pages(), *modules().values(), *tests, ROOT / "Makefile"]
    return [(str(path.relative_to(ROOT)), path.read_text()) for path in files]


def test_files_named_in_prose_exist() -> None:
    """A path from the root, such as `engine/worker/worker.py`."""
    missing = []
    for file, text in prose():
        for found in re.finditer(rf"(?<![\w/.:-])(?:{TOP})/(?:[\w-]+/)*[\w-]+\.(?:py|md|yaml|sh|ipynb|toml)\b", text):
            if not (ROOT / found[0]).exists() and not file.startswith(
                "tests/envpack/"
            ):  # those make trees of their own
                missing.append(f"{file} names {found[0]}")
    assert not missing, "\n".join(missing)


def test_dotted_names_in_prose_exist() -> None:
    """A dotted name that begins with `howdah.`: a module, or a name that one has."""
    missing = []
    for file, text in prose():
        for name in sorted(set(re.findall(r"`(howdah(?:\.\w+)+)", text))):
            if not _exists(name) and not _is_entry_point_group(name):
                missing.append(f"{file} names {name}")
    assert not missing, "\n".join(missing)


def _exists(name: str) -> bool:
    parts = name.split(".")
    for cut in range(len(parts), 0, -1):
        if ".".join(parts[:cut]) in modules():
            value = importlib.import_module(".".join(parts[:cut]))
            for attribute in parts[cut:]:
                if not hasattr(value, attribute):
                    return False
                value = getattr(value, attribute)
            return True
    return False


def _is_entry_point_group(name: str) -> bool:
    return f'[project.entry-points."{name}"]' in (ROOT / "pyproject.toml").read_text()


def test_the_messages_of_the_troubleshooting_page_are_printed_by_the_sources() -> None:
    rows = re.findall(r"^\| `{1,2}([^|]+?)`{1,2} \|", (ROOT / "docs" / "troubleshooting.md").read_text(), re.MULTILINE)
    sources = "\n".join(path.read_text() for path in modules().values())
    assert len(rows) > 10
    assert not [message for message in rows if message not in sources]


def test_the_reference_of_the_pages_lists_every_page_and_public_module() -> None:
    """`make docs` builds them; a page that no list names would be missing from the table of contents."""
    source = (ROOT / "docs" / "build.py").read_text()
    lists = dict(re.findall(r"^([A-Z]+) = \[([^\]]*)\]", source, re.MULTILINE))
    named = [name for text in lists.values() for name in re.findall(r'"([\w-]+)"', text)]
    assert sorted(named) == sorted(path.stem for path in (ROOT / "docs").glob("*.md"))


def test_no_prose_cites_a_page_that_is_not_here() -> None:
    wrong = [file for file, text in prose() if re.search(r"\bDESIGN\b|\bHOUSE\.md|\bSTYLE\.md", text)]
    assert not [file for file in wrong if file != "tests/test_docs.py"]
