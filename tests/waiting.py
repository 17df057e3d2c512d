"""Waiting for a condition, with a deadline: what tests do in place of sleeping. Any test may import it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any


def until(condition: Callable[[], Any], what: str = "the condition", seconds: float = 60.0) -> Any:
    """The first true value of `condition`; an AssertionError that names `what` after so many seconds."""
    deadline, pause, seldom = time.monotonic() + seconds, 0.005, threading.Event()
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        seldom.wait(pause)
        pause = min(1.2 * pause, 0.1)
    return found


async def until_async(condition: Callable[[], Any], what: str = "the condition", seconds: float = 60.0) -> Any:
    """The same on an event loop, which goes on meanwhile."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        await asyncio.sleep(0.001)
    return found
