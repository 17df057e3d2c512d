"""Readers by the name of their format, found by entry point.

A package declares ``name = "module:factory"`` in the entry point group `howdah.readers`; the factory takes the URL (and
options of its own) and returns a `TableSource`. An installed reader is found without a change of howdah. Called through
`howdah.io`.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeAlias

from howdah.errors import InputError, near
from howdah.io.readers.table import TableSource

ENTRY_POINTS = "howdah.readers"

Reader: TypeAlias = Callable[..., TableSource]
"""(url, **options) -> TableSource"""


def installed_readers() -> dict[str, EntryPoint]:
    """Return the installed readers by the name of their format; nothing is imported."""
    return {entry.name: entry for entry in entry_points(group=ENTRY_POINTS)}


def find_reader(format: str) -> Reader:
    """Return the factory of a format.

    Raises
    ------
    InputError
        There is no reader of this name, or its module cannot be imported.
    """
    known = installed_readers()
    if format not in known:
        raise InputError(
            f"format={format!r}: no reader of this name is installed: {near(format, sorted(known))}. A package "
            f"declares one as an entry point in the group {ENTRY_POINTS!r}"
        )
    try:
        reader: Reader = known[format].load()
    except (ImportError, AttributeError) as error:
        raise InputError(f"format={format!r}: the reader {known[format].value!r} cannot be loaded: {error}") from error
    return reader


def open_table(url: str, format: str, **options: Any) -> TableSource:
    """Return the table at `url`, as the reader of `format` finds it. `options` go to the reader.

    Raises
    ------
    InputError
        There is no reader of this name, or the reader returned something else.
    """
    source = find_reader(format)(url, **options)
    if not isinstance(source, TableSource):
        raise InputError(f"format={format!r}: the reader gave {type(source).__name__}, not a howdah.io.TableSource")
    return source
