"""One event loop on one daemon thread per process, shared by the local cluster's scheduler and all clients.

Sharing it saves the hand-over of the interpreter lock between two loops at every message.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

from howdah.errors import HowdahError

T = TypeVar("T")


class LoopThread:
    """A running loop and its thread. Everything that touches sockets is done on it."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
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
