"""The invariants of the scheduler's tables: recounted from scratch, item by item.

`check_invariants(scheduler)` raises `BrokenInvariant` with every disagreement that it finds. It costs many times what
the scheduler itself does, so it is for small scenarios; it changes nothing.
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
    NO_WORKER,
    READY,
    RUNNING,
    STATE_NAMES,
    WAITING,
    LayerState,
    QueueKey,
)
from howdah.engine.scheduler.core.transitions import errors_in

UNFINISHED = (WAITING, READY, RUNNING)


class BrokenInvariant(AssertionError):
    """The tables do not agree with each other."""


def check_invariants(scheduler: Scheduler) -> None:
    """Raise `BrokenInvariant` unless all tables agree."""
    state = scheduler.state
    problems = [*_layers(state), *_runs(state), *_workers(state), *_queues(state)]
    if problems:
        raise BrokenInvariant("\n".join(problems))


def _inputs(layer: LayerState, item: int) -> Iterator[tuple[LayerState, int]]:
    """Every input of the item that is counted item by item, as often as it is counted."""
    for edge in layer.inputs:
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


def _layers(state: SchedulerState) -> Iterator[str]:
    need: Counter[tuple[LayerState, int]] = Counter()
    kept_by_running: Counter[tuple[LayerState, int]] = Counter()
    claims: Counter[LayerState] = Counter()
    running_claims: Counter[LayerState] = Counter()
    for layer in state.layers.values():
        for item in range(layer.n):
            code = layer.state[item]
            if code in UNFINISHED:
                for source, i in _inputs(layer, item):
                    need[source, i] += 1
                    kept_by_running[source, i] += code == RUNNING
                for edge in layer.inputs:
                    if edge.broadcast:
                        claims[edge.source] += 1
                        running_claims[edge.source] += code == RUNNING
    if sum(layer.counts[READY] for layer in state.layers.values()) != state.ready:
        yield f"{state.ready} items are counted as ready"
    for layer in state.layers.values():
        yield from _columns(state, layer, need, claims[layer])
        for item in range(layer.n):
            waited_for = need[layer, item] - kept_by_running[layer, item] + claims[layer] - running_claims[layer]
            if layer.state[item] == IDLE and (layer.client_refs[item] or waited_for):
                yield f"{layer.name}[{item}] is needed and nothing computes it"
        if layer.counts[IDLE] == layer.n and not layer.interests and not layer.dependents:
            yield f"{layer.name} should have been forgotten"


def _columns(
    state: SchedulerState, layer: LayerState, need: Counter[tuple[LayerState, int]], claims: int
) -> Iterator[str]:
    counted = Counter(int(c) for c in layer.state)
    if [counted[c] for c in range(6)] != layer.counts:
        yield f"{layer.name}: counts {layer.counts}, recounted {dict(counted)}"
    if layer.broadcast_refs != claims:
        yield f"{layer.name}: {layer.broadcast_refs} broadcast references, recounted {claims}"
    grouped = Counter(
        i for ranges in [*layer.ready.values(), layer.poison_suspects or ()] for lo, hi in ranges for i in range(lo, hi)
    )
    if layer.poison_suspects and layer not in state.poison_suspects:
        yield f"{layer.name}: its suspects are dispatched to no worker"
    for item in range(layer.n):
        where, code = f"{layer.name}[{item}] ({STATE_NAMES[layer.state[item]]})", layer.state[item]
        if layer.dependent_refs[item] != need[layer, item]:
            yield f"{where}: dependent references {layer.dependent_refs[item]}, recounted {need[layer, item]}"
        wanted = sum(item in ranges for ranges in layer.interests.values())
        if layer.client_refs[item] != wanted:
            yield f"{where}: client references {layer.client_refs[item]}, recounted {wanted}"
        needed = wanted or need[layer, item] or claims
        if code in (WAITING, READY, DONE, FAILED) and not needed:
            yield f"{where}: nothing needs it"
        if (code == DONE) != (layer.holder[item] != NO_WORKER):
            yield f"{where}: holder {layer.holder[item]}"
        if code == DONE and int(layer.holder[item]) not in state.by_index:
            yield f"{where}: its holder is gone"
        if (code == FAILED) != bool(errors_in(layer, item, item + 1)):
            yield f"{where}: errors {errors_in(layer, item, item + 1)}"
        if grouped[item] != (code == READY):
            yield f"{where}: in {grouped[item]} groups"
        if code in (WAITING, READY):
            absent = sum(source.state[i] != DONE for source, i in _inputs(layer, item))
            absent += sum(edge.broadcast and edge.source.counts[DONE] < edge.source.n for edge in layer.inputs)
            absent += item >= layer.arrived
            absent += item in (layer.retry_at or ())
            if (code == READY) != (absent == 0) or (code == WAITING and absent != layer.unfinished_deps[item]):
                yield f"{where}: {layer.unfinished_deps[item]} inputs missing, recounted {absent}"
            # one that only runs need which are asked back already is dropped when these end
            if not layer.priorities and (
                layer.client_refs[item] or any(edge.target.priorities for edge in layer.dependents)
            ):
                yield f"{where}: no client has its layer in a graph"
    if any(layer.state[item] != DONE for lo, hi in layer.pinned or () for item in range(lo, hi)):
        yield f"{layer.name}: copies are pinned of what has no result"
    for index, ranges in (layer.copies or {}).items():
        for lo, hi in ranges:
            for item in range(lo, hi):
                if layer.state[item] != DONE or layer.holder[item] == index or index not in state.by_index:
                    yield f"{layer.name}[{item}]: a copy on worker {index} that cannot be"
                if layer.copy_holder is None or layer.copy_holder[item] not in (index, MANY):
                    yield f"{layer.name}[{item}]: a copy on worker {index} that would not be dropped"
    for edge in layer.inputs:
        if state.layers.get(edge.source.key) is not edge.source or edge not in edge.source.dependents:
            yield f"{layer.name}: its source {edge.source.name} is forgotten"


def _runs(state: SchedulerState) -> Iterator[str]:
    duplicates = Counter(
        (batch.layer, batch.lo) for batch in state.batches.values() if batch.speculative_copy is not None
    )
    running = Counter((batch.layer, i) for batch in state.batches.values() for i in range(batch.lo, batch.hi))
    for layer in state.layers.values():
        for item in range(layer.n):
            if running[layer, item] != int(layer.state[item] == RUNNING) + int(duplicates[layer, item] == 2):
                yield f"{layer.name}[{item}] ({STATE_NAMES[layer.state[item]]}): in {running[layer, item]} runs"
        if set(layer.batches) != {batch for batch in state.batches.values() if batch.layer is layer}:
            yield f"{layer.name}: its runs do not agree"
    for batch in state.batches.values():
        if state.workers.get(batch.worker.name) is not batch.worker or batch.ident not in batch.worker.batches:
            yield f"run {batch.ident}: its worker is gone"
    for client in state.clients.values():
        mine = sum(batch.client == client.name for batch in state.batches.values())
        if mine != client.running:
            yield f"client {client.name}: {client.running} runs, recounted {mine}"


def _workers(state: SchedulerState) -> Iterator[str]:
    items: Counter[int] = Counter()
    nbytes: Counter[int] = Counter()
    for layer in state.layers.values():
        for item in range(layer.n):
            if layer.state[item] == DONE:
                items[int(layer.holder[item])] += 1
                nbytes[int(layer.holder[item])] += int(layer.size[item])
    for worker in state.workers.values():
        held = worker.unblocked
        if len(worker.batches) != sum(batch.worker is worker for batch in state.batches.values()):
            yield f"worker {worker.name}: {held} runs are not those of the scheduler"
        if (worker.items, worker.nbytes) != (items[worker.index], nbytes[worker.index]):
            yield f"worker {worker.name}: {worker.items} items, {worker.nbytes} bytes; recounted {items[worker.index]}"
        kept = bool(worker.unschedulable_reasons)
        if kept != (worker.index in state.isolated_workers or worker.host in state.excluded_hosts):
            yield f"worker {worker.name}: unschedulable reasons"
        if (worker.index in state.idle) != (held < worker.slots and not kept):
            yield f"worker {worker.name}: idle list"
        if (worker.index in state.accepting) != (held >= worker.slots and has_room(worker) and not kept):
            yield f"worker {worker.name}: accepting list"
        if worker.blocked != sum(bool(batch.depends_on) for batch in worker.batches.values()):
            yield f"worker {worker.name}: {worker.blocked} batches are counted as blocked"
        for name, amount in capacity(worker.info).items():
            taken = sum(dict(batch.layer.resources).get(name, 0.0) for batch in worker.batches.values())
            if (amount < float("inf") and abs(worker.available[name] + taken - amount) > 1e-6) or worker.available[
                name
            ] < -1e-6:
                yield f"worker {worker.name}: {worker.available[name]} {name} free of {amount}, {taken} taken"
        for batch in worker.batches.values():
            need = batch.layer.constraint
            if need is not None and not need.allow_other_workers and not is_allowed(state, worker, need):
                yield f"worker {worker.name}: runs {batch.layer.name}, which is for {need.workers} only"
        if worker.backlog < -1e-6:
            yield f"worker {worker.name}: backlog {worker.backlog}"
    if set(state.by_index.values()) != set(state.workers.values()):
        yield "workers by index and by name disagree"
    if any(state.by_index.get(index) is not worker for index, worker in state.isolated_workers.items()):
        yield "a worker that has gone is kept for suspects"
    if state.slots != sum(worker.slots for worker in state.workers.values()):
        yield f"{state.slots} slots"
    if state.constraint_layers != Counter(
        layer.constraint for layer in state.layers.values() if layer.constraint is not None
    ):
        yield f"constraints: {state.constraint_layers} layers are counted for them"
    for host, count in state.host_workers.items():
        if count != sum(worker.host == host for worker in state.workers.values()):
            yield f"{count} workers on {host}"


def _queues(state: SchedulerState) -> Iterator[str]:
    """Every ready group is enqueued, for every interested client, where a worker looks or soon will."""
    waiting = set(state.timers.pending(end_wait)) | {
        (layer, ANYWHERE) for (layer,) in state.timers.pending(notify_stuck)
    }
    places: set[QueueKey] = {ANYWHERE}
    for worker in state.workers.values():
        places.update(worker.queue_keys)
    places.update(state.constraint_queues.values())
    for layer in state.layers.values():
        for group, ranges in layer.ready.items():
            if not ranges:
                yield f"{layer.name}: an empty group"
            for name in layer.priorities:
                queues = state.clients[name].queues
                shown = any((g, b) == (group, layer) for at, heap in queues.items() if at in places for _, g, b in heap)
                if not shown and (layer, group) not in waiting:
                    yield f"{layer.name}: group {group} is enqueued nowhere for client {name}"
