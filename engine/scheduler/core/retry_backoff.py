"""A task that failed because of the platform runs again after a wait, elsewhere if another worker idles.

Failures of the platform (kind "platform": a full or broken disk; kind "taken": YARN ends the container with the task's
own child processes) cost none of the layer's retries, but MAX_INFRASTRUCTURE_FAILURES of them are final. An item that
waits counts one more in `LayerState.unfinished_deps` (`LayerState.retry_at`). Called by `recovery`.
"""

from __future__ import annotations

from howdah.engine.scheduler.core.state import SchedulerState
from howdah.engine.scheduler.core.tables import WAITING, LayerState
from howdah.engine.scheduler.core.transitions import make_ready

MAX_INFRASTRUCTURE_FAILURES = 5
"""So often a task may fail because of the platform before it has failed for good."""

FIRST_WAIT, LONGEST_WAIT = 0.5, 30.0
"""Seconds of the first wait, and of the longest; each is twice the one before."""


def schedule_retry(state: SchedulerState, layer: LayerState, item: int) -> bool:
    """Have the item, which is running still, wait for another attempt; False if it has had too many failures."""
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
    """Let the item wait for one input less."""
    if layer.retry_at is None or layer.retry_at.get(item) != until:
        return
    del layer.retry_at[item]
    if layer.state[item] == WAITING:
        layer.unfinished_deps[item] -= 1
        for a, b in layer.runnable(item, item + 1):
            make_ready(state, layer, a, b, spread=True)
