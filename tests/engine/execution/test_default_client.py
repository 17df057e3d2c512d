"""The default client: the one set last that was not removed."""

from __future__ import annotations

from howdah.engine.execution.default_client import get_default_client, remove_default_client, set_default_client


def test_clients_that_were_set_before_come_back() -> None:
    before = get_default_client()
    for client in ("a", "b", "a"):
        set_default_client(client)
    assert get_default_client() == "a"
    remove_default_client("a")
    assert get_default_client() == "b"
    remove_default_client("unknown")
    remove_default_client("b")
    assert get_default_client() is before
