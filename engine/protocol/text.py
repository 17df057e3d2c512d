"""Text of users on its way into messages, files and lines of a log: UTF-8, and of bounded length. A leaf.

File names that are no UTF-8, and what users print, hold lone surrogates, which no encoder of messages accepts.
"""

from __future__ import annotations

from typing import Any

MAX_TEXT = 1 << 16
"""Characters of an error's message or traceback that travel; the middle of a longer one is left out."""


def encodable(text: str) -> str:
    """Return `text` with lone surrogates escaped, as Python prints them to stderr.

    >>> encodable("caf" + chr(0xdce9))
    'caf\\\\udce9'
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace").decode()
    return text


def shortened(text: str, limit: int = MAX_TEXT) -> str:
    """Return `text`, without its middle if it is longer than `limit` characters.

    >>> shortened("abcdefghij", 4)
    'ab\\n... (6 characters are left out) ...\\nij'
    """
    if len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[:half]}\n... ({len(text) - 2 * half} characters are left out) ...\n{text[-half:]}"


def describe_error(error: BaseException) -> str:
    """Return the type and the text of an exception, also of one whose text cannot be made.

    >>> describe_error(ValueError("no"))
    'ValueError: no'
    """
    kind = type(error).__name__
    try:
        return encodable(shortened(f"{kind}: {error}"))
    except BaseException as problem:  # noqa: BLE001  # the user's own __str__ may raise anything at all
        return f"{kind} (its text cannot be made: its __str__ raised {type(problem).__name__})"


def escape_texts(value: Any) -> Any:
    """Return plain data (lists, dictionaries, texts, numbers) with all texts `encodable`.

    >>> escape_texts(["a", {"b": chr(0xd800)}])
    ['a', {'b': '\\\\ud800'}]
    """
    if isinstance(value, str):
        return encodable(value)
    if isinstance(value, list | tuple):
        return [escape_texts(part) for part in value]
    if isinstance(value, dict):
        return {escape_texts(key): escape_texts(part) for key, part in value.items()}
    return value
