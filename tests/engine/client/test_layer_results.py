"""A scheduler that was started again says everything again: results know what they knew."""

from __future__ import annotations

import pickle
import struct

import pytest

from howdah.engine.client.layer_results import DONE, FAILED, PENDING, LayerResults, TaskFailure
from howdah.engine.protocol.events import TaskError
from howdah.engine.protocol.layers import TaskRange

KEY = b"k" * 16


def made(n: int, known: int) -> LayerResults:
    """`known` items came with their values, in one report."""
    results = LayerResults(KEY, "layer", n)
    results.add_references(0, n)
    pickles = [pickle.dumps(item) for item in range(known)]
    lengths = struct.pack(f"<{known}I", *map(len, pickles))
    results.mark_done(0, known, "w1", (memoryview(lengths), memoryview(b"".join(pickles))))
    return results


@pytest.mark.parametrize(("start", "stop"), [(0, 6), (0, 4), (1, 3), (2, 6), (3, 6)])
def test_values_that_came_along_stay_when_it_is_said_again(start: int, stop: int) -> None:
    results = made(6, 4)
    results.mark_done(start, stop, "w2", ())
    found: dict[int, tuple[str, object]] = {}
    for part, a, b in results.chunks_in(0, 6):
        for item, data in zip(range(a, b), part.pickles(a, b)):
            found[item] = part.holder, None if data is None else pickle.loads(data)
    top = max(stop, 4)
    assert found == {item: ("w2" if start <= item < stop else "w1", item if item < 4 else None) for item in range(top)}
    assert list(results.state) == [DONE] * top + [PENDING] * (6 - top)


def test_a_failure_said_again_is_one_and_after_a_loss_it_counts() -> None:
    results = LayerResults(KEY, "layer", 2)
    failure = TaskFailure(TaskError("raised", "boom"), TaskRange(KEY, 0, 1))
    told: list[tuple[int, int]] = []
    results.add_listener(lambda _, start, stop: told.append((start, stop)))
    for _ in range(2):
        results.mark_failed(0, 1, failure)
    assert told == [(0, 1)]
    results.mark_lost(0, 1)
    results.mark_lost(0, 2)
    assert told == [(0, 1), (0, 1)], "what is pending is not lost"
    results.mark_failed(0, 1, failure)
    assert results.state[0] == FAILED
    assert len(told) == 3
