"""A new state from an old one's journal: the events that clients made, at their times, and no worker there.

Pure: the server and the simulation use the same. What workers know (results, running runs) is not in a journal; they
say it themselves when they find the scheduler that was started again (`epoch.py`).
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
"""Events that a scheduler which is started again must hear. All others are about workers.

`TasksFailed` is made of `JournalFailure` (`failures`): failures come from workers, but outlive them."""


def replay(
    events: Iterable[tuple[float, Event]], opened: EpochOpened, now: float, speculation: bool = False
) -> Scheduler:
    """The state that has heard these (times with events) and has opened its epoch.

    Examples
    --------
    >>> from howdah.engine.protocol.events import *
    >>> layer = LayerSpec(b"k" * 16, "inc", 2)
    >>> span = TaskRange(layer.key, 0, 2)
    >>> scheduler = replay([(0.0, GraphSubmitted("me", (layer,), (span,)))], EpochOpened(2, ("w",), 8.0), 5.0)
    >>> scheduler.handle(WorkerJoined(WorkerInfo("w", "node1"), ((span, (28, 28)),)), 6.0)
    [NotifyDone(client='me', range=TaskRange(layer=b'kkkkkkkkkkkkkkkk', start=0, stop=2), holder='w')]
    """
    scheduler = Scheduler(speculation)
    for at, event in events:
        scheduler.handle(event, at)
    scheduler.handle(opened, now)
    return scheduler


def failures(instructions: Iterable[Instruction]) -> list[TasksFailed]:
    """What the journal must say after an event, so that what failed in it is not run again."""
    return [TasksFailed(told.range, told.error) for told in instructions if isinstance(told, JournalFailure)]
