"""Specifications of other tools: skein's are read where they describe what howdah runs, dask-yarn's are translated.

Used by `Specification.from_dict` alone; pure. It never guesses: what has no counterpart in howdah is named in the
error, with its path.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from howdah.errors import SpecificationError, bad_value
from howdah.yarn_app.specification.units import MIB, format_memory, parse_memory, without_overhead

WORKER = "howdah.worker"
"""The service of a skein specification that howdah runs."""

_MIN_WORKER = 64 * MIB
_SKEIN_ONLY = frozenset({"services", "master"})


@dataclass(frozen=True, slots=True)
class Translation:
    """Fields of howdah, and what they were translated from; `source` is "" where howdah runs what was given."""

    fields: Mapping[str, Any]
    source: str = ""


def translate(fields: Mapping[str, Any]) -> Translation:
    """Return the fields as they are, or those of a skein or dask-yarn specification under howdah's names.

    Raises
    ------
    SpecificationError
        It is a skein specification of something that howdah does not run, or has a part of a wrong type.

    Examples
    --------
    >>> translate({"services": {"howdah.worker": {"instances": 3}}})
    Translation(fields={'n_workers': 3}, source='')
    >>> translate({"yarn": {"worker": {"count": 4}}}).source
    'a dask-yarn configuration (`yarn:`)'
    """
    if "yarn" in fields and isinstance(fields["yarn"], Mapping) and len(fields) == 1:
        tree = fields["yarn"]
        inner = tree.get("specification")
        if isinstance(inner, Mapping):
            return translate(inner)
        return Translation(_from_dask_tree(tree), "a dask-yarn configuration (`yarn:`)")
    if not _SKEIN_ONLY & set(fields):
        return Translation(fields)
    services = fields.get("services") or {}
    if not isinstance(services, Mapping):
        raise bad_value("services", services, "give a mapping of names to services", SpecificationError)
    if any(str(name).startswith("dask.") for name in services):
        return Translation(
            _from_services(fields, "dask.worker", "dask.scheduler"), "a skein specification for dask-yarn"
        )
    others = sorted(set(services) - {WORKER})
    if others:
        raise bad_value(
            "services",
            others[0],
            f"howdah starts its own scheduler and workers and no services of others: keep {WORKER!r} alone, "
            "or write n_workers, worker_memory and worker_cores instead",
            SpecificationError,
        )
    return Translation(_from_services(fields, WORKER, ""))


def _part(tree: Mapping[str, Any], name: str, path: str) -> Mapping[str, Any]:
    """Return the mapping under a name, an empty one where there is none."""
    found = tree.get(name) or {}
    if not isinstance(found, Mapping):
        raise bad_value(path, found, "give a mapping", SpecificationError)
    return found


def _from_services(fields: Mapping[str, Any], worker_name: str, scheduler_name: str) -> dict[str, Any]:
    services = _part(fields, "services", "services")
    path, scheduler_path = f"services[{worker_name!r}]", f"services[{scheduler_name!r}]"
    worker, scheduler = _part(services, worker_name, path), _part(services, scheduler_name, scheduler_path)
    if worker_name == WORKER and worker.get("script"):
        raise bad_value(f"{path}.script", worker["script"], "howdah writes it itself: leave it out", SpecificationError)
    translated: dict[str, Any] = {
        key: fields[key] for key in ("name", "queue", "tags", "node_label") if fields.get(key)
    }
    if worker:
        translated["n_workers"] = worker.get("instances", 1)
        resources = _part(worker, "resources", f"{path}.resources")
        if "memory" in resources:
            translated["worker_memory"] = _worker_memory(f"{path}.resources.memory", resources["memory"])
        if "vcores" in resources:
            translated["worker_cores"] = resources["vcores"]
        if worker.get("env"):
            translated["env_vars"] = dict(_part(worker, "env", f"{path}.env"))
        if worker.get("node_label"):
            translated["node_label"] = worker["node_label"]
        if worker.get("max_restarts") not in (None, 0):
            translated["max_failures"] = worker["max_restarts"]
        translated.update(_from_files(_part(worker, "files", f"{path}.files"), f"{path}.files"))
    for where, source in ((scheduler_path, scheduler), ("master", _part(fields, "master", "master"))):
        resources = _part(source, "resources", f"{where}.resources")
        if "memory" in resources:
            translated["master_memory"] = format_memory(_skein_bytes(f"{where}.resources.memory", resources["memory"]))
        if "vcores" in resources:
            translated["master_cores"] = resources["vcores"]
        if resources:
            break
    return translated


def _from_files(files: Mapping[str, Any], path: str) -> dict[str, Any]:
    translated: dict[str, Any] = {}
    for name, entry in files.items():
        if isinstance(entry, Mapping) and "source" not in entry:
            raise bad_value(f"{path}[{name!r}]", dict(entry), "give the file's `source`", SpecificationError)
        source = str(entry["source"] if isinstance(entry, Mapping) else entry)
        if name == "environment":
            translated["environment"] = source
            continue
        kind = str(entry.get("type", "infer")).lower() if isinstance(entry, Mapping) else "infer"
        packed = kind == "archive" or (kind == "infer" and source.endswith((".zip", ".tar.gz", ".tgz")))
        translated.setdefault("archives" if packed else "files", {})[name] = source
    return translated


def _from_dask_tree(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of dask-yarn's configuration tree; what howdah has no use for is left out."""
    worker, scheduler, client = (_part(tree, part, f"yarn.{part}") for part in ("worker", "scheduler", "client"))
    mode = tree.get("deploy-mode")
    pairs = {
        "name": tree.get("name"),
        "queue": tree.get("queue"),
        "tags": tree.get("tags"),
        "environment": tree.get("environment"),
        "deploy_mode": {"remote": "cluster", "local": "client"}.get(str(mode), mode),
        "n_workers": worker.get("count"),
        "worker_memory": worker.get("memory"),
        "worker_cores": worker.get("vcores"),
        "max_failures": None if worker.get("restarts") in (None, -1) else worker["restarts"],
        "env_vars": worker.get("env"),
        "master_memory": scheduler.get("memory"),
        "master_cores": scheduler.get("vcores"),
        "driver_memory": client.get("memory"),
        "driver_cores": client.get("vcores"),
    }
    translated = {field: value for field, value in pairs.items() if value not in (None, "", [], {})}
    environment = str(translated.get("environment", ""))
    if environment.startswith(("conda://", "venv://", "python://")):
        translated["environment"] = "current"  # howdah ships it; nothing needs to be installed on the nodes
    return translated


def _skein_bytes(path: str, value: object) -> int:
    """skein's memory: a bare number counts MiB."""
    return value * MIB if isinstance(value, int) and not isinstance(value, bool) else parse_memory(path, value)


def _worker_memory(path: str, value: object) -> str:
    """Return the memory limit of a worker in a container of this size: skein counts containers, howdah limits."""
    size = without_overhead(_skein_bytes(path, value))
    if size < _MIN_WORKER:
        raise bad_value(
            path, value, "a container needs 384 MiB beside its worker's memory: give 1GiB or more", SpecificationError
        )
    return format_memory(size)
