"""Frames and channels on real socket pairs."""

import asyncio
import os
import socket
import struct

import pytest
from tornado.iostream import IOStream

from howdah.engine.comm.connection.channel import Channel, ChannelClosed, MalformedFrames
from howdah.engine.protocol.frames import LARGE_FRAME, encode_message


async def pair() -> tuple[Channel, Channel]:
    a, b = socket.socketpair()
    return tuple(Channel(IOStream(s, max_buffer_size=1 << 62), name) for s, name in ((a, "b"), (b, "a")))


@pytest.mark.parametrize("sizes", [[0], [1, 0, 2], [LARGE_FRAME, 3, LARGE_FRAME + 1], [10] * 5000, [5_000_000, 7]])
def test_frames_arrive_as_they_were(sizes: list[int]) -> None:
    async def story() -> None:
        here, there = await pair()
        there.lift_size_limit()
        frames = [os.urandom(size) for size in sizes]
        reading = asyncio.ensure_future(there.read())
        await here.write_and_drain(frames)
        got = await reading
        assert [bytes(frame) for frame in got] == frames
        assert not any(frame.readonly for frame in got)
        here.close()
        there.close()

    asyncio.run(story())


def test_large_frames_are_not_copied_together() -> None:
    small, large = b"x" * 10, bytearray(1 << 20)
    pieces = encode_message([small, large, small])
    assert pieces[1] is large
    assert len(pieces) == 3


def test_a_large_frame_has_memory_of_its_own() -> None:
    """One small array that is kept must not keep a large neighbour's memory."""

    async def story() -> None:
        here, there = await pair()
        there.lift_size_limit()
        reading = asyncio.ensure_future(there.read())
        await here.write_and_drain([b"head", bytes(4 * LARGE_FRAME), b"tail"])
        head, large, tail = await reading
        assert head.obj is not large.obj
        assert large.obj is not tail.obj
        assert len(large.obj) == 4 * LARGE_FRAME
        here.close()
        there.close()

    asyncio.run(story())


def test_who_has_not_proved_a_role_may_send_little() -> None:
    async def story() -> None:
        here, there = await pair()
        here.stream.write(struct.pack("<IQ", 1, 1 << 40))
        with pytest.raises(MalformedFrames, match="before it had proved"):
            await there.read()
        here.stream.write(struct.pack("<IQ", 1 << 31, 1))
        with pytest.raises(MalformedFrames, match="announced"):
            await there.read()
        here.close()
        there.close()

    asyncio.run(story())


def test_a_waiting_reader_sees_the_end() -> None:
    async def story() -> None:
        here, there = await pair()
        reading = asyncio.ensure_future(there.read())
        await asyncio.sleep(0)
        here.close()
        with pytest.raises(ChannelClosed):
            await asyncio.wait_for(reading, 5)
        with pytest.raises(ChannelClosed):
            here.write([b"x"])

    asyncio.run(story())
