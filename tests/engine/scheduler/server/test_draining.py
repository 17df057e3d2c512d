"""Workers that drain: their sole results are copied to others, refusals are retried elsewhere, then they leave."""

from __future__ import annotations

from typing import Any

import pytest

from howdah.engine.protocol.events import CopiesMade, GraphSubmitted, LayerSpec, WorkerLeft
from howdah.engine.protocol.layers import TaskRange
from howdah.engine.protocol.messages import CopyResults, Draining, Leave
from howdah.engine.scheduler.server.draining import PORTION_ITEMS, Drains

KEY = b"k" * 16


def computed(server: Any, worker: str, n: int) -> None:
    """`n` results are on `worker`."""
    server.handle(GraphSubmitted("me", (LayerSpec(KEY, "layer", n),), (TaskRange(KEY, 0, n),)))
    at = 0
    while at < len(server.started()):
        batch = server.started()[at]
        assert batch.worker == worker
        server.finish(batch)
        at += 1
    assert server.views.states()["done"] == n


def items_of(messages: list[Any]) -> list[int]:
    return [source.start for message in messages for source, _, _ in message.sources]


def test_results_are_copied_in_portions_and_then_the_worker_leaves(server: Any) -> None:
    first = server.worker("first")
    n = PORTION_ITEMS + 10
    computed(server, "first", n)
    others = [server.worker(name) for name in ("second", "third")]
    drains = Drains(server, server.peers)
    drains.on_draining(first, Draining("preempted", 5.0))
    sent = [other.session.messages for other in others]
    assert [len(messages) for messages in sent] == [1, 1], "the portions are spread by bytes"
    assert sorted(items_of(sent[0]) + items_of(sent[1])) == list(range(n))
    assert all(holder == "first" and address == "address of first" for _, holder, address in sent[0][0].sources)
    drains.on_progress()
    assert [len(messages) for messages in sent] == [1, 1], "what is under way is not asked for again"
    assert not first.session.messages
    for name, messages in zip(("second", "third"), sent):
        server.handle(CopiesMade(name, tuple(source for source, _, _ in messages[0].sources)))
        drains.on_progress()
    assert first.session.messages == [Leave("preempted")]
    drains.before_worker_left("first")
    [ended] = drains.ended
    assert (ended.worker, ended.reason, ended.results, ended.bytes, ended.lost) == ("first", "preempted", n, 8 * n, 0)
    assert not drains.under_way


def test_what_one_peer_refuses_another_is_asked_for(server: Any) -> None:
    first = server.worker("first")
    computed(server, "first", 2)
    second, third = server.worker("second"), server.worker("third")
    drains = Drains(server, server.peers)
    drains.on_draining(first, Draining("", 5.0))
    asked = next(peer for peer in (second, third) if peer.session.messages)
    other = third if asked is second else second
    drains.on_copies_refused(asked.name, (TaskRange(KEY, 0, 2),))
    drains.on_progress()
    assert items_of(other.session.messages) == [0, 1]
    drains.on_copies_refused(other.name, (TaskRange(KEY, 0, 2),))
    drains.on_progress()
    assert first.session.messages == [Leave("")], "nobody is left to copy"
    drains.before_worker_left("first")
    assert drains.ended[0].lost == 2


@pytest.mark.parametrize("leaves", [True, False])
def test_a_taker_that_leaves_or_drains_does_not_count(server: Any, leaves: bool) -> None:
    first = server.worker("first")
    computed(server, "first", 1)
    second = server.worker("second")
    drains = Drains(server, server.peers)
    drains.on_draining(first, Draining("", 5.0))
    assert items_of(second.session.messages) == [0]
    third = server.worker("third")
    if leaves:
        del server.peers.workers["second"]
        server.handle(WorkerLeft("second", "gone", False))
        drains.on_progress()
    else:
        drains.on_draining(second, Draining("", 5.0))
    assert [type(message) for message in third.session.messages] == [CopyResults]
    assert items_of(third.session.messages) == [0]


def test_a_worker_without_results_leaves_when_its_batches_have_ended(server: Any) -> None:
    first = server.worker("first")
    server.handle(GraphSubmitted("me", (LayerSpec(KEY, "layer", 1),), (TaskRange(KEY, 0, 1),)))
    drains = Drains(server, server.peers)
    drains.on_draining(first, Draining("scaled down", 5.0))
    assert not first.session.messages
    server.finish(server.started()[0])
    drains.on_progress()
    assert first.session.messages == [Leave("scaled down")], "there is no other worker to copy to"
