"""Peers without sockets: what is sent once, what is put together, and small results that travel with a report."""

from __future__ import annotations

from array import array
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from howdah.engine.protocol.events import LayerSpec, StartBatch
from howdah.engine.protocol.layers import TaskRange
from howdah.engine.protocol.messages import (
    NOT_INLINE,
    DefineLayer,
    ForgetLayers,
    FreeResults,
    Response,
    RunBatch,
    TasksDone,
    WorkerAddresses,
)
from howdah.engine.scheduler.server.sessions import InlineResults

KEY = b"k" * 16


@given(st.lists(st.none() | st.binary(max_size=20), min_size=1, max_size=10), st.integers(0, 5), st.data())
def test_a_part_of_a_batch_has_its_own_small_results(
    results: list[bytes | None], first: int, data: st.DataObject
) -> None:
    lengths = array("I", [NOT_INLINE if one is None else len(one) for one in results])
    blob = b"".join(one or b"" for one in results)
    whole = TaskRange(KEY, first, first + len(results))
    inline = InlineResults(whole, [memoryview(lengths.tobytes()), memoryview(blob)])
    a = data.draw(st.integers(0, len(results) - 1))
    b = data.draw(st.integers(a + 1, len(results)))
    part = TaskRange(KEY, first + a, first + b)
    assert inline.covers(part)
    own, mine = inline.of(part)
    assert list(memoryview(own).cast("B").cast("I")) == list(lengths[a:b])
    assert bytes(mine) == b"".join(one or b"" for one in results[a:b])
    assert not inline.covers(TaskRange(KEY, first, first + len(results) + 1))
    assert not inline.covers(TaskRange(b"o" * 16, first, first + 1))


def test_a_client_receives_an_address_once_and_before_it_needs_it(server: Any) -> None:
    client = server.client()
    for item in range(2):
        client.send_done(TaskRange(KEY, item, item + 1), "w", "there", None)
    client.send_done(TaskRange(KEY, 2, 3), "w", "elsewhere", None)
    assert client.session.messages == [
        WorkerAddresses({"w": "there"}),
        TasksDone(TaskRange(KEY, 0, 1), "w"),
        TasksDone(TaskRange(KEY, 1, 2), "w"),
        WorkerAddresses({"w": "elsewhere"}),
        TasksDone(TaskRange(KEY, 2, 3), "w"),
    ]
    client.session.suspended = True
    client.send_done(TaskRange(KEY, 3, 4), "w", "elsewhere", None)
    assert len(client.session.messages) == 5


def test_responses_that_a_suspended_client_missed_are_stored(server: Any) -> None:
    client = server.client()
    client.session.send(Response(8, "sent"))
    client.record_undelivered(Response(7, "value"))
    client.record_undelivered(TasksDone(TaskRange(KEY, 0, 1), "w"))
    assert client.undelivered_responses() == [Response(7, "value"), Response(8, "sent")]


def test_a_layer_is_defined_once_until_it_is_forgotten(server: Any) -> None:
    worker = server.worker("w")
    server.layers.add([LayerSpec(KEY, "layer", 3)], [memoryview(b"code"), memoryview(b""), memoryview(b"")])
    server.layers.inline.add(KEY)
    sources = ((TaskRange(b"i" * 16, 0, 1), "w2"),)
    for number in range(2):
        batch = StartBatch("w", number, 1, TaskRange(KEY, number, number + 1), sources)
        worker.start(batch, server.layers, lambda name: f"address of {name}", [(TaskRange(b"i" * 16, 0, 1), "w3")])
    kinds = [type(message) for message in worker.session.messages]
    assert kinds == [DefineLayer, RunBatch, RunBatch]
    run = worker.session.messages[1]
    assert run.inline is True
    assert [(holder, address) for _, holder, address in run.sources] == [
        ("w2", "address of w2"),
        ("w3", "address of w3"),
    ]
    worker.forget([KEY, b"o" * 16])
    worker.forget([KEY])
    assert worker.session.messages[3:] == [ForgetLayers((KEY,))]
    worker.start(StartBatch("w", 3, 1, TaskRange(KEY, 2, 3)), server.layers, str)
    assert type(worker.session.messages[4]) is DefineLayer


def test_ranges_to_free_share_a_message_until_another_is_sent(server: Any) -> None:
    worker = server.worker("w")
    one, two, three = (TaskRange(KEY, item, item + 1) for item in range(3))
    worker.free([one])
    worker.free([two])
    worker.session.send("something else")
    worker.free([three])
    assert worker.session.messages == [FreeResults([one, two]), "something else", FreeResults([three])]


def test_an_address_is_known_of_workers_that_are_there(server: Any) -> None:
    server.worker("w")
    assert (server.peers.address_of("w"), server.peers.address_of("gone")) == ("address of w", "")
