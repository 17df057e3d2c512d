"""Ranges agree with the definition item by item."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from howdah.engine.protocol.layers import Broadcast, KToOne, OneToOne, Pattern, Window, inputs_of
from howdah.engine.protocol.patterns import Wiring, free, problem_of, wiring


@st.composite
def wired(draw: st.DrawFn) -> tuple[Pattern, int, int]:
    """(pattern, n, n_source)"""
    n_source = draw(st.integers(1, 30))
    kind = draw(st.sampled_from(["one", "k", "window", "free"]))
    if kind == "one":
        return OneToOne(), n_source, n_source
    if kind == "k":
        k = draw(st.integers(1, 40))
        return KToOne(k), -(-n_source // k), n_source
    if kind == "window":
        sides = st.integers(0, 4) if draw(st.booleans()) else st.integers(0, 40)
        return Window(draw(sides), draw(sides), draw(st.booleans())), n_source, n_source
    n = draw(st.integers(1, 20))
    needs = st.lists(st.integers(0, n_source - 1), max_size=5)
    return free(draw(st.lists(needs, min_size=n, max_size=n))), n, n_source


def count(reach: object) -> Counter[int]:
    if isinstance(reach, list):
        found: Counter[int] = Counter()
        for lo, hi, weight in reach:
            assert lo < hi
            for i in range(lo, hi):
                found[i] += weight
        return found
    return Counter(reach.tolist())


@given(wired(), st.data())
def test_spans_agree_with_items(case: tuple[Pattern, int, int], data: st.DataObject) -> None:
    pattern, n, n_source = case
    assert problem_of(pattern, n, n_source) is None
    wires: Wiring = wiring(pattern, n, n_source)
    lo = data.draw(st.integers(0, n - 1))
    hi = data.draw(st.integers(lo + 1, n))
    expected = Counter(j for i in range(lo, hi) for j in inputs_of(pattern, i, n_source))
    assert count(wires.inputs(lo, hi)) == expected

    cover = wires.cover(lo, hi)
    assert sorted(expected) == [i for a, b in cover for i in range(a, b)] or isinstance(pattern, Window)
    assert set(expected) <= {i for a, b in cover for i in range(a, b)}
    assert cover == sorted(cover)
    assert all(0 <= a < b <= n_source for a, b in cover)

    first = data.draw(st.integers(0, n_source - 1))
    last = data.draw(st.integers(first + 1, n_source))
    users = Counter(i for i in range(n) for j in inputs_of(pattern, i, n_source) if first <= j < last)
    assert count(wires.dependents(first, last)) == users

    flags = np.array(data.draw(st.lists(st.booleans(), min_size=n_source, max_size=n_source)))
    sums = [sum(bool(flags[j]) for j in inputs_of(pattern, i, n_source)) for i in range(lo, hi)]
    assert wires.gather(flags, lo, hi).tolist() == sums


def test_broadcast_is_everything() -> None:
    wires = wiring(Broadcast(), 2, 5)
    assert wires.broadcast
    assert wires.cover(0, 1) == [(0, 5)]
    assert list(inputs_of(Broadcast(), 1, 5)) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("pattern", "n", "n_source", "says"),
    [
        (OneToOne(), 3, 4, "same length"), (Window(1, 1), 3, 4, "same length"), (Window(-1, 1), 3, 3, "negative"),
        (KToOne(0), 3, 4, "at least 1"), (KToOne(2), 3, 4, "makes 2 items of 4, not 3"), (free([[5]]), 1, 5, "item 5"),
        (free([[1]]), 2, 5, "indptr has 8 bytes"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_said(pattern: Pattern, n: int, n_source: int, says: str) -> None:
    assert says in str(problem_of(pattern, n, n_source))
