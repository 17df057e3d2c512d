"""What tests of the server share: processes whose scheduler may be killed, and a fake context for parts alone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from waiting import until

from howdah.engine.api import Client
from howdah.engine.comm.security.certificates import Authority, Role
from howdah.engine.protocol.events import BatchDone, Event, Instruction, StartBatch, WorkerInfo, WorkerJoined
from howdah.engine.protocol.messages import Hello
from howdah.engine.scheduler.core.scheduler import Scheduler
from howdah.engine.scheduler.server.journal_writer import JournalWriter
from howdah.engine.scheduler.server.layer_store import LayerStore
from howdah.engine.scheduler.server.sessions import ClientPeer, Peers, WorkerPeer
from howdah.engine.worker.store import scratch


class Processes:
    """One scheduler with a journal and its workers, over Unix sockets, or TLS."""

    def __init__(self, folder: Path, tls: bool = False, lease: float = 60.0, worker_lease: float = 8.0) -> None:
        self.folder, self.tls = folder, tls
        self.journal = folder / "journal"
        self.marks = folder / "marks"
        self.marks.touch()
        self.options = ["--lease", str(lease), "--worker-lease", str(worker_lease)]
        self.environment = dict(os.environ)
        self.program = ["-m", "howdah.engine.scheduler"]
        self.scheduler: subprocess.Popen[bytes] | None = None
        self.workers: dict[str, subprocess.Popen[bytes]] = {}
        self.clients: list[Client] = []
        self.security: dict[str, str] = {}
        self.listen = f"unix://{folder}/scheduler"
        if tls:
            authority = Authority.create("application_1")
            self.listen = "tls://127.0.0.1:0"
            self.security = {
                "scheduler": str(authority.write_scheduler_dir(folder / "scheduler-dir")),
                "worker": str(authority.write_worker_dir(folder / "worker-dir")),
                "client": str(authority.write_client_dir(folder / "client-dir", "me")),
            }

    # -- scheduler ------------------------------------------------------------------------------------------------

    def begin(self, *more: str, wait: bool = True) -> None:
        """Start the scheduler, again or for the first time."""
        assert self.scheduler is None
        found = self.folder / "address"
        found.unlink(missing_ok=True)
        command = [
            sys.executable, *self.program, "--listen", self.listen, "--name", "application_1",
            "--address-file", str(found), "--journal", str(self.journal), "--status-port", "-1", *self.options, *more,
        ]  # fmt: skip
        if self.tls:
            command += ["--security", self.security["scheduler"]]
        with open(self.folder / "scheduler.log", "ab") as log:
            self.scheduler = subprocess.Popen(command, stderr=log, env=self.environment)
        if wait:
            until(lambda: found.exists() or self._ended())
            self.address = json.loads(found.read_text())["address"]

    def _ended(self) -> bool:
        assert self.scheduler is not None
        assert self.scheduler.poll() is None, self.log()
        return False

    def compacts_from(self, size: int) -> None:
        """From the next start on the journal is compacted when it is larger than `size` bytes."""
        self.program = [
            "-c",
            f"import sys, howdah.engine.scheduler.__main__ as it; sys.exit(it.main(least_compacted={size}))",
        ]

    def kill(self) -> None:
        """SIGKILL to the scheduler."""
        assert self.scheduler is not None
        self.scheduler.kill()
        self.scheduler.wait()
        self.scheduler = None

    def restart(self, *more: str) -> None:
        self.kill()
        self.begin(*more)

    def log(self) -> str:
        return (self.folder / "scheduler.log").read_text()

    # -- workers --------------------------------------------------------------------------------------------------

    def work(self, count: int = 2, slots: int = 1) -> None:
        """Start workers."""
        for _ in range(count):
            name = f"worker-{len(self.workers)}"
            listen = "tls://127.0.0.1:0" if self.tls else f"unix://{self.folder}/{name}"
            command = [
                sys.executable, "-m", "howdah.engine.worker.process", "--scheduler", self.address, "--name", name,
                "--host", "127.0.0.1", "--container", name, "--slots", str(slots), "--listen", listen,
                "--local-dir", str(self.folder),
            ]  # fmt: skip
            if self.tls:
                command += ["--security", self.security["worker"]]
            with open(self.folder / f"{name}.log", "ab") as log:
                self.workers[name] = subprocess.Popen(command, stderr=log, env=self.environment)

    def kill_worker(self, name: str) -> None:
        process = self.workers.pop(name)
        children = children_of(process)
        process.kill()
        process.wait()
        psutil.wait_procs(children, timeout=10)
        for child in children:  # its supervisor cannot: as YARN does with a container's folder
            scratch.remove_folders_of(str(self.folder), child.pid)

    # -- clients and marks ----------------------------------------------------------------------------------------

    def client(self, **options: Any) -> Client:
        security = self.security.get("client")
        client = Client(self.address, security=security, set_as_default=False, **options)
        self.clients.append(client)
        return client

    def counts(self) -> Counter[str]:
        """How often each task has been executed."""
        return Counter(self.marks.read_text().split())

    def close(self) -> list[str]:
        """End everything; returns what is left of it."""
        for client in self.clients:
            client.close()
        processes = list(self.workers.values())
        children = [child for one in processes for child in children_of(one)]
        if self.scheduler is not None:
            self.scheduler.send_signal(signal.SIGTERM)
            processes.append(self.scheduler)
        for process in processes:
            try:
                process.wait(3.0 if self.scheduler is not None else 0.0)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        _, alive = psutil.wait_procs(children, timeout=5)
        left = [f"process {child.pid}: {child}" for child in alive]
        return left + [str(path) for path in self.folder.rglob("howdah-*")]


def children_of(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """The processes below it; none where it ends meanwhile."""
    try:
        return psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


@pytest.fixture
def processes() -> Iterator[Callable[..., Processes]]:
    """Makes `Processes` in a short, private folder: a socket's path has at most 107 bytes."""
    made: list[Processes] = []
    with tempfile.TemporaryDirectory(prefix="howdah-test-") as folder:

        def make(workers: int = 2, slots: int = 1, **options: Any) -> Processes:
            inner = Path(folder) / str(len(made))
            inner.mkdir(mode=0o700)
            made.append(Processes(inner, **options))
            made[-1].begin()
            made[-1].work(workers, slots)
            return made[-1]

        try:
            yield make
        finally:
            left = [what for one in made for what in one.close()]
        assert not left, f"left behind: {left}"


class RecordingSession:
    """In place of a session: stores what is sent."""

    def __init__(self, name: str) -> None:
        self.id, self.suspended = name, False
        self.messages: list[Any] = []
        self.frames: list[tuple[Any, ...]] = []

    def send(self, message: Any, *frames: Any) -> None:
        self.messages.append(message)
        self.frames.append(frames)

    @property
    def last_queued(self) -> Any:
        return self.messages[-1] if self.messages else None

    def unacknowledged(self) -> list[tuple[Any, Any]]:
        return list(zip(self.messages, self.frames))

    def close(self) -> None: ...


class RecordingServer:
    """A real scheduler with its peers behind recording sessions: the `ServerContext` of parts that are tested alone."""

    def __init__(self) -> None:
        self.peers, self.layers, self.journal = Peers(), LayerStore(), JournalWriter()
        self.scheduler = Scheduler()
        self.views, self.clock_offset, self.now = self.scheduler.views, 0.0, 0.0
        self.events: list[Event] = []
        self.instructions: list[Instruction] = []

    def clock(self) -> float:
        return self.now

    def handle(self, event: Event, inline: Any = None) -> None:
        self.now += 0.001
        self.events.append(event)
        self.instructions += self.scheduler.handle(event, self.now)

    def send_to_client(self, name: str, message: Any, *frames: Any) -> None:
        self.peers.clients[name].session.send(message, *frames)

    def send_to_worker(self, name: str, message: Any, *frames: Any) -> None:
        self.peers.workers[name].session.send(message, *frames)

    def worker(self, name: str, slots: int = 1) -> WorkerPeer:
        """A worker that joins."""
        session: Any = RecordingSession(name)
        peer = WorkerPeer(Role("", "worker", ""), Hello("worker", name), lambda _: session, 8.0)
        peer.info = WorkerInfo(name, name, slots=slots, address=f"address of {name}", pid=1)
        self.peers.workers[name] = self.peers.sessions[name] = peer
        self.handle(WorkerJoined(peer.info))
        return peer

    def client(self, name: str = "me") -> ClientPeer:
        """A client that joins."""
        session: Any = RecordingSession(name)
        peer = ClientPeer(Role("", "client", ""), Hello("client", name), lambda _: session, 60.0)
        self.peers.clients[name] = self.peers.sessions[name] = peer
        return peer

    def started(self) -> list[StartBatch]:
        """All batches that were started so far."""
        return [one for one in self.instructions if isinstance(one, StartBatch)]

    def finish(self, batch: StartBatch, size: int = 8) -> None:
        """The batch's worker reports that its tasks have results of `size` bytes."""
        count = len(batch.range)
        self.handle(BatchDone(batch.worker, batch.batch, batch.attempt, (size,) * count, 0.001 * count))


@pytest.fixture
def server() -> RecordingServer:
    return RecordingServer()
