"""A snapshot of the primitives: what is restored from it behaves like what it was made of."""

from __future__ import annotations

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from howdah.engine.protocol.layers import TaskRange
from howdah.engine.scheduler.coordination.snapshot import CoordinationRecord, restore, snapshot
from howdah.engine.scheduler.coordination.state import CoordinationState, PackedValue, PrimitiveCall

ONE, TWO = TaskRange(b"f" * 16, 0, 1), TaskRange(b"g" * 16, 3, 4)

VERBS = [
    "queue.put", "queue.get", "queue.own", "queue.close", "variable.set", "variable.get", "variable.delete",
    "semaphore.acquire", "semaphore.release", "event.wait", "event.set", "event.clear",
]  # fmt: skip

STEPS = st.lists(
    st.tuples(
        st.sampled_from("abc"),
        st.sampled_from([*VERBS, "leaves"]),
        st.sampled_from([None, 0.5, 2.0]),
        st.integers(0, 2),
    ),
    max_size=25,
)


def do(state: CoordinationState, step: tuple[str, str, float | None, int], number: int) -> object:
    client, what, timeout, choice = step
    if what == "leaves":
        return state.on_client_left(client)
    kind, verb = what.split(".")
    value = PackedValue(b"%d" % number, (ONE, TWO)[choice:]) if verb in ("put", "set") else None
    limit, token = (1, client) if kind == "semaphore" else (choice, "")
    return state.on_call(PrimitiveCall(client, number, kind, "x", verb, value, timeout, limit, token), number / 4)


@settings(deadline=None)
@given(STEPS, STEPS)
def test_a_restored_state_goes_on_like_the_old_one(
    before: list[tuple[str, str, float | None, int]], after: list[tuple[str, str, float | None, int]]
) -> None:
    state = CoordinationState()
    for number, step in enumerate(before, 1):
        do(state, step, number)
    packed = msgspec.msgpack.encode(snapshot(state, 1000.0))
    again = restore(msgspec.msgpack.decode(packed, type=CoordinationRecord), 1000.0)
    assert snapshot(again, 1000.0) == snapshot(state, 1000.0)
    assert again.reference_counts == state.reference_counts
    for number, step in enumerate(after, len(before) + 1):
        assert do(again, step, number) == do(state, step, number)
    assert again.on_tick(1e9) == state.on_tick(1e9)


def test_deadlines_are_times_of_day_in_a_snapshot() -> None:
    state = CoordinationState()
    state.on_call(PrimitiveCall("a", 1, "event", "e", "wait", timeout=5.0), 10.0)
    record = snapshot(state, 1000.0)
    assert record.primitives[0].waiting[0].until == 1015.0
    assert restore(record, 1010.0).wake_at == 5.0
