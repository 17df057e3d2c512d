"""The coordination state alone: short stories of calls and their effects."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from howdah.engine.protocol.layers import TaskRange
from howdah.engine.scheduler.coordination.state import (
    CoordinationState,
    Delivery,
    Effect,
    GrantInterest,
    PackedValue,
    Pin,
    PrimitiveCall,
    Reply,
    Unpin,
)

F = TaskRange(b"f" * 16, 0, 1)
G = TaskRange(b"g" * 16, 3, 4)


def call(state: CoordinationState, client: str, number: int, what: str, now: float = 0.0, **about: Any) -> list[Effect]:
    kind, verb = what.split(".")
    return state.on_call(PrimitiveCall(client, number, kind, "x", verb, **about), now)


def acquire(state: CoordinationState, client: str, number: int, now: float = 0.0, **about: Any) -> list[Effect]:
    about = {"limit": 1, "token": f"{client}{number}", **about}
    return call(state, client, number, "semaphore.acquire", now, **about)


def test_a_queue_gives_in_order_to_those_who_came_first() -> None:
    state = CoordinationState()
    assert call(state, "a", 1, "queue.get") == []
    assert call(state, "b", 1, "queue.get") == []
    one, two = PackedValue(b"1"), PackedValue(b"2")
    assert call(state, "c", 1, "queue.put", value=one) == [Reply("c", 1), Reply("a", 1, "ok", Delivery(1, (one,)))]
    assert call(state, "c", 2, "queue.put", value=two) == [Reply("c", 2), Reply("b", 1, "ok", Delivery(2, (two,)))]
    call(state, "a", 0, "queue.took", ticket=1)
    call(state, "b", 0, "queue.took", ticket=2)
    assert not state.primitives
    assert not state.tickets


def test_a_full_queue_makes_putters_wait_and_a_deadline_lets_them_go() -> None:
    state = CoordinationState()
    call(state, "a", 1, "queue.put", value=PackedValue(b"1"), limit=1)
    assert call(state, "a", 2, "queue.put", value=PackedValue(b"2", (F,)), limit=1, timeout=5.0) == [Pin(F)]
    assert call(state, "b", 1, "queue.put", value=PackedValue(b"3"), limit=1) == []
    assert state.wake_at == 5.0
    assert state.on_tick(4.9) == []
    assert state.on_tick(5.0) == [Unpin(F), Reply("a", 2, "timeout")]
    assert call(state, "c", 1, "queue.get") == [Reply("c", 1, "ok", Delivery(1, (PackedValue(b"1"),))), Reply("b", 1)]


def test_a_result_is_kept_from_put_until_the_getter_has_it() -> None:
    state = CoordinationState()
    value = PackedValue(b"", (F,))
    assert call(state, "a", 1, "queue.put", value=value) == [Pin(F), Reply("a", 1)]
    assert call(state, "a", 2, "queue.put", value=value) == [Reply("a", 2)]
    state.on_client_left("a")
    assert call(state, "b", 1, "queue.get") == [Reply("b", 1, "ok", Delivery(1, (value,)))]
    assert call(state, "b", 2, "queue.get") == [Reply("b", 2, "ok", Delivery(2, (value,)))]
    assert call(state, "b", 0, "queue.took", ticket=1) == [GrantInterest("b", (F,))]
    assert call(state, "b", 0, "queue.took", ticket=2) == [GrantInterest("b", (F,)), Unpin(F)]
    assert not state.reference_counts


def test_what_a_dead_getter_did_not_take_goes_back_to_the_head() -> None:
    state = CoordinationState()
    for n in range(3):
        call(state, "a", n + 1, "queue.put", value=PackedValue(b"%d" % n))
    call(state, "b", 1, "queue.get", batch=2)
    assert call(state, "c", 1, "queue.get") == [Reply("c", 1, "ok", Delivery(2, (PackedValue(b"2"),)))]
    assert call(state, "c", 2, "queue.get", batch=2) == []
    assert state.on_client_left("b") == [Reply("c", 2, "ok", Delivery(3, (PackedValue(b"0"), PackedValue(b"1"))))]


def test_a_batch_waits_for_its_number_and_true_takes_what_is_there() -> None:
    state = CoordinationState()
    assert call(state, "a", 1, "queue.get", batch=2, limit=1) == []
    call(state, "b", 1, "queue.put", value=PackedValue(b"1"), limit=1)
    effects = call(state, "b", 2, "queue.put", value=PackedValue(b"2"), limit=1)
    assert Reply("a", 1, "ok", Delivery(1, (PackedValue(b"1"), PackedValue(b"2")))) in effects
    assert call(state, "a", 2, "queue.get", batch=0) == [Reply("a", 2, "ok", Delivery(2, ()))]


def test_a_variable_gives_to_all_who_wait_and_drops_what_it_had() -> None:
    state = CoordinationState()
    call(state, "a", 1, "variable.get")
    call(state, "b", 1, "variable.get")
    effects = call(state, "c", 1, "variable.set", value=PackedValue(b"", (F,)))
    assert [e for e in effects if isinstance(e, Reply)] == [
        Reply("c", 1),
        Reply("a", 1, "ok", Delivery(1, (PackedValue(b"", (F,)),))),
        Reply("b", 1, "ok", Delivery(2, (PackedValue(b"", (F,)),))),
    ]
    assert call(state, "c", 2, "variable.set", value=PackedValue(b"", (G,))) == [Pin(G), Reply("c", 2)]
    assert state.reference_counts == {F: 2, G: 1}
    assert call(state, "a", 0, "variable.took", ticket=1) == [GrantInterest("a", (F,))]
    assert state.on_client_left("b") == [Unpin(F)]
    assert call(state, "c", 3, "variable.delete") == [Unpin(G), Reply("c", 3)]
    assert not state.primitives


def test_a_lock_goes_to_the_next_when_its_holder_dies() -> None:
    state = CoordinationState()
    assert acquire(state, "a", 1) == [Reply("a", 1, "ok", True)]
    assert acquire(state, "b", 1) == []
    assert acquire(state, "c", 1, timeout=0.0) == [Reply("c", 1, "timeout")]
    assert acquire(state, "c", 2, timeout=2.0) == []
    assert state.on_client_left("a") == [Reply("b", 1, "ok", True)]
    assert call(state, "c", 3, "semaphore.release", token="b1")[0] == Reply(
        "c", 3, "wrong", "is not held by this object"
    )
    assert call(state, "b", 2, "semaphore.release", token="b1") == [
        Reply("b", 2, "ok", True),
        Reply("c", 2, "ok", True),
    ]
    assert state.on_tick(3.0) == []
    call(state, "c", 4, "semaphore.release", token="c2")
    assert not state.primitives


def test_users_of_a_semaphore_agree_on_its_leases() -> None:
    state = CoordinationState()
    acquire(state, "a", 1, limit=2)
    assert acquire(state, "b", 1, limit=3) == [Reply("b", 1, "wrong", "is in use with 2 leases, not 3")]


def test_a_call_taken_back_leaves_no_trace() -> None:
    state = CoordinationState()
    acquire(state, "a", 1)
    acquire(state, "b", 1)
    call(state, "b", 0, "semaphore.withdraw", ticket=1, token="b1")
    call(state, "a", 0, "semaphore.withdraw", ticket=1, token="a1")  # its answer was on its way
    assert not state.primitives
    call(state, "a", 2, "queue.put", value=PackedValue(b"1", (F,)))
    call(state, "a", 3, "queue.get")
    call(state, "a", 0, "queue.withdraw", ticket=3)
    assert call(state, "b", 2, "queue.get")[0] == Reply("b", 2, "ok", Delivery(2, (PackedValue(b"1", (F,)),)))


def test_an_owned_primitive_ends_with_its_owner() -> None:
    state = CoordinationState()
    call(state, "a", 0, "queue.own")
    assert call(state, "b", 1, "queue.get") == []
    assert state.on_client_left("a") == [Reply("b", 1, "closed", "the client that made this queue has left")]
    assert not state.primitives


def test_an_event_lets_everybody_go() -> None:
    state = CoordinationState()
    call(state, "a", 1, "event.wait")
    call(state, "b", 1, "event.wait", timeout=1.0)
    assert call(state, "c", 1, "event.set") == [Reply("c", 1), Reply("a", 1, "ok", True), Reply("b", 1, "ok", True)]
    assert call(state, "a", 2, "event.wait", timeout=0.0) == [Reply("a", 2, "ok", True)]
    call(state, "c", 2, "event.clear")
    assert not state.primitives


VERBS = [
    "queue.put", "queue.get", "queue.size", "queue.close", "queue.own", "variable.set", "variable.get",
    "variable.delete", "semaphore.acquire", "semaphore.release", "event.wait", "event.set", "event.clear",
]  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.sampled_from([*VERBS, "took", "gone"]), st.sampled_from([None, 0.0, 1.0])),
        max_size=40,
    )
)
def test_nothing_is_left_when_all_have_gone(steps: list[tuple[str, str, float | None]]) -> None:
    """After any calls: each is answered at most once, references are counted right, and the dead leave nothing."""
    state = CoordinationState()
    answered: set[tuple[str, int]] = set()
    kept: set[TaskRange] = set()

    def check(effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Reply):
                assert (effect.client, effect.number) not in answered
                answered.add((effect.client, effect.number))
            elif isinstance(effect, Pin):
                assert effect.task_range not in kept
                kept.add(effect.task_range)
            elif isinstance(effect, Unpin):
                kept.remove(effect.task_range)

    for number, (client, what, timeout) in enumerate(steps, 1):
        now = number / 4
        check(state.on_tick(now))
        if what == "gone":
            check(state.on_client_left(client))
            continue
        if what == "took":
            for ticket in [n for n, t in state.tickets.items() if t.call.client == client]:
                check(call(state, client, 0, "queue.took", now, ticket=ticket))
            continue
        value = PackedValue(b"", (F, G)[number % 2 :]) if what in ("queue.put", "variable.set") else None
        limit = 1 if what.startswith(("semaphore", "queue")) else 0
        token = client if what.startswith("semaphore") else ""
        check(call(state, client, number, what, now, value=value, timeout=timeout, limit=limit, token=token))
        assert kept == set(state.reference_counts)
    for client in "abc":
        check(state.on_client_left(client))
    for number, kind in enumerate(("queue.close", "variable.delete", "event.clear"), 1000):
        check(call(state, "z", number, kind))
    assert not kept
    assert not state.primitives
    assert not state.tickets
