"""The transition table: every other step is refused, and counts follow the column."""

from __future__ import annotations

import itertools

import pytest

from howdah.engine.protocol.events import LayerSpec
from howdah.engine.scheduler.core.state import SchedulerState
from howdah.engine.scheduler.core.tables import READY, STATE_NAMES, new_layer_state
from howdah.engine.scheduler.core.transitions import TRANSITIONS, add_counts, reach_intervals, transition

STATES = range(len(STATE_NAMES))


@pytest.mark.parametrize(("old", "new"), list(itertools.product(STATES, STATES)))
def test_only_the_steps_of_the_table_are_made(old: int, new: int) -> None:
    state, layer = SchedulerState(), new_layer_state(0, LayerSpec(b"k" * 16, "a", 20))
    layer.state[:] = old
    layer.counts[:] = [0] * len(STATE_NAMES)
    layer.counts[old] = 20
    state.ready = 20 if old == READY else 0
    if (old, new) not in TRANSITIONS:
        with pytest.raises(RuntimeError, match=f"from {STATE_NAMES[old]} to {STATE_NAMES[new]}"):
            transition(state, layer, 3, 8, old, new)
        return
    transition(state, layer, 3, 8, old, new)
    assert [int(code) for code in layer.state] == [new if 3 <= item < 8 else old for item in range(20)]
    assert (layer.counts[old], layer.counts[new]) == (15, 5)
    assert state.ready == sum(int(code) == READY for code in layer.state)
    (entry,) = state.history.entries
    assert (entry.start, entry.stop, entry.old, entry.new) == (3, 8, STATE_NAMES[old], STATE_NAMES[new])


def test_counts_of_a_reach_are_added_with_their_weights() -> None:
    column = [0] * 6
    add_counts(column, [(0, 1, 2), (0, 4, 1)], 1)
    assert column == [3, 1, 1, 1, 0, 0]
    add_counts(column, [(0, 1, 2), (0, 4, 1)], -1)
    assert column == [0] * 6
    assert reach_intervals([(0, 1, 2), (0, 4, 1)]) == [(0, 1), (0, 4)]
