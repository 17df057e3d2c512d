"""Whose tails are asked back when others idle: those that would wait longest, and at what cost to the scheduler."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from howdah.engine.scheduler.core import dispatch


def cluster(waits: list[list[float]], idle: int) -> Any:
    """Workers whose runs' last items wait so long, the newest run first; and as many idle slots."""
    workers = {}
    for number, seconds in enumerate(waits):
        worker = SimpleNamespace(name=f"w{number}", runs=[])
        worker.batches = [
            SimpleNamespace(
                ident=100 * number + i,
                attempt=1,
                waits=s,
                recalled_at=None,
                worker=worker,
                layer=None,
                group=0,
                locality=-1,
            )
            for i, s in enumerate(seconds)
        ]
        workers[worker.name] = worker
    return SimpleNamespace(
        now=0.0,
        rebalanced_at=0.0,
        idle={0: SimpleNamespace(slots=idle, unblocked=0)},
        batches={},
        workers=workers,
        instructions=[],
    )


def rebalanced(state: Any, patch: pytest.MonkeyPatch) -> tuple[list[int], int]:
    """The runs that are asked for, in order, and how often a worker was looked at."""
    looks = 0

    original = dispatch._longest_wait  # noqa: SLF001  # counted here

    def longest_wait(of: Any, worker: Any) -> tuple[Any, float]:
        nonlocal looks
        if of is not state:  # another test's cluster is alive in this process
            return original(of, worker)
        looks += 1
        left = [run for run in worker.batches if run.recalled_at is None]
        return (left[0], left[0].waits) if left else (None, 0.0)

    patch.setattr(dispatch, "_longest_wait", longest_wait)
    patch.setattr(dispatch.placement, "worth_waiting", lambda *_: 0.0)
    dispatch.rebalance(state)
    return [message.batch for message in state.instructions], looks


def greedy(waits: list[list[float]], idle: int) -> list[int]:
    """Again and again the longest of those that are next at their workers; of equal ones, the first worker's."""
    rest = {number: list(enumerate(seconds)) for number, seconds in enumerate(waits)}
    found = []
    while len(found) < idle:
        number = max(rest, key=lambda n: (rest[n][0][1] if rest[n] else 0.0, -n), default=None)
        if number is None or not rest[number] or rest[number][0][1] <= dispatch.RECALL_WORTH:
            break
        found.append(100 * number + rest[number].pop(0)[0])
    return found


@given(st.lists(st.lists(st.sampled_from([0.0, 0.05, 0.1, 0.5, 2.0]), max_size=5), max_size=12), st.integers(0, 30))
def test_the_longest_waits_are_asked_back_one_for_each_idle_slot(waits: list[list[float]], idle: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        asked, _ = rebalanced(cluster(waits, idle), patch)
    assert asked == greedy(waits, idle)


def test_a_thousand_idle_slots_do_not_look_at_a_thousand_workers_each() -> None:
    """They did: with 1,000 workers the scheduler stood still for seconds."""
    with pytest.MonkeyPatch.context() as patch:
        asked, looks = rebalanced(cluster([[1.0, 0.5]] * 1000, 1500), patch)
    assert len(asked) == 1500
    assert looks <= 1000 + 1500
