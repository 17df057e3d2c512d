"""Which client `compute` uses when none is named, and how code below `howdah.engine.api` makes one.

The default client is the one that was opened last and is not closed. The factories are installed by the `howdah`
package, so that executors, tasks and ``scheduler="processes"`` can make clients without importing their code. A leaf.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from howdah.errors import HowdahError

_lock = threading.Lock()
_clients: list[Any] = []
_factories: dict[str, Callable[..., Any]] = {}


def set_default_client(client: Any) -> None:
    """Make `client` the default. It stays behind those set later, and is the default again when they are removed."""
    with _lock:
        if client in _clients:
            _clients.remove(client)
        _clients.append(client)


def remove_default_client(client: Any) -> None:
    """Forget `client`, because it is closed. An unknown one is no error."""
    with _lock:
        if client in _clients:
            _clients.remove(client)


def get_default_client() -> Any | None:
    """Return the default client, or None.

    >>> set_default_client("one"); set_default_client("two"); get_default_client()
    'two'
    >>> remove_default_client("two"); get_default_client()
    'one'
    >>> remove_default_client("one"); get_default_client() is None
    True
    """
    with _lock:
        return _clients[-1] if _clients else None


def install_factories(connect: Callable[..., Any], processes: Callable[[], Any]) -> None:
    """Set what makes clients: `connect` as the class `Client` does, `processes` for ``scheduler="processes"``."""
    _factories.update(connect=connect, processes=processes)


def new_client(address: Any = None, **options: Any) -> Any:
    """Return a new `Client`; the arguments are those of its class. Raises HowdahError if no factory is installed."""
    return _factory("connect")(address, **options)


def processes_client() -> Any:
    """Return the client of the worker processes of this process, which are started at the first call."""
    return _factory("processes")()


def _factory(name: str) -> Callable[..., Any]:
    try:
        return _factories[name]
    except KeyError:
        raise HowdahError("no client can be made: the package howdah was not imported as a whole") from None
