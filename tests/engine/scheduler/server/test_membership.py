"""What remains of a client or worker that has left: nothing, and everybody who depends on it has been told."""

from __future__ import annotations

from typing import Any

import pytest

from howdah.engine.protocol.events import ClientLeft, WorkerLeft
from howdah.engine.protocol.messages import Leave, WorkerGone
from howdah.engine.scheduler.server.coordination import CoordinationServer
from howdah.engine.scheduler.server.draining import Drains
from howdah.engine.scheduler.server.membership import RETIRE_GRACE, Membership
from howdah.engine.scheduler.server.task_cancellation import TaskCancellation


@pytest.fixture
def membership(server: Any) -> Membership:
    peers = server.peers
    coordination = CoordinationServer(server, server.layers)
    return Membership(server, peers, coordination, TaskCancellation(server, peers), Drains(server, peers))


def left(server: Any) -> list[Any]:
    return [event for event in server.events if isinstance(event, ClientLeft | WorkerLeft)]


def test_a_worker_takes_the_clients_of_its_tasks_with_it(server: Any, membership: Membership) -> None:
    first, second = server.worker("first"), server.worker("second")
    user, nested = server.client("user"), server.client("nested")
    nested.worker = "first"

    membership.on_worker_missing("first", "killed")
    assert left(server) == [ClientLeft("nested"), WorkerLeft("first", "killed", False)]
    assert list(server.peers.clients) == ["user"]
    membership.on_worker_left(first, "killed")
    gone = [WorkerGone("address of first")]
    assert (second.session.messages, user.session.messages, nested.session.messages) == (gone, gone, [])
    assert list(server.peers.workers) == ["second"]
    assert list(server.peers.sessions) == ["second", "user"]


def test_a_worker_whose_name_another_session_has_changes_nothing(server: Any, membership: Membership) -> None:
    old = server.worker("w")
    server.worker("w")
    membership.on_worker_left(old, "its connection was lost")
    assert left(server) == []
    assert "w" in server.peers.workers


def test_when_the_last_user_left_is_remembered_and_tasks_do_not_count(server: Any, membership: Membership) -> None:
    user, nested = server.client("user"), server.client("nested")
    nested.worker = "w"
    server.peers.last_client_left = 0.0
    membership.on_client_left(nested)
    assert server.peers.last_client_left == 0.0
    membership.on_lease_expired(user)
    assert server.peers.last_client_left > 0.0
    assert left(server) == [ClientLeft("nested"), ClientLeft("user")]


def test_the_owner_names_a_worker_or_its_container(server: Any, membership: Membership) -> None:
    server.worker("w")
    assert membership.on_worker_process_ended("unknown", "killed") is False
    assert membership.on_worker_process_ended("w", "killed") is True
    assert left(server) == [WorkerLeft("w", "killed", False)]


def test_retired_workers_are_asked_to_leave(server: Any, membership: Membership) -> None:
    worker = server.worker("w")
    assert membership.retire(["w", "unknown"]) == ["w"]
    assert worker.session.messages == [Leave("the cluster was made smaller", RETIRE_GRACE)]
    assert left(server) == []
