"""The queue of timers against a sorted list."""

from __future__ import annotations

from math import inf
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from howdah.engine.scheduler.core.timers import TimerQueue


def note(state: list[Any], name: Any) -> None:
    state.append(name)


@given(st.lists(st.integers(0, 20)), st.lists(st.integers(0, 25)))
def test_timers_run_when_they_are_due_and_in_order(seconds: list[int], times: list[int]) -> None:
    timers, ran = TimerQueue(), []
    for number, due in enumerate(seconds):
        timers.start(float(due), note, (due, number))
    left = sorted((due, number) for number, due in enumerate(seconds))
    for now in sorted(times):
        assert timers.next_due == (left[0][0] if left else inf)
        timers.now = float(now)
        before = len(ran)
        timers.run_due(ran)
        due_now = [entry for entry in left if entry[0] <= now]
        assert ran[before:] == due_now
        left = left[len(due_now) :]
        assert [args[0] for args in sorted(timers.pending(note))] == left


def test_a_timer_that_a_callback_starts_runs_in_the_same_pass_if_it_is_due() -> None:
    timers, ran = TimerQueue(), []

    def again(state: list[str]) -> None:
        state.append("first")
        timers.start(0.0, note, "second")
        timers.start(1.0, note, "later")

    timers.start(2.0, again)
    timers.now = 2.5
    timers.run_due(ran)
    assert ran == ["first", "second"]
    assert timers.next_due == 3.5
