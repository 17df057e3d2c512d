"""What clients ask for beside graphs: try again, copies in more places, more or fewer slots.

Called by `State` for the events of the same names; the questions of `server_requests.py` lead to them.
"""

from __future__ import annotations

from howdah.engine.protocol.events import CopiesMade, CopiesRequested, RetryRequested, SlotsChanged
from howdah.engine.protocol.layers import TaskRange
from howdah.engine.scheduler.core.context import SchedulerState
from howdah.engine.scheduler.core.dispatch import update_idle
from howdah.engine.scheduler.core.intervals import IntervalSet, group_equal
from howdah.engine.scheduler.core.tables import DONE, FAILED, IDLE, LayerState
from howdah.engine.scheduler.core.transitions import Stack, drop_errors, request


def on_retry_requested(core: SchedulerState, event: RetryRequested) -> None:
    """What of the spans has failed is made again, and so is whatever failed before it."""
    again: Stack = []
    stack: Stack = []
    for span in event.ranges:
        book = core.layers.get(span.layer)
        if book is not None:
            stack.append((book, max(span.start, 0), min(span.stop, book.n)))
    while stack:
        book, lo, hi = stack.pop()
        for a, b in book.in_state(lo, hi, FAILED):
            core.notify_lost(book, a, b)  # to its clients it is pending again
            core.transition(book, a, b, FAILED, IDLE)
            drop_errors(book, a, b)
            for past in (book.user_failures, book.infrastructure_failures, book.worker_deaths):
                for item in range(a, b) if past else ():
                    past.pop(item, None)  # type: ignore[union-attr]  # not when it is None: see the line above
            again.append((book, a, b))
            for edge in book.inputs:
                stack.extend([(edge.source, c, d) for c, d in edge.wiring.cover(a, b)])
    again.reverse()  # what was asked for is demanded first, and demands its inputs itself
    request(core, again)


def on_copies_requested(core: SchedulerState, event: CopiesRequested) -> None:
    """Copies of these results are kept from now on. Said before they are made: a run may fetch the same items
    meanwhile, and when it ends they would go."""
    for span in event.ranges:
        book = core.layers.get(span.layer)
        if book is not None:
            for a, b in book.in_state(max(span.start, 0), min(span.stop, book.n), DONE):
                _keep_copies(book, a, b)


def _keep_copies(book: LayerState, lo: int, hi: int) -> None:
    if book.replicated is None:
        book.replicated = IntervalSet()
    book.replicated.add(lo, hi)


def on_copies_made(core: SchedulerState, event: CopiesMade) -> None:
    """The worker was asked to fetch these, and has them; what is no result any more it drops."""
    worker = core.workers.get(event.worker)
    if worker is None:
        return
    for span in event.ranges:
        book = core.layers.get(span.layer)
        if book is None:
            core.free_untracked(worker, span.layer, span.start, span.stop)
            continue
        stray = IntervalSet(span.start, span.stop)
        for a, b in book.in_state(span.start, min(span.stop, book.n), DONE):
            stray.remove(a, b)
            for c, d, holder in group_equal(book.holder, a, b):
                if holder != worker.index:
                    book.add_copies(c, d, worker.index)
                    _keep_copies(book, c, d)
        for a, b in stray:
            core.free_untracked(worker, book.key, a, b)


def on_slots_changed(core: SchedulerState, event: SlotsChanged) -> None:
    """A task has left its slot to another (it waits for tasks of its own), or has come back to it."""
    worker = core.workers.get(event.worker)
    if worker is not None:
        slots = max(0, event.slots)
        core.slots += slots - worker.slots
        worker.slots = slots
        update_idle(core, worker)


def holders(core: SchedulerState, span: TaskRange) -> list[list[str]]:
    """Per item of the span the workers that hold it, copies included."""
    found: list[list[str]] = [[] for _ in range(len(span))]
    book = core.layers.get(span.layer)
    if book is None:
        return found
    hi = min(span.stop, book.n)
    for a, b in book.in_state(span.start, hi, DONE):
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
    for book in core.layers.values():
        for lo, hi in book.in_state(0, book.n, DONE):
            for a, b, holder in group_equal(book.holder, lo, hi):
                found[core.by_index[holder].name].append(TaskRange(book.key, a, b))
        for index, spans in (book.copies or {}).items():
            found[core.by_index[index].name] += [TaskRange(book.key, a, b) for a, b in spans]
    return found
