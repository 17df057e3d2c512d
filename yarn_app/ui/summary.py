"""The summary of an application that has ended: seconds by phase, tasks and bytes by where they ran, losses.

Pure: for `howdah submit`, its `--json`, `howdah status` and the benchmarks.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from howdah.yarn_app.protocol.status import MasterStatus
from howdah.yarn_app.specification.units import format_bytes

PHASES = ("driver", "submit", "AM", "containers", "environment", "workers", "compute")
"""In order. driver: skein's Java on the edge node, beside packing and checking. AM: from YARN's acceptance to the start
of the master. containers: until the first worker's container. environment: YARN unpacking for workers. workers: until
the first has joined. compute: the driver program's own time, or from the first worker to the end."""

PLACES = ("node", "rack", "remote")


class WorkSummary(msgspec.Struct, frozen=True):
    """Tasks, bytes and losses of an application.

    Attributes
    ----------
    tasks, tasks_failed : how many were done, and failed.
    placed, bytes : tasks that read stored data, and the bytes, by where they ran: node, rack, remote.
    lost_containers, preempted_containers : worker containers that ended by themselves, and that YARN took.
    restarted : restarts of the scheduler.
    attempt : number of the last application master.
    """

    tasks: int = 0
    tasks_failed: int = 0
    placed: dict[str, int] = {}
    bytes: dict[str, int] = {}
    lost_containers: list[str] = []
    preempted_containers: list[str] = []
    restarted: list[str] = []
    attempt: int = 1


def work(status: MasterStatus | None) -> WorkSummary:
    """Return the summary of a status; an empty one where there is no status."""
    if status is None:
        return WorkSummary(placed=dict.fromkeys(PLACES, 0), bytes=dict.fromkeys(PLACES, 0))
    return WorkSummary(
        tasks=status.work.tasks.get("done", 0),
        tasks_failed=status.work.tasks.get("failed", 0),
        placed={where: status.work.placed.get(where, 0) for where in PLACES},
        bytes={where: status.work.bytes.get(where, 0) for where in PLACES},
        lost_containers=list(status.lost),
        preempted_containers=list(status.preempted),
        restarted=list(status.restarted),
        attempt=status.attempt,
    )


def phases(edge_seconds: Mapping[str, float], submitted_at: float, final: MasterStatus | None) -> dict[str, float]:
    """Return seconds by phase; unknown phases are left out. They overlap, so they need not add up.

    Parameters
    ----------
    edge_seconds
        Seconds of the steps on the edge node: "driver" and "submitting".
    submitted_at
        When YARN accepted the application, seconds since 1970.
    final
        The master's last status.

    Examples
    --------
    >>> times = {"master": 105.0, "first_container": 106.5, "first_worker": 108.0, "driver": 106.0, "driver_end": 120.0}
    >>> final = MasterStatus(times=times, unpacked={"howdah.worker_0": [0, 5, 0, 5, 300]})
    >>> found = phases({"driver": 2.7, "submitting": 0.8}, 100.0, final)
    >>> found["AM"], found["containers"], found["environment"], found["workers"], found["compute"]
    (5.0, 1.5, 0.3, 1.5, 14.0)
    """
    times = final.times if final else {}
    unpacked = [counters[4] / 1e3 for counters in (final.unpacked if final else {}).values() if len(counters) > 4]
    first = times.get("driver", times.get("first_worker"))
    last = times.get("driver_end", times.get("end"))
    found = {
        "driver": edge_seconds.get("driver"),
        "submit": edge_seconds.get("submitting"),
        "AM": _between(submitted_at, times.get("master")),
        "containers": _between(times.get("master"), times.get("first_container")),
        "environment": max(unpacked) if unpacked else None,
        "workers": _between(times.get("first_container"), times.get("first_worker")),
        "compute": _between(first, last),
    }
    return {name: round(value, 2) for name, value in found.items() if value is not None}


def to_first_task(began_at: float, final: MasterStatus | None) -> float | None:
    """Return seconds from the command's start to the first running task; None where no task ran."""
    return _between(began_at, final.times.get("first_task") if final else None)


def _between(start: float | None, stop: float | None) -> float | None:
    return None if start is None or stop is None else max(0.0, stop - start)


def lines(
    app_id: str, status: str, total: float, by_phase: Mapping[str, float], done: WorkSummary,
    first_task: float | None = None,
) -> list[str]:  # fmt: skip
    """Return the summary for users, a line each.

    Examples
    --------
    >>> placed, size = {"node": 19, "rack": 0, "remote": 1}, {"node": 3 << 20, "rack": 0, "remote": 1 << 10}
    >>> done = WorkSummary(tasks=20, placed=placed, bytes=size)
    >>> for line in lines("application_1_0001", "SUCCEEDED", 21.5, {"driver": 2.7, "AM": 5.0}, done, 9.5):
    ...     print(line)
    application_1_0001 SUCCEEDED in 21.5 s, first task after 9.5 s: driver 2.7 s, AM 5.0 s
    20 tasks; of those that read stored data 95 % were on its node (19 node, 0 rack, 1 remote)
    bytes read: 3.0 MiB from the same node, 0 B from the rack, 1.0 KiB remote
    """
    split = ", ".join(f"{name} {by_phase[name]:.1f} s" for name in PHASES if name in by_phase)
    soon = f", first task after {first_task:.1f} s" if first_task is not None else ""
    found = [f"{app_id} {status} in {total:.1f} s{soon}" + (f": {split}" if split else "")]
    placed, size = done.placed, done.bytes
    readers = sum(placed.values())
    if done.tasks or readers:
        text = f"{done.tasks} tasks"
        if readers:
            text += (
                f"; of those that read stored data {100 * placed['node'] / readers:.0f} % were on its node "
                f"({placed['node']} node, {placed['rack']} rack, {placed['remote']} remote)"
            )
        found.append(text)
    if sum(size.values()):
        found.append(
            f"bytes read: {format_bytes(size['node'])} from the same node, {format_bytes(size['rack'])} from the rack, "
            f"{format_bytes(size['remote'])} remote"
        )
    return [*found, *losses(done)]


def losses(done: WorkSummary) -> list[str]:
    """Return what was lost, preempted or restarted, a line each.

    Examples
    --------
    >>> for line in losses(WorkSummary(preempted_containers=["container_1 on node2: preempted"], attempt=2)):
    ...     print(line)
    worker container preempted: container_1 on node2: preempted
    the application master was lost: attempt 2 went on
    """
    found = [f"worker container lost: {text}" for text in done.lost_containers]
    found += [f"worker container preempted: {text}" for text in done.preempted_containers]
    found += [f"scheduler: {text}" for text in done.restarted]
    if done.attempt > 1:
        found.append(f"the application master was lost: attempt {done.attempt} went on")
    return found
