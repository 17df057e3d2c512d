"""Sizes of results, and which of them travel with a report."""

from __future__ import annotations

import threading

import numpy as np

from howdah.engine.protocol.messages import INLINE_BYTES, NOT_INLINE
from howdah.engine.serialization.serialize import loads
from howdah.engine.worker.store.results import INLINE_BATCH_BYTES, measure
from howdah.engine.worker.store.sizeof import size_of_value


def test_small_results_are_inline_and_failed_ones_have_no_size() -> None:
    found = measure([1, None, "b"], {1}, inline=True)
    assert found.sizes[1] == -1
    assert found.lengths[1] == NOT_INLINE
    assert [loads(piece) for piece in found.pieces] == [1, "b"]
    assert list(found.lengths) == [len(found.pieces[0]), NOT_INLINE, len(found.pieces[1])]


def test_nothing_is_inline_that_no_client_waits_for() -> None:
    found = measure([1, 2], (), inline=False)
    assert not found.pieces
    assert list(found.lengths) == [NOT_INLINE] * 2


def test_a_report_carries_so_much_and_no_more() -> None:
    one = b"x" * (INLINE_BYTES - 100)
    found = measure([one] * (INLINE_BATCH_BYTES // len(one) + 50), (), inline=True)
    assert INLINE_BATCH_BYTES - INLINE_BYTES < sum(map(len, found.pieces)) <= INLINE_BATCH_BYTES


def test_a_result_that_cannot_be_pickled_is_an_error_with_its_place() -> None:
    found = measure([0, {"lock": threading.Lock()}], (), inline=True)
    ((at, error),) = found.errors
    assert at == 1
    assert "['lock']" in str(error)


def test_a_slice_counts_its_own_bytes() -> None:
    array = np.zeros(1000)
    assert size_of_value(array[:10]) == 80
    assert size_of_value([array, array]) >= 2 * array.nbytes
