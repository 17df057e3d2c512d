"""Tasks that leave their slot: to wait for tasks of their own, or for good (`secede`).

A task that waits would keep its slot from the very work it waits for. So whoever waits on a slot's thread gives the
slot to another thread meanwhile (`given_away`), what is left of its run goes back to the scheduler, and the scheduler
hears that there is a slot more. Used by the client's waits, which run anywhere: outside of a task it does nothing.
A leaf: everybody may import it.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any, Protocol


class Slots(Protocol):
    """What is needed of the worker's slots."""

    def left(self, work: Any) -> None: ...

    def returned(self, thread_goes_on: bool) -> None: ...


class Place:
    """One slot's thread, as the code that it runs sees it."""

    def __init__(self, slots: Slots) -> None:
        self.slots = slots
        self.work: Any = None
        self.away = 0
        self.seceded = False

    def ended(self) -> bool:
        """The task has ended; whether the thread must end too, since another has its slot."""
        if not self.seceded:
            return False
        self.seceded, self.away = False, 0
        self.slots.returned(False)
        return True


_here = threading.local()


def this_is_slot(slots: Slots) -> Place:
    """Said once by each slot's thread."""
    _here.place = Place(slots)
    return _here.place  # type: ignore[no-any-return]


def in_task() -> bool:
    """Whether this thread is running a task of a worker."""
    place = getattr(_here, "place", None)
    return place is not None and place.work is not None


def task_here() -> Any:
    """The work that this thread, a slot's, is doing; None on other threads and between runs."""
    place: Place | None = getattr(_here, "place", None)
    return None if place is None else place.work


@contextlib.contextmanager
def given_away() -> Iterator[None]:
    """While this is entered on a slot's thread, another thread has the slot."""
    place: Place | None = getattr(_here, "place", None)
    if place is None or place.work is None:
        yield
        return
    place.away += 1
    if place.away == 1:
        place.slots.left(place.work)
    try:
        yield
    finally:
        place.away -= 1
        if not place.away:
            place.slots.returned(True)


def secede() -> None:
    """Leave the slot to another task from here on; `rejoin` takes one again. Outside of a task it does nothing.

    Waiting for futures needs no `secede`: a wait gives the slot away by itself. It is for tasks that wait in other
    ways (for a file, a socket), or run for as long as the cluster.
    """
    place: Place | None = getattr(_here, "place", None)
    if place is not None and place.work is not None and not place.seceded:
        place.away += 1
        if place.away == 1:
            place.slots.left(place.work)
        place.seceded = True


def rejoin() -> None:
    """Take a slot again after `secede`. Elsewhere it does nothing."""
    place: Place | None = getattr(_here, "place", None)
    if place is not None and place.seceded:
        place.seceded = False
        place.away -= 1
        if not place.away:
            place.slots.returned(True)
