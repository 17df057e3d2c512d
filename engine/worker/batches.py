"""The batches that a worker has accepted and not reported yet, from their arrival to a slot.

For `worker` and `reporting`, on the event loop's thread except for `forget`.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence

from howdah.engine.protocol.events import BatchReturned
from howdah.engine.protocol.layers import Key
from howdah.engine.protocol.messages import RunBatch
from howdah.engine.worker.executor import QueuedBatch, SlotPool
from howdah.engine.worker.memory_monitor import MemoryMonitor
from howdah.engine.worker.task_code import LayerCode

BatchId = tuple[int, int]
"""The number of a batch and of its attempt."""


class AcceptedBatches:
    """Batches by id, and the code of their layers.

    While the worker is short of memory a batch whose inputs are here is held back as long as another one runs.
    """

    def __init__(self, slots: SlotPool, memory: MemoryMonitor) -> None:
        self.by_id: dict[BatchId, QueuedBatch] = {}
        self.held_back: list[QueuedBatch] = []
        self.codes: dict[Key, LayerCode] = {}
        self._slots, self._memory = slots, memory

    def accept(self, message: RunBatch, frames: Sequence[memoryview]) -> QueuedBatch:
        """Add the batch of `message`, behind the batches that it depends on. It is not queued yet."""
        offsets = array("Q")
        offsets.frombytes(frames[0])
        if offsets and offsets[0]:
            first = offsets[0]
            offsets = array("Q", [offset - first for offset in offsets])
        batch = QueuedBatch(message, self.codes[message.range.layer], offsets, frames[1])
        self.by_id[message.batch, message.attempt] = batch
        if message.depends_on:
            self._slots.depend_on(batch, [self.by_id.get(other) for other in message.depends_on])
        return batch

    def enqueue(self, batch: QueuedBatch) -> None:
        """Give a batch whose inputs are here to the slots."""
        if self._memory.paused and self._slots.busy:
            self.held_back.append(batch)  # one slot goes on: a worker that stops altogether frees nothing
        else:
            self._slots.put(batch)

    def release_held_back(self) -> None:
        """Queue the batches that were held back, as far as memory allows."""
        while self.held_back and (not self._memory.paused or not self._slots.busy):
            self._slots.put(self.held_back.pop(0))
            if self._memory.paused:
                return

    def recall(self, batch_id: BatchId) -> BatchReturned | None:
        """Take back the items of a batch that have not started; None if it has ended and its report is on its way."""
        batch = self.by_id.get(batch_id)
        if batch is None:
            return None
        returned = self._slots.recall(batch)
        if returned.start == 0:
            del self.by_id[batch_id]
            batch.cancelled = True
            self._slots.end(batch)
        return returned

    def forget(self, batch: QueuedBatch) -> None:
        """Remove a batch that has ended. From any thread."""
        self.by_id.pop((batch.message.batch, batch.message.attempt), None)

    def finish(self, batch: QueuedBatch) -> None:
        """Remove a batch that has ended or cannot run, and start what waited for it."""
        self.forget(batch)
        self._slots.end(batch)

    def cancel_all(self) -> None:
        """Cancel every batch: the scheduler that sent them is gone."""
        for batch in self.by_id.values():
            batch.cancelled = True
        self.by_id.clear()
        self.held_back.clear()

    def forget_unused_codes(self) -> None:
        """Remove the code of layers that have no batch here."""
        self.codes = {batch.code.layer.key: batch.code for batch in self.by_id.values()}
