"""Clients' requests to the server that are more than questions: copies, retries, files, restarts, forgotten futures.

They come as `Query`, and are answered at once; what they set going is told in the usual messages.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from howdah.engine.protocol.events import CopiesRequested, Released, RetryRequested
from howdah.engine.protocol.layers import TaskRange
from howdah.engine.protocol.messages import RESTART, CopyResults, InstallFiles, Leave, python_version
from howdah.engine.scheduler.core import replicas as requests
from howdah.engine.scheduler.core.tables import DONE, IDLE

if TYPE_CHECKING:
    from howdah.engine.scheduler.server.server import Server
    from howdah.engine.scheduler.server.sessions import ClientPeer, WorkerPeer

FORGOTTEN = "howdah/fire-and-forget"
"""The client of the state that wants what `fire_and_forget` was called with, until it has ended."""

DATASET = "dataset:"
"""Begins the names of the variables that are published datasets."""


def _spans(about: dict[str, Any]) -> list[TaskRange]:
    return [TaskRange(bytes(key), int(start), int(stop)) for key, start, stop in about["spans"]]


def holders(server: Server, client: ClientPeer, about: dict[str, Any]) -> list[list[list[str]]]:
    """Per span, per item: the workers that hold it, copies included."""
    return [requests.holders(server.state.core, span) for span in _spans(about)]


def has_what(server: Server, client: ClientPeer, about: dict[str, Any]) -> dict[str, Any]:
    """Per worker [layer's key, its name, start, stop] of what it holds."""
    return {
        worker: [[span.layer.hex(), server.layers.name(span.layer), span.start, span.stop] for span in spans]
        for worker, spans in requests.held_by(server.state.core).items()
    }


def retry(server: Server, client: ClientPeer, about: dict[str, Any]) -> None:
    server.event(RetryRequested(client.id, tuple(_spans(about))))


def replicate(server: Server, client: ClientPeer, about: dict[str, Any]) -> None:
    """Each of `workers` gets copies of all of `spans` that have results."""
    server.event(CopiesRequested(tuple(_spans(about))))
    for name in about["workers"]:
        peer = server.workers.get(name)
        if peer is None:
            continue
        sources: list[tuple[TaskRange, str, str]] = []
        for span in _spans(about):
            for item, held in zip(range(span.start, span.stop), requests.holders(server.state.core, span)):
                if held and name not in held:
                    sources.append((TaskRange(span.layer, item, item + 1), held[0], server.address_of(held[0])))
        if sources:
            peer.session.send(CopyResults(tuple(sources)))


def upload(server: Server, client: ClientPeer, about: dict[str, Any]) -> list[str]:
    """Every worker, those to come included, gets this file before it runs anything more."""
    server.files[str(about["name"])] = bytes(about["data"])
    for peer in server.workers.values():
        send_files(server, peer, [str(about["name"])])
    return list(server.workers)


def send_files(server: Server, peer: WorkerPeer, names: Sequence[str]) -> None:
    if names:
        peer.session.send(InstallFiles(tuple(names)), *[server.files[name] for name in names])


def restart(server: Server, client: ClientPeer, about: dict[str, Any]) -> list[str]:
    """The workers' processes start anew."""
    names = [name for name in about.get("workers") or server.workers if name in server.workers]
    for name in names:
        server.workers[name].session.send(Leave(RESTART))
    return names


def forget(server: Server, client: ClientPeer, about: dict[str, Any]) -> None:
    """These are computed even if nobody wants them any more."""
    server.coordination._want(FORGOTTEN, tuple(_spans(about)))


def ended(server: Server, name: str, span: TaskRange) -> None:
    """The state tells `name` that something has ended; a forgotten one is no longer wanted then."""
    if name == FORGOTTEN and not server.hearing:
        if server.written is not None:
            server.written.ended(FORGOTTEN, (span,))
        asyncio.get_running_loop().call_soon(server.event, Released(FORGOTTEN, (span,)))


def datasets(server: Server, client: ClientPeer, about: dict[str, Any]) -> list[str]:
    names = [name for kind, name in server.coordination.state.primitives if kind == "variable"]
    return sorted(name.removeprefix(DATASET) for name in names if name.startswith(DATASET))


def progress_of(server: Server, client: ClientPeer, about: dict[str, Any]) -> list[dict[str, Any]]:
    """How far these layers are; those that are over are left out."""
    books = server.state.core.layers
    found = [books[bytes(key)] for key in about["keys"] if bytes(key) in books]
    return [{"name": b.name, "n": b.n, "done": b.counts[DONE], "idle": b.counts[IDLE]} for b in found]


def versions(server: Server, client: ClientPeer, about: dict[str, Any]) -> dict[str, str]:
    import howdah

    return {"python": python_version(), "howdah": howdah.__version__}


REQUESTS = {
    "holders": holders,
    "has_what": has_what,
    "retry": retry,
    "replicate": replicate,
    "upload": upload,
    "restart": restart,
    "forget": forget,
    "datasets": datasets,
    "progress_of": progress_of,
    "versions": versions,
}

JOURNALED_ASKS = frozenset({"retry", "upload", "forget", "add_cleanup", "drop_cleanup"})
"""Of these and the server's other questions, those that a scheduler which is started again must hear once more."""
