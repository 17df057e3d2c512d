"""Workers that are to go: they get no more work, and peers copy what they alone hold, the dearest first.

For the server. A worker says `Draining`; from then on its slots count as none. Results that no other worker has are
given out as `Copy` to the peers with the least on them, in small portions, so that what was copied counts even if time
runs out; what one peer cannot fetch another is asked to. When nothing is left to save, or nothing that can be saved,
the worker is told to `Leave`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from howdah.engine.protocol.events import CopiesRequested, SlotsChanged
from howdah.engine.protocol.layers import Key, TaskRange
from howdah.engine.protocol.messages import CopyResults, Draining, Leave
from howdah.engine.scheduler.core.context import SchedulerState
from howdah.engine.scheduler.core.intervals import group_equal
from howdah.engine.scheduler.core.replicas import held_by
from howdah.engine.scheduler.core.tables import DONE

if TYPE_CHECKING:
    from howdah.engine.scheduler.server.server import Server
    from howdah.engine.scheduler.server.sessions import WorkerPeer

log = logging.getLogger(__name__)

PORTION_BYTES = 16 << 20
PORTION_ITEMS = 256
"""A portion that one peer is asked to copy at once is no larger."""

MOST_KEPT = 100
"""Endings that are remembered for the summary."""


@dataclass
class Saving:
    """One worker on its way out."""

    reason: str
    begun: float
    asked: dict[tuple[Key, int], tuple[str, int]] = field(default_factory=dict)
    """Who was asked to copy what, and its bytes. One that is on its way out itself, or gone, does not count."""
    refused: dict[tuple[Key, int], set[str]] = field(default_factory=dict)
    """Who was asked and could not."""

    def taker_of(self, item: tuple[Key, int]) -> str:
        return self.asked.get(item, ("", 0))[0]

    @property
    def nbytes(self) -> int:
        return sum(nbytes for _, nbytes in self.asked.values())


class Drains:
    """Those on their way out, by name, and what became of those before them."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self.under_way: dict[str, Saving] = {}
        self.over: list[dict[str, Any]] = []

    def begin(self, worker: WorkerPeer, message: Draining) -> None:
        log.info("worker %s drains: %s", worker.name, message.reason)
        self.under_way.setdefault(worker.name, Saving(message.reason, time.time()))
        self._server.event(SlotsChanged(worker.name, 0))
        # What others have copied for a run would go with it, in a moment perhaps in which this worker goes, too.
        self._server.event(CopiesRequested(tuple(held_by(self._server.state.core).get(worker.name, ()))))
        self.look()

    def refused(self, taker: str, spans: Collection[TaskRange]) -> None:
        """It was asked to copy these, and could not."""
        for saving in self.under_way.values():
            for span in spans:
                for name in ((span.layer, item) for item in range(span.start, span.stop)):
                    if saving.taker_of(name) == taker:
                        del saving.asked[name]
                        saving.refused.setdefault(name, set()).add(taker)

    def look(self) -> None:
        """Something has changed: see what is left to save. To be called after reports, while anybody drains."""
        core = self._server.state.core
        for name, saving in list(self.under_way.items()):
            worker = core.workers.get(name)
            peer = self._server.workers.get(name)
            if worker is None or peer is None:
                continue
            takers = frozenset(n for n in core.workers if n in self._server.workers and n not in self.under_way)
            unasked: dict[frozenset[str], list[tuple[TaskRange, int]]] = {}
            waiting = False
            for span, nbytes in held_alone(core, name, takers):
                item = span.layer, span.start
                if saving.taker_of(item) in takers:
                    waiting = True
                    continue
                refused = saving.refused.get(item)
                unasked.setdefault(takers - refused if refused else takers, []).append((span, nbytes))
            unasked.pop(frozenset(), None)  # nobody is left who could save these
            for others, found in unasked.items():
                self._save(name, found, others)
            if not worker.batches and not waiting and not unasked:
                peer.session.send(Leave(saving.reason))

    def _save(self, name: str, found: list[tuple[TaskRange, int]], takers: Collection[str]) -> None:
        server, saving = self._server, self.under_way[name]
        server.event(CopiesRequested(tuple(span for span, _ in found)))
        address = server.address_of(name)
        load = {n: w.nbytes for n, w in server.state.core.workers.items() if n in takers}
        portion: list[tuple[TaskRange, int]] = []
        size = 0
        for at, (span, nbytes) in enumerate(found):
            portion.append((span, nbytes))
            size += nbytes
            if size >= PORTION_BYTES or len(portion) >= PORTION_ITEMS or at == len(found) - 1:
                taker = min(load, key=load.__getitem__)
                load[taker] += size
                saving.asked.update({(one.layer, one.start): (taker, n) for one, n in portion})
                server.workers[taker].session.send(CopyResults(tuple((one, name, address) for one, _ in portion)))
                portion, size = [], 0

    def left(self, name: str) -> None:
        """The worker has gone, and is about to be taken from the books."""
        core = self._server.state.core
        lost = len(held_alone(core, name, core.workers.keys() - {name}))
        saving = self.under_way.pop(name, None)
        if saving is None:
            return
        ended = time.time()
        self.over.append(
            {
                "worker": name,
                "reason": saving.reason,
                "at": ended,
                "seconds": ended - saving.begun,
                "results": len(saving.asked),
                "bytes": saving.nbytes,
                "lost": lost,
            }
        )
        del self.over[:-MOST_KEPT]
        log.warning(
            "worker %s has left (%s): %d results, %.1f MB, were given to others in %.2f s; %d are lost",
            name, saving.reason, len(saving.asked), saving.nbytes / 1e6, ended - saving.begun, lost,
        )  # fmt: skip


def held_alone(core: SchedulerState, name: str, others: Collection[str]) -> list[tuple[TaskRange, int]]:
    """(item, bytes) of results that this worker has and none of `others`; those first that took longest to make for
    their bytes."""
    worker = core.workers[name]
    staying = {core.workers[other].index for other in others}
    found: list[tuple[float, TaskRange, int]] = []
    for book in core.layers.values():
        if not book.counts[DONE]:
            continue
        for lo, hi in book.in_state(0, book.n, DONE):
            for a, b, holder in group_equal(book.holder, lo, hi):
                if holder != worker.index:
                    continue
                copied = {
                    i
                    for index, spans in (book.copies or {}).items()
                    if index in staying
                    for c, d in spans.overlap(a, b)
                    for i in range(c, d)
                }
                for item in range(a, b):
                    if item not in copied:
                        nbytes = book.result_bytes(item, item + 1)
                        worth = (book.task_seconds or 0.0) / (nbytes + 100)
                        found.append((worth, TaskRange(book.key, item, item + 1), nbytes))
    found.sort(key=lambda one: -one[0])
    return [(span, nbytes) for _, span, nbytes in found]
