"""Annotations of tasks beside what they compute: `annotate`, and the options of the same names everywhere.

`TaskOptions` is the only list of them. A leaf, imported by all that makes layers: `delayed` when a call is written,
`dispatch` and the client when work is sent. Local execution ignores them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from contextvars import ContextVar
from typing import Any, NamedTuple, TypedDict, Unpack

from howdah.engine.protocol.layers import MEMORY
from howdah.errors import InputError, bad_value, near


class TaskOptions(TypedDict, total=False):
    """The options of `annotate`, which `compute`, `persist`, `submit`, ... take as well. None is no option."""

    priority: int | None
    retries: int | None
    resources: Mapping[str, float] | None
    workers: str | Iterable[str] | None
    allow_other_workers: bool | None
    timeout: float | None
    hosts: str | Iterable[str] | None
    spread: bool | None
    memory: int | str | None


NAMES = tuple(TaskOptions.__annotations__)
"""The names of all annotations."""


class Annotations(NamedTuple):
    """Checked annotations; None is "not given". `workers` are names, addresses or hosts of workers."""

    priority: int | None = None
    retries: int | None = None
    resources: tuple[tuple[str, float], ...] | None = None
    workers: tuple[str, ...] | None = None
    allow_other_workers: bool | None = None
    timeout: float | None = None
    hosts: tuple[str, ...] | None = None
    spread: bool | None = None
    memory: int | None = None

    def given(self) -> dict[str, Any]:
        """Return those that are given, by name."""
        return {name: value for name, value in self._asdict().items() if value is not None}

    def with_defaults(self, other: Annotations | None) -> Annotations:
        """Return these annotations, with those of `other` where one is not given."""
        return self if other is None else other._replace(**self.given())

    def layer_fields(self) -> tuple[tuple[str, Any], ...]:
        """Return them as fields of the scheduler's `LayerSpec`."""
        given = self._asdict()
        del given["retries"]  # a layer's own
        memory = given.pop("memory")
        if memory:
            given["resources"] = tuple(sorted({**dict(self.resources or ()), MEMORY: float(memory)}.items()))
        return tuple([(name, value) for name, value in given.items() if value])


_active: ContextVar[Annotations | None] = ContextVar("howdah_annotations", default=None)

active_annotations = _active.get
"""Return the annotations of the `annotate` blocks around this point; None outside of any."""


@contextlib.contextmanager
def annotate(**annotations: Unpack[TaskOptions]) -> Iterator[None]:
    """Annotate all tasks that are made in a `with` block; inner blocks add to outer ones, or override them.

    It applies to calls of `delayed` functions that are written in the block, wherever they are computed, and to all
    work sent to a cluster in it (`submit`, `map`, `compute` and `persist` of any collection), where that has no
    annotation of its own.

    Parameters
    ----------
    **annotations
        priority : higher runs first. Default 0.
        retries : how often a task is tried again when it raises.
        resources : amounts of its worker's resources that each task takes while it runs, as ``{"gpu": 1}``.
        workers : names, addresses or hosts of the only workers that may run it: one text, or several.
        allow_other_workers : others may while none of `workers` is there.
        timeout : seconds that each task may take once it was begun; then it fails with TaskTimeout.
        hosts : names of hosts where tasks should rather run, best first; no effect beside `workers`, `resources` and
        `memory`.
        spread : True distributes the tasks of each layer over all workers, wherever their inputs are.
        memory : what a task needs at its peak, as bytes or "2GiB": no worker runs more of them at once than its memory
        limit has room for.

    Returns
    -------
    context manager

    Raises
    ------
    InputError : an unknown name, or a value that is not valid for it.

    Examples
    --------
    >>> from howdah.engine.delayed.delayed import delayed
    >>> with annotate(resources={"gpu": 1}, retries=2):
    ...     model = delayed(sum)([1, 2])
    >>> (model + 1).compute(scheduler="inline")
    4
    """
    token = _active.set(parse_annotations("annotate", **annotations).with_defaults(_active.get()))
    try:
        yield
    finally:
        _active.reset(token)


def get_annotations() -> dict[str, Any]:
    """Return the annotations of the `annotate` blocks around this point.

    Returns
    -------
    dict

    Examples
    --------
    >>> with annotate(priority=1, workers="node7"), annotate(priority=2):
    ...     get_annotations()
    {'priority': 2, 'workers': ('node7',)}
    """
    given = (_active.get() or Annotations()).given()
    if "resources" in given:
        given["resources"] = dict(given["resources"])
    return given


def parse_annotations(call: str, **given: Any) -> Annotations:
    """Return checked options; an error names `call`. None is as if left out."""
    for name in given:
        if name not in NAMES:
            raise InputError(f"{call}: unknown annotation {name!r}; {near(name, NAMES)}")
    given = {name: value for name, value in given.items() if value is not None}
    if not given:
        return _NOTHING
    for name in ("retries", "priority"):
        value = given.get(name, 0)
        if not isinstance(value, int) or isinstance(value, bool):
            raise bad_value(name, value, "give a whole number")
        if name == "retries" and value < 0:
            raise bad_value(name, value, "give a number from 0 on")
    for name in ("allow_other_workers", "spread"):
        if not isinstance(given.get(name), bool | None):
            raise bad_value(name, given[name], "give True or False")
    return Annotations(
        given.get("priority"),
        given.get("retries"),
        _resources(given),
        _texts(given, "workers", "give names, addresses or hosts of workers: one text, or several"),
        given.get("allow_other_workers"),
        parse_seconds("timeout", given["timeout"]) if "timeout" in given else None,
        _texts(given, "hosts", "give names of hosts: one text, or several"),
        given.get("spread"),
        parse_bytes("memory", given["memory"]) if "memory" in given else None,
    )


def parse_seconds(field: str, given: Any) -> float:
    """Return the time limit of a task, in seconds."""
    if not isinstance(given, int | float) or isinstance(given, bool) or not 0 < given < float("inf"):
        raise bad_value(field, given, "give the seconds that a task may take, above 0")
    return float(given)


def _resources(options: Mapping[str, Any]) -> tuple[tuple[str, float], ...] | None:
    return parse_resources("resources", options["resources"]) if "resources" in options else None


def parse_resources(field: str, given: Any) -> tuple[tuple[str, float], ...]:
    """Return a mapping of names to amounts as pairs, in the order of the names."""
    if not isinstance(given, Mapping):
        raise bad_value(field, given, "give amounts by name, as in {'gpu': 1}")
    for name, amount in given.items():
        if not isinstance(name, str) or not name:
            raise bad_value(field, name, "name resources by texts")
        if not isinstance(amount, int | float) or isinstance(amount, bool) or not 0 < amount < float("inf"):
            raise bad_value(f"{field}[{name!r}]", amount, "give an amount above 0")
    return tuple(sorted((name, float(amount)) for name, amount in given.items()))


def _texts(options: Mapping[str, Any], field: str, remedy: str) -> tuple[str, ...] | None:
    given = options.get(field)
    if given is None:
        return None
    names = [given] if isinstance(given, str) else list(given) if isinstance(given, Iterable) else []
    if not names or not all(isinstance(name, str) and name for name in names):
        raise bad_value(field, given, remedy)
    return tuple(dict.fromkeys(names))


def parse_bytes(field: str, given: Any) -> int:
    """Return a size in bytes, from a number or a text with a unit.

    >>> parse_bytes("memory", "1.5 GiB")
    1610612736
    """
    if isinstance(given, int) and not isinstance(given, bool) and given > 0:
        return given
    if isinstance(given, str):
        number = given.strip().rstrip("BbIiKkMmGgTt")
        unit = given.strip()[len(number) :].upper()
        with contextlib.suppress(KeyError, ValueError):
            size = int(float(number) * _UNITS[unit])
            if size > 0:
                return size
    raise bad_value(field, given, "write bytes, or a number with a unit, as in '2GiB'")


_UNITS = {"": 1, "B": 1, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40, "KB": 10**3, "MB": 10**6, "GB": 10**9}


_NOTHING = Annotations()
