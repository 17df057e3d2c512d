"""Handing a task to the worker that is still making its inputs, so that a chain costs no exchange a link.

A layer of one item (`submit`, `delayed`), or one that is a single short run (`placement.is_short`), that waits for
nothing but items which one worker runs, or has queued, is given to that worker at once, to be started after them
(`StartBatch.after`): the worker's slot goes from one to the next by itself. If it comes otherwise (an input raises, is
asked back, its worker dies) the worker reports the inputs missing, and the items wait again like any others.
Deterministic functions on the `SchedulerState`.
"""

from __future__ import annotations

from howdah.engine.scheduler.core import dispatch as assign
from howdah.engine.scheduler.core import placement, recovery
from howdah.engine.scheduler.core.context import SchedulerState
from howdah.engine.scheduler.core.intervals import equal_stretches
from howdah.engine.scheduler.core.tables import (
    ANYWHERE,
    DONE,
    MOST_AHEAD,
    RUNNING,
    WAITING,
    LayerState,
    TaskBatch,
    Worker,
)

MOST_INPUTS = 64
"""Layers, and items of one layer, that a task may need and be handed on ahead: it is looked at each time that one of
them is given out or ends, and a look costs as many steps."""

MOST_BEHIND = 4096
"""Runs that may stand behind others on one worker."""

AHEAD = 0.06
"""Seconds of work that a worker has before no more is put behind it: what is there cannot go to another."""


def offer(core: SchedulerState, reporter: Worker | None) -> None:
    """Give ahead what has begun to wait, or whose inputs have been given out, since the last time."""
    if reporter is not None and reporter.later and _has_room(reporter):
        core.chained.extend(reporter.later)
        reporter.later.clear()
    at = 0
    while at < len(core.chained):  # it grows: what is given ahead has dependants
        _give(core, core.chained[at])
        at += 1
    core.chained.clear()


def _has_room(worker: Worker) -> bool:
    return worker.behind < MOST_BEHIND and worker.backlog < AHEAD and worker.slots > 0


def _give(core: SchedulerState, book: LayerState) -> None:
    if book.counts[WAITING] != book.n or book.host_sets is not None or book.asks or not book.clients or book.spread:
        return
    tries = book.tries
    if (tries[0] if book.n == 1 else max(tries)) > recovery.MOST_SAME:
        return  # it may be that worker which cannot get the rest
    if book.n > 1 and not placement.is_short(core, book):
        return
    if len(book.ins) > MOST_INPUTS:
        return
    runs = _running_inputs(book)
    if not runs:
        return
    worker = runs[0].worker
    if worker.barred:
        return
    if not _has_room(worker):
        worker.later[book] = None
        return
    clients = book.clients
    client = core.clients[min(clients, key=clients.__getitem__) if len(clients) > 1 else next(iter(clients))]
    assign.begin(core, client, worker, book, 0, book.n, ANYWHERE, runs, WAITING)


def _running_inputs(book: LayerState) -> list[TaskBatch]:
    """The runs that make the inputs which are not there; empty unless all are on one worker."""
    found: dict[TaskBatch, None] = {}
    worker: Worker | None = None
    for edge in book.ins:
        source = edge.source
        if source.counts[DONE] == source.n:
            continue
        if edge.one and len(source.runs) == 1:
            (run,) = source.runs
            if run.recalled is not None or (worker is not None and run.worker is not worker):
                return []
            worker = run.worker
            found[run] = None
            continue
        for lo, hi in edge.wiring.cover(0, book.n):
            if hi - lo > (MOST_INPUTS if book.n == 1 else MOST_AHEAD):
                return []
            states = equal_stretches(source.code, lo, hi)
            if len(states) > MOST_INPUTS:
                return []
            for a, b, code in states:
                if code == DONE:
                    continue
                if code != RUNNING or len(source.runs) > MOST_INPUTS:
                    return []
                for run in source.runs:
                    if run.lo < b and run.hi > a:
                        if run.recalled is not None or (worker is not None and run.worker is not worker):
                            return []
                        worker = run.worker
                        found[run] = None
    return list(found)
