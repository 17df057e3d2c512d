"""The argument `progress` of `compute` as a block around computations. Called by `delayed` and `frame`."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

from howdah.engine.execution.progress_scope import progress_scope


def shown(progress: Any) -> AbstractContextManager[Any]:
    """Return the block of an argument `progress`: True is a bar, None or False adds nothing, others are called.

    >>> with shown(None):
    ...     pass
    """
    if progress is True:
        from howdah.engine.client.progress import ProgressBar  # not before it is used: it imports tornado

        return ProgressBar()
    return progress_scope(progress) if progress else nullcontext()
