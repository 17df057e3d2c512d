"""`Replication`: copies of results on more workers, and results moved from full workers to empty ones."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence
from typing import Any

from howdah.engine.api.cluster_info import ClusterInfo, plain_ranges
from howdah.engine.client.connection import SchedulerConnection
from howdah.engine.client.future import Future
from howdah.engine.client.future_registry import FutureRegistry, ranges_of
from howdah.engine.client.layer_results import DONE
from howdah.engine.client.waiting import Waiter
from howdah.engine.protocol.layers import TaskRange
from howdah.engine.protocol.messages import FetchFailed
from howdah.errors import DeadlineExceeded, bad_value

COPY_SECONDS = 60.0
"""How long a copy may take."""

POLL_INTERVAL = 0.005
"""Seconds between two looks for a copy."""


class Replication:
    """Copies and moves. Each call returns when the copies are there, and raises DeadlineExceeded after 60 s."""

    def __init__(
        self, connection: SchedulerConnection, registry: FutureRegistry, waiter: Waiter, info: ClusterInfo
    ) -> None:
        self._connection, self._registry, self._waiter, self._info = connection, registry, waiter, info

    def retry(self, futures: Sequence[Future]) -> None:
        """Run failed tasks again."""
        failed = [future for future in futures if future.status == "error"]
        if failed:
            self._connection.query("retry", ranges=plain_ranges(failed))

    def replicate(self, futures: Sequence[Future], n: int | None, workers: Iterable[str] | str | None) -> None:
        """Have copies on `n` workers, None for all."""
        if n is not None and n < 1:
            raise bad_value("n", n, "give the number of workers that hold each result, at least 1")
        self._waiter.wait(ranges_of(futures))
        names = self._info.select_workers(workers)
        deadline = time.monotonic() + COPY_SECONDS
        for future, held in zip(futures, self._info.holders(futures)):
            others = [name for name in names if name not in held]
            copies = len(others) if n is None else max(0, n - len(held))
            if copies:
                at = future.item % len(others) if others else 0
                targets = (others[at:] + others[:at])[:copies]
                ranges = plain_ranges([future])
                self._connection.query("replicate", ranges=ranges, workers=targets)
                for worker in targets:
                    self._until_held(ranges, worker, deadline)

    def rebalance(self, futures: Sequence[Future] | None, workers: Iterable[str] | str | None) -> None:
        """Move results to workers that hold fewer; `futures` None is all finished ones of this client."""
        names = self._info.select_workers(workers)
        if futures is None:
            items = [
                (r, item)
                for r in self._registry.layers()
                for item in range(r.n)
                if r.reference_counts[item] and r.state[item] == DONE
            ]
        else:
            items = [(future.results, future.item) for future in futures]
            self._waiter.wait([(r, item, item + 1) for r, item in items])
        ranges = [[r.key, item, item + 1] for r, item in items]
        holders = [held[0] for held in self._connection.query("holders", ranges=ranges)] if ranges else []
        of: dict[str, list[Any]] = {name: [] for name in names}
        for one, held in zip(ranges, holders):
            if len(held) == 1 and held[0] in of:
                of[held[0]].append(one)
        deadline = time.monotonic() + COPY_SECONDS
        share = -(-sum(map(len, of.values())) // len(names)) if names else 0
        for name in names:
            while len(of[name]) > share:
                target = min(names, key=lambda other: len(of[other]))
                count = min(len(of[name]) - share, share - len(of[target]))
                if target == name or count <= 0:
                    break
                moving, of[name] = of[name][-count:], of[name][:-count]
                self._connection.query("replicate", ranges=moving, workers=[target])
                self._until_held(moving, target, deadline)
                # Reported as not on the old holder: the scheduler then serves the copies, and the holder drops its own.
                self._connection.send(FetchFailed(name, tuple(TaskRange(*one) for one in moving)))
                of[target] += moving

    def _until_held(self, ranges: list[Any], worker: str, deadline: float) -> None:
        pause = threading.Event()
        while not all(worker in held for part in self._connection.query("holders", ranges=ranges) for held in part):
            if time.monotonic() > deadline:
                raise DeadlineExceeded(f"{worker} did not get its copies in time; is it busy, or gone?")
            pause.wait(POLL_INTERVAL)
