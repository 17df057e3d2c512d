"""A local cluster's life: start, death of workers and of its parent, end; nothing stays behind."""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import numpy as np
import psutil
import pytest
from waiting import until

from howdah.engine.api import Client, wait
from howdah.engine.deploy.local import LocalCluster
from howdah.errors import HowdahError, InputError, WorkerLost


@pytest.fixture
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A short folder: a socket's path has at most 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="howdah-test-") as folder:
        yield Path(folder)


def workers_under(root: Path) -> list[psutil.Process]:
    """Their supervisors; a worker whose supervisor is gone counts too."""
    found = {}
    for process in psutil.process_iter(["cmdline", "status", "ppid"]):
        line = process.info["cmdline"] or []
        if any(str(root) in part for part in line) and "howdah.engine.worker.process" in line:
            found[process.pid] = process
    return [process for process in found.values() if process.info["ppid"] not in found]


def count_runs(folder: str, item: int) -> int:
    """Leaves a mark for each execution; how many there are now."""
    with open(f"{folder}/{item}", "a") as file:
        file.write("x")
    return item


def test_nothing_is_left(root: Path) -> None:
    with LocalCluster(2, local_directory=root) as cluster, Client(cluster) as client:
        assert client.gather(client.map(abs, [-1, -2])) == [1, 2]
        cluster.wait_for_workers()
        assert len(workers_under(root)) == 2
        assert (cluster.directory.stat().st_mode & 0o777) == 0o700
        assert "2 of 2 workers" in repr(cluster)
        assert "worker-0" in cluster._repr_html_()
    assert list(root.iterdir()) == []
    assert workers_under(root) == []
    cluster.close()
    assert "closed" in repr(cluster)
    with pytest.raises(HowdahError, match="closed"):
        cluster.scale(3)


def test_a_client_alone_starts_and_ends_a_cluster(root: Path) -> None:
    with Client(n_workers=1, threads_per_worker=2, local_directory=root) as client:
        assert client.submit(sum, [1, 2]).result(20) == 3
        assert client.scheduler_info()["workers"]["worker-0"]["slots"] == 2
    assert list(root.iterdir()) == []


def test_nothing_is_left_when_the_parent_is_killed(root: Path) -> None:
    code = f"""
import sys, time
from howdah.engine.deploy.local import LocalCluster
from howdah.engine.api import Client
cluster = LocalCluster(2, local_directory={str(root)!r})
cluster.wait_for_workers()
client = Client(cluster)
futures = client.map(time.sleep, [30, 30])
print("ready", flush=True)
client.gather(futures)
"""
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    assert parent.stdout.readline() == b"ready\n"
    assert len(workers_under(root)) == 2
    parent.kill()
    parent.wait()
    parent.stdout.close()
    until(lambda: not workers_under(root))
    assert len(list(root.iterdir())) == 1
    with LocalCluster(0, local_directory=root) as cluster:
        assert list(root.iterdir()) == [cluster.directory]  # the dead one's folder is gone
    assert list(root.iterdir()) == []


def test_a_script_that_forgets_to_close_leaves_nothing(root: Path) -> None:
    code = f"""
from howdah.engine.api import Client
client = Client(n_workers=1, local_directory={str(root)!r})
print(client.submit(pow, 2, 5).result(20))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60, check=True)
    assert (done.stdout, done.stderr) == (b"32\n", b"")
    assert list(root.iterdir()) == []
    assert workers_under(root) == []


def test_a_killed_worker_costs_only_what_it_held(root: Path, tmp_path: Path) -> None:
    with LocalCluster(2, local_directory=root) as cluster, Client(cluster) as client:
        cluster.wait_for_workers()
        futures = client.map(lambda i, folder: np.full(10_000, count_runs(folder, i)), range(40), folder=str(tmp_path))
        wait(futures, timeout=60)
        holders = {future.item: where[0] for future, where in zip(futures, client.who_has(futures).values())}
        victim = holders[0]
        os.kill(cluster.processes[victim].pid, signal.SIGKILL)
        assert [int(value[0]) for value in client.gather(futures)] == list(range(40))
        runs = {i: len((tmp_path / str(i)).read_text()) for i in range(40)}
        assert runs == {i: 2 if holder == victim else 1 for i, holder in holders.items()}
        # another worker takes its place
        until(lambda: len(client.scheduler_info()["workers"]) == 2)
        assert victim not in client.scheduler_info()["workers"]
        assert client.gather(client.map(abs, range(100))) == list(range(100))


def test_a_workers_cut_link_costs_nothing_but_time(root: Path, tmp_path: Path) -> None:
    with LocalCluster(2, local_directory=root) as cluster, Client(cluster) as client:
        cluster.wait_for_workers()
        futures = []
        for step in range(5):
            futures += client.map(count_runs, [str(tmp_path)] * 50, range(50 * step, 50 * step + 50))
            for worker in list(cluster.server.workers.values()):
                cluster.loop_thread.loop.call_soon_threadsafe(
                    lambda w=worker: w.session.channel and w.session.channel.close()
                )
        assert client.gather(futures) == list(range(250))
        assert [len((tmp_path / str(i)).read_text()) for i in range(250)] == [1] * 250


def test_a_worker_that_was_given_up_comes_back_with_what_it_holds(root: Path, tmp_path: Path) -> None:
    """As after a partition that lasted longer than the lease: its results are used again, not made again."""
    with LocalCluster(1, local_directory=root) as cluster, Client(cluster) as client:
        cluster.wait_for_workers()
        futures = client.map(count_runs, [str(tmp_path)] * 20, range(20))
        wait(futures, timeout=30)
        server = cluster.server
        worker = server.workers["worker-0"]
        cluster.loop_thread.loop.call_soon_threadsafe(
            server.membership.on_worker_left, worker, "it was silent for too long"
        )
        until(lambda: server.workers.get("worker-0") not in (None, worker))
        assert client.gather(client.map(lambda x: x + 1, futures)) == list(range(1, 21))
        assert [len((tmp_path / str(i)).read_text()) for i in range(20)] == [1] * 20
        assert list(cluster.processes) == ["worker-0"]


def test_a_worker_killed_in_the_middle_of_a_graph(root: Path, tmp_path: Path) -> None:
    def slow(i: int, folder: str) -> int:
        threading.Event().wait(0.02)
        return count_runs(folder, i)

    with LocalCluster(2, local_directory=root) as cluster, Client(cluster) as client:
        cluster.wait_for_workers()
        leaves = client.map(slow, range(60), folder=str(tmp_path))
        total = client.submit(sum, client.map(lambda x: 2 * x, leaves))
        until(lambda: sum(future.done() for future in leaves) > 10)
        os.kill(next(iter(cluster.processes.values())).pid, signal.SIGKILL)
        assert total.result(60) == sum(2 * i for i in range(60))
        assert all(len((tmp_path / str(i)).read_text()) <= 2 for i in range(60))


def test_a_task_that_kills_its_workers_is_given_up_with_the_reason(root: Path) -> None:
    with LocalCluster(1, local_directory=root) as cluster, Client(cluster) as client:
        poison = client.submit(lambda: signal.raise_signal(signal.SIGSEGV))
        with pytest.raises(WorkerLost, match="SIGSEGV"):
            poison.result(60)
        assert client.submit(abs, -1).result(30) == 1


def test_scale(root: Path) -> None:
    with LocalCluster(1, local_directory=root) as cluster, Client(cluster) as client:
        cluster.scale(3)
        client.wait_for_workers(3, timeout=30)
        kept = client.map(lambda i: i, range(30))
        client.gather(kept)
        cluster.scale(1)
        until(lambda: len(client.scheduler_info()["workers"]) == 1)
        until(lambda: len(workers_under(root)) == 1)
        assert client.gather(kept) == list(range(30))
        with pytest.raises(InputError, match="n: got -1"):
            cluster.scale(-1)
        cluster.scale(0)
        until(lambda: not workers_under(root))
        late = client.submit(abs, -5)
        cluster.scale(1)
        assert late.result(30) == 5


def test_the_cluster_that_ends_under_a_client_says_so(root: Path) -> None:
    cluster = LocalCluster(1, local_directory=root)
    client = Client(cluster)
    future = client.submit(time.sleep, 60)
    threading.Timer(0.3, cluster.close).start()
    with pytest.raises(HowdahError, match="the local cluster was closed"):
        future.result(30)
    with pytest.raises(HowdahError, match="the local cluster was closed"):
        client.submit(abs, 1)
    client.close()
    until(lambda: not workers_under(root))


def test_workers_find_the_scripts_own_modules(root: Path, tmp_path: Path) -> None:
    (tmp_path / "beside.py").write_text("def twice(x):\n    return 2 * x\n")
    (tmp_path / "script.py").write_text(
        f"""
import os
from howdah.engine.api import Client
from beside import twice

class Mine:
    def __init__(self, x): self.x = x

def half(x):
    return Mine(twice(x) / 4)

if __name__ == "__main__":
    with Client(n_workers=1, local_directory={str(root)!r}) as client:
        print([m.x for m in client.gather(client.map(half, [2, 4]))], isinstance(client.submit(half, 1).result(), Mine))
        print(client.submit(os.getenv, "POLARS_MAX_THREADS").result())
"""
    )
    environment = {k: v for k, v in os.environ.items() if "THREADS" not in k}
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, env=environment, capture_output=True, timeout=60, check=True
    )
    assert done.stdout.decode().splitlines() == ["[1.0, 2.0] True", "1"]
    assert done.stderr == b""


def test_status_page(root: Path) -> None:
    import json

    with LocalCluster(1, local_directory=root, status_port=0) as cluster, Client(cluster) as client:
        client.gather(client.map(abs, range(10), pure=False))
        assert cluster.dashboard_link.startswith("http://127.0.0.1:")
        with urlopen(cluster.dashboard_link + "status.json") as answer:
            status = json.load(answer)
        assert status["tasks"]["done"] == 10
        assert list(status["workers"]) == ["worker-0"]
        with urlopen(cluster.dashboard_link) as answer:
            page = answer.read().decode()
        assert "status.js" in page
        assert "http://" not in page  # all relative: it must work behind YARN's proxy
        for name in ("status.js", "status.css"):
            with urlopen(cluster.dashboard_link + name) as answer:
                assert answer.status == 200


def test_options_are_checked() -> None:
    with pytest.raises(InputError, match="n_workers: got -1"):
        LocalCluster(-1)
    with pytest.raises(InputError, match="threads_per_worker: got 0"):
        LocalCluster(1, 0)
    with pytest.raises(InputError, match="memory_limit: got '2 apples'"):
        LocalCluster(1, memory_limit="2 apples")


def test_a_client_finds_the_cluster_that_its_program_was_started_in(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with LocalCluster(1, local_directory=root) as cluster:
        monkeypatch.setenv("HOWDAH_SCHEDULER", cluster.scheduler_address)
        monkeypatch.setenv("HOWDAH_STAGING", "hdfs:///user/me/.howdah/job")
        with Client() as client:
            assert client.submit(abs, -1).result(30) == 1
            assert client.scratch_root == "hdfs:///user/me/.howdah/job"
            assert client.address == cluster.scheduler_address


def test_a_worker_at_its_memory_limit_goes_on_one_run_at_a_time(root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with LocalCluster(1, 4, memory_limit="10MiB", local_directory=root) as cluster, Client(cluster) as client:
        cluster.wait_for_workers()
        until(lambda: client.scheduler_info()["workers"]["worker-0"]["paused"])
        assert client.gather(client.map(abs, range(-50, 0))) == list(range(50, 0, -1))
    assert "of 10 MiB in use" in capfd.readouterr().err


def test_an_error_of_our_own_ends_all_waits(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = LocalCluster(1, local_directory=root)
    client = Client(cluster)
    cluster.wait_for_workers()
    waiting = client.submit(time.sleep, 60)
    monkeypatch.setattr(cluster.server.scheduler, "handle", lambda event, now: 1 / 0)
    with pytest.raises(HowdahError, match="an error of howdah's own in the scheduler: ZeroDivisionError"):
        waiting.result(30)
    client.close()
    cluster.close()


def test_the_scheduler_cannot_open_what_users_send() -> None:
    code = (
        "import sys, howdah.engine.scheduler.__main__, howdah.engine.scheduler.server.status_page; "
        "print([m for m in ('cloudpickle', 'howdah.engine.serialization.serialize') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60, check=True)
    assert done.stdout == b"[]\n"


def test_a_worker_loads_no_heavy_library() -> None:
    code = (
        "import sys, howdah.engine.worker.process.main; "
        "print([m for m in ('pandas', 'polars', 'pyarrow', 'numpy', 'cryptography') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60, check=True)
    assert done.stdout == b"[]\n"
