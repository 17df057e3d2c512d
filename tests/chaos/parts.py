"""Real processes of one cluster over Unix sockets, with a proxy on every link: scheduler, workers, clients.

Everything lives in one private folder. `end` ends what still runs, by its own process id, and says what is left.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import psutil
from chaos.proxy import Proxy
from waiting import until

from howdah.engine.api import Client
from howdah.engine.scheduler.__main__ import arguments


def has_journal() -> bool:
    """Whether this scheduler can be killed and started again."""
    known = vars(arguments(["--listen", "unix:///x", "--address-file", "x"]))
    return "journal" in known


def children_of(pid: int, recursive: bool = False) -> list[psutil.Process]:
    """None of a process that has ended."""
    try:
        return psutil.Process(pid).children(recursive)
    except psutil.NoSuchProcess:
        return []


def alive(process: psutil.Process) -> bool:
    """It may end at any moment, while it is looked at too."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


class Parts:
    """Starts, finds and ends processes.

    Parameters
    ----------
    worker_lease, lease : seconds for which a lost worker, a lost client is waited for.
    """

    def __init__(self, worker_lease: float = 2.0, lease: float = 2.0) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="howdah-chaos-"))
        self.worker_lease, self.lease = worker_lease, lease
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.to_scheduler: dict[str, Proxy] = {}
        self.to_worker: dict[str, Proxy] = {}
        self.killed: set[int] = set()
        """Workers' processes that were ended here: what ran in them may run again."""
        self._environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
        self._clients: list[Client] = []

    @property
    def address(self) -> str:
        return f"unix://{self.folder}/scheduler"

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def _start(self, name: str, *command: str) -> subprocess.Popen[bytes]:
        with open(self.folder / f"{name}.log", "ab") as log:
            process = subprocess.Popen(
                [sys.executable, *command], stderr=log, stdout=log, stdin=subprocess.DEVNULL, env=self._environment
            )
        self.processes[name] = process
        return process

    # -- the scheduler ----------------------------------------------------------------------------------------------

    def start_scheduler(self) -> None:
        """Start it, for the first time or again."""
        found = self.folder / "address"
        found.unlink(missing_ok=True)
        journal = ["--journal", str(self.folder / "journal")] if has_journal() else []
        self._start(
            "scheduler", "-m", "howdah.engine.scheduler", "--listen", self.address, "--address-file", str(found),
            "--worker-lease", str(self.worker_lease), "--lease", str(self.lease), "--status-port", "-1", *journal,
        )  # fmt: skip
        until(found.exists, seconds=30, what="the scheduler's start")

    def kill_scheduler(self) -> None:
        self.processes["scheduler"].kill()
        self.processes["scheduler"].wait()

    # -- workers ----------------------------------------------------------------------------------------------------

    def start_worker(self, name: str, *options: str, memory: int = 2 << 30, slots: int = 1) -> None:
        """Start a worker; its link to the scheduler goes through `to_scheduler[name]`."""
        near = str(self.folder / f"from-{name}")
        if name not in self.to_scheduler:
            self.to_scheduler[name] = Proxy(near, str(self.folder / "scheduler"))
        self._start(
            name, "-m", "howdah.engine.worker.process", "--scheduler", f"unix://{near}", "--name", name, "--host", "vm",
            "--slots", str(slots), "--memory-limit", str(memory), "--listen", f"unix://{self.folder}/{name}",
            "--local-dir", str(self.folder), "--lease", "60", *options,
        )  # fmt: skip

    def start(self, workers: int, **options: Any) -> Client:
        """A scheduler and so many workers, w0, w1, ...; a client of them."""
        self.start_scheduler()
        for number in range(workers):
            self.start_worker(f"w{number}", **options)
        client = self.client()
        client.wait_for_workers(workers, timeout=60)
        return client

    def interpose(self, name: str) -> Proxy:
        """From now on whoever connects to the worker's data comes through `to_worker[name]`."""
        path = self.folder / name
        if name in self.to_worker:  # a new process has taken the place, or the proxy is there still
            if os.stat(path).st_ino == self.to_worker[name].inode:
                return self.to_worker[name]
            self.to_worker.pop(name).close(unlink=False)
        real = str(path) + ".real"
        os.rename(path, real)
        self.to_worker[name] = Proxy(str(path), real)
        return self.to_worker[name]

    def pid(self, name: str) -> int:
        """The worker's own process (its supervisor's child); 0 while there is none."""
        return next((child.pid for child in children_of(self.processes[name].pid) if alive(child)), 0)

    def kill(self, name: str) -> int:
        """SIGKILL the worker's process."""
        pid = self.pid(name)
        if pid:
            self.killed.add(pid)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return pid

    def signal(self, name: str, number: int) -> int:
        pid = self.pid(name)
        if pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        return pid

    # -- clients ----------------------------------------------------------------------------------------------------

    def client(self, **options: Any) -> Client:
        """A client in this process."""
        self._clients.append(Client(self.address, set_as_default=False, **options))
        return self._clients[-1]

    def start_client(self, name: str, code: str) -> subprocess.Popen[bytes]:
        """A client in a process of its own: `code` finds it as `client`, and this object's `counts` by path."""
        begin = f"from howdah.engine.api import Client\nclient = Client({self.address!r}, lease={self.lease})\n"
        return self._start(name, "-c", begin + code)

    # -- the end ----------------------------------------------------------------------------------------------------

    def end(self) -> list[str]:
        """End everything; what is left of it is named."""
        for client in self._clients:
            with contextlib.suppress(Exception):
                client.close()
        for name in list(self.to_scheduler):
            self.signal(name, signal.SIGCONT)
        children = [c for p in self.processes.values() if p.poll() is None for c in children_of(p.pid, recursive=True)]
        for name in sorted(self.processes, key=lambda one: one == "scheduler"):
            process = self.processes[name]
            if process.poll() is None:
                process.terminate() if name != "scheduler" else process.kill()
        for process in self.processes.values():
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for proxy in (*self.to_scheduler.values(), *self.to_worker.values()):
            proxy.close()
        _, remaining = psutil.wait_procs(children, timeout=5)
        left = [f"process {process.pid}: {process}" for process in remaining]
        left += [str(path) for path in self.folder.glob("howdah-*")]
        shutil.rmtree(self.folder, ignore_errors=True)
        return left
