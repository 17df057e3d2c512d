"""What a layer asks of the worker that runs it: amounts of its resources, or to be one of those that are named.

A layer that asks for something has a place of its own (`SchedulerState.needs`): workers that may run it
look there, and nobody else. Deterministic functions on the `SchedulerState`, for `placement.py` and its neighbours.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from howdah.engine.graph.annotations import MEMORY

if TYPE_CHECKING:
    from howdah.engine.protocol.events import LayerSpec, WorkerInfo
    from howdah.engine.scheduler.core.context import SchedulerState
    from howdah.engine.scheduler.core.tables import LayerState, QueueKey, Worker


class Constraint(NamedTuple):
    """`resources`: what each running item takes. `only`: names, addresses or hosts of the workers that may run it; ()
    is all. `loose`: others may while none of those is there."""

    resources: tuple[tuple[str, float], ...]
    workers: tuple[str, ...] = ()
    allow_other_workers: bool = False


def constraint_of(spec: LayerSpec) -> Constraint | None:
    """None where any worker will do."""
    if not spec.resources and not spec.only:
        return None
    return Constraint(spec.resources, tuple(sorted({mark.lower() for mark in spec.only})), spec.loose)


def capacity(info: WorkerInfo) -> dict[str, float]:
    """What tasks may take of the worker: what it was started with, and its memory."""
    return {MEMORY: float(info.memory or "inf"), **dict(info.resources)}


def aliases_of(info: WorkerInfo) -> tuple[str, ...]:
    """All that a worker may be called in `only`.

    >>> from howdah.engine.protocol.events import WorkerInfo
    >>> marks_of(WorkerInfo("w-0", "Node1", address="tls://10.0.0.1:4040"))
    ('10.0.0.1:4040', 'node1', 'tls://10.0.0.1:4040', 'w-0')
    """
    names = {info.name, info.host, info.address, info.address.partition("://")[2]}
    return tuple(sorted(name.lower() for name in names if name))


def is_allowed(core: SchedulerState, worker: Worker, need: Constraint) -> bool:
    """Whether the worker is one of those that are named."""
    if not need.workers or any(worker.index in core.aliases.get(mark, ()) for mark in need.workers):
        return True
    return need.allow_other_workers and not any(core.aliases.get(mark) for mark in need.workers)


def could_run(core: SchedulerState, worker: Worker, need: Constraint | None) -> bool:
    """Whether it has what is asked for, when nothing else takes of it."""
    if need is None:
        return True
    have = capacity(worker.info)
    return is_allowed(core, worker, need) and all(have.get(name, 0.0) >= amount for name, amount in need.resources)


def may_run(core: SchedulerState, worker: Worker, need: Constraint | None) -> bool:
    """Whether it has that now."""
    if need is None:
        return True
    free = worker.available
    if not all(free.get(name, 0.0) >= amount - 1e-9 for name, amount in need.resources):
        return False
    return is_allowed(core, worker, need)


def wake_candidates(core: SchedulerState, need: Constraint) -> None:
    """Work that asks for this is on offer: those who could run it are asked, whoever else idles."""
    for worker in _candidates(core, need):
        if may_run(core, worker, need):
            core.wakeups[worker.index] = None


def _candidates(core: SchedulerState, need: Constraint) -> Iterable[Worker]:
    named = [worker for mark in need.workers for worker in core.aliases.get(mark, {}).values()]
    return named if named else core.workers.values()


def worth_recalling(core: SchedulerState, book: LayerState) -> bool:
    """Whether a worker that idles could run what another gives back."""
    need = book.constraint
    return need is None or any(may_run(core, worker, need) for worker in core.idle.values())


def layer_added(core: SchedulerState, need: Constraint, place: QueueKey) -> None:
    """A layer asks for this, and is on offer at `place`."""
    core.constraint_queues[need] = place
    core.constraint_layers[need] = core.constraint_layers.get(need, 0) + 1


def layer_removed(core: SchedulerState, need: Constraint) -> None:
    """The place of the last layer that asked for this is closed."""
    core.constraint_layers[need] -= 1
    if not core.constraint_layers[need]:
        del core.constraint_layers[need], core.constraint_queues[need]


def worker_added(core: SchedulerState, worker: Worker) -> None:
    for mark in aliases_of(worker.info):
        core.aliases.setdefault(mark, {})[worker.index] = worker


def worker_removed(core: SchedulerState, worker: Worker) -> None:
    core.placement_version += 1  # what was for it alone, others may now want to look at again
    for mark in aliases_of(worker.info):
        there = core.aliases.get(mark, {})
        there.pop(worker.index, None)
        if not there:
            core.aliases.pop(mark, None)
    for need in core.constraint_queues:
        if need.allow_other_workers:
            wake_candidates(core, need)


def unmet_reason(core: SchedulerState, book: LayerState) -> str:
    """Why none of the workers that are there can ever run the layer; "" if one can."""
    need = book.constraint
    workers = core.workers.values()
    if need is None or not workers or any(could_run(core, worker, need) for worker in workers):
        return ""
    asked = ", ".join(_amount(name, amount) for name, amount in need.resources)
    named = ", ".join(need.workers)
    there = [worker for worker in workers if is_allowed(core, worker, need)]
    if not there:
        names = sorted(core.workers)
        known = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
        return (
            f"{book.name} may run on {named} only, and no such worker is there (there are {known}); "
            "name others, give allow_other_workers=True, or cancel it"
        )
    asks_memory = any(name == MEMORY for name, _ in need.resources)
    offered_by = [capacity(w.info) if asks_memory else dict(w.info.resources) for w in workers]
    have = sorted({_amount(name, amount) for offer in offered_by for name, amount in offer.items()})
    offered = f"they have {', '.join(have)}" if have else "they offer no resources"
    whose = f"the {len(workers)} workers" if not need.workers else f"the workers that are named ({named})"
    return f"{book.name} asks for {asked}, which none of {whose} has ({offered}); start workers that do, or cancel it"


def _amount(name: str, amount: float) -> str:
    return f"{name}={amount:g}" if name != MEMORY or amount < 1 << 20 else f"{name}={amount / (1 << 20):.0f} MiB"
