"""`Lock`, `Semaphore` and `Event`. Leases belong to clients, and end with them."""

from __future__ import annotations

import secrets
import threading
from types import TracebackType
from typing import Any

from howdah.engine.coordination.rpc import Primitive, Timeout, seconds
from howdah.errors import InputError, bad_value


class Semaphore(Primitive):
    """At most `max_leases` holders at once, over all clients and tasks of a cluster; first come, first served.

    A lease ends when it is released, when its client disconnects, when the client's connection was lost for longer than
    its lease, and when the worker dies on which a task held it: at once where the cluster observes the process end. In
    an asynchronous client every method returns an awaitable.

    Parameters
    ----------
    max_leases : the same number for all that use it at the same time.
    name, client : as for `Queue`.

    Raises
    ------
    InputError : `max_leases` is not a number from 1 on.

    Examples
    --------
    >>> from howdah.engine.api import Client
    >>> with Client(n_workers=1):
    ...     database = Semaphore(2, "database")
    ...     with database:
    ...         database.get_value()
    1
    """

    kind = "semaphore"

    def __init__(self, max_leases: int = 1, name: str | None = None, client: Any = None) -> None:
        if isinstance(max_leases, bool) or not isinstance(max_leases, int) or max_leases < 1:
            raise bad_value("max_leases", max_leases, "give a number from 1 on")
        super().__init__(name, client)
        self.max_leases = max_leases
        self._held: list[str] = []
        self._guard = threading.Lock()

    def _parameters(self) -> dict[str, Any]:
        return {"max_leases": self.max_leases}

    def acquire(self, timeout: Timeout = None) -> Any:
        """Take a lease; waits while all are taken.

        Parameters
        ----------
        timeout : seconds, or a text as "500 ms"; None is no limit.

        Returns
        -------
        bool
            False if there was none within `timeout` seconds.
        """
        return self._acquire(seconds(timeout))

    def _acquire(self, timeout: float | None) -> Any:
        return self._wait_or_await(self._acquired(timeout))

    async def _acquired(self, timeout: float | None) -> bool:
        token = secrets.token_hex(8)
        if not await self._succeeds("acquire", timeout=timeout, limit=self.max_leases, token=token):
            return False
        with self._guard:
            self._held.append(token)
        return True

    def release(self) -> Any:
        """Return the lease that this object took last.

        Returns
        -------
        None
            In an asynchronous client an awaitable.

        Raises
        ------
        InputError : this object holds none.
        """
        return self._call("release", limit=self.max_leases, token=self._pop_token())

    def _pop_token(self) -> str:
        with self._guard:
            if not self._held:
                raise InputError(f"{self!r} is not held by this object: acquire it first")
            return self._held.pop()

    def get_value(self) -> Any:
        """Return the number of leases that are taken.

        Returns
        -------
        int
        """
        return self._call("value", limit=self.max_leases)

    def close(self) -> Any:
        """Drop it with all its leases; calls that wait for one raise HowdahError.

        Returns
        -------
        None
            In an asynchronous client an awaitable.
        """
        return self._call("close")

    def __enter__(self) -> Any:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    async def __aenter__(self) -> Any:
        await self._started(self._acquired(None))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._started(self._request("release", limit=self.max_leases, token=self._pop_token()))


class Lock(Semaphore):
    """One holder at a time, over all clients and tasks of a cluster. Not re-entrant.

    It ends with its holder's client or worker, as a lease of a `Semaphore` does. In an asynchronous client every method
    returns an awaitable.

    Parameters
    ----------
    name, client : as for `Queue`.

    Examples
    --------
    >>> from howdah.engine.api import Client
    >>> with Client(n_workers=1):
    ...     lock = Lock("the file")
    ...     with lock:
    ...         lock.locked(), Lock("the file").acquire(timeout=0.01)
    (True, False)
    """

    def __init__(self, name: str | None = None, client: Any = None) -> None:
        super().__init__(1, name if name is None else f"lock {name}", client)

    def __reduce__(self) -> Any:
        return _rebuild_lock, (self.name,)

    def acquire(self, blocking: bool = True, timeout: Timeout = None) -> Any:  # type: ignore[override]  # dask's
        """Take the lock; waits while it is held.

        Parameters
        ----------
        blocking : False returns at once.
        timeout : seconds, or a text as "500 ms"; None is no limit.

        Returns
        -------
        bool
            False if it was not free within `timeout` seconds, or now with ``blocking=False``.

        Raises
        ------
        InputError : `timeout` with ``blocking=False``.
        """
        if not blocking:
            if timeout is not None:
                raise bad_value("timeout", timeout, "leave it out where blocking is False")
            timeout = 0.0
        return self._acquire(seconds(timeout))

    def locked(self) -> Any:
        """Return whether it is held by any client or task.

        Returns
        -------
        bool
        """
        return self._call("value", bool, limit=1)


def _rebuild_lock(name: str) -> Lock:
    made = Lock("")
    made.name = name
    return made


class Event(Primitive):
    """A flag that clients and tasks wait for. In an asynchronous client every method returns an awaitable.

    Parameters
    ----------
    name, client : as for `Queue`.

    Examples
    --------
    >>> from howdah.engine.api import Client
    >>> with Client(n_workers=1):
    ...     go = Event("go")
    ...     go.wait(timeout=0.01), go.set(), go.wait()
    (False, None, True)
    """

    kind = "event"

    def wait(self, timeout: Timeout = None) -> Any:
        """Wait until it is set.

        Parameters
        ----------
        timeout : seconds, or a text as "500 ms"; None is no limit.

        Returns
        -------
        bool
            False if it was not set within `timeout` seconds.
        """
        return self._wait_or_await(self._succeeds("wait", timeout=seconds(timeout)))

    def set(self) -> Any:
        """Set it: all calls of `wait` return.

        Returns
        -------
        None
            In an asynchronous client an awaitable.
        """
        return self._call("set")

    def clear(self) -> Any:
        """Reset it: calls of `wait` from now on wait.

        Returns
        -------
        None
            In an asynchronous client an awaitable.
        """
        return self._call("clear")

    def is_set(self) -> Any:
        """Return whether it is set.

        Returns
        -------
        bool
        """
        return self._call("state")
