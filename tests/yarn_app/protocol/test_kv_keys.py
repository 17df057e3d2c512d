"""The keys of the store: no two are the same, and prefixes hold what belongs to them."""

from __future__ import annotations

from howdah.yarn_app.protocol import kv_keys

KEYS = {name: value for name, value in vars(kv_keys).items() if name.isupper()}


def test_no_two_keys_are_the_same() -> None:
    assert len(set(KEYS.values())) == len(KEYS)
    assert all(value.startswith(kv_keys.PREFIX) for value in KEYS.values())


def test_the_edge_nodes_keys_and_no_others_begin_with_the_input_prefix() -> None:
    inputs = {name for name, value in KEYS.items() if value.startswith(kv_keys.INPUT)}
    assert inputs == {"INPUT", "LEASE", "WATCH", "ACKNOWLEDGED", "SCALE", "END"}


def test_no_key_is_read_by_the_prefix_of_another_kind() -> None:
    for prefix in (kv_keys.EXIT_REASON, kv_keys.LOCALIZATION):
        assert [name for name, value in KEYS.items() if value.startswith(prefix) and value != prefix] == []
