"""What the scheduler's journal costs: CPU and bytes a submitted graph, a record alone, and starting again from it.

The CPU is that of schedulers' processes, with a journal and without in the same run; there are no workers.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
from measure import Measure, seconds
from peers import inc

from howdah.engine.api import Client
from howdah.engine.scheduler.server.journal import LocalJournal

GRAPHS = 10_000


class Scheduler:
    """A scheduler's process."""

    def __init__(self, folder: Path, journal: str) -> None:
        self.address_file = folder / "address"
        self.address_file.unlink(missing_ok=True)
        command = [sys.executable, "-m", "howdah.engine.scheduler", "--listen", f"unix://{folder}/scheduler"]
        command += ["--address-file", str(self.address_file), "--journal", journal, "--status-port", "-1"]
        self.process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        while not self.address_file.exists():
            if self.process.poll() is not None:
                raise SystemExit("the scheduler did not start")
            time.sleep(0.01)
        self.address = json.loads(self.address_file.read_text())["address"]

    def cpu(self) -> float:
        times = psutil.Process(self.process.pid).cpu_times()
        return times.user + times.system

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


def submitted(journal: bool) -> tuple[float, float, float]:
    """Microseconds of CPU and bytes of journal a graph of one task; microseconds a graph to hear it again."""
    with tempfile.TemporaryDirectory(prefix="howdah-bench-") as folder:
        path = f"{folder}/journal" if journal else ""
        scheduler = Scheduler(Path(folder), path)
        again = 0.0
        client = Client(scheduler.address, set_as_default=False)
        begun = scheduler.cpu()
        futures = [client.submit(inc, i, pure=False) for i in range(GRAPHS)]
        client.scheduler_info()
        taken = (scheduler.cpu() - begun) / GRAPHS * 1e6
        size = os.stat(path).st_size / GRAPHS if journal else 0.0
        if journal:
            scheduler.kill()
            scheduler = Scheduler(Path(folder), path)
            again = (scheduler.cpu() - started(f"{folder}/new")) / GRAPHS * 1e6
        client.close()
        scheduler.kill()
        del futures
        return taken, size, again


def started(folder: str) -> float:
    """CPU seconds that a scheduler takes to start with nothing."""
    os.mkdir(folder, 0o700)
    scheduler = Scheduler(Path(folder), f"{folder}/journal")
    taken = scheduler.cpu()
    scheduler.kill()
    return taken


def record(n: int = 2000, nbytes: int = 400) -> float:
    """Microseconds to append and write a record, one at a time."""
    with tempfile.TemporaryDirectory(prefix="howdah-bench-") as folder:
        journal = LocalJournal(f"{folder}/journal")
        list(journal.replay())
        frames = [b"x" * 60, b"h" * 200, b"y" * nbytes]

        def one() -> None:
            journal.append(frames)
            journal.flush()

        taken = [seconds(one) for _ in range(n)]
        journal.close(done=True)
        return statistics.median(taken) * 1e6


def gigabyte() -> float:
    """Seconds to write a gigabyte of arguments (to the page cache), in records of 64 MiB; the best of three."""
    block = os.urandom(1 << 20) * 64
    with tempfile.TemporaryDirectory(prefix="howdah-bench-") as folder:
        best = float("inf")
        for turn in range(3):
            journal = LocalJournal(f"{folder}/{turn}")
            list(journal.replay())

            def one(journal: LocalJournal = journal) -> None:
                journal.append([block])
                journal.flush()

            best = min(best, seconds(one) * 1e9 / len(block))
            journal.close(done=True)
        return best


def measures() -> Iterator[Measure]:
    """All of them."""
    plain = statistics.median([submitted(False)[0] for _ in range(3)])
    kept = [submitted(True) for _ in range(3)]
    more = statistics.median([taken for taken, _, _ in kept]) - plain
    yield Measure("journal: scheduler's CPU a submitted graph, more", "us/graph", max(more, 0.01), most=15.0)
    yield Measure("journal: size, a graph of one task", "bytes/graph", kept[0][1], most=1000.0)
    yield Measure("journal: started again, a graph", "us/graph", statistics.median([a for _, _, a in kept]), most=150.0)
    yield Measure("journal: a record alone, appended and written", "us", record(), most=50.0)
    yield Measure("journal: large arguments", "s/GB", gigabyte(), most=2.0)
