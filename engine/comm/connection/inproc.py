"""A connection between two ends of one process on one event loop: frames change hands, no socket, no copy.

The local cluster's scheduler and its client live on the same loop, so half of every round trip needs no system call.
`transport` makes such pairs where a Unix socket's listener turns out to be in this process; nobody else does.
Both ends behave as `Channel`s in every respect, except that what arrives may not be writable.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from howdah.engine.comm.connection.channel import Channel, ChannelClosed, NoStream
from howdah.engine.protocol.frames import Buffer, byte_view


class InprocChannel(Channel):
    """One end; `pair` makes two."""

    def __init__(self, peer: str) -> None:
        super().__init__(NoStream(), peer)  # type: ignore[arg-type]
        self._other: InprocChannel | None = None
        """None once the connection is over."""
        self._arrived: deque[Sequence[Buffer]] = deque()
        self._reader: asyncio.Future[None] | None = None
        self._over = False
        self._take: Callable[[list[memoryview]], None] | None = None
        self._taking = False
        self._ending: asyncio.Future[None] | None = None

    @property
    def closed(self) -> bool:
        return self._over

    def write(self, frames: Sequence[Buffer]) -> None:
        if self._over:
            raise self._ended()
        other = self._other
        assert other is not None
        other._arrived.append(frames)
        if other._take is not None:
            other._hand_on()
        else:
            other._wake()

    async def write_and_drain(self, frames: Sequence[Buffer]) -> None:
        self.write(frames)

    async def deliver(self, take: Callable[[list[memoryview]], None]) -> None:
        """As for any channel; what the other end writes is handed on at once, within its call of `write`."""
        self._take, self._ending = take, asyncio.get_running_loop().create_future()
        try:
            self._hand_on()
            if self._over and not self._ending.done():
                raise self._ended()
            await self._ending
        finally:
            self._take = self._ending = None

    def _hand_on(self) -> None:
        if self._taking:  # `take` has made the other end answer at once: that is next
            return
        self._taking = True
        try:
            while self._arrived and self._take is not None:
                frames = self._arrived.popleft()
                try:
                    self._take(list(map(byte_view, frames)))
                except BaseException as error:  # noqa: BLE001  # it is this end's fault, not that of the one who writes
                    self._take = None
                    if self._ending is not None and not self._ending.done():
                        self._ending.set_exception(error)
        finally:
            self._taking = False

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
        other, self._other = self._other, None
        for end in (self, other):
            if end is None:
                continue
            end._other = None  # two that have each other would wait for Python to look for them
            end._over = True
            end._wake()
            if end._ending is not None and not end._ending.done():
                end._ending.set_exception(end._ended())

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    def _ended(self) -> ChannelClosed:
        return ChannelClosed(f"the connection to {self.peer or 'a peer'} ended")


def pair(caller: str, listener: str) -> tuple[InprocChannel, InprocChannel]:
    """Two ends: for who calls (its peer is `listener`), and for who listens.

    >>> mine, other = pair("a client", "the scheduler")
    >>> mine.write([b"hello"])
    >>> [bytes(frame) for frame in asyncio.run(other.read())]
    [b'hello']
    """
    one: Any = InprocChannel(listener)
    two: Any = InprocChannel(caller)
    one._other, two._other = two, one
    return one, two
