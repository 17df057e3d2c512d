"""The progress function of computations for which none is given: that of the innermost block.

`ProgressBar` opens a block, and so does ``compute(..., progress=...)`` of frames. Threads begin without one. A leaf.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

_current: ContextVar[Callable[..., None] | None] = ContextVar("howdah_progress", default=None)


def current_progress() -> Callable[..., None] | None:
    """Return the progress function of the innermost block, or None.

    >>> with progress_scope(print):
    ...     current_progress() is print
    True
    """
    return _current.get()


@contextmanager
def progress_scope(progress: Callable[..., None]) -> Iterator[Any]:
    """Open a block in which computations call `progress`."""
    token = _current.set(progress)
    try:
        yield progress
    finally:
        _current.reset(token)
