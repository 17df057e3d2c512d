"""Workers that are about to leave: they get no more work, and peers copy the results that they alone hold.

A worker sends `Draining`; from then on its slots count as none. Results that no remaining worker holds are assigned as
`CopyResults` to the peers with the fewest bytes, the most expensive first, in small portions, so that what was copied
counts even if time runs out; what one peer cannot fetch is assigned to another. When nothing is left to copy, or
nothing that can be copied, the worker is sent `Leave`. Called by the handlers of messages and by `membership`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection
from dataclasses import dataclass, field

from howdah.engine.protocol.events import CopiesRequested, SlotsChanged
from howdah.engine.protocol.layers import Key, TaskRange
from howdah.engine.protocol.messages import CopyResults, Draining, Leave
from howdah.engine.scheduler.server.context import ServerContext
from howdah.engine.scheduler.server.sessions import Peers, WorkerPeer
from howdah.engine.scheduler.server.status import DrainStatus

log = logging.getLogger(__name__)

PORTION_BYTES = 16 << 20
PORTION_ITEMS = 256
"""A portion that one peer is asked to copy at once is no larger."""

MOST_REMEMBERED = 100
"""Drains that have ended and are listed in the summary."""


@dataclass
class OngoingDrain:
    """One worker that is about to leave."""

    reason: str
    began: float
    assigned: dict[tuple[Key, int], tuple[str, int]] = field(default_factory=dict)
    """By item: the peer that was asked to copy it, and its bytes. A peer that drains too, or left, does not count."""
    refused: dict[tuple[Key, int], set[str]] = field(default_factory=dict)
    """By item: the peers that could not copy it."""

    def taker_of(self, item: tuple[Key, int]) -> str:
        """The peer that was asked to copy the item; '' if none was."""
        return self.assigned.get(item, ("", 0))[0]

    @property
    def nbytes(self) -> int:
        """Bytes of all assigned copies."""
        return sum(nbytes for _, nbytes in self.assigned.values())


class Drains:
    """The drains of one cluster."""

    def __init__(self, context: ServerContext, peers: Peers) -> None:
        self._context, self._peers = context, peers
        self.under_way: dict[str, OngoingDrain] = {}
        """By the name of the worker."""
        self.ended: list[DrainStatus] = []
        """The last ones, oldest first."""

    def on_draining(self, worker: WorkerPeer, message: Draining) -> None:
        """Begin to drain the worker."""
        log.info("worker %s drains: %s", worker.name, message.reason)
        self.under_way.setdefault(worker.name, OngoingDrain(message.reason, time.time()))
        self._context.handle(SlotsChanged(worker.name, 0))
        # Copies that others have fetched for a batch end with it, perhaps at a moment when this worker leaves, too.
        self._context.handle(CopiesRequested(tuple(self._context.views.results_by_worker().get(worker.name, ()))))
        self.on_progress()

    def on_copies_refused(self, taker: str, ranges: Collection[TaskRange]) -> None:
        """The worker `taker` could not copy these results: others are asked."""
        for drain in self.under_way.values():
            for task_range in ranges:
                for item in ((task_range.layer, number) for number in range(task_range.start, task_range.stop)):
                    if drain.taker_of(item) == taker:
                        del drain.assigned[item]
                        drain.refused.setdefault(item, set()).add(taker)

    def on_progress(self) -> None:
        """A worker has reported or left: assign what is left to copy, and dismiss the workers that are done."""
        if not self.under_way:
            return
        views, peers = self._context.views, self._peers.workers
        for name, drain in list(self.under_way.items()):
            joined = views.workers
            if name not in peers or name not in joined:
                continue
            takers = frozenset(n for n in joined if n in peers and n not in self.under_way)
            unassigned: dict[frozenset[str], list[tuple[TaskRange, int]]] = {}
            waiting = False
            for task_range, nbytes in views.sole_results(name, takers):
                item = task_range.layer, task_range.start
                if drain.taker_of(item) in takers:
                    waiting = True
                    continue
                refused = drain.refused.get(item)
                unassigned.setdefault(takers - refused if refused else takers, []).append((task_range, nbytes))
            unassigned.pop(frozenset(), None)  # no worker is left that could copy these
            for others, found in unassigned.items():
                self._assign(name, found, others)
            if not views.batch_counts()[name] and not waiting and not unassigned:
                self._context.send_to_worker(name, Leave(drain.reason))

    def _assign(self, name: str, found: list[tuple[TaskRange, int]], takers: Collection[str]) -> None:
        context, drain = self._context, self.under_way[name]
        context.handle(CopiesRequested(tuple(task_range for task_range, _ in found)))
        address = self._peers.address_of(name)
        load = {n: size for n, size in context.views.result_bytes().items() if n in takers}
        portion: list[tuple[TaskRange, int]] = []
        size = 0
        for at, (task_range, nbytes) in enumerate(found):
            portion.append((task_range, nbytes))
            size += nbytes
            if size >= PORTION_BYTES or len(portion) >= PORTION_ITEMS or at == len(found) - 1:
                taker = min(load, key=load.__getitem__)
                load[taker] += size
                drain.assigned.update({(one.layer, one.start): (taker, n) for one, n in portion})
                context.send_to_worker(taker, CopyResults(tuple((one, name, address) for one, _ in portion)))
                portion, size = [], 0

    def before_worker_left(self, name: str) -> None:
        """Record the end of a drain; called before the scheduler handles that the worker has left."""
        views = self._context.views
        if name not in self.under_way or name not in views.workers:
            return
        lost = len(views.sole_results(name, [other for other in views.workers if other != name]))
        drain = self.under_way.pop(name)
        now = time.time()
        seconds = now - drain.began
        self.ended.append(DrainStatus(name, drain.reason, now, seconds, len(drain.assigned), drain.nbytes, lost))
        del self.ended[:-MOST_REMEMBERED]
        log.warning(
            "worker %s has left (%s): %d results, %.1f MB, were copied to others in %.2f s; %d are lost",
            name, drain.reason, len(drain.assigned), drain.nbytes / 1e6, seconds, lost,
        )  # fmt: skip
