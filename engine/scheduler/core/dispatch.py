"""Giving runs to workers: how long a run is, how much a worker may hold, whose turn it is, and taking tails back.

Sizes: a run should take about TARGET seconds by the layer's own measure; a layer nobody has timed starts with one
item (one whose function has been timed in another layer, with as many as were allowed there) and grows fourfold with
every run that comes back, or by an item for every WITNESSES of them; and no run is larger than its share of what is
ready, so that the end of a layer is spread over all workers. Credit: each slot has one run and one more waiting (more
when they are so short that two do not last until the next report). Turns: the most urgent priority first, then the
client with the least virtual time (seconds received divided by its weight), then depth first.
"""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heapify, heappop, heappush
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from howdah.engine.protocol.events import RecallBatch, StartBatch
from howdah.engine.protocol.layers import TaskRange
from howdah.engine.protocol.patterns import distinct
from howdah.engine.scheduler.core import bulk as scattered
from howdah.engine.scheduler.core import constraints as needs
from howdah.engine.scheduler.core import placement
from howdah.engine.scheduler.core import poison_isolation as quarantine
from howdah.engine.scheduler.core.context import SchedulerState
from howdah.engine.scheduler.core.intervals import Interval, IntervalSet, add, group_equal
from howdah.engine.scheduler.core.tables import (
    DONE,
    MAX_PIPELINED,
    NOBODY,
    READY,
    RUNNING,
    WAITING,
    Client,
    LayerState,
    LayerStatistics,
    TaskBatch,
    Worker,
)

if TYPE_CHECKING:
    from howdah.engine.scheduler.core.placement import Candidate

TARGET_SECONDS = 0.03
"""Seconds that a run should take: long against a message's cost, short against a person's patience."""

MAX_BATCHES = 64
"""Runs that a slot may hold when they are very short (layers of one tiny item)."""

GROWTH = 4
"""How many times longer the next run of a layer may be than the longest that has come back."""

WITNESSES = 256
"""So many runs that have come back say as much of a layer as a run that is an item longer: a thousand slots need not
all go through the small sizes."""

MIN_SECONDS = 0.01
"""Seconds that a run should take at least, however little is left to share out; twice as much in a layer that keeps
every slot busy for longer than that."""

SURPRISE, FIRST_CALL = 8, 1e-3
"""A run that took longer than so many times what was expected, and so many seconds, is not believed to the letter: it
may have imported something. What does take that long says so again."""

MAX_BATCH_ITEMS = 1 << 15
"""Items in one run at most, so that a report stays a small message."""

RECALL_WORTH = 0.05
"""Seconds of work that must wait behind other work before it is asked back for an idle worker."""

MAX_NAMES = 10_000
"""Names of layers whose seconds per item are remembered."""

RECALL_TIMEOUT = 0.5
"""Seconds within which the answer to a recall is waited for before another run is asked for."""

STEAL_PAUSE = 0.002
"""Seconds until others' work is looked at again, after an idle worker has found none that is worth moving."""

REBALANCE_INTERVAL = 0.01
"""Seconds between looks at who has nothing to do while others' work waits (`rebalance`)."""

STEAL_ATTEMPTS = 64
"""Workers that may decline in one event before no more are asked."""


def update_idle(core: SchedulerState, worker: Worker) -> None:
    """Keep the lists of workers that may be given work; after each change of what a worker holds."""
    held, slots, index = len(worker.batches) - worker.blocked, worker.slots, worker.index
    if worker.barred:
        core.idle.pop(index, None)
        core.accepting.pop(index, None)
    elif held < slots:
        core.idle[index] = worker
        core.accepting.pop(index, None)
    else:
        core.idle.pop(index, None)
        if held < 2 * slots or (held < MAX_BATCHES * slots and worker.backlog < TARGET_SECONDS * slots):
            core.accepting[index] = worker
        else:
            core.accepting.pop(index, None)


def has_room(worker: Worker) -> bool:
    """The rule for `core.open`, which `update_idle` keeps; `check` holds it against that."""
    held, slots = worker.unblocked, worker.slots
    return held < 2 * slots or (held < MAX_BATCHES * slots and worker.backlog < TARGET_SECONDS * slots)


def schedule(core: SchedulerState, first: Worker | None) -> None:
    """Hand out ready work to workers with credit, idle slots first, a run each in turn."""
    if core.poison_suspects or core.isolated_workers:
        quarantine.dispatch_suspects(core)
    if core.ready:
        asked = {first.index: first} if first is not None else {}
        for index in core.wakeups:
            called = core.by_index.get(index)
            if called is not None:
                asked[index] = called
        for line in (core.idle, core.accepting):
            turn = [worker for worker in asked.values() if worker.index in line and dispatch_next(core, worker)]
            _dispatch_in_turn(core, line)
            while turn and core.ready:  # what is at home with them, nobody else in the line may take
                turn = [worker for worker in turn if worker.index in line and dispatch_next(core, worker)]
        if core.ready and core.idle and core.now >= core.next_steal:
            steal(core)
    core.wakeups.clear()


def _dispatch_in_turn(core: SchedulerState, line: dict[int, Worker]) -> None:
    """A run for each worker in the line, and again, until none is left that wants one."""
    declined = 0
    while core.ready and line and declined < STEAL_ATTEMPTS:
        worker = next(iter(line.values()))
        if worker.declined_version == core.placement_version:
            return  # so have all behind it: whoever was asked goes to the end of the line
        declined += not dispatch_next(core, worker)


def dispatch_next(core: SchedulerState, worker: Worker) -> bool:
    """Start the best run for this worker from its own places; False if there is none for it now. It goes to the end of
    the lines of those that may be given work."""
    if worker.barred:
        return False
    best: Candidate | None = None
    turn: Client | None = None
    for client in core.clients.values():
        if client.queues:
            found = placement.best_group(core, client, worker)
            if found is not None and (
                best is None or turn is None or (found[0][0], client.virtual_time) < (best[0][0], turn.virtual_time)
            ):
                best, turn = found, client
    if best is not None and worker.unblocked >= 2 * worker.slots and batch_size(core, best[2]) < best[2].counts[READY]:
        best = None  # more than two runs a slot is for layers that are one short run, not for shares of a long layer
    if best is not None and best[2].spread and worker.unblocked >= worker.slots:
        best = None  # nobody takes a second share while others have had none
    if best is None or turn is None:
        worker.declined_version = core.placement_version
    else:
        cut_batch(core, turn, worker, best[2], best[1])
    for line in (core.idle, core.accepting):
        if worker.index in line:
            line[worker.index] = line.pop(worker.index)
    return best is not None


def steal(core: SchedulerState) -> None:
    """Idle workers take work whose inputs lie with workers that will not come to it soon, until one finds none."""
    for worker in list(islice(core.idle.values(), STEAL_ATTEMPTS)):
        while worker.unblocked < worker.slots:
            turns = core.clients.values()
            for client in sorted(turns, key=lambda c: c.virtual_time) if len(core.clients) > 1 else turns:
                found = placement.find_stealable(core, client, worker) if client.queues else None
                if found is not None:
                    cut_batch(core, client, worker, found[2], found[1])
                    break
            else:
                core.next_steal = core.now + STEAL_PAUSE  # whoever looked now would find the same
                return


def batch_size(core: SchedulerState, book: LayerState) -> int:
    """How many items the next run of the layer should have."""
    if book.spread:
        return min(-(-book.n // max(1, core.slots)), MAX_BATCH_ITEMS)
    seconds = book.task_seconds if book.task_seconds is not None else core.seconds_by_name.get(book.name)
    size, least = book.batch_limit, 1
    if book.task_seconds is None:  # not timed yet; its function may have been, in another layer
        size = max(size, core.batch_limit_by_function.get(book.function, 1))
    slots = max(1, core.slots)
    if seconds is not None:
        size, least = min(size, int(TARGET_SECONDS / seconds)), int(MIN_SECONDS / seconds)
        if book.n > least * slots:
            least = min(2 * least, book.n // slots)
    share = max(-(-book.counts[READY] // slots), least)
    return max(1, min(size, share, MAX_BATCH_ITEMS))


def cut_batch(core: SchedulerState, client: Client, worker: Worker, book: LayerState, group: int) -> None:
    """Cut a run from the group and give it to the worker."""
    spans = book.ready[group]
    lo, hi = spans.take(1 if book.n == 1 else batch_size(core, book))
    if book.worker_deaths:  # those of which a worker may have died are runs of their own: fewer are blamed again
        blamed = min((i for i in book.worker_deaths if lo <= i < hi), default=hi)
        cut = lo + 1 if blamed == lo else blamed
        if cut < hi:
            spans.add(cut, hi)
        hi = cut
    if not spans:
        del book.ready[group]
    dispatch_batch(core, client, worker, book, lo, hi, group, (), READY)


def dispatch_batch(
    core: SchedulerState,
    client: Client,
    worker: Worker,
    book: LayerState,
    lo: int,
    hi: int,
    group: int,
    after: Sequence[TaskBatch],
    old: int,
) -> None:
    """lo..hi, in state `old`, become a run of the worker's; it starts when those in `after` have ended."""
    tries = book.attempts
    if hi - lo == 1:
        attempt = tries[lo] = int(tries[lo]) + 1
    else:
        add(tries, lo, hi, 1)
        attempt = int(max(tries[lo:hi]) if book.small else tries[lo:hi].max())
    if (attempt > 1 or core.epoch) and book.key in core.deferred_frees:
        core.flush_deferred_frees()
    core.next_batch += 1
    run = TaskBatch(core.next_batch, attempt, book, lo, hi, worker, client.name, None, core.now, group)
    if book.host_sets is not None:
        run.locality = placement.record_locality(core, book, group, worker)
    seconds = book.task_seconds if book.task_seconds is not None else core.seconds_by_name.get(book.name)
    run.expected = None if seconds is None else seconds * (hi - lo)
    if old != RUNNING:  # a twin's item is
        core.transition(book, lo, hi, old, RUNNING, run)
    core.batches[run.ident] = run
    book.batches[run] = None
    worker.batches[run.ident] = run
    charge = TARGET_SECONDS if run.expected is None else run.expected
    worker.backlog += charge
    core.virtual_time = client.virtual_time
    client.virtual_time += charge / client.weight
    client.running += 1
    for name, amount in book.resources:
        worker.available[name] = worker.available.get(name, 0.0) - amount
    if after:
        worker.blocked += 1
        for other in after:
            run.depends_on[other] = other.dependents[run] = None
    update_idle(core, worker)
    if book.dependents and book.counts[RUNNING] + book.counts[DONE] == book.n:
        targets = [edge.target for edge in book.dependents]
        core.pipelining_candidates.extend([t for t in targets if t.n <= MAX_PIPELINED and t.counts[WAITING] == t.n])
    sources = _sources(core, run) if book.inputs else ()
    names = tuple([(other.ident, other.attempt) for other in after]) if after else ()
    core.instructions.append(StartBatch(worker.name, run.ident, attempt, TaskRange(book.key, lo, hi), sources, names))


def _sources(core: SchedulerState, run: TaskBatch) -> tuple[tuple[TaskRange, str], ...]:
    """Who has the inputs that the run's worker lacks."""
    book, mine = run.layer, run.worker.index
    found: list[tuple[TaskRange, str]] = []
    local = moved = 0
    for edge in book.inputs:
        source = edge.source
        if edge.single and (source.holder[0] == NOBODY or source.holder[0] == mine):
            local += source.size[0]  # 0 where it is made by a run that this one stands behind
            continue
        have = source.copies.get(mine) if source.copies else None
        many = scattered.inputs_of(edge, run.lo, run.hi)
        if many is not None:
            lacking, here, coming = scattered.sources(core, source, many, mine)
            found.extend([(TaskRange(source.key, a, b), holder) for a, b, holder in lacking])
            run.fetched.extend([(source, a, b) for a, b, _ in lacking])
            local, moved = local + here, moved + coming
            continue
        for lo, hi in edge.wiring.cover(run.lo, run.hi):
            for a, b, holder in group_equal(source.holder, lo, hi):
                if holder == NOBODY:  # made by a run that this one stands behind
                    continue
                if holder == mine:
                    local += source.result_bytes(a, b)
                    continue
                for c, d in have.gaps(a, b) if have is not None else ((a, b),):
                    found.append((TaskRange(source.key, c, d), core.by_index[holder].name))
                    run.fetched.append((source, c, d))
                    moved += source.result_bytes(c, d)
    account = book.statistics
    if account is None:
        account = book.statistics = LayerStatistics()
    account.inputs_local += local
    account.inputs_moved += moved
    return tuple(found)


def finish_batch(core: SchedulerState, run: TaskBatch) -> bool:
    """The run is over, one way or another; its items are the caller's to move on. False: its twin has them still."""
    worker, twin = run.worker, run.speculative_copy
    if twin is not None:
        twin.speculative_copy = run.speculative_copy = None
    for name, amount in run.layer.resources:
        worker.available[name] += amount
        worker.declined_version = -1
    del core.batches[run.ident], worker.batches[run.ident], run.layer.batches[run]
    for follower in run.dependents:
        after = follower.depends_on
        del after[run]
        if not after:
            worker.blocked -= 1
    if run.depends_on:
        worker.blocked -= 1
        for other in run.depends_on:
            del other.dependents[run]
    worker.warm = True
    worker.backlog -= TARGET_SECONDS if run.expected is None else run.expected
    if not worker.batches:
        worker.backlog = 0.0
    client = core.clients.get(run.client)
    if client is not None:
        client.running -= 1
    update_idle(core, worker)
    return twin is None


def record_copies(core: SchedulerState, run: TaskBatch) -> None:
    """What the run fetched, its worker has now; what is no result any more (lost meanwhile), or of no more use to any
    unfinished item, it drops."""
    mine = run.worker.index
    many: dict[LayerState, list[Interval]] = {}
    for source, lo, hi in run.fetched:
        if len(run.fetched) > scattered.FEW and not source.small:
            many.setdefault(source, []).append((lo, hi))
            continue
        if hi - lo == 1 and source.state[lo] == DONE:
            if source.holder[lo] == mine:
                continue
            if source.broadcast_refs or source.dependent_refs[lo] or (source.replicated and lo in source.replicated):
                source.add_copies(lo, hi, mine)
                continue
        stray = IntervalSet(lo, hi)
        for a, b in source.in_state(lo, hi, DONE):
            stray.remove(a, b)
            for c, d, holder in group_equal(source.holder, a, b):
                if holder != mine:
                    unneeded = source.unneeded_by_tasks(c, d)
                    if source.replicated:
                        unneeded = [gap for e, f in unneeded for gap in source.replicated.gaps(e, f)]
                    for e, f in unneeded:
                        stray.add(e, f)
                    if unneeded != [(c, d)]:
                        useful = IntervalSet(c, d)
                        for e, f in unneeded:
                            useful.remove(e, f)
                        for e, f in useful:
                            source.add_copies(e, f, mine)
        for a, b in stray:
            core.free_untracked(run.worker, source.key, a, b)
    for source, parts in many.items():
        bounds = np.array(parts)
        lengths = bounds[:, 1] - bounds[:, 0]
        items = np.repeat(bounds[:, 0] - np.concatenate(([0], np.cumsum(lengths)[:-1])), lengths) + np.arange(
            int(lengths.sum())
        )
        scattered.record_copies(core, run.worker, source, distinct(items))


def update_estimate(core: SchedulerState, run: TaskBatch, tried: int, seconds: float) -> None:
    """What the run's length says about its layer, and about its client's turn."""
    book = run.layer
    client = core.clients.get(run.client)
    if client is not None:
        charged = TARGET_SECONDS if run.expected is None else run.expected
        client.virtual_time += (seconds - charged) / client.weight
    if tried:
        each = max(seconds, 1e-9) / tried
        seconds_of, own = core.seconds_by_name, book.task_seconds
        known = own if own is not None else seconds_of.get(book.name)
        if known is not None and each > SURPRISE * known + FIRST_CALL:
            each = SURPRISE * known + FIRST_CALL
        book.task_seconds = each if own is None else (own + each) / 2
        told = book.statistics.runs // WITNESSES if book.statistics is not None else 0
        limit = min(max(GROWTH * tried, told), MAX_BATCH_ITEMS)
        if limit > book.batch_limit:
            book.batch_limit = limit
        if len(seconds_of) >= MAX_NAMES and book.name not in seconds_of:
            seconds_of.clear()
            core.batch_limit_by_function.clear()
        seconds_of[book.name] = book.task_seconds
        if book.function and core.batch_limit_by_function.get(book.function, 1) < book.batch_limit:
            core.batch_limit_by_function[book.function] = book.batch_limit
    account = book.statistics
    if account is None:
        account = book.statistics = LayerStatistics()
    account.runs += 1
    account.seconds += seconds


def account_locality(core: SchedulerState, run: TaskBatch, lo: int, hi: int) -> None:
    """Enter completed items of the run into their layer's account."""
    account, count = run.layer.statistics, hi - lo
    if account is None:
        account = run.layer.statistics = LayerStatistics()
    account.tasks += count
    if run.locality >= 0:
        read = run.layer.source_bytes(lo, hi)
        if run.locality == placement.NODE:
            account.tasks_node += count
            account.bytes_node += read
        elif run.locality == placement.RACK:
            account.tasks_rack += count
            account.bytes_rack += read
        else:
            account.tasks_remote += count
            account.bytes_remote += read


def truncate(core: SchedulerState, run: TaskBatch, hi: int) -> None:
    """The run ends before `hi` now."""
    if run.expected is not None:
        less = run.expected * (run.hi - hi) / (run.hi - run.lo)
        run.expected -= less
        run.worker.backlog -= less
        client = core.clients.get(run.client)
        if client is not None:
            client.virtual_time -= less / client.weight
    run.hi = hi
    update_idle(core, run.worker)


def rebalance(core: SchedulerState) -> None:
    """Ask for the unstarted tails of the runs that would otherwise wait longest, if workers have nothing to do."""
    core.rebalanced_at = core.now
    idle = sum([w.slots - w.unblocked for w in core.idle.values()])
    # Who has nothing to give back does not answer: so an old request is one that gave nothing.
    idle -= sum(
        [core.now - run.recalled_at < RECALL_TIMEOUT for run in core.batches.values() if run.recalled_at is not None]
    )
    if idle <= 0:
        return
    longest = [
        entry
        for number, worker in enumerate(core.workers.values())
        for entry in _recall_candidates(core, worker, number)
    ]
    heapify(longest)
    while idle > 0 and longest:
        _, number, run = heappop(longest)
        recall(core, run)
        idle -= 1
        for entry in _recall_candidates(core, run.worker, number):
            heappush(longest, entry)


def recall(core: SchedulerState, run: TaskBatch) -> None:
    """Ask for the unstarted tail of a run; once is enough."""
    run.recalled_at = core.now
    core.instructions.append(RecallBatch(run.worker.name, run.ident, run.attempt))


def _recall_candidates(core: SchedulerState, worker: Worker, number: int) -> list[tuple[float, int, TaskBatch]]:
    """The worker's run whose tail should be asked back next, if any: the longest wait comes first, then the lowest
    number."""
    run, waits = _longest_wait(core, worker)
    if run is None or waits <= max(RECALL_WORTH, placement.worth_waiting(core, run.layer, run.group, run.locality)):
        return []
    return [(-waits, number, run)]


def _longest_wait(core: SchedulerState, worker: Worker) -> tuple[TaskBatch | None, float]:
    """The worker's newest run that can be asked back, and the seconds that its last item has to wait there."""
    runs = [run for run in worker.batches.values() if not run.depends_on]
    if len(runs) <= worker.slots and all(run.hi - run.lo == 1 for run in runs):
        return None, 0.0
    rests = worker.remaining_seconds(core.now)
    while runs:
        run, rest = runs.pop(), rests.pop()
        queued = len(runs) >= worker.slots
        if run.recalled_at is None and (queued or run.hi - run.lo > 1) and needs.worth_recalling(core, run.layer):
            return run, sum(rests) / max(1, worker.slots) if queued else rest
    return None, 0.0
