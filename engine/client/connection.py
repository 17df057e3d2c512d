"""A client's connection to the scheduler, as seen from any thread: messages out, messages in, questions, its loss.

What is sent from several calls in a row travels together. A connection that ends is opened again for as long as the
lease lasts; after that, or when the scheduler says good-bye, `error` says why and everybody who waits is told. A
scheduler that was started again from its journal goes on with the session (its epoch is another): what it may not
have written down is sent again by the session, and what was asked of the old one is asked again here.
"""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from howdah.backoff import delays
from howdah.engine.comm.connection.channel import ChannelClosed
from howdah.engine.comm.connection.connect import connect
from howdah.engine.comm.connection.event_loop import loop_thread
from howdah.engine.comm.connection.session import Session, decoder_of
from howdah.engine.comm.security.certificates import Security
from howdah.engine.protocol.frames import Buffer
from howdah.engine.protocol.messages import Bye, CoordinationCall, Hello, Query, Response, SchedulerToClient, WhoHas
from howdah.errors import DeadlineExceeded, EnvironmentMismatch, HowdahError, PeerRefused

log = logging.getLogger(__name__)

HEARTBEAT_INTERVAL = 1.0
SILENCE_LIMIT = 20.0
MESSAGES_PER_TURN = 64
"""Messages that are sent in one turn of the loop: what a scheduler on this loop can handle in some 5 ms."""

RETRY_FIRST, RETRY_MOST = 0.02, 0.5
"""Seconds between attempts to reconnect, at first and at most."""

LOCATE_AFTER = 1.0
"""A scheduler that is started again where it was is back after so many seconds, as a rule."""


def _ignore(*_: object) -> None:
    """What a closed link calls: nobody listens."""


def read_address_file(file: str) -> str:
    """Where the scheduler is, as whoever started this program keeps it in a file: JSON with `address`, or `ended` with
    the reason, which is raised as a HowdahError. "" where there is no such file now."""
    try:
        found = json.loads(Path(file).read_bytes())
    except (OSError, ValueError):
        return ""
    if found.get("ended"):
        raise HowdahError(str(found["ended"]))
    return str(found.get("address") or "")


class SchedulerConnection:
    """One session with the scheduler.

    Parameters
    ----------
    purpose : "client" or "owner".
    on_message : called on the loop's thread with everything but answers.
    on_fault : called once on the loop's thread when the link is lost for good.
    lease : seconds for which a lost scheduler is looked for.
    locate : where a lost scheduler is now, "" while nobody knows; it may block, and raises HowdahError when the cluster
        has ended. With it a lost scheduler is looked for until then, whatever the lease.
    """

    def __init__(
        self,
        address: str,
        security: Security | None,
        hello: Hello,
        on_message: Callable[[SchedulerToClient, Sequence[memoryview]], None],
        on_error: Callable[[HowdahError], None],
        locate: Callable[[], str | None] | None = None,
    ) -> None:
        self.address, self.security, self.hello = address, security, hello
        self.lease, self._locate = hello.lease, locate
        self.error: HowdahError | None = None
        self._thread = loop_thread()
        self._on_message, self._on_error = on_message, on_error
        self._session: Session[SchedulerToClient] | None = None
        self._outbox: deque[tuple[Any, Sequence[Buffer]]] = deque()
        self._drain_scheduled = False
        self._pending: dict[int, tuple[asyncio.Future[Any], Query | WhoHas | CoordinationCall]] = {}
        self._epoch = ""
        self._request_count = 0
        self._tasks: list[asyncio.Task[None]] = []
        self.cluster_name = ""

    # -- from any thread ------------------------------------------------------------------------------------------

    def open(self, timeout: float) -> None:
        """Connect. Raises what `transport.connect` raises, DeadlineExceeded when nobody answers in time."""
        self._thread.call(self._open(timeout))

    def send(self, message: Any, *frames: Buffer) -> None:
        """Send soon, in order. Raises the fault of a link that is lost."""
        if self.error is not None:
            raise self.error
        self._outbox.append((message, frames))
        if not self._drain_scheduled:
            self._drain_scheduled = True
            self._thread.loop.call_soon_threadsafe(self._drain_some)

    def flush(self, timeout: float = 5.0) -> None:
        """Return when what `send` was given before has gone; to a scheduler on this loop: when it has been handled."""
        if threading.current_thread() is self._thread.thread:
            return
        gone = threading.Event()
        self._thread.loop.call_soon_threadsafe(self.drain)
        self._thread.loop.call_soon_threadsafe(gone.set)
        gone.wait(timeout)

    def query(self, what: str, timeout: float = 30.0, **about: Any) -> Any:
        """The scheduler's answer. Raises HowdahError with what it said is wrong."""
        return self._thread.call(self.request(Query(0, what, about), timeout))

    def who_has(self, spans: Sequence[Any], timeout: float = 30.0) -> Any:
        return self._thread.call(self.request(WhoHas(0, tuple(spans)), timeout))

    def close(self, timeout: float = 5.0) -> None:
        """Say good-bye. Closing twice is fine, and so is closing a lost link."""
        if self._thread.thread.is_alive():
            self._thread.call(self._close(), timeout)

    # -- on the loop's thread -------------------------------------------------------------------------------------

    def drain(self) -> None:
        """Hand over to the session all that `send` has been given."""
        self._drain_scheduled = False
        self._hand_over(len(self._outbox))

    def _drain_some(self) -> None:
        """Hand over a part, and more in the loop's next turn: a scheduler on this loop has told its workers then."""
        if self._session is None or len(self._outbox) <= MESSAGES_PER_TURN:
            self.drain()
        else:
            self._hand_over(MESSAGES_PER_TURN)
            self._thread.loop.call_soon(self._drain_some)

    def _hand_over(self, count: int) -> None:
        session = self._session
        if session is None:
            return
        mine = session.cork()
        while self._outbox and count:
            message, frames = self._outbox.popleft()
            session.send(message, *frames)
            count -= 1
        if mine:
            session.flush()

    async def query_async(self, what: str, **about: Any) -> Any:
        """A question that is asked on the loop's thread, after what was sent before it."""
        return await self.request(Query(0, what, about), 30.0)

    async def request(self, question: Query | WhoHas | CoordinationCall, timeout: float | None) -> Any:
        if self.error is not None:
            raise self.error
        self.drain()
        self._request_count += 1
        number = self._request_count
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        question = msgspec.structs.replace(question, id=number)
        self._pending[number] = future, question
        assert self._session is not None
        self._session.send(question)
        try:
            async with asyncio.timeout(timeout):
                return await future
        except asyncio.CancelledError:
            if isinstance(question, CoordinationCall) and self.error is None:
                replace = msgspec.structs.replace
                self._session.send(replace(question, id=0, verb="withdraw", ticket=number, data=None, ranges=()))
            raise
        except TimeoutError as error:
            raise DeadlineExceeded(f"the scheduler at {self.address} did not answer within {timeout:.0f} s") from error
        finally:
            self._pending.pop(number, None)

    async def _open(self, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while True:
            try:
                channel, welcome = await connect(
                    self.address, self.hello, self.security, expect="scheduler", timeout=max(0.1, min(timeout, 10.0))
                )
                break
            except (ChannelClosed, OSError, DeadlineExceeded) as error:
                if time.monotonic() > deadline:
                    raise DeadlineExceeded(
                        f"no scheduler at {self.address} within {timeout:.0f} s ({error}); is the cluster running?"
                    ) from error
                await asyncio.sleep(0.1)
        self.cluster_name, self._epoch = welcome.app, welcome.details.get("epoch", "")
        self._session = Session(welcome.session, decoder_of(SchedulerToClient), self._receive, "the scheduler")
        self._tasks = [
            asyncio.ensure_future(self._stay_connected(self._session, channel)),
            asyncio.ensure_future(self._heartbeat(self._session)),
        ]

    def _receive(self, message: SchedulerToClient, frames: Sequence[memoryview]) -> None:
        if isinstance(message, Response):
            waiting, _ = self._pending.get(message.id, (None, None))
            if waiting is not None and not waiting.done():
                if message.error:
                    waiting.set_exception(HowdahError(message.error))
                else:
                    waiting.set_result(message.value)
        elif isinstance(message, Bye):
            self._fail(HowdahError(f"the cluster at {self.address} has ended: {message.reason or 'it was closed'}"))
        else:
            self._on_message(message, frames)

    async def _stay_connected(self, session: Session[SchedulerToClient], channel: Any) -> None:
        received = 0
        while True:
            try:
                await session.run(channel, received)
            except HowdahError as error:
                self._fail(error)
                return
            if self.error is not None:
                return
            log.info("the connection to the scheduler at %s was lost; trying again", self.address)
            lost, pauses = time.monotonic(), delays(RETRY_FIRST, RETRY_MOST)
            while True:
                self.hello.session, self.hello.received = session.id, session.received
                try:
                    channel, welcome = await connect(self.address, self.hello, self.security, expect="scheduler")
                except (PeerRefused, EnvironmentMismatch) as error:
                    self._fail(error)
                    return
                except (ChannelClosed, OSError, DeadlineExceeded) as error:
                    waited = time.monotonic() - lost
                    try:
                        located = self._locate is not None and (waited <= LOCATE_AFTER or await self._relocate())
                    except HowdahError as ended:
                        self._fail(ended)
                        return
                    if not located and waited > self.lease:
                        self._fail(
                            HowdahError(
                                f"the scheduler at {self.address} is lost: no connection for {self.lease:.0f} s "
                                f"({error}); what was not yet fetched is gone with it, start the cluster again"
                            )
                        )
                        return
                    await asyncio.sleep(next(pauses))
                    continue
                break
            if not welcome.resumed:
                channel.close()
                self._fail(
                    HowdahError(
                        f"the scheduler at {self.address} does not know this client any more (it was restarted, or the "
                        f"connection was lost for longer than the lease); results must be computed again"
                    )
                )
                return
            received = welcome.received
            if welcome.details.get("epoch", "") != self._epoch:
                self._epoch = welcome.details.get("epoch", "")
                session.on_acknowledged(received)
                self._resend_requests(session)

    async def _relocate(self) -> bool:
        """Ask where the scheduler is now; False if it never moves. Raises HowdahError when the cluster has ended."""
        assert self._locate is not None
        found = await asyncio.to_thread(self._locate)
        if found is None:
            self._locate = None
            return False
        self.address = found or self.address
        return True

    def _resend_requests(self, session: Session[SchedulerToClient]) -> None:
        """The scheduler was started again: it may have been asked, and its answer may have been lost. Questions keep
        their numbers, so it knows those that it has written down."""
        unsaid = {
            message.id
            for message, _ in session.unacknowledged()
            if isinstance(message, Query | WhoHas | CoordinationCall)
        }
        for number, (waiting, question) in list(self._pending.items()):
            if number not in unsaid and not waiting.done():
                session.send(question)

    async def _heartbeat(self, session: Session[SchedulerToClient]) -> None:
        while self.error is None:
            await asyncio.sleep(HEARTBEAT_INTERVAL)
            session.heartbeat(time.monotonic(), HEARTBEAT_INTERVAL, SILENCE_LIMIT)

    def _fail(self, fault: HowdahError) -> None:
        if self.error is not None:
            return
        self.error = fault
        for waiting, _ in self._pending.values():
            if not waiting.done():
                waiting.set_exception(fault)
        if self._session is not None and self._session.channel is not None:
            self._session.channel.close()
        self._on_error(fault)

    async def _close(self) -> None:
        self.drain()
        session = self._session
        if session is not None and self.error is None:
            self.error = HowdahError("this client is closed")
            self._on_error(self.error)
            await session.close_with(Bye())
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        # Nothing of a closed client refers to itself: its memory is free as soon as nobody has it.
        self._tasks, self._session = [], None
        self._on_message, self._on_error = _ignore, _ignore
