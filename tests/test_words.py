"""Docstrings, comments and messages are plain: processes send, receive, request and store; they do not hear or want.

`python tests/test_words.py` prints the present list of `ALLOWED`.
"""

from __future__ import annotations

import io
import re
import tokenize
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
FOLDERS = ("howdah", "engine", "io", "yarn_app", "envpack")
BANNED = re.compile(
    r"\b(hears?|heard|nobody('s)?|whoever|whomever|somebody|anybody|everybody|the say|tells? (it|them|him|her)\b"
    r"|(is|are|was|were|been|being) told|be told|(un)?wanted by|meddled|without a word|'s sake|by itself knows"
    r"|says? so|has the word|gives? up the ghost|people)\b",
    re.IGNORECASE,
)

ALLOWED: dict[str, int] = {}
"""By file, how many such words are left. May only shrink."""


def texts(source: str) -> Iterator[tuple[int, str]]:
    """(line, text) of all comments and strings of a file.

    >>> list(texts("x = 'a'  # b"))
    [(1, "'a'"), (1, '# b')]
    """
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type in (tokenize.COMMENT, tokenize.STRING) or tokenize.tok_name[token.type] == "FSTRING_MIDDLE":
            yield token.start[0], token.string


def found_in(source: str) -> list[str]:
    """`line: word` of each banned word of a file."""
    return [
        f"{line + text[: match.start()].count(chr(10))}: {match.group()}"
        for line, text in texts(source)
        for match in BANNED.finditer(text)
    ]


def files() -> list[Path]:
    return sorted(
        path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")
        if not any(part.is_symlink() for part in path.parents)
    )  # fmt: skip


def test_processes_are_not_people() -> None:
    surplus = {}
    for path in files():
        name = str(path.relative_to(ROOT))
        found = found_in(path.read_text())
        if len(found) > ALLOWED.get(name, 0):
            surplus[name] = found
    assert surplus == {}


def test_the_check_sees_words_in_strings_and_comments_only() -> None:
    assert found_in("whoever = 1\nx = 'the scheduler hears'  # nobody's") == ["2: hears", "2: nobody's"]
    assert found_in('"""One\n\nis told.\n"""') == ["3: is told"]


if __name__ == "__main__":
    counts = Counter({str(p.relative_to(ROOT)): len(found_in(p.read_text())) for p in files()})
    print("\n".join(f'    "{name}": {count},' for name, count in sorted(counts.items()) if count))
