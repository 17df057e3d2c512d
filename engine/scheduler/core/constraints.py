"""What a layer requires of the worker that runs it: amounts of its resources, or to be one of those that are named.

Layers with one constraint have a queue of their own (`SchedulerState.constraint_queues`): workers that may run them
look there, and no others. Rules on `SchedulerState`, called by `placement` and its neighbours.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from howdah.engine.protocol.layers import MEMORY

if TYPE_CHECKING:
    from howdah.engine.protocol.events import LayerSpec, WorkerInfo
    from howdah.engine.scheduler.core.state import SchedulerState
    from howdah.engine.scheduler.core.tables import LayerState, QueueKey, WorkerState


class Constraint(NamedTuple):
    """What a layer requires. `resources`: what each running item takes. `workers`: names, addresses or hosts of the
    workers that may run it; () is all. `allow_other_workers`: others may while none of those is there."""

    resources: tuple[tuple[str, float], ...]
    workers: tuple[str, ...] = ()
    allow_other_workers: bool = False


def constraint_of(spec: LayerSpec) -> Constraint:
    """What the layer requires of the worker that runs it."""
    return Constraint(spec.resources, tuple(sorted({mark.lower() for mark in spec.workers})), spec.allow_other_workers)


def capacity(info: WorkerInfo) -> dict[str, float]:
    """What tasks may take of the worker: what it was started with, and its memory."""
    return {MEMORY: float(info.memory or "inf"), **dict(info.resources)}


def aliases_of(info: WorkerInfo) -> tuple[str, ...]:
    """Every name by which a constraint may name the worker.

    >>> from howdah.engine.protocol.events import WorkerInfo
    >>> aliases_of(WorkerInfo("w-0", "Node1", address="tls://10.0.0.1:4040"))
    ('10.0.0.1:4040', 'node1', 'tls://10.0.0.1:4040', 'w-0')
    """
    names = {info.name, info.host, info.address, info.address.partition("://")[2]}
    return tuple(sorted(name.lower() for name in names if name))


def is_allowed(state: SchedulerState, worker: WorkerState, constraint: Constraint) -> bool:
    """Whether the worker is one of those that are named."""
    if not constraint.workers or any(worker.index in state.aliases.get(mark, ()) for mark in constraint.workers):
        return True
    return constraint.allow_other_workers and not any(state.aliases.get(mark) for mark in constraint.workers)


def could_run(state: SchedulerState, worker: WorkerState, constraint: Constraint | None) -> bool:
    """Whether the worker has what is required when nothing else takes of it."""
    if constraint is None:
        return True
    have = capacity(worker.info)
    return is_allowed(state, worker, constraint) and all(
        have.get(name, 0.0) >= amount for name, amount in constraint.resources
    )


def may_run(state: SchedulerState, worker: WorkerState, constraint: Constraint | None) -> bool:
    """Whether it has that now."""
    if constraint is None:
        return True
    free = worker.available
    if not all(free.get(name, 0.0) >= amount - 1e-9 for name, amount in constraint.resources):
        return False
    return is_allowed(state, worker, constraint)


def wake_candidates(state: SchedulerState, constraint: Constraint) -> None:
    """Work with this constraint was enqueued: have the workers that could run it served, whichever else idle."""
    for worker in _candidates(state, constraint):
        if may_run(state, worker, constraint):
            state.wakeups[worker.index] = None


def _candidates(state: SchedulerState, constraint: Constraint) -> Iterable[WorkerState]:
    named = [worker for mark in constraint.workers for worker in state.aliases.get(mark, {}).values()]
    return named if named else state.workers.values()


def worth_recalling(state: SchedulerState, layer: LayerState) -> bool:
    """Whether an idle worker could run what another gives back."""
    constraint = layer.constraint
    return constraint is None or any(may_run(state, worker, constraint) for worker in state.idle.values())


def layer_added(state: SchedulerState, constraint: Constraint, place: QueueKey) -> None:
    """Count a layer with this constraint, enqueued under `queue_key`."""
    state.constraint_queues[constraint] = place
    state.constraint_layers[constraint] = state.constraint_layers.get(constraint, 0) + 1


def layer_removed(state: SchedulerState, constraint: Constraint) -> None:
    """Remove the queue of the last layer with this constraint."""
    state.constraint_layers[constraint] -= 1
    if not state.constraint_layers[constraint]:
        del state.constraint_layers[constraint], state.constraint_queues[constraint]


def worker_added(state: SchedulerState, worker: WorkerState) -> None:
    """Enter the worker under all its aliases."""
    for mark in aliases_of(worker.info):
        state.aliases.setdefault(mark, {})[worker.index] = worker


def worker_removed(state: SchedulerState, worker: WorkerState) -> None:
    """Remove the worker's aliases; layers that name it may be for others now."""
    state.placement_version += 1  # others may run now what was for it alone
    for mark in aliases_of(worker.info):
        there = state.aliases.get(mark, {})
        there.pop(worker.index, None)
        if not there:
            state.aliases.pop(mark, None)
    for constraint in state.constraint_queues:
        if constraint.allow_other_workers:
            wake_candidates(state, constraint)


def unmet_reason(state: SchedulerState, layer: LayerState) -> str:
    """Why none of the present workers can ever run the layer; "" if one can."""
    constraint = layer.constraint
    workers = state.workers.values()
    if constraint is None or not workers or any(could_run(state, worker, constraint) for worker in workers):
        return ""
    asked = ", ".join(_amount(name, amount) for name, amount in constraint.resources)
    named = ", ".join(constraint.workers)
    there = [worker for worker in workers if is_allowed(state, worker, constraint)]
    if not there:
        names = sorted(state.workers)
        known = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
        return (
            f"{layer.name} may run on {named} only, and no such worker is there (there are {known}); "
            "name others, give allow_other_workers=True, or cancel it"
        )
    asks_memory = any(name == MEMORY for name, _ in constraint.resources)
    offered_by = [capacity(w.info) if asks_memory else dict(w.info.resources) for w in workers]
    have = sorted({_amount(name, amount) for offer in offered_by for name, amount in offer.items()})
    offered = f"they have {', '.join(have)}" if have else "they offer no resources"
    whose = f"the {len(workers)} workers" if not constraint.workers else f"the workers that are named ({named})"
    return f"{layer.name} asks for {asked}, which none of {whose} has ({offered}); start workers that do, or cancel it"


def _amount(name: str, amount: float) -> str:
    return f"{name}={amount:g}" if name != MEMORY or amount < 1 << 20 else f"{name}={amount / (1 << 20):.0f} MiB"
