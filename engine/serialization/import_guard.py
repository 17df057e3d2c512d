"""Imports of large packages as a whole, before a part of them is imported. For unpickling.

Two threads that import a package for the first time, one by its name and one by a module inside (as a pickle does),
wait for each other. Python breaks the deadlock by giving one of them a half-imported package, and a task fails with an
`AttributeError` that has no visible cause. A thread that imports the package by its own name first is safe.
"""

from __future__ import annotations

import contextlib
import importlib
import re

_SCANNED_BYTES = 8192
"""Bytes of a pickle that are searched for module names; they come early."""

_pending = {b"numpy", b"pandas", b"pyarrow", b"polars", b"scipy", b"sklearn"}
_named = re.compile(b"|".join(_pending))


def import_named_packages(data: bytes | bytearray | memoryview) -> None:
    """Import the large packages that `data`, a pickle, refers to. Costs a search of a few KiB."""
    global _named
    if _named.search(data, 0, _SCANNED_BYTES) is None:
        return
    for name in set(_named.findall(data, 0, _SCANNED_BYTES)):
        with contextlib.suppress(ImportError):  # unpickling reports it with more detail
            importlib.import_module(name.decode())
        _pending.discard(name)
    _named = re.compile(b"|".join(_pending) or b"(?!)")
