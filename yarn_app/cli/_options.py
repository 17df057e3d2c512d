"""The specification's fields as options of `howdah submit`: dask-yarn's and spark-submit's names where they serve.

An option that is not given is None: then the file given by --spec counts, or the default.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click


def _pairs(context: click.Context, option: click.Parameter, given: tuple[str, ...]) -> dict[str, str] | None:
    found = {}
    for entry in given:
        name, mark, value = entry.partition("=")  # a value may have '=' of its own
        if not mark or not name:
            raise click.BadParameter(f"{entry!r}: give NAME=VALUE")
        found[name] = value
    return found or None


def _lists(context: click.Context, option: click.Parameter, given: tuple[str, ...]) -> list[str] | None:
    return [part for entry in given for part in entry.split(",") if part] or None


_NUMBER: dict[str, Any] = {"type": int, "metavar": "N"}
_SIZE: dict[str, Any] = {"metavar": "SIZE"}
_SECONDS: dict[str, Any] = {"metavar": "SECONDS"}
_MANY: dict[str, Any] = {"multiple": True, "callback": _lists}
_NAMED: dict[str, Any] = {"multiple": True, "callback": _pairs, "metavar": "NAME=VALUE"}

# The names, the field, the kind of value, and the help text.
_OPTIONS: tuple[tuple[str, str, dict[str, Any], str], ...] = (
    ("--env", "environment", {"metavar": "NAME"}, "a name or hash of `howdah env list`, an archive, or 'current'"),
    ("-n --workers --num-executors", "n_workers", _NUMBER, "number of workers  [default: 2]"),
    ("--worker-memory --executor-memory", "worker_memory", _SIZE, "of each, without overhead  [default: 2GiB]"),
    ("--worker-cores --executor-cores", "worker_cores", _NUMBER, "slots of each  [default: 1]"),
    ("--driver-memory", "driver_memory", _SIZE, "for the script, in cluster mode  [default: 1GiB]"),
    ("--driver-cores", "driver_cores", _NUMBER, "the same for cores  [default: 1]"),
    ("--master-memory", "master_memory", _SIZE, "for the application master and scheduler  [default: 1GiB]"),
    ("--deploy-mode", "deploy_mode", {"metavar": "MODE"}, "'cluster': the script runs in YARN; 'client': here"),
    ("--name", "name", {"metavar": "NAME"}, "shown by YARN  [default: the script's name]"),
    ("--queue", "queue", {"metavar": "QUEUE"}, "YARN queue  [default: default]"),
    ("--tags", "tags", {**_MANY, "metavar": "A,B"}, "YARN tags"),
    ("--files", "files", {**_MANY, "metavar": "PATH[#NAME],..."}, "for every container's working folder"),
    ("--py-files", "py_files", {**_MANY, "metavar": "PATH,..."}, ".py or .zip files, put on PYTHONPATH"),
    ("--archives", "archives", {**_MANY, "metavar": "PATH#NAME,..."}, "unpacked to a folder NAME"),
    ("--conf", "conf", _NAMED, "a Hadoop property for this application"),
    ("--env-var", "env_vars", _NAMED, "an environment variable of all containers"),
    ("--node-label", "node_label", {"metavar": "LABEL"}, "YARN node label"),
    ("--locality", "locality", {"metavar": "auto|off"}, "spread workers over the nodes  [default: auto]"),
    ("--max-attempts", "max_attempts", _NUMBER, "masters that YARN may start, for when one is lost  [default: 2]"),
    ("--lease", "lease", _SECONDS, "how long the application outlives its last client  [default: 60]"),
    ("--max-failures", "max_failures", _NUMBER, "worker containers that may fail in ten minutes"),
    ("--start-timeout", "start_timeout", _SECONDS, "for YARN to start it  [default: 300]"),
)


def specification_options(function: Callable[..., None]) -> Callable[..., None]:
    """Add the options to a command, which gets the fields by name."""
    for names, field, kind, text in reversed(_OPTIONS):
        function = click.option(*names.split(), field, default=None, help=text, **kind)(function)
    return function
