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
    from howdah.engine.scheduler.core.tables import LayerState, Place, Worker


class Need(NamedTuple):
    """`resources`: what each running item takes. `only`: names, addresses or hosts of the workers that may run it; ()
    is all. `loose`: others may while none of those is there."""

    resources: tuple[tuple[str, float], ...]
    only: tuple[str, ...] = ()
    loose: bool = False


def need_of(spec: LayerSpec) -> Need | None:
    """None where any worker will do."""
    if not spec.resources and not spec.only:
        return None
    return Need(spec.resources, tuple(sorted({mark.lower() for mark in spec.only})), spec.loose)


def offers(info: WorkerInfo) -> dict[str, float]:
    """What tasks may take of the worker: what it was started with, and its memory."""
    return {MEMORY: float(info.memory or "inf"), **dict(info.resources)}


def marks_of(info: WorkerInfo) -> tuple[str, ...]:
    """All that a worker may be called in `only`.

    >>> from howdah.engine.protocol.events import WorkerInfo
    >>> marks_of(WorkerInfo("w-0", "Node1", address="tls://10.0.0.1:4040"))
    ('10.0.0.1:4040', 'node1', 'tls://10.0.0.1:4040', 'w-0')
    """
    names = {info.name, info.host, info.address, info.address.partition("://")[2]}
    return tuple(sorted(name.lower() for name in names if name))


def allowed(core: SchedulerState, worker: Worker, need: Need) -> bool:
    """Whether the worker is one of those that are named."""
    if not need.only or any(worker.index in core.marks.get(mark, ()) for mark in need.only):
        return True
    return need.loose and not any(core.marks.get(mark) for mark in need.only)


def could_run(core: SchedulerState, worker: Worker, need: Need | None) -> bool:
    """Whether it has what is asked for, when nothing else takes of it."""
    if need is None:
        return True
    have = offers(worker.info)
    return allowed(core, worker, need) and all(have.get(name, 0.0) >= amount for name, amount in need.resources)


def may_run(core: SchedulerState, worker: Worker, need: Need | None) -> bool:
    """Whether it has that now."""
    if need is None:
        return True
    free = worker.free
    if not all(free.get(name, 0.0) >= amount - 1e-9 for name, amount in need.resources):
        return False
    return allowed(core, worker, need)


def ready(core: SchedulerState, need: Need) -> None:
    """Work that asks for this is on offer: those who could run it are asked, whoever else idles."""
    for worker in _candidates(core, need):
        if may_run(core, worker, need):
            core.called[worker.index] = None


def _candidates(core: SchedulerState, need: Need) -> Iterable[Worker]:
    named = [worker for mark in need.only for worker in core.marks.get(mark, {}).values()]
    return named if named else core.workers.values()


def worth_recalling(core: SchedulerState, book: LayerState) -> bool:
    """Whether a worker that idles could run what another gives back."""
    need = book.asks
    return need is None or any(may_run(core, worker, need) for worker in core.idle.values())


def layer_came(core: SchedulerState, need: Need, place: Place) -> None:
    """A layer asks for this, and is on offer at `place`."""
    core.needs[need] = place
    core.asking[need] = core.asking.get(need, 0) + 1


def layer_went(core: SchedulerState, need: Need) -> None:
    """The place of the last layer that asked for this is closed."""
    core.asking[need] -= 1
    if not core.asking[need]:
        del core.asking[need], core.needs[need]


def worker_came(core: SchedulerState, worker: Worker) -> None:
    for mark in marks_of(worker.info):
        core.marks.setdefault(mark, {})[worker.index] = worker


def worker_went(core: SchedulerState, worker: Worker) -> None:
    core.stamp += 1  # what was for it alone, others may now want to look at again
    for mark in marks_of(worker.info):
        there = core.marks.get(mark, {})
        there.pop(worker.index, None)
        if not there:
            core.marks.pop(mark, None)
    for need in core.needs:
        if need.loose:
            ready(core, need)


def unmet(core: SchedulerState, book: LayerState) -> str:
    """Why none of the workers that are there can ever run the layer; "" if one can."""
    need = book.asks
    workers = core.workers.values()
    if need is None or not workers or any(could_run(core, worker, need) for worker in workers):
        return ""
    asked = ", ".join(_said(name, amount) for name, amount in need.resources)
    named = ", ".join(need.only)
    there = [worker for worker in workers if allowed(core, worker, need)]
    if not there:
        names = sorted(core.workers)
        known = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
        return (
            f"{book.name} may run on {named} only, and no such worker is there (there are {known}); "
            "name others, give allow_other_workers=True, or cancel it"
        )
    asks_memory = any(name == MEMORY for name, _ in need.resources)
    offered_by = [offers(w.info) if asks_memory else dict(w.info.resources) for w in workers]
    have = sorted({_said(name, amount) for offer in offered_by for name, amount in offer.items()})
    offered = f"they have {', '.join(have)}" if have else "they offer no resources"
    whose = f"the {len(workers)} workers" if not need.only else f"the workers that are named ({named})"
    return f"{book.name} asks for {asked}, which none of {whose} has ({offered}); start workers that do, or cancel it"


def _said(name: str, amount: float) -> str:
    return f"{name}={amount:g}" if name != MEMORY or amount < 1 << 20 else f"{name}={amount / (1 << 20):.0f} MiB"
