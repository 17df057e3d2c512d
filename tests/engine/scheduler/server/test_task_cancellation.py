"""Whether a task has begun, and its cancellation if not: answered at once, or when its worker has reported."""

from __future__ import annotations

from typing import Any

import pytest

from howdah.engine.protocol.events import BatchReturned, CancelRequested, GraphSubmitted, LayerSpec, WorkerLeft
from howdah.engine.protocol.layers import TaskRange
from howdah.engine.protocol.messages import CoordinationCall, Recall, Response
from howdah.engine.scheduler.server.task_cancellation import TaskCancellation

KEY = b"k" * 16


def submit(server: Any, n: int) -> None:
    server.handle(GraphSubmitted("me", (LayerSpec(KEY, "layer", n),), (TaskRange(KEY, 0, n),)))


def call(number: int, verb: str, item: int) -> CoordinationCall:
    return CoordinationCall(number, "task", "", verb, ranges=(TaskRange(KEY, item, item + 1),))


def test_a_task_that_waits_is_cancelled_at_once(server: Any) -> None:
    cancellation, client = TaskCancellation(server, server.peers), server.client()
    submit(server, 2)
    cancellation.on_request(client, call(1, "running", 0))
    cancellation.on_request(client, call(2, "cancel", 0))
    assert client.session.messages == [Response(1, ["ok", False]), Response(2, ["ok", True])]
    assert server.events[-1] == CancelRequested("me", (TaskRange(KEY, 0, 1),))


def test_a_task_of_an_unknown_layer_is_not(server: Any) -> None:
    cancellation, client = TaskCancellation(server, server.peers), server.client()
    cancellation.on_request(client, call(1, "cancel", 0))
    cancellation.on_request(client, call(2, "running", 0))
    assert client.session.messages == [Response(1, ["ok", False]), Response(2, ["ok", False])]


@pytest.mark.parametrize("begun", [True, False])
def test_the_worker_decides_about_a_task_that_it_was_sent(server: Any, begun: bool) -> None:
    cancellation, client, worker = TaskCancellation(server, server.peers), server.client(), server.worker("w")
    submit(server, 1)
    [batch] = server.started()
    cancellation.on_request(client, call(1, "running", 0))
    cancellation.on_request(client, call(2, "cancel", 0))
    assert worker.session.messages == [Recall(batch.batch, batch.attempt)]
    assert client.session.messages == [Response(1, ["ok", True])]
    if begun:
        cancellation.on_batch_finished(batch.batch, batch.attempt)
    else:
        cancellation.before_batch_returned(batch.batch, batch.attempt, 0)
        assert server.events[-1] == CancelRequested("me", (TaskRange(KEY, 0, 1),))
        server.handle(BatchReturned("w", batch.batch, batch.attempt, 0))
    assert client.session.messages[1:] == [Response(2, ["ok", not begun])]
    cancellation.on_batch_finished(batch.batch, batch.attempt)
    assert len(client.session.messages) == 2


def test_a_request_is_handled_again_when_the_worker_is_lost(server: Any) -> None:
    cancellation, client = TaskCancellation(server, server.peers), server.client()
    server.worker("w")
    submit(server, 1)
    cancellation.on_request(client, call(1, "cancel", 0))
    cancellation.on_batches_lost()
    assert not client.session.messages, "the batch is still there"
    del server.peers.workers["w"]
    server.handle(WorkerLeft("w", "gone", False))
    cancellation.on_batches_lost()
    assert client.session.messages == [Response(1, ["ok", True])]
