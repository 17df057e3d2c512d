"""Requests of clients that change something: copies, retries, files, worker restarts, results no client awaits.

They come as `Query` and are answered at once (`queries`); what they start is reported in the usual messages. A function
here takes the request's arguments as the client sent them, and raises KeyError for one that is missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from howdah.engine.protocol.events import CopiesRequested, RetryRequested
from howdah.engine.protocol.layers import TaskRange
from howdah.engine.protocol.messages import RESTART, CopyResults, InstallFiles, Leave
from howdah.engine.scheduler.server.context import ServerContext
from howdah.engine.scheduler.server.layer_store import LayerStore
from howdah.engine.scheduler.server.sessions import ClientPeer, Peers, WorkerPeer

FIRE_AND_FORGET = "howdah/fire-and-forget"
"""The scheduler's client that needs the results of `fire_and_forget` until the tasks end. No peer has this name."""


class Commands:
    """Requests of one server's clients, and what outlives them."""

    def __init__(self, context: ServerContext, peers: Peers, layers: LayerStore) -> None:
        self._context, self._peers, self._layers = context, peers, layers
        self.files: dict[str, bytes] = {}
        """Uploaded by users, for every worker."""
        self.cleanup: dict[str, None] = {}
        """URLs of folders that the application's master removes when the application ends."""

    def retry(self, client: ClientPeer, about: dict[str, Any]) -> None:
        """Compute failed tasks, and the failed tasks before them, again."""
        self._context.handle(RetryRequested(client.id, tuple(task_ranges(about))))

    def replicate(self, client: ClientPeer, about: dict[str, Any]) -> None:
        """Copy all results of `ranges` to each of `workers`."""
        context, ranges = self._context, task_ranges(about)
        context.handle(CopiesRequested(tuple(ranges)))
        for name in about["workers"]:
            if name not in self._peers.workers:
                continue
            sources: list[tuple[TaskRange, str, str]] = []
            for task_range in ranges:
                for item, holders in zip(range(task_range.start, task_range.stop), context.views.holders(task_range)):
                    if holders and name not in holders:
                        source = TaskRange(task_range.layer, item, item + 1)
                        sources.append((source, holders[0], self._peers.address_of(holders[0])))
            if sources:
                context.send_to_worker(name, CopyResults(tuple(sources)))

    def upload(self, client: ClientPeer, about: dict[str, Any]) -> list[str]:
        """Send a file to every worker, and later to those that join, before any further batch."""
        name = str(about["name"])
        self.files[name] = bytes(about["data"])
        for worker in self._peers.workers.values():
            self._send_files(worker, [name])
        return list(self._peers.workers)

    def send_all_files(self, worker: WorkerPeer) -> None:
        """Send all uploaded files to a worker that joins."""
        self._send_files(worker, list(self.files))

    def _send_files(self, worker: WorkerPeer, names: Sequence[str]) -> None:
        if names:
            worker.session.send(InstallFiles(tuple(names)), *[self.files[name] for name in names])

    def restart(self, client: ClientPeer, about: dict[str, Any]) -> list[str]:
        """Restart the processes of `workers` (all by default); return those that are connected."""
        names = [name for name in about.get("workers") or self._peers.workers if name in self._peers.workers]
        for name in names:
            self._context.send_to_worker(name, Leave(RESTART))
        return names

    def forget(self, client: ClientPeer, about: dict[str, Any]) -> None:
        """Compute these tasks even when no client needs them any more."""
        self._context.handle(self._layers.request(FIRE_AND_FORGET, task_ranges(about)))

    def add_cleanup(self, client: ClientPeer, about: dict[str, Any]) -> None:
        """Remove the folder `url` when the application ends."""
        self.cleanup[str(about["url"])] = None

    def drop_cleanup(self, client: ClientPeer, about: dict[str, Any]) -> None:
        """The folder `url` is not to be removed any more."""
        self.cleanup.pop(str(about["url"]), None)


def task_ranges(about: dict[str, Any]) -> list[TaskRange]:
    """The task ranges of a request."""
    return [TaskRange(bytes(key), int(start), int(stop)) for key, start, stop in about["ranges"]]
