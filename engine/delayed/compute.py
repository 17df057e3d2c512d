"""`compute` and `persist` for any mix of lazy objects: `Delayed`, frames, and nests of them.

All `Delayed` of one call are one graph: what they share is computed once. Frames have plans of their own, and are
computed one after the other. For users; the client's `compute` and `persist` come here too.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from howdah.engine.delayed import delayed as _delayed
from howdah.engine.delayed.delayed import Delayed, delayed, given, is_lazy, persisted
from howdah.engine.delayed.lowering import lower
from howdah.engine.graph.annotations import NAMES, annotate
from howdah.engine.graph.inputs import NESTS
from howdah.engine.protocol.layers import TaskRange
from howdah.errors import InputError, near

OPTIONS = ("scheduler", "traverse", "progress", *NAMES, "optimize_graph")


def compute(
    *args: Any, scheduler: Any = None, traverse: bool = True, progress: Any = None, **options: Any
) -> tuple[Any, ...]:
    """The values of lazy objects, computed together; anything else is given back as it is.

    Parameters
    ----------
    args : `Delayed`, frames, and (with `traverse`) lists, tuples, sets and dictionaries with such inside.
    scheduler : a `Client`, "threads", "inline", "processes"; None is the current client, or "threads" without one.
    progress : True shows a progress bar; or a function that is called as progress(done tasks, all tasks, layer).
    options : `retries`, `priority`, `resources`, `workers`, `allow_other_workers`, as `annotate` has them, for all
        tasks that are computed, on a cluster.

    Raises
    ------
    Whatever a task raises, as it is, with notes that say which task and where.

    Examples
    --------
    >>> from howdah.engine.delayed.delayed import delayed
    >>> x = delayed(abs)(-1)
    >>> compute(x, {"twice": x + x}, 5, scheduler="inline")
    (1, {'twice': 2}, 5)
    """
    with _annotated(options):
        values = _values([_found(arg, traverse) for arg in args], scheduler, progress)
    return tuple(_given_back(arg, values, traverse) for arg in args)


def persist(*args: Any, scheduler: Any = None, traverse: bool = True, **options: Any) -> tuple[Any, ...]:
    """The same lazy objects, computed (begun, on a cluster) and kept where they were computed while they live.

    Examples
    --------
    >>> from howdah.engine.delayed.delayed import delayed
    >>> x, = persist(delayed(abs)(-1), scheduler="inline")
    >>> (x + 1).compute(scheduler="inline")
    2
    """
    calls = [call for arg in args for call in _found(arg, traverse)]
    with _annotated(options):
        fresh = _persisted(calls, scheduler)
    return tuple(_given_back(arg, fresh, traverse) for arg in args)


def _persisted(calls: list[Any], scheduler: Any) -> dict[int, Any]:
    from howdah.engine.execution.dispatch import persist_graph

    fresh: dict[int, Any] = {id(call): call for call in calls}
    lazy = [call for call in fresh.values() if type(call) is Delayed and call._held is None]
    if lazy:
        graph, places = lower(lazy)
        keys = list(dict.fromkeys(key for key, _ in places))
        held = dict(zip(keys, persist_graph(graph, [graph.full_range(key) for key in keys], scheduler=scheduler)))
        for call, (key, item) in zip(lazy, places):
            fresh[id(call)] = persisted(call, held[key], item)
    for call in calls:
        if type(call) is not Delayed and hasattr(call, "persist"):
            fresh[id(call)] = call.persist(scheduler=scheduler)
    return fresh


def lazy_to_futures(client: Any, values: list[Any], traverse: bool) -> list[Any]:
    """A future on the client's cluster for each value; one that is not lazy is put there as it is."""
    lazy = [value if type(value) is Delayed else delayed(value, traverse=traverse) for value in values]
    known = [call for call in lazy if call._held is None]
    futures: dict[int, Any] = {}
    if known:
        graph, places = lower(known)
        futures = dict(zip(map(id, known), client.started_futures(graph, places)))
    return [futures[id(call)] if id(call) in futures else client.submit(given, _future_of(call)) for call in lazy]


def _future_of(call: Delayed) -> Any:
    held, item = call._held
    return held.results.future(item)


def merge_ranges(places: Sequence[tuple[bytes, int]]) -> list[TaskRange]:
    """Neighbouring items of one layer as one span."""
    spans: list[TaskRange] = []
    for key, item in places:
        if spans and spans[-1].layer == key and spans[-1].stop == item:
            spans[-1] = TaskRange(key, spans[-1].start, item + 1)
        else:
            spans.append(TaskRange(key, item, item + 1))
    return spans


def _values(found: list[list[Any]], scheduler: Any, progress: Any) -> dict[int, Any]:
    from howdah.engine.execution.dispatch import compute_graph

    calls = {id(call): call for part in found for call in part}
    lazy = [call for call in calls.values() if type(call) is Delayed]
    values: dict[int, Any] = {}
    if lazy:
        graph, places = lower(lazy)
        with _shown(progress) as show:
            parts = compute_graph(graph, merge_ranges(places), scheduler=scheduler, progress=show)
        values = dict(zip(map(id, lazy), [value for part in parts for value in part]))
    for mine, call in calls.items():
        if mine not in values:
            values[mine] = call.compute(scheduler=scheduler)
    return values


def _shown(progress: Any) -> Any:
    if progress is True:
        from howdah.engine.client.progress import ProgressBar

        return ProgressBar()
    return nullcontext(progress or None)


def _found(nest: Any, traverse: bool) -> list[Any]:
    """The lazy objects in a nest, in order."""
    if is_lazy(nest):
        return [nest]
    if not traverse or type(nest) not in NESTS:
        return []
    parts = [*nest.keys(), *nest.values()] if type(nest) is dict else list(nest)
    if set(map(type, parts)) <= _delayed.ATOMS:
        return []
    return [call for part in parts for call in _found(part, traverse)]


def _given_back(nest: Any, values: dict[int, Any], traverse: bool) -> Any:
    if id(nest) in values and is_lazy(nest):
        return values[id(nest)]
    if not traverse or type(nest) not in NESTS:
        return nest
    if type(nest) is dict:
        return {_given_back(k, values, True): _given_back(v, values, True) for k, v in nest.items()}
    return type(nest)([_given_back(part, values, True) for part in nest])


def _annotated(options: dict[str, Any]) -> AbstractContextManager[None]:
    options.pop("optimize_graph", None)  # dask's; there is nothing to switch off
    for name in options:
        if name not in NAMES:
            raise InputError(f"compute: unknown keyword {name!r}; {near(name, OPTIONS)}")
    return annotate(**options) if options else nullcontext()
