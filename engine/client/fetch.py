"""From what the client knows to values: small results are at hand, the others come from their holders in bulk."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from howdah.engine.client.connection import SchedulerConnection
from howdah.engine.client.layer_results import LayerResults
from howdah.engine.comm.connection.event_loop import loop_thread
from howdah.engine.comm.data.transfer import Packed, PeerConnections, PeerGone
from howdah.engine.comm.security.certificates import Security
from howdah.engine.protocol.layers import Key, TaskRange
from howdah.engine.protocol.messages import NOT_INLINE, FetchFailed
from howdah.errors import HowdahError, InputError

if TYPE_CHECKING:
    from howdah.engine.client.future import Future

Spans = Sequence[tuple[LayerResults, int, int]]
MissingByHolder = dict[str, list[tuple[LayerResults, int]]]


class ResultFetcher:
    """Collects values. `collect` runs on the user's thread, transfers on the loop's."""

    def __init__(
        self,
        link: SchedulerConnection,
        name: str,
        security: Security | None,
        addresses: Mapping[str, str],
    ) -> None:
        self._connection, self._addresses = link, addresses
        self._thread = loop_thread()
        self._peers = self._thread.call(_create_peers(name, security))
        self.callbacks = ThreadPoolExecutor(1, "howdah-callbacks")

    def collect(self, spans: Spans) -> list[Any] | None:
        """The values of spans that are all done; None when some could not be had and must be waited for again."""
        values: list[Any] = []
        absent: MissingByHolder = {}
        places: dict[tuple[Key, int], list[int]] = {}
        loads, keep = pickle.loads, values.append
        for results, start, stop in spans:
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

    def all_inline(self, spans: Spans) -> bool:
        """Whether the values are here already: small ones, that came with the reports."""
        return not any(
            NOT_INLINE in part.lengths or not part.lengths
            for results, start, stop in spans
            for part, _, _ in results.chunks_in(start, stop)
        )

    def _fetch(
        self, absent: MissingByHolder, places: Mapping[tuple[Key, int], list[int]], values: list[Any]
    ) -> list[Any] | None:
        got: list[tuple[Key, int, Packed]] = []
        complete = self._thread.call(self._transfer(absent, got))
        for layer, item, packed in got:
            for place in places[layer, item]:
                values[place] = packed.open()  # anew for each place: nobody shares
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
                missing = await self._peers.fetch(address, _as_spans(rest), take)
            except (HowdahError, OSError) as error:
                if attempt < 2 and not isinstance(error, PeerGone):
                    await asyncio.sleep(0.1)  # a passing fault of the network, perhaps
                    continue
                missing = [name for name in wanted if name not in arrived]
            break
        if not missing:
            return True
        # The scheduler may know by now, and have told us of another holder: only what still points to this one is news.
        missed = set(missing)
        news: list[tuple[Key, int]] = []
        for results, item in items:
            if (results.key, item) in missed and any(
                p.holder == holder for p, _, _ in results.chunks_in(item, item + 1)
            ):
                results.mark_lost(item, item + 1)
                news.append((results.key, item))
        if news and self._connection.error is None:
            self._connection.send(FetchFailed(holder, tuple(_as_spans(news))))
        return False

    def drop_peer(self, address: str) -> None:
        """The worker whose data server this is was given up. On the loop's thread."""
        self._peers.abort(address)

    def close(self) -> None:
        self._thread.loop.call_soon_threadsafe(self._peers.close)
        self.callbacks.shutdown(wait=False)


async def _create_peers(name: str, security: Security | None) -> PeerConnections:
    return PeerConnections(name, security)


def _as_spans(names: Iterable[tuple[Key, int]]) -> list[TaskRange]:
    spans: list[TaskRange] = []
    for layer, item in names:
        if spans and spans[-1].layer == layer and spans[-1].stop == item:
            spans[-1] = TaskRange(layer, spans[-1].start, item + 1)
        else:
            spans.append(TaskRange(layer, item, item + 1))
    return spans


def nested_futures(nest: Any) -> list[Future]:
    """All futures in a nest of lists, tuples, sets and dictionaries, in order."""
    from howdah.engine.client.future import Future

    if type(nest) is list and all(type(part) is Future for part in nest):
        return nest
    if isinstance(nest, Future):
        return [nest]
    if isinstance(nest, dict):
        return [future for part in nest.values() for future in nested_futures(part)]
    if isinstance(nest, list | tuple | set | frozenset):
        return [future for part in nest for future in nested_futures(part)]
    if hasattr(nest, "__next__") or type(nest).__name__ in ("dict_values", "generator"):
        raise InputError("gather: got an iterator, which can be read only once; make it a list first")
    return []


def substitute_values(nest: Any, values: Mapping[int, Any], skip: bool = False) -> Any:
    """The nest with each future replaced by its value (by `id`); with `skip`, those without one left out."""
    from howdah.engine.client.future import Future

    def wanted(part: Any) -> bool:
        return not (skip and isinstance(part, Future) and id(part) not in values)

    if isinstance(nest, Future):
        return values[id(nest)] if not skip else values.get(id(nest))
    if isinstance(nest, dict):
        return {key: substitute_values(part, values, skip) for key, part in nest.items() if wanted(part)}
    if isinstance(nest, list | tuple | set | frozenset):
        return type(nest)(substitute_values(part, values, skip) for part in nest if wanted(part))
    return nest
