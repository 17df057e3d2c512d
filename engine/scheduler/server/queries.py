"""Questions that clients and owners may ask the scheduler, and their answers: plain values, as JSON has them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from howdah.engine.protocol.messages import Query, Response
from howdah.engine.scheduler.core.summary import LayerSummary
from howdah.engine.scheduler.server.commands import REQUESTS
from howdah.errors import HowdahError, near

if TYPE_CHECKING:
    from howdah.engine.scheduler.server.server import Server
    from howdah.engine.scheduler.server.sessions import ClientPeer

PLACES = ("node", "rack", "remote")

MOST_LAYERS = 50
"""Layers that `status` lists; the newest are of interest."""


def workers(server: Server) -> dict[str, Any]:
    """The workers that are there now, by name."""
    found: dict[str, Any] = {}
    for name, peer in server.workers.items():
        info = peer.info
        if info is None:
            continue
        found[name] = {
            "host": info.host,
            "rack": info.rack,
            "slots": info.slots,
            "resources": dict(info.resources),
            "memory": info.memory,
            "container": info.container,
            "address": info.address,
            "pid": info.pid,
            "rss": peer.health.rss,
            "managed": peer.health.managed,
            "paused": peer.health.paused,
            "since": peer.since,
            "connected": peer.session.connected,
        }
    return found


def info(server: Server, client: ClientPeer | None = None, about: dict[str, Any] | None = None) -> dict[str, Any]:
    """`Client.scheduler_info()`."""
    return {
        "name": server.name,
        "address": server.listener.address,
        "epoch": server.epoch,
        "started": server.started,
        "workers": workers(server),
        "clients": sorted(server.clients),
        "journal": None if server.written is None else server.written.info(),
    }


def summary(server: Server, client: ClientPeer | None = None, about: dict[str, Any] | None = None) -> dict[str, Any]:
    """Everything that the state's accounts say (`howdah.engine.scheduler.core.summary.Summary`)."""
    return server.state.summary() | {"drained": list(server.drains.over)}


def progress(server: Server, client: ClientPeer, about: dict[str, Any]) -> list[dict[str, Any]]:
    """The layers that the asking client is interested in."""
    return [_as_dict(layer) for layer in server.state.progress(client.id)]


def status(server: Server, client: ClientPeer | None = None, about: dict[str, Any] | None = None) -> dict[str, Any]:
    """What the page and the application's master show; cheap enough to be asked twice a second."""
    found = server.state.summary()
    layers = [layer for layer in found["layers"] if layer["live"]]
    connected = [peer for peer in server.clients.values() if peer.session.connected and not peer.worker]
    return {
        "name": server.name,
        "started": server.started,
        "now": time.time(),
        "first_task": server.first_task,
        "workers": workers(server),
        "clients": len(connected),
        "seconds_without_client": 0.0
        if any(not peer.worker for peer in server.clients.values())
        else time.time() - server.last_client,
        "tasks": {
            "done": found["tasks"],
            "total": found["tasks"] + sum(layer["waiting"] + layer["running"] for layer in layers),
            "running": sum(layer["running"] for layer in layers),
            "waiting": sum(layer["waiting"] for layer in layers),
            "failed": sum(layer["failed"] for layer in layers),
        },
        "layers": layers[-MOST_LAYERS:],
        "placed": {place: found[f"tasks_{place}"] for place in PLACES},
        "bytes": {place: found[f"bytes_{place}"] for place in PLACES},
        "moved": {"local": found["inputs_local"], "moved": found["inputs_moved"]},
        "cleanup": list(server.cleanup),
        "drained": list(server.drains.over),
    }


def story(server: Server, client: ClientPeer, about: dict[str, Any]) -> list[dict[str, Any]]:
    """What happened to a task: `key` is a future's (``<layer>-<item>``), or a layer's alone for all of its items."""
    layer, _, item = str(about["key"]).partition("-")
    try:
        key, number = bytes.fromhex(layer), int(item) if item else None
    except ValueError:
        raise HowdahError(f"story: {about['key']!r} is no key of a task; give a future's `key`") from None
    return [server.history_entry(note) for note in server.state.core.history.story(key, number)]


def events(
    server: Server, client: ClientPeer | None = None, about: dict[str, Any] | None = None
) -> list[dict[str, Any]]:
    """The newest transitions, oldest first; `last` says how many."""
    notes = server.state.core.history.entries
    last = int((about or {}).get("last", 1000))
    return [server.history_entry(note) for note in notes[max(0, len(notes) - last) :]]


def write_events(server: Server, client: ClientPeer, about: dict[str, Any]) -> None:
    """From now on append every transition to the file `path` (of the scheduler's machine) as JSON lines; "" ends it."""
    path = str(about["path"])
    if path:
        server.state.core.history.write_to(path)
    else:
        server.state.core.history.close()


def add_cleanup(server: Server, client: ClientPeer, about: dict[str, Any]) -> None:
    server.cleanup[str(about["url"])] = None


def drop_cleanup(server: Server, client: ClientPeer, about: dict[str, Any]) -> None:
    server.cleanup.pop(str(about["url"]), None)


def worker_lost(server: Server, client: ClientPeer, about: dict[str, Any]) -> bool:
    return server.worker_lost(str(about["name"]), str(about["reason"]))


def retire(server: Server, client: ClientPeer, about: dict[str, Any]) -> list[str]:
    return server.retire([str(name) for name in about["names"]])


def _as_dict(layer: LayerSummary) -> dict[str, Any]:
    return {name: getattr(layer, name) for name in layer.__struct_fields__}


Question = Callable[[Any, Any, dict[str, Any]], Any]

FOR_CLIENTS: dict[str, Question] = {
    "info": info,
    "summary": summary,
    "progress": progress,
    "status": status,
    "story": story,
    "events": events,
    "add_cleanup": add_cleanup,
    "drop_cleanup": drop_cleanup,
}
FOR_CLIENTS.update(REQUESTS)

FOR_OWNERS: dict[str, Question] = {
    **FOR_CLIENTS,
    "write_events": write_events,
    "worker_lost": worker_lost,
    "retire": retire,
}


def answer(server: Server, client: ClientPeer, ask: Query, *, owner: bool) -> Response:
    """The answer to `ask`, or what is wrong with it."""
    table = FOR_OWNERS if owner else FOR_CLIENTS
    question = table.get(ask.query)
    if question is None:
        return Response(ask.id, error=f"the scheduler has no answer to {ask.query!r}; {near(ask.query, table)}")
    try:
        return Response(ask.id, msgspec.to_builtins(question(server, client, ask.arguments)))
    except HowdahError as error:
        return Response(ask.id, error=str(error))
    except KeyError as missing:
        return Response(ask.id, error=f"{ask.query}: the argument {missing} is missing")
