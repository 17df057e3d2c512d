"""Requests that change something: copies go where there is none, and what outlives a request."""

from __future__ import annotations

from typing import Any

import pytest

from howdah.engine.protocol.events import CopiesMade, GraphSubmitted, LayerSpec, RetryRequested
from howdah.engine.protocol.layers import TaskRange
from howdah.engine.protocol.messages import RESTART, CopyResults, Leave
from howdah.engine.scheduler.server.commands import FIRE_AND_FORGET, Commands

KEY = b"k" * 16
ONE = TaskRange(KEY, 0, 1)
RANGES = {"ranges": [[KEY, 0, 1]]}


@pytest.fixture
def commands(server: Any) -> Commands:
    return Commands(server, server.peers, server.layers)


def test_copies_are_made_where_there_is_none(server: Any, commands: Commands) -> None:
    server.worker("a")
    server.handle(GraphSubmitted("me", (LayerSpec(KEY, "layer", 1),), (ONE,)))
    server.finish(server.started()[0])
    other = server.worker("b")
    about = {**RANGES, "workers": ["a", "b", "unknown"]}
    commands.replicate(server.client(), about)
    assert other.session.messages == [CopyResults(((ONE, "a", "address of a"),))]
    assert not server.peers.workers["a"].session.messages
    server.handle(CopiesMade("b", (ONE,)))
    commands.replicate(server.client(), about)
    assert len(other.session.messages) == 1


def test_fire_and_forget_requests_results_for_a_client_that_is_no_peer(server: Any, commands: Commands) -> None:
    server.layers.add([LayerSpec(KEY, "layer", 1)], [memoryview(b"")] * 3)
    commands.forget(server.client(), RANGES)
    assert server.events == [GraphSubmitted(FIRE_AND_FORGET, (LayerSpec(KEY, "layer", 1),), (ONE,))]


def test_workers_restart_all_or_by_name(server: Any, commands: Commands) -> None:
    workers = [server.worker(name) for name in "ab"]
    assert commands.restart(server.client(), {"workers": ["b", "unknown"]}) == ["b"]
    assert commands.restart(server.client(), {}) == ["a", "b"]
    assert [worker.session.messages for worker in workers] == [[Leave(RESTART)], [Leave(RESTART)] * 2]


def test_retries_and_cleanup(server: Any, commands: Commands) -> None:
    client = server.client()
    commands.retry(client, RANGES)
    assert server.events == [RetryRequested("me", (ONE,))]
    for url in ("hdfs://nn/a", "hdfs://nn/b", "hdfs://nn/a"):
        commands.add_cleanup(client, {"url": url})
    commands.drop_cleanup(client, {"url": "hdfs://nn/b"})
    commands.drop_cleanup(client, {"url": "hdfs://nn/unknown"})
    assert list(commands.cleanup) == ["hdfs://nn/a"]
    with pytest.raises(KeyError, match="url"):
        commands.add_cleanup(client, {})
