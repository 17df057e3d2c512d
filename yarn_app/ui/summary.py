"""What is told when an application has ended: seconds by phase, tasks and bytes by where they ran.

Pure: for `howdah submit`, its `--json`, and the benchmarks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

PHASES = ("driver", "submit", "AM", "containers", "environment", "workers", "compute")
"""In order. driver: skein's Java on the edge, beside packing and checking. AM: from YARN's yes to our master's start.
containers: until the first worker's container. environment: YARN unpacking for workers. workers: until the first has
joined. compute: the driver program's own time, or from the first worker to the end."""


def phases(edge: Mapping[str, float], submitted_at: float, final: Mapping[str, Any]) -> dict[str, float]:
    """Seconds by phase; phases of which nothing is known are left out. They overlap, and so need not add up.

    >>> times = {"master": 105.0, "first_container": 106.5, "first_worker": 108.0, "driver": 106.0, "driver_end": 120.0}
    >>> final = {"times": times, "unpacked": {"howdah.worker_0": [0, 5, 0, 5, 300]}}
    >>> found = phases({"driver": 2.7, "submitting": 0.8}, 100.0, final)
    >>> found["AM"], found["containers"], found["environment"], found["workers"], found["compute"]
    (5.0, 1.5, 0.3, 1.5, 14.0)
    """
    times = final.get("times") or {}
    unpacked = [counters[4] / 1e3 for counters in (final.get("unpacked") or {}).values() if len(counters) > 4]
    first = times.get("driver", times.get("first_worker"))
    last = times.get("driver_end", times.get("end"))
    found = {
        "driver": edge.get("driver"),
        "submit": edge.get("submitting"),
        "AM": _between(submitted_at, times.get("master")),
        "containers": _between(times.get("master"), times.get("first_container")),
        "environment": max(unpacked) if unpacked else None,
        "workers": _between(times.get("first_container"), times.get("first_worker")),
        "compute": _between(first, last),
    }
    return {name: round(value, 2) for name, value in found.items() if value is not None}


def to_first_task(began_at: float, final: Mapping[str, Any]) -> float | None:
    """Seconds from the command's start to the first task running."""
    return _between(began_at, (final.get("times") or {}).get("first_task"))


def _between(start: float | None, stop: float | None) -> float | None:
    return None if start is None or stop is None else max(0.0, stop - start)


def work(final: Mapping[str, Any]) -> dict[str, Any]:
    """Tasks and bytes: how many, and how many beside their data, on its rack, elsewhere."""
    accounts = final.get("work") or {}
    tasks, placed, size = (accounts.get(name) or {} for name in ("tasks", "placed", "bytes"))
    return {
        "tasks": tasks.get("done", 0),
        "tasks_failed": tasks.get("failed", 0),
        "placed": {where: placed.get(where, 0) for where in ("node", "rack", "remote")},
        "bytes": {where: size.get(where, 0) for where in ("node", "rack", "remote")},
        "lost_containers": list(final.get("lost") or ()),
        "preempted_containers": list(final.get("preempted") or ()),
        "restarted": list(final.get("restarted") or ()),
        "attempt": int(final.get("attempt") or 1),
    }


def lines(
    app_id: str, status: str, total: float, by_phase: Mapping[str, float], done: Mapping[str, Any],
    first_task: float | None = None,
) -> list[str]:  # fmt: skip
    """The summary for people.

    >>> placed, size = {"node": 19, "rack": 0, "remote": 1}, {"node": 3 << 20, "rack": 0, "remote": 1 << 10}
    >>> done = {"tasks": 20, "placed": placed, "bytes": size}
    >>> for line in lines("application_1_0001", "SUCCEEDED", 21.5, {"driver": 2.7, "AM": 5.0}, done, 9.5):
    ...     print(line)
    application_1_0001 SUCCEEDED in 21.5 s, first task after 9.5 s: driver 2.7 s, AM 5.0 s
    20 tasks; of those that read stored data 95 % were on its node (19 node, 0 rack, 1 remote)
    bytes read: 3.0 MiB from the same node, 0 B from the rack, 1.0 KiB remote
    """
    split = ", ".join(f"{name} {by_phase[name]:.1f} s" for name in PHASES if name in by_phase)
    soon = f", first task after {first_task:.1f} s" if first_task is not None else ""
    found = [f"{app_id} {status} in {total:.1f} s{soon}" + (f": {split}" if split else "")]
    placed, size = done["placed"], done["bytes"]
    readers = sum(placed.values())
    if done["tasks"] or readers:
        text = f"{done['tasks']} tasks"
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


def losses(done: Mapping[str, Any]) -> list[str]:
    """What was lost, taken away or started again, a line each; of `work`, or of the master's own word.

    >>> losses({"preempted_containers": ["container_1 on node2: Container preempted by scheduler"], "attempt": 2})
    ['worker container preempted: container_1 on node2: Container preempted by scheduler', \
'the application master was lost: attempt 2 went on']
    """
    kinds = {
        "worker container lost": ("lost_containers", "lost"),
        "worker container preempted": ("preempted_containers", "preempted"),
        "scheduler": ("restarted",),
    }
    found = [
        f"{what}: {text}" for what, names in kinds.items() for name in names for text in done.get(name) or ()
    ]  # fmt: skip
    if int(done.get("attempt") or 1) > 1:
        found.append(f"the application master was lost: attempt {done['attempt']} went on")
    return found


def format_bytes(size: float) -> str:
    """For people.

    >>> show_bytes(0), show_bytes(1536), show_bytes(5 << 30)
    ('0 B', '1.5 KiB', '5.0 GiB')
    """
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"
