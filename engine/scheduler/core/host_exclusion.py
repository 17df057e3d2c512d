"""Hosts on which workers keep dying, or tasks fail for the platform's sake, get no work for a while.

A death that may be a task's own fault is not the host's: one of a worker that was kept for a suspect (`quarantine`), or
whose tasks have been blamed elsewhere before. FAULTS within WITHIN seconds leave a host out for PAUSE seconds, twice as
long each time that it happens again; a host that has been quiet for long enough begins anew. What runs there goes on,
and what lies there is fetched. Never more than half of the hosts are left out, and none when no other has workers.
Deterministic functions on the `SchedulerState`.
"""

from __future__ import annotations

from howdah.engine.protocol.events import HostExcluded
from howdah.engine.scheduler.core import dispatch as assign
from howdah.engine.scheduler.core import placement
from howdah.engine.scheduler.core.context import HostFaults, SchedulerState
from howdah.engine.scheduler.core.tables import TaskBatch, Worker

FAULTS = 3
"""So many faults of a host leave it out."""

WITHIN = 300.0
"""Seconds after which a fault is forgotten."""

PAUSE, LONGEST = 60.0, 960.0
"""Seconds for which a host is left out the first time, and at most."""


def is_the_hosts(core: SchedulerState, worker: Worker, runs: list[TaskBatch]) -> bool:
    """Whether the death of this worker, which had these runs, counts against its host. To be asked before `blame`."""
    if worker.index in core.kept:
        return False
    here = f" on {worker.info.host}: "
    for run in runs:
        for item, reasons in (run.book.deaths or {}).items():
            if run.lo <= item < run.hi and any(here not in reason for reason in reasons):
                return False
    return True


def fault(core: SchedulerState, host: str, reason: str) -> None:
    """Something went wrong on the host that no task is to blame for."""
    known = core.faults.setdefault(host, HostFaults())
    known.times = [at for at in known.times if core.now - at < WITHIN]
    if not known.times and core.now - known.until > WITHIN:
        known.pauses = 0
    known.times.append(core.now)
    if len(known.times) < FAULTS or host in core.excluded:
        return
    others = {worker.host for worker in core.workers.values()} - {host}
    if len(core.excluded) + 1 > (len(others | core.excluded.keys()) + 1) // 2 or not others - core.excluded.keys():
        return
    seconds = min(PAUSE * 2**known.pauses, LONGEST)
    known.pauses += 1
    known.times.clear()
    known.until = core.excluded[host] = core.now + seconds
    core.out.append(HostExcluded(host, seconds, f"{FAULTS} faults within {WITHIN:g} s, the last one: {reason}"))
    for worker in [worker for worker in core.workers.values() if worker.host == host]:
        worker.barred = True
        assign.note_room(core, worker)
        placement.leave_home(core, worker)


def end(core: SchedulerState) -> None:
    """Those whose time is over are hosts like others; so are all, when only they have workers."""
    only = all(worker.host in core.excluded for worker in core.workers.values())
    for host, until in list(core.excluded.items()):
        if until > core.now and not only:
            continue
        del core.excluded[host]
        core.stamp += 1
        core.out.append(HostExcluded(host, 0.0, "it gets work again"))
        for worker in [worker for worker in core.workers.values() if worker.host == host]:
            worker.barred = worker.index in core.kept
            assign.note_room(core, worker)
    if len(core.faults) > 10_000:
        core.faults.clear()
