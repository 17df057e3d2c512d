"""A worker that leaves: what it sends, in which order, and when it is over."""

from __future__ import annotations

import asyncio

from howdah.engine.protocol.messages import Draining
from howdah.engine.worker.draining import Drain


def test_it_announces_returns_its_batches_and_leaves_when_its_grace_is_over() -> None:
    async def story() -> list[object]:
        seen: list[object] = []
        over = asyncio.get_running_loop().create_future()

        def leave(reason: str) -> None:
            seen.append(reason)
            over.set_result(None)

        Drain("it got SIGTERM", 0.01, seen.append, lambda: seen.append("returned"), leave).begin()
        assert seen == [Draining("it got SIGTERM", 0.01), "returned"]
        await asyncio.wait_for(over, 10)
        return seen

    assert asyncio.run(story())[-1] == "it got SIGTERM; its 0.01 s were over"
