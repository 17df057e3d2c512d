"""A batch's inputs, fetched in bulk from the workers that hold them before the batch goes to a slot. For `worker`.

What was fetched stays in the store as a copy until the scheduler frees it. Two batches that need the same items while
these are in flight wait for the same transfer.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Sequence
from itertools import islice

from howdah.backoff import delays
from howdah.engine.comm.data.transfer import Packed, PeerConnections, PeerGone, items_of
from howdah.engine.protocol.layers import Key, TaskRange
from howdah.engine.worker.store.store import ResultStore, size_of_value
from howdah.errors import HowdahError, Unpicklable

ROOM_CHECK_BYTES = 1 << 20
"""Bytes that may arrive between checks for free memory: measuring the process is not free."""
log = logging.getLogger(__name__)

ATTEMPTS, FIRST_PAUSE, LONGEST_PAUSE = 3, 0.1, 0.4
"""Attempts to reach a holder, and seconds before the second and the third."""

Name = tuple[Key, int]

FetchSource = tuple[TaskRange, str, str]
"""Which items, from which worker, at which address."""


class SourceUnavailable(Exception):
    """The items of `ranges` could not be fetched from `holder`.

    `reason` is for the log; `final`: other holders cannot supply them either; `gone`: this holder never will.
    """

    def __init__(
        self, holder: str, ranges: Sequence[TaskRange], reason: str, final: bool = False, gone: bool = False
    ) -> None:
        super().__init__(reason)
        self.holder, self.ranges, self.reason, self.final, self.gone = holder, tuple(ranges), reason, final, gone


class InputFetcher:
    """Fetches inputs into `store` over `peers`, on the event loop's thread."""

    def __init__(self, store: ResultStore, peers: PeerConnections) -> None:
        self.store, self.peers = store, peers
        self._in_flight: dict[Name, asyncio.Future[None]] = {}
        self._freed_in_flight: set[Name] = set()
        """Items in flight that were freed before they arrived: they are dropped on arrival."""
        self._lock = threading.Lock()

    async def fetch(self, sources: Sequence[FetchSource]) -> None:
        """Return when all of `sources` is in the store. Raises SourceUnavailable.

        Items with several sources are fetched from the first one, and from the others if that fails.
        """
        by_holder: dict[tuple[str, str], list[TaskRange]] = {}
        waits: list[asyncio.Future[None]] = []
        claimed: set[Name] = set()  # two dependencies may name the same item
        others: list[FetchSource] = []
        for task_range, holder, address in sources:
            needed = self._select_missing(task_range, waits, claimed)
            if needed:
                by_holder.setdefault((holder, address), []).extend(needed)
            else:
                others.append((task_range, holder, address))
        # The next call must see at once what is in flight: no iteration of the loop between selecting and announcing.
        jobs = [
            asyncio.ensure_future(self._fetch_from(holder, address, ranges, others, self._announce(ranges)))
            for (holder, address), ranges in by_holder.items()
        ]
        outcomes = await asyncio.gather(*jobs, *waits, return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome

    def free(self, ranges: Sequence[TaskRange]) -> None:
        """Free these results; those in flight on their arrival, unless they are requested again before."""
        if not self._in_flight:
            self.store.free(ranges)
            return
        with self._lock:
            for name in [name for task_range in ranges for name in self._in_flight_of(task_range)]:
                if self.store.has(*name):
                    del self._in_flight[name]  # a later fetch must not wait for this transfer
                else:
                    self._freed_in_flight.add(name)
            self.store.free(ranges)

    def discard_in_flight_except(self, ranges: Sequence[TaskRange]) -> None:
        """Discard every in-flight result not in `ranges`: a new session's scheduler knows only these."""
        self._freed_in_flight |= self._in_flight.keys() - {
            name for task_range in ranges for name in self._in_flight_of(task_range)
        }

    def _in_flight_of(self, task_range: TaskRange) -> list[Name]:
        layer, start, stop = task_range
        if len(self._in_flight) < stop - start:
            return [name for name in self._in_flight if name[0] == layer and start <= name[1] < stop]
        return [(layer, item) for item in range(start, stop) if (layer, item) in self._in_flight]

    def _select_missing(
        self, task_range: TaskRange, waits: list[asyncio.Future[None]], claimed: set[Name]
    ) -> list[TaskRange]:
        needed: list[TaskRange] = []
        for item in range(task_range.start, task_range.stop):
            name = (task_range.layer, item)
            self._freed_in_flight.discard(name)
            if name in claimed or self.store.has(*name):
                continue
            claimed.add(name)
            if name in self._in_flight:
                waits.append(self._in_flight[name])
            elif needed and needed[-1].stop == item:
                needed[-1] = TaskRange(task_range.layer, needed[-1].start, item + 1)
            else:
                needed.append(TaskRange(task_range.layer, item, item + 1))
        return needed

    def _announce(self, ranges: list[TaskRange]) -> asyncio.Future[None]:
        arrival: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        arrival.add_done_callback(lambda done: done.cancelled() or done.exception())  # there may be no other waiter
        for name in items_of(ranges):
            self._in_flight[name] = arrival
        return arrival

    async def _fetch_from(
        self,
        holder: str,
        address: str,
        ranges: list[TaskRange],
        others: list[FetchSource],
        arrival: asyncio.Future[None],
    ) -> None:
        try:
            await self._fetch_from_any(holder, address, ranges, others, arrival)
            arrival.set_result(None)
        except BaseException as error:
            arrival.set_exception(
                error if isinstance(error, SourceUnavailable) else SourceUnavailable(holder, ranges, repr(error))
            )
            raise
        finally:
            freed: list[TaskRange] = []
            for name in items_of(ranges):
                if self._in_flight.get(name) is arrival:
                    del self._in_flight[name]
                    if name in self._freed_in_flight:
                        self._freed_in_flight.remove(name)
                        freed.append(TaskRange(name[0], name[1], name[1] + 1))
            self.store.free(freed)

    async def _fetch_from_any(
        self,
        holder: str,
        address: str,
        ranges: list[TaskRange],
        others: list[FetchSource],
        arrival: asyncio.Future[None],
    ) -> None:
        """Fetch from the holder, what it cannot supply from others, and the rest from the holder once more."""
        for pause in (*islice(delays(FIRST_PAUSE, LONGEST_PAUSE, 4.0), ATTEMPTS - 1), None):
            try:
                await self._transfer(holder, address, ranges)
                return
            except SourceUnavailable as failed:
                if failed.final:
                    raise
                failure = failed
            ranges = self._not_arrived(ranges, arrival)
            for name, where, rest in self._other_holders(holder, ranges, others):
                with contextlib.suppress(
                    SourceUnavailable
                ):  # what is missing then is reported as the first holder's failure
                    log.info("%s; the rest is fetched from %s", failure.reason, name)
                    await self._transfer(name, where, rest)
            ranges = self._not_arrived(ranges, arrival)
            if not ranges:
                return
            if pause is None or failure.gone:
                raise SourceUnavailable(holder, ranges, failure.reason)
            await asyncio.sleep(pause)  # perhaps a transient network failure

    def _not_arrived(self, ranges: Sequence[TaskRange], arrival: asyncio.Future[None]) -> list[TaskRange]:
        """Return the items of that transfer that have neither arrived nor been freed on arrival."""
        return [
            TaskRange(layer, item, item + 1)
            for layer, item in items_of(ranges)
            if self._in_flight.get((layer, item)) is arrival and not self.store.has(layer, item)
        ]

    def _other_holders(
        self, holder: str, ranges: Sequence[TaskRange], others: Sequence[FetchSource]
    ) -> list[tuple[str, str, list[TaskRange]]]:
        """Return the other holders of `ranges`, all single items: (name, address, items)."""
        found: dict[tuple[str, str], list[TaskRange]] = {}
        for one in ranges:
            for task_range, name, address in others:
                if task_range.layer == one.layer and task_range.start <= one.start < task_range.stop and name != holder:
                    found.setdefault((name, address), []).append(one)
                    break
        return [(name, address, rest) for (name, address), rest in found.items()]

    async def _transfer(self, holder: str, address: str, ranges: list[TaskRange]) -> None:
        errors: list[str] = []
        unchecked = 0
        over = False

        def on_item(layer: Key, item: int, packed: Packed) -> None:
            # On a thread of the transfer's, while the next results are in flight; they wait here when memory is short.
            nonlocal unchecked
            unchecked += packed.nbytes  # two threads may race here: a few bytes more or less do not matter
            if unchecked >= ROOM_CHECK_BYTES:
                needed, unchecked = unchecked, 0
                self.store.spiller.wait_for_memory(needed)
            try:
                value = packed.open()
            except Unpicklable as error:
                errors.append(str(error))
            except Exception as error:  # noqa: BLE001  # the user's own __setstate__ or imports may raise anything
                errors.append(f"it cannot be unpickled here: {type(error).__name__}: {error}")
            else:
                with self._lock:
                    if not over:
                        self.store.put(layer, (item,), (value,), (max(size_of_value(value), 1),))

        if not address:
            raise SourceUnavailable(holder, ranges, f"{holder} is not connected any more", gone=True)
        try:
            missing = await self.peers.fetch(address, ranges, on_item)
        except (HowdahError, OSError) as error:
            # A thread may still be receiving. What it stored after the report that the item is missing would stay here
            # forever, because the scheduler does not know of it.
            with self._lock:
                over = True
            gone = isinstance(error, PeerGone)
            raise SourceUnavailable(holder, ranges, f"{holder} at {address}: {error}", gone=gone) from error
        if errors:
            raise SourceUnavailable(holder, ranges, errors[0], final=True)
        if missing:
            lacking = [TaskRange(layer, item, item + 1) for layer, item in missing]
            raise SourceUnavailable(
                holder, lacking, f"{holder} does not have {len(missing)} of the results any more", gone=True
            )
