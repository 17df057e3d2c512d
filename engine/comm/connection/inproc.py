"""A connection between two ends of one process on one event loop: frames change hands without a socket or a copy.

The local cluster's scheduler and its client share a loop, so half of every round trip needs no system call. `connect`
makes such pairs where the listener of a Unix socket turns out to be in this process. Both ends behave as `Channel`s,
except that the frames that arrive may not be writable.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

from howdah.engine.comm.connection.channel import Channel, ChannelClosed, NoStream
from howdah.engine.protocol.frames import Buffer, byte_view


class InprocChannel(Channel):
    """One end; `pair` makes two. The other end calls `receive` and `end`."""

    def __init__(self, peer: str) -> None:
        super().__init__(NoStream(), peer)  # type: ignore[arg-type]
        self.other: InprocChannel | None = None
        """None once the connection has ended."""
        self._arrived: deque[Sequence[Buffer]] = deque()
        self._reader: asyncio.Future[None] | None = None
        self._over = False
        self._on_frames: Callable[[list[memoryview]], None] | None = None
        self._delivering = False
        self._ending: asyncio.Future[None] | None = None

    @property
    def closed(self) -> bool:
        return self._over

    def write(self, frames: Sequence[Buffer]) -> None:
        if self._over:
            raise self._ended()
        assert self.other is not None
        self.other.receive(frames)

    async def write_and_drain(self, frames: Sequence[Buffer]) -> None:
        self.write(frames)

    def receive(self, frames: Sequence[Buffer]) -> None:
        """Take the frames of one message from the other end."""
        self._arrived.append(frames)
        if self._on_frames is not None:
            self._deliver_arrived()
        else:
            self._wake_reader()

    async def deliver(self, on_frames: Callable[[list[memoryview]], None]) -> None:
        """As for any channel; what the other end writes is delivered at once, within its call of `write`."""
        self._on_frames, self._ending = on_frames, asyncio.get_running_loop().create_future()
        try:
            self._deliver_arrived()
            if self._over and not self._ending.done():
                raise self._ended()
            await self._ending
        finally:
            self._on_frames = self._ending = None

    def _deliver_arrived(self) -> None:
        if self._delivering:  # `on_frames` has made the other end reply at once: the loop below comes to that
            return
        self._delivering = True
        try:
            while self._arrived and self._on_frames is not None:
                frames = self._arrived.popleft()
                try:
                    self._on_frames(list(map(byte_view, frames)))
                except BaseException as error:  # noqa: BLE001  # raised by `deliver`, not in the end that writes
                    self._on_frames = None
                    if self._ending is not None and not self._ending.done():
                        self._ending.set_exception(error)
        finally:
            self._delivering = False

    async def read(self) -> list[memoryview]:
        while not self._arrived:
            if self._over:
                raise self._ended()
            self._reader = asyncio.get_running_loop().create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        return list(map(byte_view, self._arrived.popleft()))

    def close(self) -> None:
        other = self.other
        self.end()
        if other is not None:
            other.end()

    def end(self) -> None:
        """End this side of the connection."""
        self.other = None  # two that refer to each other would be freed by the cyclic collector only
        self._over = True
        self._wake_reader()
        if self._ending is not None and not self._ending.done():
            self._ending.set_exception(self._ended())

    def _wake_reader(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    def _ended(self) -> ChannelClosed:
        return ChannelClosed(f"the connection to {self.peer or 'a peer'} ended")


def pair(caller: str, listener: str) -> tuple[InprocChannel, InprocChannel]:
    """Return two ends: the caller's, whose peer is `listener`, and the listener's.

    >>> mine, other = pair("a client", "the scheduler")
    >>> mine.write([b"hello"])
    >>> [bytes(frame) for frame in asyncio.run(other.read())]
    [b'hello']
    """
    one, two = InprocChannel(listener), InprocChannel(caller)
    one.other, two.other = two, one
    return one, two
