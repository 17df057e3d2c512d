"""Event loops that can stay awake, and the daemon thread whose loop clients and the local cluster's scheduler share.

One thread per process: two loops would hand the interpreter lock to each other at every message. A leaf.
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
"""Seconds for which a loop that expects an answer polls before it sleeps (decisions/0010)."""

_yield_cpu = getattr(os, "sched_yield", lambda: None)


class _PollingSelector(selectors.DefaultSelector):
    """A selector that polls without sleeping until the time `until` (of `time.monotonic`)."""

    until = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        if self.until and (timeout is None or timeout > 0.0):
            while time.monotonic() < self.until:
                found: list[Any] = super().select(0.0)
                if found:
                    return found
                _yield_cpu()
            self.until = 0.0
        found = super().select(timeout)
        return found


class Loop(asyncio.SelectorEventLoop):
    """An event loop that can stay awake for a moment, because a message is about to arrive.

    An idle processor sleeps; on a virtual machine it takes some 50 us to wake, and its caches are cold then: as long as
    the scheduler needs for a task. A loop that is awake yields the processor to every other thread.

    Examples
    --------
    >>> loop = Loop(); loop.stay_awake(); loop.run_until_complete(asyncio.sleep(0, "done")); loop.close()
    'done'
    """

    def __init__(self) -> None:
        self._polling = _PollingSelector()
        super().__init__(self._polling)

    def stay_awake(self) -> None:
        """Poll for the next `AWAKE` seconds. From any thread; a loop that sleeps already is not woken."""
        self._polling.until = time.monotonic() + AWAKE

    def may_sleep(self) -> None:
        """Stop polling: the expected message has arrived. From any thread."""
        self._polling.until = 0.0


class LoopThread:
    """A running loop and its thread. All work on sockets is done on it."""

    def __init__(self) -> None:
        self.loop = Loop()
        self.inherited = False
        """Whether this process is a forked child of the one whose thread this is: nothing runs on it here."""
        self.thread = threading.Thread(target=self._run, name="howdah-loop", daemon=True)
        self.thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    def disown(self) -> None:
        """Refuse all work from now on. Called in a forked child, in which the thread does not run."""
        self.inherited = True
        self.loop.call_soon_threadsafe = _refuse  # type: ignore[method-assign, assignment]

    def check(self) -> None:
        """Raise HowdahError in a forked child of the process whose thread this is."""
        if self.inherited:
            raise _of_parent()

    def start(self, work: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        """Run `work` on the loop; returns a future of its result."""
        if self.inherited:
            work.close()
            raise _of_parent()
        return asyncio.run_coroutine_threadsafe(work, self.loop)

    def call(self, work: Coroutine[Any, Any, T], timeout: float | None = None) -> T:
        """Run `work` on the loop, and return or raise what it does.

        Raises
        ------
        HowdahError : this is the loop's own thread, or that of the process of which this one is a forked child.
        TimeoutError : it takes longer than `timeout` seconds.
        """
        if threading.current_thread() is self.thread:
            work.close()
            raise HowdahError(
                "a blocking call was made on howdah's own loop thread (in a callback of asyncio?); use a thread"
            )
        return self.start(work).result(timeout)


_running: LoopThread | None = None
_guard = threading.Lock()


def loop_thread() -> LoopThread:
    """Return this process's loop thread; a forked child gets one of its own."""
    global _running
    with _guard:
        if _running is None:
            _running = LoopThread()
        return _running


def _of_parent() -> HowdahError:
    """Return the error of whatever a forked child does with a client or cluster of its parent."""
    return HowdahError(
        f"this client or cluster was made by another process (this is its forked child, pid {os.getpid()}) and cannot "
        f"be used here; create a client of its own in the child, as hd.Client(address)"
    )


def _refuse(*_: Any, **__: Any) -> Any:
    raise _of_parent()


def _forked() -> None:
    global _running, _guard
    if _running is not None:
        _running.disown()
    _running, _guard = None, threading.Lock()


os.register_at_fork(after_in_child=_forked)
