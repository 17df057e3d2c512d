"""The scheduler's figures as Prometheus reads them (text format 0.0.4): `/metrics` on the status port."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from howdah.engine.scheduler.core.summary import summarise
from howdah.engine.scheduler.core.tables import STATE_NAMES

if TYPE_CHECKING:
    from howdah.engine.scheduler.server.server import Server

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Sample = tuple[dict[str, str], float]


def _block(name: str, kind: str, text: str, samples: Iterable[Sample]) -> str:
    lines = [f"# HELP howdah_{name} {text}", f"# TYPE howdah_{name} {kind}"]
    for labels, value in samples:
        inside = ",".join(f'{key}="{_escaped(label)}"' for key, label in labels.items())
        lines.append(f"howdah_{name}{'{' + inside + '}' if inside else ''} {value:.17g}")
    return "\n".join(lines)


def _escaped(label: str) -> str:
    return label.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def metrics(server: Server) -> str:
    """Everything, as one page of text."""
    core = server.state.core
    total = summarise(core, layers=False)
    states = [0] * len(STATE_NAMES)
    for book in core.layers.values():
        for number, count in enumerate(book.counts):
            states[number] += count
    places = ("node", "rack", "remote")
    workers = [(name, peer) for name, peer in server.workers.items() if peer.info is not None]
    known = list(core.workers.items())
    placed = [(place, getattr(total, f"tasks_{place}")) for place in places]
    read = [(place, getattr(total, f"bytes_{place}")) for place in places]
    steps = [({"from": old, "to": new}, count) for (old, new), count in core.history.counts.items()]
    inputs = [("here", total.inputs_local), ("peers", total.inputs_moved)]
    rss = [(name, peer.health.rss) for name, peer in workers]
    managed = [(name, peer.health.managed) for name, peer in workers]
    paused = [(name, int(peer.health.paused)) for name, peer in workers]
    runs = [(name, len(worker.batches)) for name, worker in known]
    held = [(name, worker.nbytes) for name, worker in known]
    journal = server.written.journal if server.written is not None else None
    written = journal.nbytes if journal is not None else 0
    of_state = _by("state", list(zip(STATE_NAMES, states)))
    blocks = [
        _block("tasks", "gauge", "Tasks of layers that are remembered, by state.", of_state),
        _block("tasks_completed_total", "counter", "Tasks ever completed, repeated ones too.", [({}, total.tasks)]),
        _block("runs_total", "counter", "Runs ever completed.", [({}, total.runs)]),
        _block("task_seconds_total", "counter", "Seconds that slots spent on runs.", [({}, total.seconds)]),
        _block("transitions_total", "counter", "Steps of tasks from state to state.", steps),
        _block("tasks_placed_total", "counter", "Tasks with preferred hosts, by where they ran.", _by("place", placed)),
        _block("source_bytes_total", "counter", "Bytes read from outside, by where it was.", _by("place", read)),
        _block("input_bytes_total", "counter", "Bytes of results that runs needed.", _by("from", inputs)),
        _block("stale_reports_total", "counter", "Reports about runs that were over.", [({}, total.stale_reports)]),
        _block("clients", "gauge", "Clients with a session.", [({}, len(server.clients))]),
        _block("workers", "gauge", "Workers with a session.", [({}, len(workers))]),
        _block("slots", "gauge", "Slots of all workers.", [({}, core.slots)]),
        _block("worker_rss_bytes", "gauge", "Memory of a worker's process.", _by("worker", rss)),
        _block("worker_managed_bytes", "gauge", "Bytes of results it keeps, as it says.", _by("worker", managed)),
        _block("worker_paused", "gauge", "1 while it takes no work for want of memory.", _by("worker", paused)),
        _block("worker_runs", "gauge", "Runs that it was given and has not reported.", _by("worker", runs)),
        _block("worker_result_bytes", "gauge", "Bytes of results that the scheduler has it hold.", _by("worker", held)),
        _block("graph_bytes", "gauge", "Bytes of code and arguments that are kept.", [({}, server.layers.nbytes)]),
        _block("journal_bytes", "gauge", "Size of the journal, 0 without one.", [({}, written)]),
        _block(
            "journal_failed",
            "gauge",
            "1 when it cannot be written: a scheduler that dies cannot be started again.",
            [({}, int(bool(journal and journal.failure)))],
        ),
        _block("start_time_seconds", "gauge", "When the scheduler was started, Unix time.", [({}, server.started)]),
    ]
    return "\n".join(blocks) + "\n"


def _by(label: str, values: Iterable[tuple[str, float]]) -> list[Sample]:
    return [({label: name}, value) for name, value in values]
