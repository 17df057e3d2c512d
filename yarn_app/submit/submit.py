"""From a specification to a running application: environment, checks, bundles, and the request to YARN.

For `cluster` and `howdah submit`. It promises: what can be found wrong on the edge node is found before anything is
submitted, in seconds; the Java driver starts while the rest is done; a failure leaves neither application nor file
behind.
"""

from __future__ import annotations

import contextlib
import getpass
import platform
import re
import secrets
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from howdah.errors import HowdahError, PathMissing, ResourceRefused, SpecificationError, bad_value, near
from howdah.io import load_hadoop_config
from howdah.version import VERSION
from howdah.yarn_app.protocol.config import ApplicationConfig, DriverProgram, ServiceGroup, Versions
from howdah.yarn_app.specification.fields import RESERVED
from howdah.yarn_app.specification.specification import Specification
from howdah.yarn_app.specification.units import format_memory
from howdah.yarn_app.storage import bundle, container_folder
from howdah.yarn_app.storage.staging import Staging, collect_quietly
from howdah.yarn_app.submit.application import Application
from howdah.yarn_app.submit.placement import spread
from howdah.yarn_app.ui.events import SubmittedEvent
from howdah.yarn_app.ui.progress import ProgressReporter, now
from howdah.yarn_app.yarn import edge_node
from howdah.yarn_app.yarn.resource_manager import NodeReport, ResourceManager, RestUnavailable
from howdah.yarn_app.yarn.skein_client import LocalResource, PendingDriver, SubmissionRequest

TAG = "howdah"

Program = tuple[str, Sequence[str]]
"""A driver program: its script, and its arguments."""

# skein's application master, a JVM, starts in the same environment as its script. It is short-lived or idle, and starts
# a second and a half earlier without the optimising compiler and parallel collector, which are costly on a busy node.
_MASTER_JAVA = {"JAVA_TOOL_OPTIONS": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC -XX:-UsePerfData"}

# `exec`, so that YARN's signals reach Python; -s, so that no user's ~/.local is part of the environment.
_SCRIPT = """
umask 077
export HADOOP_CONF_DIR="$PWD/howdah_app/conf" PYTHONNOUSERSITE=1 PYTHONPATH="{pythonpath}${{PYTHONPATH:+:$PYTHONPATH}}"
unset PYTHONHOME {unset}
exec environment/bin/python -s -m {module}
"""


@dataclass
class Submission:
    """A submitted application.

    Attributes
    ----------
    token : the cluster's name in all of its certificates.
    folder : this machine's files of it.
    seconds : how long each step on the edge node took.
    at : when YARN accepted it, seconds since 1970.
    """

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
        """Close the connections to the application, and remove this machine's files of it."""
        self.application.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def connect_hadoop() -> tuple[ResourceManager, Staging]:
    """Return YARN and the user's folder in HDFS; that YARN answers is checked.

    Raises
    ------
    HadoopNotFound
        There is no configuration, or the ResourceManager does not answer.
    """
    edge_node.conf_dir()
    manager = ResourceManager(load_hadoop_config())
    manager.check()
    return manager, Staging.of_user()


def submit(spec: Specification, reporter: ProgressReporter, *, program: Program | None = None) -> Submission:
    """Submit an application; return when YARN has accepted it.

    Parameters
    ----------
    spec
        What is asked for.
    reporter
        Where progress goes.
    program
        Script and arguments of a driver program that runs in the application; None: the client is elsewhere.

    Raises
    ------
    HadoopNotFound, ResourceRefused, EnvironmentMismatch, SpecificationError, PathMissing
        Found on the edge node; nothing was submitted.
    """
    began = time.monotonic()
    seconds: dict[str, float] = {}
    reporter.phase("checking")
    _check_files(spec, program)
    manager, staging = connect_hadoop()
    pending = PendingDriver()
    folder = edge_node.private_folder()
    try:
        collect_leftovers(manager, staging)
        nodes = _nodes(manager)
        manager.check_capacity(_containers(spec, with_driver=program is not None), nodes)
        _check_queue(manager, spec.queue)
        seconds["checking"] = time.monotonic() - began
        environment = _environment(spec, staging, reporter, seconds)
        hosts = [node.host for node in nodes] if spec.locality == "auto" else []
        groups = spread(spec.n_workers, hosts)
        token = f"{spec.name}-{secrets.token_hex(6)}"
        grace = edge_node.termination_grace(manager.configuration)
        config = _config(spec, token, groups, nodes, program, grace)
        reporter.phase("submitting")
        master, worker = bundle.write_bundles(folder, config, edge_node.conf_dir(), spec.conf, edge_node.user())
        request = _request(spec, program, environment, master, worker, groups)
        waited = time.monotonic()
        driver = pending.get()
        seconds["driver"], seconds["waited for driver"] = pending.seconds, time.monotonic() - waited
        waited = time.monotonic()
        app_id = driver.submit(request)
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
        pending.close()
    application = Application(app_id, manager, staging, credentials)
    reporter.event(SubmittedEvent(t=now(), app_id=app_id, seconds=round(time.monotonic() - began, 2)))
    return Submission(application, spec, token, folder, seconds, groups, time.time())


def collect_leftovers(manager: ResourceManager, staging: Staging) -> list[str]:
    """Remove what ended applications of this user left in HDFS, and killed commands on this machine.

    Returns the ids of the applications.
    """
    edge_node.remove_stale_folders()

    def ended(app_id: str) -> bool:
        try:
            return manager.application(app_id).ended
        except RestUnavailable as error:
            return " 404 " in f" {error} "  # YARN's records of it have expired
        except HowdahError:
            return False

    return collect_quietly(staging, ended)


# -- steps -----------------------------------------------------------------------------------------------------------


def _check_files(spec: Specification, program: Program | None) -> None:
    """Check that the script and all files are there, and that their names in the container are free."""
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
            if group == "archives" and not _is_archive(source):
                raise bad_value(group, source, "YARN unpacks .tar.gz, .tgz, .tar and .zip", SpecificationError)


def _is_archive(source: str) -> bool:
    return source.endswith((".tar.gz", ".tgz", ".tar", ".zip", ".jar"))


def _check_queue(manager: ResourceManager, queue: str) -> None:
    """Check that the queue is there, where YARN lists its queues; a queue given as a path may be made on first use."""
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
        return []  # a secure cluster whose REST needs a login: YARN itself refuses what it cannot give


def _containers(spec: Specification, *, with_driver: bool) -> dict[str, tuple[int, int]]:
    """Return memory (bytes) and cores of each kind of container, by its description."""
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
    spec: Specification, staging: Staging, reporter: ProgressReporter, seconds: dict[str, float]
) -> LocalResource:
    """Return the archive of the environment; the running environment is packed and uploaded first."""
    # Half a second, with pyelftools and packaging, which no other command of those that import this module needs.
    from howdah.envpack import EnvStore, check_compatible

    began = time.monotonic()
    named = spec.environment
    store = EnvStore(staging.fs, staging.environments, url=staging.base)
    if named == "current":
        reporter.phase("packing", "the running environment, unless HDFS has it")

        def on_progress(phase: str, done: int, total: int) -> None:
            reporter.phase("uploading" if phase == "uploading" else "packing", phase)
            reporter.amount(done, max(total, 1), phase)

        published = store.publish(progress=on_progress)
        url = published.url or staging.url(published.path)
        text = (
            f"uploaded, {format_memory(published.size)}"
            if published.uploaded
            else "is in HDFS already: nothing uploaded"
        )
        reporter.phase("packing", text)
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
            python_version=platform.python_version(), howdah_version=VERSION,
        )  # fmt: skip
        url = entry.url or staging.url(entry.path)
    seconds["environment"] = time.monotonic() - began
    return LocalResource(url, archive=True, visibility=_visibility(staging, url))


def _visibility(staging: Staging, url: str) -> str:
    """Return how widely YARN may share its unpacked copy: between users only where all of them may read the archive."""
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
    program: Program | None,
    grace: float,
) -> ApplicationConfig:
    """Return the configuration for the containers."""
    return ApplicationConfig(
        token=token,
        versions=Versions.current(),
        specification=spec.to_dict(defaults=True),
        max_attempts=spec.max_attempts,
        n_workers=spec.n_workers,
        worker_cores=spec.worker_cores,
        worker_bytes=spec.worker_bytes,
        worker_resources=dict(spec.worker_resources),
        failures_allowed=spec.failures_allowed,
        lease=spec.lease,
        grace=grace,
        groups=list(groups),
        racks={node.host: node.rack for node in nodes},
        submitter=getpass.getuser(),
        driver=None if program is None else DriverProgram(Path(program[0]).name, list(program[1])),
    )


def _request(
    spec: Specification,
    program: Program | None,
    environment: LocalResource,
    master: Path,
    worker: Path,
    groups: Sequence[ServiceGroup],
) -> SubmissionRequest:
    shared = {"environment": environment, **_files(spec)}
    pythonpath = ":".join(["$PWD", *(f"$PWD/{name}" for name in spec.py_files if not name.endswith(".py"))])
    size, cores = spec.master_container(with_driver=program is not None)
    master_files = {**shared, container_folder.FOLDER: LocalResource(master.as_uri(), archive=True)}
    if program is not None:
        master_files[Path(program[0]).name] = LocalResource(Path(program[0]).resolve().as_uri())
    env = _env(spec.env_vars)
    java_options = {name: value for name, value in _MASTER_JAVA.items() if name not in env}
    return SubmissionRequest(
        name=spec.name,
        queue=spec.queue,
        tags=tuple(sorted({TAG, *spec.tags})),
        node_label=spec.node_label,
        master_script=_SCRIPT.format(
            module="howdah.yarn_app.master.supervisor", pythonpath=pythonpath, unset=" ".join(java_options)
        ),
        master_memory=size,
        master_cores=cores,
        master_files=master_files,
        worker_script=_SCRIPT.format(module="howdah.yarn_app.worker.container", pythonpath=pythonpath, unset=""),
        worker_memory=spec.container_memory,
        worker_cores=spec.worker_cores,
        worker_files={**shared, container_folder.FOLDER: LocalResource(worker.as_uri(), archive=True)},
        env=env,
        master_env={**env, **java_options},
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
    """Return the user's environment variables; those that would break the container are refused."""
    for name in given:
        if not re.fullmatch(r"[A-Za-z_]\w*", name):
            raise bad_value("env_vars", name, "a variable's name has letters, digits and '_'", SpecificationError)
        if name in ("PYTHONHOME", "HADOOP_CONF_DIR", "PYTHONNOUSERSITE") or name.startswith("SKEIN_"):
            raise bad_value("env_vars", name, "howdah sets that itself: leave it out", SpecificationError)
    return dict(given)


__all__ = ["Submission", "collect_leftovers", "connect_hadoop", "submit"]
