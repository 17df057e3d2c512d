"""What workers say, and what their going means, for the server. Functions of the server, called by it alone."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from howdah.engine.protocol.events import BatchDone, CopiesMade, SlotsChanged, WorkerJoined, WorkerLeft
from howdah.engine.protocol.messages import (
    BatchBlocked,
    BatchCut,
    BatchFinished,
    Bye,
    Draining,
    Health,
    RegisterWorker,
    ResultsCopied,
    SlotCount,
    WorkerGone,
    WorkerMessage,
)
from howdah.engine.scheduler.server.commands import send_files
from howdah.engine.scheduler.server.sessions import Inline, WorkerPeer
from howdah.errors import PeerRefused

if TYPE_CHECKING:
    from howdah.engine.scheduler.server.server import Server

log = logging.getLogger("howdah.engine.scheduler.server.server")


def said(server: Server, worker: WorkerPeer, message: WorkerMessage, frames: Sequence[memoryview]) -> None:
    """Handle one message of `worker`; raises PeerRefused, and its connection ends, where it speaks for another."""
    match message:
        case BatchFinished(report):
            _run_finished(server, worker, report, frames)
        case BatchBlocked(report):
            server.runs.pop((report.batch, report.attempt), None)
            server.event(_by(worker, report))
            server.coordination.begun.lost()
        case BatchCut(report):
            server.coordination.begun.cut(report.batch, report.attempt, report.start)
            server.event(_by(worker, report))
        case ResultsCopied(spans, missing):
            server.event(CopiesMade(worker.name, spans))
            server.drains.refused(worker.name, missing)
        case SlotCount(slots):
            server.event(SlotsChanged(worker.name, slots))
        case Health():
            worker.health = message
        case RegisterWorker():
            _introduced(server, worker, message)
        case Draining():
            server.drains.begin(worker, message)
        case Bye(reason):
            left(server, worker, reason, clean=True)
    if server.drains.under_way and isinstance(message, BatchFinished | BatchBlocked | BatchCut | ResultsCopied):
        server.drains.look()


def _introduced(server: Server, worker: WorkerPeer, message: RegisterWorker) -> None:
    info = message.worker
    if info.name != worker.name or (worker.role.name and worker.role.name not in (info.container, info.name)):
        raise PeerRefused(f"{worker.role.uri} introduced itself as {info.name!r} of {info.container!r}")
    earlier = server.workers.get(info.name)
    if earlier is not None and earlier is not worker:
        if earlier.info is not None and earlier.info.pid != info.pid:
            left(server, earlier, message.died or "another process has taken its name")
        server.drop(earlier)
    worker.info = info
    server.workers[info.name] = worker
    log.info("worker %s on %s with %d slots at %s", info.name, info.host, info.slots, info.address)
    send_files(server, worker, list(server.files))
    if server.written is not None:
        server.written.worker_came(info.name)
        server.runs.update(zip(message.running, message.spans))
    server.event(WorkerJoined(info, message.holdings, message.running, message.spans, message.inputs))


def _run_finished(server: Server, worker: WorkerPeer, report: BatchDone, frames: Sequence[memoryview]) -> None:
    span = server.runs.pop((report.batch, report.attempt), None)
    inline = Inline(span, frames) if span is not None and len(frames) == 2 else None
    server.coordination.begun.finished(report.batch, report.attempt)
    server.event(_by(worker, report), inline)


def left(server: Server, worker: WorkerPeer, reason: str, clean: bool = False) -> None:
    """This worker will not come back; `clean`: it said so itself, and nothing is held against what it ran."""
    server.drop(worker)
    if server.workers.get(worker.name) is worker:
        del server.workers[worker.name]
        if worker.name in server.drains.under_way and worker.name in server.state.core.workers:
            server.drains.left(worker.name)
        went(server, worker.name, reason, clean)
        if server.drains.under_way:  # it may have had copies for another that goes
            server.drains.look()
        if worker.info is not None:
            for peer in (*server.workers.values(), *server.clients.values()):
                peer.session.send(WorkerGone(worker.info.address))


def went(server: Server, name: str, reason: str, clean: bool = False) -> None:
    """The same of one that perhaps never was connected to this scheduler, only to the one before a restart."""
    log.info("worker %s left: %s", name, reason)
    if server.written is not None:
        server.written.worker_went(name)
    for client in [client for client in server.clients.values() if client.worker == name]:
        server.client_left(client)  # its tasks' own
    server.event(WorkerLeft(name, reason, clean))
    server.coordination.begun.lost()


def _by(worker: WorkerPeer, report: Any) -> Any:
    """The report, if it is in the worker's own name."""
    if report.worker != worker.name:
        raise PeerRefused(f"worker {worker.name} reported in the name of {report.worker}")
    return report
