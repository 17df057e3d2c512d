"""YarnCluster: a howdah cluster as one YARN application, held from a program or a notebook.

For users. It promises: when the constructor returns, the scheduler listens and a worker is at work; the application
ends with the `with` block, with `shutdown`, or `lease` seconds after this process has gone, however it went; nothing
is left behind.
"""

from __future__ import annotations

import html
import os
import shutil
import weakref
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table

from howdah.engine.deploy.cluster import Cluster
from howdah.errors import DeadlineExceeded, HadoopNotFound, HowdahError, bad_value
from howdah.yarn_app.protocol import kv_keys
from howdah.yarn_app.specification.specification import Specification
from howdah.yarn_app.submit import submit as submission
from howdah.yarn_app.submit.application import Application
from howdah.yarn_app.ui import progress
from howdah.yarn_app.yarn import edge_node, logs
from howdah.yarn_app.yarn.resource_manager import RestUnavailable
from howdah.yarn_app.yarn.skein_client import MasterUnreachable


class YarnCluster(Cluster):
    """Start a cluster in YARN. Fields are those of `Specification`; dask-yarn's names are taken too.

    Parameters
    ----------
    **fields : of `Specification`, e.g. ``environment="etl", n_workers=4, worker_memory="4GiB"``; and
        ``show``: "auto", "quiet" or "json", what is printed while it starts.

    Raises
    ------
    SpecificationError, HadoopNotFound, ResourceRefused, EnvironmentMismatch
        Found before anything was submitted.
    ApplicationFailed
        YARN or a container failed; the message has their words.
    DeadlineExceeded
        YARN did not give the containers within `start_timeout`; the application was ended.

    Examples
    --------
    >>> with YarnCluster(n_workers=4, worker_memory="4GiB") as cluster, Client(cluster) as client:  # doctest: +SKIP
    ...     client.submit(sum, [1, 2]).result()
    3
    """

    def __init__(self, *, show: str = "auto", **fields: Any) -> None:
        self._start(Specification(**fields), show)

    @classmethod
    def from_specification(
        cls, source: Specification | Mapping[str, Any] | str | Path, *, show: str = "auto"
    ) -> YarnCluster:
        """From a `Specification`, a mapping, YAML text, or the path of a YAML file."""
        cluster = object.__new__(cls)
        cluster._start(Specification.from_any(source), show)
        return cluster

    @classmethod
    def from_application_id(cls, app_id: str) -> YarnCluster:
        """Join a running application of yours, e.g. from another shell. `close` lets go of it and leaves it running.

        Raises
        ------
        PathMissing
            It has ended, or is somebody else's.
        """
        manager, staging = submission.connect_hadoop()
        application = Application.find(app_id, manager, staging)
        folder = edge_node.private_folder()
        client = folder / "client"
        client.mkdir(mode=0o700)
        for name in ("ca.pem", "cert.pem", "key.pem"):
            with open(os.open(client / name, os.O_CREAT | os.O_WRONLY, 0o600), "wb") as file:
                file.write(staging.read(app_id, f"client/{name}"))
        status = application.status()
        cluster = object.__new__(cls)
        cluster._specification = None
        cluster._join(application, folder, status, owner=False, lease=15.0)
        return cluster

    @classmethod
    def from_current(cls) -> YarnCluster | CurrentCluster:
        """The cluster that this program runs in: for driver programs that `howdah submit` started.

        Raises
        ------
        HowdahError
            This program was not started by `howdah submit`.
        """
        if "HOWDAH_APPLICATION" not in os.environ:
            raise HowdahError(
                "this program was not started by `howdah submit`: make a YarnCluster(...), or join one with "
                "YarnCluster.from_application_id"
            )
        return CurrentCluster()

    def _start(self, spec: Specification, show: str) -> None:
        self._specification: Specification | None = spec
        shown = progress.choose_reporter(as_json=show == "json", quiet=show == "quiet")
        with shown:
            submitted = submission.submit(spec, shown)
            application = submitted.application
            try:
                application.await_master(shown, spec.start_timeout)
                application.keep_alive(kv_keys.LEASE, max(0.5, min(5.0, spec.lease / 4)))
                shown.phase("unpacking", "YARN unpacks the environment on the nodes, unless they have it")
                status = application.await_status(
                    shown, "no scheduler", lambda s: bool(s["scheduler"]), spec.start_timeout
                )
                if spec.n_workers:
                    status = application.await_status(
                        shown, "no worker started", lambda s: s["joined"] > 0, spec.start_timeout
                    )
            except BaseException as error:
                try:
                    application.kill(f"its start failed: {type(error).__name__}")
                except HowdahError as another:
                    error.add_note(f"{application.app_id} could not be ended: {another}")
                submitted.close()
                raise
            shown.phase("running", f"{application.app_id}")
        self._join(application, submitted.folder, status, owner=True, lease=0.0)

    def _join(
        self, application: Application, folder: Path, status: dict[str, Any], *, owner: bool, lease: float
    ) -> None:
        self._application, self._folder, self._owner = application, folder, owner
        self.scheduler_address: str = status.get("scheduler", "")
        self.expected_workers = int(status.get("wanted", 0))
        self.scratch_root: str | None = status.get("staging") or None
        if lease:
            application.keep_alive(kv_keys.LEASE, min(5.0, lease / 4))
        self._closed = False
        self._finalizer = weakref.finalize(self, _close_unclosed, application, folder, owner)

    # -- what it is

    @property
    def app_id(self) -> str:
        """YARN's id of the application."""
        return self._application.app_id

    @property
    def name(self) -> str:
        return self._specification.name if self._specification else self.app_id

    @property
    def specification(self) -> Specification | None:
        """What was asked for; None where somebody else asked."""
        return self._specification

    @property
    def security(self) -> str:
        """The security directory with which clients connect."""
        return str(self._folder / "client")

    def locate_scheduler(self) -> str:
        """Where the scheduler is now, for a client that has lost it; "" while YARN starts the next attempt.

        Raises
        ------
        ApplicationFailed
            The application has ended.
        """
        if self._closed:
            raise HowdahError(f"{self.app_id} was closed or let go here")
        try:
            found = self.status()
            if found.get("exit_code") is not None or (not found and self._application.report().ended):
                raise self._application.failed(self._application.report())
        except (HadoopNotFound, DeadlineExceeded, RestUnavailable):
            return ""  # YARN is away itself: it keeps its applications
        address = str(found.get("scheduler") or "")
        self.scheduler_address = address or self.scheduler_address
        return address

    @property
    def dashboard_link(self) -> str:
        """The application's page behind YARN's proxy."""
        return self._application.report().tracking_url

    def status(self) -> dict[str, Any]:
        """The master's latest word on workers and work."""
        return self._application.status()

    def workers(self) -> list[dict[str, str]]:
        """The worker containers that live: name, state, host, YARN's container id."""
        found = self._application.master().containers(ended=False)
        return [{"name": one.name, "state": one.state, "host": one.host, "container": one.container} for one in found]

    def logs(self) -> dict[str, dict[str, str]]:
        """Container id -> file name -> text."""
        return logs.container_logs(self._application.manager, self.app_id, ended=self._application.report().ended)

    # -- what it does

    def scale(self, n: int) -> None:
        """Ask for `n` workers. Returns at once; `wait_for_workers` of a client waits."""
        if isinstance(n, bool) or not isinstance(n, int) or n < 0:
            raise bad_value("n", n, "give a whole number, 0 or more")
        self._application.command(kv_keys.SCALE, str(n).encode())

    def shutdown(self, status: str = "SUCCEEDED", diagnostics: str = "") -> None:
        """End the application with this status; returns when YARN has, and nothing is left. Doing so twice is fine."""
        if status not in ("SUCCEEDED", "FAILED", "KILLED"):
            raise bad_value("status", status, "give SUCCEEDED, FAILED or KILLED")
        if not self._closed:
            self._closed = True
            self._finalizer.detach()
            try:
                self._application.end(status, diagnostics or f"shut down by its client ({status.lower()})")
            finally:
                self._release()

    def close(self) -> None:
        """End the application if this object started it, else let go of it."""
        if self._owner:
            self.shutdown()
        elif not self._closed:
            self._closed = True
            self._finalizer.detach()
            self._release()

    def _release(self) -> None:
        self._application.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> YarnCluster:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None and self._owner:
            self.shutdown("FAILED", f"the client's program failed: {kind.__name__ if kind else ''}: {error}"[:2000])
        self.close()

    # -- what people see

    def _facts(self) -> list[tuple[str, str]]:
        if self._closed:
            return [("application", self.app_id), ("state", "ended" if self._owner else "let go")]
        try:
            status = self.status()
        except (HowdahError, MasterUnreachable):
            status = {}
        work = status.get("work") or {}
        return [
            ("application", self.app_id),
            ("workers", f"{status.get('joined', 0)} at work, {status.get('wanted', 0)} wanted"),
            ("tasks", f"{work.get('done', 0)} of {work.get('total', 0)} done"),
            ("scheduler", self.scheduler_address),
            ("page", self.dashboard_link),
        ]

    def __repr__(self) -> str:
        state = "ended" if self._closed else self.scheduler_address
        return f"<YarnCluster {self.name!r} {self.app_id} {state}>"

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        table = Table(title=f"YarnCluster {self.name}", show_header=False, title_justify="left")
        for name, value in self._facts():
            table.add_row(name, value)
        yield table

    def _repr_html_(self) -> str:
        def cell(name: str, value: str) -> str:
            shown = html.escape(value)
            return (
                f'<a href="{shown}" target="_blank">{shown}</a>'
                if name == "page" and value.startswith("http")
                else shown
            )

        rows = "".join(
            f'<tr><th style="text-align:left">{name}</th><td style="text-align:left">{cell(name, value)}</td></tr>'
            for name, value in self._facts()
        )
        return f"<b>YarnCluster {html.escape(self.name)}</b><table>{rows}</table>"


class CurrentCluster(Cluster):
    """The cluster around a driver program: `Client(YarnCluster.from_current())`. It ends with the program."""

    def __init__(self) -> None:
        self.app_id = os.environ["HOWDAH_APPLICATION"]
        self.name = self.app_id
        self.scheduler_address = os.environ["HOWDAH_SCHEDULER"]
        self._security = os.environ["HOWDAH_SECURITY"]
        self.scratch_root: str | None = os.environ.get("HOWDAH_STAGING") or None
        self.expected_workers = int(os.environ.get("HOWDAH_WORKERS") or 0)

    @property
    def security(self) -> str:
        """The security directory with which clients connect."""
        return self._security

    def scale(self, n: int) -> None:
        """Ask for `n` workers; returns at once. Only for driver programs that run in YARN (cluster mode)."""
        from howdah.yarn_app.yarn.skein_client import ApplicationMaster

        if isinstance(n, bool) or not isinstance(n, int) or n < 0:
            raise bad_value("n", n, "give a whole number, 0 or more")
        master = ApplicationMaster.from_current()
        try:
            master.put(kv_keys.SCALE, str(n).encode())
        finally:
            master.close()

    def close(self) -> None:
        """Nothing: the application ends with the driver program."""

    def __enter__(self) -> CurrentCluster:
        return self

    def __exit__(self, *exc: object) -> None:
        pass


def _close_unclosed(application: Application, folder: Path, owner: bool) -> None:
    """For a cluster that nobody closed: at exit, or when it is collected."""
    try:
        if owner:
            application.end("KILLED", "its client's program ended without closing it")
    except HowdahError:
        application.stop_keepalive()  # the lease ends it
    finally:
        application.close()
        shutil.rmtree(folder, ignore_errors=True)
