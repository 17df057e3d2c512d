"""The scheduler's figures in Prometheus' text format (0.0.4): `/metrics` on the status port."""

from __future__ import annotations

from collections.abc import Iterable

from howdah.engine.scheduler.server.context import ServerContext
from howdah.engine.scheduler.server.layer_store import LayerStore
from howdah.engine.scheduler.server.sessions import Peers

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Sample = tuple[dict[str, str], float]


class Metrics:
    """The figures of one server."""

    def __init__(self, context: ServerContext, peers: Peers, layers: LayerStore, started: float) -> None:
        self._context, self._peers, self._layers, self._started = context, peers, layers, started

    def render(self) -> str:
        """Return all metrics as one page of text."""
        views = self._context.views
        total = views.summary(layers=False)
        workers = [(name, peer) for name, peer in self._peers.workers.items() if peer.info is not None]
        placed = [("node", total.tasks_node), ("rack", total.tasks_rack), ("remote", total.tasks_remote)]
        read = [("node", total.bytes_node), ("rack", total.bytes_rack), ("remote", total.bytes_remote)]
        steps = [({"from": old, "to": new}, count) for (old, new), count in views.history.counts.items()]
        inputs = [("here", total.inputs_local), ("peers", total.inputs_moved)]
        rss = [(name, peer.health.rss) for name, peer in workers]
        managed = [(name, peer.health.managed) for name, peer in workers]
        paused = [(name, int(peer.health.paused)) for name, peer in workers]
        batches, held = views.batch_counts().items(), views.result_bytes().items()
        states = _by("state", views.states().items())
        journal = self._context.journal.status()
        written, failed = (0, 0) if journal is None else (journal.nbytes, int(bool(journal.failure)))
        blocks = [
            _block("tasks", "gauge", "Tasks of layers that are remembered, by state.", states),
            _block("tasks_completed_total", "counter", "Tasks ever completed, repeated ones too.", [({}, total.tasks)]),
            _block("runs_total", "counter", "Batches ever completed.", [({}, total.runs)]),
            _block("task_seconds_total", "counter", "Seconds that slots spent on batches.", [({}, total.seconds)]),
            _block("transitions_total", "counter", "Transitions of tasks from state to state.", steps),
            _block("tasks_placed_total", "counter", "Tasks with preferred hosts, by distance.", _by("place", placed)),
            _block("source_bytes_total", "counter", "Bytes read from outside, by distance.", _by("place", read)),
            _block("input_bytes_total", "counter", "Bytes of results that batches needed.", _by("from", inputs)),
            _block("stale_reports_total", "counter", "Reports about ended batches.", [({}, total.stale_reports)]),
            _block("clients", "gauge", "Clients with a session.", [({}, len(self._peers.clients))]),
            _block("workers", "gauge", "Workers with a session.", [({}, len(workers))]),
            _block("slots", "gauge", "Slots of all workers.", [({}, views.slots)]),
            _block("worker_rss_bytes", "gauge", "Memory of a worker's process.", _by("worker", rss)),
            _block("worker_managed_bytes", "gauge", "Bytes of results that it reports.", _by("worker", managed)),
            _block("worker_paused", "gauge", "1 while it starts no task for lack of memory.", _by("worker", paused)),
            _block(
                "worker_internal_errors_total",
                "counter",
                "Errors of a worker's own code; the tasks on whose way they arose have failed with them.",
                _by("worker", [(name, peer.health.errors) for name, peer in workers]),
            ),
            _block("worker_runs", "gauge", "Batches that it has and has not reported.", _by("worker", batches)),
            _block("worker_result_bytes", "gauge", "Bytes of results by the scheduler's account.", _by("worker", held)),
            _block("graph_bytes", "gauge", "Bytes of code and arguments that are stored.", [({}, self._layers.nbytes)]),
            _block("journal_bytes", "gauge", "Size of the journal, 0 without one.", [({}, written)]),
            _block(
                "journal_failed",
                "gauge",
                "1 when it cannot be written: the scheduler could not be restarted.",
                [({}, failed)],
            ),
            _block("start_time_seconds", "gauge", "When the scheduler was started, Unix time.", [({}, self._started)]),
        ]
        return "\n".join(blocks) + "\n"


def _block(name: str, kind: str, text: str, samples: Iterable[Sample]) -> str:
    lines = [f"# HELP howdah_{name} {text}", f"# TYPE howdah_{name} {kind}"]
    for labels, value in samples:
        inside = ",".join(f'{key}="{_escaped(label)}"' for key, label in labels.items())
        lines.append(f"howdah_{name}{'{' + inside + '}' if inside else ''} {value:.17g}")
    return "\n".join(lines)


def _escaped(label: str) -> str:
    return label.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _by(label: str, values: Iterable[tuple[str, float]]) -> list[Sample]:
    return [({label: name}, value) for name, value in values]
