"""`compute` and `persist` for any mix of lazy objects: `Delayed`, frames, and containers of them.

All `Delayed` of one call are one graph: what they share is computed once. Frames have plans of their own, and are
computed one after the other. For users; the client's `compute` and `persist` call these too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Unpack

from howdah.engine.client.progress_block import shown
from howdah.engine.delayed.lowering import lower
from howdah.engine.delayed.task import ATOMS, LazyTask, is_lazy, persisted_of, with_result
from howdah.engine.execution.dispatch import compute_graph, persist_graph
from howdah.engine.graph.annotations import NAMES, TaskOptions, annotate
from howdah.engine.graph.nests import is_nest, parts_of, with_keys, with_parts
from howdah.engine.protocol.layers import TaskRange
from howdah.errors import InputError, near

CALL_OPTIONS = ("scheduler", "traverse", "progress", "optimize_graph")
"""Keywords of `compute` beside those of `annotate`."""


def compute(
    *args: Any,
    scheduler: Any = None,
    traverse: bool = True,
    progress: Any = None,
    optimize_graph: Any = None,
    **options: Unpack[TaskOptions],
) -> tuple[Any, ...]:
    """Compute lazy objects together and return their values; anything else is returned as it is.

    Parameters
    ----------
    *args
        `Delayed`, frames, and (with `traverse`) lists, tuples, sets and dictionaries with such inside.
    scheduler
        A `Client`, "threads", "inline", "processes"; None is the current client, or "threads" without one.
    traverse
        Look for lazy objects inside of containers.
    progress
        True shows a progress bar; or a function that is called as progress(done tasks, all tasks, layer).
    optimize_graph
        Accepted for dask compatibility; ignored.
    **options
        `retries`, `priority`, `resources`, `workers`, ... of `annotate`, for all tasks that are computed, on a cluster.

    Returns
    -------
    tuple
        One value for each of `args`.

    Raises
    ------
    InputError : an unknown option. An exception of a task is raised as it is, with notes that name the task and its
        worker.

    Examples
    --------
    >>> from howdah.engine.delayed.delayed import delayed
    >>> x = delayed(abs)(-1)
    >>> compute(x, {"twice": x + x}, 5, scheduler="inline")
    (1, {'twice': 2}, 5)
    """
    with _annotated(options):
        values = _values([lazy_parts(arg, traverse) for arg in args], scheduler, progress)
    return tuple(_replaced(arg, values, traverse) for arg in args)


def persist(
    *args: Any,
    scheduler: Any = None,
    traverse: bool = True,
    optimize_graph: Any = None,
    **options: Unpack[TaskOptions],
) -> tuple[Any, ...]:
    """Compute lazy objects (begin to, on a cluster) and keep the results where they are while they are referenced.

    Parameters
    ----------
    *args
        As for `compute`.
    scheduler
        As for `compute`.
    traverse
        Look for lazy objects inside of containers.
    optimize_graph
        Accepted for dask compatibility; ignored.
    **options
        As for `compute`.

    Returns
    -------
    tuple
        The same lazy objects, which refer to the results.

    Examples
    --------
    >>> from howdah.engine.delayed.delayed import delayed
    >>> x, = persist(delayed(abs)(-1), scheduler="inline")
    >>> (x + 1).compute(scheduler="inline")
    2
    """
    calls = [call for arg in args for call in lazy_parts(arg, traverse)]
    with _annotated(options):
        fresh = _persisted(calls, scheduler)
    return tuple(_replaced(arg, fresh, traverse) for arg in args)


def lazy_parts(nest: Any, traverse: bool) -> list[Any]:
    """Return the lazy objects in a nest of containers, in order."""
    if is_lazy(nest):
        return [nest]
    if not traverse or type(nest) in ATOMS or not is_nest(nest):
        return []
    parts = [*nest.keys(), *nest.values()] if isinstance(nest, dict) else parts_of(nest)
    if set(map(type, parts)) <= ATOMS:
        return []
    return [call for part in parts for call in lazy_parts(part, traverse)]


def merge_ranges(places: Sequence[tuple[bytes, int]]) -> list[TaskRange]:
    """Return the items as ranges; neighbouring items of one layer become one.

    >>> [(r.start, r.stop) for r in merge_ranges([(b"a", 0), (b"a", 1), (b"b", 2)])]
    [(0, 2), (2, 3)]
    """
    ranges: list[TaskRange] = []
    for key, item in places:
        if ranges and ranges[-1].layer == key and ranges[-1].stop == item:
            ranges[-1] = TaskRange(key, ranges[-1].start, item + 1)
        else:
            ranges.append(TaskRange(key, item, item + 1))
    return ranges


def _persisted(calls: list[Any], scheduler: Any) -> dict[int, Any]:
    fresh: dict[int, Any] = {id(call): call for call in calls}
    lazy = [call for call in fresh.values() if isinstance(call, LazyTask) and persisted_of(call) is None]
    if lazy:
        graph, places = lower(lazy)
        keys = list(dict.fromkeys(key for key, _ in places))
        layers = dict(zip(keys, persist_graph(graph, [graph.full_range(key) for key in keys], scheduler=scheduler)))
        for call, (key, item) in zip(lazy, places):
            fresh[id(call)] = with_result(call, layers[key], item)
    for call in calls:
        if not isinstance(call, LazyTask) and hasattr(call, "persist"):
            fresh[id(call)] = call.persist(scheduler=scheduler)
    return fresh


def _values(found: list[list[Any]], scheduler: Any, progress: Any) -> dict[int, Any]:
    calls = {id(call): call for part in found for call in part}
    lazy = [call for call in calls.values() if isinstance(call, LazyTask)]
    values: dict[int, Any] = {}
    with shown(progress):
        if lazy:
            graph, places = lower(lazy)
            parts = compute_graph(graph, merge_ranges(places), scheduler=scheduler)
            values = dict(zip(map(id, lazy), [value for part in parts for value in part]))
        for mine, call in calls.items():
            if mine not in values:
                values[mine] = call.compute(scheduler=scheduler)
    return values


def _replaced(nest: Any, values: dict[int, Any], traverse: bool) -> Any:
    """Return `nest` with its lazy objects replaced by their values."""
    if id(nest) in values and is_lazy(nest):
        return values[id(nest)]
    if not traverse or type(nest) in ATOMS or not is_nest(nest):
        return nest
    if isinstance(nest, dict):
        nest = with_keys(nest, lambda key: _replaced(key, values, True))
    return with_parts(nest, [_replaced(part, values, True) for part in parts_of(nest)])


def _annotated(options: Mapping[str, Any]) -> AbstractContextManager[None]:
    for name in options:
        if name not in NAMES:
            raise InputError(f"compute: unknown keyword {name!r}; {near(name, [*CALL_OPTIONS, *NAMES])}")
    return annotate(**options) if options else nullcontext()
