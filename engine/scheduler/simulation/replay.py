"""A new scheduler from an old one's journal: the events that clients made, at their times, and no worker.

Pure. What workers know (results, running batches) is not in a journal; they report it when they reconnect
(`core.restart`).
"""

from __future__ import annotations

from collections.abc import Iterable

from howdah.engine.protocol.events import (
    ArgumentsArrived,
    CancelRequested,
    ClientJoined,
    ClientLeft,
    EpochOpened,
    Event,
    GraphSubmitted,
    Instruction,
    JournalFailure,
    Released,
    RetryRequested,
    StateRestored,
    TasksFailed,
)
from howdah.engine.scheduler.core.scheduler import Scheduler

JOURNALED: tuple[type[Event], ...] = (
    ClientJoined,
    ClientLeft,
    GraphSubmitted,
    ArgumentsArrived,
    Released,
    CancelRequested,
    RetryRequested,
    TasksFailed,
    StateRestored,
)
"""Events that a restarted scheduler must handle again. All others are about workers.

`TasksFailed` is made of `JournalFailure` (`failures`): failures come from workers, but outlive them.
"""


def replay(
    events: Iterable[tuple[float, Event]], opened: EpochOpened, now: float, speculation: bool = False
) -> Scheduler:
    """The scheduler that has handled these (times with events) and has opened its epoch.

    Examples
    --------
    >>> from howdah.engine.protocol.events import *
    >>> layer = LayerSpec(b"k" * 16, "inc", 2)
    >>> both = TaskRange(layer.key, 0, 2)
    >>> scheduler = replay([(0.0, GraphSubmitted("me", (layer,), (both,)))], EpochOpened(2, ("w",), 8.0), 5.0)
    >>> scheduler.handle(WorkerJoined(WorkerInfo("w", "node1"), ((both, (28, 28)),)), 6.0)
    [NotifyDone(client='me', range=TaskRange(layer=b'kkkkkkkkkkkkkkkk', start=0, stop=2), holder='w')]
    """
    scheduler = Scheduler(speculation)
    for at, event in events:
        scheduler.handle(event, at)
    scheduler.handle(opened, now)
    return scheduler


def failures(instructions: Iterable[Instruction]) -> list[TasksFailed]:
    """What the journal must hold after an event, so that what failed in it is not run again."""
    return [TasksFailed(told.range, told.error) for told in instructions if isinstance(told, JournalFailure)]
