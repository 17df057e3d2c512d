"""Messages of a worker without sockets: which event each becomes, and what a worker may not send."""

from __future__ import annotations

from typing import Any

import pytest

from howdah.engine.protocol.events import (
    BatchDone,
    CopiesMade,
    GraphSubmitted,
    LayerSpec,
    SlotsChanged,
    WorkerInfo,
    WorkerJoined,
    WorkerLeft,
)
from howdah.engine.protocol.layers import TaskRange
from howdah.engine.protocol.messages import (
    BatchFinished,
    Bye,
    Health,
    InstallFiles,
    RegisterWorker,
    ResultsCopied,
    SlotCount,
)
from howdah.engine.scheduler.server.commands import Commands
from howdah.engine.scheduler.server.coordination import CoordinationServer
from howdah.engine.scheduler.server.draining import Drains
from howdah.engine.scheduler.server.membership import Membership
from howdah.engine.scheduler.server.task_cancellation import TaskCancellation
from howdah.engine.scheduler.server.worker_messages import WorkerMessages
from howdah.errors import PeerRefused

KEY = b"k" * 16


@pytest.fixture
def commands(server: Any) -> Commands:
    return Commands(server, server.peers, server.layers)


@pytest.fixture
def handlers(server: Any, commands: Commands) -> WorkerMessages:
    peers = server.peers
    cancellation, drains = TaskCancellation(server, peers), Drains(server, peers)
    membership = Membership(server, peers, CoordinationServer(server, server.layers), cancellation, drains)
    return WorkerMessages(server, peers, membership, commands, cancellation, drains)


def test_a_report_becomes_an_event_and_its_batch_is_no_longer_open(server: Any, handlers: WorkerMessages) -> None:
    worker = server.worker("w")
    server.handle(GraphSubmitted("me", (LayerSpec(KEY, "layer", 1),), (TaskRange(KEY, 0, 1),)))
    [batch] = server.started()
    server.peers.batches[batch.batch, batch.attempt] = batch.range
    report = BatchDone("w", batch.batch, batch.attempt, (8,), 0.1)
    handlers.on_message(worker, BatchFinished(report), ())
    assert server.events[-1] is report
    assert server.peers.batches == {}
    assert server.views.status(TaskRange(KEY, 0, 1)) == ["done"]


def test_a_worker_speaks_for_itself_only(server: Any, handlers: WorkerMessages) -> None:
    worker = server.worker("w")
    with pytest.raises(PeerRefused, match="worker w reported in the name of other"):
        handlers.on_message(worker, BatchFinished(BatchDone("other", 1, 1, (8,), 0.1)), ())
    with pytest.raises(PeerRefused, match="introduced itself as 'other'"):
        handlers.on_message(worker, RegisterWorker(WorkerInfo("other", "host")), ())


def test_a_worker_that_registers_receives_all_files_and_keeps_its_batches(
    server: Any, handlers: WorkerMessages, commands: Commands
) -> None:
    worker = server.worker("w")
    assert commands.upload(server.client(), {"name": "a.py", "data": b"A = 1"}) == ["w"]
    one = TaskRange(KEY, 0, 1)
    info = WorkerInfo("w", "w", pid=1)
    handlers.on_message(worker, RegisterWorker(info, (), ((7, 1),), (one,), ((),)), ())
    assert worker.session.messages == [InstallFiles(("a.py",)), InstallFiles(("a.py",))]
    assert worker.session.frames == [(b"A = 1",), (b"A = 1",)]
    assert server.peers.batches == {(7, 1): one}
    assert isinstance(server.events[-1], WorkerJoined)
    assert worker.info is info


def test_another_process_of_the_same_name_replaces_the_first(server: Any, handlers: WorkerMessages) -> None:
    old = server.worker("w")
    new = server.worker("w")
    server.peers.workers["w"] = old
    handlers.on_message(new, RegisterWorker(WorkerInfo("w", "w", pid=2), died="exit code 137"), ())
    assert server.peers.workers["w"] is new
    assert [event for event in server.events if isinstance(event, WorkerLeft)] == [
        WorkerLeft("w", "exit code 137", False)
    ]


def test_other_messages(server: Any, handlers: WorkerMessages) -> None:
    worker = server.worker("w")
    handlers.on_message(worker, SlotCount(3), ())
    handlers.on_message(worker, ResultsCopied((TaskRange(KEY, 0, 1),)), ())
    assert server.events[-2:] == [SlotsChanged("w", 3), CopiesMade("w", (TaskRange(KEY, 0, 1),))]
    handlers.on_message(worker, Health(1, 2, True), ())
    assert worker.health == Health(1, 2, True)
    handlers.on_message(worker, Bye("its time is over"), ())
    assert server.events[-1] == WorkerLeft("w", "its time is over", True)
    assert server.peers.workers == {}
