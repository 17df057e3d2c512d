"""What is said about tasks beside what they compute: `annotate`, and the options of the same names everywhere.

A leaf, imported by all that makes layers: `delayed` when a call is written, `execute.py` and the client when work is
sent. Local executors have no use for any of it and pass it by.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from contextvars import ContextVar
from typing import Any, NamedTuple

from howdah.errors import InputError, bad_value, near

NAMES = (
    "priority", "retries", "resources", "workers", "allow_other_workers", "timeout", "hosts", "spread", "memory",
)  # fmt: skip

MEMORY = "memory"
"""The resource of which every worker has as much as its memory limit, without a word."""


class Annotations(NamedTuple):
    """Checked annotations; None is "nothing was said". `only` are names, addresses or hosts of workers."""

    priority: int | None = None
    retries: int | None = None
    resources: tuple[tuple[str, float], ...] | None = None
    workers: tuple[str, ...] | None = None
    allow_other_workers: bool | None = None
    timeout: float | None = None
    hosts: tuple[str, ...] | None = None
    spread: bool | None = None
    memory: int | None = None

    def with_defaults(self, other: Annotations | None) -> Annotations:
        """What is said here, else what `other` says."""
        said = {name: value for name, value in self._asdict().items() if value is not None}
        return self if other is None else other._replace(**said)

    def layer_fields(self) -> tuple[tuple[str, Any], ...]:
        """As fields of the scheduler's `LayerSpec`."""
        said = self._asdict()
        del said["retries"]  # a layer's own
        memory = said.pop("memory")
        if memory:
            said["resources"] = tuple(sorted({**dict(self.resources or ()), MEMORY: float(memory)}.items()))
        return tuple([(name, value) for name, value in said.items() if value])


_notes: ContextVar[Annotations | None] = ContextVar("howdah_annotations", default=None)

active_annotations = _notes.get
"""The notes of the `annotate` blocks that are entered here; None outside of any."""


@contextlib.contextmanager
def annotate(**annotations: Any) -> Iterator[None]:
    """Say something about all tasks that are made in a `with` block; blocks inside of it say more, or otherwise.

    It holds for calls of `delayed` functions that are written in it, wherever they are computed, and for all that is
    given to a cluster in it (`submit`, `map`, `compute` and `persist` of any collection), where that says nothing.

    Parameters
    ----------
    priority : higher runs first. Default 0.
    retries : how often a task is tried again when it raises.
    resources : amounts of its worker's resources that each task takes while it runs, as ``{"gpu": 1}``.
    workers : names, addresses or hosts of the only workers that may run it: one text, or several.
    allow_other_workers : others may while none of `workers` is there.
    timeout : seconds that each task may take once it was begun; then it fails with TaskTimeout.
    hosts : names of hosts where tasks should rather run, best first; of no effect beside `workers`, `resources` and
        `memory`.
    spread : True shares the tasks of each layer out among all workers, wherever their inputs lie.
    memory : what a task needs at its peak, as bytes or "2GiB": no worker runs more of them at once than its memory
        limit has room for.

    Raises
    ------
    InputError : a name that is none of these, or a value that cannot be.

    Examples
    --------
    >>> from howdah.engine.delayed.delayed import delayed
    >>> with annotate(resources={"gpu": 1}, retries=2):
    ...     model = delayed(sum)([1, 2])
    >>> (model + 1).compute(scheduler="inline")
    4
    """
    token = _notes.set(parse_annotations("annotate", **annotations).with_defaults(_notes.get()))
    try:
        yield
    finally:
        _notes.reset(token)


def get_annotations() -> dict[str, Any]:
    """What the `annotate` blocks that are entered here say.

    >>> with annotate(priority=1, workers="node7"), annotate(priority=2):
    ...     get_annotations()
    {'priority': 2, 'workers': ('node7',)}
    """
    notes = _notes.get() or Annotations()
    said: dict[str, Any] = {"priority": notes.priority, "retries": notes.retries, "workers": notes.workers}
    said |= {
        "resources": dict(notes.resources) if notes.resources else None,
        "allow_other_workers": notes.allow_other_workers,
        "timeout": notes.timeout,
        "hosts": notes.hosts,
        "spread": notes.spread,
        "memory": notes.memory,
    }
    return {name: value for name, value in said.items() if value is not None}


def parse_annotations(call: str, **given: Any) -> Annotations:
    """Options as notes; `call` is what the error says when one does not exist. None is "nothing was said"."""
    for name in given:
        if name not in NAMES:
            raise InputError(f"{call}: unknown annotation {name!r}; {near(name, NAMES)}")
    said = {name: value for name, value in given.items() if value is not None}
    if not said:
        return _NOTHING
    for name in ("retries", "priority"):
        value = said.get(name, 0)
        if not isinstance(value, int) or isinstance(value, bool):
            raise bad_value(name, value, "give a whole number")
        if name == "retries" and value < 0:
            raise bad_value(name, value, "give a number from 0 on")
    for name in ("allow_other_workers", "spread"):
        if not isinstance(said.get(name), bool | None):
            raise bad_value(name, said[name], "give True or False")
    return Annotations(
        said.get("priority"),
        said.get("retries"),
        _resources(said),
        _texts(said, "workers", "give names, addresses or hosts of workers: one text, or several"),
        said.get("allow_other_workers"),
        parse_seconds("timeout", said["timeout"]) if "timeout" in said else None,
        _texts(said, "hosts", "give names of hosts: one text, or several"),
        said.get("spread"),
        parse_bytes("memory", said["memory"]) if "memory" in said else None,
    )


def parse_seconds(field: str, given: Any) -> float:
    """The limit of a task's time."""
    if not isinstance(given, int | float) or isinstance(given, bool) or not 0 < given < float("inf"):
        raise bad_value(field, given, "give the seconds that a task may take, above 0")
    return float(given)


def _resources(said: Mapping[str, Any]) -> tuple[tuple[str, float], ...] | None:
    return parse_resources("resources", said["resources"]) if "resources" in said else None


def parse_resources(field: str, given: Any) -> tuple[tuple[str, float], ...]:
    """A mapping of names to amounts, in the order of the names."""
    if not isinstance(given, Mapping):
        raise bad_value(field, given, "give amounts by name, as in {'gpu': 1}")
    for name, amount in given.items():
        if not isinstance(name, str) or not name:
            raise bad_value(field, name, "name resources by texts")
        if not isinstance(amount, int | float) or isinstance(amount, bool) or not 0 < amount < float("inf"):
            raise bad_value(f"{field}[{name!r}]", amount, "give an amount above 0")
    return tuple(sorted((name, float(amount)) for name, amount in given.items()))


def _texts(said: Mapping[str, Any], field: str, remedy: str) -> tuple[str, ...] | None:
    given = said.get(field)
    if given is None:
        return None
    names = [given] if isinstance(given, str) else list(given) if isinstance(given, Iterable) else []
    if not names or not all(isinstance(name, str) and name for name in names):
        raise bad_value(field, given, remedy)
    return tuple(dict.fromkeys(names))


def parse_bytes(field: str, given: Any) -> int:
    """A size: bytes, or a text with a unit.

    >>> bytes_of("memory", "1.5 GiB")
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
