"""What a `Delayed` holds, and the functions by which the modules of this folder read it.

Every public attribute of a `Delayed` is an attribute of its value, and a task of its own. So its own fields are
private, and the other modules read them by the getters below: several at once where that is done for each of many
tasks. Internal to `engine.delayed`.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import Any, TypeVar

from howdah.engine.graph.annotations import Annotations
from howdah.engine.graph.graph import PersistedLayer

ATOMS = frozenset({int, float, str, bytes, bool, type(None), complex})
"""Types of values that contain no others."""


class LazyTask:
    """The fields of a `Delayed`, which is the only subclass that users see.

    Written once, while the object is of a class without `Delayed.__setattr__`: `object.__setattr__` would take six
    times as long.
    """

    __slots__ = (
        "__weakref__", "_annotations", "_args", "_deps", "_fn", "_kwargs", "_level", "_name", "_nested", "_nout",
        "_persisted", "_pure", "_token",
    )  # fmt: skip

    _fn: Callable[..., Any]
    _args: tuple[Any, ...]
    _kwargs: dict[str, Any]
    _deps: tuple[LazyTask, ...]
    """The tasks in the arguments, in order; `_args` itself where there is nothing else in it."""
    _nested: bool
    """Whether a task stands inside a container in the arguments."""
    _annotations: Annotations | None
    _level: int
    """The longest path to a task without inputs."""
    _name: str
    _nout: int | None
    _pure: bool
    _persisted: tuple[PersistedLayer, int] | None
    """The layer that holds the result already, and the item there."""
    _token: bytes


Get = Callable[[Any], Any]

links_of: Get = attrgetter("_persisted", "_deps")
"""(persisted, dependencies): what a walk over a graph needs of each task."""

call_of: Get = attrgetter("_args", "_level", "_fn", "_name", "_annotations", "_pure")
"""(args, level, function, name, annotations, pure): what decides the layer of a task."""

args_of: Callable[[Any], tuple[Any, ...]] = attrgetter("_args")
kwargs_of: Callable[[Any], dict[str, Any]] = attrgetter("_kwargs")
deps_of: Callable[[Any], tuple[Any, ...]] = attrgetter("_deps")
fn_of: Callable[[Any], Callable[..., Any]] = attrgetter("_fn")
level_of: Callable[[Any], int] = attrgetter("_level")
name_of: Callable[[Any], str] = attrgetter("_name")
token_of: Callable[[Any], bytes] = attrgetter("_token")
is_nested: Callable[[Any], bool] = attrgetter("_nested")
annotations_of: Callable[[Any], Annotations | None] = attrgetter("_annotations")
persisted_of: Callable[[Any], tuple[PersistedLayer, int] | None] = attrgetter("_persisted")

_FIELDS = tuple(name for name in LazyTask.__slots__ if name != "__weakref__")
_fields_of: Callable[[Any], tuple[Any, ...]] = attrgetter(*_FIELDS)

Task = TypeVar("Task", bound=LazyTask)


def with_result(task: Task, layer: PersistedLayer, item: int) -> Task:
    """Return a copy of `task` whose result is item number `item` of a persisted layer; it needs no inputs."""
    fields = dict(zip(_FIELDS, _fields_of(task)))
    fields |= {"_args": (), "_kwargs": {}, "_deps": (), "_nested": False, "_level": 0, "_persisted": (layer, item)}
    made: Any = object.__new__(LazyTask)
    for name, value in fields.items():
        setattr(made, name, value)
    made.__class__ = type(task)
    copied: Task = made
    return copied


def is_lazy(value: Any) -> bool:
    """Whether `value` is an object of howdah that `compute` turns into data."""
    kind = type(value)
    return issubclass(kind, LazyTask) or (
        kind.__module__.startswith("howdah.engine.") and callable(getattr(kind, "compute", None))
    )
