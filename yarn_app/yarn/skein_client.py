"""The only module that imports skein, and through it reaches YARN: the Java driver, and an application's master.

For `yarn_app` alone. It promises: every call has a deadline; what is missing on this machine (`yarn`, HADOOP_CONF_DIR,
a suitable Java, a ResourceManager that answers) is a `HadoopNotFound` with which, and what to do, in seconds; every
driver has a TLS pair of its own, made in memory, so nothing is written to the user's ~/.skein. Plain records
(`reports`) are returned, skein's own objects are not.
"""

from __future__ import annotations

import contextlib
import datetime
import importlib
import os
import re
import shutil
import subprocess
import sys
import time
import types
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from howdah.engine.comm.security.certificates import new_certificate
from howdah.errors import DeadlineExceeded, HadoopNotFound, HowdahError, ResourceRefused
from howdah.yarn_app.protocol.config import ServiceGroup
from howdah.yarn_app.yarn.edge_node import check_prerequisites, private_folder
from howdah.yarn_app.yarn.reports import ENDED, ApplicationReport, ContainerStatus

CALL_SECONDS = 30.0
CERTIFICATE_LIFE = datetime.timedelta(days=365)
SUBMIT_SECONDS = 600.0  # local files are uploaded in it


@dataclass(frozen=True, slots=True)
class LocalResource:
    """A file for containers: where it comes from, and who may share YARN's copy of it (YARN's LocalResource)."""

    source: str
    archive: bool = False
    visibility: str = "application"


@dataclass(frozen=True, slots=True)
class SubmissionRequest:
    """All that YARN is asked for in one submission; memory in bytes."""

    name: str
    queue: str
    tags: tuple[str, ...]
    node_label: str
    master_script: str
    master_memory: int
    master_cores: int
    master_files: Mapping[str, LocalResource]
    worker_script: str
    worker_memory: int
    worker_cores: int
    worker_files: Mapping[str, LocalResource]
    env: Mapping[str, str]
    master_env: Mapping[str, str]
    max_attempts: int = 1
    groups: Sequence[ServiceGroup] = field(default_factory=tuple)


class Credentials:
    """A TLS pair for skein's driver and application master: its holder controls the application."""

    def __init__(self, certificate: bytes, key: bytes) -> None:
        self.certificate, self.key = certificate, key

    @classmethod
    def new(cls) -> Credentials:
        """Make a new pair, in memory. As skein makes it, but valid for machines whose clock is behind, too."""
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import rsa
        from cryptography.x509.oid import NameOID

        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "skein-internal")])
        builder = new_certificate(name, key.public_key(), CERTIFICATE_LIFE, issuer=name)
        certificate = builder.sign(key, hashes.SHA256())
        pem = serialization.Encoding.PEM
        plain = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        return cls(certificate.public_bytes(pem), key.private_bytes(pem, *plain))

    def for_skein(self) -> Any:
        """Return the pair as a `skein.Security`."""
        return _skein().Security(cert_bytes=self.certificate, key_bytes=self.key)


def _skein() -> Any:
    """Import skein on first use: it takes a third of a second, and reads the environment at its import."""
    if "skein" in sys.modules:
        return sys.modules["skein"]
    with _distutils_stub():
        try:
            import skein
        except ImportError as error:
            raise HadoopNotFound(
                f"skein, through which howdah talks to YARN, cannot be imported ({error}): pip install 'howdah[yarn]'"
            ) from error
    return skein


@contextlib.contextmanager
def _distutils_stub() -> Iterator[None]:
    """Provide a stand-in for `distutils.version.LooseVersion`: skein 0.8.2 compares one version with it, of grpcio.

    Python 3.12 has no distutils; and setuptools' replacement can deadlock when two threads import (3.11).
    """

    class LooseVersion(str):
        def parts(self) -> tuple[int, ...]:
            return tuple(int(part) for part in re.findall(r"\d+", self))

        def __lt__(self, other: str) -> bool:
            return self.parts() < LooseVersion(other).parts()

    names = ("distutils", "distutils.version")
    before = {name: sys.modules.get(name) for name in names}
    package, version = (types.ModuleType(name) for name in names)
    version.LooseVersion = LooseVersion  # type: ignore[attr-defined]
    package.version = version  # type: ignore[attr-defined]
    sys.modules.update(dict(zip(names, (package, version))))
    try:
        yield
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


def _message(error: Exception) -> str:
    return str(error.args[0] if error.args else error).strip()


class SkeinDriver:
    """skein's Java driver on this machine: submits, reports, kills. A context manager; the process ends with it.

    `PendingDriver` starts one in the background, for the 2.7 s that Java needs.

    Raises
    ------
    HadoopNotFound
        Java, `yarn`, the configuration or the ResourceManager is missing; the message has which.
    """

    def __init__(self) -> None:
        self._log = private_folder() / "log"
        self._client: Any = None
        try:
            check_prerequisites()
            self.credentials = Credentials.new()
            self._client = self._start()
        except BaseException:
            self.close()
            raise

    def _start(self) -> Any:
        skein = _skein()

        class BoundedClient(skein.Client):  # type: ignore[misc, name-defined]  # skein has no types
            def _call(self, method: str, request: Any, timeout: float | None = None) -> Any:
                limit = SUBMIT_SECONDS if method == "submit" else CALL_SECONDS
                return super()._call(method, request, timeout=timeout or limit)

            def __del__(self) -> None:
                # skein's own raises AttributeError when the constructor failed, and hides the reason.
                if hasattr(self, "_proc"):
                    self.close()

        try:
            return BoundedClient(
                security=self.credentials.for_skein(),
                log=str(self._log),
                log_level="WARN",
                java_options=["-Xmx192m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData"],
            )
        except (skein.exceptions.SkeinError, OSError, subprocess.CalledProcessError) as error:
            raise HadoopNotFound(
                f"skein's Java driver did not start: {_message(error)}\n{self._tail()}{_java_hint(self._tail())}"
            ) from error

    def _tail(self) -> str:
        lines = self._log.read_text(errors="replace").splitlines()[-12:] if self._log.exists() else []
        return "\n".join(lines)

    def close(self) -> None:
        """End the Java process. Closing twice does nothing."""
        client, self._client = self._client, None
        if client is not None:
            client.close()
        shutil.rmtree(self._log.parent, ignore_errors=True)

    def __enter__(self) -> SkeinDriver:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @contextlib.contextmanager
    def _translated(self, what: str) -> Iterator[None]:
        skein = _skein()
        try:
            yield
        except skein.exceptions.TimeoutError as error:
            raise DeadlineExceeded(
                f"YARN did not answer within {CALL_SECONDS:.0f} s ({what}). {self._tail()}"
            ) from error
        except skein.exceptions.SkeinError as error:
            raise HowdahError(f"{what}: {_message(error)}") from error

    def submit(self, request: SubmissionRequest) -> str:
        """Submit the application; return its id.

        Raises
        ------
        ResourceRefused
            YARN can never give these resources, or has no such queue.
        HowdahError
            YARN or HDFS refused; the message is theirs.
        """
        skein = _skein()
        spec = self._specification(request)
        try:
            return str(self._client.submit(spec))
        except (skein.exceptions.SkeinError, ValueError) as error:
            text = _message(error)
            if re.search(
                r"InvalidResourceRequest|maximum allowed allocation|exceeds maximum|unknown queue|non-leaf", text, re.I
            ):
                raise ResourceRefused(f"YARN refused the application: {text}") from error
            raise HowdahError(f"YARN did not accept the application: {text}") from error

    def _specification(self, request: SubmissionRequest) -> Any:
        skein = _skein()

        def files(wanted: Mapping[str, LocalResource]) -> dict[str, Any]:
            return {
                name: skein.File(entry.source, type="archive" if entry.archive else "file", visibility=entry.visibility)
                for name, entry in wanted.items()
            }

        def resources(size: int, cores: int) -> Any:
            return skein.Resources(memory=size >> 20, vcores=cores)

        services = {
            group.service: skein.Service(
                resources=resources(request.worker_memory, request.worker_cores),
                script=request.worker_script,
                instances=group.instances,
                files=files(request.worker_files),
                env=dict(request.env),
                max_restarts=0,  # the fleet decides: backoff, crash-loop limit, exclusion
                allow_failures=True,
                nodes=[group.host] if group.host else None,
                relax_locality=not group.host,  # the fleet relaxes: YARN does so too soon
                node_label=request.node_label,
            )
            for group in request.groups
        }
        master = skein.Master(
            resources=resources(request.master_memory, request.master_cores),
            script=request.master_script,
            files=files(request.master_files),
            env=dict(request.master_env),
            security=self.credentials.for_skein(),
        )
        return skein.ApplicationSpec(
            services=services,
            master=master,
            name=request.name,
            queue=request.queue,
            tags=set(request.tags),
            max_attempts=request.max_attempts,
            node_label=request.node_label,
        )

    def report(self, app_id: str) -> ApplicationReport:
        """Return YARN's report on the application."""
        with self._translated(f"asking YARN about {app_id}"):
            return _report(self._client.application_report(app_id))

    def kill(self, app_id: str) -> None:
        """Have YARN kill the application. Killing one that has ended does nothing."""
        with self._translated(f"killing {app_id}"):
            self._client.kill_application(app_id)

    def applications(self, states: Sequence[str] | None = None) -> list[ApplicationReport]:
        """Return the reports on all users' applications of skein's kind, in these states; None is all states."""
        known = states or ["NEW", "NEW_SAVING", "SUBMITTED", "ACCEPTED", "RUNNING", *sorted(ENDED)]
        with self._translated("listing applications"):
            return [_report(one) for one in self._client.get_applications(states=known)]

    def connect(self, report: ApplicationReport, credentials: Credentials | None = None) -> ApplicationMaster:
        """Connect to the application master of a running application."""
        return ApplicationMaster(report.address, report.app_id, credentials or self.credentials)


class PendingDriver:
    """A `SkeinDriver` that is started in the background. `get()` returns it, or raises the error of its start."""

    def __init__(self) -> None:
        self.seconds = 0.0
        # On this thread: imports of two threads at once can deadlock (Python 3.11).
        _skein()
        importlib.import_module("cryptography.hazmat.primitives.asymmetric.rsa")
        importlib.import_module("cryptography.x509")
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="skein-driver")
        self._driver: Future[SkeinDriver] = self._pool.submit(self._start)
        self._pool.shutdown(wait=False)

    def _start(self) -> SkeinDriver:
        began = time.monotonic()
        driver = SkeinDriver()
        self.seconds = time.monotonic() - began
        return driver

    def get(self) -> SkeinDriver:
        """Wait for the driver."""
        return self._driver.result()

    def close(self) -> None:
        """End the driver, also one that is still starting."""
        with contextlib.suppress(HowdahError):
            self._driver.result().close()


class ApplicationMaster:
    """The application master of one application: its key-value store, containers and end."""

    def __init__(self, address: str, app_id: str, credentials: Credentials) -> None:
        skein = _skein()

        class BoundedApplicationClient(skein.ApplicationClient):  # type: ignore[misc, name-defined]  # skein has no types
            def _call(self, method: str, request: Any, timeout: float | None = None) -> Any:
                return super()._call(method, request, timeout=timeout or CALL_SECONDS)

        self.app_id = app_id
        self._client = BoundedApplicationClient(address, app_id, security=credentials.for_skein())

    @classmethod
    def from_current(cls) -> ApplicationMaster:
        """Connect from inside a container of the application."""
        app_id, address = os.environ.get("SKEIN_APPLICATION_ID"), os.environ.get("SKEIN_APPMASTER_ADDRESS")
        folder = _skein().properties.container_dir
        if not app_id or not address or not folder:
            raise HowdahError("this is not a container of a howdah application: use YarnCluster.from_application_id")
        return cls(
            address,
            app_id,
            Credentials((Path(folder) / ".skein.crt").read_bytes(), (Path(folder) / ".skein.pem").read_bytes()),
        )

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    @contextlib.contextmanager
    def _translated(self, what: str) -> Iterator[None]:
        skein = _skein()
        try:
            yield
        except skein.exceptions.SkeinError as error:
            raise MasterUnreachable(
                f"{what}: the application master of {self.app_id} does not answer ({_message(error)})"
            ) from error
        except ValueError as error:  # e.g. a container that has ended: skein raises ValueError
            raise HowdahError(f"{what}: {_message(error)}") from error

    def put(self, key: str, value: bytes) -> None:
        """Store a value in the key-value store."""
        with self._translated(f"writing {key}"):
            self._client.kv[key] = value

    def get(self, key: str) -> bytes | None:
        """Return the value of a key; None where there is none."""
        with self._translated(f"reading {key}"):
            found: bytes | None = self._client.kv.get(key)
            return found

    def get_prefix(self, prefix: str) -> dict[str, bytes]:
        """Return the keys that begin with `prefix`, and their values."""
        with self._translated(f"reading {prefix}*"):
            return dict(self._client.kv.get_prefix(prefix))

    def delete(self, key: str) -> None:
        """Remove a key, if it is there."""
        with self._translated(f"removing {key}"):
            self._client.kv.discard(key)

    def containers(self, *, ended: bool = True) -> list[ContainerStatus]:
        """Return the worker containers, with `ended` also those that have ended."""
        states = ["WAITING", "REQUESTED", "RUNNING", *(["SUCCEEDED", "FAILED", "KILLED"] if ended else [])]
        with self._translated("listing containers"):
            return [_container_status(one) for one in self._client.get_containers(states=states)]

    def started(self) -> dict[str, float]:
        """Return when YARN was asked to start each running container, by name (seconds since 1970)."""
        with self._translated("listing containers"):
            found = self._client.get_containers(states=["RUNNING"])
            return {one.id: one.start_time.timestamp() for one in found if one.start_time}

    def add(self, service: str) -> None:
        """Request one more container of a service."""
        with self._translated(f"adding a container of {service}"):
            self._client.add_container(service)

    def remove(self, name: str) -> None:
        """End one container, if it has not ended."""
        with contextlib.suppress(HowdahError), self._translated(f"removing {name}"):
            self._client.kill_container(name)

    def progress(self, done: float) -> None:
        """Report progress, from 0 to 1, for YARN's own pages."""
        with self._translated("reporting progress"):
            self._client.set_progress(min(1.0, max(0.0, done)))

    def add_page(self, route: str, target: str, link: str) -> str:
        """Show the pages at `target` through YARN's proxy; return their address there."""
        with self._translated("adding a page"):
            return str(self._client.ui.add_page(route, target, link_name=link).address)

    def pages(self) -> dict[str, str]:
        """Return the addresses of the pages, by route."""
        with self._translated("asking for pages"):
            return {route: str(page.address) for route, page in self._client.ui.get_pages().items()}

    def shutdown(self, status: str, diagnostics: str) -> None:
        """End the application, with every container, in this status (SUCCEEDED, FAILED or KILLED)."""
        with self._translated("ending the application"):
            self._client.shutdown(status, diagnostics)


class MasterUnreachable(HowdahError):
    """The application master does not answer: the application has ended, is ending, or its node is lost."""


def _report(found: Any) -> ApplicationReport:
    used = found.usage.used_resources if found.usage else None
    return ApplicationReport(
        app_id=found.id,
        name=found.name,
        user=found.user,
        queue=found.queue,
        state=str(found.state),
        final_status=str(found.final_status),
        progress=float(found.progress),
        diagnostics=(found.diagnostics or "").strip(),
        tracking_url=found.tracking_url or "",
        address=f"{found.host}:{found.port}",
        started=found.start_time.timestamp() if found.start_time else 0.0,
        finished=found.finish_time.timestamp() if found.finish_time else 0.0,
        memory=(used.memory << 20) if used else 0,
        cores=used.vcores if used else 0,
        containers=max(0, found.usage.num_used_containers) if found.usage else 0,
        tags=tuple(sorted(found.tags or ())),
    )


def _container_status(found: Any) -> ContainerStatus:
    address = found.yarn_node_http_address or ""
    return ContainerStatus(
        name=found.id,
        service=found.service_name,
        state=str(found.state),
        host=address.rpartition(":")[0],
        container=found.yarn_container_id or "",
        message=found.exit_message or "",
        address=address,
    )


def _java_hint(log: str) -> str:
    if "NoClassDefFoundError" in log:
        return "\n`yarn classpath --glob` does not list Hadoop's jars: is the Hadoop client installed here?"
    if "kinit" in log or "GSSException" in log:
        return "\nThere is no valid Kerberos ticket: run kinit."
    return ""
