"""Read-only views of the scheduler's state, for the server and its status pages.

`Scheduler.views` is the one object of this class. Nothing outside this folder and the simulation reads the tables
themselves; no view changes them, and what a view returns does not change later.
"""

from __future__ import annotations

from collections.abc import Collection
from itertools import islice

from msgspec import Struct

from howdah.engine.protocol.events import StateRestored
from howdah.engine.protocol.layers import Key, TaskRange
from howdah.engine.scheduler.core import replicas, restart
from howdah.engine.scheduler.core.history import History
from howdah.engine.scheduler.core.intervals import group_equal
from howdah.engine.scheduler.core.state import SchedulerState
from howdah.engine.scheduler.core.summary import LayerSummary, Summary, layer_summary, summarise
from howdah.engine.scheduler.core.tables import DONE, NO_WORKER, STATE_NAMES, TaskBatch


class BatchView(Struct, frozen=True):
    """A batch that a worker has not reported. `in_slot`: it is among the first of its worker, one a slot."""

    number: int
    attempt: int
    start: int
    worker: str
    in_slot: bool


class SchedulerViews:
    """What can be read of one scheduler."""

    def __init__(self, state: SchedulerState) -> None:
        self._state = state

    # -- tasks and results --------------------------------------------------------------------------------------------

    def has_layer(self, key: Key) -> bool:
        """Whether the layer is remembered."""
        return key in self._state.layers

    @property
    def layer_count(self) -> int:
        """The number of layers that are remembered."""
        return len(self._state.layers)

    def status(self, task_range: TaskRange) -> list[str]:
        """Per item the name of its state (`tables.STATE_NAMES`); none for an unknown layer."""
        layer = self._state.layers.get(task_range.layer)
        return (
            [STATE_NAMES[code] for code in layer.state[task_range.start : task_range.stop]] if layer is not None else []
        )

    def batch_of(self, task: TaskRange) -> BatchView | None:
        """The batch to which the first item of `task` belongs, if a worker has it."""
        layer = self._state.layers.get(task.layer)
        for batch in layer.batches if layer is not None else ():
            if batch.lo <= task.start < batch.hi:
                return _view(batch)
        return None

    def has_batch(self, number: int) -> bool:
        """Whether a worker has the batch, in whatever attempt."""
        return number in self._state.batches

    def main_holders(self, task_range: TaskRange) -> list[tuple[TaskRange, str]]:
        """The workers that computed these results, copies left out; items without a result are left out."""
        layer = self._state.layers.get(task_range.layer)
        if layer is None:
            return []
        parts = group_equal(layer.holder, task_range.start, min(task_range.stop, layer.n))
        return [(TaskRange(layer.key, a, b), self._state.by_index[h].name) for a, b, h in parts if h != NO_WORKER]

    def copy_holders(self, task_range: TaskRange, most: int) -> list[tuple[TaskRange, str]]:
        """Parts of the range and workers that have copies of them; of up to `most` workers."""
        layer = self._state.layers.get(task_range.layer)
        if layer is None or not layer.copies:
            return []
        return [
            (TaskRange(task_range.layer, a, b), self._state.by_index[index].name)
            for index, intervals in islice(layer.copies.items(), most)
            for a, b in intervals.overlap(task_range.start, task_range.stop)
        ]

    def holders(self, task_range: TaskRange) -> list[list[str]]:
        """Per item the workers that hold its result, copies included."""
        return replicas.holders(self._state, task_range)

    def results_by_worker(self) -> dict[str, list[TaskRange]]:
        """Per worker the results that it holds, copies included."""
        return replicas.held_by(self._state)

    def sole_results(self, worker: str, others: Collection[str]) -> list[tuple[TaskRange, int]]:
        """(item, bytes) of each result that `worker` holds and none of `others`.

        Those come first that took longest to compute for their bytes.
        """
        state = self._state
        index = state.workers[worker].index
        staying = {state.workers[other].index for other in others}
        found: list[tuple[float, TaskRange, int]] = []
        for layer in state.layers.values():
            if not layer.counts[DONE]:
                continue
            for lo, hi in layer.in_state(0, layer.n, DONE):
                for a, b, holder in group_equal(layer.holder, lo, hi):
                    if holder != index:
                        continue
                    copied = {
                        item
                        for owner, intervals in (layer.copies or {}).items()
                        if owner in staying
                        for c, d in intervals.overlap(a, b)
                        for item in range(c, d)
                    }
                    for item in range(a, b):
                        if item not in copied:
                            nbytes = layer.result_bytes(item, item + 1)
                            value = (layer.task_seconds or 0.0) / (nbytes + 100)
                            found.append((value, TaskRange(layer.key, item, item + 1), nbytes))
        found.sort(key=lambda one: -one[0])
        return [(task_range, nbytes) for _, task_range, nbytes in found]

    # -- workers ------------------------------------------------------------------------------------------------------

    @property
    def workers(self) -> tuple[str, ...]:
        """The names of the workers that have joined and not left."""
        return tuple(self._state.workers)

    @property
    def slots(self) -> int:
        """The slots of all workers."""
        return self._state.slots

    def batch_counts(self) -> dict[str, int]:
        """Per worker the number of batches that it has not reported."""
        return {name: len(worker.batches) for name, worker in self._state.workers.items()}

    def result_bytes(self) -> dict[str, int]:
        """Per worker the bytes of the results of which it is the main holder, and of its copies."""
        return {name: worker.nbytes for name, worker in self._state.workers.items()}

    @property
    def awaits_workers(self) -> bool:
        """Whether workers are given time to report after a restart, and nothing is dispatched yet."""
        return self._state.awaited_workers is not None

    # -- accounts -----------------------------------------------------------------------------------------------------

    @property
    def history(self) -> History:
        """The transitions of tasks."""
        return self._state.history

    def states(self) -> dict[str, int]:
        """The number of items in each state, over the layers that are remembered."""
        counts = [0] * len(STATE_NAMES)
        for layer in self._state.layers.values():
            for number, count in enumerate(layer.counts):
                counts[number] += count
        return dict(zip(STATE_NAMES, counts))

    def summary(self, layers: bool = True) -> Summary:
        """Progress per layer and the accounts of locality and movement; without `layers` the sums alone."""
        return summarise(self._state, layers)

    def layer(self, key: Key) -> LayerSummary | None:
        """Progress and account of one layer; None if it is not remembered."""
        layer = self._state.layers.get(key)
        return layer_summary(layer) if layer is not None else None

    def layers_of(self, client: str) -> list[LayerSummary]:
        """The layers in which the client has an interest."""
        known = self._state.clients.get(client)
        return [layer_summary(layer) for layer in known.layers] if known else []

    def snapshot(self) -> StateRestored:
        """The event that restores layers, interests and failures in a new scheduler."""
        return restart.snapshot(self._state)


def _view(batch: TaskBatch) -> BatchView:
    running = list(batch.worker.batches.values())[: batch.worker.slots]
    return BatchView(batch.ident, batch.attempt, batch.lo, batch.worker.name, batch in running)
