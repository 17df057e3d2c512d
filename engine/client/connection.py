"""A client's connection to the scheduler: messages, queries and their answers, reconnection. For any thread.

Messages of several calls in a row are sent together. A connection that ends is reopened while the lease lasts; after
that, or when the scheduler closes the session, `error` says why and all waits end. A scheduler that was restarted from
its journal resumes the session under another epoch: the session sends again what the journal may lack, and requests
that the old scheduler had not answered are sent again here.
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
from howdah.engine.protocol.events import TaskError
from howdah.engine.protocol.frames import Buffer
from howdah.engine.protocol.messages import (
    Bye,
    CoordinationCall,
    Hello,
    Query,
    Response,
    SchedulerToClient,
    Submit,
    TasksErred,
    WhoHas,
)
from howdah.errors import DeadlineExceeded, EnvironmentMismatch, HowdahError, PeerRefused

log = logging.getLogger(__name__)

HEARTBEAT_INTERVAL = 1.0
SILENCE_LIMIT = 20.0
MESSAGES_PER_TURN = 64
"""Messages that are sent in one turn of the loop: a scheduler on this loop handles them in about 5 ms."""

RETRY_FIRST, RETRY_MOST = 0.02, 0.5
"""Seconds between attempts to reconnect, at first and at most."""

LOCATE_AFTER = 1.0
"""Seconds within which a scheduler that is restarted at its address is usually back."""


def _ignore(*_: object) -> None:
    """Drop a message: what a closed connection calls."""


def read_address_file(file: str) -> str:
    """Return the scheduler's address from a file that the starter of this program keeps up to date.

    Parameters
    ----------
    file : JSON with "address", or with "ended" and the reason.

    Returns
    -------
    str
        "" if there is no such file now.

    Raises
    ------
    HowdahError : the file has "ended".
    """
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
    on_message : called on the loop's thread with each message that is no answer.
    on_error : called once on the loop's thread when the connection is lost for good, or closed.
    locate : returns where a lost scheduler is now, as `Cluster.locate_scheduler` does. With it attempts to reconnect
        continue until the cluster has ended, whatever the lease.

    Attributes
    ----------
    error : why the connection is lost or closed; None while it is not.
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
        """Connect. Raises what `connect` raises, and DeadlineExceeded after `timeout` seconds without an answer."""
        self._thread.call(self._open(timeout))

    def send(self, message: Any, *frames: Buffer) -> None:
        """Send soon, in order. Raises the connection's error when it is lost."""
        if self.error is not None:
            raise self.error
        self._thread.check()
        self._outbox.append((message, frames))
        if not self._drain_scheduled:
            self._drain_scheduled = True
            self._thread.loop.call_soon_threadsafe(self._drain_some)

    def flush(self, timeout: float = 5.0) -> None:
        """Return when earlier messages were sent; for a scheduler on this loop, when it has handled them."""
        if threading.current_thread() is self._thread.thread or self._thread.inherited:
            return
        gone = threading.Event()
        self._thread.loop.call_soon_threadsafe(self.drain)
        self._thread.loop.call_soon_threadsafe(gone.set)
        gone.wait(timeout)

    def query(self, what: str, timeout: float = 30.0, **about: Any) -> Any:
        """Send a query and return the scheduler's answer. Raises HowdahError with the reason of a refusal."""
        return self._thread.call(self.request(Query(0, what, about), timeout))

    def who_has(self, ranges: Sequence[Any], timeout: float = 30.0) -> Any:
        """Return for each range the holders of its items, with their addresses."""
        return self._thread.call(self.request(WhoHas(0, tuple(ranges)), timeout))

    def close(self, timeout: float = 5.0) -> None:
        """End the session. Closing twice is fine, and so is closing a lost connection."""
        if self._thread.thread.is_alive() and not self._thread.inherited:
            self._thread.call(self._close(), timeout)

    # -- on the loop's thread -------------------------------------------------------------------------------------

    def drain(self) -> None:
        """Pass all queued messages to the session."""
        self._drain_scheduled = False
        self._hand_over(len(self._outbox))

    def _drain_some(self) -> None:
        """Pass on a part, and more in the loop's next turn: a scheduler on this loop has started work meanwhile."""
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
        """`query` on the loop's thread, after earlier messages."""
        return await self.request(Query(0, what, about), 30.0)

    async def request(self, request: Query | WhoHas | CoordinationCall, timeout: float | None) -> Any:
        if self.error is not None:
            raise self.error
        self.drain()
        self._request_count += 1
        number = self._request_count
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        request = msgspec.structs.replace(request, id=number)
        self._pending[number] = future, request
        assert self._session is not None
        self._session.send(request)
        try:
            async with asyncio.timeout(timeout):
                return await future
        except asyncio.CancelledError:
            if isinstance(request, CoordinationCall) and self.error is None:
                replace = msgspec.structs.replace
                self._session.send(replace(request, id=0, verb="withdraw", ticket=number, data=None, ranges=()))
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
        self._session.on_unencodable = self._on_unencodable
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

    def _on_unencodable(self, message: Any, error: HowdahError) -> bool:
        """Fail what a message that cannot be encoded is about; False where that is unknown, and the session ends."""
        if isinstance(message, Query | WhoHas | CoordinationCall):
            waiting, _ = self._pending.get(message.id, (None, None))
            if waiting is not None and not waiting.done():
                waiting.set_exception(error)
            return waiting is not None
        if isinstance(message, Submit):
            for task_range in message.requested:
                self._on_message(TasksErred(task_range, TaskError("unpicklable", str(error)), task_range), ())
            return True
        return False

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
        """Send requests again to a restarted scheduler, whose answers may have been lost.

        They keep their numbers, by which the scheduler recognises those in its journal.
        """
        unsent = {
            message.id
            for message, _ in session.unacknowledged()
            if isinstance(message, Query | WhoHas | CoordinationCall)
        }
        for number, (waiting, request) in list(self._pending.items()):
            if number not in unsent and not waiting.done():
                session.send(request)

    async def _heartbeat(self, session: Session[SchedulerToClient]) -> None:
        while self.error is None:
            await asyncio.sleep(HEARTBEAT_INTERVAL)
            session.heartbeat(time.monotonic(), HEARTBEAT_INTERVAL, SILENCE_LIMIT)

    def _fail(self, error: HowdahError) -> None:
        if self.error is not None:
            return
        self.error = error
        for waiting, _ in self._pending.values():
            if not waiting.done():
                waiting.set_exception(error)
        if self._session is not None and self._session.channel is not None:
            self._session.channel.close()
        self._on_error(error)

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
        # No reference cycle stays in a closed client: its memory is freed with its last reference.
        self._tasks, self._session = [], None
        self._on_message, self._on_error = _ignore, _ignore
