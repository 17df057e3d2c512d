"""`Lock`, `Semaphore` and `Event`: who may go on, and when. Leases belong to clients, and end with them."""

from __future__ import annotations

import secrets
import threading
from types import TracebackType
from typing import Any

from howdah.engine.coordination.rpc import Primitive, Timeout, seconds
from howdah.errors import DeadlineExceeded, InputError, bad_value


class Semaphore(Primitive):
    """At most `max_leases` holders at once, over all clients and tasks of a cluster; first come, first served.

    Parameters
    ----------
    max_leases : all who use it at the same time must say the same number.
    name, client : as for `Queue`.

    A lease is free again when it is released, when its client parts, when the client's connection was lost for longer
    than its lease, and when the worker dies on which a task held it: at once where the cluster sees the process end.

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
        """Take a lease: True, or False when there was none within `timeout` seconds (None: wait for ever)."""
        return self._acquire(seconds(timeout))

    def _acquire(self, timeout: float | None) -> Any:
        if getattr(self.client, "asynchronous", False):
            return self._awaitable(self._acquired(timeout))
        token = secrets.token_hex(8)
        try:
            self._call("acquire", timeout=timeout, limit=self.max_leases, token=token)
        except DeadlineExceeded:
            return False
        with self._guard:
            self._held.append(token)
        return True

    async def _acquired(self, timeout: float | None) -> bool:
        token = secrets.token_hex(8)
        try:
            await self._request("acquire", timeout=timeout, limit=self.max_leases, token=token)
        except DeadlineExceeded:
            return False
        with self._guard:
            self._held.append(token)
        return True

    def release(self) -> Any:
        """Give back the lease that this object took last. Raises InputError when it holds none."""
        return self._call("release", limit=self.max_leases, token=self._last())

    def _last(self) -> str:
        with self._guard:
            if not self._held:
                raise InputError(f"{self!r} is not held by this object: acquire it first")
            return self._held.pop()

    def get_value(self) -> Any:
        """How many leases are taken."""
        return self._call("value", limit=self.max_leases)

    def close(self) -> Any:
        """Drop it with all its leases; whoever waits for one gets a HowdahError."""
        return self._call("close")

    def __enter__(self) -> Any:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    async def __aenter__(self) -> Any:
        await self._awaitable(self._acquired(None))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._awaitable(self._request("release", limit=self.max_leases, token=self._last()))


class Lock(Semaphore):
    """One holder at a time, over all clients and tasks of a cluster. Not re-entrant.

    Parameters
    ----------
    name, client : as for `Queue`.

    It ends with its holder's client or worker, as a `Semaphore`'s lease does.

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
        return _lock_again, (self.name,)

    def acquire(self, blocking: bool = True, timeout: Timeout = None) -> Any:  # type: ignore[override]  # dask's
        """Take it: True, or False when it was not free within `timeout` seconds, or at once with ``blocking=False``."""
        if not blocking:
            if timeout is not None:
                raise bad_value("timeout", timeout, "leave it out where blocking is False")
            timeout = 0.0
        return self._acquire(seconds(timeout))

    def locked(self) -> Any:
        """Whether anybody holds it."""
        return self._call("value", bool, limit=1)


def _lock_again(name: str) -> Lock:
    made = Lock("")
    made.name = name
    return made


class Event(Primitive):
    """A flag that clients and tasks wait for.

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
        """Wait until it is set: True, or False when it was not set within `timeout` seconds."""
        if getattr(self.client, "asynchronous", False):
            return self._awaitable(self._waited(seconds(timeout)))
        try:
            return self._call("wait", timeout=seconds(timeout))
        except DeadlineExceeded:
            return False

    async def _waited(self, timeout: float | None) -> Any:
        try:
            return await self._request("wait", timeout=timeout)
        except DeadlineExceeded:
            return False

    def set(self) -> Any:
        """Set it: everybody who waits goes on."""
        return self._call("set")

    def clear(self) -> Any:
        """Take it back: who waits from now on, waits."""
        return self._call("clear")

    def is_set(self) -> Any:
        """Whether it is set."""
        return self._call("state")
