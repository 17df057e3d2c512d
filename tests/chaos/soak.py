"""Seeded chaos over four local workers with several clients, for as long as it is told: `main(seconds, seed)`.

The same seed gives the same plan. At the end: no wrong answer, nobody stuck, no process, file or memory left behind.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).parent.parent))

from chaos.parts import Parts, has_journal
from chaos.plan import Act, plan
from waiting import until

from howdah.engine.api import Client

WORKERS = ("w0", "w1", "w2", "w3")
CLIENTS = ("c0", "c1", "c2")
LEASE = 60.0
"""Seconds for which clients look for the scheduler: longer than it takes to start again on a machine that is busy."""
LAST_GRAPHS = 180.0
"""Seconds in which clients must end the graph that they are at, once nothing is done to anybody any more."""
MOST_GROWTH = 96 << 20
"""Bytes by which the scheduler may have grown from its first quiet moment to its last."""
MOST_GIVEN_UP = 0.05
"""Share of graphs that may end with `WorkerLost`: their task was at work when three workers in turn were killed."""


class Soak:
    """One run. `failures` says what was not as it should be."""

    def __init__(self, seconds: float, seed: int) -> None:
        self.seconds, self.seed = seconds, seed
        self.parts = Parts(worker_lease=2.0, lease=LEASE)
        self.failures: list[str] = []
        self.stop = self.parts.folder / "stop"
        self.counts = self.parts.folder / "executed"
        self.generation = Counter[str]()
        self.clients: dict[str, str] = {}
        self._heals: list[tuple[float, Act]] = []

    def run(self) -> list[str]:
        try:
            self._begin()
            for act in plan(self.seed, self.seconds, WORKERS, CLIENTS, has_journal()):
                self._until(self.begun + act.at)
                self._do(act)
                if self.failures:
                    break
            self._until(self.begun + self.seconds)
            self._quiet()
        except AssertionError as error:
            self.failures.append(str(error))
        finally:
            logs = {name: self.parts.log(name) for name in self.parts.processes}
            left = self.parts.end()
        self.failures += [f"left behind: {one}" for one in left]
        self._judge(logs)
        return self.failures

    def _begin(self) -> None:
        self.counts.touch()
        client = self.parts.start(len(WORKERS))
        client.gather(client.map(abs, range(100)))
        client.close()
        self.rss = psutil.Process(self.parts.processes["scheduler"].pid).memory_info().rss
        for number, name in enumerate(CLIENTS):
            self._client(name, 1 + number % 2)  # two have the same seed: the same graphs at about the same time
        self.begun = time.monotonic()

    def _client(self, name: str, seed: int) -> None:
        self.generation[name] += 1
        started = self.clients[name] = f"{name}.{self.generation[name]}"
        script = str(Path(__file__).with_name("soak_client.py"))
        seed += 100 * self.generation[name] + 10_000 * self.seed
        self.parts._start(started, script, self.parts.address, str(seed), str(self.stop), str(self.counts), str(LEASE))  # noqa: SLF001  # a soak restarts parts by hand

    # -- what is done ---------------------------------------------------------------------------------------------

    def _until(self, at: float) -> None:
        """Heal what is due, see that everybody who should be there is, until `at`."""
        pause = threading.Event()
        while time.monotonic() < at and not self.failures:
            now = time.monotonic()
            for due, act in [heal for heal in self._heals if heal[0] <= now]:
                self._heals.remove((due, act))
                self._heal(act)
            for process in self.clients.values():
                code = self.parts.processes[process].poll()
                if code is not None:
                    self.failures.append(f"client {process} ended with code {code}: {self.parts.log(process)[-2000:]}")
                    return
            self._revive()
            pause.wait(min(0.05, max(0.0, at - now)))

    def _revive(self) -> None:
        for name in WORKERS:
            if self.parts.processes[name].poll() is not None:
                self.parts.start_worker(name)

    def _do(self, act: Act) -> None:
        print(act, flush=True)
        parts, first = self.parts, act.targets[0]
        match act.kind:
            case "kill" | "kill two":
                for name in act.targets:
                    parts.kill(name)
            case "terminate":
                parts.processes[first].terminate()
            case "kill supervisor":
                parts.processes[first].kill()
            case "stop":
                parts.signal(first, signal.SIGSTOP)
            case "cut off":
                parts.to_scheduler[first].cut()
            case "drop links":
                parts.to_scheduler[first].drop()
            case "freeze":
                parts.to_scheduler[first].freeze()
            case "slow down":
                parts.to_scheduler[first].delay = 0.01
            case "cut the link of":
                with contextlib.suppress(FileNotFoundError):  # it is about to start
                    parts.interpose(first).cut(parts.pid(act.targets[1]))
            case "kill client":
                process = parts.processes[self.clients[first]]
                process.kill()
                process.wait()
                self._client(first, int(first[1:]) + 50)
            case "kill scheduler":
                parts.kill_scheduler()
                parts.start_scheduler()
        if act.seconds:
            self._heals.append((time.monotonic() + act.seconds, act))

    def _heal(self, act: Act) -> None:
        first = act.targets[0]
        self.parts.signal(first, signal.SIGCONT)
        self.parts.to_scheduler[first].heal()
        if first in self.parts.to_worker:
            self.parts.to_worker[first].heal()

    # -- the end --------------------------------------------------------------------------------------------------

    def _quiet(self) -> None:
        """Nothing is done any more: clients end their graphs, and everything comes to rest."""
        for name in WORKERS:
            self._heal(Act(0, "", (name,)))
        self._heals.clear()
        self._revive()
        self.stop.touch()
        deadline = time.monotonic() + LAST_GRAPHS
        while any(self.parts.processes[name].poll() is None for name in self.clients.values()):
            self._revive()
            assert time.monotonic() < deadline, "clients are stuck: " + ", ".join(
                name for name in self.clients.values() if self.parts.processes[name].poll() is None
            )
            threading.Event().wait(0.05)
        client = self.parts.client()
        client.wait_for_workers(len(WORKERS), timeout=60)
        until(
            lambda: not client.connection.query("status")["layers"], seconds=2 * LEASE, what="the release of all layers"
        )
        kept: dict[str, list[str]] = {}

        def empty() -> bool:
            kept.update(client.run(held))
            return not any(kept.values())

        try:
            until(empty, seconds=20, what="empty stores")
        except AssertionError as error:
            stray = [f"{name}: {task_range}" for name, ranges in kept.items() for task_range in ranges]
            stories = [line for one in stray[:6] for line in story(client, one)]
            raise AssertionError("\n  ".join([f"{error}:", *stray, *stories])) from None
        assert client.gather(client.map(abs, range(-100, 0))) == list(range(100, 0, -1))
        grown = psutil.Process(self.parts.processes["scheduler"].pid).memory_info().rss - self.rss
        assert grown < MOST_GROWTH, f"the scheduler has grown by {grown >> 20} MiB"
        for name in WORKERS:
            open_files = psutil.Process(self.parts.pid(name)).num_fds()
            assert open_files < 150, f"{name} has {open_files} open files"

    def _judge(self, logs: dict[str, str]) -> None:
        lines = [line for name, log in logs.items() if name.startswith("c") for line in log.splitlines()]
        ended = Counter(line.split()[0] for line in lines if line.split()[:1])
        print(f"graphs: {ended['OK']} right, {ended['WRONG']} wrong, {ended['GIVEN']} given up, {ended['STUCK']} stuck")
        if ended["WRONG"] or ended["STUCK"]:
            self.failures += [line for line in lines if line.startswith(("WRONG", "STUCK"))]
        if ended["GIVEN"] > max(2, MOST_GIVEN_UP * ended["OK"]):
            self.failures += [line for line in lines if line.startswith("GIVEN")][:5]
        if not ended["OK"]:
            self.failures.append("no graph was ended at all")
        if self.failures:
            tails = {name: log[-3000:] for name, log in logs.items() if name in (*WORKERS, "scheduler")}
            print("\n".join(f"-- the end of {name}'s log:\n{tail}" for name, tail in tails.items()))
        for name, log in logs.items():
            self.failures += [
                f"{name}: {line}" for line in log.splitlines() if "howdah's own" in line or "unforeseen" in line
            ]


def story(client: Client, stray: str) -> list[str]:
    """What the scheduler remembers of it."""
    key, _, items = stray.split(": ")[1].partition("[")
    notes = client.connection.query("story", key=f"{key}-{items.partition(':')[0]}")
    return [
        f"{stray}: {note['at']:.2f} {note['old']}->{note['new']} [{note['start']}:{note['stop']}] "
        f"{note.get('worker', '')} run {note.get('run', '')} {note['reason']}"
        for note in notes[-12:]
    ]


def held(dask_worker: Any) -> list[str]:
    return [
        f"{task_range.layer.hex()}[{task_range.start}:{task_range.stop}]"
        for task_range, _ in dask_worker.store.holdings()
    ]


def main(seconds: float, seed: int) -> int:
    """Run for so many seconds; 0 when everything was as it should be."""
    print(f"chaos for {seconds:g} s with seed {seed}:", flush=True)
    failures = Soak(seconds, seed).run()
    for failure in failures:
        print(f"FAILED: {failure}", flush=True)
    print(f"seed {seed}: {'FAILED' if failures else 'passed'}", flush=True)
    return 1 if failures else 0


if __name__ == "__main__":
    arguments = [*sys.argv[1:], "60", str(os.getpid())]
    sys.exit(main(float(arguments[0]), int(arguments[1])))
