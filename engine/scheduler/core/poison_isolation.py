"""Items of which workers may have died: run alone on a worker that has nothing else, so that it is known who it was.

A worker that dies may have been executing any run that it was given: reports travel together, and a crash takes those
that had not left with it. So each item of its runs is blamed. One that has been blamed `books.ALONE_FROM` times is a
suspect: it is on offer nowhere (`placement.place`), but given to an empty worker, by itself, which gets nothing else
meanwhile. If that worker dies too, the item is given up (`recovery.blame`); its innocent neighbours come through. A few
workers at a time are emptied for this, so that the others go on. Deterministic functions on the `SchedulerState`.
"""

from __future__ import annotations

from howdah.engine.scheduler.core import constraints as needs
from howdah.engine.scheduler.core import dispatch as assign
from howdah.engine.scheduler.core.context import SchedulerState
from howdah.engine.scheduler.core.tables import ANYWHERE, READY, LayerState, Worker

WORKERS_PER_ISOLATED = 8
"""One of so many workers may be kept for suspects, and one at least."""


def dispatch_suspects(core: SchedulerState) -> None:
    """Give suspects to the workers that are kept for them; keep as many as are of use, and no longer than they are."""
    for book in [book for book in core.poison_suspects if not book.poison_suspects]:
        del core.poison_suspects[book]
    waiting = [book for book in core.poison_suspects if book.priorities]
    for worker in list(core.isolated_workers.values()):
        if not worker.batches and not _dispatch_suspect(core, worker, waiting):
            _release_worker(core, worker)
    count = sum(len(book.poison_suspects or ()) for book in waiting)
    most = max(1, len(core.workers) // WORKERS_PER_ISOLATED)
    while count > 0 and len(core.isolated_workers) < most:
        spare = [worker for worker in core.workers.values() if worker.slots and not worker.barred]
        free = [w for w in spare if any(needs.could_run(core, w, book.constraint) for book in waiting)]
        if not free:
            return
        worker = min(free, key=lambda w: (w.backlog, len(w.batches), w.index))
        core.isolated_workers[worker.index] = worker
        worker.barred = True
        assign.update_idle(core, worker)
        if not worker.batches:
            _dispatch_suspect(core, worker, waiting)
        count -= 1


def _dispatch_suspect(core: SchedulerState, worker: Worker, waiting: list[LayerState]) -> bool:
    for book in waiting:
        if book.poison_suspects and needs.could_run(core, worker, book.constraint):
            lo, hi = book.poison_suspects.take(1)
            client = core.clients[min(book.priorities, key=book.priorities.__getitem__)]
            group = ANYWHERE if book.host_sets is None else int(book.host_index[lo])
            assign.dispatch_batch(core, client, worker, book, lo, hi, group, (), READY)
            return True
    return False


def _release_worker(core: SchedulerState, worker: Worker) -> None:
    del core.isolated_workers[worker.index]
    worker.barred = worker.host in core.excluded_hosts
    core.placement_version += 1
    assign.update_idle(core, worker)
