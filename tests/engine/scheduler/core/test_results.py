"""The table of results against plain dictionaries, whatever is recorded, copied, moved, dropped and forgotten."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from howdah.engine.protocol.events import LayerSpec, WorkerInfo
from howdah.engine.scheduler.core.results import ResultTable, flush_deferred
from howdah.engine.scheduler.core.tables import DONE, IDLE, MANY, NO_WORKER, LayerState, WorkerState, new_layer_state
from howdah.engine.scheduler.core.timers import TimerQueue

KEY = b"k" * 16


def table(n: int, workers: int = 3) -> tuple[ResultTable, LayerState, list[WorkerState], TimerQueue]:
    known = [WorkerState(index, WorkerInfo(f"w{index}", "h")) for index in range(workers)]
    timers = TimerQueue()
    layer = new_layer_state(0, LayerSpec(KEY, "a", n))
    return ResultTable({worker.index: worker for worker in known}, timers), layer, known, timers


def mark(layer: LayerState, lo: int, hi: int, old: int, new: int) -> None:
    """What `transitions.transition` does beside."""
    for item in range(lo, hi):
        layer.state[item] = new
    layer.counts[old] -= hi - lo
    layer.counts[new] += hi - lo


moves = st.lists(
    st.tuples(st.sampled_from(["record", "copy", "drop", "lose", "items"]), st.integers(0, 39), st.integers(1, 9),
              st.integers(0, 2)),
    max_size=40,
)  # fmt: skip


@settings(deadline=None)
@given(st.sampled_from([1, 8, 40]), moves)
def test_holders_sizes_copies_and_totals_agree_with_plain_dictionaries(
    n: int, played: list[tuple[str, int, int, int]]
) -> None:
    results, layer, workers, _ = table(n)
    holder: dict[int, int] = {}
    copies: dict[int, set[int]] = defaultdict(set)
    freed: set[tuple[str, int]] = set()
    for kind, start, length, who in played:
        lo, hi = start % n, min(start % n + length, n)
        done = [item for item in range(lo, hi) if item in holder]
        if kind == "record":
            for item in range(lo, hi):
                if item not in holder:
                    results.record(layer, item, item + 1, workers[who], (10 + item,))
                    mark(layer, item, item + 1, IDLE, DONE)
                    holder[item] = who
        elif kind == "copy":
            for item in done:
                if holder[item] != who:
                    results.add_copies(layer, item, item + 1, workers[who])
                    copies[item].add(who)
        elif kind == "drop":
            for item in done:
                results.drop(layer, item, item + 1)
                mark(layer, item, item + 1, DONE, IDLE)
                freed |= {(f"w{index}", item) for index in (holder.pop(item), *copies.pop(item, ()))}
        elif kind == "items" and n > 16 and done:
            items = np.array(done)
            results.drop_item_copies(layer, items)
            results.drop_items(layer, items)
            for item in done:
                mark(layer, item, item + 1, DONE, IDLE)
                freed |= {(f"w{index}", item) for index in (holder.pop(item), *copies.pop(item, ()))}
        elif kind == "lose":
            for item in [item for item in done if holder[item] == who]:
                moved, lost = results.move(layer, item, item + 1, workers[who])
                if copies[item]:
                    assert (moved, lost) == ([(item, item + 1)], [])
                    holder[item] = int(layer.holder[item])
                    copies[item].remove(holder[item])
                else:
                    assert (moved, lost) == ([], [(item, item + 1)])
                    results.forget(layer, item, item + 1)
                    mark(layer, item, item + 1, DONE, IDLE)
                    del holder[item]
        assert [int(index) for index in layer.holder] == [holder.get(item, NO_WORKER) for item in range(n)]
        assert [int(size) for size in layer.size] == [10 + i if i in holder else 0 for i in range(n)]
        for worker in workers:
            mine = [item for item, index in holder.items() if index == worker.index]
            assert (worker.items, worker.nbytes) == (len(mine), sum(10 + item for item in mine))
            covered = {i for a, b in results.held_by(layer, worker) for i in range(a, b)}
            assert covered == set(mine)
            copied = {i for a, b in (layer.copies or {}).get(worker.index, ()) for i in range(a, b)}
            assert copied == {item for item, owners in copies.items() if worker.index in owners}
        for item, owners in copies.items():
            for owner in owners:
                assert layer.copy_holder is not None
                assert layer.copy_holder[item] in (owner, MANY)
    sent = results.take_pending_frees({"w0", "w1", "w2"}) + results.take_deferred_frees()
    assert {(free.worker, i) for free in sent for r in free.ranges for i in range(r.start, r.stop)} == freed


def test_pinned_copies_are_forgotten_with_their_result() -> None:
    results, layer, (one, two, _), _ = table(40)
    results.record(layer, 0, 4, one, (1, 1, 1, 1))
    mark(layer, 0, 4, IDLE, DONE)
    results.add_copies(layer, 0, 4, two)
    results.pin_copies(layer, 0, 2)
    assert results.pinned_items(layer, np.arange(4)).tolist() == [True, True, False, False]
    results.drop(layer, 0, 4)
    assert not layer.pinned
    assert not layer.copies


def test_deferred_frees_are_sent_by_a_timer_and_not_twice() -> None:
    results, layer, (one, *_), timers = table(40)
    results.record(layer, 0, 2, one, (1, 1))
    mark(layer, 0, 2, IDLE, DONE)
    results.drop_items(layer, np.array([0, 1]))
    (deferral,) = timers.pending(flush_deferred)[0]
    assert [free.ranges[0][1:] for free in results.flush_deferred(deferral)] == [(0, 2)]
    assert results.flush_deferred(deferral) == []
    assert timers.next_due == pytest.approx(0.01)
