"""What tasks and clients share beside results: `Queue`, `Variable`, `Lock`, `Event`, `Semaphore`, and actors.

For users, from a client and from inside tasks. The state of the first five lives in the scheduler's process
(`engine/scheduler/coordination`), an actor's on one worker. Every wait is answered by the scheduler,
never polled for, and what a client or worker held ends with it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from howdah.engine.coordination.locks import Event, Lock, Semaphore
    from howdah.engine.coordination.values import Queue, Variable

# On first use: the scheduler needs the state alone, and must not import what opens users' bytes.
_HOME = {"Event": "locks", "Lock": "locks", "Queue": "values", "Semaphore": "locks", "Variable": "values"}

__all__ = ["Event", "Lock", "Queue", "Semaphore", "Variable"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
