"""The options, ports and files of the small Hadoop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from howdah.errors import InputError
from howdah.yarn_app.mini import MiniHadoop
from howdah.yarn_app.mini.processes import daemons_of
from howdah.yarn_app.mini.settings import Layout, MiniOptions, State, choose_ports, daemon_names


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"nodes": 0}, "nodes: got 0: from 1 to"),
        ({"memory_per_node": "4 GiBs"}, "memory_per_node: got '4 GiBs': a number and MiB or GiB"),
        ({"memory_per_node": "100MiB"}, "memory_per_node: got '100 MiB': at least 512MiB"),
        ({"replication": 3}, "replication: got 3: from 1 to the number of nodes, 2"),
        ({"cores_per_node": 0}, "cores_per_node: got 0: at least 1"),
        ({"block_size": 1000}, "block_size: got 1000: a multiple of 512"),
        ({"queues": "default:60,other:30"}, "queues: got .*shares that add up to 100"),
        ({"queues": {"one": 100}}, "queues: got .*one of them is called 'default'"),
    ],
)
def test_options_that_cannot_be(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        MiniHadoop(tmp_path / "mini", **options).start()
    assert daemons_of(tmp_path / "mini") == {}


def test_the_state_is_read_back_as_it_was_stored(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    assert layout.load() is None
    state = State(MiniOptions(nodes=3, queues={"default": 60, "other": 40}), {"namenode": {"rpc": 1}}, "/jars", "/java")
    layout.save(state)
    assert layout.load() == state


@pytest.mark.parametrize(
    "content", ["{", '{"options": {"nodes": 0}, "ports": {}, "jars": "", "java": ""}', '{"ports": 1}']
)
def test_a_damaged_state_is_named_with_the_remedy(tmp_path: Path, content: str) -> None:
    layout = Layout(tmp_path)
    layout.state.write_text(content)
    with pytest.raises(InputError, match=rf"{layout.state}: cannot be read .*remove {tmp_path} and start again"):
        layout.load()


def test_ports_are_kept_and_no_two_are_the_same() -> None:
    first = choose_ports(1, {})
    assert set(first) == set(daemon_names(1))
    more = choose_ports(3, first)
    assert {name: more[name] for name in first} == first
    ports = [port for uses in more.values() for port in uses.values()]
    assert len(set(ports)) == len(ports)
