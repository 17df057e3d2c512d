"""Clients inside of tasks, and work that nobody waits for."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from howdah.engine.client.future_registry import ranges_of
from howdah.engine.client.nests import nested_futures
from howdah.engine.coordination.worker_context import current_client, current_worker
from howdah.engine.execution.task_context import rejoin, secede
from howdah.errors import HowdahError, InputError

if TYPE_CHECKING:
    from howdah.engine.api.client import Client
    from howdah.engine.coordination.worker_context import WorkerContext


def get_client(address: str | None = None, timeout: float | None = None) -> Client:
    """The client to use here: in a task the worker's own (made at the first call), elsewhere the current one.

    A task may submit tasks and wait for them: while it waits, another has its slot, so nothing locks up.

    Parameters
    ----------
    address, timeout : there for dask's sake; a task's client is always that of its cluster.

    Raises
    ------
    HowdahError : there is no client in this process.

    Examples
    --------
    >>> from howdah.engine.api import Client
    >>> def total(numbers):
    ...     client = get_client()
    ...     return sum(client.gather(client.map(abs, numbers)))
    >>> with Client(n_workers=1) as client:
    ...     client.submit(total, [-1, -2]).result()
    3
    """
    client: Any = current_client()
    found: Client = client
    return found


@contextlib.contextmanager
def worker_client(timeout: float | None = None, separate_thread: bool = True) -> Iterator[Client]:
    """In a task: a client for the time of a `with` block, in which the task holds no slot.

    Parameters
    ----------
    separate_thread : False keeps the slot, but for the waits.
    """
    client = get_client()
    if separate_thread:
        secede()
    try:
        yield client
    finally:
        if separate_thread:
            rejoin()


def get_worker() -> WorkerContext:
    """Name of the worker that runs this task, and its scheduler's address. Raises HowdahError outside of a worker."""
    found = current_worker()
    if found is None:
        raise HowdahError("get_worker: this process is no worker; call it inside a task")
    return found


def fire_and_forget(obj: Any) -> None:
    """Have these futures computed even if they are dropped and this client leaves. Failures are told to nobody.

    Parameters
    ----------
    obj : a future, or a nest of them.
    """
    found = nested_futures(obj)
    if not found:
        raise InputError("fire_and_forget: give a future, or a nest of futures")
    client = found[0].client
    spans = [[results.key, start, stop] for results, start, stop in ranges_of(found)]
    client.loop_thread.start(client.connection.query_async("forget", spans=spans))
