"""Specification: what one howdah application asks of YARN, checked when it is written.

For users (`Specification`, `YarnCluster(...)`, YAML files) and for `howdah submit`, whose options are these fields. It
promises: an object that exists is valid in itself (whether the cluster can satisfy it is checked at submission, by
`submit`); a wrong field or value is a `SpecificationError` with path, value and remedy; `from_yaml(to_yaml())` is an
equal object.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar, Unpack, get_type_hints

import attrs
import yaml

from howdah.errors import SpecificationError, bad_value
from howdah.yarn_app.specification import compat, fields
from howdah.yarn_app.specification.fields import SpecificationFields
from howdah.yarn_app.specification.units import parse_memory, parse_seconds, with_overhead

F = TypeVar("F", bound=Callable[..., Any])


def _field(default: Any, check: fields.Check) -> Any:
    """Declare an attribute whose value goes through `check`; a mapping as default is copied for each object."""
    converter: Any = attrs.Converter(lambda value, field: check(field.name, value), takes_field=True)
    if isinstance(default, dict):
        return attrs.field(factory=default.copy, converter=converter)
    return attrs.field(default=default, converter=converter)


@attrs.frozen(kw_only=True, init=False, repr=False)
class Specification:
    """What one application asks for. Fields are given by keyword.

    The names of dask-yarn and Spark for the fields are accepted too (`worker_vcores`, `num_executors`,
    `executor_memory`, ...). An unknown name is refused with the nearest known one.

    Parameters
    ----------
    name : str
        The name that YARN and `howdah list` show.
    queue : str
        The YARN queue.
    tags : iterable of str
        YARN tags. The tag `howdah` is always added.
    environment : str
        The Python environment of all containers: a name or hash of `howdah env list`, an `hdfs://` URL or local path of
        an archive that unpacks to `bin/python`, or "current": the running one, packed now unless HDFS has it.
    n_workers : int
        Number of workers.
    worker_memory : str
        Memory of each worker, as in "1GiB". Its container is larger by 10 %, at least 384 MiB, as with Spark.
    worker_cores : int
        Slots of each worker: tasks at a time.
    worker_resources : mapping of str to float
        Amounts that each worker offers to tasks that ask for them, as in ``{"gpu": 1}``. YARN is not asked for them.
    driver_memory, driver_cores : str, int
        For the driver program, in cluster mode; the container of the application master grows by them.
    master_memory, master_cores : str, int
        For the application master with the scheduler.
    deploy_mode : str
        Where the driver program of `howdah submit` runs: "cluster" (in YARN) or "client" (on this machine).
    files, archives, py_files : list of str, or mapping of str to str
        Put into the working folder of every container: a list of 'path' and 'path#name', or ``{name: path}``. Archives
        are unpacked to a folder of that name; py_files are put on PYTHONPATH.
    env_vars : mapping of str to str
        Environment variables of all containers.
    conf : mapping of str to str
        Hadoop properties of this application; they override those of HADOOP_CONF_DIR.
    node_label : str
        YARN node label expression for all containers.
    locality : str
        "auto" requests containers spread over the nodes; "off" takes them where YARN gives them.
    lease : float or str
        Seconds that the application outlives its last client; also a text with a unit, as in "5min".
    max_attempts : int
        Application masters that YARN may start. With 2, the application goes on when the container or node of the first
        one is lost (in cluster mode the driver program then starts again from its beginning). The limit of YARN itself
        is usually 2.
    max_failures : int or None
        Worker containers that may fail within ten minutes before the application fails. None is twice the number of
        workers and at least 3, as with Spark; -1 is no limit.
    start_timeout : float or str
        Seconds to wait for YARN to start the application master, and for the first worker.

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

    name: str = _field("howdah", fields.application_name)
    queue: str = _field("default", fields.text)
    tags: tuple[str, ...] = _field((), fields.tags)
    environment: str = _field("current", fields.text)
    n_workers: int = _field(2, fields.count(0))
    worker_memory: str = _field("2GiB", fields.memory)
    worker_cores: int = _field(1, fields.count(1))
    worker_resources: Mapping[str, float] = _field({}, fields.amounts)
    driver_memory: str = _field("1GiB", fields.memory)
    driver_cores: int = _field(1, fields.count(1))
    master_memory: str = _field("1GiB", fields.memory)
    master_cores: int = _field(1, fields.count(1))
    deploy_mode: str = _field(
        "cluster", fields.choice("cluster", "client", also={"remote": "cluster", "local": "client"})
    )
    files: Mapping[str, str] = _field({}, fields.paths)
    archives: Mapping[str, str] = _field({}, fields.paths)
    py_files: Mapping[str, str] = _field({}, fields.paths)
    env_vars: Mapping[str, str] = _field({}, fields.mapping)
    conf: Mapping[str, str] = _field({}, fields.mapping)
    node_label: str = _field("", fields.optional_text)
    locality: str = _field("auto", fields.choice("auto", "off"))
    lease: float = _field(60.0, parse_seconds)
    max_attempts: int = _field(2, fields.count(1))
    max_failures: int | None = _field(None, fields.failures)
    start_timeout: float = _field(300.0, parse_seconds)

    def __init__(self, **given: Unpack[SpecificationFields]) -> None:
        self.__attrs_init__(**fields.rename_aliases(given, FIELDS))

    def __attrs_post_init__(self) -> None:
        taken: dict[str, str] = {}
        for group in ("files", "archives", "py_files"):
            for name, source in getattr(self, group).items():
                if taken.setdefault(name, group) != group:
                    raise bad_value(
                        f"{group}.{name}",
                        source,
                        f"{name!r} is also among {taken[name]}: give 'path#name'",
                        SpecificationError,
                    )

    # -- made from

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Specification:
        """Make one from a mapping of fields, or of a skein specification.

        Parameters
        ----------
        fields : mapping of str to object
            Fields of this class, or what skein or dask-yarn read from YAML.

        Returns
        -------
        Specification

        Raises
        ------
        SpecificationError
            A field or value is wrong; or the mapping is dask-yarn's: the message has the translation as YAML.

        Examples
        --------
        >>> Specification.from_dict({"n_workers": 3})
        Specification(n_workers=3)
        """
        if not isinstance(fields, Mapping):
            raise bad_value("specification", fields, "give a mapping of fields to values", SpecificationError)
        found = compat.translate(fields)
        made = cls(**{str(name): value for name, value in found.fields.items()})
        if found.source:
            chosen = {name: value for name, value in made.to_dict().items() if name in found.fields}
            raise SpecificationError(
                f"this is {found.source}; howdah runs its own scheduler and workers. "
                f"The same for howdah (save it, and give that file):\n\n{yaml.safe_dump(chosen, sort_keys=False)}"
            )
        return made

    @classmethod
    def from_yaml(cls, source: str | Path) -> Specification:
        """Make one from a YAML file, or from YAML text.

        Parameters
        ----------
        source : str or Path
            A path; or YAML text: anything with a line break, or with a colon followed by a space. Local paths in it
            are relative to the current folder, as on the command line.

        Returns
        -------
        Specification

        Raises
        ------
        SpecificationError
            The file cannot be read, is not YAML, or a field or value is wrong; the file is named.

        Examples
        --------
        >>> Specification.from_yaml("worker_memory: 4GiB\\n").worker_memory
        '4GiB'
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
            found = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise SpecificationError(f"{where} is not YAML: {error}") from error
        try:
            return cls.from_dict({} if found is None else found)
        except SpecificationError as error:
            error.add_note(f"in {where}")
            raise

    @classmethod
    def from_any(cls, source: object) -> Specification:
        """Make one from anything that describes an application.

        Parameters
        ----------
        source : Specification, mapping, str, Path, or object with `to_dict`
            A specification is returned as it is; a str or Path is read by `from_yaml`; an object with `to_dict` is a
            `skein.ApplicationSpec`.

        Returns
        -------
        Specification

        Raises
        ------
        SpecificationError
            It is none of these, or a field or value is wrong.
        """
        if isinstance(source, Specification):
            return source
        if isinstance(source, Mapping):
            return cls.from_dict(source)
        if isinstance(source, (str, Path)):
            return cls.from_yaml(source)
        to_dict = getattr(source, "to_dict", None)  # of a skein.ApplicationSpec
        if to_dict is not None:
            return cls.from_dict(to_dict())
        raise bad_value("specification", source, "give a path, YAML, a mapping or a Specification", SpecificationError)

    # -- and back

    def to_dict(self, *, defaults: bool = False) -> dict[str, Any]:
        """Return the fields as plain values.

        Parameters
        ----------
        defaults : bool
            Whether fields that have their default are included.

        Returns
        -------
        dict

        Examples
        --------
        >>> Specification(tags=["etl"]).to_dict()
        {'tags': ['etl']}
        """
        plain: dict[str, Any] = {}
        for name, default in _DEFAULTS.items():
            value = getattr(self, name)
            if defaults or value != default:
                plain[name] = (
                    list(value) if isinstance(value, tuple) else dict(value) if isinstance(value, Mapping) else value
                )
        return plain

    def to_yaml(self, *, defaults: bool = False) -> str:
        """Return YAML that `from_yaml` reads back to an equal specification.

        Parameters
        ----------
        defaults : bool
            Whether fields that have their default are included.

        Returns
        -------
        str

        Examples
        --------
        >>> print(Specification(n_workers=3).to_yaml(), end="")
        n_workers: 3
        """
        return yaml.safe_dump(self.to_dict(defaults=defaults), sort_keys=False, default_flow_style=False)

    def replace(self, **given: Unpack[SpecificationFields]) -> Specification:
        """Return a copy with some fields changed.

        Parameters
        ----------
        **given : fields of `Specification`
            The fields to change; they are checked as in a new one.

        Returns
        -------
        Specification

        Raises
        ------
        SpecificationError
            A field or value is wrong.

        Examples
        --------
        >>> Specification(n_workers=2).replace(worker_cores=4)
        Specification(worker_cores=4)
        """
        return Specification(**{**self.to_dict(), **fields.rename_aliases(given, FIELDS)})

    def __repr__(self) -> str:
        return f"Specification({', '.join(f'{name}={value!r}' for name, value in self.to_dict().items())})"

    # -- what follows from it

    @property
    def worker_bytes(self) -> int:
        """The memory limit of a worker, in bytes."""
        return parse_memory("worker_memory", self.worker_memory)

    @property
    def container_memory(self) -> int:
        """The memory of a worker's container, in bytes: its limit and the overhead."""
        return with_overhead(self.worker_bytes)

    @property
    def failures_allowed(self) -> int | None:
        """Worker containers that may fail within ten minutes; None for no limit."""
        if self.max_failures is None:
            return max(3, 2 * self.n_workers)
        return None if self.max_failures < 0 else self.max_failures

    def master_container(self, *, with_driver: bool) -> tuple[int, int]:
        """Return memory (bytes) and cores of the container of the application master.

        Parameters
        ----------
        with_driver : bool
            Whether the driver program runs in it, as in cluster mode.

        Returns
        -------
        tuple of int and int
        """
        size, cores = parse_memory("master_memory", self.master_memory), self.master_cores
        if with_driver:
            size, cores = size + parse_memory("driver_memory", self.driver_memory), max(cores, self.driver_cores)
        return size, cores


FIELDS = tuple(field.name for field in attrs.fields(Specification))


def _default(field: attrs.Attribute[Any]) -> Any:
    return {} if isinstance(field.default, attrs.Factory) else field.default  # type: ignore[arg-type]


_DEFAULTS = {field.name: _default(field) for field in attrs.fields(Specification)}


def list_fields(function: F) -> F:
    """Give a function of `**fields` a signature that lists the fields of `Specification`, with their defaults.

    The type checkers read the same from `SpecificationFields`; this is for `inspect.signature` and `help`.
    """
    hints = get_type_hints(SpecificationFields)
    own = [p for p in inspect.signature(function).parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
    listed = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=hints[name])
        for name, default in _DEFAULTS.items()
    ]
    keywords = [p for p in own if p.kind is inspect.Parameter.KEYWORD_ONLY]
    others = [p for p in own if p.kind is not inspect.Parameter.KEYWORD_ONLY]
    function.__signature__ = inspect.Signature([*others, *listed, *keywords])  # type: ignore[attr-defined]
    return function


for _function in (Specification.__init__, Specification.replace):
    list_fields(_function)
