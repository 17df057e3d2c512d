"""Requests that clients and owners send as `Query`, and their answers: records of `status`, sent as plain values.

`FOR_OWNERS` requests are refused to clients. `Queries` is also what the status page and `metrics` read.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from howdah.engine.protocol.messages import Query, Response, python_version
from howdah.engine.scheduler.core.history import HistoryEntry
from howdah.engine.scheduler.core.summary import LayerSummary
from howdah.engine.scheduler.server.commands import Commands, task_ranges
from howdah.engine.scheduler.server.context import ServerContext
from howdah.engine.scheduler.server.coordination import CoordinationServer
from howdah.engine.scheduler.server.draining import Drains
from howdah.engine.scheduler.server.layer_store import LayerStore
from howdah.engine.scheduler.server.membership import Membership
from howdah.engine.scheduler.server.sessions import ClientPeer, Peers
from howdah.engine.scheduler.server.status import (
    InputBytes,
    LayerCounts,
    PlaceCounts,
    SchedulerInfo,
    SchedulerStatus,
    SchedulerSummary,
    TaskCounts,
    TransitionStatus,
    WorkerStatus,
)
from howdah.errors import HowdahError, near
from howdah.version import VERSION

MOST_LAYERS = 50
"""Layers that `status` lists, the newest."""

DATASET = "dataset:"
"""Prefix of the names of the variables that are published datasets."""

Request = Callable[[ClientPeer, dict[str, Any]], Any]


class Queries:
    """The requests of one server's clients."""

    def __init__(
        self,
        name: str,
        context: ServerContext,
        peers: Peers,
        layers: LayerStore,
        commands: Commands,
        coordination: CoordinationServer,
        drains: Drains,
        membership: Membership,
    ) -> None:
        self._name, self._context, self._peers, self._layers = name, context, peers, layers
        self._commands, self._coordination, self._drains = commands, coordination, drains
        self.address = ""
        """Where the server listens."""
        self.started = time.time()
        self._for_clients: dict[str, Request] = {
            "info": lambda client, about: self.info(),
            "summary": lambda client, about: self.summary(),
            "progress": lambda client, about: context.views.layers_of(client.id),
            "status": lambda client, about: self.status(),
            "story": lambda client, about: self.story(str(about["key"])),
            "events": lambda client, about: self.events(int(about.get("last", 1000))),
            "holders": lambda client, about: [context.views.holders(task_range) for task_range in task_ranges(about)],
            "has_what": lambda client, about: self.has_what(),
            "datasets": lambda client, about: self.datasets(),
            "progress_of": lambda client, about: self.progress_of(map(bytes, about["keys"])),
            "versions": lambda client, about: {"python": python_version(), "howdah": VERSION},
            "retry": commands.retry,
            "replicate": commands.replicate,
            "upload": commands.upload,
            "restart": commands.restart,
            "forget": commands.forget,
            "add_cleanup": commands.add_cleanup,
            "drop_cleanup": commands.drop_cleanup,
        }
        self._for_owners: dict[str, Request] = {
            **self._for_clients,
            "write_events": lambda client, about: self.write_events(str(about["path"])),
            "worker_lost": lambda client, about: membership.on_worker_process_ended(
                str(about["name"]), str(about["reason"])
            ),
            "retire": lambda client, about: membership.retire([str(name) for name in about["names"]]),
        }

    def answer(self, client: ClientPeer, request: Query, *, owner: bool) -> Response:
        """Handle the request; return its answer, or what is wrong with it."""
        table = self._for_owners if owner else self._for_clients
        handler = table.get(request.query)
        if handler is None:
            wrong = f"the scheduler has no answer to {request.query!r}; {near(request.query, table)}"
            return Response(request.id, error=wrong)
        try:
            return Response(request.id, msgspec.to_builtins(handler(client, request.arguments)))
        except HowdahError as error:
            return Response(request.id, error=str(error))
        except KeyError as missing:
            return Response(request.id, error=f"{request.query}: the argument {missing} is missing")

    # -- the cluster --------------------------------------------------------------------------------------------------

    def workers(self) -> dict[str, WorkerStatus]:
        """The workers that have introduced themselves and not left, by name."""
        found: dict[str, WorkerStatus] = {}
        for name, peer in self._peers.workers.items():
            info, health = peer.info, peer.health
            if info is not None:
                found[name] = WorkerStatus(
                    host=info.host,
                    rack=info.rack,
                    slots=info.slots,
                    resources=dict(info.resources),
                    memory=info.memory,
                    container=info.container,
                    address=info.address,
                    pid=info.pid,
                    rss=health.rss,
                    managed=health.managed,
                    paused=health.paused,
                    since=peer.since,
                    connected=peer.session.connected,
                )
        return found

    def info(self) -> SchedulerInfo:
        """Describe the scheduler and its peers, for `Client.scheduler_info()`."""
        return SchedulerInfo(
            name=self._name,
            address=self.address,
            epoch=self._context.journal.server_id,
            started=self.started,
            workers=self.workers(),
            clients=sorted(self._peers.clients),
            journal=self._context.journal.status(),
        )

    def summary(self) -> SchedulerSummary:
        """Describe all that was computed so far, and the drains that have ended."""
        found = msgspec.structs.asdict(self._context.views.summary())
        return SchedulerSummary(**found, drained=list(self._drains.ended))

    def status(self) -> SchedulerStatus:
        """Describe what the status page and the application's master show; cheap enough for twice a second."""
        peers, found = self._peers, self._context.views.summary()
        layers: list[LayerSummary] = [layer for layer in found.layers if layer.live]
        running, waiting = sum(layer.running for layer in layers), sum(layer.waiting for layer in layers)
        users = [peer for peer in peers.clients.values() if not peer.worker]
        now = time.time()
        return SchedulerStatus(
            name=self._name,
            started=self.started,
            now=now,
            first_task=peers.first_task,
            workers=self.workers(),
            clients=sum(peer.session.connected for peer in users),
            seconds_without_client=0.0 if users else now - peers.last_client_left,
            tasks=TaskCounts(
                done=found.tasks,
                total=found.tasks + waiting + running,
                running=running,
                waiting=waiting,
                failed=sum(layer.failed for layer in layers),
            ),
            layers=layers[-MOST_LAYERS:],
            placed=PlaceCounts(found.tasks_node, found.tasks_rack, found.tasks_remote),
            bytes=PlaceCounts(found.bytes_node, found.bytes_rack, found.bytes_remote),
            moved=InputBytes(found.inputs_local, found.inputs_moved),
            cleanup=list(self._commands.cleanup),
            drained=list(self._drains.ended),
        )

    # -- tasks and results --------------------------------------------------------------------------------------------

    def story(self, key: str) -> list[TransitionStatus]:
        """Return the transitions of a task; `key` is a future's (``<layer>-<item>``), or a layer's for all its items.

        Raises HowdahError for anything else.
        """
        layer, _, item = key.partition("-")
        try:
            found, number = bytes.fromhex(layer), int(item) if item else None
        except ValueError:
            raise HowdahError(f"story: {key!r} is no key of a task; give a future's `key`") from None
        return self._transitions(self._context.views.history.story(found, number))

    def events(self, last: int = 1000) -> list[TransitionStatus]:
        """Return the newest `last` transitions, oldest first."""
        notes = self._context.views.history.entries
        return self._transitions(notes[max(0, len(notes) - last) :])

    def _transitions(self, notes: Iterable[HistoryEntry]) -> list[TransitionStatus]:
        offset = self._context.clock_offset
        return [
            TransitionStatus(
                note.at + offset, note.layer.hex(), note.name, note.start, note.stop, note.old, note.new,
                note.worker, note.run, note.attempt, note.reason,
            )
            for note in notes
        ]  # fmt: skip

    def write_events(self, path: str) -> None:
        """From now on append each transition to the file `path` of the server's machine, as JSON lines; '' ends it."""
        if path:
            self._context.views.history.write_to(path)
        else:
            self._context.views.history.close()

    def has_what(self) -> dict[str, list[tuple[str, str, int, int]]]:
        """Per worker the results that it holds: (layer's key in hexadecimal, its name, start, stop)."""
        return {
            worker: [
                (task_range.layer.hex(), self._layers.name(task_range.layer), task_range.start, task_range.stop)
                for task_range in ranges
            ]
            for worker, ranges in self._context.views.results_by_worker().items()
        }

    def datasets(self) -> list[str]:
        """Return the names of the published datasets."""
        names = self._coordination.names("variable")
        return sorted(name.removeprefix(DATASET) for name in names if name.startswith(DATASET))

    def progress_of(self, keys: Iterable[bytes]) -> list[LayerCounts]:
        """Return the progress of these layers; those that are forgotten are left out."""
        found = [layer for key in keys if (layer := self._context.views.layer(key)) is not None]
        return [LayerCounts(layer.name, layer.n, layer.done, layer.idle) for layer in found]
