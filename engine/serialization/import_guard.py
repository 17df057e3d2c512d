"""Large packages are imported whole before a part of them is asked for.

Two threads that import a package for the first time, one by its name and one by a module inside (as a pickle does),
wait for each other; Python breaks the tie by giving one of them a half-made package, and a task fails with an
`AttributeError` that nobody can explain. Whoever asks for the package by its own name first is in no such danger.
"""

from __future__ import annotations

import contextlib
import importlib
import re

_LOOKED_AT = 8192
"""Bytes of a pickle in which the names of its modules are looked for; they come early."""

_pending = {b"numpy", b"pandas", b"pyarrow", b"polars", b"scipy", b"sklearn"}
_named = re.compile(b"|".join(_pending))


def import_named_packages(data: bytes | bytearray | memoryview) -> None:
    """Import what `data`, a pickle, names parts of. Costs a look at a few bytes, and less the more is there."""
    global _named
    if _named.search(data, 0, _LOOKED_AT) is None:
        return
    for name in set(_named.findall(data, 0, _LOOKED_AT)):
        with contextlib.suppress(ImportError):  # whoever needs it says so better
            importlib.import_module(name.decode())
        _pending.discard(name)
    _named = re.compile(b"|".join(_pending) or b"(?!)")
