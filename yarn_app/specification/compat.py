"""Specifications of other tools: skein's are read where they describe what howdah runs, dask-yarn's are translated.

Used by `Specification.from_dict` alone; pure. It never guesses: what has no counterpart is named in the error.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from howdah.errors import SpecificationError, bad_value
from howdah.yarn_app.specification.units import MIB, format_memory, parse_memory, without_overhead

_SKEIN_ONLY = frozenset({"services", "master"})
WORKER = "howdah.worker"
"""The service of a skein specification that howdah runs."""


def from_foreign(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """Our fields: as they are, or from a skein specification.

    Raises
    ------
    SpecificationError
        It is dask-yarn's (the message holds the translation), or a skein specification of something else.
    """
    if "yarn" in fields and isinstance(fields["yarn"], Mapping) and len(fields) == 1:
        tree = fields["yarn"]
        inner = tree.get("specification")
        if isinstance(inner, Mapping):
            return from_foreign(inner)
        raise _translated(_from_dask_tree(tree), "a dask-yarn configuration (`yarn:`)")
    if not _SKEIN_ONLY & set(fields):
        return fields
    services = fields.get("services") or {}
    if not isinstance(services, Mapping):
        raise bad_value("services", services, "give a mapping of names to services", SpecificationError)
    if any(name.startswith("dask.") for name in services):
        raise _translated(
            _from_services(fields, "dask.worker", "dask.scheduler"), "a skein specification for dask-yarn"
        )
    strangers = sorted(set(services) - {WORKER})
    if strangers:
        raise bad_value(
            "services",
            strangers[0],
            f"howdah starts its own scheduler and workers and no services of others: keep {WORKER!r} alone, "
            "or write n_workers, worker_memory and worker_cores instead",
            SpecificationError,
        )
    return _from_services(fields, WORKER, "")


def _from_services(fields: Mapping[str, Any], worker_name: str, scheduler_name: str) -> dict[str, Any]:
    services = fields.get("services") or {}
    worker, scheduler = services.get(worker_name) or {}, services.get(scheduler_name) or {}
    if worker_name == WORKER and worker.get("script"):
        raise bad_value(
            f"services.{WORKER}.script", worker["script"], "howdah writes it itself: leave it out", SpecificationError
        )
    ours: dict[str, Any] = {key: fields[key] for key in ("name", "queue", "tags", "node_label") if fields.get(key)}
    if worker:
        ours["n_workers"] = worker.get("instances", 1)
        resources = worker.get("resources") or {}
        if "memory" in resources:
            ours["worker_memory"] = _worker_memory(f"services.{worker_name}.resources.memory", resources["memory"])
        if "vcores" in resources:
            ours["worker_cores"] = resources["vcores"]
        if worker.get("env"):
            ours["env_vars"] = dict(worker["env"])
        if worker.get("node_label"):
            ours["node_label"] = worker["node_label"]
        if worker.get("max_restarts") not in (None, 0):
            ours["max_failures"] = worker["max_restarts"]
        ours.update(_from_files(worker.get("files") or {}))
    for source in (scheduler, fields.get("master") or {}):
        resources = source.get("resources") or {}
        if "memory" in resources:
            ours["master_memory"] = format_memory(_skein_bytes("resources.memory", resources["memory"]))
        if "vcores" in resources:
            ours["master_cores"] = resources["vcores"]
        if resources:
            break
    return ours


def _from_files(files: Mapping[str, Any]) -> dict[str, Any]:
    ours: dict[str, Any] = {}
    for name, entry in files.items():
        source = entry["source"] if isinstance(entry, Mapping) else str(entry)
        if name == "environment":
            ours["environment"] = source
            continue
        kind = str(entry.get("type", "infer")).lower() if isinstance(entry, Mapping) else "infer"
        packed = kind == "archive" or (kind == "infer" and source.endswith((".zip", ".tar.gz", ".tgz")))
        ours.setdefault("archives" if packed else "files", {})[name] = source
    return ours


def _from_dask_tree(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of dask-yarn's configuration tree; what howdah has no use for is left out."""
    worker, scheduler, client = (tree.get(part) or {} for part in ("worker", "scheduler", "client"))
    pairs = {
        "name": tree.get("name"),
        "queue": tree.get("queue"),
        "tags": tree.get("tags"),
        "environment": tree.get("environment"),
        "deploy_mode": {"remote": "cluster", "local": "client"}.get(
            str(tree.get("deploy-mode")), tree.get("deploy-mode")
        ),
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
    ours = {field: value for field, value in pairs.items() if value not in (None, "", [], {})}
    environment = str(ours.get("environment", ""))
    if environment.startswith(("conda://", "venv://", "python://")):
        ours["environment"] = "current"  # howdah ships it; nothing needs to be installed on the nodes
    return ours


def _translated(ours: Mapping[str, Any], what: str) -> SpecificationError:
    from howdah.yarn_app.specification.specification import Specification

    checked = Specification(**ours).to_dict()
    text = yaml.safe_dump({key: value for key, value in checked.items() if key in ours}, sort_keys=False)
    return SpecificationError(
        f"this is {what}; howdah runs its own scheduler and workers. "
        f"The same for howdah (save it, and give that file):\n\n{text}"
    )


def _skein_bytes(field: str, value: object) -> int:
    """skein's memory: a bare number counts MiB."""
    return value * MIB if isinstance(value, int) and not isinstance(value, bool) else parse_memory(field, value)


def _worker_memory(field: str, value: object) -> str:
    """skein asks for containers, howdah for what the worker may use in them."""
    size = without_overhead(_skein_bytes(field, value))
    if size < 64 * MIB:
        raise bad_value(
            field, value, "a container needs 384 MiB beside its worker's memory: give 1GiB or more", SpecificationError
        )
    return format_memory(size)
