"""The fields of a specification: accepted types, names of other tools, and one check for each kind of value.

For this folder and `submit`; pure. A check takes the path of a value (a field, or `files[2]`, `env_vars.NAME`) and what
was given for it, and returns the value that is stored. A wrong value is a `SpecificationError` with path and remedy.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypedDict

from howdah.errors import SpecificationError, bad_value, near
from howdah.yarn_app.specification.units import format_memory, parse_count, parse_memory

Paths = Mapping[str, str] | Iterable[str]


class SpecificationFields(TypedDict, total=False):
    """What `Specification`, `YarnCluster` and `Specification.replace` accept as keywords."""

    name: str
    queue: str
    tags: Iterable[str]
    environment: str
    n_workers: int
    worker_memory: str
    worker_cores: int
    worker_resources: Mapping[str, float]
    driver_memory: str
    driver_cores: int
    master_memory: str
    master_cores: int
    deploy_mode: str
    files: Paths
    archives: Paths
    py_files: Paths
    env_vars: Mapping[str, str]
    conf: Mapping[str, str]
    node_label: str
    locality: str
    lease: float | str
    max_attempts: int
    max_failures: int | None
    start_timeout: float | str
    # Names of dask-yarn and Spark for some of these: see ALIASES.
    worker_vcores: int
    num_executors: int
    executor_memory: str
    executor_cores: int
    scheduler_memory: str
    scheduler_vcores: int
    scheduler_cores: int
    driver_vcores: int
    worker_env: Mapping[str, str]
    worker_restarts: int
    env: str


ALIASES = {
    "worker_vcores": "worker_cores",
    "num_executors": "n_workers",
    "executor_memory": "worker_memory",
    "executor_cores": "worker_cores",
    "scheduler_memory": "master_memory",
    "scheduler_vcores": "master_cores",
    "scheduler_cores": "master_cores",
    "driver_vcores": "driver_cores",
    "worker_env": "env_vars",
    "worker_restarts": "max_failures",
    "env": "environment",
}
"""Names of dask-yarn and Spark, and the field of each. (`deploy_mode` takes their `remote` and `local` too.)"""

RESERVED = frozenset({"environment", "howdah_app", "logs", "tmp"})
"""Names in a container's working folder that howdah uses itself."""

_NOT_OFFERED = {
    "worker_class": "howdah has one kind of worker: leave it out",
    "worker_options": "howdah has one kind of worker: leave it out",
    "worker_gpus": "YARN is not asked for GPUs: choose nodes by node_label, and write worker_resources={'gpu': 1}",
    "scheduler_gpus": "the scheduler uses no GPU: leave it out",
    "host": "the scheduler runs in YARN and listens on its node's address: leave it out",
    "port": "the scheduler runs in YARN and takes a free port: leave it out",
    "dashboard_address": "the dashboard is shown through YARN's proxy: leave it out",
    "skein_client": "howdah makes its own connection to YARN: leave it out",
    "user": "submitting as another user is not offered: run as that user",
    "asynchronous": "howdah's clients block, and may be called from threads: leave it out",
    "loop": "howdah has its own event loop: leave it out",
}
_NAME = re.compile(r"[A-Za-z0-9_.][\w.\-]*")

Check = Callable[[str, Any], Any]


def rename_aliases(given: Mapping[str, Any], known: Sequence[str]) -> dict[str, Any]:
    """Return the fields under their own names.

    Raises
    ------
    SpecificationError
        A name is unknown or refused, or a field is given under two names.

    Examples
    --------
    >>> rename_aliases({"executor_cores": 2}, ["worker_cores"])
    {'worker_cores': 2}
    """
    found: dict[str, Any] = {}
    for name, value in given.items():
        field = ALIASES.get(name, name)
        if field in _NOT_OFFERED:
            raise bad_value(name, value, _NOT_OFFERED[field], SpecificationError)
        if field not in known:
            raise bad_value(
                name, value, f"there is no such field; {near(name, [*known, *ALIASES])}", SpecificationError
            )
        if field in found:
            raise bad_value(name, value, f"{field!r} is given twice, also under another name", SpecificationError)
        found[field] = value
    return found


# -- one check for each kind of value


def text(path: str, value: object) -> str:
    """Check a text that is not empty."""
    if not isinstance(value, str) or not value.strip():
        raise bad_value(path, value, "give a text that is not empty", SpecificationError)
    return value


def optional_text(path: str, value: object) -> str:
    """Check a text; None and "" are "" both."""
    return "" if value in (None, "") else text(path, value)


def application_name(path: str, value: object) -> str:
    """Check a name that YARN and HDFS accept."""
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise bad_value(
            path, value, "give letters, digits, '.', '_' and '-', as in 'nightly-revenue'", SpecificationError
        )
    return value


def tags(path: str, value: object) -> tuple[str, ...]:
    """Check YARN tags; return them in lower case, sorted, each once.

    >>> tags("tags", "b, A,b")
    ('a', 'b')
    """
    given = value.split(",") if isinstance(value, str) else value
    if not isinstance(given, Iterable) or isinstance(given, Mapping):
        raise bad_value(path, value, "give a list of words", SpecificationError)
    found = [str(tag).strip().lower() for tag in given]  # YARN keeps tags in lower case
    for index, tag in enumerate(found):
        if len(tag) > 100 or not tag.isascii():
            raise bad_value(f"{path}[{index}]", tag, "a tag has at most 100 ASCII characters", SpecificationError)
    return tuple(sorted({*found} - {""}))


def mapping(path: str, value: object) -> dict[str, str]:
    """Check texts by name; numbers become texts.

    >>> mapping("conf", {"dfs.replication": 1})
    {'dfs.replication': '1'}
    """
    if not isinstance(value, Mapping):
        raise bad_value(path, value, "give names and values, as in {'KEY': 'value'}", SpecificationError)
    for name, entry in value.items():
        if not isinstance(name, str) or not name or "=" in name:
            raise bad_value(path, name, "a name is a text without '='", SpecificationError)
        if isinstance(entry, bool) or not isinstance(entry, (str, int, float)):
            raise bad_value(f"{path}.{name}", entry, "give a text (in YAML, quote it)", SpecificationError)
    return {name: str(entry) for name, entry in value.items()}


def amounts(path: str, value: object) -> dict[str, float]:
    """Check amounts above 0 by name."""
    found: dict[str, float] = {}
    for name, amount in mapping(path, value).items():
        try:
            found[name] = float(amount)
        except ValueError:
            found[name] = 0.0
        if not 0 < found[name] < float("inf") or set(name) & set(", "):
            raise bad_value(f"{path}.{name}", amount, "give an amount above 0", SpecificationError)
    return found


def paths(path: str, value: object) -> dict[str, str]:
    """Return sources by their name in the container, from a mapping or a list of 'path#name' and 'path' as Spark's.

    >>> paths("files", ["data/a.csv", "b.csv#c"])
    {'a.csv': 'data/a.csv', 'c': 'b.csv'}
    """
    if isinstance(value, Mapping):
        entries = [(f"{path}.{name}", str(name), str(source)) for name, source in value.items()]
    elif isinstance(value, Iterable):
        listed = value.split(",") if isinstance(value, str) else value
        entries = [
            (f"{path}[{index}]", *_named(f"{path}[{index}]", str(entry)))
            for index, entry in enumerate(listed)
            if str(entry).strip()
        ]
    else:
        raise bad_value(path, value, "give a list of paths, 'path' or 'path#name'", SpecificationError)
    found: dict[str, str] = {}
    for where, name, source in entries:
        if not name or "/" in name or name in (".", ".."):
            raise bad_value(where, name, "a name in the container has no '/': give 'path#name'", SpecificationError)
        if name in RESERVED:
            raise bad_value(where, name, "howdah uses that name itself: give 'path#othername'", SpecificationError)
        if found.setdefault(name, source) != source:
            raise bad_value(where, source, f"two sources are called {name!r}: give 'path#name'", SpecificationError)
    return found


def _named(path: str, entry: str) -> tuple[str, str]:
    source, mark, name = entry.strip().partition("#")
    if not source or (mark and not name):
        raise bad_value(path, entry, "give 'path' or 'path#name'", SpecificationError)
    return name or source.rstrip("/").rsplit("/", 1)[-1], source


def memory(path: str, value: object) -> str:
    """Check a size of memory; return it as `format_memory` writes it."""
    return format_memory(parse_memory(path, value))


def failures(path: str, value: object) -> int | None:
    """Check a number of failures: -1 is no limit, None the default."""
    return None if value is None else parse_count(path, value, least=-1)


def choice(*known: str, also: Mapping[str, str] | None = None) -> Check:
    """Return a check for one of these words; `also` maps other tools' words to them."""

    def check(path: str, value: object) -> str:
        value = (also or {}).get(str(value), value)
        if value not in known:
            raise bad_value(path, value, "give " + " or ".join(repr(k) for k in known), SpecificationError)
        return str(value)

    return check


def count(least: int) -> Check:
    """Return a check for a whole number that is at least `least`."""
    return lambda path, value: parse_count(path, value, least)
