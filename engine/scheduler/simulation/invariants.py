"""The invariants of the scheduler's books: recounted from scratch, item by item. For the simulation and its tests.

`check(state)` raises `Broken` with every disagreement that it finds. It costs many times what the scheduler itself
does, so it is for small scenarios; it changes nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from howdah.engine.scheduler.core.constraints import capacity, is_allowed
from howdah.engine.scheduler.core.dispatch import has_room
from howdah.engine.scheduler.core.placement import end_wait, notify_stuck
from howdah.engine.scheduler.core.scheduler import Scheduler
from howdah.engine.scheduler.core.state import SchedulerState
from howdah.engine.scheduler.core.tables import (
    ANYWHERE,
    DONE,
    FAILED,
    IDLE,
    MANY,
    NOBODY,
    READY,
    RUNNING,
    STATE_NAMES,
    WAITING,
    LayerState,
    QueueKey,
)
from howdah.engine.scheduler.core.transitions import errors_in

UNFINISHED = (WAITING, READY, RUNNING)


class Broken(AssertionError):
    """The books do not hold together."""


def check(state: Scheduler) -> None:
    """Raise `Broken` unless everything agrees."""
    core = state.core
    problems = [*_layers(core), *_runs(core), *_workers(core), *_queues(core)]
    if problems:
        raise Broken("\n".join(problems))


def _inputs(book: LayerState, item: int) -> Iterator[tuple[LayerState, int]]:
    """Every input of the item that is counted item by item, as often as it is counted."""
    for edge in book.inputs:
        if not edge.broadcast:
            reach = edge.wiring.inputs(item, item + 1)
            if isinstance(reach, list):
                for lo, hi, weight in reach:
                    for i in range(lo, hi):
                        for _ in range(weight):
                            yield edge.source, i
            else:
                for i in reach.tolist():
                    yield edge.source, i


def _layers(core: SchedulerState) -> Iterator[str]:
    need: Counter[tuple[LayerState, int]] = Counter()
    kept_by_running: Counter[tuple[LayerState, int]] = Counter()
    claims: Counter[LayerState] = Counter()
    running_claims: Counter[LayerState] = Counter()
    for book in core.layers.values():
        for item in range(book.n):
            code = book.state[item]
            if code in UNFINISHED:
                for source, i in _inputs(book, item):
                    need[source, i] += 1
                    kept_by_running[source, i] += code == RUNNING
                for edge in book.inputs:
                    if edge.broadcast:
                        claims[edge.source] += 1
                        running_claims[edge.source] += code == RUNNING
    if sum(book.counts[READY] for book in core.layers.values()) != core.ready:
        yield f"{core.ready} items are said to be ready"
    for book in core.layers.values():
        yield from _columns(core, book, need, claims[book])
        for item in range(book.n):
            waited_for = need[book, item] - kept_by_running[book, item] + claims[book] - running_claims[book]
            if book.state[item] == IDLE and (book.client_refs[item] or waited_for):
                yield f"{book.name}[{item}] is needed and nobody makes it"
        if book.counts[IDLE] == book.n and not book.interests and not book.dependents:
            yield f"{book.name} should have been forgotten"


def _columns(
    core: SchedulerState, book: LayerState, need: Counter[tuple[LayerState, int]], claims: int
) -> Iterator[str]:
    counted = Counter(int(c) for c in book.state)
    if [counted[c] for c in range(6)] != book.counts:
        yield f"{book.name}: counts {book.counts}, recounted {dict(counted)}"
    if book.broadcast_refs != claims:
        yield f"{book.name}: {book.broadcast_refs} broadcast claims, recounted {claims}"
    grouped = Counter(
        i for spans in [*book.ready.values(), book.poison_suspects or ()] for lo, hi in spans for i in range(lo, hi)
    )
    if book.poison_suspects and book not in core.poison_suspects:
        yield f"{book.name}: its suspects are given to nobody"
    for item in range(book.n):
        where, code = f"{book.name}[{item}] ({STATE_NAMES[book.state[item]]})", book.state[item]
        if book.dependent_refs[item] != need[book, item]:
            yield f"{where}: need {book.dependent_refs[item]}, recounted {need[book, item]}"
        wanted = sum(item in spans for spans in book.interests.values())
        if book.client_refs[item] != wanted:
            yield f"{where}: wanted by {book.client_refs[item]}, recounted {wanted}"
        needed = wanted or need[book, item] or claims
        if code in (WAITING, READY, DONE, FAILED) and not needed:
            yield f"{where}: nobody needs it"
        if (code == DONE) != (book.holder[item] != NOBODY):
            yield f"{where}: holder {book.holder[item]}"
        if code == DONE and int(book.holder[item]) not in core.by_index:
            yield f"{where}: its holder is gone"
        if (code == FAILED) != bool(errors_in(book, item, item + 1)):
            yield f"{where}: errors {errors_in(book, item, item + 1)}"
        if grouped[item] != (code == READY):
            yield f"{where}: in {grouped[item]} groups"
        if code in (WAITING, READY):
            absent = sum(source.state[i] != DONE for source, i in _inputs(book, item))
            absent += sum(edge.broadcast and edge.source.counts[DONE] < edge.source.n for edge in book.inputs)
            absent += item >= book.arrived
            absent += item in (book.retry_at or ())
            if (code == READY) != (absent == 0) or (code == WAITING and absent != book.unfinished_deps[item]):
                yield f"{where}: {book.unfinished_deps[item]} inputs missing, recounted {absent}"
            # one that only runs need which are asked back already is dropped when these end
            if not book.priorities and (
                book.client_refs[item] or any(edge.target.priorities for edge in book.dependents)
            ):
                yield f"{where}: no client has its layer run"
    if any(book.state[item] != DONE for lo, hi in book.pinned or () for item in range(lo, hi)):
        yield f"{book.name}: copies are asked for of what has no result"
    for index, spans in (book.copies or {}).items():
        for lo, hi in spans:
            for item in range(lo, hi):
                if book.state[item] != DONE or book.holder[item] == index or index not in core.by_index:
                    yield f"{book.name}[{item}]: a copy on worker {index} that cannot be"
                if book.copy_holder is None or book.copy_holder[item] not in (index, MANY):
                    yield f"{book.name}[{item}]: a copy on worker {index} that would not be dropped"
    for edge in book.inputs:
        if core.layers.get(edge.source.key) is not edge.source or edge not in edge.source.dependents:
            yield f"{book.name}: its source {edge.source.name} is forgotten"


def _runs(core: SchedulerState) -> Iterator[str]:
    twins = Counter((run.layer, run.lo) for run in core.batches.values() if run.speculative_copy is not None)
    running = Counter((run.layer, i) for run in core.batches.values() for i in range(run.lo, run.hi))
    for book in core.layers.values():
        for item in range(book.n):
            if running[book, item] != int(book.state[item] == RUNNING) + int(twins[book, item] == 2):
                yield f"{book.name}[{item}] ({STATE_NAMES[book.state[item]]}): in {running[book, item]} runs"
        if set(book.batches) != {run for run in core.batches.values() if run.layer is book}:
            yield f"{book.name}: its runs do not agree"
    for run in core.batches.values():
        if core.workers.get(run.worker.name) is not run.worker or run.ident not in run.worker.batches:
            yield f"run {run.ident}: its worker is gone"
    for client in core.clients.values():
        mine = sum(run.client == client.name for run in core.batches.values())
        if mine != client.running:
            yield f"client {client.name}: {client.running} runs, recounted {mine}"


def _workers(core: SchedulerState) -> Iterator[str]:
    items: Counter[int] = Counter()
    nbytes: Counter[int] = Counter()
    for book in core.layers.values():
        for item in range(book.n):
            if book.state[item] == DONE:
                items[int(book.holder[item])] += 1
                nbytes[int(book.holder[item])] += int(book.size[item])
    for worker in core.workers.values():
        held = worker.unblocked
        if len(worker.batches) != sum(run.worker is worker for run in core.batches.values()):
            yield f"worker {worker.name}: {held} runs are not those of the scheduler"
        if (worker.items, worker.nbytes) != (items[worker.index], nbytes[worker.index]):
            yield f"worker {worker.name}: {worker.items} items, {worker.nbytes} bytes; recounted {items[worker.index]}"
        kept = bool(worker.unschedulable_reasons)
        if kept != (worker.index in core.isolated_workers or worker.host in core.excluded_hosts):
            yield f"worker {worker.name}: barred"
        if (worker.index in core.idle) != (held < worker.slots and not kept):
            yield f"worker {worker.name}: idle list"
        if (worker.index in core.accepting) != (held >= worker.slots and has_room(worker) and not kept):
            yield f"worker {worker.name}: open list"
        if worker.blocked != sum(bool(run.depends_on) for run in worker.batches.values()):
            yield f"worker {worker.name}: {worker.blocked} runs are said to stand behind others"
        for name, amount in capacity(worker.info).items():
            taken = sum(dict(run.layer.resources).get(name, 0.0) for run in worker.batches.values())
            if (amount < float("inf") and abs(worker.available[name] + taken - amount) > 1e-6) or worker.available[
                name
            ] < -1e-6:
                yield f"worker {worker.name}: {worker.available[name]} {name} free of {amount}, {taken} taken"
        for run in worker.batches.values():
            need = run.layer.constraint
            if need is not None and not need.allow_other_workers and not is_allowed(core, worker, need):
                yield f"worker {worker.name}: runs {run.layer.name}, which is for {need.workers} only"
        if worker.backlog < -1e-6:
            yield f"worker {worker.name}: backlog {worker.backlog}"
    if set(core.by_index.values()) != set(core.workers.values()):
        yield "workers by index and by name disagree"
    if any(core.by_index.get(index) is not worker for index, worker in core.isolated_workers.items()):
        yield "a worker that has gone is kept for suspects"
    if core.slots != sum(worker.slots for worker in core.workers.values()):
        yield f"{core.slots} slots"
    if core.constraint_layers != Counter(
        book.constraint for book in core.layers.values() if book.constraint is not None
    ):
        yield f"needs: {core.constraint_layers} layers are said to ask for them"
    for host, count in core.host_workers.items():
        if count != sum(worker.host == host for worker in core.workers.values()):
            yield f"{count} workers on {host}"


def _queues(core: SchedulerState) -> Iterator[str]:
    """Every ready group is on offer, to every interested client, at a place where a worker looks or soon will."""
    waiting = set(core.timers.pending(end_wait)) | {(book, ANYWHERE) for (book,) in core.timers.pending(notify_stuck)}
    places: set[QueueKey] = {ANYWHERE}
    for worker in core.workers.values():
        places.update(worker.queue_keys)
    places.update(core.constraint_queues.values())
    for book in core.layers.values():
        for group, spans in book.ready.items():
            if not spans:
                yield f"{book.name}: an empty group"
            for name in book.priorities:
                queues = core.clients[name].queues
                shown = any((g, b) == (group, book) for at, heap in queues.items() if at in places for _, g, b in heap)
                if not shown and (book, group) not in waiting:
                    yield f"{book.name}: group {group} is nowhere on offer for client {name}"
