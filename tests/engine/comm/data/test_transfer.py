"""Results between two ends over real sockets: by bytes, by shared memory, over TLS; and when things go wrong."""

import asyncio
import contextlib
import os
import tempfile
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from waiting import until_async

from howdah.engine.comm.connection.channel import Channel, ChannelClosed
from howdah.engine.comm.connection.connect import Listener
from howdah.engine.comm.data import buffer_pool, transfer
from howdah.engine.comm.data.bulk_connection import BulkConnection
from howdah.engine.comm.data.bulk_opening import welcome_peer
from howdah.engine.comm.data.compression import Compressor, decompress
from howdah.engine.comm.data.transfer import MISSING, Packed, PeerConnections, serve_results
from howdah.engine.comm.security.certificates import Authority, Role, Security
from howdah.engine.protocol.layers import Key, TaskRange
from howdah.engine.protocol.messages import Hello
from howdah.engine.worker.store.store import ResultStore, size_of_value
from howdah.errors import Unpicklable

KEY = b"k" * 16
MIB = 1 << 20


class Holder:
    """A data server with a store, in this process."""

    def __init__(self, listen: str, security: Security | None = None, other_host: bool = False) -> None:
        self.store = ResultStore()
        self.pool = ThreadPoolExecutor(4)
        self.other_host = other_host
        self.connections = 0
        self.listener = Listener({"data": self._serve}, security)
        self.address = self.listener.open(listen)

    async def _serve(self, channel: Channel, role: Role, hello: Hello) -> None:
        self.connections += 1
        seal = await welcome_peer(channel, hello)
        await serve_results(channel, self.store.pack, self.pool, self.other_host, seal)

    def hold(self, values: list[Any]) -> list[TaskRange]:
        self.store.put(KEY, range(len(values)), values, [size_of_value(value) for value in values])
        return [TaskRange(KEY, 0, len(values))]


Story = Callable[[Holder, PeerConnections], Coroutine[Any, Any, None]]


def tell(story: Story, folder: Path, tls: bool = False, other_host: bool = False) -> None:
    sockets = tempfile.TemporaryDirectory()  # has a short name and is private

    async def told() -> None:
        server = client = None
        listen = f"unix://{sockets.name}/data"
        if tls:
            authority = Authority.create("app")
            server = Security.load(authority.write_identity(folder / "s", Role("app", "worker", "container_1")))
            client = Security.load(authority.write_client_dir(folder / "c", "me"))
            listen = "tls://127.0.0.1:0"
        holder = Holder(listen, server, other_host)
        peers = PeerConnections("me", client)
        try:
            await asyncio.wait_for(story(holder, peers), 30)
        finally:
            peers.close()
            holder.listener.close()
            for _ in range(3):
                await asyncio.sleep(0)
            holder.pool.shutdown(wait=True)

    with sockets:
        asyncio.run(told())


async def fetched(
    holder: Holder, peers: PeerConnections, ranges: list[TaskRange]
) -> tuple[dict[int, Any], list[tuple[Key, int]]]:
    got: dict[int, Packed] = {}
    missing = await peers.fetch(holder.address, ranges, lambda _, item, packed: got.update({item: packed}))
    return {item: packed.open() for item, packed in got.items()}, missing


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def descriptors_in_use() -> int:
    """Without those of pooled memory. The sender's thread may pool its last segment after the receiver has all."""
    buffer_pool.trim()
    return descriptors()


def test_on_one_host_large_results_are_mapped_not_sent(tmp_path: Path) -> None:
    async def story(holder: Holder, peers: PeerConnections) -> None:
        values = [np.full(MIB // 8, float(i)) for i in range(300)]
        ranges = holder.hold([*values, "small", np.zeros(10)])
        before = descriptors()
        found, missing = await fetched(holder, peers, ranges)
        assert missing == []
        assert found[300] == "small"
        assert all(found[i][0] == found[i][-1] == float(i) for i in range(300))
        assert Path("/proc/self/maps").read_text().count("memfd:howdah-result") >= 300
        await until_async(lambda: descriptors_in_use() <= before + 8)  # mappings need none
        found[7][:] = -1.0  # hers alone
        assert holder.store.get(KEY, 7)[5] == 7.0
        again, _ = await fetched(holder, peers, ranges)
        assert again[7][5] == 7.0
        again[7][0] = 3.0
        assert (
            Path("/proc/self/maps").read_text().count("memfd:howdah-result") >= 900
        )  # the holder's are there too, now
        await until_async(lambda: before + 300 <= descriptors_in_use() <= before + 300 + 8)
        third, _ = await fetched(holder, peers, ranges)
        assert third[7][0] == 7.0
        del third
        assert holder.store.memory == holder.store.nbytes
        holder.store.free(ranges)
        values.clear()
        assert holder.store.memory == 0
        await until_async(lambda: descriptors_in_use() <= before + 8)
        assert again[9][-1] == 9.0  # what was mapped lives as long as who has it

    tell(story, tmp_path)


def test_without_descriptors_the_bytes_are_sent(tmp_path: Path) -> None:
    async def story(holder: Holder, peers: PeerConnections) -> None:
        ranges = holder.hold([np.full(MIB // 8, float(i)) for i in range(20)])
        holder.store.segments.available = 3
        found, _ = await fetched(holder, peers, ranges)
        assert [found[i][-1] for i in range(20)] == [float(i) for i in range(20)]

    tell(story, tmp_path)


@pytest.mark.parametrize("tls", [False, True])
def test_all_kinds_of_values_missing_ones_and_bad_ones(
    tmp_path: Path, tls: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "CHUNK_BYTES", MIB)

    async def story(holder: Holder, peers: PeerConnections) -> None:
        table = pa.table({"a": np.arange(200_000), "b": [str(i) for i in range(200_000)]})
        values = [1, b"x" * 3 * MIB, table, table.slice(7, 1000), {"a": [np.arange(50_000)]}, threading.Lock(), None]
        holder.hold(values)
        holder.store.free([TaskRange(KEY, 3, 4)])
        got: dict[int, Packed] = {}
        ranges = [TaskRange(KEY, 0, 7), TaskRange(b"unknown", 0, 2), TaskRange(KEY, 2, 3)]
        missing = await peers.fetch(holder.address, ranges, lambda _, item, packed: got.update({item: packed}))
        assert sorted(missing) == sorted([(KEY, 3), (b"unknown", 0), (b"unknown", 1)])
        assert got[0].open() == 1
        assert got[1].open() == values[1]
        assert got[2].open().equals(table)
        np.testing.assert_array_equal(got[4].open()["a"][0], np.arange(50_000))
        with pytest.raises(Unpicklable, match="lock"):
            got[5].open()
        assert got[6].open() is None
        await asyncio.gather(*(fetched(holder, peers, [TaskRange(KEY, 0, 3)]) for _ in range(20)))
        assert holder.connections <= 2  # they are used again

    tell(story, tmp_path, tls)


def test_a_holder_that_dies_while_it_is_asked(tmp_path: Path) -> None:
    async def story(holder: Holder, peers: PeerConnections) -> None:
        asked, go = threading.Event(), threading.Event()

        def stuck(layer: Key, item: int, share: bool) -> Any:
            asked.set()
            assert go.wait(20)
            return MISSING

        holder.store.pack = stuck  # type: ignore[method-assign]
        job = asyncio.ensure_future(fetched(holder, peers, [TaskRange(KEY, 0, 1)]))
        await asyncio.to_thread(asked.wait, 20)
        holder.listener.close()
        with pytest.raises(ChannelClosed):
            await job
        go.set()

    tell(story, tmp_path)


def test_closing_ends_every_wait(tmp_path: Path) -> None:
    async def story(holder: Holder, peers: PeerConnections) -> None:
        asked, go = threading.Event(), threading.Event()

        def stuck(layer: Key, item: int, share: bool) -> Any:
            asked.set()
            assert go.wait(20)
            return MISSING

        holder.store.pack = stuck  # type: ignore[method-assign]
        job = asyncio.ensure_future(fetched(holder, peers, [TaskRange(KEY, 0, 100)]))
        await asyncio.to_thread(asked.wait, 20)
        peers.close()
        with pytest.raises(ChannelClosed):
            await job
        go.set()

    tell(story, tmp_path)


def test_a_connection_that_died_while_idle_is_made_anew(tmp_path: Path) -> None:
    async def story(holder: Holder, peers: PeerConnections) -> None:
        ranges = holder.hold([1])
        assert (await fetched(holder, peers, ranges))[0] == {0: 1}
        for channel in list(holder.listener.channels):
            channel.close()
        assert (await fetched(holder, peers, ranges))[0] == {0: 1}
        assert holder.connections == 2

    tell(story, tmp_path)


class Between:
    """Somebody on the network between two ends, who sees all bytes and may change them."""

    def __init__(self, address: str, meddle: Callable[[bytes, int], bytes] = lambda data, before: data) -> None:
        host, port = address.removeprefix("tls://").split(":")
        self.target = host, int(port)
        self.meddle = meddle
        self.seen: list[bytearray] = []
        """What each connection's server has sent."""
        self.address = ""

    async def __aenter__(self) -> "Between":
        self.server = await asyncio.start_server(self._pass, "127.0.0.1", 0)
        self.address = f"tls://127.0.0.1:{self.server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self.server.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(*self.target)
        seen = bytearray()
        self.seen.append(seen)

        async def one_way(source: asyncio.StreamReader, sink: asyncio.StreamWriter, back: bool) -> None:
            with contextlib.suppress(ConnectionError):
                while data := await source.read(1 << 16):
                    if back:
                        data = self.meddle(data, len(seen))
                        seen.extend(data)
                    sink.write(data)
                    await sink.drain()
            sink.close()

        await asyncio.gather(one_way(reader, far_writer, False), one_way(far_reader, writer, True))


def records_only(seen: bytes) -> bool:
    """Whether all of it is TLS records (RFC 8446, 5.1)."""
    at = 0
    while at < len(seen):
        if seen[at] not in (20, 21, 22, 23) or seen[at + 1] != 3:
            return False
        at += 5 + int.from_bytes(seen[at + 3 : at + 5], "big")
    return True


@pytest.mark.parametrize("seals", [True, False])
def test_who_listens_between_two_hosts_learns_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seals: bool
) -> None:
    """With HOWDAH_SEAL=0 all of it is in TLS records; without, only the greeting is."""
    monkeypatch.setenv("HOWDAH_SEAL", "1" if seals else "0")

    async def story(holder: Holder, peers: PeerConnections) -> None:
        ranges = holder.hold([b"a secret " * 400_000, "another secret"])
        async with Between(holder.address) as between:
            got: dict[int, Packed] = {}
            await peers.fetch(between.address, ranges, lambda _, item, packed: got.update({item: packed}))
            assert got[0].open() == b"a secret " * 400_000
            assert got[1].open() == "another secret"
            (seen,) = between.seen
            assert b"secret" not in seen
            assert records_only(seen) != seals
            assert len(seen) < 3_600_000 + 12_000 * (1 if seals else 3)

    tell(story, tmp_path, tls=True)


def test_what_was_changed_on_its_way_is_asked_for_again(tmp_path: Path) -> None:
    changed: list[int] = []

    def meddle(data: bytes, before: int) -> bytes:
        if before > 1_000_000 and not changed:
            changed.append(before)
            data = data[:-1] + bytes([data[-1] ^ 1])
        return data

    async def story(holder: Holder, peers: PeerConnections) -> None:
        values = [np.random.default_rng(i).bytes(MIB) for i in range(4)]
        ranges = holder.hold(values)
        async with Between(holder.address, meddle) as between:
            got: dict[int, Packed] = {}
            assert await peers.fetch(between.address, ranges, lambda _, item, packed: got.update({item: packed})) == []
            assert {item: packed.open() for item, packed in got.items()} == dict(enumerate(values))
            assert changed
            assert len(between.seen) == 2

    tell(story, tmp_path, tls=True)


def test_who_changes_all_of_it_stops_the_transfer(tmp_path: Path) -> None:
    async def story(holder: Holder, peers: PeerConnections) -> None:
        ranges = holder.hold([np.random.default_rng(0).bytes(4 * MIB)])

        def meddle(data: bytes, before: int) -> bytes:
            return data[:-1] + bytes([data[-1] ^ 1]) if before > MIB else data

        async with Between(holder.address, meddle) as between:
            with pytest.raises(ChannelClosed, match=r"changed on its way|invalid record length"):
                await peers.fetch(between.address, ranges, lambda *_: pytest.fail("it was taken"))
            assert len(between.seen) == 1 + transfer.MAX_RECONNECTS

    tell(story, tmp_path, tls=True)


class _Pace:
    def __init__(self, seconds_per_byte: float) -> None:
        self.seconds_per_byte = seconds_per_byte


def pressed_by(pace: float, frame: bytes) -> tuple[list[Any], Any]:
    frames: list[Any] = [b"head", frame]
    return frames, Compressor(_Pace(pace)).compress(frames)  # type: ignore[arg-type]


def test_frames_are_pressed_where_a_sample_says_that_it_pays() -> None:
    shrinks = np.repeat(np.arange(2000.0), 200).tobytes()
    slow, fast = 1e-7, 1e-12  # 10 MB/s, 1 TB/s
    frames, pressed = pressed_by(slow, shrinks)
    assert pressed == [(1, len(shrinks))]
    assert len(frames[1]) < len(shrinks) // 2
    decompress(frames, pressed)
    assert bytes(frames[1]) == shrinks
    assert pressed_by(fast, shrinks)[1] == []
    assert pressed_by(slow, np.random.default_rng(0).bytes(MIB))[1] == []
    assert pressed_by(slow, shrinks[:1000])[1] == []


def test_between_hosts_a_slow_line_carries_lz4(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []
    monkeypatch.setattr(transfer, "decompress", lambda f, p: (taken.extend(len(f[i]) for i, _ in p), decompress(f, p)))
    send = BulkConnection.send

    def slow(line: BulkConnection, *args: Any) -> None:
        send(line, *args)
        line.seconds_per_byte = 1e-7

    monkeypatch.setattr(BulkConnection, "send", slow)

    async def story(holder: Holder, peers: PeerConnections) -> None:
        values = [np.repeat(np.arange(1000.0) + i, 100) for i in range(4)]
        ranges = holder.hold(values)
        for _ in range(2):  # the pace of a line is known after its first answer
            found, _ = await fetched(holder, peers, ranges)
        for i in range(4):
            np.testing.assert_array_equal(found[i], values[i])
        assert len(taken) == 4
        assert sum(taken) < sum(value.nbytes for value in values) // 3

    tell(story, tmp_path, tls=True, other_host=True)
