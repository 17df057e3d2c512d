"""What clients ask for beside graphs: try again, copies in more places, more or fewer slots.

Called by `State` for the events of the same names; the questions of `server_requests.py` lead to them.
"""

from __future__ import annotations

from howdah.engine.protocol.events import CopiesAsked, CopiesMade, RetryRequested, SlotsChanged
from howdah.engine.protocol.layers import TaskRange
from howdah.engine.scheduler.core.context import SchedulerState
from howdah.engine.scheduler.core.dispatch import note_room
from howdah.engine.scheduler.core.intervals import IntervalSet, equal_stretches
from howdah.engine.scheduler.core.tables import DONE, FAILED, IDLE, LayerState
from howdah.engine.scheduler.core.transitions import Stack, _drop_errors, demand


def retry(core: SchedulerState, event: RetryRequested) -> None:
    """What of the spans has failed is made again, and so is whatever failed before it."""
    again: Stack = []
    stack: Stack = []
    for span in event.spans:
        book = core.books.get(span.layer)
        if book is not None:
            stack.append((book, max(span.start, 0), min(span.stop, book.n)))
    while stack:
        book, lo, hi = stack.pop()
        for a, b in book.where(lo, hi, FAILED):
            core.tell_lost(book, a, b)  # to its clients it is pending again
            core.move(book, a, b, FAILED, IDLE)
            _drop_errors(book, a, b)
            for past in (book.failures, book.faults, book.deaths):
                for item in range(a, b) if past else ():
                    past.pop(item, None)  # type: ignore[union-attr]  # not when it is None: see the line above
            again.append((book, a, b))
            for edge in book.ins:
                stack.extend([(edge.source, c, d) for c, d in edge.wiring.cover(a, b)])
    again.reverse()  # what was asked for is demanded first, and demands its inputs itself
    demand(core, again)


def copies_asked(core: SchedulerState, event: CopiesAsked) -> None:
    """Copies of these results are kept from now on. Said before they are made: a run may fetch the same items
    meanwhile, and when it ends they would go."""
    for span in event.spans:
        book = core.books.get(span.layer)
        if book is not None:
            for a, b in book.where(max(span.start, 0), min(span.stop, book.n), DONE):
                _keep(book, a, b)


def _keep(book: LayerState, lo: int, hi: int) -> None:
    if book.asked is None:
        book.asked = IntervalSet()
    book.asked.add(lo, hi)


def copies_made(core: SchedulerState, event: CopiesMade) -> None:
    """The worker was asked to fetch these, and has them; what is no result any more it drops."""
    worker = core.workers.get(event.worker)
    if worker is None:
        return
    for span in event.spans:
        book = core.books.get(span.layer)
        if book is None:
            core.free_stray(worker, span.layer, span.start, span.stop)
            continue
        stray = IntervalSet(span.start, span.stop)
        for a, b in book.where(span.start, min(span.stop, book.n), DONE):
            stray.remove(a, b)
            for c, d, holder in equal_stretches(book.holder, a, b):
                if holder != worker.index:
                    book.copied(c, d, worker.index)
                    _keep(book, c, d)
        for a, b in stray:
            core.free_stray(worker, book.key, a, b)


def slots_changed(core: SchedulerState, event: SlotsChanged) -> None:
    """A task has left its slot to another (it waits for tasks of its own), or has come back to it."""
    worker = core.workers.get(event.worker)
    if worker is not None:
        slots = max(0, event.slots)
        core.slots += slots - worker.slots
        worker.slots = slots
        note_room(core, worker)


def holders(core: SchedulerState, span: TaskRange) -> list[list[str]]:
    """Per item of the span the workers that hold it, copies included."""
    found: list[list[str]] = [[] for _ in range(len(span))]
    book = core.books.get(span.layer)
    if book is None:
        return found
    hi = min(span.stop, book.n)
    for a, b in book.where(span.start, hi, DONE):
        for item in range(a, b):
            found[item - span.start].append(core.by_index[book.holder[item]].name)
    for index, spans in (book.copies or {}).items():
        for a, b in spans.overlap(span.start, hi):
            for item in range(a, b):
                found[item - span.start].append(core.by_index[index].name)
    return found


def held_by(core: SchedulerState) -> dict[str, list[TaskRange]]:
    """Per worker the spans that it holds, copies included."""
    found: dict[str, list[TaskRange]] = {name: [] for name in core.workers}
    for book in core.books.values():
        for lo, hi in book.where(0, book.n, DONE):
            for a, b, holder in equal_stretches(book.holder, lo, hi):
                found[core.by_index[holder].name].append(TaskRange(book.key, a, b))
        for index, spans in (book.copies or {}).items():
            found[core.by_index[index].name] += [TaskRange(book.key, a, b) for a, b in spans]
    return found
