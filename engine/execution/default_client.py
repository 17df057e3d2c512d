"""Which client `compute` uses when none is named: the one that was opened last and is not closed.

A leaf, so that collections can ask without importing the client's code.
"""

from __future__ import annotations

import threading
from typing import Any

_lock = threading.Lock()
_clients: list[Any] = []


def set_default_client(client: Any) -> None:
    """Make `client` the current one. It stays behind those set later, and comes back when they are dropped."""
    with _lock:
        if client in _clients:
            _clients.remove(client)
        _clients.append(client)


def remove_default_client(client: Any) -> None:
    """`client` is closed, and current no more. One that is not known is no error."""
    with _lock:
        if client in _clients:
            _clients.remove(client)


def get_default_client() -> Any | None:
    """The current client, or None.

    >>> set_current("one"); set_current("two"); get_current()
    'two'
    >>> drop_current("two"); get_current()
    'one'
    >>> drop_current("one"); get_current() is None
    True
    """
    with _lock:
        return _clients[-1] if _clients else None
