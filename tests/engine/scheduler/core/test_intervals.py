"""`IntervalSet` is a set of integers, whatever is done to it; columns do the same as lists and as arrays."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from howdah.engine.scheduler.core.intervals import SMALL, IntervalSet, add, column, fill, group_equal, true_intervals

bounds = st.tuples(st.integers(0, 30), st.integers(0, 30)).map(lambda ab: (min(ab), max(ab)))


@given(st.lists(st.tuples(st.booleans(), bounds)), bounds)
def test_a_set_of_integers(steps: list[tuple[bool, tuple[int, int]]], window: tuple[int, int]) -> None:
    intervals, plain = IntervalSet(), set()
    for adding, (lo, hi) in steps:
        if lo == hi:
            continue
        if adding:
            intervals.add(lo, hi)
            plain |= set(range(lo, hi))
        else:
            intervals.remove(lo, hi)
            plain -= set(range(lo, hi))
        assert {i for a, b in intervals for i in range(a, b)} == plain
        assert intervals.bounds == sorted(set(intervals.bounds))
    lo, hi = window
    inside = [i for a, b in intervals.overlap(lo, hi) for i in range(a, b)]
    assert inside == sorted(i for i in plain if lo <= i < hi)
    assert [i for a, b in intervals.gaps(lo, hi) for i in range(a, b)] == [i for i in range(lo, hi) if i not in plain]
    assert len(intervals) == len(plain)
    assert all((i in intervals) == (i in plain) for i in range(31))
    taken = []
    while intervals:
        a, b = intervals.take(3)
        assert 1 <= b - a <= 3
        taken += range(a, b)
    assert taken == sorted(plain)


@given(st.lists(st.integers(-1, 3), min_size=1, max_size=40), st.data())
def test_lists_and_arrays_agree(values: list[int], data: st.DataObject) -> None:
    lo = data.draw(st.integers(0, len(values) - 1))
    hi = data.draw(st.integers(lo, len(values)))
    array = np.array(values)
    assert group_equal(values, lo, hi) == group_equal(array, lo, hi)
    found = true_intervals(array == 1, base=5)
    assert [i for a, b in found for i in range(a, b)] == [i + 5 for i, v in enumerate(values) if v == 1]
    copy = list(values)
    add(copy, lo, hi, 2)
    add(array, lo, hi, 2)
    fill(copy, lo, hi, copy[0])
    fill(array, lo, hi, int(array[0]))
    assert copy == array.tolist()


def test_small_columns_are_lists() -> None:
    assert column(SMALL, "i4", 3) == [3] * SMALL
    assert column(SMALL + 1, "i4", 3).dtype == np.int32
