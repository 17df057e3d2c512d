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
    """The worker's slots, as far as a waiting task needs them."""

    def release_slot(self, work: Any) -> None:
        """Give the slot of the calling thread, which runs `work`, to another thread."""
        ...

    def reacquire_slot(self, thread_goes_on: bool) -> None:
        """Take a slot again; or, if the thread does not go on, count it out."""
        ...


class SlotContext:
    """The slot of a thread, for the code that the thread runs."""

    def __init__(self, slots: SlotOwner) -> None:
        self.slots = slots
        self.work: Any = None
        self.released = 0
        self.seceded = False

    def ended(self) -> bool:
        """End the task; return whether the thread must end too, because another has its slot."""
        if not self.seceded:
            return False
        self.seceded, self.released = False, 0
        self.slots.reacquire_slot(False)
        return True


_thread = threading.local()


def register_slot_thread(slots: SlotOwner) -> SlotContext:
    """Make the calling thread one of a slot. Called once by each."""
    _thread.context = SlotContext(slots)
    return _thread.context  # type: ignore[no-any-return]


def in_task() -> bool:
    """Return whether this thread is running a task of a worker."""
    context = getattr(_thread, "context", None)
    return context is not None and context.work is not None


def current_task() -> Any:
    """Return the batch that this thread of a slot runs; None on other threads and between batches."""
    context: SlotContext | None = getattr(_thread, "context", None)
    return None if context is None else context.work


@contextlib.contextmanager
def slot_released() -> Iterator[None]:
    """Let another thread have the slot of this one during a `with` block."""
    context: SlotContext | None = getattr(_thread, "context", None)
    if context is None or context.work is None:
        yield
        return
    context.released += 1
    if context.released == 1:
        context.slots.release_slot(context.work)
    try:
        yield
    finally:
        context.released -= 1
        if not context.released:
            context.slots.reacquire_slot(True)


def secede() -> None:
    """Leave the slot of this task to others from here on; `rejoin` takes one again.

    Waiting for futures needs no `secede`: a wait releases the slot by itself. It is for tasks that wait in other ways
    (for a file, a socket), or run for as long as the cluster. Outside of a task it does nothing.

    Examples
    --------
    >>> secede()
    """
    context: SlotContext | None = getattr(_thread, "context", None)
    if context is not None and context.work is not None and not context.seceded:
        context.released += 1
        if context.released == 1:
            context.slots.release_slot(context.work)
        context.seceded = True


def rejoin() -> None:
    """Take a slot again after `secede`.

    Waits until one is free. Outside of a task, or without `secede`, it does nothing.
    """
    context: SlotContext | None = getattr(_thread, "context", None)
    if context is not None and context.seceded:
        context.seceded = False
        context.released -= 1
        if not context.released:
            context.slots.reacquire_slot(True)
