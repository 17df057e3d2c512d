"""Hosts on which workers keep dying, or tasks fail for the platform's sake, get no work for a while.

A death that may be a task's own fault is not the host's: one of a worker that was kept for a suspect (`quarantine`), or
whose tasks have been blamed elsewhere before. FAULTS within WITHIN seconds leave a host out for PAUSE seconds, twice as
long each time that it happens again; a host that has been quiet for long enough begins anew. What runs there goes on,
and what lies there is fetched. Never more than half of the hosts are left out, and none when no other has workers.
Deterministic functions on the `SchedulerState`.
"""

from __future__ import annotations

from howdah.engine.protocol.events import HostExcluded
from howdah.engine.scheduler.core import dispatch, placement
from howdah.engine.scheduler.core.state import HostFailures, SchedulerState
from howdah.engine.scheduler.core.tables import HOST_EXCLUDED, TaskBatch, Worker

MAX_FAILURES = 3
"""So many faults of a host leave it out."""

FAILURE_WINDOW = 300.0
"""Seconds after which a fault is forgotten."""

FIRST_EXCLUSION, LONGEST_EXCLUSION = 60.0, 960.0
"""Seconds for which a host is left out the first time, and at most."""


def counts_against_host(state: SchedulerState, worker: Worker, batches: list[TaskBatch]) -> bool:
    """Whether the death of this worker, which had these batches, counts against its host.

    To be called before `record_death`.
    """
    if worker.index in state.isolated_workers:
        return False
    here = f" on {worker.info.host}: "
    for batch in batches:
        for item, reasons in (batch.layer.worker_deaths or {}).items():
            if batch.lo <= item < batch.hi and any(here not in reason for reason in reasons):
                return False
    return True


def record_failure(state: SchedulerState, host: str, reason: str) -> None:
    """Something went wrong on the host that no task is to blame for."""
    known = state.host_failures.setdefault(host, HostFailures())
    known.failed_at = [at for at in known.failed_at if state.now - at < FAILURE_WINDOW]
    if not known.failed_at and state.now - known.until > FAILURE_WINDOW:
        known.exclusions = 0
    known.failed_at.append(state.now)
    if len(known.failed_at) < MAX_FAILURES or host in state.excluded_hosts:
        return
    others = {worker.host for worker in state.workers.values()} - {host}
    if (
        len(state.excluded_hosts) + 1 > (len(others | state.excluded_hosts.keys()) + 1) // 2
        or not others - state.excluded_hosts.keys()
    ):
        return
    seconds = min(FIRST_EXCLUSION * 2**known.exclusions, LONGEST_EXCLUSION)
    known.exclusions += 1
    known.failed_at.clear()
    known.until = state.excluded_hosts[host] = state.now + seconds
    state.timers.start(seconds, readmit_hosts)
    state.instructions.append(
        HostExcluded(host, seconds, f"{MAX_FAILURES} faults within {FAILURE_WINDOW:g} s, the last one: {reason}")
    )
    for worker in [worker for worker in state.workers.values() if worker.host == host]:
        worker.unschedulable_reasons.add(HOST_EXCLUDED)
        dispatch.update_idle(state, worker)
        placement.release_preferred(state, worker)


def readmit_hosts(state: SchedulerState) -> None:
    """Those whose time is over are hosts like others; so are all, when only they have workers."""
    only = all(worker.host in state.excluded_hosts for worker in state.workers.values())
    for host, until in list(state.excluded_hosts.items()):
        if until > state.now and not only:
            continue
        del state.excluded_hosts[host]
        state.placement_version += 1
        state.instructions.append(HostExcluded(host, 0.0, "it gets work again"))
        for worker in [worker for worker in state.workers.values() if worker.host == host]:
            worker.unschedulable_reasons.discard(HOST_EXCLUDED)
            dispatch.update_idle(state, worker)
    if len(state.host_failures) > 10_000:
        state.host_failures.clear()
