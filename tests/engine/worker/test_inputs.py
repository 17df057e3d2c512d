"""What a run's items get agrees with the definition item by item, however values lie in the store."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from howdah.engine.protocol.layers import Broadcast, Dependency, KToOne, OneToOne, Pattern, Window, inputs_of
from howdah.engine.protocol.messages import DefineLayer
from howdah.engine.protocol.patterns import distinct, free
from howdah.engine.worker.inputs import InputMissing, readers
from howdah.engine.worker.store.store import SPILLABLE_MIN_BYTES, ResultStore

SOURCE = b"s" * 16


@st.composite
def patterns(draw: st.DrawFn) -> tuple[Pattern, int, int]:
    """(pattern, items, items of its source)"""
    n_source = draw(st.integers(1, 30))
    n = draw(st.integers(1, 20))
    k, sides = draw(st.integers(1, 40)), st.integers(0, 40)
    needs = st.lists(st.lists(st.integers(0, n_source - 1), max_size=5), min_size=n, max_size=n)
    return draw(
        st.sampled_from(
            [
                (OneToOne(), n_source, n_source),
                (KToOne(k), -(-n_source // k), n_source),
                (Broadcast(), n, n_source),
                (Window(draw(sides), draw(sides), draw(st.booleans())), n_source, n_source),
                (free(draw(needs)), n, n_source),
            ]
        )
    )


def layer_of(pattern: Pattern, n: int, n_source: int) -> DefineLayer:
    return DefineLayer(b"t" * 16, "t", n, (Dependency(SOURCE, pattern),), (n_source,))


@given(patterns(), st.data())
def test_inputs_are_those_of_the_definition(case: tuple[Pattern, int, int], data: st.DataObject) -> None:
    pattern, n, n_source = case
    start = data.draw(st.integers(0, n - 1))
    stop = data.draw(st.integers(start + 1, n))
    large = data.draw(st.booleans())
    store = ResultStore()
    values = [f"value {i}" for i in range(n_source)]
    store.put(
        SOURCE, range(n_source), values, [SPILLABLE_MIN_BYTES if large and i % 3 == 0 else 60 for i in range(n_source)]
    )
    (read,) = readers(layer_of(pattern, n, n_source), start, stop, store)
    for item in range(start, stop):
        expected = [values[i] for i in inputs_of(pattern, item, n_source)]
        assert read(item) == (expected[0] if pattern == OneToOne() else expected)


@pytest.mark.parametrize("pattern", [OneToOne(), KToOne(2), Broadcast(), Window(1, 1, True), free([[0, 5]] * 6)])
def test_an_input_that_is_not_there_is_named(pattern: Pattern) -> None:
    store = ResultStore()
    store.put(SOURCE, range(5), list(range(5)), [28] * 5)  # of six
    n = 3 if pattern == KToOne(2) else 6
    (read,) = readers(layer_of(pattern, n, 6), 0, n, store)
    with pytest.raises(InputMissing) as gone:
        [read(item) for item in range(n)]
    assert gone.value.task_range == (SOURCE, 5, 6)


def test_each_item_has_a_list_of_its_own() -> None:
    store = ResultStore()
    store.put(SOURCE, range(3), [1, 2, 3], [28] * 3)
    (read,) = readers(layer_of(Broadcast(), 2, 3), 0, 2, store)
    read(0).clear()
    assert read(0) == read(1) == [1, 2, 3]


@given(st.lists(st.integers(-5, 1 << 40)))
def test_distinct_numbers_are_those_that_numpy_finds(numbers: list[int]) -> None:
    array = np.array(numbers, "i8")
    assert distinct(array).tolist() == np.unique(array).tolist()
