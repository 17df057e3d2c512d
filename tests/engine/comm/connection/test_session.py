"""Sessions over connections that break: everything arrives once, in order."""

import asyncio
import random
import socket
import threading
from collections.abc import Sequence
from typing import Any

import pytest
from tornado.iostream import IOStream
from waiting import until_async

from howdah.engine.comm.connection.channel import Channel, MalformedFrames
from howdah.engine.comm.connection.session import Session, decoder_of
from howdah.engine.protocol.messages import ClientMessage, Leave, Query, SchedulerToWorker
from howdah.errors import HowdahError

DECODER = decoder_of(ClientMessage)


class End:
    """One end, with all that it has heard."""

    def __init__(self) -> None:
        self.heard: list[tuple[int, list[bytes]]] = []
        self.session: Session[Any] = Session("s", DECODER, self.hear)

    def hear(self, message: Query, frames: Sequence[memoryview]) -> None:
        self.heard.append((message.id, [bytes(frame) for frame in frames]))


def connect(a: End, b: End, tasks: list[asyncio.Task[None]]) -> tuple[Channel, Channel]:
    ends = [Channel(IOStream(s, max_buffer_size=1 << 62)) for s in socket.socketpair()]
    for end in ends:
        end.lift_size_limit()
    tasks.append(asyncio.ensure_future(a.session.run(ends[0], b.session.received)))
    tasks.append(asyncio.ensure_future(b.session.run(ends[1], a.session.received)))
    return ends[0], ends[1]


@pytest.mark.parametrize("seed", range(5))
def test_all_arrives_once_and_in_order_whatever_the_link_does(seed: int) -> None:
    async def story() -> None:
        dice = random.Random(seed)
        a, b, tasks = End(), End(), []
        channels = connect(a, b, tasks)
        count = 400
        for number in range(count):
            a.session.send(Query(number, "x"), bytes(dice.randrange(50_000)))
            b.session.send(Query(number, "y"))
            if dice.random() < 0.3:
                await asyncio.sleep(0)
            if dice.random() < 0.05:
                dice.choice(channels).close()
                await asyncio.sleep(0.001 * dice.randrange(3))
                channels = connect(a, b, tasks)
        await until_async(lambda: len(a.heard) >= count and len(b.heard) >= count)
        assert [number for number, _ in a.heard] == list(range(count))
        assert [number for number, _ in b.heard] == list(range(count))
        assert all(len(frames) == 1 for _, frames in b.heard)
        for channel in channels:
            channel.close()
        await asyncio.gather(*tasks)

    asyncio.run(story())


@pytest.mark.parametrize("seed", range(3))
def test_other_threads_send_too_and_each_ones_messages_keep_their_order(seed: int) -> None:
    async def story() -> None:
        dice = random.Random(seed)
        a, b, tasks = End(), End(), []
        channels = connect(a, b, tasks)
        loop, count, direct = asyncio.get_running_loop(), 300, []

        def hand_over(message: Query, frame: bytes, sent: threading.Event) -> None:
            a.session.send(message, frame)
            sent.set()

        def thread(me: int) -> None:
            for number in range(count):
                message, frame = Query(number * 10 + me, "x"), bytes([me]) * (1 + number * 97 % 70_000)
                if a.session.send_now(message, frame):
                    direct.append(me)
                    continue
                sent = threading.Event()  # as a slot does: leave it to the loop, and go on when it has it
                loop.call_soon_threadsafe(hand_over, message, frame, sent)
                sent.wait()

        threads = [threading.Thread(target=thread, args=(me,)) for me in (1, 2, 3)]
        for one in threads:
            one.start()
        while any(one.is_alive() for one in threads):
            a.session.send(Query(0, "x"), b"")
            await asyncio.sleep(0.001)
            if dice.random() < 0.05:
                dice.choice(channels).close()
                await asyncio.sleep(0.001 * dice.randrange(3))
                channels = connect(a, b, tasks)
        channels[0].close()
        await asyncio.gather(*tasks)
        channels = connect(a, b, tasks)
        await until_async(lambda: sum(bool(number) for number, _ in b.heard) >= 3 * count)
        for me in (1, 2, 3):
            assert [number // 10 for number, _ in b.heard if number % 10 == me] == list(range(count))
        assert all(set(frames[0]) == {number % 10} for number, frames in b.heard if number)
        assert len(direct) > count // 10
        for channel in channels:
            channel.close()
        await asyncio.gather(*tasks)

    asyncio.run(story())


def test_what_is_confirmed_is_not_kept() -> None:
    async def story() -> None:
        a, b, tasks = End(), End(), []
        channels = connect(a, b, tasks)
        for number in range(10):
            a.session.send(Query(number, "x"), bytes(300_000))
        assert len(a.session.unacknowledged()) == 10
        await until_async(lambda: not a.session.unacknowledged())
        for channel in channels:
            channel.close()
        await asyncio.gather(*tasks)

    asyncio.run(story())


def test_silence_ends_the_channel_and_heartbeats_prevent_it() -> None:
    async def story() -> None:
        a, b, tasks = End(), End(), []
        connect(a, b, tasks)
        await asyncio.sleep(0)
        heard = a.session.last_received
        b.session.heartbeat(heard + 100, every=1.0, silence=1e9)
        await until_async(lambda: a.session.last_received > heard)
        a.session.heartbeat(a.session.last_received + 5.0, every=1e9, silence=10.0)
        assert a.session.connected
        a.session.heartbeat(a.session.last_received + 11.0, every=1e9, silence=10.0)
        await asyncio.gather(*tasks)
        assert not a.session.connected
        assert a.session.disconnected_since is not None

    asyncio.run(story())


def test_a_peer_may_only_say_what_its_role_allows() -> None:
    async def story() -> None:
        here, there = (Channel(IOStream(s)) for s in socket.socketpair())
        there.lift_size_limit()
        liar: Session[SchedulerToWorker] = Session("s", decoder_of(SchedulerToWorker), lambda m, f: None)
        victim = End()
        lying = asyncio.ensure_future(liar.run(here, 0))
        liar.send(Leave("only a scheduler says so"))
        with pytest.raises(MalformedFrames, match="may not send"):
            await victim.session.run(there, 0)
        assert victim.heard == []
        await asyncio.gather(lying)

    asyncio.run(story())


def test_a_text_that_is_no_utf8_is_escaped_and_the_messages_around_it_arrive() -> None:
    async def story() -> None:
        a, b, tasks = End(), End(), []
        names: list[Any] = []
        b.session = Session("s", DECODER, lambda message, frames: names.append((message.query, message.arguments)))
        channels = connect(a, b, tasks)
        for name in ("before", "caf\udce9", "after"):
            a.session.send(Query(1, name, {name: [name]}), b"frame")
        await until_async(lambda: len(names) == 3)
        assert [name for name, _ in names] == ["before", "caf\\udce9", "after"]
        assert names[1][1] == {"caf\\udce9": ["caf\\udce9"]}
        for channel in channels:
            channel.close()
        await asyncio.gather(*tasks)

    asyncio.run(story())


@pytest.mark.parametrize("value", [2**70, object(), {1: {object(): 2}}])
def test_a_message_that_cannot_be_encoded_goes_back_to_its_sender_and_the_others_arrive(value: Any) -> None:
    async def story() -> None:
        a, b, tasks = End(), End(), []
        returned: list[Any] = []

        def on_unencodable(message: Any, error: HowdahError) -> bool:
            returned.append((message.id, str(error)))
            return True

        a.session.on_unencodable = on_unencodable
        channels = connect(a, b, tasks)
        a.session.send(Query(1, "x"), b"one")
        a.session.send(Query(2, "x", {"bad": value}), b"two")
        a.session.send(Query(3, "x"), b"three")
        await until_async(lambda: len(b.heard) == 2 and bool(returned))
        assert b.heard == [(1, [b"one"]), (3, [b"three"])]
        assert [number for number, _ in returned] == [2]
        assert "(Query) cannot be encoded" in returned[0][1]
        for channel in channels:
            channel.close()
        await asyncio.gather(*tasks)

    asyncio.run(story())


def test_a_session_whose_owner_has_no_use_for_an_unencodable_message_ends_with_an_error() -> None:
    async def story() -> None:
        a, b, tasks = End(), End(), []
        connect(a, b, tasks)
        a.session.send(Query(2, "x", {"bad": 2**70}))
        with pytest.raises(HowdahError, match="cannot be encoded: OverflowError"):
            await tasks[0]
        await tasks[1]

    asyncio.run(story())
