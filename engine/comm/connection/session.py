"""Messages that arrive once and in order, over channels that may come and go.

A `Session` joins two ends for longer than one connection lives. What is sent within one turn of the event loop travels
as one batch; a batch is kept until the other end has confirmed it, and is sent again on the next channel if the old
one ended before that. So a dropped link costs nothing but time, and neither end needs to know. When a session cannot
go on (the other end has forgotten it) its owner starts a new one and says again what matters.

An end that keeps a journal writes down each batch before it handles it (`on_batch`), and says what it may confirm
(`confirms`). When it is started again it goes on from there with sessions that are `suspended` until the other end is
back: what it says meanwhile is said anew then, so it is dropped.

Used by scheduler, worker and client alike; only on the event loop's thread, but for `send_now`. It opens no
connections.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec

from howdah.engine.comm.connection.channel import Channel, ChannelClosed, MalformedFrames
from howdah.engine.protocol.frames import Buffer

In = TypeVar("In")

ACK_BATCHES = 64
ACK_BYTES = 1 << 20
"""After so many batches or bytes a confirmation is sent at once, not with the next heartbeat."""


class _Head(msgspec.Struct, array_like=True, gc=False):
    """`number` 0 is a batch without messages, which needs no confirmation."""

    number: int
    confirmed: int
    frames: list[int]
    messages: list[Any]


_encoder = msgspec.msgpack.Encoder()


def _unheard(message: Any, frames: Sequence[Buffer]) -> None:
    """What a closed session does with what it hears."""


@functools.cache
def decoder_of(messages: Any) -> msgspec.msgpack.Decoder[Any]:
    """Decodes the heads of batches whose messages are of the union `messages`, and refuses all others."""
    head = msgspec.defstruct(
        "Head",
        [("number", int), ("confirmed", int), ("frames", list[int]), ("messages", list[messages])],
        array_like=True,
        gc=False,
    )
    return msgspec.msgpack.Decoder(head)


class _Sent(NamedTuple):
    """A batch that the other end has not confirmed."""

    number: int
    batch: list[Buffer]
    messages: list[Any]
    counts: list[int]


class Session(Generic[In]):
    """One end of a conversation.

    Parameters
    ----------
    id : names the session at both ends.
    decoder : from `decoder_of`: what the other end may say.
    on_message : called with each message and its frames, in order, on the loop's thread. It must not block.
    peer : for people.
    """

    def __init__(
        self,
        id: str,
        decoder: msgspec.msgpack.Decoder[Any],
        on_message: Callable[[In, Sequence[memoryview]], None],
        peer: str = "",
    ) -> None:
        self.id, self.peer = id, peer
        self.received = 0
        self.on_batch: Callable[[int, list[Any], Sequence[Buffer]], None] | None = None
        """Called with the number, the messages and the frames of each batch before it is handled."""
        self.acknowledge_limit: Callable[[], int] | None = None
        """Says which batch is the last that may be confirmed, if that is not the last that was received."""
        self.suspended = False
        self.record_undelivered: Callable[[Any], None] | None = None
        """Called with what is sent while the session is dormant."""
        self.last_received = time.monotonic()
        """When the other end last said anything."""
        self.channel: Channel | None = None
        self.disconnected_since: float | None = None
        """Since when there is no channel."""
        self._decoder, self._on_message = decoder, on_message
        self._number = 0
        self._next: deque[tuple[Any, Sequence[Buffer]]] = deque()
        self._unacknowledged: deque[_Sent] = deque()
        self._unconfirmed = 0
        self._unconfirmed_bytes = 0
        self._flushing = False
        self._last_sent = 0.0
        self._loop = asyncio.get_running_loop()
        self.lock = threading.RLock()
        """Held while anything is sent; what is put in meanwhile goes with that, or next."""

    def acknowledgeable(self) -> int:
        """The last batch that may be confirmed."""
        return self.received if self.acknowledge_limit is None else self.acknowledge_limit()

    @property
    def connected(self) -> bool:
        return self.channel is not None

    def send(self, message: Any, *frames: Buffer) -> None:
        """Send `message` at the end of this turn of the loop. Frames must not change until they are confirmed."""
        if self.suspended:
            if self.record_undelivered is not None:
                self.record_undelivered(message)
            return
        self._next.append((message, frames))
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self.flush)

    def send_now(self, message: Any, *frames: Buffer) -> bool:
        """On any thread: send `message`, after all that was put in before. False, and nothing is sent, where only the
        loop's thread can: without a connection, over TLS, or while the other end is slow to read."""
        with self.lock:
            if self.channel is None or self.suspended or not self.channel.thread_safe:
                return False
            self._next.append((message, frames))
            self._send_next()
        return True

    @property
    def last_queued(self) -> Any:
        """The last message that was put in and is not sent, None if all are. On the loop's thread, of a session on
        which nobody uses `send_now`: whoever put it in may still change it."""
        return self._next[-1][0] if self._next else None

    def resume(self, peer_received: int) -> None:
        """The other end of a dormant session is back, and has had the batches up to this one."""
        self.suspended = False
        self._number = peer_received

    def cork(self) -> bool:
        """What is sent from now on stays until `flush`, which is the caller's to call if this returns True."""
        mine = not self._flushing
        self._flushing = True
        return mine

    def flush(self) -> None:
        """Send now what has been put in."""
        self._flushing = False
        with self.lock:
            if self._next:
                self._send_next()
            elif self._unconfirmed:
                self._write([_encoder.encode(_Head(0, self.acknowledgeable(), [], []))])

    def _send_next(self) -> None:
        self._number += 1
        messages: list[Any] = []
        counts: list[int] = []
        batch: list[Buffer] = [b""]
        take = self._next.popleft
        for _ in range(len(self._next)):
            message, frames = take()
            messages.append(message)
            counts.append(len(frames))
            batch += frames
        batch[0] = _encoder.encode(_Head(self._number, self.acknowledgeable(), counts, messages))
        self._unacknowledged.append(_Sent(self._number, batch, messages, counts))
        self._write(batch)

    def heartbeat(self, now: float, every: float, silence: float) -> None:
        """To be called now and then: says something if nothing was said for `every` seconds, and ends a channel on
        which nothing was heard for `silence` seconds."""
        if self.channel is None:
            return
        if now - self.last_received > silence:
            self.channel.close()
        elif now - self._last_sent >= every:
            with self.lock:
                self._write([_encoder.encode(_Head(0, self.acknowledgeable(), [], []))])

    async def run(self, channel: Channel, peer_received: int) -> None:
        """Go on over `channel`; returns when it ends. `peer_received` is the last batch that the other end has."""
        if self.channel is not None:
            self.channel.close()  # the newer connection is the right one
        self.last_received = time.monotonic()
        try:
            with self.lock:
                self.channel, self.disconnected_since = channel, None
                self.on_acknowledged(peer_received)
                for sent in self._unacknowledged:
                    self._write(sent.batch)
            await self._read(channel)
        except ChannelClosed:
            pass
        finally:
            channel.close()
            if self.channel is channel:
                self.channel, self.disconnected_since = None, time.monotonic()

    async def _read(self, channel: Channel) -> None:
        def take(frames: Sequence[memoryview]) -> None:
            if self.channel is channel:
                self._on_frames(channel, frames)

        await channel.deliver(take)

    def _on_frames(self, channel: Channel, frames: Sequence[memoryview]) -> None:
        """One batch has come."""
        self.last_received = time.monotonic()
        try:
            head = self._decoder.decode(frames[0])
        except msgspec.DecodeError as error:
            raise MalformedFrames(f"{channel.peer} said what it may not say: {error}") from error
        self.on_acknowledged(head.confirmed)
        if head.number <= self.received:
            return  # a heartbeat, or a batch that came through before its channel ended
        self.received = head.number
        if self.on_batch is not None:
            self.on_batch(head.number, head.messages, frames)
        at = 1
        for message, count in zip(head.messages, head.frames):
            self._on_message(message, frames[at : at + count])
            at += count
        self._unconfirmed += 1
        self._unconfirmed_bytes += sum([frame.nbytes for frame in frames])
        if not self._flushing and (self._unconfirmed >= ACK_BATCHES or self._unconfirmed_bytes >= ACK_BYTES):
            self._flushing = True
            self._loop.call_soon(self.flush)

    def replay(self, frames: Sequence[memoryview], which: Callable[[Any], bool]) -> None:
        """Handle once more those messages of a batch, which a journal has kept, of which `which` is true."""
        head = self._decoder.decode(frames[0])
        at = 1
        for message, count in zip(head.messages, head.frames):
            if which(message):
                self._on_message(message, frames[at : at + count])
            at += count

    def on_acknowledged(self, number: int) -> None:
        """The other end has the batches up to this one."""
        kept = self._unacknowledged
        while kept and kept[0].number <= number:  # others add at the end alone
            kept.popleft()

    def _write(self, batch: Sequence[Buffer]) -> None:
        if self.channel is None:
            return
        self._last_sent = time.monotonic()
        self._unconfirmed = self._unconfirmed_bytes = 0
        with contextlib.suppress(ChannelClosed):  # the reader ends too, and the batch is kept for the next channel
            self.channel.write(batch)

    def unacknowledged(self) -> list[tuple[Any, list[Buffer]]]:
        """Messages with their frames that the other end may not have: what a new session may have to say again."""
        self.flush()
        found: list[tuple[Any, list[Buffer]]] = []
        for sent in self._unacknowledged:
            at = 1
            for message, count in zip(sent.messages, sent.counts):
                found.append((message, sent.batch[at : at + count]))
                at += count
        return found

    def close(self) -> None:
        """Say what is left to say, and end the channel. Nothing more is heard, and nobody is referred to any more."""
        if self.channel is not None:
            self.flush()
            self.channel.close()
        self.on_batch = self.acknowledge_limit = self.record_undelivered = None
        self._on_message = _unheard

    async def close_with(self, message: Any, timeout: float = 1.0) -> None:
        """Send a last message, wait until the socket has it, and end the channel."""
        channel = self.channel
        if channel is None:
            return
        self.send(message)
        self.flush()
        deadline = time.monotonic() + timeout
        while not channel.closed and channel.stream.writing() and time.monotonic() < deadline:
            await asyncio.sleep(0.005)
        channel.close()
