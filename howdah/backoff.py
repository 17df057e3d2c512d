"""The waits between attempts: exponential, with a cap and jitter.

A leaf that imports nothing of howdah, so every folder uses this one rule. Jitter keeps a thousand workers that lost the
same peer from returning to it in the same moment. (The scheduler's own waits before it retries a task are part of its
state and have no jitter: `howdah.engine.scheduler.core.retry_backoff`.)
"""

from __future__ import annotations

import random
from collections.abc import Iterator


def delays(first: float, most: float, factor: float = 2.0, jitter: float = 0.5) -> Iterator[float]:
    """Yield the seconds to wait before attempt 2, 3, ...: without end.

    Parameters
    ----------
    first
        The wait before the second attempt, in seconds.
    most
        No wait is longer, in seconds.
    factor
        Each wait is this many times the one before.
    jitter
        Share of a wait that is random: 0.5 gives 50 to 100 % of it; 0 gives all of it.

    Examples
    --------
    >>> from itertools import islice
    >>> list(islice(delays(0.5, 3.0, jitter=0), 4))
    [0.5, 1.0, 2.0, 3.0]
    """
    wait = first
    while True:
        wait = min(wait, most)
        yield wait * (1 - jitter * random.random())
        wait *= factor
