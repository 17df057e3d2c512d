"""Inputs from holders that break off, die or are stopped in the middle: what has come stays, the rest comes."""

from __future__ import annotations

import asyncio
import tempfile
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from waiting import until_async

from howdah.engine.comm.connection.channel import Channel
from howdah.engine.comm.connection.connect import Listener, send_greeting
from howdah.engine.comm.data.bulk_connection import BulkConnection
from howdah.engine.comm.data.transfer import PeerConnections, serve_results
from howdah.engine.comm.security.certificates import Role
from howdah.engine.protocol.layers import Key, TaskRange
from howdah.engine.protocol.messages import Hello, Welcome
from howdah.engine.worker.fetch import InputFetcher, SourceUnavailable
from howdah.engine.worker.store.store import ResultStore, size_of_value

KEY = b"k" * 16
N = 30


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="howdah-test-") as name:
        yield Path(name)


class Holder:
    """A data server that may break off its answers after so many items, for good or once, or wait for `go` there."""

    def __init__(self, folder: Path, name: str, fault: str = "", after: int = 1 << 30) -> None:
        self.name, self.fault, self.after = name, fault, after
        self.asked: Counter[int] = Counter()
        self.store = ResultStore()
        self.store.put(KEY, range(N), [np.full(2_000_000, i, "u1") for i in range(N)], [2_000_000] * N)
        self.pool = ThreadPoolExecutor(4)
        self.listener = Listener({"data": self._serve}, None)
        self.address = self.listener.open(f"unix://{folder}/{name}")
        self.source = (TaskRange(KEY, 0, N), name, self.address)
        self.lines: list[BulkConnection] = []
        self.stopped = asyncio.Event()
        self.go = threading.Event()

    async def _serve(self, channel: Channel, role: Role, hello: Hello) -> None:
        if self.fault == "stopped":
            await self.stopped.wait()  # it accepts, as the system does for a process that is stopped
        await send_greeting(channel, Welcome(""))
        await serve_results(channel, self._pack, self.pool)

    def _pack(self, layer: Key, item: int, share: bool) -> Any:
        if self.fault in ("dies", "breaks off") and sum(self.asked.values()) >= self.after:
            if self.fault == "breaks off":
                self.fault = ""
            else:
                self.listener.stop()
            raise ConnectionResetError("the link broke")
        if self.fault == "waits" and sum(self.asked.values()) >= self.after:
            self.go.wait(20)
        self.asked[item] += 1
        return self.store.pack(layer, item, False)  # by bytes, in pieces of some items

    def close(self) -> None:
        self.stopped.set()
        self.go.set()
        self.listener.close()
        self.pool.shutdown(wait=False)


def tell(folder: Path, story: Callable[[InputFetcher, PeerConnections, ResultStore], Awaitable[None]]) -> None:
    async def told() -> None:
        peers, store = PeerConnections("me", None), ResultStore()
        try:
            await asyncio.wait_for(story(InputFetcher(store, peers), peers, store), 30)
        finally:
            peers.close()
            for _ in range(5):
                await asyncio.sleep(0)

    asyncio.run(told())


def whole(store: ResultStore) -> bool:
    return all(size_of_value(store.get(KEY, i)) == 2_000_000 and store.get(KEY, i)[-1] == i for i in range(N))


def test_a_link_that_breaks_is_gone_on_with(folder: Path) -> None:
    async def story(fetching: InputFetcher, peers: PeerConnections, store: ResultStore) -> None:
        holder = Holder(folder, "a", "breaks off", after=20)
        await fetching.fetch([holder.source])
        assert whole(store)
        assert sum(holder.asked.values()) < N + 20  # not all from the beginning again
        holder.close()

    tell(folder, story)


def test_the_rest_comes_from_another_holder(folder: Path) -> None:
    async def story(fetching: InputFetcher, peers: PeerConnections, store: ResultStore) -> None:
        first, second = Holder(folder, "a", "dies", after=20), Holder(folder, "b")
        await fetching.fetch([first.source, second.source])
        assert whole(store)
        assert 0 < sum(second.asked.values()) < N  # only what the first had not given
        first.close()
        second.close()

    tell(folder, story)


def test_only_what_did_not_come_is_reported_missing(folder: Path) -> None:
    async def story(fetching: InputFetcher, peers: PeerConnections, store: ResultStore) -> None:
        holder = Holder(folder, "a", "dies", after=20)
        with pytest.raises(SourceUnavailable, match="a at unix://") as failed:
            await fetching.fetch([holder.source])
        here = {i for i in range(N) if store.has(KEY, i)}
        lacking = {i for task_range in failed.value.ranges for i in range(task_range.start, task_range.stop)}
        assert here
        assert lacking
        assert here.isdisjoint(lacking)
        assert here | lacking == set(range(N))
        holder.close()

    tell(folder, story)


def test_whoever_waits_for_a_worker_that_was_given_up_is_told(folder: Path) -> None:
    """A stopped process still accepts connections: without a word it would be waited for."""

    async def story(fetching: InputFetcher, peers: PeerConnections, store: ResultStore) -> None:
        first, second = Holder(folder, "a", "stopped"), Holder(folder, "b")
        waiting = asyncio.ensure_future(fetching.fetch([first.source]))
        helped = asyncio.ensure_future(fetching.fetch([(TaskRange(KEY, 0, 1), "a", first.address)]))
        await asyncio.sleep(0)
        while not first.listener.channels:
            await asyncio.sleep(0.005)
        peers.abort(first.address)
        for one in (waiting, helped):
            with pytest.raises(SourceUnavailable, match="was given up"):
                await asyncio.wait_for(one, 2)
        await fetching.fetch([second.source])
        assert whole(store)
        first.close()
        second.close()

    tell(folder, story)


async def half_way(
    folder: Path, fetching: InputFetcher, store: ResultStore
) -> tuple[Holder, asyncio.Future[None], set[int]]:
    """A holder that gives all, waiting in the middle of it; the fetch; what has come."""
    holder = Holder(folder, "a", "waits", after=20)
    fetch = asyncio.ensure_future(fetching.fetch([holder.source]))
    await until_async(lambda: sum(holder.asked.values()) >= 20 and store.has(KEY, 0))
    return holder, fetch, held(store)


def held(store: ResultStore) -> set[int]:
    return {i for i in range(N) if store.has(KEY, i)}


def test_what_is_freed_on_its_way_does_not_stay(folder: Path) -> None:
    """Its run was asked back: nobody knows any more that it comes."""

    async def story(fetching: InputFetcher, peers: PeerConnections, store: ResultStore) -> None:
        holder, fetch, _ = await half_way(folder, fetching, store)
        fetching.free([TaskRange(KEY, 0, N)])
        holder.go.set()
        await fetch
        assert sum(holder.asked.values()) == N
        assert held(store) == set()
        assert store.nbytes == 0
        holder.close()

    tell(folder, story)


def test_what_is_freed_on_its_way_and_asked_for_again_is_there(folder: Path) -> None:
    async def story(fetching: InputFetcher, peers: PeerConnections, store: ResultStore) -> None:
        holder, fetch, came = await half_way(folder, fetching, store)
        fetching.free([TaskRange(KEY, 0, N)])
        again = asyncio.ensure_future(fetching.fetch([holder.source]))
        await asyncio.sleep(0)  # it begins, and sees what is on its way
        holder.go.set()
        await asyncio.gather(fetch, again)
        assert whole(store)
        assert all(holder.asked[i] == 2 for i in came)  # it had come and gone
        assert sum(holder.asked.values()) < 2 * N  # what was still to come came once
        holder.close()

    tell(folder, story)


def test_another_scheduler_knows_only_what_runs_wait_for(folder: Path) -> None:
    async def story(fetching: InputFetcher, peers: PeerConnections, store: ResultStore) -> None:
        holder, fetch, came = await half_way(folder, fetching, store)
        fetching.discard_in_flight_except([TaskRange(KEY, N - 5, N), *(TaskRange(KEY, i, i + 1) for i in came)])
        holder.go.set()
        await fetch
        assert held(store) >= came | set(range(N - 5, N))
        assert held(store) < set(range(N))
        holder.close()

    tell(folder, story)
