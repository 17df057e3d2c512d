"""From a specification to a running application: environment, preflight, payload, skein's order.

For `cluster` and `howdah submit`. It promises: what can be found wrong on the edge is found before anything is
submitted, in seconds; the Java driver starts while the rest is done; a failure leaves neither application nor file
behind.
"""

from __future__ import annotations

import contextlib
import dataclasses
import getpass
import platform
import re
import secrets
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import howdah
from howdah.errors import (
    HowdahError,
    PathMissing,
    ResourceRefused,
    SpecificationError,
    bad_value,
    near,
)
from howdah.yarn_app.master.fleet import ServiceGroup, spread
from howdah.yarn_app.specification.specification import RESERVED, Specification
from howdah.yarn_app.specification.units import format_memory
from howdah.yarn_app.storage import bundle
from howdah.yarn_app.storage.staging import Staging, collect_quietly
from howdah.yarn_app.submit.application import Application
from howdah.yarn_app.ui.progress import ProgressReporter
from howdah.yarn_app.yarn import edge_node
from howdah.yarn_app.yarn.resource_manager import NodeReport, ResourceManager, RestUnavailable
from howdah.yarn_app.yarn.skein_client import LocalResource, PendingDriver, SubmissionRequest

TAG = "howdah"

# skein's application master, a JVM, starts in the same environment as its script. It lives short or idle, and begins a
# second and a half earlier without the optimising compiler and parallel collector, which a busy node makes dear.
_MASTER_JAVA = {"JAVA_TOOL_OPTIONS": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC -XX:-UsePerfData"}

# `exec`, so that YARN's signals reach Python; -s, so that nobody's ~/.local leaks into the environment.
_SCRIPT = """
umask 077
export HADOOP_CONF_DIR="$PWD/howdah_app/conf" PYTHONNOUSERSITE=1 PYTHONPATH="{pythonpath}${{PYTHONPATH:+:$PYTHONPATH}}"
unset PYTHONHOME {unset}
exec environment/bin/python -s -m {module}
"""


@dataclass
class Submission:
    """A submitted application, and how long each step on the edge took (seconds)."""

    application: Application
    specification: Specification
    token: str
    folder: Path
    seconds: dict[str, float]
    groups: Sequence[ServiceGroup] = field(default_factory=tuple)
    at: float = 0.0

    @property
    def client_security(self) -> Path:
        """The client's security directory, 0700, on this machine."""
        return self.folder / "client"

    def close(self) -> None:
        """Let go of the application, and remove this machine's files of it."""
        self.application.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def connect_hadoop() -> tuple[ResourceManager, Staging]:
    """YARN's and HDFS's ends of this edge node; that YARN answers is checked.

    Raises
    ------
    HadoopNotFound
        No configuration, or a ResourceManager that does not answer.
    """
    edge_node.conf_dir()
    from howdah.io import load_hadoop_config

    manager = ResourceManager(load_hadoop_config())
    manager.check()
    return manager, Staging.of_user()


def submit(
    spec: Specification, show: ProgressReporter, *, program: tuple[str, Sequence[str]] | None = None
) -> Submission:
    """Submit; returns when YARN has taken the application.

    Parameters
    ----------
    spec : what is asked for.
    show : where progress goes.
    program : (script, arguments) of a driver program that runs in the application; None: the client is elsewhere.

    Raises
    ------
    HadoopNotFound, ResourceRefused, EnvironmentMismatch, SpecificationError, PathMissing
        Found on the edge; nothing was submitted.
    """
    began = time.monotonic()
    seconds: dict[str, float] = {}
    show.phase("checking")
    _check_files(spec, program)
    manager, staging = connect_hadoop()
    starting = PendingDriver()
    folder = edge_node.private_folder()
    try:
        collect_leftovers(manager, staging)
        nodes = _nodes(manager)
        manager.check_capacity(_containers(spec, with_driver=program is not None), nodes)
        _known_queue(manager, spec.queue)
        seconds["checking"] = time.monotonic() - began
        environment = _environment(spec, staging, show, seconds)
        hosts = [node.host for node in nodes] if spec.locality == "auto" else []
        groups = spread(spec.n_workers, hosts)
        token = f"{spec.name}-{secrets.token_hex(6)}"
        config = _config(spec, token, groups, nodes, program)
        config["grace"] = edge_node.termination_grace(manager.configuration)
        show.phase("submitting")
        master, worker = bundle.write_bundles(folder, config, edge_node.conf_dir(), spec.conf, edge_node.user())
        order = _request(spec, program, environment, master, worker, groups)
        waited = time.monotonic()
        driver = starting.get()
        seconds["driver"], seconds["waited for driver"] = starting.seconds, time.monotonic() - waited
        waited = time.monotonic()
        app_id = driver.submit(order)
        seconds["submitting"] = time.monotonic() - waited
        credentials = driver.credentials
        for archive in (master, worker):
            archive.unlink()
        if program is not None:
            shutil.rmtree(folder, ignore_errors=True)  # the client is in the application
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    finally:
        starting.close()
    application = Application(app_id, manager, staging, credentials)
    show.fact("submitted", app_id=app_id, seconds=round(time.monotonic() - began, 2))
    return Submission(application, spec, token, folder, seconds, groups, time.time())


def collect_leftovers(manager: ResourceManager, staging: Staging) -> list[str]:
    """Remove what dead applications of this user left in HDFS, and killed commands on this machine; returns the ids."""
    edge_node.remove_stale_folders()

    def ended(app_id: str) -> bool:
        try:
            return manager.application(app_id).ended
        except RestUnavailable as error:
            return " 404 " in f" {error} "  # YARN has forgotten it
        except HowdahError:
            return False

    return collect_quietly(staging, ended)


# -- steps -----------------------------------------------------------------------------------------------------------


def _check_files(spec: Specification, program: tuple[str, Sequence[str]] | None) -> None:
    if program is not None:
        script = Path(program[0])
        if not script.is_file():
            raise PathMissing(f"the script {program[0]!r} does not exist (looked in {Path.cwd()})")
        taken = {**spec.files, **spec.archives, **spec.py_files}
        if script.name in RESERVED or taken.get(script.name, str(script)) != str(script):
            raise bad_value(
                "script", program[0], "howdah or --files uses that name in the container: rename it", SpecificationError
            )
    for group in ("files", "archives", "py_files"):
        for name, source in getattr(spec, group).items():
            if "://" not in source and not Path(source).expanduser().is_file():
                raise PathMissing(
                    f"{group}: {source!r} ({name}) is not a file here; give a file, or a URL such as hdfs:///path"
                )
            if group == "archives" and not _packed(source):
                raise bad_value(group, source, "YARN unpacks .tar.gz, .tgz, .tar and .zip", SpecificationError)


def _packed(source: str) -> bool:
    return source.endswith((".tar.gz", ".tgz", ".tar", ".zip", ".jar"))


def _known_queue(manager: ResourceManager, queue: str) -> None:
    """That the queue is there, where YARN tells; a path may still be made by YARN when it is first used."""
    try:
        known = manager.queue_names()
    except RestUnavailable:
        return
    if known and "." not in queue and queue not in known:
        raise ResourceRefused(f"queue: YARN has no queue {queue!r}; {near(queue, known)}")


def _nodes(manager: ResourceManager) -> list[NodeReport]:
    try:
        return manager.nodes()
    except RestUnavailable:
        return []  # a secure cluster that shows nothing over REST: YARN itself refuses what it cannot give


def _containers(spec: Specification, *, with_driver: bool) -> dict[str, tuple[int, int]]:
    role = "the driver program with the application master" if with_driver else "the application master"
    worker = f"a worker of {spec.worker_memory} (worker_memory)"
    overhead = format_memory(spec.container_memory - spec.worker_bytes)
    return {
        **(
            {f"{worker} with {overhead} overhead": (spec.container_memory, spec.worker_cores)} if spec.n_workers else {}
        ),
        role: spec.master_container(with_driver=with_driver),
    }


def _environment(
    spec: Specification, staging: Staging, show: ProgressReporter, seconds: dict[str, float]
) -> LocalResource:
    """Where the environment is; packed and uploaded first when it is the running one."""
    from howdah.envpack import EnvStore, check_compatible

    began = time.monotonic()
    named = spec.environment
    store = EnvStore(staging.fs, staging.environments, url=staging.base)
    if named == "current":
        show.phase("packing", "the running environment, unless HDFS has it")

        def told(phase: str, done: int, total: int) -> None:
            show.phase("uploading" if phase == "uploading" else "packing", phase)
            show.amount(done, max(total, 1), phase)

        published = store.publish(progress=told)
        url = published.url or staging.url(published.path)
        text = (
            f"uploaded, {format_memory(published.size)}"
            if published.uploaded
            else "is in HDFS already: nothing uploaded"
        )
        show.phase("packing", text)
    elif "://" in named:
        url = named
    elif named.endswith((".tar.gz", ".tgz", ".zip")) or "/" in named:
        if not Path(named).expanduser().is_file():
            raise PathMissing(f"environment: the archive {named!r} does not exist here")
        url = Path(named).expanduser().resolve().as_uri()
    else:
        entry = store.resolve(named)
        check_compatible(
            python=entry.python, howdah=entry.howdah, what=f"environment {named!r} ({entry.hash[:12]})",
            python_version=platform.python_version(), howdah_version=howdah.__version__,
        )  # fmt: skip
        url = entry.url or staging.url(entry.path)
    seconds["environment"] = time.monotonic() - began
    return LocalResource(url, archive=True, visibility=_visibility(staging, url))


def _visibility(staging: Staging, url: str) -> str:
    """How widely YARN may share its unpacked copy: over users only where everybody may read it."""
    if not url.startswith(staging.base + "/"):
        return "application" if url.startswith("file:") else "private"
    path = url.removeprefix(staging.base)
    with contextlib.suppress(KeyError, OSError):
        if not staging.fs.info(path)["permission"] & 0o004:
            return "private"
        parents = [str(parent) for parent in Path(path).parents]
        if all(staging.fs.info(parent)["permission"] & 0o001 for parent in parents):
            return "public"
    return "private"


def _config(
    spec: Specification,
    token: str,
    groups: Sequence[ServiceGroup],
    nodes: Sequence[NodeReport],
    program: tuple[str, Sequence[str]] | None,
) -> dict[str, Any]:
    """What both roles are told; the driver program and its arguments only the master."""
    return {
        "token": token,
        "versions": bundle.versions(),
        "specification": spec.to_dict(defaults=True),
        "n_workers": spec.n_workers,
        "worker_cores": spec.worker_cores,
        "worker_bytes": spec.worker_bytes,
        "worker_resources": dict(spec.worker_resources),
        "failures_allowed": spec.failures_allowed,
        "lease": spec.lease,
        "groups": [dataclasses.asdict(group) for group in groups],
        "racks": {node.host: node.rack for node in nodes},
        "submitter": getpass.getuser(),
        "driver": None if program is None else {"script": Path(program[0]).name, "arguments": list(program[1])},
    }


def _request(
    spec: Specification,
    program: tuple[str, Sequence[str]] | None,
    environment: LocalResource,
    master: Path,
    worker: Path,
    groups: Sequence[ServiceGroup],
) -> SubmissionRequest:
    shared = {"environment": environment, **_files(spec)}
    pythonpath = ":".join(["$PWD", *(f"$PWD/{name}" for name in spec.py_files if not name.endswith(".py"))])
    size, cores = spec.master_container(with_driver=program is not None)
    master_files = {**shared, bundle.FOLDER: LocalResource(master.as_uri(), archive=True)}
    if program is not None:
        master_files[Path(program[0]).name] = LocalResource(Path(program[0]).resolve().as_uri())
    env = _env(spec.env_vars)
    ours = {name: value for name, value in _MASTER_JAVA.items() if name not in env}
    return SubmissionRequest(
        name=spec.name,
        queue=spec.queue,
        tags=tuple(sorted({TAG, *spec.tags})),
        node_label=spec.node_label,
        master_script=_SCRIPT.format(
            module="howdah.yarn_app.master.supervisor", pythonpath=pythonpath, unset=" ".join(ours)
        ),
        master_memory=size,
        master_cores=cores,
        master_files=master_files,
        worker_script=_SCRIPT.format(module="howdah.yarn_app.worker.container", pythonpath=pythonpath, unset=""),
        worker_memory=spec.container_memory,
        worker_cores=spec.worker_cores,
        worker_files={**shared, bundle.FOLDER: LocalResource(worker.as_uri(), archive=True)},
        env=env,
        master_env={**env, **ours},
        max_attempts=spec.max_attempts,
        groups=groups,
    )


def _files(spec: Specification) -> dict[str, LocalResource]:
    found: dict[str, LocalResource] = {}
    for group in ("files", "archives", "py_files"):
        for name, source in getattr(spec, group).items():
            url = source if "://" in source else Path(source).expanduser().resolve().as_uri()
            found[name] = LocalResource(url, archive=group == "archives")
    return found


def _env(given: Mapping[str, str]) -> dict[str, str]:
    """The user's variables; those that would break the container are refused."""
    for name in given:
        if not re.fullmatch(r"[A-Za-z_]\w*", name):
            raise bad_value("env_vars", name, "a variable's name has letters, digits and '_'", SpecificationError)
        if name in ("PYTHONHOME", "HADOOP_CONF_DIR", "PYTHONNOUSERSITE") or name.startswith("SKEIN_"):
            raise bad_value("env_vars", name, "howdah sets that itself: leave it out", SpecificationError)
    return dict(given)


__all__ = ["Submission", "collect_leftovers", "connect_hadoop", "submit"]
