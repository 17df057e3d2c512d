"""One queue of timers for all bounded waits of the scheduler.

`TimerQueue.start` is the only thing that a rule needs to call for something to happen later: `Scheduler.handle` runs
what is due, and `Scheduler.wake_at` reports when the next timer is. A timer is not cancelled: its callback checks
whether it still applies. For the modules of this folder.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from math import inf
from typing import Any


class TimerQueue:
    """Callbacks by the time at which they are due.

    Callbacks of one time run in the order in which they were started. One that starts another timer that is due already
    has it run in the same pass.

    >>> timers, ran = TimerQueue(), []
    >>> timers.start(2.0, lambda state, name: state.append(name), "b")
    >>> timers.start(1.0, lambda state, name: state.append(name), "a")
    >>> timers.now = 1.5
    >>> timers.run_due(ran); ran, timers.next_due
    (['a'], 2.0)
    """

    __slots__ = ("_count", "_heap", "next_due", "now")

    def __init__(self) -> None:
        self.now = 0.0
        """The time of the event being handled, in seconds."""
        self.next_due = inf
        """The time of the earliest timer; infinite if there is none."""
        self._heap: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._count = 0

    def start(self, seconds: float, callback: Callable[..., None], *args: Any) -> None:
        """Call `callback(state, *args)` at the first event that comes at least `seconds` from now."""
        self._count += 1
        heappush(self._heap, (self.now + seconds, self._count, callback, args))
        self.next_due = self._heap[0][0]

    def pending(self, callback: Callable[..., None]) -> list[tuple[Any, ...]]:
        """The arguments of all timers of this callback; for checks."""
        return [args for _, _, known, args in self._heap if known is callback]

    def run_due(self, state: Any) -> None:
        """Run the callbacks that are due, earliest first."""
        heap, now = self._heap, self.now
        while heap and heap[0][0] <= now:
            _, _, callback, args = heappop(heap)
            self.next_due = heap[0][0] if heap else inf
            callback(state, *args)
