"""Where ready work should run, and who may take it.

Ready items stand in *groups*: those of a layer with preferred hosts by their set of hosts, those of a layer with
inputs by the worker that holds most of their bytes, the rest ANYWHERE. A run is always cut from one stretch of one
group, so where preferences alternate item by item, a run is one item. A non-empty group is announced at *places*
(a worker, a host, a rack, or anywhere); a worker looks at its own places only, so choosing costs the same whatever
the number of workers.

Waiting is bounded (delay scheduling): a group with preferred hosts is for workers on those hosts until nobody there
has taken from it for NODE_WAIT seconds, then for their racks too for RACK_WAIT, then for all. A level on which no
worker lives is not waited for. Work whose inputs lie with a busy worker goes to an idle one when moving the bytes
takes less time than the busy one's backlog (`steal`).
"""

from __future__ import annotations

from heapq import heappop, heappush
from itertools import islice
from typing import TypeAlias

import numpy as np

from howdah.engine.protocol.events import NotifyStuck
from howdah.engine.protocol.layers import TaskRange
from howdah.engine.scheduler.core import bulk as scattered
from howdah.engine.scheduler.core import constraints as needs
from howdah.engine.scheduler.core.context import SchedulerState
from howdah.engine.scheduler.core.intervals import Interval, IntervalSet, group_equal
from howdah.engine.scheduler.core.tables import (
    ANYWHERE,
    ISOLATE_AFTER,
    NOBODY,
    Client,
    LayerState,
    Priority,
    QueueKey,
    Worker,
)

NODE_WAIT, RACK_WAIT = 3.0, 1.0
"""Seconds that a group waits for its hosts, then for their racks (Spark's and MapReduce's order of magnitude)."""
COLD_WAIT = 12.0
"""Seconds that a group waits for a host whose worker is in its very first run: that one imports the user's packages,
which on a busy node takes longer than NODE_WAIT and says nothing about the runs after it."""

STUCK_WAIT = 3.0
"""Seconds after which a client is told that no worker could ever run what it waits for."""

BANDWIDTH, LATENCY = 100e6, 2e-3
"""Bytes a second and seconds an exchange that moving inputs is taken to cost; a gigabit network's figures."""

SHORT_WORK = 10e-3
"""The same for work that is shorter than its move: where it is torn apart its dependants are, too."""

SHORT_LAYER = 5e-3
"""Seconds that all of a layer may take and still be one worker's, wherever its inputs lie."""

STEAL_LOOKUPS = 8
"""Places that are looked at in one attempt to steal."""

SMALL_INPUT = 1 << 16
"""Inputs up to this size are not worth cutting runs into single items for."""

NODE, RACK, ANY = range(3)

Candidate: TypeAlias = tuple[Priority, int, LayerState, QueueKey]


def place(core: SchedulerState, book: LayerState, lo: int, hi: int, spread: bool = False) -> None:
    """lo..hi have become ready: put them in their groups. With `spread` anybody may take them at once."""
    if book.worker_deaths:
        for a, b in _set_suspects_aside(core, book, lo, hi):
            _place(core, book, a, b, spread)
    else:
        _place(core, book, lo, hi, spread)


def _set_suspects_aside(core: SchedulerState, book: LayerState, lo: int, hi: int) -> list[Interval]:
    """Those of lo..hi of which workers may have died are put aside, to run alone; the rest is returned."""
    rest = IntervalSet(lo, hi)
    for item, reasons in (book.worker_deaths or {}).items():
        if lo <= item < hi and len(reasons) >= ISOLATE_AFTER:
            rest.remove(item, item + 1)
            if book.poison_suspects is None:
                book.poison_suspects = IntervalSet()
            book.poison_suspects.add(item, item + 1)
            core.poison_suspects[book] = None
    return list(rest)


def _place(core: SchedulerState, book: LayerState, lo: int, hi: int, spread: bool) -> None:
    if book.constraint is not None:
        fresh = ANYWHERE not in book.ready
        _add_to_group(core, book, ANYWHERE, lo, hi)
        if fresh:
            needs.wake_candidates(core, book.constraint)
            start_wait(core, book, ANYWHERE, STUCK_WAIT)
    elif book.host_sets is not None:
        for a, b, group in group_equal(book.host_index, lo, hi):
            _add_to_group(core, book, group, a, b)
            if spread and not _idle_near(core, book, group):
                _announce_anywhere(core, book, group)
    elif spread or book.spread or not book.inputs:
        _add_to_group(core, book, ANYWHERE, lo, hi)
    else:
        for a, b, home in preferred_workers(core, book, lo, hi):
            there = core.by_index.get(home) if core.excluded_hosts else None
            _add_to_group(
                core, book, ANYWHERE if there is not None and there.host in core.excluded_hosts else home, a, b
            )


def _add_to_group(core: SchedulerState, book: LayerState, group: int, lo: int, hi: int) -> None:
    if book.host_sets is not None or group == ANYWHERE:
        core.placement_version += 1
    else:
        core.wakeups[group] = None  # that worker has work at home: it is asked, whoever else idles
    spans = book.ready.get(group)
    if spans is None:
        book.ready[group] = IntervalSet(lo, hi)
        if book.host_sets is None:
            _enqueue(core, book, group, book.queue_key if group == ANYWHERE else group)
        else:
            _announce_hosts(core, book, group)
    else:
        spans.add(lo, hi)


def withdraw(book: LayerState, lo: int, hi: int) -> None:
    """lo..hi are ready no longer."""
    if book.poison_suspects:
        book.poison_suspects.remove(lo, hi)
    for group, spans in list(book.ready.items()):
        spans.remove(lo, hi)
        if not spans:
            del book.ready[group]


def _enqueue(core: SchedulerState, book: LayerState, group: int, at: QueueKey, only: str | None = None) -> None:
    for name, order in book.priorities.items():
        if only is None or name == only:
            client = core.clients[name]
            heap = client.queues.get(at)
            if heap is None:
                if not client.queues and not client.running:  # it was idle: no credit for the time in which it was
                    client.virtual_time = max(client.virtual_time, core.virtual_time)
                heap = client.queues[at] = []
            heappush(heap, (order, group, book))


def enqueue_for_client(core: SchedulerState, book: LayerState, client: str) -> None:
    """A client that has just become interested in the layer may have its ready items run, too."""
    for group in book.ready:
        if book.host_sets is None:
            _enqueue(core, book, group, book.queue_key if group == ANYWHERE else group, client)
            continue
        for host in book.host_sets[group]:
            _enqueue(core, book, group, f"host:{host}", client)
        level = _levels(book)[group]
        for rack in _racks(core, book, group) if level >= RACK else ():
            _enqueue(core, book, group, f"rack:{rack}", client)
        if level == ANY:
            _enqueue(core, book, group, ANYWHERE, client)
    core.placement_version += 1


# -- homes: who holds most of the inputs ----------------------------------------------------------------------------


def preferred_workers(core: SchedulerState, book: LayerState, lo: int, hi: int) -> list[tuple[int, int, int]]:
    """(start, stop, worker index or ANYWHERE) for the items lo..hi, whose inputs all have results.

    A layer that is one short run with small inputs has one home: what a row of such layers (a stencil, a step of an
    iteration) has in several places would be passed to and fro from row to row.
    """
    there = core.by_index.get(book.preferred_worker)
    if there is not None and core.workers.get(there.name) is there:  # and not just leaving
        return [(lo, hi, book.preferred_worker)]
    parts = _input_holders(book, lo, hi)
    if book.n > 1 and _is_one_place(core, book, lo, hi):
        tally: dict[int, int] = {}
        for a, b, home in parts:
            tally[home] = tally.get(home, 0) + b - a
        book.preferred_worker = max(tally, key=lambda home: (tally[home], -home))
        return [(lo, hi, book.preferred_worker)]
    return parts


def _is_one_place(core: SchedulerState, book: LayerState, lo: int, hi: int) -> bool:
    """Whether the layer is short, and its inputs, by those of lo..hi, move within the latency of an exchange."""
    if not is_short(core, book):
        return False
    nbytes = sum([e.source.result_bytes(a, b) for e in book.inputs for a, b in e.wiring.cover(lo, hi)])
    return nbytes * book.n < LATENCY * BANDWIDTH * (hi - lo)


def is_short(core: SchedulerState, book: LayerState) -> bool:
    """Whether all of the layer takes less time than tearing it apart costs, as far as one can tell."""
    seconds = book.task_seconds if book.task_seconds is not None else core.seconds_by_name.get(book.name)
    return seconds is not None and seconds * book.n <= SHORT_LAYER


def _input_holders(book: LayerState, lo: int, hi: int) -> list[tuple[int, int, int]]:
    edges = [edge for edge in book.inputs if not edge.broadcast or book.n <= 4]
    if not edges:
        return [(lo, hi, ANYWHERE)]
    source = edges[0].source
    if len(edges) == 1 and not edges[0].broadcast and edges[0].wiring.cover(lo, hi) == [(lo, hi)] and hi <= source.n:
        parts = group_equal(source.holder, lo, hi)  # one to one, or as good as
        average = source.result_bytes(lo, hi) / (hi - lo)
    elif hi - lo <= 64:
        holders = [_heaviest(book, i) for i in range(lo, hi)]
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


def _heaviest(book: LayerState, item: int) -> int:
    """The worker that holds most bytes of the item's inputs."""
    tally: dict[int, int] = {}
    for edge in book.inputs:
        if edge.broadcast and book.n > 4:
            continue
        source = edge.source
        many = scattered.inputs_of(edge, item, item + 1)
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
    tally.pop(NOBODY, None)
    if not tally:
        return ANYWHERE
    return max(tally, key=lambda holder: (tally[holder], -holder))


# -- preferred hosts and bounded waiting ----------------------------------------------------------------------------


def _hosts(book: LayerState, group: int) -> tuple[str, ...]:
    return book.host_sets[group] if book.host_sets is not None else ()


def _levels(book: LayerState) -> dict[int, int]:
    assert book.group_level is not None  # only layers with preferred hosts come here
    return book.group_level


def _racks(core: SchedulerState, book: LayerState, group: int) -> list[str]:
    """Racks of the group's hosts on which workers live, each once."""
    racks = dict.fromkeys([core.rack_of.get(host, "") for host in _hosts(book, group)])
    return [rack for rack in racks if core.rack_workers.get(rack)]


def _announce_hosts(core: SchedulerState, book: LayerState, group: int) -> None:
    """A group with preferred hosts has got its first item: begin at the nearest level on which workers live."""
    live = [host for host in _hosts(book, group) if core.host_workers.get(host)]
    assert book.group_since is not None
    book.group_since[group] = core.now
    _levels(book)[group] = NODE
    for host in live:
        _enqueue(core, book, group, f"host:{host}")
    if live:
        start_wait(core, book, group, NODE_WAIT)
    else:
        widen(core, book, group)


def widen(core: SchedulerState, book: LayerState, group: int) -> None:
    """The group's present level is waited for no longer: offer it on the next one on which workers live."""
    assert book.group_since is not None
    levels = _levels(book)
    book.group_since[group] = core.now
    core.placement_version += 1
    if levels[group] == NODE:
        levels[group] = RACK
        racks = _racks(core, book, group)
        for rack in racks:
            _enqueue(core, book, group, f"rack:{rack}")
        if racks:
            start_wait(core, book, group, RACK_WAIT)
            return
    _announce_anywhere(core, book, group)


def _announce_anywhere(core: SchedulerState, book: LayerState, group: int) -> None:
    _levels(book)[group] = ANY
    _enqueue(core, book, group, ANYWHERE)
    core.placement_version += 1


def start_wait(core: SchedulerState, book: LayerState, group: int, seconds: float) -> None:
    core.next_wait += 1
    heappush(core.waits, (core.now + seconds, core.next_wait, book, group))


def end_waits(core: SchedulerState) -> None:
    """Widen the groups whose wait is over."""
    told: set[LayerState] = set()
    while core.waits and core.waits[0][0] <= core.now:
        _, _, book, group = heappop(core.waits)
        if book.constraint is not None:
            if book not in told:
                told.add(book)
                _notify_stuck(core, book)
            continue
        level = _levels(book)[group]
        if group not in book.ready or level == ANY:
            continue
        assert book.group_since is not None
        patience = RACK_WAIT if level != NODE else COLD_WAIT if _cold(core, book, group) else NODE_WAIT
        rest = book.group_since[group] + patience - core.now
        if rest > 1e-9:
            start_wait(core, book, group, min(rest, NODE_WAIT))
        else:
            widen(core, book, group)


def _notify_stuck(core: SchedulerState, book: LayerState) -> None:
    """Say so if none of the workers could run the layer's ready items, ever."""
    reason = needs.unmet_reason(core, book) if ANYWHERE in book.ready else ""
    if not reason:
        return
    for client in book.priorities:
        for lo, hi in book.ready[ANYWHERE]:
            core.instructions.append(NotifyStuck(client, TaskRange(book.key, lo, hi), reason))


def _cold(core: SchedulerState, book: LayerState, group: int) -> bool:
    """Whether a worker on the group's hosts is still in its first run."""
    hosts = _hosts(book, group)
    return any(not worker.warm and worker.batches and worker.host in hosts for worker in core.workers.values())


def record_locality(core: SchedulerState, book: LayerState, group: int, worker: Worker) -> int:
    """A run was cut from the group for that worker. Returns how near it is: NODE, RACK or ANY; -1 is "no matter"."""
    hosts = _hosts(book, group)
    if not hosts:
        return -1
    if worker.host in hosts:
        assert book.group_since is not None
        book.group_since[group] = core.now
        if group in book.ready and _levels(book)[group] != NODE:
            _levels(book)[group] = NODE
            start_wait(core, book, group, NODE_WAIT)
        return NODE
    return RACK if any(core.rack_of.get(host) == worker.rack for host in hosts) else ANY


def worth_waiting(core: SchedulerState, book: LayerState, group: int, level: int) -> float:
    """Seconds of waiting for which work that has been given to a worker beside its data may go to an idle one."""
    if book.host_sets is None or level != NODE or _idle_near(core, book, group):
        return 0.0
    return NODE_WAIT


def _idle_near(core: SchedulerState, book: LayerState, group: int) -> bool:
    """Whether a worker with nothing to do lives on the group's hosts."""
    hosts = _hosts(book, group)
    return any(worker.host in hosts for worker in core.idle.values())


def worker_added(core: SchedulerState, worker: Worker) -> None:
    """Groups that prefer its host or rack are offered to it."""
    core.host_workers[worker.host] = core.host_workers.get(worker.host, 0) + 1
    core.rack_workers[worker.rack] = core.rack_workers.get(worker.rack, 0) + 1
    core.rack_of[worker.host] = worker.rack
    needs.worker_added(core, worker)
    core.placement_version += 1
    for book in core.layers.values():
        if book.ready and book.host_sets is not None:
            for group in book.ready:
                if worker.host in book.host_sets[group]:
                    _enqueue(core, book, group, worker.host_key)


def worker_removed(core: SchedulerState, worker: Worker) -> None:
    """Work that was meant for it finds other places; groups whose last host it was wait no longer."""
    core.host_workers[worker.host] -= 1
    core.rack_workers[worker.rack] -= 1
    needs.worker_removed(core, worker)
    for client in core.clients.values():
        client.queues.pop(worker.index, None)
    for book in list(core.layers.values()):
        if not book.ready:
            continue
        if book.constraint is not None:
            start_wait(core, book, ANYWHERE, STUCK_WAIT)  # nobody may be left who can
        elif book.host_sets is not None:
            for group in list(book.ready):
                near = book.host_sets[group]
                alone = worker.host in near and not any(core.host_workers.get(host) for host in near)
                if alone and _levels(book)[group] == NODE:
                    widen(core, book, group)
        elif worker.index in book.ready:
            for lo, hi in book.ready.pop(worker.index):
                place(core, book, lo, hi)


def release_preferred(core: SchedulerState, worker: Worker) -> None:
    """Work whose inputs lie with the worker is for anybody: it gets none for now."""
    for book in list(core.layers.values()):
        if book.host_sets is None and worker.index in book.ready:
            for lo, hi in book.ready.pop(worker.index):
                _add_to_group(core, book, ANYWHERE, lo, hi)


# -- choosing -------------------------------------------------------------------------------------------------------


def best_group(core: SchedulerState, client: Client, worker: Worker) -> Candidate | None:
    """The client's most urgent ready group that this worker may take from; among equals the nearest."""
    best: Candidate | None = None
    queues = client.queues
    places = worker.queue_keys
    if core.constraint_queues:
        places += tuple(
            [at for need, at in core.constraint_queues.items() if at in queues and needs.may_run(core, worker, need)]
        )
    for at in places:
        heap = queues.get(at)
        if heap:
            top = _top(client, at, heap)
            if top is not None and (best is None or top[0] < best[0]):
                best = (*top, at)
    return best


def _top(
    client: Client, at: QueueKey, heap: list[tuple[Priority, int, LayerState]]
) -> tuple[Priority, int, LayerState] | None:
    while heap:
        _, group, book = heap[0]
        if (
            group in book.ready
            and client.name in book.priorities
            and (book.host_sets is None or _valid(book, group, at))
        ):
            return heap[0]
        heappop(heap)
    del client.queues[at]
    return None


def _valid(book: LayerState, group: int, at: QueueKey) -> bool:
    level = _levels(book)[group]
    if at == ANYWHERE:
        return level == ANY or not _hosts(book, group)
    return level >= RACK or not str(at).startswith("rack:")


def find_stealable(core: SchedulerState, client: Client, worker: Worker) -> Candidate | None:
    """For a worker with nothing to do: work whose inputs lie with a worker that will not come to it soon."""
    for at in list(islice(client.queues, STEAL_LOOKUPS)):
        if type(at) is not int or at == ANYWHERE or at == worker.index:
            continue
        victim = core.by_index.get(at)
        top = _top(client, at, client.queues[at])
        if victim is None or top is None:
            continue
        order, group, book = top
        short = LATENCY if _worth_moving(book, group) else SHORT_WORK
        rest = sum(victim.remaining_seconds(core.now)) / victim.slots - short if victim.slots else float("inf")
        if rest > 0:
            item = book.ready[group].first
            if _input_bytes(book, item) < rest * BANDWIDTH:
                return order, group, book, at
        client.queues[at] = client.queues.pop(at)  # others are looked at first the next time
    return None


def _worth_moving(book: LayerState, group: int) -> bool:
    """Whether the group's items take longer than moving their inputs, as far as one can tell."""
    return book.task_seconds is None or book.task_seconds * len(book.ready[group]) > LATENCY


def _input_bytes(book: LayerState, item: int) -> int:
    return sum([e.source.result_bytes(a, b) for e in book.inputs for a, b in e.wiring.cover(item, item + 1)])
