"""`ResultFetcher`: the values of results. Small ones came with the reports; others are fetched from their holders."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from howdah.engine.client.connection import SchedulerConnection
from howdah.engine.client.layer_results import LayerResults
from howdah.engine.comm.connection.event_loop import loop_thread
from howdah.engine.comm.data.transfer import Packed, PeerConnections, PeerGone
from howdah.engine.comm.security.certificates import Security
from howdah.engine.protocol.layers import Key, TaskRange
from howdah.engine.protocol.messages import NOT_INLINE, FetchFailed
from howdah.errors import HowdahError

Ranges = Sequence[tuple[LayerResults, int, int]]
MissingByHolder = dict[str, list[tuple[LayerResults, int]]]


class ResultFetcher:
    """Collects values, with one connection per worker. `collect` runs on the user's thread, transfers on the loop's."""

    def __init__(
        self,
        connection: SchedulerConnection,
        name: str,
        security: Security | None,
        addresses: Mapping[str, str],
    ) -> None:
        self._connection, self._addresses = connection, addresses
        self._thread = loop_thread()
        self._peers = self._thread.call(_create_peers(name, security))

    def collect(self, ranges: Ranges) -> list[Any] | None:
        """Return the values of ranges that are all done; None if some could not be fetched: wait for them again."""
        values: list[Any] = []
        absent: MissingByHolder = {}
        places: dict[tuple[Key, int], list[int]] = {}
        loads, keep = pickle.loads, values.append
        for results, start, stop in ranges:
            expected = start
            for part, a, b in results.chunks_in(start, stop):
                if a != expected:
                    return None  # lost in the meantime
                expected = b
                for item, data in enumerate(part.pickles(a, b), a):
                    if data is not None:
                        keep(loads(data))
                        continue
                    places.setdefault((results.key, item), []).append(len(values))
                    absent.setdefault(part.holder, []).append((results, item))
                    keep(None)
            if expected != stop:
                return None
        if absent:
            return self._fetch(absent, places, values)
        return values

    def all_inline(self, ranges: Ranges) -> bool:
        """Return whether all values are here already, because they are small and came with the reports."""
        return not any(
            NOT_INLINE in part.lengths or not part.lengths
            for results, start, stop in ranges
            for part, _, _ in results.chunks_in(start, stop)
        )

    def _fetch(
        self, absent: MissingByHolder, places: Mapping[tuple[Key, int], list[int]], values: list[Any]
    ) -> list[Any] | None:
        got: list[tuple[Key, int, Packed]] = []
        complete = self._thread.call(self._transfer(absent, got))
        for layer, item, packed in got:
            for place in places[layer, item]:
                values[place] = packed.open()  # anew for each place: values are not shared
        return values if complete else None

    async def _transfer(self, absent: MissingByHolder, got: list[tuple[Key, int, Packed]]) -> bool:
        jobs = [self._fetch_from(holder, items, got) for holder, items in absent.items()]
        return all(await asyncio.gather(*jobs))

    async def _fetch_from(
        self, holder: str, items: Sequence[tuple[LayerResults, int]], got: list[tuple[Key, int, Packed]]
    ) -> bool:
        wanted = list(dict.fromkeys((results.key, item) for results, item in items))
        arrived: set[tuple[Key, int]] = set()

        def take(layer: Key, item: int, packed: Packed) -> None:
            arrived.add((layer, item))
            got.append((layer, item, packed))

        address = self._addresses.get(holder, "")
        for attempt in range(3):
            try:
                rest = [name for name in wanted if name not in arrived]
                missing = await self._peers.fetch(address, _as_ranges(rest), take)
            except (HowdahError, OSError) as error:
                if attempt < 2 and not isinstance(error, PeerGone):
                    await asyncio.sleep(0.1)  # the network may recover
                    continue
                missing = [name for name in wanted if name not in arrived]
            break
        if not missing:
            return True
        # The scheduler may have reported another holder meanwhile: only items that still point to this one are lost.
        missed = set(missing)
        news: list[tuple[Key, int]] = []
        for results, item in items:
            if (results.key, item) in missed and any(
                p.holder == holder for p, _, _ in results.chunks_in(item, item + 1)
            ):
                results.mark_lost(item, item + 1)
                news.append((results.key, item))
        if news and self._connection.error is None:
            self._connection.send(FetchFailed(holder, tuple(_as_ranges(news))))
        return False

    def drop_peer(self, address: str) -> None:
        """End the fetches from a worker that is gone. On the loop's thread."""
        self._peers.abort(address)

    def close(self) -> None:
        """Close the connections to workers."""
        self._thread.loop.call_soon_threadsafe(self._peers.close)


async def _create_peers(name: str, security: Security | None) -> PeerConnections:
    return PeerConnections(name, security)


def _as_ranges(names: Iterable[tuple[Key, int]]) -> list[TaskRange]:
    ranges: list[TaskRange] = []
    for layer, item in names:
        if ranges and ranges[-1].layer == layer and ranges[-1].stop == item:
            ranges[-1] = TaskRange(layer, ranges[-1].start, item + 1)
        else:
            ranges.append(TaskRange(layer, item, item + 1))
    return ranges
