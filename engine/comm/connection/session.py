"""Sessions: messages that arrive once and in order, over connections that may break.

A `Session` joins two ends for longer than one connection lives. The messages of one iteration of the event loop travel
as one batch. A batch is stored until the peer has acknowledged it, and sent again on the next channel if the old one
ended before. So a broken connection costs only time. When a session cannot go on (the peer has lost it) its owner
starts a new one and sends again what is still needed.

An end with a journal writes each batch before it handles it (`on_batch`), and limits what may be acknowledged
(`acknowledge_limit`). After a restart it resumes from its journal with sessions that are `suspended` until the peer is
back; what it sends meanwhile goes to `record_undelivered`, because it is sent anew then.

Lone surrogates in texts are escaped. A message that cannot be encoded at all is never dropped in silence: its sender
gets it back (`on_unencodable`), and where it has no use for it the session ends with an error.

Used by scheduler, worker and client, only on the event loop's thread except for `send_now`. Opens no connections.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec

from howdah.engine.comm.connection.channel import Channel, ChannelClosed, MalformedFrames
from howdah.engine.protocol.frames import Buffer
from howdah.engine.protocol.text import describe_error, escape_texts
from howdah.errors import HowdahError

log = logging.getLogger(__name__)

In = TypeVar("In")

ACK_BATCHES = 64
ACK_BYTES = 1 << 20
"""Batches or bytes after which an acknowledgement is sent at once, not with the next heartbeat."""


class _BatchHeader(msgspec.Struct, array_like=True, gc=False):
    """The first frame of a batch. `number` 0: no messages, and nothing to acknowledge."""

    number: int
    acknowledged: int
    frames: list[int]
    messages: list[Any]


_encoder = msgspec.msgpack.Encoder()


def _ignore(message: Any, frames: Sequence[Buffer]) -> None:
    """Handle a message that arrives at a closed session."""


@functools.cache
def decoder_of(messages: Any) -> msgspec.msgpack.Decoder[Any]:
    """Return a decoder for batches whose messages are of the union `messages`; it refuses all others."""
    head = msgspec.defstruct(
        "BatchHeader",
        [("number", int), ("acknowledged", int), ("frames", list[int]), ("messages", list[messages])],
        array_like=True,
        gc=False,
    )
    return msgspec.msgpack.Decoder(head)


def _with_escaped_texts(message: Any) -> Any:
    """Return `message`, as plain data with escaped texts where it holds lone surrogates."""
    try:
        _encoder.encode(message)
    except UnicodeEncodeError:
        return escape_texts(msgspec.to_builtins(message, builtin_types=(bytes,)))
    return message


class _SentBatch(NamedTuple):
    """A batch that the peer has not acknowledged."""

    number: int
    batch: list[Buffer]
    messages: list[Any]
    counts: list[int]


class Session(Generic[In]):
    """One end of a session.

    Parameters
    ----------
    id : the name of the session at both ends.
    decoder : from `decoder_of`: which messages the peer may send.
    on_message : called with each message and its frames, in order, on the loop's thread. It must not block.
    peer : the other end, for messages to users.
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
        """Returns the number of the last batch that may be acknowledged, if that is not the last one received."""
        self.on_unencodable: Callable[[Any, HowdahError], bool] | None = None
        """Called on the loop's thread with a message that cannot be encoded, and the reason. Unless it returns True,
        the session ends, and `run` raises the reason."""
        self.suspended = False
        self.record_undelivered: Callable[[Any], None] | None = None
        """Called with what is sent while the session is suspended."""
        self.last_received = time.monotonic()
        """When the last bytes of the peer arrived (`time.monotonic`)."""
        self.channel: Channel | None = None
        self.disconnected_since: float | None = None
        """Since when there is no channel; None while there is one."""
        self._decoder, self._on_message = decoder, on_message
        self._number = 0
        self._queue: deque[tuple[Any, Sequence[Buffer]]] = deque()
        self._unacknowledged: deque[_SentBatch] = deque()
        self._unacked_batches = 0
        self._unacked_bytes = 0
        self._flushing = False
        self._last_sent = 0.0
        self._failure: HowdahError | None = None
        self._loop = asyncio.get_running_loop()
        self.lock = threading.RLock()
        """Held while a batch is sent; messages that are queued meanwhile go with it or with the next."""

    def acknowledgeable(self) -> int:
        """Return the number of the last batch that may be acknowledged."""
        return self.received if self.acknowledge_limit is None else self.acknowledge_limit()

    @property
    def connected(self) -> bool:
        return self.channel is not None

    def send(self, message: Any, *frames: Buffer) -> None:
        """Send `message` at the end of this iteration of the loop. Do not change frames until they are acknowledged."""
        if self.suspended:
            if self.record_undelivered is not None:
                self.record_undelivered(message)
            return
        self._queue.append((message, frames))
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self.flush)

    def send_now(self, message: Any, *frames: Buffer) -> bool:
        """Send `message` and what was queued before it, from any thread.

        Returns False, and sends nothing, where only the loop's thread can send: without a connection, over TLS, or
        while the peer is slow to read.
        """
        with self.lock:
            if self.channel is None or self.suspended or not self.channel.thread_safe:
                return False
            self._queue.append((message, frames))
            self._send_queue()
        return True

    @property
    def last_queued(self) -> Any:
        """The last message that is queued and not sent; None if all are. Its sender may still change it.

        On the loop's thread, for a session that does not use `send_now`.
        """
        return self._queue[-1][0] if self._queue else None

    def resume(self, peer_received: int) -> None:
        """End the suspension: the peer is back, and has received the batches up to this one."""
        self.suspended = False
        self._number = peer_received

    def cork(self) -> bool:
        """Queue what is sent until `flush`, which the caller must call if this returns True."""
        mine = not self._flushing
        self._flushing = True
        return mine

    def flush(self) -> None:
        """Send the queued messages now."""
        self._flushing = False
        with self.lock:
            if self._queue:
                self._send_queue()
            elif self._unacked_batches:
                self._write([_encoder.encode(_BatchHeader(0, self.acknowledgeable(), [], []))])

    def _send_queue(self) -> None:
        self._number += 1
        messages: list[Any] = []
        counts: list[int] = []
        batch: list[Buffer] = [b""]
        pop = self._queue.popleft
        for _ in range(len(self._queue)):
            message, frames = pop()
            messages.append(message)
            counts.append(len(frames))
            batch += frames
        try:
            batch[0] = _encoder.encode(_BatchHeader(self._number, self.acknowledgeable(), counts, messages))
        except Exception:  # noqa: BLE001  # the message at fault is found, and given back to its sender
            messages, plain, counts, batch = self._encodable(messages, counts, batch)
            batch[0] = _encoder.encode(_BatchHeader(self._number, self.acknowledgeable(), counts, plain))
        self._unacknowledged.append(_SentBatch(self._number, batch, messages, counts))
        self._write(batch)

    def _encodable(
        self, messages: list[Any], counts: list[int], batch: list[Buffer]
    ) -> tuple[list[Any], list[Any], list[int], list[Buffer]]:
        """Return the messages of a batch that can be encoded, the same with texts escaped where needed, and their
        counts and frames; give the other messages back."""
        kept: list[Any] = []
        plain: list[Any] = []
        kept_counts: list[int] = []
        frames: list[Buffer] = [b""]
        at = 1
        for message, count in zip(messages, counts):
            mine = batch[at : at + count]
            at += count
            try:
                encodable = _with_escaped_texts(message)
                _encoder.encode(encodable)
            except Exception as error:  # noqa: BLE001  # whatever a message holds, its sender must receive it
                self._loop.call_soon_threadsafe(self._give_back, message, error)
                continue
            kept.append(message)
            plain.append(encodable)
            kept_counts.append(count)
            frames += mine
        return kept, plain, kept_counts, frames

    def _give_back(self, message: Any, error: Exception) -> None:
        """Tell the sender of a message that it cannot be encoded; end the session where there is none to tell."""
        kind = type(message).__name__
        failure = HowdahError(
            f"a message to {self.peer or 'the peer'} ({kind}) cannot be encoded: {describe_error(error)}"
        )
        log.error("%s", failure, exc_info=error)
        if self.on_unencodable is not None and self.on_unencodable(message, failure):
            return
        self._failure = failure
        if self.channel is not None:
            self.channel.close()

    def heartbeat(self, now: float, every: float, silence: float) -> None:
        """Send a heartbeat if nothing was sent for `every` seconds, and close a channel on which nothing arrived for
        `silence` seconds. Call it periodically."""
        if self.channel is None:
            return
        if now - self.last_received > silence:
            self.channel.close()
        elif now - self._last_sent >= every:
            with self.lock:
                self._write([_encoder.encode(_BatchHeader(0, self.acknowledgeable(), [], []))])

    async def run(self, channel: Channel, peer_received: int) -> None:
        """Exchange messages over `channel` until it ends. `peer_received`: the last batch that the peer has."""
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
        if self._failure is not None:
            raise self._failure

    async def _read(self, channel: Channel) -> None:
        def on_frames(frames: Sequence[memoryview]) -> None:
            if self.channel is channel:
                self._on_frames(channel, frames)

        await channel.deliver(on_frames)

    def _on_frames(self, channel: Channel, frames: Sequence[memoryview]) -> None:
        """Handle one batch."""
        self.last_received = time.monotonic()
        try:
            head = self._decoder.decode(frames[0])
        except msgspec.DecodeError as error:
            raise MalformedFrames(f"{channel.peer} sent a message that it may not send: {error}") from error
        self.on_acknowledged(head.acknowledged)
        if head.number <= self.received:
            return  # a heartbeat, or a batch that came through before its channel ended
        self.received = head.number
        if self.on_batch is not None:
            self.on_batch(head.number, head.messages, frames)
        at = 1
        for message, count in zip(head.messages, head.frames):
            self._on_message(message, frames[at : at + count])
            at += count
        self._unacked_batches += 1
        self._unacked_bytes += sum([frame.nbytes for frame in frames])
        if not self._flushing and (self._unacked_batches >= ACK_BATCHES or self._unacked_bytes >= ACK_BYTES):
            self._flushing = True
            self._loop.call_soon(self.flush)

    def replay(self, frames: Sequence[memoryview], which: Callable[[Any], bool]) -> None:
        """Handle again the messages of a journaled batch for which `which` is true."""
        head = self._decoder.decode(frames[0])
        at = 1
        for message, count in zip(head.messages, head.frames):
            if which(message):
                self._on_message(message, frames[at : at + count])
            at += count

    def on_acknowledged(self, number: int) -> None:
        """Forget the batches up to this one: the peer has received them."""
        stored = self._unacknowledged
        while stored and stored[0].number <= number:  # other threads append only
            stored.popleft()

    def _write(self, batch: Sequence[Buffer]) -> None:
        if self.channel is None:
            return
        self._last_sent = time.monotonic()
        self._unacked_batches = self._unacked_bytes = 0
        with contextlib.suppress(ChannelClosed):  # the reader ends too, and the batch is stored for the next channel
            self.channel.write(batch)

    def unacknowledged(self) -> list[tuple[Any, list[Buffer]]]:
        """Return the messages that the peer may not have received, with their frames: a new session may need them."""
        self.flush()
        found: list[tuple[Any, list[Buffer]]] = []
        for sent in self._unacknowledged:
            at = 1
            for message, count in zip(sent.messages, sent.counts):
                found.append((message, sent.batch[at : at + count]))
                at += count
        return found

    def close(self) -> None:
        """Send what is queued, and end the channel. Later messages are ignored, and all callbacks are dropped."""
        if self.channel is not None:
            self.flush()
            self.channel.close()
        self.on_batch = self.acknowledge_limit = self.record_undelivered = None
        self._on_message = _ignore

    async def close_with(self, message: Any, timeout: float = 1.0) -> None:
        """Send a last message, wait up to `timeout` seconds until the socket has accepted it, and end the channel."""
        channel = self.channel
        if channel is None:
            return
        self.send(message)
        self.flush()
        deadline = time.monotonic() + timeout
        while not channel.closed and channel.stream.writing() and time.monotonic() < deadline:
            await asyncio.sleep(0.005)
        channel.close()
