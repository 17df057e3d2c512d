"""Specification: what one howdah application asks of YARN, checked when it is written.

For users (`Specification`, `YarnCluster(**fields)`, YAML files) and for `howdah submit`, whose options are these
fields. It promises: an object that exists is valid in itself (whether the cluster can satisfy it is
`preflight`'s question); a wrong field or value is a `SpecificationError` that names it and the remedy;
`from_yaml(to_yaml())` is the same object.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import yaml

from howdah.errors import SpecificationError, bad_value, near
from howdah.yarn_app.specification.units import format_memory, parse_count, parse_memory, parse_seconds, with_overhead

# dask-yarn's and Spark's words for our fields. `deploy_mode: remote` and `local` are translated by value.
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
_NOT_OFFERED = {
    "worker_class": "howdah has one kind of worker: leave it out",
    "worker_options": "howdah has one kind of worker: leave it out",
    "worker_gpus": "YARN is not asked for GPUs: choose nodes by node_label, and write worker_resources={'gpu': 1}",
    "scheduler_gpus": "the scheduler uses no GPU: leave it out",
    "host": "the scheduler runs in YARN and listens on its node's address: leave it out",
    "port": "the scheduler runs in YARN and takes a free port: leave it out",
    "dashboard_address": "the dashboard is shown through YARN's proxy: leave it out",
    "skein_client": "howdah makes its own connection to YARN: leave it out",
    "user": "submitting as somebody else is not offered: run as that user",
    "asynchronous": "howdah's clients block, and may be called from threads: leave it out",
    "loop": "howdah has its own event loop: leave it out",
}
_NAME = re.compile(r"[A-Za-z0-9_.][\w.\-]*")


def _text(field: str, value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise bad_value(field, value, "give a text that is not empty", SpecificationError)
    return value


def _tags(field: str, value: object) -> tuple[str, ...]:
    given = value.split(",") if isinstance(value, str) else value
    if not isinstance(given, Iterable) or isinstance(given, Mapping):
        raise bad_value(field, value, "give a list of words", SpecificationError)
    tags = tuple(sorted({str(tag).strip().lower() for tag in given} - {""}))  # YARN keeps tags in lower case
    for tag in tags:
        if len(tag) > 100 or not tag.isascii():
            raise bad_value(field, tag, "a tag has at most 100 ASCII characters", SpecificationError)
    return tags


def _mapping(field: str, value: object) -> dict[str, str]:
    if not isinstance(value, Mapping):
        raise bad_value(field, value, "give names and values, as in {'KEY': 'value'}", SpecificationError)
    for name, entry in value.items():
        if not isinstance(name, str) or not name or "=" in name:
            raise bad_value(field, name, "a name is a text without '='", SpecificationError)
        if isinstance(entry, bool) or not isinstance(entry, (str, int, float)):
            raise bad_value(f"{field}.{name}", entry, "give a text (in YAML, quote it)", SpecificationError)
    return {name: str(entry) for name, entry in value.items()}


def _amounts(field: str, value: object) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, amount in _mapping(field, value).items():
        try:
            found[name] = float(amount)
        except ValueError:
            found[name] = 0.0
        if not 0 < found[name] < float("inf") or set(name) & set(", "):
            raise bad_value(f"{field}.{name}", amount, "give an amount above 0", SpecificationError)
    return found


def _paths(field: str, value: object) -> dict[str, str]:
    """Name in the container -> source, from a mapping or from Spark's 'path#name', 'path' list."""
    if isinstance(value, Mapping):
        pairs = [(str(name), str(source)) for name, source in value.items()]
    elif isinstance(value, Iterable):
        entries = value.split(",") if isinstance(value, str) else value
        pairs = [_named(field, str(entry)) for entry in entries if str(entry).strip()]
    else:
        raise bad_value(field, value, "give a list of paths, 'path' or 'path#name'", SpecificationError)
    found: dict[str, str] = {}
    for name, source in pairs:
        if not name or "/" in name or name in (".", ".."):
            raise bad_value(field, name, "a name in the container has no '/': give 'path#name'", SpecificationError)
        if name in RESERVED:
            raise bad_value(field, name, "howdah uses that name itself: give 'path#othername'", SpecificationError)
        if found.setdefault(name, source) != source:
            raise bad_value(field, source, f"two sources are called {name!r}: give 'path#name'", SpecificationError)
    return found


def _named(field: str, entry: str) -> tuple[str, str]:
    source, mark, name = entry.strip().partition("#")
    if not source or (mark and not name):
        raise bad_value(field, entry, "give 'path' or 'path#name'", SpecificationError)
    return name or source.rstrip("/").rsplit("/", 1)[-1], source


def _choice(*known: str, also: Mapping[str, str] | None = None) -> Callable[[str, object], str]:
    def check(field: str, value: object) -> str:
        value = (also or {}).get(str(value), value)
        if value not in known:
            raise bad_value(field, value, "give " + " or ".join(repr(k) for k in known), SpecificationError)
        return str(value)

    return check


def _name(field: str, value: object) -> str:
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise bad_value(
            field, value, "give letters, digits, '.', '_' and '-', as in 'nightly-revenue'", SpecificationError
        )
    return value


def _count(least: int) -> Callable[[str, object], int]:
    return lambda field, value: parse_count(field, value, least)


def _failures(field: str, value: object) -> int | None:
    return None if value is None else parse_count(field, value, least=-1)


def _memory(field: str, value: object) -> str:
    return format_memory(parse_memory(field, value))


def _label(field: str, value: object) -> str:
    return "" if value in (None, "") else _text(field, value)


RESERVED = frozenset({"environment", "howdah_app", "logs", "tmp"})
"""Names in a container's working folder that howdah itself uses."""


@dataclasses.dataclass(frozen=True, init=False, repr=False)
class Specification:
    """What one application asks for. Give fields by keyword; unknown ones are refused with the nearest known names.

    Parameters
    ----------
    name : what YARN and `howdah list` show.
    queue : YARN queue.
    tags : YARN tags; `howdah` is always among them.
    environment : the Python environment of all containers: a name or hash of `howdah env list`, an `hdfs://` or local
        archive that unpacks to `bin/python`, or "current" (this one is packed now, unless the same was before).
    n_workers, worker_memory, worker_cores : how many workers, and memory ("1GiB") and slots of each. A worker's
        container is larger than its memory by 10 %, at least 384 MiB, as with Spark.
    worker_resources : what each worker offers to tasks that ask for it, as {"gpu": 1}. YARN is not asked for it.
    driver_memory, driver_cores : for the driver program, in cluster mode; its container is the master's, enlarged.
    master_memory, master_cores : for the application master with the scheduler.
    deploy_mode : where the driver program of `howdah submit` runs: "cluster" (in YARN) or "client" (here).
    files, archives, py_files : put into every container's working folder: a list of 'path' or 'path#name', or
        {name: path}. Archives are unpacked to a folder of that name; py_files go on PYTHONPATH.
    env_vars : environment variables of all containers.
    conf : Hadoop properties that hold inside this application, above those of HADOOP_CONF_DIR.
    node_label : YARN node label expression for all containers.
    locality : "auto" asks for containers spread over the nodes; "off" takes them where YARN gives them.
    lease : seconds ("60s") that the application outlives its last client.
    max_attempts : masters that YARN may start: with 2, the application goes on when the first one's container or node
        is lost (in cluster mode the program then begins anew). YARN's own limit is 2 as a rule.
    max_failures : worker containers that may fail within ten minutes before the application gives up; None is twice the
        number of workers and at least 3, as with Spark; -1 is without end.
    start_timeout : seconds to wait for YARN to start the application master and for the first worker.

    Raises
    ------
    SpecificationError
        A field or a value is wrong.

    Examples
    --------
    >>> spec = Specification(name="nightly", worker_memory="2g", worker_vcores=2)
    >>> spec.worker_memory, spec.worker_cores, spec.container_memory >> 20
    ('2GiB', 2, 2432)
    >>> Specification.from_yaml(spec.to_yaml()) == spec
    True
    >>> Specification(worker_memroy="2GiB")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    howdah.errors.SpecificationError: worker_memroy: got '2GiB': there is no such field; did you mean 'worker_memory'...
    """

    name: str = "howdah"
    queue: str = "default"
    tags: tuple[str, ...] = ()
    environment: str = "current"
    n_workers: int = 2
    worker_memory: str = "2GiB"
    worker_cores: int = 1
    worker_resources: Mapping[str, float] = dataclasses.field(default_factory=dict)
    driver_memory: str = "1GiB"
    driver_cores: int = 1
    master_memory: str = "1GiB"
    master_cores: int = 1
    deploy_mode: str = "cluster"
    files: Mapping[str, str] = dataclasses.field(default_factory=dict)
    archives: Mapping[str, str] = dataclasses.field(default_factory=dict)
    py_files: Mapping[str, str] = dataclasses.field(default_factory=dict)
    env_vars: Mapping[str, str] = dataclasses.field(default_factory=dict)
    conf: Mapping[str, str] = dataclasses.field(default_factory=dict)
    node_label: str = ""
    locality: str = "auto"
    lease: float = 60.0
    max_attempts: int = 2
    max_failures: int | None = None
    start_timeout: float = 300.0

    _CHECKS: ClassVar[Mapping[str, Callable[[str, Any], Any]]] = {
        "name": _name,
        "queue": _text,
        "tags": _tags,
        "environment": _text,
        "n_workers": _count(0),
        "worker_memory": _memory,
        "worker_cores": _count(1),
        "worker_resources": _amounts,
        "driver_memory": _memory,
        "driver_cores": _count(1),
        "master_memory": _memory,
        "master_cores": _count(1),
        "deploy_mode": _choice("cluster", "client", also={"remote": "cluster", "local": "client"}),
        "files": _paths,
        "archives": _paths,
        "py_files": _paths,
        "env_vars": _mapping,
        "conf": _mapping,
        "node_label": _label,
        "locality": _choice("auto", "off"),
        "lease": parse_seconds,
        "max_attempts": _count(1),
        "max_failures": _failures,
        "start_timeout": parse_seconds,
    }

    def __init__(self, **fields: Any) -> None:
        given = _own_names(fields)
        for field in dataclasses.fields(self):
            default = field.default_factory() if callable(field.default_factory) else field.default
            value = given.get(field.name, default)
            object.__setattr__(self, field.name, self._CHECKS[field.name](field.name, value))
        taken: dict[str, str] = {}
        for group in ("files", "archives", "py_files"):
            for name, source in getattr(self, group).items():
                if taken.setdefault(name, group) != group:
                    raise bad_value(
                        group, source, f"{name!r} is also among {taken[name]}: give 'path#name'", SpecificationError
                    )

    # -- made from

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Specification:
        """From a mapping of fields, or of a skein specification. One for dask-yarn is answered with its translation.

        Raises
        ------
        SpecificationError
            A field or value is wrong; or it was written for dask-yarn: the message holds the translation as YAML.
        """
        from howdah.yarn_app.specification.compat import from_foreign

        if not isinstance(fields, Mapping):
            raise bad_value("specification", fields, "give a mapping of fields to values", SpecificationError)
        return cls(**{str(name): value for name, value in from_foreign(fields).items()})

    @classmethod
    def from_yaml(cls, source: str | Path) -> Specification:
        """From a YAML file, or from YAML text (anything with a line break or a colon followed by a space).

        Local paths in it are relative to the current folder, as on the command line.
        """
        where, text = "the YAML text", str(source)
        if isinstance(source, Path) or ("\n" not in text and ": " not in text):
            where = str(source)
            try:
                text = Path(source).expanduser().read_text()
            except OSError as error:
                raise bad_value(
                    "specification", where, f"cannot be read: {error.strerror or error}", SpecificationError
                ) from error
        try:
            fields = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise SpecificationError(f"{where} is not YAML: {error}") from error
        try:
            return cls.from_dict({} if fields is None else fields)
        except SpecificationError as error:
            error.add_note(f"in {where}")
            raise

    @classmethod
    def from_any(cls, source: object) -> Specification:
        """From whatever `YarnCluster.from_specification` was given: one of these, a mapping, a path or YAML text."""
        if isinstance(source, Specification):
            return source
        if isinstance(source, Mapping):
            return cls.from_dict(source)
        if isinstance(source, (str, Path)):
            return cls.from_yaml(source)
        if hasattr(source, "to_dict"):  # skein.ApplicationSpec
            return cls.from_dict(source.to_dict())
        raise bad_value("specification", source, "give a path, YAML, a mapping or a Specification", SpecificationError)

    # -- and back

    def to_dict(self, *, defaults: bool = False) -> dict[str, Any]:
        """Plain fields; those that are as by default only with `defaults=True`."""
        plain = {}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            default = field.default_factory() if callable(field.default_factory) else field.default
            if defaults or value != default:
                plain[field.name] = (
                    list(value) if isinstance(value, tuple) else dict(value) if isinstance(value, Mapping) else value
                )
        return plain

    def to_yaml(self, *, defaults: bool = False) -> str:
        """YAML that `from_yaml` reads back to an equal specification."""
        return yaml.safe_dump(self.to_dict(defaults=defaults), sort_keys=False, default_flow_style=False)

    def replace(self, **fields: Any) -> Specification:
        """A copy with some fields changed, checked like a new one."""
        return Specification(**{**self.to_dict(), **_own_names(fields)})

    def __repr__(self) -> str:
        return f"Specification({', '.join(f'{name}={value!r}' for name, value in self.to_dict().items())})"

    # -- what follows from it

    @property
    def worker_bytes(self) -> int:
        """A worker's memory limit, bytes."""
        return parse_memory("worker_memory", self.worker_memory)

    @property
    def container_memory(self) -> int:
        """A worker's container, bytes: its memory and the overhead."""
        return with_overhead(self.worker_bytes)

    @property
    def failures_allowed(self) -> int | None:
        """Worker containers that may fail within ten minutes; None is without end."""
        if self.max_failures is None:
            return max(3, 2 * self.n_workers)
        return None if self.max_failures < 0 else self.max_failures

    def master_container(self, *, with_driver: bool) -> tuple[int, int]:
        """Memory (bytes) and cores of the master's container; in cluster mode the driver program is in it."""
        size, cores = parse_memory("master_memory", self.master_memory), self.master_cores
        if with_driver:
            size, cores = size + parse_memory("driver_memory", self.driver_memory), max(cores, self.driver_cores)
        return size, cores


FIELDS = tuple(field.name for field in dataclasses.fields(Specification))


def _own_names(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Fields under our own names; unknown, refused and doubly given ones are errors."""
    found: dict[str, Any] = {}
    for name, value in fields.items():
        own = ALIASES.get(name, name)
        if own in _NOT_OFFERED:
            raise bad_value(name, value, _NOT_OFFERED[own], SpecificationError)
        if own not in FIELDS:
            raise bad_value(
                name, value, f"there is no such field; {near(name, [*FIELDS, *ALIASES])}", SpecificationError
            )
        if own in found:
            raise bad_value(name, value, f"{own!r} is given twice, also under another name", SpecificationError)
        found[own] = value
    return found
