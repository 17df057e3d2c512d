"""Graphs written as dictionaries, as dask's are: `Client.get` makes `Delayed` of them.

``{"x": 1, "y": (inc, "x"), "z": (sum, ["x", "y", (inc, 10)])}``: a tuple that begins with a function is a call, a key
stands for its value, lists hold either; everything else is itself. dask's own task objects (`dask._task_spec`) are
calls too, so dask's collections compute with ``scheduler=client.get``.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping
from typing import Any

from howdah.engine.delayed.delayed import Delayed, literal_task, new_task
from howdah.engine.delayed.task import ATOMS
from howdah.engine.graph.adapters import identity
from howdah.errors import InputError, near


def from_dict(graph: Any, keys: Any) -> Any:
    """Return `keys` (one, or a nest of lists) with each replaced by its entry: a `Delayed`, or a plain value.

    Raises
    ------
    InputError : a key is not in the graph, or keys depend on each other in a cycle.

    Examples
    --------
    >>> from_dict({"x": 1, "y": (abs, -5), "z": (sum, ["x", "y"])}, "z").compute(scheduler="inline")
    6
    >>> from_dict({"a": (abs, "b"), "b": (abs, "a")}, "a")
    Traceback (most recent call last):
    howdah.errors.InputError: the graph has a cycle: 'a' needs 'b' needs 'a'
    """
    if hasattr(graph, "__dask_graph__"):
        graph = graph.__dask_graph__()
    if not isinstance(graph, Mapping):
        raise InputError(f"dsk: got {type(graph).__name__}: give a dictionary of keys and calls")
    whole = dict(graph)
    roots = list(flatten_keys(keys))
    for key in roots:
        if not _is_key(key, whole):
            raise InputError(f"keys: {key!r} is not in the graph; {near(str(key), [str(k) for k in whole])}")
    made: dict[Hashable, Any] = {}
    for key in _in_order(whole, roots):
        made[key] = _made(whole[key], made, str(key[0] if isinstance(key, tuple) and key else key))
    return nest_like(keys, made)


def flatten_keys(keys: Any) -> Iterator[Any]:
    """Yield the keys of a nest of lists."""
    if isinstance(keys, list | set):
        for key in keys:
            yield from flatten_keys(key)
    else:
        yield keys


def nest_like(keys: Any, made: Mapping[Hashable, Any]) -> Any:
    """Return the objects made of the keys, in the form of the nest."""
    return [nest_like(key, made) for key in keys] if isinstance(keys, list | set) else made[keys]


def _in_order(graph: Mapping[Hashable, Any], roots: list[Any]) -> Iterator[Hashable]:
    """Yield every key that is needed, after those that it depends on."""
    done: set[Hashable] = set()
    path: dict[Hashable, Iterator[Hashable]] = {}  # from a root down to the present key
    for root in roots:
        if root not in done:
            path[root] = _needs(graph[root], graph)
        while path:
            key, rest = next(reversed(path.items()))
            below = next(rest, _END)
            if below is _END:
                del path[key]
                done.add(key)
                yield key
            elif below in path:
                names = list(map(repr, path))
                circle = [*names[names.index(repr(below)) :], repr(below)]
                shown = circle if len(circle) <= 12 else [*circle[:6], f"... ({len(circle) - 11} more)", *circle[-5:]]
                raise InputError(f"the graph has a cycle: {' needs '.join(shown)}")
            elif below not in done:
                path[below] = _needs(graph[below], graph)


_END: Any = object()


def _is_key(value: Any, graph: Mapping[Hashable, Any]) -> bool:
    try:
        return value in graph
    except TypeError:  # it cannot be hashed
        return False


def _is_call(value: Any) -> bool:
    return type(value) is tuple and bool(value) and callable(value[0])


def _is_node(value: Any) -> bool:
    """Whether it is a task object of dask's."""
    return type(value).__module__ == "dask._task_spec" and callable(value)


def _needs(value: Any, graph: Mapping[Hashable, Any]) -> Iterator[Hashable]:
    if _is_node(value):
        for key in value.dependencies:
            if key not in graph:
                raise InputError(f"the graph has no {key!r}, which {value.key!r} needs")
            yield key
    elif _is_call(value):
        for part in value[1:]:
            yield from _needs(part, graph)
    elif type(value) is list:
        for part in value:
            yield from _needs(part, graph)
    elif _is_key(value, graph):
        yield value


def _made(value: Any, made: Mapping[Hashable, Any], name: str) -> Any:
    """Return the object of a graph's entry, whose inputs are made already."""
    if _is_node(value):
        inputs = {key: made[key] for key in value.dependencies}
        return new_task(_run_node, (value, inputs), {}, name, None, False)
    if _is_call(value):
        fn: Callable[..., Any] = value[0]
        args = tuple([_argument(part, made) for part in value[1:]])
        return new_task(fn, args, {}, getattr(fn, "__name__", name), None, False)
    argument = _argument(value, made)
    if type(argument) in ATOMS or type(argument) is Delayed:
        return argument
    return (
        new_task(identity, (argument,), {}, name, None, False)
        if type(value) is list
        else literal_task(identity, value, name, None)
    )


def _argument(value: Any, made: Mapping[Hashable, Any]) -> Any:
    if _is_call(value) or _is_node(value):
        return _made(value, made, "task")
    if type(value) is list:
        return [_argument(part, made) for part in value]
    return made[value] if _is_key(value, made) else value


def _run_node(node: Any, inputs: dict[Hashable, Any]) -> Any:
    return node(inputs)
