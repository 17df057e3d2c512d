"""Tasks that leave their slot: to wait for tasks of their own, or for good (`secede`).

A task that waits would keep its slot from the very work it waits for. So a wait on a slot's thread hands the slot to
another thread for as long as it lasts (`slot_released`): the unfinished part of the thread's batch returns to the
scheduler, and one more slot is reported. The client's waits use it wherever they run; outside of a task it does
nothing. A leaf: every folder may import it.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any, Protocol


class SlotOwner(Protocol):
    """What is needed of the worker's slots."""

    def release_slot(self, work: Any) -> None: ...

    def reacquire_slot(self, thread_goes_on: bool) -> None: ...


class SlotContext:
    """One slot's thread, as the code that it runs sees it."""

    def __init__(self, slots: SlotOwner) -> None:
        self.slots = slots
        self.work: Any = None
        self.released = 0
        self.seceded = False

    def ended(self) -> bool:
        """The task has ended; whether the thread must end too, since another has its slot."""
        if not self.seceded:
            return False
        self.seceded, self.released = False, 0
        self.slots.reacquire_slot(False)
        return True


_here = threading.local()


def register_slot_thread(slots: SlotOwner) -> SlotContext:
    """Said once by each slot's thread."""
    _here.place = SlotContext(slots)
    return _here.place  # type: ignore[no-any-return]


def in_task() -> bool:
    """Whether this thread is running a task of a worker."""
    place = getattr(_here, "place", None)
    return place is not None and place.work is not None


def current_task() -> Any:
    """The work that this thread, a slot's, is doing; None on other threads and between runs."""
    place: SlotContext | None = getattr(_here, "place", None)
    return None if place is None else place.work


@contextlib.contextmanager
def slot_released() -> Iterator[None]:
    """While this is entered on a slot's thread, another thread has the slot."""
    place: SlotContext | None = getattr(_here, "place", None)
    if place is None or place.work is None:
        yield
        return
    place.released += 1
    if place.released == 1:
        place.slots.release_slot(place.work)
    try:
        yield
    finally:
        place.released -= 1
        if not place.released:
            place.slots.reacquire_slot(True)


def secede() -> None:
    """Leave the slot to another task from here on; `rejoin` takes one again. Outside of a task it does nothing.

    Waiting for futures needs no `secede`: a wait gives the slot away by itself. It is for tasks that wait in other
    ways (for a file, a socket), or run for as long as the cluster.
    """
    place: SlotContext | None = getattr(_here, "place", None)
    if place is not None and place.work is not None and not place.seceded:
        place.released += 1
        if place.released == 1:
            place.slots.release_slot(place.work)
        place.seceded = True


def rejoin() -> None:
    """Take a slot again after `secede`. Elsewhere it does nothing."""
    place: SlotContext | None = getattr(_here, "place", None)
    if place is not None and place.seceded:
        place.seceded = False
        place.released -= 1
        if not place.released:
            place.slots.reacquire_slot(True)
