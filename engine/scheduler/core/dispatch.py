"""Which worker gets which batch, how large it is, and what is asked back.

Sizes: a batch should take about TARGET_SECONDS by its layer's own measure. A layer without an estimate starts with one
item and may grow GROWTH times with each batch that has been reported, or by what its function needed in another layer;
an equal share of what is ready bounds both, but no batch is much shorter than MIN_SECONDS: sharing less out costs more
than it saves. A worker holds up to two batches per slot: one runs, one waits, so that it does not idle while its report
travels; more, up to MAX_BATCHES, as long as they are short. What waits long at one worker while another idles is
recalled.

Clients take turns by virtual time (start-time fair queueing): a client's time advances by the seconds it was served,
divided by its weight; the ready client with the least time, among those with the best priority, is next. Rules on
`SchedulerState`, called by `scheduler` and by the neighbouring rules.
"""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heapify, heappop, heappush
from itertools import islice

import numpy as np

from howdah.engine.protocol.events import RecallBatch, StartBatch
from howdah.engine.protocol.layers import TaskRange
from howdah.engine.protocol.patterns import distinct
from howdah.engine.scheduler.core import bulk, constraints, placement
from howdah.engine.scheduler.core.bulk import record_scattered_copies, scattered_inputs, scattered_sources
from howdah.engine.scheduler.core.intervals import Interval, IntervalSet, add, group_equal
from howdah.engine.scheduler.core.placement import Candidate
from howdah.engine.scheduler.core.state import SchedulerState
from howdah.engine.scheduler.core.tables import (
    DONE,
    MAX_PIPELINED,
    NO_WORKER,
    READY,
    RUNNING,
    WAITING,
    ClientState,
    LayerState,
    LayerStatistics,
    TaskBatch,
    WorkerState,
)
from howdah.engine.scheduler.core.transitions import transition

TARGET_SECONDS = 0.03
"""Seconds that a batch should take: long against the cost of a message, short against the patience of a user."""

MAX_BATCHES = 64
"""Batches that a slot may hold when they are very short (layers of one tiny item)."""

GROWTH = 4
"""The next batch of a layer may be this many times longer than the longest that has been reported."""

WITNESSES = 256
"""This many reported batches allow a batch of one item more: a thousand slots need not all go through the small sizes.
"""

MIN_SECONDS = 0.01
"""Seconds that a batch should take at least, however little is left to share out; twice as much in a layer that keeps
every slot busy for longer than that."""

SURPRISE, FIRST_CALL = 8, 1e-3
"""A batch that took longer than SURPRISE times the estimate and FIRST_CALL seconds does not count in full: it may have
imported a module. Work that really takes that long shows it again."""

MAX_BATCH_ITEMS = 1 << 15
"""Items in one batch at most, so that a report stays a small message."""

RECALL_WORTH = 0.05
"""Seconds of work that must wait behind other work before it is recalled for an idle worker."""

MAX_NAMES = 10_000
"""Names of layers whose seconds an item are remembered."""

RECALL_TIMEOUT = 0.5
"""Seconds for which the answer to a recall is awaited before another batch is recalled."""

STEAL_PAUSE = 0.002
"""Seconds until others' work is searched again, after an idle worker has found none that is worth moving."""

REBALANCE_INTERVAL = 0.01
"""Seconds between two searches for work that waits while workers idle (`rebalance`)."""

STEAL_ATTEMPTS = 64
"""Workers that may decline in one event before no more are tried."""


def update_idle(state: SchedulerState, worker: WorkerState) -> None:
    """Update `state.idle` and `state.accepting`; to be called after each change of what a worker holds."""
    held, slots, index = len(worker.batches) - worker.blocked, worker.slots, worker.index
    if worker.unschedulable_reasons:
        state.idle.pop(index, None)
        state.accepting.pop(index, None)
    elif held < slots:
        state.idle[index] = worker
        state.accepting.pop(index, None)
    else:
        state.idle.pop(index, None)
        if held < 2 * slots or (held < MAX_BATCHES * slots and worker.backlog < TARGET_SECONDS * slots):
            state.accepting[index] = worker
        else:
            state.accepting.pop(index, None)


def has_room(worker: WorkerState) -> bool:
    """Whether a worker with busy slots may hold one batch more: the rule of `update_idle`, for checks."""
    held, slots = worker.unblocked, worker.slots
    return held < 2 * slots or (held < MAX_BATCHES * slots and worker.backlog < TARGET_SECONDS * slots)


def schedule(state: SchedulerState, first: WorkerState | None) -> None:
    """Dispatch ready work to workers with room, idle slots first, a batch each in turn; `first` is served first."""
    if state.ready:
        asked = {first.index: first} if first is not None else {}
        for index in state.wakeups:
            called = state.by_index.get(index)
            if called is not None:
                asked[index] = called
        for line in (state.idle, state.accepting):
            turn = [worker for worker in asked.values() if worker.index in line and dispatch_next(state, worker)]
            _dispatch_in_turn(state, line)
            while turn and state.ready:  # no other worker may take what is in their own queues
                turn = [worker for worker in turn if worker.index in line and dispatch_next(state, worker)]
        if state.ready and state.idle and state.now >= state.next_steal:
            steal(state)
    state.wakeups.clear()


def _dispatch_in_turn(state: SchedulerState, line: dict[int, WorkerState]) -> None:
    """Dispatch a batch to each worker in the line, in turn, until no work is left that one of them may take."""
    declined = 0
    while state.ready and line and declined < STEAL_ATTEMPTS:
        worker = next(iter(line.values()))
        if worker.declined_version == state.placement_version:
            return  # so have all behind it: who was tried goes to the end of the line
        declined += not dispatch_next(state, worker)


def dispatch_next(state: SchedulerState, worker: WorkerState) -> bool:
    """Dispatch the best batch from this worker's own queues; False if there is none for it now.

    The worker goes to the end of `idle` and `accepting`.
    """
    if worker.unschedulable_reasons:
        return False
    best: Candidate | None = None
    turn: ClientState | None = None
    for client in state.clients.values():
        if client.queues:
            found = placement.best_group(state, client, worker)
            if found is not None and (
                best is None or turn is None or (found[0][0], client.virtual_time) < (best[0][0], turn.virtual_time)
            ):
                best, turn = found, client
    if best is not None and worker.unblocked >= 2 * worker.slots and batch_size(state, best[2]) < best[2].counts[READY]:
        best = None  # more than two batches a slot are for layers of one short batch, not for shares of a long layer
    if best is not None and best[2].spread and worker.unblocked >= worker.slots:
        best = None  # no worker takes a second share while others have none
    if best is None or turn is None:
        worker.declined_version = state.placement_version
    else:
        cut_batch(state, turn, worker, best[2], best[1])
    for line in (state.idle, state.accepting):
        if worker.index in line:
            line[worker.index] = line.pop(worker.index)
    return best is not None


def steal(state: SchedulerState) -> None:
    """Give idle workers work whose inputs lie with workers that will not start it soon, until one finds none."""
    for worker in list(islice(state.idle.values(), STEAL_ATTEMPTS)):
        while worker.unblocked < worker.slots:
            turns = state.clients.values()
            for client in sorted(turns, key=lambda c: c.virtual_time) if len(state.clients) > 1 else turns:
                found = placement.find_stealable(state, client, worker) if client.queues else None
                if found is not None:
                    cut_batch(state, client, worker, found[2], found[1])
                    break
            else:
                state.next_steal = state.now + STEAL_PAUSE  # another search now would find the same
                return


def batch_size(state: SchedulerState, layer: LayerState) -> int:
    """The number of items that the layer's next batch should have."""
    if layer.spread:
        return min(-(-layer.n // max(1, state.slots)), MAX_BATCH_ITEMS)
    seconds = layer.task_seconds if layer.task_seconds is not None else state.seconds_by_name.get(layer.name)
    size, least = layer.batch_limit, 1
    if layer.task_seconds is None:  # no estimate; its function may have one from another layer
        size = max(size, state.batch_limit_by_function.get(layer.spec.function, 1))
    slots = max(1, state.slots)
    if seconds is not None:
        size, least = min(size, int(TARGET_SECONDS / seconds)), int(MIN_SECONDS / seconds)
        if layer.n > least * slots:
            least = min(2 * least, layer.n // slots)
    share = max(-(-layer.counts[READY] // slots), least)
    return max(1, min(size, share, MAX_BATCH_ITEMS))


def cut_batch(state: SchedulerState, client: ClientState, worker: WorkerState, layer: LayerState, group: int) -> None:
    """Cut a batch from the group and dispatch it to the worker."""
    intervals = layer.ready[group]
    lo, hi = intervals.take(1 if layer.n == 1 else batch_size(state, layer))
    if layer.worker_deaths:  # suspects of a death are batches of their own: fewer items share the next one
        blamed = min((i for i in layer.worker_deaths if lo <= i < hi), default=hi)
        cut = lo + 1 if blamed == lo else blamed
        if cut < hi:
            intervals.add(cut, hi)
        hi = cut
    if not intervals:
        del layer.ready[group]
    dispatch_batch(state, client, worker, layer, lo, hi, group, (), READY)


def dispatch_batch(
    state: SchedulerState,
    client: ClientState,
    worker: WorkerState,
    layer: LayerState,
    lo: int,
    hi: int,
    group: int,
    after: Sequence[TaskBatch],
    old: int,
) -> None:
    """Make lo..hi, in state `old`, a batch of the worker's; it starts when those in `depends_on` have ended."""
    attempts = layer.attempts
    if hi - lo == 1:
        attempt = attempts[lo] = int(attempts[lo]) + 1
    else:
        add(attempts, lo, hi, 1)
        attempt = int(max(attempts[lo:hi]) if layer.small else attempts[lo:hi].max())
    if (attempt > 1 or state.epoch) and layer.key in state.results.deferred_frees:
        state.flush_deferred_frees()
    state.next_batch += 1
    batch = TaskBatch(state.next_batch, attempt, layer, lo, hi, worker, client.name, None, state.now, group)
    if layer.host_sets is not None:
        batch.locality = placement.record_locality(state, layer, group, worker)
    seconds = layer.task_seconds if layer.task_seconds is not None else state.seconds_by_name.get(layer.name)
    batch.expected = None if seconds is None else seconds * (hi - lo)
    if old != RUNNING:  # the item of a speculative copy is already
        transition(state, layer, lo, hi, old, RUNNING, batch)
    state.batches[batch.ident] = batch
    layer.batches[batch] = None
    worker.batches[batch.ident] = batch
    charge = TARGET_SECONDS if batch.expected is None else batch.expected
    worker.backlog += charge
    state.virtual_time = client.virtual_time
    client.virtual_time += charge / client.weight
    client.running += 1
    for name, amount in layer.resources:
        worker.available[name] = worker.available.get(name, 0.0) - amount
    if after:
        worker.blocked += 1
        for other in after:
            batch.depends_on[other] = other.dependents[batch] = None
    update_idle(state, worker)
    if layer.dependents and layer.counts[RUNNING] + layer.counts[DONE] == layer.n:
        targets = [edge.target for edge in layer.dependents]
        state.pipelining_candidates.extend([t for t in targets if t.n <= MAX_PIPELINED and t.counts[WAITING] == t.n])
    sources = _sources(state, batch) if layer.inputs else ()
    names = tuple([(other.ident, other.attempt) for other in after]) if after else ()
    state.instructions.append(
        StartBatch(worker.name, batch.ident, attempt, TaskRange(layer.key, lo, hi), sources, names)
    )


def _sources(state: SchedulerState, batch: TaskBatch) -> tuple[tuple[TaskRange, str], ...]:
    """The holders of the inputs that the batch's worker lacks."""
    layer, mine = batch.layer, batch.worker.index
    found: list[tuple[TaskRange, str]] = []
    local = moved = 0
    for edge in layer.inputs:
        source = edge.source
        if edge.single and (source.holder[0] == NO_WORKER or source.holder[0] == mine):
            local += source.size[0]  # 0 where a batch that this one depends on computes it
            continue
        have = source.copies.get(mine) if source.copies else None
        many = scattered_inputs(edge, batch.lo, batch.hi)
        if many is not None:
            lacking, here, coming = scattered_sources(state, source, many, mine)
            found.extend([(TaskRange(source.key, a, b), holder) for a, b, holder in lacking])
            batch.fetched.extend([(source, a, b) for a, b, _ in lacking])
            local, moved = local + here, moved + coming
            continue
        for lo, hi in edge.wiring.cover(batch.lo, batch.hi):
            for a, b, holder in group_equal(source.holder, lo, hi):
                if holder == NO_WORKER:  # computed by a batch that this one depends on
                    continue
                if holder == mine:
                    local += source.result_bytes(a, b)
                    continue
                for c, d in have.gaps(a, b) if have is not None else ((a, b),):
                    found.append((TaskRange(source.key, c, d), state.by_index[holder].name))
                    batch.fetched.append((source, c, d))
                    moved += source.result_bytes(c, d)
    account = layer.statistics
    if account is None:
        account = layer.statistics = LayerStatistics()
    account.inputs_local += local
    account.inputs_moved += moved
    return tuple(found)


def finish_batch(state: SchedulerState, batch: TaskBatch) -> bool:
    """Remove the batch from all tables. Its items are the caller's to move on.

    Returns False if a speculative copy of the batch still has them.
    """
    worker, duplicate = batch.worker, batch.speculative_copy
    if duplicate is not None:
        duplicate.speculative_copy = batch.speculative_copy = None
    for name, amount in batch.layer.resources:
        worker.available[name] += amount
        worker.declined_version = -1
    del state.batches[batch.ident], worker.batches[batch.ident], batch.layer.batches[batch]
    for follower in batch.dependents:
        after = follower.depends_on
        del after[batch]
        if not after:
            worker.blocked -= 1
    if batch.depends_on:
        worker.blocked -= 1
        for other in batch.depends_on:
            del other.dependents[batch]
    worker.warm = True
    worker.backlog -= TARGET_SECONDS if batch.expected is None else batch.expected
    if not worker.batches:
        worker.backlog = 0.0
    client = state.clients.get(batch.client)
    if client is not None:
        client.running -= 1
    update_idle(state, worker)
    return duplicate is None


def record_copies(state: SchedulerState, batch: TaskBatch) -> None:
    """Enter what the batch fetched as copies on its worker.

    The worker frees what is no result any more (lost meanwhile), and what no unfinished item needs.
    """
    mine = batch.worker.index
    many: dict[LayerState, list[Interval]] = {}
    for source, lo, hi in batch.fetched:
        if len(batch.fetched) > bulk.FEW and not source.small:
            many.setdefault(source, []).append((lo, hi))
            continue
        if hi - lo == 1 and source.state[lo] == DONE:
            if source.holder[lo] == mine:
                continue
            if source.broadcast_refs or source.dependent_refs[lo] or (source.pinned and lo in source.pinned):
                state.results.add_copies(source, lo, hi, batch.worker)
                continue
        untracked = IntervalSet(lo, hi)
        for a, b in source.in_state(lo, hi, DONE):
            untracked.remove(a, b)
            for c, d, holder in group_equal(source.holder, a, b):
                if holder != mine:
                    unneeded = source.unneeded_by_tasks(c, d)
                    if source.pinned:
                        unneeded = [gap for e, f in unneeded for gap in source.pinned.gaps(e, f)]
                    for e, f in unneeded:
                        untracked.add(e, f)
                    if unneeded != [(c, d)]:
                        useful = IntervalSet(c, d)
                        for e, f in unneeded:
                            useful.remove(e, f)
                        for e, f in useful:
                            state.results.add_copies(source, e, f, batch.worker)
        for a, b in untracked:
            state.results.free_untracked(batch.worker, source.key, a, b)
    for source, parts in many.items():
        bounds = np.array(parts)
        lengths = bounds[:, 1] - bounds[:, 0]
        items = np.repeat(bounds[:, 0] - np.concatenate(([0], np.cumsum(lengths)[:-1])), lengths) + np.arange(
            int(lengths.sum())
        )
        record_scattered_copies(state, batch.worker, source, distinct(items))


def update_estimate(state: SchedulerState, batch: TaskBatch, tried: int, seconds: float) -> None:
    """Update the layer's seconds an item and batch limit from a report, and the client's virtual time."""
    layer = batch.layer
    client = state.clients.get(batch.client)
    if client is not None:
        charged = TARGET_SECONDS if batch.expected is None else batch.expected
        client.virtual_time += (seconds - charged) / client.weight
    if tried:
        each = max(seconds, 1e-9) / tried
        seconds_of, own = state.seconds_by_name, layer.task_seconds
        known = own if own is not None else seconds_of.get(layer.name)
        if known is not None and each > SURPRISE * known + FIRST_CALL:
            each = SURPRISE * known + FIRST_CALL
        layer.task_seconds = each if own is None else (own + each) / 2
        told = layer.statistics.runs // WITNESSES if layer.statistics is not None else 0
        limit = min(max(GROWTH * tried, told), MAX_BATCH_ITEMS)
        if limit > layer.batch_limit:
            layer.batch_limit = limit
        if len(seconds_of) >= MAX_NAMES and layer.name not in seconds_of:
            seconds_of.clear()
            state.batch_limit_by_function.clear()
        seconds_of[layer.name] = layer.task_seconds
        if layer.spec.function and state.batch_limit_by_function.get(layer.spec.function, 1) < layer.batch_limit:
            state.batch_limit_by_function[layer.spec.function] = layer.batch_limit
    account = layer.statistics
    if account is None:
        account = layer.statistics = LayerStatistics()
    account.runs += 1
    account.seconds += seconds


def account_locality(state: SchedulerState, batch: TaskBatch, lo: int, hi: int) -> None:
    """Add completed items of the batch to the layer's statistics."""
    account, count = batch.layer.statistics, hi - lo
    if account is None:
        account = batch.layer.statistics = LayerStatistics()
    account.tasks += count
    if batch.locality >= 0:
        read = batch.layer.source_bytes(lo, hi)
        if batch.locality == placement.NODE:
            account.tasks_node += count
            account.bytes_node += read
        elif batch.locality == placement.RACK:
            account.tasks_rack += count
            account.bytes_rack += read
        else:
            account.tasks_remote += count
            account.bytes_remote += read


def truncate(state: SchedulerState, batch: TaskBatch, hi: int) -> None:
    """End the batch before `hi`."""
    if batch.expected is not None:
        less = batch.expected * (batch.hi - hi) / (batch.hi - batch.lo)
        batch.expected -= less
        batch.worker.backlog -= less
        client = state.clients.get(batch.client)
        if client is not None:
            client.virtual_time -= less / client.weight
    batch.hi = hi
    update_idle(state, batch.worker)


def rebalance(state: SchedulerState) -> None:
    """Recall the tails of the batches that would otherwise wait longest, if workers idle."""
    state.rebalanced_at = state.now
    idle = sum([w.slots - w.unblocked for w in state.idle.values()])
    # A worker with nothing to give back does not answer, so an old recall is one that gave nothing.
    idle -= sum(
        [
            state.now - batch.recalled_at < RECALL_TIMEOUT
            for batch in state.batches.values()
            if batch.recalled_at is not None
        ]
    )
    if idle <= 0:
        return
    longest = [
        entry
        for number, worker in enumerate(state.workers.values())
        for entry in _recall_candidates(state, worker, number)
    ]
    heapify(longest)
    while idle > 0 and longest:
        _, number, batch = heappop(longest)
        recall(state, batch)
        idle -= 1
        for entry in _recall_candidates(state, batch.worker, number):
            heappush(longest, entry)


def recall(state: SchedulerState, batch: TaskBatch) -> None:
    """Recall the items of a batch that have not been started; once is enough."""
    batch.recalled_at = state.now
    state.instructions.append(RecallBatch(batch.worker.name, batch.ident, batch.attempt))


def _recall_candidates(state: SchedulerState, worker: WorkerState, number: int) -> list[tuple[float, int, TaskBatch]]:
    """The worker's batch whose tail should be recalled next, if any, as (-seconds of waiting, worker's number,
    batch)."""
    batch, waits = _longest_wait(state, worker)
    if batch is None or waits <= max(
        RECALL_WORTH, placement.worth_waiting(state, batch.layer, batch.group, batch.locality)
    ):
        return []
    return [(-waits, number, batch)]


def _longest_wait(state: SchedulerState, worker: WorkerState) -> tuple[TaskBatch | None, float]:
    """The worker's newest batch that can be recalled, and the seconds that its last item has to wait there."""
    batches = [batch for batch in worker.batches.values() if not batch.depends_on]
    if len(batches) <= worker.slots and all(batch.hi - batch.lo == 1 for batch in batches):
        return None, 0.0
    rests = worker.remaining_seconds(state.now)
    while batches:
        batch, rest = batches.pop(), rests.pop()
        queued = len(batches) >= worker.slots
        if (
            batch.recalled_at is None
            and (queued or batch.hi - batch.lo > 1)
            and constraints.worth_recalling(state, batch.layer)
        ):
            return batch, sum(rests) / max(1, worker.slots) if queued else rest
    return None, 0.0
