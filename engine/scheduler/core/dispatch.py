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
from howdah.engine.scheduler.core.intervals import IntervalSet, Stretch, add, equal_stretches
from howdah.engine.scheduler.core.tables import (
    DONE,
    MOST_AHEAD,
    NOBODY,
    READY,
    RUNNING,
    WAITING,
    Account,
    Client,
    LayerState,
    TaskBatch,
    Worker,
)

if TYPE_CHECKING:
    from howdah.engine.scheduler.core.placement import Found

TARGET = 0.03
"""Seconds that a run should take: long against a message's cost, short against a person's patience."""

MOST_RUNS = 64
"""Runs that a slot may hold when they are very short (layers of one tiny item)."""

GROWTH = 4
"""How many times longer the next run of a layer may be than the longest that has come back."""

WITNESSES = 256
"""So many runs that have come back say as much of a layer as a run that is an item longer: a thousand slots need not
all go through the small sizes."""

LEAST = 0.01
"""Seconds that a run should take at least, however little is left to share out; twice as much in a layer that keeps
every slot busy for longer than that."""

SURPRISE, FIRST_CALL = 8, 1e-3
"""A run that took longer than so many times what was expected, and so many seconds, is not believed to the letter: it
may have imported something. What does take that long says so again."""

LONGEST_RUN = 1 << 15
"""Items in one run at most, so that a report stays a small message."""

RECALL_WORTH = 0.05
"""Seconds of work that must wait behind other work before it is asked back for an idle worker."""

MOST_NAMES = 10_000
"""Names of layers whose seconds per item are remembered."""

RECALL_ANSWER = 0.5
"""Seconds within which the answer to a recall is waited for before another run is asked for."""

STEAL_PAUSE = 0.002
"""Seconds until others' work is looked at again, after an idle worker has found none that is worth moving."""

REBALANCE = 0.01
"""Seconds between looks at who has nothing to do while others' work waits (`rebalance`)."""

LOOK_AT = 64
"""Workers that may decline in one event before no more are asked."""


def note_room(core: SchedulerState, worker: Worker) -> None:
    """Keep the lists of workers that may be given work; after each change of what a worker holds."""
    held, slots, index = len(worker.runs) - worker.behind, worker.slots, worker.index
    if worker.barred:
        core.idle.pop(index, None)
        core.open.pop(index, None)
    elif held < slots:
        core.idle[index] = worker
        core.open.pop(index, None)
    else:
        core.idle.pop(index, None)
        if held < 2 * slots or (held < MOST_RUNS * slots and worker.backlog < TARGET * slots):
            core.open[index] = worker
        else:
            core.open.pop(index, None)


def _has_room(worker: Worker) -> bool:
    """The rule for `core.open`, which `note_room` keeps; `check` holds it against that."""
    held, slots = worker.held, worker.slots
    return held < 2 * slots or (held < MOST_RUNS * slots and worker.backlog < TARGET * slots)


def schedule(core: SchedulerState, first: Worker | None) -> None:
    """Hand out ready work to workers with credit, idle slots first, a run each in turn."""
    if core.suspects or core.kept:
        quarantine.serve(core)
    if core.ready:
        asked = {first.index: first} if first is not None else {}
        for index in core.called:
            called = core.by_index.get(index)
            if called is not None:
                asked[index] = called
        for line in (core.idle, core.open):
            turn = [worker for worker in asked.values() if worker.index in line and give(core, worker)]
            _in_turn(core, line)
            while turn and core.ready:  # what is at home with them, nobody else in the line may take
                turn = [worker for worker in turn if worker.index in line and give(core, worker)]
        if core.ready and core.idle and core.now >= core.next_steal:
            steal(core)
    core.called.clear()


def _in_turn(core: SchedulerState, line: dict[int, Worker]) -> None:
    """A run for each worker in the line, and again, until none is left that wants one."""
    declined = 0
    while core.ready and line and declined < LOOK_AT:
        worker = next(iter(line.values()))
        if worker.declined == core.stamp:
            return  # so have all behind it: whoever was asked goes to the end of the line
        declined += not give(core, worker)


def give(core: SchedulerState, worker: Worker) -> bool:
    """Start the best run for this worker from its own places; False if there is none for it now. It goes to the end of
    the lines of those that may be given work."""
    if worker.barred:
        return False
    best: Found | None = None
    turn: Client | None = None
    for client in core.clients.values():
        if client.queues:
            found = placement.look(core, client, worker)
            if found is not None and (
                best is None or turn is None or (found[0][0], client.virtual) < (best[0][0], turn.virtual)
            ):
                best, turn = found, client
    if best is not None and worker.held >= 2 * worker.slots and run_size(core, best[2]) < best[2].counts[READY]:
        best = None  # more than two runs a slot is for layers that are one short run, not for shares of a long layer
    if best is not None and best[2].spread and worker.held >= worker.slots:
        best = None  # nobody takes a second share while others have had none
    if best is None or turn is None:
        worker.declined = core.stamp
    else:
        start(core, turn, worker, best[2], best[1])
    for line in (core.idle, core.open):
        if worker.index in line:
            line[worker.index] = line.pop(worker.index)
    return best is not None


def steal(core: SchedulerState) -> None:
    """Idle workers take work whose inputs lie with workers that will not come to it soon, until one finds none."""
    for worker in list(islice(core.idle.values(), LOOK_AT)):
        while worker.held < worker.slots:
            turns = core.clients.values()
            for client in sorted(turns, key=lambda c: c.virtual) if len(core.clients) > 1 else turns:
                found = placement.steal(core, client, worker) if client.queues else None
                if found is not None:
                    start(core, client, worker, found[2], found[1])
                    break
            else:
                core.next_steal = core.now + STEAL_PAUSE  # whoever looked now would find the same
                return


def run_size(core: SchedulerState, book: LayerState) -> int:
    """How many items the next run of the layer should have."""
    if book.spread:
        return min(-(-book.n // max(1, core.slots)), LONGEST_RUN)
    seconds = book.seconds if book.seconds is not None else core.seconds_of.get(book.name)
    size, least = book.limit, 1
    if book.seconds is None:  # not timed yet; its function may have been, in another layer
        size = max(size, core.limit_of.get(book.function, 1))
    slots = max(1, core.slots)
    if seconds is not None:
        size, least = min(size, int(TARGET / seconds)), int(LEAST / seconds)
        if book.n > least * slots:
            least = min(2 * least, book.n // slots)
    share = max(-(-book.counts[READY] // slots), least)
    return max(1, min(size, share, LONGEST_RUN))


def start(core: SchedulerState, client: Client, worker: Worker, book: LayerState, group: int) -> None:
    """Cut a run from the group and give it to the worker."""
    spans = book.ready[group]
    lo, hi = spans.take(1 if book.n == 1 else run_size(core, book))
    if book.deaths:  # those of which a worker may have died are runs of their own: fewer are blamed again
        blamed = min((i for i in book.deaths if lo <= i < hi), default=hi)
        cut = lo + 1 if blamed == lo else blamed
        if cut < hi:
            spans.add(cut, hi)
        hi = cut
    if not spans:
        del book.ready[group]
    begin(core, client, worker, book, lo, hi, group, (), READY)


def begin(
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
    tries = book.tries
    if hi - lo == 1:
        attempt = tries[lo] = int(tries[lo]) + 1
    else:
        add(tries, lo, hi, 1)
        attempt = int(max(tries[lo:hi]) if book.small else tries[lo:hi].max())
    if (attempt > 1 or core.epoch) and book.key in core.late_frees:
        core.flush_late()
    core.next_run += 1
    run = TaskBatch(core.next_run, attempt, book, lo, hi, worker, client.name, None, core.now, group)
    if book.host_sets is not None:
        run.level = placement.taken(core, book, group, worker)
    seconds = book.seconds if book.seconds is not None else core.seconds_of.get(book.name)
    run.expected = None if seconds is None else seconds * (hi - lo)
    if old != RUNNING:  # a twin's item is
        core.move(book, lo, hi, old, RUNNING, run)
    core.runs[run.ident] = run
    book.runs[run] = None
    worker.runs[run.ident] = run
    charge = TARGET if run.expected is None else run.expected
    worker.backlog += charge
    core.clock = client.virtual
    client.virtual += charge / client.weight
    client.running += 1
    for name, amount in book.resources:
        worker.free[name] = worker.free.get(name, 0.0) - amount
    if after:
        worker.behind += 1
        for other in after:
            run.after[other] = other.followers[run] = None
    note_room(core, worker)
    if book.out and book.counts[RUNNING] + book.counts[DONE] == book.n:
        targets = [edge.target for edge in book.out]
        core.chained.extend([t for t in targets if t.n <= MOST_AHEAD and t.counts[WAITING] == t.n])
    sources = _sources(core, run) if book.ins else ()
    names = tuple([(other.ident, other.attempt) for other in after]) if after else ()
    core.out.append(StartBatch(worker.name, run.ident, attempt, TaskRange(book.key, lo, hi), sources, names))


def _sources(core: SchedulerState, run: TaskBatch) -> tuple[tuple[TaskRange, str], ...]:
    """Who has the inputs that the run's worker lacks."""
    book, mine = run.book, run.worker.index
    found: list[tuple[TaskRange, str]] = []
    local = moved = 0
    for edge in book.ins:
        source = edge.source
        if edge.one and (source.holder[0] == NOBODY or source.holder[0] == mine):
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
            for a, b, holder in equal_stretches(source.holder, lo, hi):
                if holder == NOBODY:  # made by a run that this one stands behind
                    continue
                if holder == mine:
                    local += source.bytes_of(a, b)
                    continue
                for c, d in have.gaps(a, b) if have is not None else ((a, b),):
                    found.append((TaskRange(source.key, c, d), core.by_index[holder].name))
                    run.fetched.append((source, c, d))
                    moved += source.bytes_of(c, d)
    account = book.account
    if account is None:
        account = book.account = Account()
    account.inputs_local += local
    account.inputs_moved += moved
    return tuple(found)


def retire(core: SchedulerState, run: TaskBatch) -> bool:
    """The run is over, one way or another; its items are the caller's to move on. False: its twin has them still."""
    worker, twin = run.worker, run.twin
    if twin is not None:
        twin.twin = run.twin = None
    for name, amount in run.book.resources:
        worker.free[name] += amount
        worker.declined = -1
    del core.runs[run.ident], worker.runs[run.ident], run.book.runs[run]
    for follower in run.followers:
        after = follower.after
        del after[run]
        if not after:
            worker.behind -= 1
    if run.after:
        worker.behind -= 1
        for other in run.after:
            del other.followers[run]
    worker.warm = True
    worker.backlog -= TARGET if run.expected is None else run.expected
    if not worker.runs:
        worker.backlog = 0.0
    client = core.clients.get(run.client)
    if client is not None:
        client.running -= 1
    note_room(core, worker)
    return twin is None


def keep_copies(core: SchedulerState, run: TaskBatch) -> None:
    """What the run fetched, its worker has now; what is no result any more (lost meanwhile), or of no more use to any
    unfinished item, it drops."""
    mine = run.worker.index
    many: dict[LayerState, list[Stretch]] = {}
    for source, lo, hi in run.fetched:
        if len(run.fetched) > scattered.FEW and not source.small:
            many.setdefault(source, []).append((lo, hi))
            continue
        if hi - lo == 1 and source.code[lo] == DONE:
            if source.holder[lo] == mine:
                continue
            if source.claims or source.need[lo] or (source.asked and lo in source.asked):
                source.copied(lo, hi, mine)
                continue
        stray = IntervalSet(lo, hi)
        for a, b in source.where(lo, hi, DONE):
            stray.remove(a, b)
            for c, d, holder in equal_stretches(source.holder, a, b):
                if holder != mine:
                    unneeded = source.unneeded_by_items(c, d)
                    if source.asked:
                        unneeded = [gap for e, f in unneeded for gap in source.asked.gaps(e, f)]
                    for e, f in unneeded:
                        stray.add(e, f)
                    if unneeded != [(c, d)]:
                        useful = IntervalSet(c, d)
                        for e, f in unneeded:
                            useful.remove(e, f)
                        for e, f in useful:
                            source.copied(e, f, mine)
        for a, b in stray:
            core.free_stray(run.worker, source.key, a, b)
    for source, parts in many.items():
        bounds = np.array(parts)
        lengths = bounds[:, 1] - bounds[:, 0]
        items = np.repeat(bounds[:, 0] - np.concatenate(([0], np.cumsum(lengths)[:-1])), lengths) + np.arange(
            int(lengths.sum())
        )
        scattered.keep_copies(core, run.worker, source, distinct(items))


def learn(core: SchedulerState, run: TaskBatch, tried: int, seconds: float) -> None:
    """What the run's length says about its layer, and about its client's turn."""
    book = run.book
    client = core.clients.get(run.client)
    if client is not None:
        charged = TARGET if run.expected is None else run.expected
        client.virtual += (seconds - charged) / client.weight
    if tried:
        each = max(seconds, 1e-9) / tried
        seconds_of, own = core.seconds_of, book.seconds
        known = own if own is not None else seconds_of.get(book.name)
        if known is not None and each > SURPRISE * known + FIRST_CALL:
            each = SURPRISE * known + FIRST_CALL
        book.seconds = each if own is None else (own + each) / 2
        told = book.account.runs // WITNESSES if book.account is not None else 0
        limit = min(max(GROWTH * tried, told), LONGEST_RUN)
        if limit > book.limit:
            book.limit = limit
        if len(seconds_of) >= MOST_NAMES and book.name not in seconds_of:
            seconds_of.clear()
            core.limit_of.clear()
        seconds_of[book.name] = book.seconds
        if book.function and core.limit_of.get(book.function, 1) < book.limit:
            core.limit_of[book.function] = book.limit
    account = book.account
    if account is None:
        account = book.account = Account()
    account.runs += 1
    account.seconds += seconds


def credit(core: SchedulerState, run: TaskBatch, lo: int, hi: int) -> None:
    """Enter completed items of the run into their layer's account."""
    account, count = run.book.account, hi - lo
    if account is None:
        account = run.book.account = Account()
    account.tasks += count
    if run.level >= 0:
        read = run.book.source_bytes(lo, hi)
        if run.level == placement.NODE:
            account.tasks_node += count
            account.bytes_node += read
        elif run.level == placement.RACK:
            account.tasks_rack += count
            account.bytes_rack += read
        else:
            account.tasks_remote += count
            account.bytes_remote += read


def shorten(core: SchedulerState, run: TaskBatch, hi: int) -> None:
    """The run ends before `hi` now."""
    if run.expected is not None:
        less = run.expected * (run.hi - hi) / (run.hi - run.lo)
        run.expected -= less
        run.worker.backlog -= less
        client = core.clients.get(run.client)
        if client is not None:
            client.virtual -= less / client.weight
    run.hi = hi
    note_room(core, run.worker)


def rebalance(core: SchedulerState) -> None:
    """Ask for the unstarted tails of the runs that would otherwise wait longest, if workers have nothing to do."""
    core.rebalanced = core.now
    idle = sum([w.slots - w.held for w in core.idle.values()])
    # Who has nothing to give back does not answer: so an old request is one that gave nothing.
    idle -= sum([core.now - run.recalled < RECALL_ANSWER for run in core.runs.values() if run.recalled is not None])
    if idle <= 0:
        return
    longest = [entry for number, worker in enumerate(core.workers.values()) for entry in _to_ask(core, worker, number)]
    heapify(longest)
    while idle > 0 and longest:
        _, number, run = heappop(longest)
        recall(core, run)
        idle -= 1
        for entry in _to_ask(core, run.worker, number):
            heappush(longest, entry)


def recall(core: SchedulerState, run: TaskBatch) -> None:
    """Ask for the unstarted tail of a run; once is enough."""
    run.recalled = core.now
    core.out.append(RecallBatch(run.worker.name, run.ident, run.attempt))


def _to_ask(core: SchedulerState, worker: Worker, number: int) -> list[tuple[float, int, TaskBatch]]:
    """The worker's run whose tail should be asked back next, if any: the longest wait comes first, then the lowest
    number."""
    run, waits = _longest_wait(core, worker)
    if run is None or waits <= max(RECALL_WORTH, placement.worth_leaving(core, run.book, run.group, run.level)):
        return []
    return [(-waits, number, run)]


def _longest_wait(core: SchedulerState, worker: Worker) -> tuple[TaskBatch | None, float]:
    """The worker's newest run that can be asked back, and the seconds that its last item has to wait there."""
    runs = [run for run in worker.runs.values() if not run.after]
    if len(runs) <= worker.slots and all(run.hi - run.lo == 1 for run in runs):
        return None, 0.0
    rests = worker.rests(core.now)
    while runs:
        run, rest = runs.pop(), rests.pop()
        queued = len(runs) >= worker.slots
        if run.recalled is None and (queued or run.hi - run.lo > 1) and needs.worth_recalling(core, run.book):
            return run, sum(rests) / max(1, worker.slots) if queued else rest
    return None, 0.0
