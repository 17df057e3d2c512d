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
from howdah.engine.scheduler.core.context import HostFailures, SchedulerState
from howdah.engine.scheduler.core.tables import TaskBatch, Worker

MAX_FAILURES = 3
"""So many faults of a host leave it out."""

FAILURE_WINDOW = 300.0
"""Seconds after which a fault is forgotten."""

FIRST_EXCLUSION, LONGEST_EXCLUSION = 60.0, 960.0
"""Seconds for which a host is left out the first time, and at most."""


def counts_against_host(core: SchedulerState, worker: Worker, runs: list[TaskBatch]) -> bool:
    """Whether the death of this worker, which had these batches, counts against its host.

    To be called before `record_death`.
    """
    if worker.index in core.isolated_workers:
        return False
    here = f" on {worker.info.host}: "
    for run in runs:
        for item, reasons in (run.layer.worker_deaths or {}).items():
            if run.lo <= item < run.hi and any(here not in reason for reason in reasons):
                return False
    return True


def record_failure(core: SchedulerState, host: str, reason: str) -> None:
    """Something went wrong on the host that no task is to blame for."""
    known = core.host_failures.setdefault(host, HostFailures())
    known.failed_at = [at for at in known.failed_at if core.now - at < FAILURE_WINDOW]
    if not known.failed_at and core.now - known.until > FAILURE_WINDOW:
        known.exclusions = 0
    known.failed_at.append(core.now)
    if len(known.failed_at) < MAX_FAILURES or host in core.excluded_hosts:
        return
    others = {worker.host for worker in core.workers.values()} - {host}
    if (
        len(core.excluded_hosts) + 1 > (len(others | core.excluded_hosts.keys()) + 1) // 2
        or not others - core.excluded_hosts.keys()
    ):
        return
    seconds = min(FIRST_EXCLUSION * 2**known.exclusions, LONGEST_EXCLUSION)
    known.exclusions += 1
    known.failed_at.clear()
    known.until = core.excluded_hosts[host] = core.now + seconds
    core.instructions.append(
        HostExcluded(host, seconds, f"{MAX_FAILURES} faults within {FAILURE_WINDOW:g} s, the last one: {reason}")
    )
    for worker in [worker for worker in core.workers.values() if worker.host == host]:
        worker.barred = True
        assign.update_idle(core, worker)
        placement.release_preferred(core, worker)


def readmit_hosts(core: SchedulerState) -> None:
    """Those whose time is over are hosts like others; so are all, when only they have workers."""
    only = all(worker.host in core.excluded_hosts for worker in core.workers.values())
    for host, until in list(core.excluded_hosts.items()):
        if until > core.now and not only:
            continue
        del core.excluded_hosts[host]
        core.placement_version += 1
        core.instructions.append(HostExcluded(host, 0.0, "it gets work again"))
        for worker in [worker for worker in core.workers.values() if worker.host == host]:
            worker.barred = worker.index in core.isolated_workers
            assign.update_idle(core, worker)
    if len(core.host_failures) > 10_000:
        core.host_failures.clear()
