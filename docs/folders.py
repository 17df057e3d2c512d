"""Write the table of folders into docs/design.md, one sentence each, from the folders' docstrings.

    python docs/folders.py

`tests/test_house.py` fails when the table is not what this writes.
"""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "design.md"
BEGIN, END = "<!-- folders: python docs/folders.py -->\n", "<!-- end of folders -->\n"


def sentence(init: Path) -> str:
    """The first paragraph of a package's docstring, on one line."""
    docstring = ast.get_docstring(ast.parse(init.read_text())) or ""
    return " ".join(docstring.partition("\n\n")[0].split())


def table() -> str:
    """The table, folders in the order of the tree."""
    rows = ["| folder | what lives there |", "|---|---|"]
    for top in ("howdah", "engine", "io", "yarn_app", "envpack"):
        inits = [p for p in (ROOT / top).rglob("__init__.py") if top != "howdah" or p.parent == ROOT / "howdah"]
        for init in sorted(inits, key=lambda p: p.parent.parts):
            rows.append(f"| `{init.parent.relative_to(ROOT)}/` | {sentence(init)} |")
    return "\n".join(rows) + "\n"


def with_table(page: str) -> str:
    """`page` with the table of today between the two markers."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + table() + END + after


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text()))
