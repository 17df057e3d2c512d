"""`ResultFetcher`: the values of results. Small ones came with the reports; others are fetched from their holders.

A holder that this process cannot reach is no lost holder: its results come through the scheduler's relay
(`comm/data/relay`), or the caller gets an error. Only a holder's own answer that it lacks an item is reported.
"""

from __future__ import annotations

import asyncio
import logging
import os
import pickle
import secrets
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from howdah.engine.client.connection import SchedulerConnection
from howdah.engine.client.layer_results import LayerResults
from howdah.engine.comm.connection.event_loop import loop_thread
from howdah.engine.comm.data.transfer import Packed, PeerConnections, PeerGone
from howdah.engine.comm.security.certificates import Security
from howdah.engine.protocol.layers import Key, TaskRange
from howdah.engine.protocol.messages import NOT_INLINE, FetchFailed
from howdah.errors import DeadlineExceeded, HowdahError, PeerRefused

log = logging.getLogger(__name__)

SWITCH = "HOWDAH_DIRECT"
"""Environment variable; 0: results are never fetched from the workers, only through the scheduler."""

DIRECT_TIMEOUT = 3.0
"""Seconds for a connection to a worker: a firewall that drops packets does not answer."""

DIRECT_RECHECK = 300.0
"""Seconds after which a host that could not be reached is tried directly again."""

UNREACHABLE_LIMIT = 30.0
"""Seconds after which a worker that neither way reaches, and that the scheduler has not lost, is an error."""

RETRY_PAUSE = 0.1
"""Seconds before another attempt."""

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
        name = f"{name}-{secrets.token_hex(4)}"  # the relay counts exchanges by client
        self._peers, self._relayed = self._thread.call(_create_peers(name, security, lambda: connection.address))
        self._closed_until: dict[str, float] = {}
        """By host: the moment (monotonic) until which it is not fetched from directly."""
        self._failing: dict[str, float] = {}
        """By worker: the moment (monotonic) since which neither way succeeds."""
        self._warned = False

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

        missing: list[tuple[Key, int]] = []
        try:
            missing = await self._fetch_either_way(holder, wanted, arrived, take)
        except PeerGone:
            return False  # the scheduler has reported where the results are now, or that they are computed again
        except (HowdahError, OSError) as error:
            if self._connection.error is not None:
                raise self._connection.error from error
            if self._addresses.get(holder, "") and time.monotonic() - self._failing.setdefault(
                holder, time.monotonic()
            ) < (0.0 if isinstance(error, PeerRefused) else UNREACHABLE_LIMIT):
                await asyncio.sleep(RETRY_PAUSE)
                return False
            self._failing.pop(holder, None)
            raise HowdahError(
                f"results on worker {holder} cannot be fetched, though the scheduler has not lost it: {error}. They "
                f"are not computed again for this; a client needs the scheduler's port or the workers' and a valid "
                f"certificate, and the scheduler needs the workers' ports"
            ) from error
        self._failing.pop(holder, None)
        if not missing:
            return True
        # The holder itself answered that it does not have them. The scheduler may have reported another holder
        # meanwhile: only items that still point to this one are lost.
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

    async def _fetch_either_way(
        self,
        holder: str,
        wanted: Sequence[tuple[Key, int]],
        arrived: set[tuple[Key, int]],
        take: Callable[[Key, int, Packed], None],
    ) -> list[tuple[Key, int]]:
        """Fetch from the holder, or else through the scheduler; return the items that the holder does not have."""
        address = self._addresses.get(holder, "")
        reason = f"{SWITCH} is 0"
        missing: list[tuple[Key, int]] = []

        def rest() -> list[TaskRange]:
            absent = set(missing)
            return _as_ranges(name for name in wanted if name not in arrived and name not in absent)

        if os.environ.get(SWITCH) != "0" and time.monotonic() >= self._closed_until.get(_host(address), 0.0):
            for attempt in range(2):
                try:
                    return await self._peers.fetch(address, rest(), take)
                except PeerGone:
                    raise
                except (HowdahError, OSError) as error:
                    reason = str(error)
                    if isinstance(error, DeadlineExceeded | PeerRefused):
                        break
                if not attempt:
                    await asyncio.sleep(RETRY_PAUSE)  # the network may recover
        elif _host(address) in self._closed_until:
            reason = "the last attempt failed"
        try:
            missing = await self._relayed.fetch(address, rest(), take)
        except PeerGone:
            raise
        except (HowdahError, OSError) as error:
            raise type(error)(f"directly: {reason}; through the scheduler: {error}") from error
        self._closed_until[_host(address)] = time.monotonic() + DIRECT_RECHECK
        if not self._warned:
            self._warned = True
            log.warning("results come through the scheduler, because worker %s is not reachable: %s", holder, reason)
        return missing

    def drop_peer(self, address: str) -> None:
        """End the fetches from a worker that is gone. On the loop's thread."""
        self._peers.abort(address)
        self._relayed.abort(address)

    def close(self) -> None:
        """Close the connections to workers."""
        if not self._thread.inherited:
            self._thread.loop.call_soon_threadsafe(self._peers.close)
            self._thread.loop.call_soon_threadsafe(self._relayed.close)


async def _create_peers(
    name: str, security: Security | None, relay: Callable[[], str]
) -> tuple[PeerConnections, PeerConnections]:
    direct = PeerConnections(name, security, connect_timeout=DIRECT_TIMEOUT)
    return direct, PeerConnections(name, security, max_requests=2, relay=relay)


def _host(address: str) -> str:
    """The part of an address that a firewall closes: the host, or the path of a Unix socket."""
    return address.rpartition(":")[0] if address.startswith(("tls:", "tcp:")) else address


def _as_ranges(names: Iterable[tuple[Key, int]]) -> list[TaskRange]:
    ranges: list[TaskRange] = []
    for layer, item in names:
        if ranges and ranges[-1].layer == layer and ranges[-1].stop == item:
            ranges[-1] = TaskRange(layer, ranges[-1].start, item + 1)
        else:
            ranges.append(TaskRange(layer, item, item + 1))
    return ranges
