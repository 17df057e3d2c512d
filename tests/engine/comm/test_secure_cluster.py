"""A cluster of real processes over TLS, as an application's master starts it: scheduler, workers, owner, clients."""

import asyncio
import datetime
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partialmethod
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import numpy as np
import pytest
from waiting import until

from howdah.engine.api import Client
from howdah.engine.client.admin import Owner
from howdah.engine.comm.connection.channel import Channel
from howdah.engine.comm.connection.connect import send_greeting
from howdah.engine.comm.data.local_socket import LocalSocket, connect_local
from howdah.engine.comm.security.certificates import Authority, Role
from howdah.engine.coordination import Lock
from howdah.engine.protocol.messages import Hello, Welcome
from howdah.errors import HowdahError, PeerRefused, WorkerLost


class Application:
    """Processes of one application; all are ended with it."""

    def __init__(self, folder: Path, *scheduler_options: str) -> None:
        self.folder = folder
        self.authority = Authority.create("application_1")
        self.owner_dir = self.authority.write_scheduler_dir(folder / "scheduler")
        self.client_dir = self.authority.write_client_dir(folder / "client", "me")
        self.worker_dir = self.authority.write_worker_dir(folder / "worker")
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.start(
            "scheduler", "--listen", "tls://127.0.0.1:0", "--security", str(self.owner_dir),
            "--address-file", str(folder / "address"), "--name", "application_1", *scheduler_options,
        )  # fmt: skip
        until((folder / "address").exists)
        found = json.loads((folder / "address").read_text())
        self.address, self.status_url = found["address"], found["status"]
        assert found["pid"] == self.processes["scheduler"].pid

    def start(self, name: str, *options: str) -> subprocess.Popen[bytes]:
        kind = "scheduler" if name == "scheduler" else "worker.process"
        with open(self.folder / f"{name}.log", "wb") as log:
            process = subprocess.Popen([sys.executable, "-m", f"howdah.engine.{kind}", *options], stderr=log)
        self.processes[name] = process
        return process

    def worker(self, name: str, *options: str, security: Path | None = None) -> subprocess.Popen[bytes]:
        return self.start(
            name, "--scheduler", self.address, "--security", str(security or self.worker_dir), "--name", name,
            "--host", "127.0.0.1", "--rack", "/r1", "--slots", "1", "--memory-limit", str(2**30),
            "--local-dir", str(self.folder), "--container", f"container_{name}", *options,
        )  # fmt: skip

    def client(self, **options: Any) -> Client:
        return Client(self.address, security=self.client_dir, **options)

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()

    def end(self) -> None:
        for process in self.processes.values():
            process.kill()
            process.wait()


@pytest.fixture
def application(tmp_path: Path) -> Iterator[Callable[..., Application]]:
    made: list[Application] = []

    def make(*options: str) -> Application:
        made.append(Application(tmp_path, *options))
        return made[-1]

    yield make
    for one in made:
        one.end()


class Tally:
    def __init__(self) -> None:
        self.n = 0

    def add(self, by: int) -> int:
        self.n += by
        return self.n


def tally(name: str, actor: Any) -> int:
    with Lock(name):
        return int(actor.add(1).result(20))


def test_tasks_and_actors_coordinate_over_tls(application: Callable[..., Application]) -> None:
    """A worker's tasks are a client of their own, with the worker's certificate."""
    app = application()
    app.worker("w1")
    app.worker("w2")
    with app.client() as client:
        actor = client.submit(Tally, actor=True)
        assert sorted(client.gather(client.map(lambda _: tally("one", actor), range(4), pure=False))) == [1, 2, 3, 4]
        Lock("two", client=client).acquire()
        assert client.submit(lambda: Lock("two").acquire(timeout=0.05)).result(20) is False


def block(path: str, n: int) -> np.ndarray:
    with open(path, "a") as executed:
        executed.write("once\n")
    return np.ones(n)


def test_results_through_the_scheduler_over_tls(
    application: Callable[..., Application], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Both ways in one run, encrypted in large records or by TLS alone."""
    monkeypatch.setenv("HOWDAH_NEAR", "0")
    app = application()
    app.worker("a")
    with app.client() as client:
        future = client.submit(block, str(tmp_path / "executed"), 8 << 20)  # 64 MiB
        client.publish_dataset(block=future)
        assert future.exception() is None
        for switch, seal in (("1", "1"), ("0", "1"), ("0", "0")):
            monkeypatch.setenv("HOWDAH_DIRECT", switch)
            monkeypatch.setenv("HOWDAH_SEAL", seal)
            with app.client() as reader:
                began = time.perf_counter()
                value = reader.gather(reader.get_dataset("block"))
                took = time.perf_counter() - began
                print(f"HOWDAH_DIRECT={switch} HOWDAH_SEAL={seal}: {value.nbytes / 1e6 / took:.0f} MB/s")
                assert value.sum() == 8 << 20
    assert (tmp_path / "executed").read_text() == "once\n"


def test_an_expired_certificate_is_an_error_and_no_second_run(
    application: Callable[..., Application], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOWDAH_NEAR", "0")
    app = application()
    app.worker("a")
    monkeypatch.setattr(Authority, "issue", partialmethod(Authority.issue, life=datetime.timedelta(seconds=5)))
    written = time.time()
    expiring = app.authority.write_client_dir(tmp_path / "expiring", "me")
    with Client(app.address, security=expiring) as client:
        client.wait_for_workers(1, timeout=30)
        until(lambda: time.time() > written + 6)
        future = client.submit(block, str(tmp_path / "executed"), 1 << 20)
        with pytest.raises(HowdahError, match=r"worker a cannot be fetched.*valid certificate"):
            future.result(20)
    assert (tmp_path / "executed").read_text() == "once\n"


def test_a_job_over_tls_and_its_clean_end(application: Callable[..., Application]) -> None:
    app = application()
    workers = [app.worker("a"), app.worker("b")]
    with app.client() as client, Owner(app.address, app.owner_dir) as owner:
        client.wait_for_workers(2, timeout=30)
        assert client.gather(client.map(lambda x: x + 1, range(1000))) == list(range(1, 1001))
        blocks = client.map(lambda i: np.full(100_000, float(i)), range(10))
        sums = client.map(lambda a, b: float(a[0] + b[-1]), blocks, reversed(blocks))  # from worker to worker
        assert client.gather(sums) == [9.0] * 10
        assert float(client.gather(blocks)[3][0]) == 3.0  # from worker to client
        client.add_cleanup("hdfs:///out/.job")
        status = owner.status()
        assert status["clients"] == 1
        assert status["cleanup"] == ["hdfs:///out/.job"]
        assert status["tasks"]["done"] == 1020
        assert status["workers"]["a"]["container"] == "container_a"
        assert status["first_task"] > status["started"]
        with urlopen(app.status_url + "status.json") as answer:
            assert json.load(answer)["name"] == "application_1"
        assert owner.retire(["b", "nobody"]) == ["b"]
        assert workers[1].wait(20) == 0
        app.processes["scheduler"].terminate()
        assert app.processes["scheduler"].wait(20) == 0
        assert workers[0].wait(20) == 0
        with pytest.raises(HowdahError, match="has ended"):
            client.submit(abs, 1).result(20)


def test_who_has_no_business_here_is_refused(application: Callable[..., Application], tmp_path: Path) -> None:
    app = application()
    other = Authority.create("application_1")
    wrong_key = app.authority.write_worker_dir(tmp_path / "wrong-key")
    (wrong_key / "join.key").write_bytes(os.urandom(32))
    assert app.worker("guesser", security=wrong_key).wait(30) == 4
    assert "does not have the join key" in app.log("guesser")
    assert app.worker("stranger", security=other.write_worker_dir(tmp_path / "other")).wait(30) == 4
    assert "could not prove" in app.log("stranger")
    with pytest.raises(PeerRefused, match="which may not be a owner"):
        Owner(app.address, app.client_dir)
    with pytest.raises(PeerRefused, match="could not prove"):
        Client(app.address, security=other.write_client_dir(tmp_path / "eve", "eve"))
    with pytest.raises(PeerRefused, match="a security directory is needed"):
        Client(app.address)
    app.worker("twin").send_signal(signal.SIGCONT)
    with app.client() as client:
        client.wait_for_workers(1, timeout=30)
        double = app.start(
            "double", "--scheduler", app.address, "--security", str(app.worker_dir), "--name", "other",
            "--host", "127.0.0.1", "--container", "container_twin",
        )  # fmt: skip
        assert double.wait(30) == 4
        assert "joined already, with another key" in app.log("double")


def test_the_reason_of_a_lost_worker_reaches_the_error(application: Callable[..., Application]) -> None:
    app = application("--worker-lease", "20")
    with app.client() as client, Owner(app.address, app.owner_dir) as owner:
        for attempt in range(8):
            name = f"w{attempt}"
            app.worker(name)
            client.wait_for_workers(1, timeout=30)
            if attempt == 0:
                # the supervisor, and the worker with it: as when YARN ends a container
                poison = client.submit(lambda: (os.kill(os.getppid(), signal.SIGKILL), time.sleep(60)))
            app.processes[name].wait(30)
            assert owner.worker_lost(f"container_{name}", "1.2 GB of 1 GB physical memory used")
            if poison.done():
                break
        with pytest.raises(WorkerLost, match=r"1\.2 GB of 1 GB physical memory used"):
            poison.result(10)


def test_a_worker_that_dies_is_started_again_in_its_container(application: Callable[..., Application]) -> None:
    """With its own identity: the scheduler grants only one to a container."""
    app = application("--worker-lease", "20")
    worker = app.worker("a")
    with app.client() as client:
        client.wait_for_workers(1, timeout=30)
        with pytest.raises(
            WorkerLost, match=r"(?s)signal SIGKILL; peak memory \d+ MiB of 1024 MiB; it was running die\[0\]"
        ):
            client.submit(die).result(60)
        assert client.submit(abs, -1).result(30) == 1
        assert worker.poll() is None
        assert app.log("a").count("was ended by signal SIGKILL") == 3
        before = client.scheduler_info()["workers"]["a"]["pid"]
        client.restart()
        until(lambda: client.scheduler_info()["workers"].get("a", {}).get("pid", before) != before)
        assert client.submit(abs, -1).result(30) == 1


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_cut_link_costs_nothing_but_time(application: Callable[..., Application], tmp_path: Path) -> None:
    app = application()

    def note(i: int, folder: str) -> int:
        with open(f"{folder}/ran-{i}", "a") as file:
            file.write("x")
        return i

    app.worker("a")
    with app.client() as client:
        client.wait_for_workers(1, timeout=30)
        futures = []
        for step in range(5):
            futures += client.map(note, range(50 * step, 50 * step + 50), folder=str(tmp_path))
            session = client.connection._session  # noqa: SLF001  # the test breaks the connection under the client
            until(lambda session=session: session.connected)
            client.loop_thread.loop.call_soon_threadsafe(session.channel.close)
        assert client.gather(futures) == list(range(250))
        assert [len((tmp_path / f"ran-{i}").read_text()) for i in range(250)] == [1] * 250


def test_a_lost_clients_work_is_released_after_its_lease(application: Callable[..., Application]) -> None:
    app = application()
    app.worker("a")
    code = f"""
from howdah.engine.api import Client
client = Client({app.address!r}, security={str(app.client_dir)!r}, lease=1.0)
futures = client.map(bytes, [100_000] * 20)
client.gather(futures)
print("ready", flush=True)
import threading; threading.Event().wait()
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as lost:
        assert lost.stdout is not None
        assert lost.stdout.readline() == b"ready\n"
        with Owner(app.address, app.owner_dir) as owner:
            assert owner.status()["clients"] == 1
            lost.kill()
            until(lambda: owner.status()["clients"] == 0)
            until(lambda: not owner.status()["layers"])
            until(lambda: owner.status()["seconds_without_client"] > 0)
            assert list(owner.status()["workers"]) == ["a"]


def test_a_killed_scheduler_ends_all_waits_and_its_workers(application: Callable[..., Application]) -> None:
    app = application()
    worker = app.worker("a", "--lease", "1")
    client = app.client(lease=1.0)
    client.wait_for_workers(1, timeout=30)
    future = client.submit(time.sleep, 60)
    app.processes["scheduler"].kill()
    with pytest.raises(HowdahError, match="is lost: no connection for 1 s"):
        future.result(30)
    with pytest.raises(HowdahError, match="is lost"):
        client.submit(abs, 1)
    assert "lost" in repr(client)
    client.close()
    assert worker.wait(30) == 3
    assert "no scheduler at" in app.log("a")


def test_a_worker_leaves_when_asked_by_a_signal(application: Callable[..., Application]) -> None:
    app = application()
    worker = app.worker("a")
    with app.client() as client:
        client.wait_for_workers(1, timeout=30)
        worker.terminate()
        assert worker.wait(20) == 0
        until(lambda: not client.scheduler_info()["workers"], seconds=3)  # at once, not after a lease


def shared_maps(block: np.ndarray[Any, Any]) -> tuple[int, float]:
    """How many pieces of shared memory this process has mapped, and what is in the block."""
    maps = Path("/proc/self/maps").read_text()
    return maps.count("memfd:howdah-result"), float(block.sum())


@pytest.mark.parametrize("near", [True, False])
def test_on_one_machine_results_cross_by_shared_memory(
    application: Callable[..., Application], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, near: bool
) -> None:
    """Over TLS only who asks for it (HOWDAH_NEAR=0); the folder is as deep as YARN's are."""
    if not near:
        monkeypatch.setenv("HOWDAH_NEAR", "0")
    app = application()
    deep = tmp_path / ("a" * 60) / ("b" * 60)
    deep.mkdir(parents=True)
    for name in "ab":
        app.worker(name, "--local-dir", str(deep))
    with app.client() as client:
        client.wait_for_workers(2, timeout=30)
        block = client.submit(np.arange, 500_000.0, workers="a")
        found, total = client.submit(shared_maps, block, workers="b").result(30)
        assert total == 124999750000.0
        assert (found > 0) == near
        assert len(list(deep.glob("howdah-near-*/data"))) == (2 if near else 0)
        assert float(block.result(30)[-1]) == 499_999.0  # the client is near, too
    for name in "ab":
        app.processes[name].send_signal(signal.SIGTERM)
        app.processes[name].wait(20)
    assert list(deep.glob("howdah-*")) == []


def test_who_does_not_know_the_password_is_not_near(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    asyncio.run(_knocks(tmp_path, caplog))


async def _knocks(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def serve(channel: Channel, role: Role, hello: Hello) -> None:
        await send_greeting(channel, Welcome(""))

    os.chmod(folder, 0o700)
    door = LocalSocket(str(folder), serve)
    try:
        mine = Hello("data", "me")
        channel = await connect_local(door.details, mine)
        assert channel is not None
        channel.close()
        assert await connect_local({**door.details, "password": "guessed"}, mine) is None
        assert "does not have this socket's password" in caplog.text
        assert await connect_local({**door.details, "machine": "another"}, mine) is None
        assert await connect_local({**door.details, "near": f"unix://{folder}/gone"}, mine) is None
        assert await connect_local({}, mine) is None
    finally:
        door.close()
