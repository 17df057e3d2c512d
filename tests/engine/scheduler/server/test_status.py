"""The keys of the JSON that people and the application's master read."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from howdah.engine.protocol.events import GraphSubmitted, LayerSpec
from howdah.engine.protocol.layers import TaskRange
from howdah.engine.protocol.messages import Query
from howdah.engine.scheduler.server.commands import Commands
from howdah.engine.scheduler.server.coordination import CoordinationServer
from howdah.engine.scheduler.server.draining import Drains
from howdah.engine.scheduler.server.membership import Membership
from howdah.engine.scheduler.server.queries import Queries
from howdah.engine.scheduler.server.status import DrainStatus, SchedulerStatus, SchedulerSummary
from howdah.engine.scheduler.server.task_cancellation import TaskCancellation

KEY = b"k" * 16


@pytest.fixture
def queries(server: Any) -> Queries:
    peers, layers = server.peers, server.layers
    commands, coordination = Commands(server, peers, layers), CoordinationServer(server, layers)
    drains = Drains(server, peers)
    drains.ended.append(DrainStatus("w0", "preempted", 1.0, 2.0, 3, 4, 0))
    membership = Membership(server, peers, coordination, TaskCancellation(server, peers), drains)
    server.worker("w").session.connected = True
    server.client("me").session.connected = True
    server.handle(GraphSubmitted("me", (LayerSpec(KEY, "layer", 2),), (TaskRange(KEY, 0, 2),)))
    server.finish(server.started()[0])
    return Queries("cluster", server, peers, layers, commands, coordination, drains, membership)


def test_the_status_page_and_the_master_find_their_keys(queries: Queries) -> None:
    found = msgspec.json.decode(msgspec.json.encode(queries.status()))
    assert found["tasks"] == {"done": 1, "total": 2, "running": 1, "waiting": 0, "failed": 0}
    assert found["placed"] == found["bytes"] == {"node": 0, "rack": 0, "remote": 0}
    assert found["moved"] == {"local": 0, "moved": 0}
    assert (found["name"], found["clients"], found["seconds_without_client"]) == ("cluster", 1, 0.0)
    assert (found["cleanup"], found["first_task"]) == ([], None)
    assert found["workers"]["w"]["address"] == "address of w"
    assert found["layers"][0]["name"] == "layer"
    assert found["drained"] == [
        {"worker": "w0", "reason": "preempted", "at": 1.0, "seconds": 2.0, "results": 3, "bytes": 4, "lost": 0}
    ]
    assert msgspec.convert(found, SchedulerStatus).tasks.done == 1


def test_a_summary_has_all_accounts_and_the_drains(queries: Queries) -> None:
    found = msgspec.json.decode(msgspec.json.encode(queries.summary()))
    assert (found["tasks"], found["workers"], found["slots"], found["runs"]) == (1, 1, 1, 1)
    assert found["layers"][0]["done"] == 1
    assert len(found["drained"]) == 1
    assert msgspec.convert(found, SchedulerSummary).tasks == 1


def test_answers_are_plain_values_and_errors_name_the_query(server: Any, queries: Queries) -> None:
    client = server.peers.clients["me"]

    def ask(query: str, owner: bool = False, **arguments: Any) -> Any:
        response = queries.answer(client, Query(1, query, arguments), owner=owner)
        return response.error or response.value

    steps = ask("story", key=f"{KEY.hex()}-0")
    assert [step["new"] for step in steps] == ["waiting", "ready", "running", "done"]
    assert (steps[0]["layer"], "worker" in steps[0], steps[3]["worker"]) == (KEY.hex(), False, "w")
    assert len(ask("events", last=2)) == 2
    assert ask("holders", ranges=[[KEY, 0, 2]]) == [[["w"], []]]
    assert ask("progress_of", keys=[KEY, b"o" * 16]) == [{"name": "layer", "n": 2, "done": 1, "idle": 0}]
    assert list(ask("info")["workers"]) == ["w"]
    assert ask("retry") == "retry: the argument 'ranges' is missing"
    assert ask("story", key="?") == "story: '?' is no key of a task; give a future's `key`"
    assert "the scheduler has no answer to 'retire'" in ask("retire", names=["w"])
    assert ask("retire", owner=True, names=["w"]) == ["w"]
