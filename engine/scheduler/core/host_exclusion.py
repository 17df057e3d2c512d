"""Hosts on which workers keep dying, or tasks fail because of the platform, get no work for a while.

A death that may be a task's own fault does not count against the host: that of a worker reserved for a suspect
(`poison_isolation`), or one whose tasks have a death elsewhere. MAX_FAILURES within FAILURE_WINDOW seconds exclude a
host for FIRST_EXCLUSION seconds, twice as long each time that it happens again; a host that has been quiet for long
enough begins anew. What runs there goes on, and what lies there is fetched. Never more than half of the hosts are
excluded, and none when no other has workers. Rules on `SchedulerState`, called by `recovery`.
"""

from __future__ import annotations

from howdah.engine.protocol.events import HostExcluded
from howdah.engine.scheduler.core import dispatch, placement
from howdah.engine.scheduler.core.state import HostFailures, SchedulerState
from howdah.engine.scheduler.core.tables import HOST_EXCLUDED, TaskBatch, WorkerState

MAX_FAILURES = 3
"""So many failures of a host exclude it."""

FAILURE_WINDOW = 300.0
"""Seconds after which a failure is forgotten."""

FIRST_EXCLUSION, LONGEST_EXCLUSION = 60.0, 960.0
"""Seconds for which a host is excluded the first time, and at most."""


def counts_against_host(state: SchedulerState, worker: WorkerState, batches: list[TaskBatch]) -> bool:
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
    """Record a failure on the host for which no task is to blame; exclude the host if there are too many."""
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
    """Give work again to the hosts whose time is over, and to all when only excluded ones have workers."""
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
