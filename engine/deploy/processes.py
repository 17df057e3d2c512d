"""``scheduler="processes"``: graphs on worker processes of this machine, with nothing to start and nothing to close.

A `LocalCluster` of this process with one worker per core, started at the first use (half a second) and kept until the
process ends. Its client is never the default client. Called by `howdah.engine.execution.dispatch` through
`howdah.engine.execution.default_client`.
"""

from __future__ import annotations

import os
import threading
from typing import Any

from howdah.engine.deploy.local import LocalCluster
from howdah.engine.execution.default_client import new_client

_guard = threading.Lock()
_kept: tuple[int, Any] | None = None


def processes() -> Any:
    """Return the client of this process's worker processes; a forked child gets its own."""
    global _kept
    with _guard:
        if _kept is None or _kept[0] != os.getpid():
            client = new_client(LocalCluster(name="processes"), name="processes", set_as_default=False)
            _kept = os.getpid(), client
        return _kept[1]
