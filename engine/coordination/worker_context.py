"""Which client a primitive speaks through: the one it is given, this process's current one, or in a task the worker's.

A worker makes a client of its own when the first task asks; the scheduler ends it together with the worker, so that
what its tasks held is free as soon as the worker's death is known.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, NamedTuple

from howdah.engine.execution.default_client import get_default_client
from howdah.errors import HowdahError

if TYPE_CHECKING:
    from howdah.engine.api.client import Client
    from howdah.engine.comm.security.certificates import Security
    from howdah.engine.protocol.events import WorkerInfo


class WorkerContext(NamedTuple):
    """The worker that this process is."""

    name: str
    scheduler: str
    security: Security | None
    address: str
    """Of its data server, which serves actors too."""
    host: str
    container: str


_worker: WorkerContext | None = None
_lock = threading.Lock()


def set_current_worker(info: WorkerInfo, scheduler: str, security: Security | None) -> None:
    """Said once by a worker process, before its first task."""
    global _worker
    _worker = WorkerContext(info.name, scheduler, security, info.address, info.host, info.container)


def current_worker() -> WorkerContext | None:
    """The worker that this process is; None in others."""
    return _worker


def worker_name() -> str:
    """The worker that this process is; "" in others."""
    return "" if _worker is None else _worker.name


def current_client(given: Any = None) -> Client:
    """`given`, or this process's current client, or in a worker the client of its tasks.

    Raises HowdahError when there is none.
    """
    found: Any = given if given is not None else get_default_client()
    client: Client
    if found is not None:
        client = found
        return client
    if _worker is None:
        raise HowdahError("there is no client in this process: make one first (`howdah.Client(...)`), or give client=")
    with _lock:
        found = get_default_client()
        if found is None:
            from howdah.engine.api.client import Client

            found = Client(_worker.scheduler, security=_worker.security, name=f"tasks of {_worker.name}")
    client = found
    return client
