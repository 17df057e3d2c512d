"""YarnCluster: a howdah cluster as one YARN application, started or joined from a program or a notebook.

For users. It promises: when the constructor returns, the scheduler listens and a worker is connected; the application
ends with the `with` block, with `shutdown`, or `lease` seconds after this process has ended, for whatever reason;
nothing is left behind.
"""

from __future__ import annotations

import html
import os
import shutil
import weakref
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Unpack

from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table

from howdah.engine.deploy.cluster import Cluster
from howdah.errors import DeadlineExceeded, HadoopNotFound, HowdahError, bad_value
from howdah.yarn_app.protocol import kv_keys
from howdah.yarn_app.protocol.status import FinalStatus, MasterStatus
from howdah.yarn_app.specification.fields import SpecificationFields
from howdah.yarn_app.specification.specification import Specification, list_fields
from howdah.yarn_app.submit import submit as submission
from howdah.yarn_app.submit.application import Application
from howdah.yarn_app.ui import progress
from howdah.yarn_app.yarn import edge_node, logs
from howdah.yarn_app.yarn.resource_manager import RestUnavailable
from howdah.yarn_app.yarn.skein_client import ApplicationMaster, MasterUnreachable

_JOINED_LEASE = 15.0
_MAX_DIAGNOSTICS = 2000


class YarnCluster(Cluster):
    """Start a cluster as one YARN application.

    Parameters
    ----------
    **fields : fields of `Specification`
        As in ``environment="etl", n_workers=4, worker_memory="4GiB"``; names of dask-yarn and Spark are accepted too.
    show : str
        What is printed while the cluster starts: "auto", "quiet" or "json".

    Raises
    ------
    SpecificationError, HadoopNotFound, ResourceRefused, EnvironmentMismatch
        Found before anything was submitted.
    ApplicationFailed
        YARN or a container failed; the message has their diagnostics.
    DeadlineExceeded
        YARN did not grant the containers within `start_timeout`; the application was ended.

    Examples
    --------
    >>> with YarnCluster(n_workers=4, worker_memory="4GiB") as cluster, Client(cluster) as client:  # doctest: +SKIP
    ...     client.submit(sum, [1, 2]).result()
    3
    """

    scheduler_address: str
    scratch_root: str | None
    expected_workers: int

    @list_fields
    def __init__(self, *, show: str = "auto", **fields: Unpack[SpecificationFields]) -> None:
        self._start(Specification(**fields), show)

    @classmethod
    def from_specification(
        cls, source: Specification | Mapping[str, Any] | str | Path, *, show: str = "auto"
    ) -> YarnCluster:
        """Start a cluster from a specification.

        Parameters
        ----------
        source : Specification, mapping, str or Path
            A specification, a mapping of its fields, YAML text, or the path of a YAML file.
        show : str
            What is printed while the cluster starts: "auto", "quiet" or "json".

        Returns
        -------
        YarnCluster

        Raises
        ------
        HowdahError
            As the constructor.

        Examples
        --------
        >>> cluster = YarnCluster.from_specification("cluster.yaml")  # doctest: +SKIP
        """
        cluster = object.__new__(cls)
        cluster._start(Specification.from_any(source), show)
        return cluster

    @classmethod
    def from_application_id(cls, app_id: str) -> YarnCluster:
        """Join a running application of the same user, e.g. from another shell.

        Parameters
        ----------
        app_id : str
            YARN's id of the application, as `howdah list` shows it.

        Returns
        -------
        YarnCluster
            Its `close` detaches from the application and leaves it running.

        Raises
        ------
        PathMissing
            The application has ended, or is another user's.

        Examples
        --------
        >>> cluster = YarnCluster.from_application_id("application_1700000000000_0001")  # doctest: +SKIP
        """
        manager, staging = submission.connect_hadoop()
        application = Application.find(app_id, manager, staging)
        folder = edge_node.private_folder()
        client = folder / "client"
        client.mkdir(mode=0o700)
        for name in ("ca.pem", "cert.pem", "key.pem"):
            with open(os.open(client / name, os.O_CREAT | os.O_WRONLY, 0o600), "wb") as file:
                file.write(staging.read(app_id, f"client/{name}"))
        status = application.status() or MasterStatus()
        cluster = object.__new__(cls)
        cluster._specification = None
        cluster._attach(application, folder, status, owner=False)
        application.keep_alive(kv_keys.LEASE, min(5.0, _JOINED_LEASE / 4))
        return cluster

    @classmethod
    def from_current(cls) -> CurrentCluster:
        """Return the cluster that this program runs in: for driver programs that `howdah submit` started.

        Returns
        -------
        CurrentCluster

        Raises
        ------
        HowdahError
            This program was not started by `howdah submit`.

        Examples
        --------
        >>> client = Client(YarnCluster.from_current())  # doctest: +SKIP
        """
        if "HOWDAH_APPLICATION" not in os.environ:
            raise HowdahError(
                "this program was not started by `howdah submit`: make a YarnCluster(...), or join one with "
                "YarnCluster.from_application_id"
            )
        return CurrentCluster()

    def _start(self, spec: Specification, show: str) -> None:
        self._specification: Specification | None = spec
        reporter = progress.choose_reporter(as_json=show == "json", quiet=show == "quiet")
        with reporter:
            submitted = submission.submit(spec, reporter)
            application = submitted.application
            try:
                application.await_master(reporter, spec.start_timeout)
                application.keep_alive(kv_keys.LEASE, max(0.5, min(5.0, spec.lease / 4)))
                reporter.phase("unpacking", "YARN unpacks the environment on the nodes, unless they have it")
                status = application.await_status(
                    reporter, "no scheduler", lambda s: bool(s.scheduler), spec.start_timeout
                )
                if spec.n_workers:
                    status = application.await_status(
                        reporter, "no worker started", lambda s: s.joined > 0, spec.start_timeout
                    )
            except BaseException as error:
                try:
                    application.kill(f"its start failed: {type(error).__name__}")
                except HowdahError as another:
                    error.add_note(f"{application.app_id} could not be ended: {another}")
                submitted.close()
                raise
            reporter.phase("running", f"{application.app_id}")
        self._attach(application, submitted.folder, status, owner=True)

    def _attach(self, application: Application, folder: Path, status: MasterStatus, *, owner: bool) -> None:
        self._application, self._folder, self._owner = application, folder, owner
        self.scheduler_address = status.scheduler
        self.expected_workers = status.wanted
        self.scratch_root = status.staging or None
        self._closed = False
        self._finalizer = weakref.finalize(self, _close_unclosed, application, folder, owner)

    # -- what it is

    @property
    def app_id(self) -> str:
        """YARN's id of the application."""
        return self._application.app_id

    @property
    def name(self) -> str:
        """The name of the application; its id where another process started it."""
        return self._specification.name if self._specification else self.app_id

    @property
    def specification(self) -> Specification | None:
        """The specification; None where another process started the application."""
        return self._specification

    @property
    def security(self) -> str:
        """The security directory with which clients connect."""
        return str(self._folder / "client")

    def locate_scheduler(self) -> str:
        """Return the scheduler's address now, for a client whose connection is lost.

        Returns
        -------
        str
            "" while YARN starts the next attempt.

        Raises
        ------
        ApplicationFailed
            The application has ended.
        """
        if self._closed:
            raise HowdahError(f"{self.app_id} was closed here")
        try:
            found = self._application.status()
            if isinstance(found, FinalStatus) or (found is None and self._application.report().ended):
                raise self._application.failed(self._application.report())
        except (HadoopNotFound, DeadlineExceeded, RestUnavailable):
            return ""  # YARN itself does not answer: it keeps its applications
        address = found.scheduler if found is not None else ""
        self.scheduler_address = address or self.scheduler_address
        return address

    @property
    def dashboard_link(self) -> str:
        """URL of the application's page behind YARN's proxy."""
        return self._application.report().tracking_url

    def status(self) -> dict[str, Any]:
        """Return the master's latest status of workers and work.

        Returns
        -------
        dict
            The fields of `howdah status --json`, `{}` while no master answers: `wanted`, `joined`, `running` and
            `pending` workers, `work` (tasks and bytes), `lost` and `preempted` containers, `attempt`, `phase` and more.

        Examples
        --------
        >>> cluster.status()["joined"]  # doctest: +SKIP
        4
        """
        found = self._application.status()
        return found.as_dict() if found is not None else {}

    def workers(self) -> list[dict[str, str]]:
        """Return the worker containers that are running or requested.

        Returns
        -------
        list of dict
            For each its `name`, `state`, `host` and `container`, YARN's id.
        """
        found = self._application.master().containers(ended=False)
        return [{"name": one.name, "state": one.state, "host": one.host, "container": one.container} for one in found]

    def logs(self) -> dict[str, dict[str, str]]:
        """Return the logs of the application's containers.

        Returns
        -------
        dict
            Container id -> file name -> text.

        Raises
        ------
        HowdahError
            YARN has no logs of the application.
        """
        return logs.container_logs(self._application.manager, self.app_id, ended=self._application.report().ended)

    # -- what it does

    def scale(self, n: int) -> None:
        """Request `n` workers. Returns at once; `Client.wait_for_workers` waits for them.

        Parameters
        ----------
        n : int
            Number of workers, 0 or more.

        Raises
        ------
        InputError
            `n` is not a whole number, or below 0.
        """
        self._application.command(kv_keys.SCALE, _encode_count(n))

    def shutdown(self, status: str = "SUCCEEDED", diagnostics: str = "") -> None:
        """End the application; return when YARN has ended it, and nothing is left. Doing so twice is fine.

        Parameters
        ----------
        status : str
            SUCCEEDED, FAILED or KILLED.
        diagnostics : str
            The reason that YARN shows.

        Raises
        ------
        InputError
            There is no such status.
        """
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
        """End the application if this object started it, else detach from it. Closing twice is fine."""
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
            diagnostics = f"the client's program failed: {kind.__name__ if kind else ''}: {error}"
            self.shutdown("FAILED", diagnostics[:_MAX_DIAGNOSTICS])
        self.close()

    # -- what users see

    def _facts(self) -> list[tuple[str, str]]:
        if self._closed:
            return [("application", self.app_id), ("state", "ended" if self._owner else "detached")]
        try:
            status = self._application.status() or MasterStatus()
        except (HowdahError, MasterUnreachable):
            status = MasterStatus()
        tasks = status.work.tasks
        return [
            ("application", self.app_id),
            ("workers", f"{status.joined} connected, {status.wanted} wanted"),
            ("tasks", f"{tasks.get('done', 0)} of {tasks.get('total', 0)} done"),
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
    """The cluster around a driver program, for `Client(YarnCluster.from_current())`. It ends with the program.

    Attributes
    ----------
    app_id, name : YARN's id of the application.
    """

    def __init__(self) -> None:
        self.app_id = os.environ["HOWDAH_APPLICATION"]
        self.name = self.app_id
        self.scheduler_address: str = os.environ["HOWDAH_SCHEDULER"]
        self.scratch_root: str | None = os.environ.get("HOWDAH_STAGING") or None
        self.expected_workers: int = int(os.environ.get("HOWDAH_WORKERS") or 0)
        self._security = os.environ["HOWDAH_SECURITY"]

    @property
    def security(self) -> str:
        """The security directory with which clients connect."""
        return self._security

    def scale(self, n: int) -> None:
        """Request `n` workers. Returns at once. Only for driver programs that run in YARN (cluster mode).

        Parameters
        ----------
        n : int
            Number of workers, 0 or more.

        Raises
        ------
        InputError
            `n` is not a whole number, or below 0.
        HowdahError
            This program does not run in a container.
        """
        count = _encode_count(n)
        master = ApplicationMaster.from_current()
        try:
            master.put(kv_keys.SCALE, count)
        finally:
            master.close()

    def close(self) -> None:
        """Do nothing: the application ends with the driver program."""


def _encode_count(n: int) -> bytes:
    if isinstance(n, bool) or not isinstance(n, int) or n < 0:
        raise bad_value("n", n, "give a whole number, 0 or more")
    return str(n).encode()


def _close_unclosed(application: Application, folder: Path, owner: bool) -> None:
    """Close a cluster that the program did not close: at its exit, or when the object is collected."""
    try:
        if owner:
            application.end("KILLED", "its client's program ended without closing it")
    except HowdahError:
        application.stop_keepalive()  # the lease ends it
    finally:
        application.close()
        shutil.rmtree(folder, ignore_errors=True)
