"""A task that failed for the platform's sake is tried again after a pause, elsewhere if somebody else is idle.

What is the platform's (kind "platform": a full or broken disk; kind "taken": YARN ends the container with the task's
own child processes) is not the user's: it costs none of the layer's retries, but MOST_FAULTS of them end it. A paused
item waits as for one more input (`LayerState.paused`). Deterministic functions on the
`SchedulerState`.
"""

from __future__ import annotations

from howdah.engine.scheduler.core.state import SchedulerState
from howdah.engine.scheduler.core.tables import WAITING, LayerState
from howdah.engine.scheduler.core.transitions import make_ready

MAX_INFRASTRUCTURE_FAILURES = 5
"""So often a task may fail for the platform's sake before it has failed."""

FIRST_WAIT, LONGEST_WAIT = 0.5, 30.0
"""Seconds of the first pause, and of the longest; each is twice the one before."""


def schedule_retry(state: SchedulerState, layer: LayerState, item: int) -> bool:
    """The item, which is running still, has failed for the platform's sake. False: it has done so too often."""
    if layer.infrastructure_failures is None:
        layer.infrastructure_failures, layer.retry_at = {}, {}
    count = layer.infrastructure_failures[item] = layer.infrastructure_failures.get(item, 0) + 1
    if count >= MAX_INFRASTRUCTURE_FAILURES or layer.retry_at is None:
        return False
    seconds = min(FIRST_WAIT * 2 ** (count - 1), LONGEST_WAIT)
    layer.retry_at[item] = until = state.now + seconds
    state.timers.start(seconds, _end_wait, layer, item, until)
    return True


def _end_wait(state: SchedulerState, layer: LayerState, item: int, until: float) -> None:
    """The item waits for one input less."""
    if layer.retry_at is None or layer.retry_at.get(item) != until:
        return
    del layer.retry_at[item]
    if layer.state[item] == WAITING:
        layer.unfinished_deps[item] -= 1
        for a, b in layer.runnable(item, item + 1):
            make_ready(state, layer, a, b, spread=True)
