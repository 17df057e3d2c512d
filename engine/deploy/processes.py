"""`scheduler="processes"`: graphs on processes of this machine, with nothing to start and nothing to close.

A `LocalCluster` of this process's own with one worker per core, started at the first use (half a second) and kept
until the process ends. It is never the current client. Called by `engine.execute`.
"""

from __future__ import annotations

import os
import threading
from typing import Any

_guard = threading.Lock()
_kept: tuple[int, Any] | None = None


def processes() -> Any:
    """The client of the processes of this process."""
    global _kept
    from howdah.engine.api.client import Client
    from howdah.engine.deploy.local import LocalCluster
    from howdah.engine.execution.default_client import remove_default_client

    with _guard:
        if _kept is None or _kept[0] != os.getpid():
            client = Client(LocalCluster(name="processes"), name="processes")
            remove_default_client(client)
            _kept = os.getpid(), client
        return _kept[1]
