"""Messages that are delivered over a plain socket, on real socket pairs."""

from __future__ import annotations

import asyncio
import os
import socket

import pytest
from tornado.iostream import IOStream
from waiting import until_async

from howdah.engine.comm.connection.channel import Channel, ChannelClosed, MalformedFrames
from howdah.engine.comm.connection.inproc import pair
from howdah.engine.comm.connection.raw_stream import RawStream
from howdah.engine.protocol.frames import LARGE_FRAME, encode_message


def channels() -> tuple[Channel, Channel]:
    a, b = socket.socketpair()
    here, there = (Channel(IOStream(s, max_buffer_size=1 << 62), name) for s, name in ((a, "b"), (b, "a")))
    here.lift_size_limit()
    there.lift_size_limit()
    return here, there


MESSAGES = [
    [os.urandom(size) for size in sizes] for sizes in ([5], [0, 3], [LARGE_FRAME, 1, 3 * LARGE_FRAME], [9] * 3000, [0])
]


@pytest.mark.parametrize("at_once", [1, 7, 100_000, 1 << 30])
def test_messages_arrive_whole_however_they_are_cut(at_once: int) -> None:
    async def story() -> None:
        a, b = socket.socketpair()
        there = Channel(IOStream(b, max_buffer_size=1 << 62), "a")
        there.lift_size_limit()
        got: list[list[memoryview]] = []
        delivering = asyncio.ensure_future(there.deliver(got.append))
        messages = MESSAGES if at_once > 7 else [MESSAGES[0], MESSAGES[1], MESSAGES[4]]
        data = b"".join(bytes(piece) for message in messages for piece in encode_message(message))
        a.setblocking(False)
        loop = asyncio.get_running_loop()
        for at in range(0, len(data), at_once):
            await loop.sock_sendall(a, data[at : at + at_once])
            await asyncio.sleep(0)
        await until_async(lambda: len(got) == len(messages))
        assert [[bytes(frame) for frame in frames] for frames in got] == messages
        assert not any(frame.readonly for frames in got for frame in frames)
        a.close()
        with pytest.raises(ChannelClosed):
            await delivering

    asyncio.run(story())


def test_both_ends_write_more_than_the_socket_takes() -> None:
    async def story() -> None:
        ends = channels()
        got: tuple[list[list[memoryview]], ...] = ([], [])
        jobs = [asyncio.ensure_future(end.deliver(mine.append)) for end, mine in zip(ends, got)]
        await asyncio.sleep(0)
        assert all(type(end.stream) is RawStream for end in ends)
        big = [os.urandom(8 << 20), b"x"]
        for end in ends:
            for _ in range(3):
                end.write(big)
                end.write([b"after"])
        assert ends[0].stream.writing()
        await until_async(lambda: len(got[0]) == len(got[1]) == 6)
        for mine in got:
            assert [[bytes(frame) for frame in frames] for frames in mine] == [big, [b"after"]] * 3
        ends[0].close()
        for job in jobs:
            with pytest.raises(ChannelClosed):
                await job
        assert ends[0].closed
        assert ends[1].closed

    asyncio.run(story())


def test_what_came_with_the_greeting_is_delivered() -> None:
    async def story() -> None:
        here, there = channels()
        await here.write_and_drain([b"hello"])
        await here.write_and_drain([b"first"])
        await here.write_and_drain([b"second"])
        assert [bytes(frame) for frame in await there.read()] == [b"hello"]
        got: list[bytes] = []
        job = asyncio.ensure_future(there.deliver(lambda frames: got.append(bytes(frames[0]))))
        await until_async(lambda: len(got) == 2)
        assert got == [b"first", b"second"]
        job.cancel()
        here.close()
        there.close()

    asyncio.run(story())


@pytest.mark.parametrize("inside", [False, True])
def test_what_take_raises_ends_the_delivery(inside: bool) -> None:
    class Refused(Exception):
        pass

    def take(frames: list[memoryview]) -> None:
        raise Refused(bytes(frames[0]))

    async def story() -> None:
        here, there = pair("here", "there") if inside else channels()
        job = asyncio.ensure_future(there.deliver(take))
        await asyncio.sleep(0)
        here.write([b"no"])  # who writes does not hear of it
        with pytest.raises(Refused, match="no"):
            await job
        here.close()
        there.close()

    asyncio.run(story())


def test_who_does_not_speak_howdah_is_cut_off() -> None:
    async def story() -> None:
        a, b = socket.socketpair()
        there = Channel(IOStream(b), "a")
        a.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        with pytest.raises(MalformedFrames, match=r"does not speak howdah|before it had proved"):
            await there.deliver(lambda frames: None)
        a.close()

    asyncio.run(story())


def test_within_a_process_an_answer_comes_before_write_returns() -> None:
    async def story() -> None:
        here, there = pair("here", "there")
        got: list[bytes] = []
        echo = asyncio.ensure_future(there.deliver(lambda frames: there.write([b"re: " + bytes(frames[0])])))
        mine = asyncio.ensure_future(here.deliver(lambda frames: got.append(bytes(frames[0]))))
        await asyncio.sleep(0)
        here.write([b"one"])
        here.write([b"two"])
        assert got == [b"re: one", b"re: two"]
        here.close()
        for job in (echo, mine):
            with pytest.raises(ChannelClosed):
                await job

    asyncio.run(story())
