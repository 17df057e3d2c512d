"""Event loops that can stay awake, and the one daemon thread per process whose loop the local cluster's scheduler and
all clients share. Sharing it saves the hand-over of the interpreter lock between two loops at every message.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import selectors
import threading
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

from howdah.errors import HowdahError

T = TypeVar("T")


AWAKE = 0.002
"""Seconds for which a loop that expects an answer looks for it before it goes to sleep."""

_give_way = getattr(os, "sched_yield", lambda: None)


class _Wakeful(selectors.DefaultSelector):
    """A selector that looks again and again until `until` (of `time.monotonic`) before it sleeps."""

    until = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        if self.until and (timeout is None or timeout > 0.0):
            while time.monotonic() < self.until:
                found: list[Any] = super().select(0.0)
                if found:
                    return found
                _give_way()
            self.until = 0.0
        found = super().select(timeout)
        return found


class Loop(asyncio.SelectorEventLoop):
    """An event loop that can be told to stay awake for a moment, because something is about to come.

    A processor that nobody uses is put to sleep; on a virtual machine it takes some 50 us, and cold caches, until it is
    back: as long as all that the scheduler does for a task. While a loop is awake others go before it.

    Examples
    --------
    >>> loop = Loop(); loop.stay_awake(); loop.run_until_complete(asyncio.sleep(0, "done")); loop.close()
    'done'
    """

    def __init__(self) -> None:
        self._wakeful = _Wakeful()
        super().__init__(self._wakeful)

    def stay_awake(self) -> None:
        """Do not sleep for the next `AWAKE` seconds. From any thread; one that sleeps already goes on sleeping."""
        self._wakeful.until = time.monotonic() + AWAKE

    def may_sleep(self) -> None:
        """What was expected has come. From any thread."""
        self._wakeful.until = 0.0


class LoopThread:
    """A running loop and its thread. Everything that touches sockets is done on it."""

    def __init__(self) -> None:
        self.loop = Loop()
        self.pid = os.getpid()
        self.thread = threading.Thread(target=self._run, name="howdah-loop", daemon=True)
        self.thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    def start(self, work: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        """Run `work` on the loop; what is returned may be waited for."""
        return asyncio.run_coroutine_threadsafe(work, self.loop)

    def call(self, work: Coroutine[Any, Any, T], timeout: float | None = None) -> T:
        """Run `work` on the loop and wait for what it returns or raises."""
        if threading.current_thread() is self.thread:
            work.close()
            raise HowdahError(
                "a blocking call was made on howdah's own loop thread (in a callback of asyncio?); use a thread"
            )
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(timeout)


_running: LoopThread | None = None
_guard = threading.Lock()


def loop_thread() -> LoopThread:
    """This process's loop thread; a forked child gets one of its own."""
    global _running
    with _guard:
        if _running is None or _running.pid != os.getpid():
            _running = LoopThread()
        return _running


def _forked() -> None:
    global _running, _guard
    _running, _guard = None, threading.Lock()


os.register_at_fork(after_in_child=_forked)
