"""The scheduler's process in the application master's container: started, watched, and started again when it dies.

For `master` alone. It promises: a scheduler that a signal ended (the kernel's out-of-memory killer, a fault in a
library) is back within a second or two, on the same address and with the same journal, so that clients and workers find
it again by themselves; one that keeps dying, or that exits by itself, is a reason to end the application, given with
its last lines. It never outlives the master. It closes its clients' sessions only on a graceful `stop`: a client whose
session was closed does not look for the scheduler of the next attempt.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from howdah.errors import HowdahError
from howdah.yarn_app.master.processes import ChildProcess

if TYPE_CHECKING:
    from howdah.yarn_app.master.scheduler_client import SchedulerClient

START_SECONDS = 60.0
MAX_DEATHS = 5
WINDOW = 600.0


class _Addresses(msgspec.Struct):
    """What the scheduler writes to its address file."""

    address: str
    status: str = ""


class SchedulerProcess:
    """One scheduler, over all of its restarts.

    Parameters
    ----------
    host : where it listens; the port is any at first, and the same after a restart.
    name : the cluster's name.
    security : the scheduler's security directory.
    folder : private to the container, for the address file.
    log : file for its output.
    journal : path or URL of its journal, with which it goes on after a restart.
    max_deaths : deaths within `WINDOW` seconds after which it is not started again.

    Attributes
    ----------
    address, status_page : the scheduler's address and the URL of its status page; "" before it listens.
    client : the owner's connection, once it listens.
    restarts : one line for users for each restart.
    """

    def __init__(
        self,
        host: str,
        name: str,
        security: Path,
        folder: Path,
        log: Path,
        journal: str,
        *,
        max_deaths: int = MAX_DEATHS,
    ) -> None:
        self.host, self.name, self.security, self.folder, self.log = host, name, security, folder, log
        self.journal, self.max_deaths = journal, max_deaths
        self.address = self.status_page = ""
        self.client: SchedulerClient | None = None
        self.restarts: list[str] = []
        self._address_file = folder / "address"
        self._deaths: deque[float] = deque()
        self._began = 0.0
        self._starting = False
        self._process: ChildProcess | None = None

    @property
    def ready(self) -> bool:
        """Whether it listens."""
        return self._process is not None and not self._starting

    @property
    def pid(self) -> int | None:
        """The id of its process now; None before `start`."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Start the process, the first time or again; `poll` notices when it listens."""
        self._address_file.unlink(missing_ok=True)
        port = self.status_page.rpartition(":")[2].strip("/")
        command = [sys.executable, "-s", "-m", "howdah.engine.scheduler"]
        command += ["--listen", self.address or f"tls://{self.host}:0", "--security", str(self.security)]
        command += ["--address-file", str(self._address_file), "--name", self.name]
        command += ["--status-port", port] if port.isdigit() else []
        command += ["--journal", self.journal]
        self._process = ChildProcess(command, out=self.log, err=self.log, new_session=True)
        self._began, self._starting = time.monotonic(), True

    def poll(self) -> str:
        """Connect to a scheduler that listens, and restart one that died. To be called several times a second.

        Returns "", or why the application must end.
        """
        assert self._process is not None, "it was not started"
        now = time.monotonic()
        code = self._process.poll()
        if code is not None:
            return self._on_exit(code, now)
        if self._starting and self._address_file.exists():  # it appears complete, by a rename
            found = msgspec.json.decode(self._address_file.read_bytes(), type=_Addresses)
            self.address, self.status_page, self._starting = found.address, found.status, False
            try:
                self._connect()
            except HowdahError as error:
                print(f"howdah: {error}", flush=True)  # it has died again, which the next poll finds
        elif self._starting and now - self._began > START_SECONDS:
            return f"the scheduler did not listen within {START_SECONDS:.0f} s:\n{self._process.tail()}"
        return ""

    def _connect(self) -> None:
        # Imported while the scheduler starts, not before: it takes 0.1 s (tornado, cryptography).
        from howdah.yarn_app.master.scheduler_client import SchedulerClient

        if self.client is None:
            self.client = SchedulerClient(self.address, self.security)
        else:
            self.client.reconnect()

    def _on_exit(self, code: int, now: float) -> str:
        assert self._process is not None
        tail = self._process.tail(3000)
        self._deaths.append(now)
        while self._deaths[0] < now - WINDOW:
            self._deaths.popleft()
        # Below 128 it has exited by itself, and has closed its sessions; or its old port was still taken.
        if not self.address or (code < 128 and not self._starting):
            return f"the scheduler ended with exit code {code}:\n{tail}"
        what = f"it was ended by signal {code - 128}" if code > 128 else f"it ended with exit code {code}"
        if len(self._deaths) > self.max_deaths:
            times = f"{len(self._deaths)} times within {WINDOW / 60:.0f} minutes"
            return f"the scheduler died {times}, at last {what}:\n{tail}"
        self.restarts.append(f"{what}, and started again on {self.address}")
        print(f"howdah: scheduler: {self.restarts[-1]}", flush=True)
        self.start()
        return ""

    def stop(self, seconds: float, *, graceful: bool = True) -> None:
        """End the process within `seconds`.

        A graceful stop closes the sessions of clients and workers; else they look for the scheduler's successor.
        """
        if self.client is not None:
            self.client.close()
        if self._process is not None:
            if not graceful:
                self._process.kill()
            self._process.stop(seconds)
