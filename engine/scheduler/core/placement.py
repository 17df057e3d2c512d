"""Where ready work should run, and which worker may take it.

Ready items stand in *groups*: those of a layer with preferred hosts by their set of hosts, those of a layer with inputs
by the worker that holds most of their bytes, the rest in the group ANYWHERE. A batch is always cut from one interval of
one group, so where preferences alternate item by item, a batch is one item. A group is enqueued under one or more keys
(a worker, a host, a rack, a constraint, or ANYWHERE); a worker looks at its own keys only, so choosing costs the same
whatever the number of workers.

Waiting is bounded (delay scheduling): a group with preferred hosts is for workers on those hosts until none of them has
taken from it for NODE_WAIT seconds, then for their racks too for RACK_WAIT, then for all. A level on which no worker
lives is not waited for. Work whose inputs lie with a busy worker goes to an idle one when moving the bytes takes less
time than the busy one's backlog (`find_stealable`). Rules on `SchedulerState`, called by `transitions`, `dispatch` and
their neighbours.
"""

from __future__ import annotations

from heapq import heappop, heappush
from itertools import islice
from typing import TypeAlias

import numpy as np

from howdah.engine.protocol.events import NotifyStuck
from howdah.engine.protocol.layers import TaskRange
from howdah.engine.scheduler.core import constraints
from howdah.engine.scheduler.core.bulk import scattered_inputs
from howdah.engine.scheduler.core.intervals import Interval, IntervalSet, group_equal
from howdah.engine.scheduler.core.state import SchedulerState
from howdah.engine.scheduler.core.tables import (
    ANYWHERE,
    ISOLATE_AFTER,
    NO_WORKER,
    ClientState,
    LayerState,
    Priority,
    QueueKey,
    WorkerState,
)

NODE_WAIT, RACK_WAIT = 3.0, 1.0
"""Seconds that a group waits for its hosts, then for their racks (the order of magnitude of Spark and MapReduce)."""
COLD_WAIT = 12.0
"""Seconds that a group waits for a host whose worker is in its first batch: that one imports the user's packages, which
on a busy node takes longer than NODE_WAIT and predicts nothing about the batches after it."""

STUCK_WAIT = 3.0
"""Seconds after which a client is notified that no worker can ever run what it waits for."""

BANDWIDTH, LATENCY = 100e6, 2e-3
"""Bytes a second, and seconds a message, that moving inputs is assumed to cost; figures of a gigabit network."""

SHORT_WORK = 10e-3
"""Seconds of latency that work shorter than its move is charged with: its dependents would be spread with it."""

SHORT_LAYER = 5e-3
"""Seconds that all of a layer may take and still be one worker's, wherever its inputs lie."""

STEAL_LOOKUPS = 8
"""Queues that are looked at in one attempt to steal."""

SMALL_INPUT = 1 << 16
"""Inputs up to this many bytes are not worth cutting batches into single items for."""

NODE, RACK, ANY = range(3)

Candidate: TypeAlias = tuple[Priority, int, LayerState, QueueKey]


def place(state: SchedulerState, layer: LayerState, lo: int, hi: int, spread: bool = False) -> None:
    """Put lo..hi, which have become ready, in their groups. With `spread` any worker may take them at once."""
    if layer.worker_deaths:
        for a, b in _set_suspects_aside(state, layer, lo, hi):
            _place(state, layer, a, b, spread)
    else:
        _place(state, layer, lo, hi, spread)


def _set_suspects_aside(state: SchedulerState, layer: LayerState, lo: int, hi: int) -> list[Interval]:
    """Set aside those of lo..hi of which workers may have died, to run alone; return the rest."""
    rest = IntervalSet(lo, hi)
    for item, reasons in (layer.worker_deaths or {}).items():
        if lo <= item < hi and len(reasons) >= ISOLATE_AFTER:
            rest.remove(item, item + 1)
            if layer.poison_suspects is None:
                layer.poison_suspects = IntervalSet()
            layer.poison_suspects.add(item, item + 1)
            state.poison_suspects[layer] = None
    return list(rest)


def _place(state: SchedulerState, layer: LayerState, lo: int, hi: int, spread: bool) -> None:
    if layer.constraint is not None:
        fresh = ANYWHERE not in layer.ready
        _add_to_group(state, layer, ANYWHERE, lo, hi)
        if fresh:
            constraints.wake_candidates(state, layer.constraint)
            state.timers.start(STUCK_WAIT, notify_stuck, layer)
    elif layer.host_sets is not None:
        for a, b, group in group_equal(layer.host_index, lo, hi):
            _add_to_group(state, layer, group, a, b)
            if spread and not _idle_near(state, layer, group):
                _announce_anywhere(state, layer, group)
    elif spread or layer.spread or not layer.inputs:
        _add_to_group(state, layer, ANYWHERE, lo, hi)
    else:
        for a, b, home in preferred_workers(state, layer, lo, hi):
            there = state.by_index.get(home) if state.excluded_hosts else None
            _add_to_group(
                state, layer, ANYWHERE if there is not None and there.host in state.excluded_hosts else home, a, b
            )


def _add_to_group(state: SchedulerState, layer: LayerState, group: int, lo: int, hi: int) -> None:
    if layer.host_sets is not None or group == ANYWHERE:
        state.placement_version += 1
    else:
        state.wakeups[group] = None  # it is served first, whichever others idle
    intervals = layer.ready.get(group)
    if intervals is None:
        layer.ready[group] = IntervalSet(lo, hi)
        if layer.host_sets is None:
            _enqueue(state, layer, group, layer.queue_key if group == ANYWHERE else group)
        else:
            _announce_hosts(state, layer, group)
    else:
        intervals.add(lo, hi)


def withdraw(layer: LayerState, lo: int, hi: int) -> None:
    """Remove lo..hi, which are ready no longer, from their groups."""
    if layer.poison_suspects:
        layer.poison_suspects.remove(lo, hi)
    for group, intervals in list(layer.ready.items()):
        intervals.remove(lo, hi)
        if not intervals:
            del layer.ready[group]


def _enqueue(state: SchedulerState, layer: LayerState, group: int, at: QueueKey, only: str | None = None) -> None:
    for name, order in layer.priorities.items():
        if only is None or name == only:
            client = state.clients[name]
            heap = client.queues.get(at)
            if heap is None:
                if not client.queues and not client.running:  # it was idle: no credit for that time
                    client.virtual_time = max(client.virtual_time, state.virtual_time)
                heap = client.queues[at] = []
            heappush(heap, (order, group, layer))


def enqueue_for_client(state: SchedulerState, layer: LayerState, client: str) -> None:
    """Enqueue the layer's ready items for a client that has just become interested in it."""
    for group in layer.ready:
        if layer.host_sets is None:
            _enqueue(state, layer, group, layer.queue_key if group == ANYWHERE else group, client)
            continue
        for host in layer.host_sets[group]:
            _enqueue(state, layer, group, f"host:{host}", client)
        level = _levels(layer)[group]
        for rack in _racks(state, layer, group) if level >= RACK else ():
            _enqueue(state, layer, group, f"rack:{rack}", client)
        if level == ANY:
            _enqueue(state, layer, group, ANYWHERE, client)
    state.placement_version += 1


# -- homes: who holds most of the inputs ----------------------------------------------------------------------------


def preferred_workers(state: SchedulerState, layer: LayerState, lo: int, hi: int) -> list[tuple[int, int, int]]:
    """(start, stop, worker index or ANYWHERE) for the items lo..hi, whose inputs all have results.

    A layer that is one short batch with small inputs has one preferred worker: the results of a row of such layers (a
    stencil, a step of an iteration) in several places would be passed to and fro from row to row.
    """
    there = state.by_index.get(layer.preferred_worker)
    if there is not None and state.workers.get(there.name) is there:  # and is not just leaving
        return [(lo, hi, layer.preferred_worker)]
    parts = _input_holders(layer, lo, hi)
    if layer.n > 1 and _is_one_place(state, layer, lo, hi):
        tally: dict[int, int] = {}
        for a, b, home in parts:
            tally[home] = tally.get(home, 0) + b - a
        layer.preferred_worker = max(tally, key=lambda home: (tally[home], -home))
        return [(lo, hi, layer.preferred_worker)]
    return parts


def _is_one_place(state: SchedulerState, layer: LayerState, lo: int, hi: int) -> bool:
    """Whether the layer is short, and its inputs, by those of lo..hi, move within the latency of a message."""
    if not is_short(state, layer):
        return False
    nbytes = sum([e.source.result_bytes(a, b) for e in layer.inputs for a, b in e.wiring.cover(lo, hi)])
    return nbytes * layer.n < LATENCY * BANDWIDTH * (hi - lo)


def is_short(state: SchedulerState, layer: LayerState) -> bool:
    """Whether all of the layer takes less time than spreading it costs, by the estimate."""
    seconds = layer.task_seconds if layer.task_seconds is not None else state.seconds_by_name.get(layer.name)
    return seconds is not None and seconds * layer.n <= SHORT_LAYER


def _input_holders(layer: LayerState, lo: int, hi: int) -> list[tuple[int, int, int]]:
    edges = [edge for edge in layer.inputs if not edge.broadcast or layer.n <= 4]
    if not edges:
        return [(lo, hi, ANYWHERE)]
    source = edges[0].source
    if len(edges) == 1 and not edges[0].broadcast and edges[0].wiring.cover(lo, hi) == [(lo, hi)] and hi <= source.n:
        parts = group_equal(source.holder, lo, hi)  # one to one, or as good as
        average = source.result_bytes(lo, hi) / (hi - lo)
    elif hi - lo <= 64:
        holders = [_heaviest(layer, i) for i in range(lo, hi)]
        parts = [(lo + a, lo + b, holder) for a, b, holder in group_equal(holders, 0, hi - lo)]
        average = SMALL_INPUT
    else:  # many at once: by the first input of each
        firsts = edges[0].wiring.firsts(lo, hi)
        first_holders = np.where(firsts >= 0, np.asarray(source.holder)[firsts], ANYWHERE)
        parts = group_equal(first_holders, 0, hi - lo)
        parts = [(lo + a, lo + b, holder) for a, b, holder in parts]
        average = SMALL_INPUT
    if len(parts) * 4 > hi - lo >= 16 and average < SMALL_INPUT:
        return [(lo, hi, ANYWHERE)]
    return parts


def _heaviest(layer: LayerState, item: int) -> int:
    """The worker that holds most bytes of the item's inputs."""
    tally: dict[int, int] = {}
    for edge in layer.inputs:
        if edge.broadcast and layer.n > 4:
            continue
        source = edge.source
        many = scattered_inputs(edge, item, item + 1)
        if many is not None:
            weights = np.bincount(source.holder[many] + 1, weights=source.size[many] + 1)
            for holder in np.flatnonzero(weights).tolist():
                tally[holder - 1] = tally.get(holder - 1, 0) + int(weights[holder])
            continue
        for a, b in edge.wiring.cover(item, item + 1):
            if b - a <= 64:
                for j in range(a, b):
                    holder = int(source.holder[j])
                    tally[holder] = tally.get(holder, 0) + 1 + int(source.size[j])
            else:
                weights = np.bincount(np.asarray(source.holder[a:b]) + 1, weights=np.asarray(source.size[a:b]) + 1)
                for holder, weight in enumerate(weights.tolist(), -1):
                    if weight:
                        tally[holder] = tally.get(holder, 0) + int(weight)
    tally.pop(NO_WORKER, None)
    if not tally:
        return ANYWHERE
    return max(tally, key=lambda holder: (tally[holder], -holder))


# -- preferred hosts and bounded waiting ----------------------------------------------------------------------------


def _hosts(layer: LayerState, group: int) -> tuple[str, ...]:
    return layer.host_sets[group] if layer.host_sets is not None else ()


def _levels(layer: LayerState) -> dict[int, int]:
    assert layer.group_level is not None  # only layers with preferred hosts come here
    return layer.group_level


def _racks(state: SchedulerState, layer: LayerState, group: int) -> list[str]:
    """The racks of the group's hosts on which workers live, each once."""
    racks = dict.fromkeys([state.rack_of.get(host, "") for host in _hosts(layer, group)])
    return [rack for rack in racks if state.rack_workers.get(rack)]


def _announce_hosts(state: SchedulerState, layer: LayerState, group: int) -> None:
    """Enqueue a group with preferred hosts that has got its first item, at the nearest level on which workers live."""
    live = [host for host in _hosts(layer, group) if state.host_workers.get(host)]
    assert layer.group_since is not None
    layer.group_since[group] = state.now
    _levels(layer)[group] = NODE
    for host in live:
        _enqueue(state, layer, group, f"host:{host}")
    if live:
        state.timers.start(NODE_WAIT, end_wait, layer, group)
    else:
        widen(state, layer, group)


def widen(state: SchedulerState, layer: LayerState, group: int) -> None:
    """Stop waiting at the group's present level: enqueue it on the next one on which workers live."""
    assert layer.group_since is not None
    levels = _levels(layer)
    layer.group_since[group] = state.now
    state.placement_version += 1
    if levels[group] == NODE:
        levels[group] = RACK
        racks = _racks(state, layer, group)
        for rack in racks:
            _enqueue(state, layer, group, f"rack:{rack}")
        if racks:
            state.timers.start(RACK_WAIT, end_wait, layer, group)
            return
    _announce_anywhere(state, layer, group)


def _announce_anywhere(state: SchedulerState, layer: LayerState, group: int) -> None:
    _levels(layer)[group] = ANY
    _enqueue(state, layer, group, ANYWHERE)
    state.placement_version += 1


def end_wait(state: SchedulerState, layer: LayerState, group: int) -> None:
    """Enqueue the group more widely if its present level has been waited for long enough."""
    level = _levels(layer)[group]
    if group not in layer.ready or level == ANY:
        return
    assert layer.group_since is not None
    patience = RACK_WAIT if level != NODE else COLD_WAIT if _cold(state, layer, group) else NODE_WAIT
    rest = layer.group_since[group] + patience - state.now
    if rest > 1e-9:
        state.timers.start(min(rest, NODE_WAIT), end_wait, layer, group)
    else:
        widen(state, layer, group)


def notify_stuck(state: SchedulerState, layer: LayerState) -> None:
    """Notify the layer's clients if none of the workers can ever run its ready items; once an event."""
    reason = constraints.unmet_reason(state, layer) if ANYWHERE in layer.ready else ""
    if not reason or any(type(i) is NotifyStuck and i.range.layer == layer.key for i in state.instructions):
        return
    for client in layer.priorities:
        for lo, hi in layer.ready[ANYWHERE]:
            state.instructions.append(NotifyStuck(client, TaskRange(layer.key, lo, hi), reason))


def _cold(state: SchedulerState, layer: LayerState, group: int) -> bool:
    """Whether a worker on the group's hosts is still in its first batch."""
    hosts = _hosts(layer, group)
    return any(not worker.warm and worker.batches and worker.host in hosts for worker in state.workers.values())


def record_locality(state: SchedulerState, layer: LayerState, group: int, worker: WorkerState) -> int:
    """A batch was cut from the group for that worker: return NODE, RACK or ANY, or -1 for a group without hosts.

    Where a worker on a preferred host takes work, the group waits for its hosts again.
    """
    hosts = _hosts(layer, group)
    if not hosts:
        return -1
    if worker.host in hosts:
        assert layer.group_since is not None
        layer.group_since[group] = state.now
        if group in layer.ready and _levels(layer)[group] != NODE:
            _levels(layer)[group] = NODE
            state.timers.start(NODE_WAIT, end_wait, layer, group)
        return NODE
    return RACK if any(state.rack_of.get(host) == worker.rack for host in hosts) else ANY


def worth_waiting(state: SchedulerState, layer: LayerState, group: int, level: int) -> float:
    """Seconds that a batch dispatched to a worker beside its data must wait there before it may go to an idle one."""
    if layer.host_sets is None or level != NODE or _idle_near(state, layer, group):
        return 0.0
    return NODE_WAIT


def _idle_near(state: SchedulerState, layer: LayerState, group: int) -> bool:
    """Whether an idle worker lives on the group's hosts."""
    hosts = _hosts(layer, group)
    return any(worker.host in hosts for worker in state.idle.values())


def worker_added(state: SchedulerState, worker: WorkerState) -> None:
    """Enqueue the groups that prefer its host or rack for it."""
    state.host_workers[worker.host] = state.host_workers.get(worker.host, 0) + 1
    state.rack_workers[worker.rack] = state.rack_workers.get(worker.rack, 0) + 1
    state.rack_of[worker.host] = worker.rack
    constraints.worker_added(state, worker)
    state.placement_version += 1
    for layer in state.layers.values():
        if layer.ready and layer.host_sets is not None:
            for group in layer.ready:
                if worker.host in layer.host_sets[group]:
                    _enqueue(state, layer, group, worker.host_key)


def worker_removed(state: SchedulerState, worker: WorkerState) -> None:
    """Move work that was enqueued for it alone; groups whose last host it was stop waiting."""
    state.host_workers[worker.host] -= 1
    state.rack_workers[worker.rack] -= 1
    constraints.worker_removed(state, worker)
    for client in state.clients.values():
        client.queues.pop(worker.index, None)
    for layer in list(state.layers.values()):
        if not layer.ready:
            continue
        if layer.constraint is not None:
            state.timers.start(STUCK_WAIT, notify_stuck, layer)  # perhaps none is left that can
        elif layer.host_sets is not None:
            for group in list(layer.ready):
                near = layer.host_sets[group]
                alone = worker.host in near and not any(state.host_workers.get(host) for host in near)
                if alone and _levels(layer)[group] == NODE:
                    widen(state, layer, group)
        elif worker.index in layer.ready:
            for lo, hi in layer.ready.pop(worker.index):
                place(state, layer, lo, hi)


def release_preferred(state: SchedulerState, worker: WorkerState) -> None:
    """Let all workers take the work whose inputs lie with this one: it gets none for now."""
    for layer in list(state.layers.values()):
        if layer.host_sets is None and worker.index in layer.ready:
            for lo, hi in layer.ready.pop(worker.index):
                _add_to_group(state, layer, ANYWHERE, lo, hi)


# -- choosing -------------------------------------------------------------------------------------------------------


def best_group(state: SchedulerState, client: ClientState, worker: WorkerState) -> Candidate | None:
    """The client's most urgent ready group that this worker may take from; among equals the nearest."""
    best: Candidate | None = None
    queues = client.queues
    places = worker.queue_keys
    if state.constraint_queues:
        places += tuple(
            [
                at
                for constraint, at in state.constraint_queues.items()
                if at in queues and constraints.may_run(state, worker, constraint)
            ]
        )
    for at in places:
        heap = queues.get(at)
        if heap:
            top = _top(client, at, heap)
            if top is not None and (best is None or top[0] < best[0]):
                best = (*top, at)
    return best


def _top(
    client: ClientState, at: QueueKey, heap: list[tuple[Priority, int, LayerState]]
) -> tuple[Priority, int, LayerState] | None:
    while heap:
        _, group, layer = heap[0]
        if (
            group in layer.ready
            and client.name in layer.priorities
            and (layer.host_sets is None or _valid(layer, group, at))
        ):
            return heap[0]
        heappop(heap)
    del client.queues[at]
    return None


def _valid(layer: LayerState, group: int, at: QueueKey) -> bool:
    level = _levels(layer)[group]
    if at == ANYWHERE:
        return level == ANY or not _hosts(layer, group)
    return level >= RACK or not str(at).startswith("rack:")


def find_stealable(state: SchedulerState, client: ClientState, worker: WorkerState) -> Candidate | None:
    """Find work for an idle worker whose inputs lie with a worker that will not start it soon."""
    for at in list(islice(client.queues, STEAL_LOOKUPS)):
        if type(at) is not int or at == ANYWHERE or at == worker.index:
            continue
        victim = state.by_index.get(at)
        top = _top(client, at, client.queues[at])
        if victim is None or top is None:
            continue
        order, group, layer = top
        short = LATENCY if _worth_moving(layer, group) else SHORT_WORK
        rest = sum(victim.remaining_seconds(state.now)) / victim.slots - short if victim.slots else float("inf")
        if rest > 0:
            item = layer.ready[group].first
            if _input_bytes(layer, item) < rest * BANDWIDTH:
                return order, group, layer, at
        client.queues[at] = client.queues.pop(at)  # others come first the next time
    return None


def _worth_moving(layer: LayerState, group: int) -> bool:
    """Whether the group's items take longer than moving their inputs, by the estimate."""
    return layer.task_seconds is None or layer.task_seconds * len(layer.ready[group]) > LATENCY


def _input_bytes(layer: LayerState, item: int) -> int:
    return sum([e.source.result_bytes(a, b) for e in layer.inputs for a, b in e.wiring.cover(item, item + 1)])
