"""Clients and workers as tasks see them, and work that no client waits for. For users."""

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
    """Return the client to use here: in a task the worker's own (made at the first call), elsewhere the default one.

    A task may submit tasks and wait for them: another task gets its slot meanwhile, so the wait cannot deadlock.

    Parameters
    ----------
    address, timeout
        Accepted for dask compatibility; ignored. A task's client is always that of its cluster.

    Returns
    -------
    Client

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
    """Give a task a client for a ``with`` block, in which it holds no slot.

    Parameters
    ----------
    timeout
        Accepted for dask compatibility; ignored.
    separate_thread
        False keeps the slot, except during waits.

    Returns
    -------
    context manager of a Client
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
    """Return the worker that runs this task.

    Returns
    -------
    WorkerContext
        Its name, host and container, and the addresses of its data server and of the scheduler.

    Raises
    ------
    HowdahError : this process is no worker.
    """
    found = current_worker()
    if found is None:
        raise HowdahError("get_worker: this process is no worker; call it inside a task")
    return found


def fire_and_forget(obj: Any) -> None:
    """Compute futures even if they are dropped and this client disconnects. Their failures are not reported.

    Parameters
    ----------
    obj
        A future, or a nest of them.

    Raises
    ------
    InputError : there is no future.
    """
    found = nested_futures(obj)
    if not found:
        raise InputError("fire_and_forget: give a future, or a nest of futures")
    client = found[0].client
    ranges = [[results.key, start, stop] for results, start, stop in ranges_of(found)]
    client.loop_thread.start(client.connection.query_async("forget", ranges=ranges))
