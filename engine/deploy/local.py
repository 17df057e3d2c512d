"""`LocalCluster`: the scheduler on a thread of this process, workers as processes of this machine, over Unix sockets.

For users. All its files are in one private folder (0700) in the temporary directory. Workers end when this process
ends, however it ends, and a folder whose process is gone is removed when the next cluster starts.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import html
import json
import logging
import os
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from howdah.engine.comm.connection.event_loop import loop_thread
from howdah.engine.deploy.cluster import Cluster
from howdah.engine.graph.annotations import parse_bytes, parse_resources
from howdah.engine.scheduler.server.server import Server
from howdah.engine.scheduler.server.status_page import StatusServer
from howdah.engine.worker.exits import CRASH_SECONDS, GAVE_UP, MAX_CRASHES, exit_reason
from howdah.errors import DeadlineExceeded, HowdahError, bad_value

log = logging.getLogger(__name__)

PREFIX = "howdah-local-"
GRACE = 5.0
"""Seconds that a worker has after SIGTERM to save its results."""


class LocalCluster(Cluster):
    """A cluster of worker processes on this machine.

    The constructor returns while workers are still starting; work that is submitted meanwhile waits for them. Each has
    a supervisor (`howdah.engine.worker.process.supervisor`), which restarts it when it dies.

    Parameters
    ----------
    n_workers : worker processes; the default is one per core.
    threads_per_worker : tasks that each runs at once.
    memory_limit : bytes (or text, as "2GiB") per worker; default: this machine's memory divided among them.
    resources : amounts that each worker has and tasks may require, as ``{"gpu": 1}``.
    name : shown to users.
    local_directory : where the folder of sockets is made; default: the temporary directory.
    status_port : of the status page on 127.0.0.1; 0 is any, None is no page.
    lease : seconds for which a client that lost its connection keeps its work.

    Attributes
    ----------
    processes : the supervisors' processes by worker name.
    server : the scheduler's server, which runs on `loop_thread` of this process.
    directory : the folder of sockets, private to this user.

    Raises
    ------
    InputError : a value is not valid.

    Examples
    --------
    >>> from howdah.engine.api import Client
    >>> with LocalCluster(1) as cluster, Client(cluster) as client:
    ...     client.submit(sum, [1, 2]).result()
    3
    """

    scratch_root = None
    expected_workers = 0

    def __init__(
        self,
        n_workers: int | None = None,
        threads_per_worker: int = 1,
        memory_limit: int | str | None = None,
        *,
        resources: Mapping[str, float] | None = None,
        name: str = "local",
        local_directory: str | os.PathLike[str] | None = None,
        status_port: int | None = None,
        lease: float = 60.0,
    ) -> None:
        n_workers = len(os.sched_getaffinity(0)) if n_workers is None else n_workers
        if n_workers < 0:
            raise bad_value("n_workers", n_workers, "give a number from 0 on")
        if threads_per_worker < 1:
            raise bad_value("threads_per_worker", threads_per_worker, "give at least 1")
        self.name, self.threads_per_worker = name, threads_per_worker
        self.memory_limit = _bytes_of(memory_limit, max(n_workers, 1))
        self.resources = parse_resources("resources", resources or {})
        self._guard = threading.RLock()
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._leaving: dict[str, subprocess.Popen[bytes]] = {}
        self._supervisor_sockets: dict[str, socket.socket] = {}
        self._crashes: list[float] = []
        self._next = 0
        self._closed = False
        self.failure: str = ""
        root = Path(local_directory or tempfile.gettempdir())
        _remove_stale(root)
        self.directory = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-{_started(os.getpid())}-", dir=root))
        self.loop_thread = loop_thread()
        self.status_url = ""
        try:
            self.server = self.loop_thread.call(self._serve(lease, status_port))
            self.scheduler_address = self.server.address
            self.scale(n_workers)
        except BaseException:
            shutil.rmtree(self.directory, ignore_errors=True)
            raise
        _open.add(self)

    async def _serve(self, lease: float, status_port: int | None) -> Server:
        server = Server(None, self.name, lease=lease, worker_lease=5.0)
        server.open(f"unix://{self.directory}/scheduler")
        if status_port is not None:
            self._page = StatusServer(server.queries, server.metrics)
            self.status_url = self._page.open("127.0.0.1", status_port)
        return server

    # -- workers --------------------------------------------------------------------------------------------------

    def scale(self, n: int) -> None:
        """Start or retire workers until there are `n`. The youngest retire first; they save their results.

        Parameters
        ----------
        n : number of workers.

        Raises
        ------
        InputError : `n` is negative.
        HowdahError : the cluster is closed, or its workers die as soon as they start.
        """
        if n < 0:
            raise bad_value("n", n, "give a number from 0 on")
        self.loop_thread.check()
        with self._guard:
            self._check_open()
            surplus = list(self.processes)[n:]
            for worker in surplus:
                self._leaving[worker] = self.processes.pop(worker)
            missing = n - len(self.processes)
            for _ in range(missing):
                self._start()
        if surplus:
            self.loop_thread.call(self._retire(surplus))

    async def _retire(self, names: list[str]) -> None:
        self.server.retire(names)

    def _start(self) -> None:
        name = f"worker-{self._next}"
        self._next += 1
        command = [
            sys.executable, "-P", "-m", "howdah.engine.worker.process",
            "--scheduler", self.scheduler_address,
            "--name", name,
            "--host", socket.gethostname(),
            "--slots", str(self.threads_per_worker),
            "--memory-limit", str(self.memory_limit),
            "--resources", " ".join([f"{name}={amount!r}" for name, amount in self.resources]),
            "--listen", f"unix://{self.directory}/{name}",
            "--local-dir", str(self.directory),
            "--grace", str(GRACE),
            "--die-with-parent",
        ]  # fmt: skip
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(_import_path())}
        line, theirs = socket.socketpair()
        with theirs:
            process = subprocess.Popen(command, stdin=theirs.fileno(), env=environment, process_group=0)
        line.setblocking(False)
        self.processes[name], self._supervisor_sockets[name] = process, line
        pidfd = os.pidfd_open(process.pid)
        loop = self.loop_thread.loop
        loop.call_soon_threadsafe(loop.add_reader, pidfd, self._on_supervisor_exit, name, process, pidfd)
        loop.call_soon_threadsafe(self._add_reader, name, line)

    def _add_reader(self, name: str, line: socket.socket) -> None:
        if line.fileno() >= 0:
            self.loop_thread.loop.add_reader(line, self._on_supervisor_message, name, line)

    def _on_supervisor_message(self, name: str, line: socket.socket) -> None:
        """Report the death of a worker, which its supervisor sent. On the loop's thread."""
        with contextlib.suppress(BlockingIOError, ConnectionResetError):
            data = line.recv(1 << 16)
            if not data:
                self.loop_thread.loop.remove_reader(line)
            for message in data.splitlines():
                ended = json.loads(message)
                peer = self.server.workers.get(name)
                if peer is not None and peer.info is not None and peer.info.pid == ended["pid"]:
                    self.server.worker_lost(name, ended["ended"])
                if not self._closed:
                    log.warning("worker %s: %s; it is started again", name, ended["ended"])

    def _on_supervisor_exit(self, name: str, process: subprocess.Popen[bytes], pidfd: int) -> None:
        """Handle the exit of a worker's supervisor, with which the worker ended. On the loop's thread."""
        self.loop_thread.loop.remove_reader(pidfd)
        os.close(pidfd)
        code = process.wait()
        with self._guard:
            line = self._supervisor_sockets.pop(name, None)
            if line is not None:
                self._on_supervisor_message(name, line)
                self.loop_thread.loop.remove_reader(line)
                line.close()
            asked = self._leaving.pop(name, None) is not None
            self.processes.pop(name, None)
            if self._closed:
                return
            gave_up = code == GAVE_UP
            reason = f"it died {MAX_CRASHES} times" if gave_up else exit_reason(process.pid, code)
            self.server.worker_lost(name, reason)
            if not asked:
                log.warning("worker %s: %s; %s", name, reason, "it is given up" if gave_up else "another is started")
                self._replace(reason, gave_up)

    def _replace(self, reason: str, gave_up: bool) -> None:
        now = time.monotonic()
        self._crashes = [at for at in self._crashes if now - at < CRASH_SECONDS] + [now]
        if len(self._crashes) <= MAX_CRASHES and not gave_up:
            self._start()
            return
        self.failure = (
            f"workers die as soon as they are started; the last one: {reason} within {CRASH_SECONDS:.0f} s. Their "
            f"output is on standard error"
        )
        if not self.processes:
            asyncio.ensure_future(self.server.close(self.failure))  # noqa: RUF006  # the server is kept by self

    # -- life -----------------------------------------------------------------------------------------------------

    def wait_for_workers(self, n: int | None = None, timeout: float = 30.0) -> None:
        """Return when workers are connected.

        Parameters
        ----------
        n : how many; None is all that were requested.
        timeout : seconds.

        Raises
        ------
        DeadlineExceeded : the message has the number of those that are connected.
        HowdahError : workers die as soon as they start.
        """
        wanted = len(self.processes) if n is None else n
        deadline = time.monotonic() + timeout
        pause = threading.Event()
        while len(self.server.workers) < wanted:
            if self.failure:
                raise HowdahError(self.failure)
            if time.monotonic() > deadline:
                raise DeadlineExceeded(f"{len(self.server.workers)} of {wanted} workers were there after {timeout:g} s")
            pause.wait(0.01)

    def workers(self) -> dict[str, Any]:
        """Return the connected workers.

        Returns
        -------
        dict
            By name: host, slots, memory, address.
        """

        async def queried() -> dict[str, Any]:
            found: dict[str, Any] = msgspec.to_builtins(self.server.queries.workers())
            return found

        return self.loop_thread.call(queried())

    @property
    def dashboard_link(self) -> str:
        """The status page's URL; "" without one."""
        return self.status_url

    def status(self) -> dict[str, Any]:
        """Return counts of workers, tasks, layers and clients.

        Returns
        -------
        dict
            The fields of the scheduler's `SchedulerStatus`.
        """

        async def queried() -> dict[str, Any]:
            found: dict[str, Any] = msgspec.to_builtins(self.server.queries.status())
            return found

        return self.loop_thread.call(queried())

    def close(self, timeout: float = 5.0) -> None:
        """End the workers and the scheduler, and remove the folder. Closing twice is fine.

        In a forked child of the process that started the cluster it does nothing: the cluster is the parent's.

        Parameters
        ----------
        timeout : seconds for workers to end; then they are killed.
        """
        if self.loop_thread.inherited:
            return
        with self._guard:
            if self._closed:
                return
            self._closed = True
            processes = [*self.processes.values(), *self._leaving.values()]
            lines = list(self._supervisor_sockets.values())
        _open.discard(self)
        with contextlib.suppress(Exception):
            self.loop_thread.call(self._shut(), timeout)
        deadline = time.monotonic() + timeout
        for line in lines:
            with contextlib.suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)  # ends supervisors whose worker is not connected
        for process in processes:
            try:
                process.wait(max(0.05, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)

    async def _shut(self) -> None:
        if self.status_url:
            self._page.close()
        await self.server.close("the local cluster was closed")

    def _check_open(self) -> None:
        if self._closed:
            raise HowdahError("this local cluster is closed")
        if self.failure:
            raise HowdahError(self.failure)

    def __enter__(self) -> LocalCluster:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        if self._closed:
            return f"<LocalCluster {self.name} closed>"
        there = len(self.server.workers)
        return (
            f"<LocalCluster {self.name} {there} of {len(self.processes)} workers, {self.threads_per_worker} "
            f"threads each, {self.scheduler_address}>"
        )

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{html.escape(name)}</td><td>{worker['slots']}</td><td>{worker['rss'] / 2**20:.0f} MiB</td></tr>"
            for name, worker in ({} if self._closed else self.workers()).items()
        )
        return (
            f"<b>LocalCluster</b> <code>{html.escape(self.name)}</code>{' closed' if self._closed else ''}"
            f"<table><tr><th>worker</th><th>threads</th><th>memory</th></tr>{rows}</table>"
        )


_open: weakref.WeakSet[LocalCluster] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    for cluster in list(_open):
        cluster.close(2.0)


def _import_path() -> list[str]:
    """Return the folders that this process imports from, so that workers find the user's modules."""
    paths = [os.path.abspath(path) if path else os.getcwd() for path in sys.path]
    known = set(os.environ.get("PYTHONPATH", "").split(os.pathsep))
    own = [sys.prefix, sys.base_prefix]
    return list(
        dict.fromkeys(
            path
            for path in paths
            if path in known or (os.path.exists(path) and not any(path.startswith(f"{p}/lib/python") for p in own))
        )
    )


def _bytes_of(limit: int | str | None, workers: int) -> int:
    if limit is None:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // workers
    return 0 if limit == 0 else parse_bytes("memory_limit", limit)


def _started(pid: int) -> str:
    """Return when a process was started, in clock ticks since boot, which tells apart reused process ids."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""


def _remove_stale(root: Path) -> None:
    """Remove folders of clusters whose process is gone."""
    for folder in root.glob(f"{PREFIX}*-*-*"):
        pid, _, rest = folder.name.removeprefix(PREFIX).partition("-")
        with contextlib.suppress(OSError):
            found = folder.lstat()
            mine = found.st_uid == os.getuid() and stat.S_ISDIR(found.st_mode) and pid.isdigit()
            if mine and _started(int(pid)) != rest.partition("-")[0]:
                shutil.rmtree(folder, ignore_errors=True)
