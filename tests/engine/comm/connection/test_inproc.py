"""Connections inside of one process: they behave as those over sockets."""

from __future__ import annotations

import asyncio

import pytest

from howdah.engine.comm.connection.channel import ChannelClosed
from howdah.engine.comm.connection.inproc import pair


def test_frames_are_delivered_within_the_call_that_writes_them() -> None:
    async def story() -> None:
        mine, other = pair("client", "scheduler")
        got: list[bytes] = []

        def on_frames(frames: list[memoryview]) -> None:
            got.append(bytes(frames[0]))
            if len(got) < 3:
                other.write([b"reply %d" % len(got)])

        replies: list[bytes] = []
        tasks = [
            asyncio.ensure_future(other.deliver(on_frames)),
            asyncio.ensure_future(mine.deliver(lambda frames: replies.append(bytes(frames[0])))),
        ]
        await asyncio.sleep(0)
        for number in range(3):
            mine.write([b"%d" % number])
            assert len(got) == number + 1
        assert replies == [b"reply 1", b"reply 2"]
        mine.close()
        for task in tasks:
            with pytest.raises(ChannelClosed):
                await task

    asyncio.run(story())


def test_an_error_of_the_receiver_is_its_own() -> None:
    async def story() -> None:
        mine, other = pair("client", "scheduler")

        def on_frames(frames: list[memoryview]) -> None:
            raise ZeroDivisionError

        delivering = asyncio.ensure_future(other.deliver(on_frames))
        await asyncio.sleep(0)
        mine.write([b"x"])
        with pytest.raises(ZeroDivisionError):
            await delivering

    asyncio.run(story())


def test_what_was_written_before_the_end_is_read_and_then_the_end() -> None:
    async def story() -> None:
        mine, other = pair("client", "scheduler")
        mine.write([b"last"])
        mine.close()
        mine.close()
        assert bytes((await other.read())[0]) == b"last"
        with pytest.raises(ChannelClosed, match="client"):
            await other.read()
        with pytest.raises(ChannelClosed):
            other.write([b"x"])
        assert mine.closed
        assert other.closed

    asyncio.run(story())
