"""The configuration files of the small Hadoop: well-formed, and one set of addresses for all."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from howdah.io import load_hadoop_config
from howdah.yarn_app.mini.configuration import site, write_configuration
from howdah.yarn_app.mini.settings import Layout, MiniOptions, State, choose_ports, daemon_names


@pytest.fixture
def written(tmp_path: Path) -> tuple[Layout, State]:
    layout = Layout(tmp_path)
    options = MiniOptions(nodes=2, racks=True, queues={"default": 60, "other": 40})
    state = State(options, choose_ports(2, {}), "/jars", "/java")
    write_configuration(layout, state)
    return layout, state


def test_values_are_escaped_and_booleans_are_javas() -> None:
    text = site({"a.b": "x < y & z", "c": True, "d": 3})
    found = {row.findtext("name"): row.findtext("value") for row in ElementTree.fromstring(text)}
    assert found == {"a.b": "x < y & z", "c": "true", "d": "3"}


def test_clients_and_daemons_have_the_same_addresses(written: tuple[Layout, State]) -> None:
    layout, state = written
    folders = [layout.conf, *(layout.daemon_conf(name) for name in daemon_names(2))]
    for name in ("fs.defaultFS", "yarn.resourcemanager.address", "yarn.resourcemanager.scheduler.address"):
        assert len({load_hadoop_config(folder).get(name) for folder in folders}) == 1
    assert load_hadoop_config(layout.conf).get("fs.defaultFS") == f"hdfs://127.0.0.1:{state.ports['namenode']['rpc']}"


def test_each_node_is_on_its_rack_and_queues_have_their_shares(written: tuple[Layout, State]) -> None:
    layout, _ = written
    assert (layout.conf / "racks.txt").read_text() == "127.0.0.2 /rack-1\n127.0.0.3 /rack-2\n"
    queues = ElementTree.parse(layout.conf / "capacity-scheduler.xml").getroot()
    found = {row.findtext("name"): row.findtext("value") for row in queues}
    assert found["yarn.scheduler.capacity.root.queues"] == "default,other"
    assert found["yarn.scheduler.capacity.root.other.capacity"] == "40"


def test_commands_can_be_run(written: tuple[Layout, State]) -> None:
    layout, _ = written
    assert {path.name for path in layout.bin.iterdir()} == {"hadoop", "hdfs", "yarn"}
    assert all(path.stat().st_mode & 0o111 and "@" + "CONF@" not in path.read_text() for path in layout.bin.iterdir())
