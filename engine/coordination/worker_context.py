"""The worker that this process is, and the client that code in it uses.

A worker makes a client of its own when the first task asks for one. The scheduler ends that client together with the
worker, so what its tasks held is released as soon as the worker's death is known. For workers, which set the context
once, and for everything that runs in tasks.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, NamedTuple

from howdah.engine.execution.default_client import get_default_client, new_client
from howdah.errors import HowdahError

if TYPE_CHECKING:
    from howdah.engine.client.cluster_client import ClusterClient
    from howdah.engine.comm.security.certificates import Security
    from howdah.engine.protocol.events import WorkerInfo


class WorkerContext(NamedTuple):
    """The worker that this process is.

    Attributes
    ----------
    name : of the worker.
    scheduler : the scheduler's address.
    security : the worker's identity; None on Unix sockets.
    address : of its data server, which serves actors too.
    host, container : where it runs.
    """

    name: str
    scheduler: str
    security: Security | None
    address: str
    host: str
    container: str


_worker: WorkerContext | None = None
_lock = threading.Lock()


def set_current_worker(info: WorkerInfo, scheduler: str, security: Security | None) -> None:
    """Make this process a worker. Called once, before its first task."""
    global _worker
    _worker = WorkerContext(info.name, scheduler, security, info.address, info.host, info.container)


def current_worker() -> WorkerContext | None:
    """Return the worker that this process is; None in others."""
    return _worker


def worker_name() -> str:
    """Return the name of the worker that this process is; "" in others."""
    return "" if _worker is None else _worker.name


def current_client(given: Any = None) -> ClusterClient:
    """Return `given`, or this process's default client, or in a worker the client of its tasks.

    Raises
    ------
    HowdahError : there is none.
    """
    found: Any = given if given is not None else get_default_client()
    client: ClusterClient
    if found is not None:
        client = found
        return client
    if _worker is None:
        raise HowdahError("there is no client in this process: make one first (`howdah.Client(...)`), or give client=")
    with _lock:
        found = get_default_client()
        if found is None:
            found = new_client(_worker.scheduler, security=_worker.security, name=f"tasks of {_worker.name}")
    client = found
    return client
