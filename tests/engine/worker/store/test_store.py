"""The store's accounts."""

from howdah.engine.protocol.layers import TaskRange
from howdah.engine.worker.store.store import MISSING, ResultStore

A, B = b"a" * 16, b"b" * 16


def test_accounts_agree_with_what_is_held() -> None:
    store = ResultStore()
    store.put(A, range(10), list(range(10)), [100] * 10)
    store.put(B, (5,), ["five"], [7])
    assert store.nbytes == 1007
    store.put(A, (3,), [33], [50])  # made again: replaced, not counted twice
    assert (store.nbytes, store.get(A, 3)) == (957, 33)
    assert store.size_of([TaskRange(A, 2, 5), TaskRange(B, 0, 10)]) == 257
    store.free([TaskRange(A, 0, 4), TaskRange(A, 2, 6), TaskRange(b"unknown", 0, 9)])
    assert store.nbytes == 407
    assert store.get(A, 5) is MISSING
    assert (store.has(A, 6), store.has(A, 5), store.has(b"unknown", 0)) == (True, False, False)
    assert store.holdings() == [(TaskRange(A, 6, 10), (100,) * 4), (TaskRange(B, 5, 6), (7,))]
    store.free([TaskRange(A, 0, 1 << 30), TaskRange(B, 5, 6)])
    assert (store.nbytes, store.holdings()) == (0, [])


def test_none_is_a_value() -> None:
    store = ResultStore()
    store.put(A, (0,), [None], [16])
    assert store.get(A, 0) is None
    assert store.has(A, 0)
