"""Many small results arrive without a look at the process's memory for each of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from howdah.engine.comm.data.transfer import Packed, items_of
from howdah.engine.protocol.layers import TaskRange
from howdah.engine.serialization.serialize import dumps
from howdah.engine.worker.fetch import ROOM_CHECK_BYTES, InputFetcher
from howdah.engine.worker.store.store import ResultStore


class Peers:
    """Has everything: bytes of one size."""

    def __init__(self, nbytes: int) -> None:
        self.pickle = dumps(bytes(nbytes))

    async def fetch(self, address: str, ranges: Sequence[TaskRange], take: Callable[..., None]) -> list[Any]:
        for layer, item in items_of(ranges):
            take(layer, item, Packed(self.pickle))
        return []


@pytest.mark.parametrize(("nbytes", "asked"), [(8, 0), (ROOM_CHECK_BYTES, 300), (ROOM_CHECK_BYTES // 10, 30)])
def test_room_is_asked_for_by_the_megabyte(nbytes: int, asked: int, monkeypatch: pytest.MonkeyPatch) -> None:
    store = ResultStore(0, "")
    asks: list[int] = []
    monkeypatch.setattr(store.spiller, "wait_for_memory", asks.append)
    try:
        asyncio.run(InputFetcher(store, Peers(nbytes)).fetch([(TaskRange(b"k", 0, 300), "w", "a")]))  # type: ignore[arg-type]
    finally:
        store.close()
    assert store.has(b"k", 299)
    assert len(asks) == pytest.approx(asked, abs=1)
    assert sum(asks) > 299 * nbytes - ROOM_CHECK_BYTES
