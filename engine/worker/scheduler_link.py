"""The worker's connection to the scheduler: it reconnects until the lease is over. For `worker` alone."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from howdah.backoff import delays
from howdah.engine.comm.connection.channel import ChannelClosed
from howdah.engine.comm.connection.connect import connect
from howdah.engine.comm.connection.session import Session, decoder_of
from howdah.engine.comm.security.certificates import Security
from howdah.engine.protocol.messages import Bye, Hello, SchedulerToWorker, Welcome
from howdah.engine.worker.exits import LOST, REFUSED
from howdah.errors import DeadlineExceeded, EnvironmentMismatch, PeerRefused

log = logging.getLogger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 0.05, 0.5
"""Seconds between attempts to connect. They are short because a scheduler that was restarted waits for its last worker
before it goes on."""

OnMessage: TypeAlias = Callable[[SchedulerToWorker, Sequence[memoryview]], None]
OnNewSession: TypeAlias = Callable[["Session[SchedulerToWorker]", "Session[SchedulerToWorker] | None", str], None]
"""Called with a new session before its first message, the session before it, and the scheduler's restart number."""


class SchedulerLink:
    """One session with the scheduler, over connections that may break.

    Parameters
    ----------
    address : the scheduler's.
    worker, host : who connects.
    lease : seconds for which a lost scheduler is searched; the scheduler keeps the worker for as long.
    on_message : called with each message of the scheduler and its frames.
    on_new_session : called when the scheduler has begun a new session: it does not know the old one.
    """

    def __init__(
        self, address: str, worker: str, host: str, lease: float, on_message: OnMessage, on_new_session: OnNewSession
    ) -> None:
        self.address, self.lease = address, lease
        self.security: Security | None = None
        self.session: Session[SchedulerToWorker] | None = None
        self._worker, self._host = worker, host
        self._on_message, self._on_new_session = on_message, on_new_session
        self._decoder = decoder_of(SchedulerToWorker)

    async def run(self) -> int:
        """Stay connected. Returns an exit code: LOST when the lease is over, REFUSED when the scheduler refuses."""
        lost_since = time.monotonic()
        pauses = delays(FIRST_PAUSE, LONGEST_PAUSE)
        while True:
            session = self.session
            hello = Hello("worker", self._worker, host=self._host, lease=self.lease)
            if session is not None:
                hello.session, hello.received = session.id, session.received
            try:
                channel, answer = await connect(self.address, hello, self.security, expect="scheduler")
            except (PeerRefused, EnvironmentMismatch) as error:
                log.error("the scheduler at %s refused this worker: %s", self.address, error)
                return REFUSED
            except (ChannelClosed, OSError, DeadlineExceeded) as error:
                if time.monotonic() - lost_since > self.lease:
                    log.error("no scheduler at %s for %.0f s (%s); leaving", self.address, self.lease, error)
                    return LOST
                await asyncio.sleep(next(pauses))
                continue
            session = self._resume(session, answer)
            await session.run(channel, answer.received)
            lost_since, pauses = time.monotonic(), delays(FIRST_PAUSE, LONGEST_PAUSE)

    def _resume(self, session: Session[SchedulerToWorker] | None, answer: Welcome) -> Session[SchedulerToWorker]:
        if session is not None and answer.resumed:
            return session
        fresh: Session[SchedulerToWorker] = Session(answer.session, self._decoder, self._on_message, "the scheduler")
        self._on_new_session(fresh, session, answer.details.get("epoch", ""))
        self.session = fresh
        return fresh

    def send(self, message: Any) -> None:
        """Send `message`; it is dropped if there has never been a session."""
        if self.session is not None:
            self.session.send(message)

    def heartbeat(self, now: float, every: float) -> None:
        """Send a heartbeat where it is due, and end a connection on which the scheduler has been silent."""
        if self.session is not None:
            self.session.heartbeat(now, every, max(self.lease / 3, 5 * every))

    async def close_with(self, message: Bye) -> None:
        """Send a last message and end the connection."""
        if self.session is not None:
            await self.session.close_with(message)
