"""A run's inputs, fetched from the workers that hold them, in bulk, before the run goes to a slot.

What was fetched stays in the store as a copy until the scheduler frees it. Two runs that need the same items while
they are on their way wait for the same transfer.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Sequence

from howdah.engine.comm.data.transfer import Packed, PeerConnections, PeerGone, items_of
from howdah.engine.protocol.layers import Key, TaskRange
from howdah.engine.worker.store.store import ResultStore, size_of_value
from howdah.errors import HowdahError, Unpicklable

ROOM_CHECK_BYTES = 1 << 20
"""About so much may arrive before it is asked again whether there is room: a look at the process is not free."""
log = logging.getLogger(__name__)

RETRY_DELAYS = (0.1, 0.4)
"""Seconds until a holder that could not be reached is tried again, and again."""

Name = tuple[Key, int]

FetchSource = tuple[TaskRange, str, str]
"""What, from which worker, at which address."""


class SourceUnavailable(Exception):
    """These could not be had from `holder`. `fault` is for the log; `final` says that trying elsewhere is useless,
    `gone` that trying there again is."""

    def __init__(
        self, holder: str, spans: Sequence[TaskRange], fault: str, final: bool = False, gone: bool = False
    ) -> None:
        super().__init__(fault)
        self.holder, self.spans, self.reason, self.final, self.gone = holder, tuple(spans), fault, final, gone


class InputFetcher:
    """Gets inputs into `store` by `peers`."""

    def __init__(self, store: ResultStore, peers: PeerConnections) -> None:
        self.store, self.peers = store, peers
        self._coming: dict[Name, asyncio.Future[None]] = {}
        self._unwanted: set[Name] = set()
        """Of what is coming, what was freed before it came: it goes when it has come."""
        self._guard = threading.Lock()

    async def fetch(self, sources: Sequence[FetchSource]) -> None:
        """Return when all of `sources` is in the store. Raises SourceFailed.

        What is named more than once is fetched from the first that is named, and from the others if that one fails.
        """
        by_holder: dict[tuple[str, str], list[TaskRange]] = {}
        waits: list[asyncio.Future[None]] = []
        claimed: set[Name] = set()  # two dependencies may name the same item
        others: list[FetchSource] = []
        for span, holder, address in sources:
            wanted = self._not_here(span, waits, claimed)
            if wanted:
                by_holder.setdefault((holder, address), []).extend(wanted)
            else:
                others.append((span, holder, address))
        # Who comes next must see at once what is on its way: no turn of the loop between looking and announcing.
        jobs = [
            asyncio.ensure_future(self._from(holder, address, spans, others, self._announce(spans)))
            for (holder, address), spans in by_holder.items()
        ]
        outcomes = await asyncio.gather(*jobs, *waits, return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome

    def free(self, spans: Sequence[TaskRange]) -> None:
        """Drop these from the store; those on their way when they have come, unless they are asked for again."""
        if not self._coming:
            self.store.free(spans)
            return
        with self._guard:
            for name in [name for span in spans for name in self._coming_of(span)]:
                if self.store.has(*name):
                    del self._coming[name]  # who asks for it now must not wait for this transfer
                else:
                    self._unwanted.add(name)
            self.store.free(spans)

    def discard_in_flight_except(self, spans: Sequence[TaskRange]) -> None:
        """Of what is on its way only this is to stay: another scheduler has the say, which knows of nothing else."""
        self._unwanted |= self._coming.keys() - {name for span in spans for name in self._coming_of(span)}

    def _coming_of(self, span: TaskRange) -> list[Name]:
        layer, start, stop = span
        if len(self._coming) < stop - start:
            return [name for name in self._coming if name[0] == layer and start <= name[1] < stop]
        return [(layer, item) for item in range(start, stop) if (layer, item) in self._coming]

    def _not_here(self, span: TaskRange, waits: list[asyncio.Future[None]], claimed: set[Name]) -> list[TaskRange]:
        wanted: list[TaskRange] = []
        for item in range(span.start, span.stop):
            name = (span.layer, item)
            self._unwanted.discard(name)
            if name in claimed or self.store.has(*name):
                continue
            claimed.add(name)
            if name in self._coming:
                waits.append(self._coming[name])
            elif wanted and wanted[-1].stop == item:
                wanted[-1] = TaskRange(span.layer, wanted[-1].start, item + 1)
            else:
                wanted.append(TaskRange(span.layer, item, item + 1))
        return wanted

    def _announce(self, spans: list[TaskRange]) -> asyncio.Future[None]:
        arrival: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        arrival.add_done_callback(lambda done: done.cancelled() or done.exception())  # perhaps nobody else waits
        for name in items_of(spans):
            self._coming[name] = arrival
        return arrival

    async def _from(
        self,
        holder: str,
        address: str,
        spans: list[TaskRange],
        others: list[FetchSource],
        arrival: asyncio.Future[None],
    ) -> None:
        try:
            await self._from_any(holder, address, spans, others, arrival)
            arrival.set_result(None)
        except BaseException as error:
            arrival.set_exception(
                error if isinstance(error, SourceUnavailable) else SourceUnavailable(holder, spans, repr(error))
            )
            raise
        finally:
            unwanted: list[TaskRange] = []
            for name in items_of(spans):
                if self._coming.get(name) is arrival:
                    del self._coming[name]
                    if name in self._unwanted:
                        self._unwanted.remove(name)
                        unwanted.append(TaskRange(name[0], name[1], name[1] + 1))
            self.store.free(unwanted)

    async def _from_any(
        self,
        holder: str,
        address: str,
        spans: list[TaskRange],
        others: list[FetchSource],
        arrival: asyncio.Future[None],
    ) -> None:
        """From the holder; what it fails to give, from others that have it; else from the holder once more."""
        for pause in (*RETRY_DELAYS, None):
            try:
                await self._transfer(holder, address, spans)
                return
            except SourceUnavailable as failed:
                if failed.final:
                    raise
                fault = failed
            spans = self._absent(spans, arrival)
            for name, where, rest in self._elsewhere(holder, spans, others):
                with contextlib.suppress(SourceUnavailable):  # what is still missing then is the holder's fault first
                    log.info("%s; the rest is fetched from %s", fault.reason, name)
                    await self._transfer(name, where, rest)
            spans = self._absent(spans, arrival)
            if not spans:
                return
            if pause is None or fault.gone:
                raise SourceUnavailable(holder, spans, fault.reason)
            await asyncio.sleep(pause)  # a passing fault of the network, perhaps

    def _absent(self, spans: Sequence[TaskRange], arrival: asyncio.Future[None]) -> list[TaskRange]:
        """What has not come of that transfer, nor came and was freed."""
        return [
            TaskRange(layer, item, item + 1)
            for layer, item in items_of(spans)
            if self._coming.get((layer, item)) is arrival and not self.store.has(layer, item)
        ]

    def _elsewhere(
        self, holder: str, spans: Sequence[TaskRange], others: Sequence[FetchSource]
    ) -> list[tuple[str, str, list[TaskRange]]]:
        """Of `spans`, all single items that are missing, who else has them."""
        found: dict[tuple[str, str], list[TaskRange]] = {}
        for one in spans:
            for span, name, address in others:
                if span.layer == one.layer and span.start <= one.start < span.stop and name != holder:
                    found.setdefault((name, address), []).append(one)
                    break
        return [(name, address, rest) for (name, address), rest in found.items()]

    async def _transfer(self, holder: str, address: str, spans: list[TaskRange]) -> None:
        faults: list[str] = []
        unasked = 0
        over = False

        def take(layer: Key, item: int, packed: Packed) -> None:
            # On a thread of the transfer's, while the next results are on their way; those wait where there is no room.
            nonlocal unasked
            unasked += packed.nbytes  # two threads may come at once: a few bytes more or less are no matter
            if unasked >= ROOM_CHECK_BYTES:
                needed, unasked = unasked, 0
                self.store.spiller.wait_for_memory(needed)
            try:
                value = packed.open()
            except Unpicklable as error:
                faults.append(str(error))
            except Exception as error:  # noqa: BLE001  # the user's own __setstate__ or imports may raise anything
                faults.append(f"it cannot be opened here: {type(error).__name__}: {error}")
            else:
                with self._guard:
                    if not over:
                        self.store.put(layer, (item,), (value,), (max(size_of_value(value), 1),))

        if not address:
            raise SourceUnavailable(holder, spans, f"{holder} is not connected any more", gone=True)
        try:
            missing = await self.peers.fetch(address, spans, take)
        except (HowdahError, OSError) as error:
            # A thread may be at it still. What it brought after the scheduler was told that it is missing would stay
            # here for good: nobody knows of it.
            with self._guard:
                over = True
            gone = isinstance(error, PeerGone)
            raise SourceUnavailable(holder, spans, f"{holder} at {address}: {error}", gone=gone) from error
        if faults:
            raise SourceUnavailable(holder, spans, faults[0], final=True)
        if missing:
            lacking = [TaskRange(layer, item, item + 1) for layer, item in missing]
            raise SourceUnavailable(
                holder, lacking, f"{holder} does not have {len(missing)} of the results any more", gone=True
            )
