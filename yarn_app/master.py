"""The application master's program: `environment/bin/python -s -m howdah.yarn_app.master`, a supervisor.

It starts the scheduler, tells everybody its address, runs the driver program in cluster mode, keeps the fleet of
workers as it should be, publishes progress, lets the application end when its last client has gone, and at every kind
of end removes what the application left in HDFS before it tells YARN how it ended. Started by skein's application
master in the same container; nothing imports it but tests.

One thread, one loop: every half second it hears (skein's store, containers, scheduler, children) and acts.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from howdah.errors import HowdahError
from howdah.yarn_app import keys, logs, payload
from howdah.yarn_app.fleet import Add, Fleet, GiveUp, Group, Lost, Remove, Seen
from howdah.yarn_app.programs import Program, tail
from howdah.yarn_app.scheduler_link import SchedulerLink

ROUND_SECONDS = 0.5
SCHEDULER_SECONDS = 60.0
SEEN_SECONDS = 3.0
WATCHED_WITHIN = 6.0
WORDS_SECONDS = 7.0  # skein hears of an ended container within 5 s
DIAGNOSTICS_MOST = 6000
_CONTAINER_FOLDER = re.compile(r"/[^\s\"']*/container_[0-9a-z_]+/")
_SHOWN = frozenset({"tasks", "placed", "bytes", "moved", "clients", "first_task"})  # of the scheduler's status


@dataclass(slots=True)
class Ending:
    """How the application is to end. `exit_code` is what `howdah submit` exits with."""

    status: str
    diagnostics: str
    exit_code: int


@dataclass(slots=True)
class Board:
    """What the edge is shown (`keys.STATUS`): plain JSON, small."""

    phase: str = "starting"
    scheduler: str = ""
    wanted: int = 0
    running: int = 0
    joined: int = 0
    pending: int = 0
    times: dict[str, float] = field(default_factory=dict)
    unpacked: dict[str, list[int]] = field(default_factory=dict)
    work: dict[str, Any] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)
    staging: str = ""

    def mark(self, what: str) -> None:
        """Note the time of something that happens once."""
        self.times.setdefault(what, round(time.time(), 3))

    def as_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


class Supervisor:
    """All of the above for one application; `run` returns when it has told YARN the end."""

    def __init__(self, container: Path, environ: Mapping[str, str]) -> None:
        self.container, self.environ = container, environ
        self.logs = Path(environ.get("LOG_DIRS", str(container)).split(",")[0])
        self.board = Board()
        self.board.mark("master")
        self.terminated = threading.Event()
        self.app_id = environ["SKEIN_APPLICATION_ID"]
        self.scheduler: Program | None = None
        self.driver: Program | None = None
        self.link: SchedulerLink | None = None
        self.staging: Any = None
        self.heard: dict[str, bytes] = {}
        self.lease_renewed = self.watched = time.monotonic()
        self.was_watched = False
        self.published = b""
        self.cleanups: list[str] = []
        self.words: dict[str, str] = {}

    # -- the whole of it

    def run(self) -> Ending:
        """From start to end; errors of ours are an ending too."""
        from howdah.yarn_app.skein_port import Master

        signal.signal(signal.SIGTERM, lambda *_: self.terminated.set())
        self.config: dict[str, Any] = {}
        self.skein: Master | None = None
        try:
            self.config = payload.read_config(self.container)
            self._start_scheduler()
            self.skein = Master.from_current()
            self._open_staging()
            self._await_scheduler()
            self._start_driver()
            ending = self._supervise()
        except HowdahError as error:
            ending = Ending("FAILED", f"howdah's master failed: {type(error).__name__}: {error}", 1)
        self._end(ending)
        return ending

    # -- starting

    def _start_scheduler(self) -> None:
        security = payload.private(self.container, "scheduler")
        self.address_file = self.container / "private" / "address"
        command = [sys.executable, "-s", "-m", "howdah.engine.scheduler"]
        command += ["--listen", f"tls://{self.environ['NM_HOST']}:0", "--security", str(security)]
        command += ["--address-file", str(self.address_file), "--name", self.config["token"]]
        log = self.logs / "scheduler.log"
        self.scheduler = Program(command, out=log, err=log)
        self.security = security

    def _open_staging(self) -> None:
        from howdah.yarn_app.staging import Staging

        assert self.skein is not None
        self.staging = Staging.of_user()
        self.board.staging = self.staging.url(self.staging.create(self.app_id))
        client = payload.private(self.container, "client")
        for file in sorted(client.iterdir()):  # for `from_application_id`: HDFS's permissions say who may join
            self.staging.write(self.app_id, f"client/{file.name}", file.read_bytes())

    def _await_scheduler(self) -> None:
        assert self.scheduler is not None
        assert self.skein is not None
        deadline = time.monotonic() + SCHEDULER_SECONDS
        while not self.address_file.exists():  # it comes complete
            code = self.scheduler.poll()
            if code is not None:
                raise HowdahError(f"the scheduler ended with exit code {code}:\n{self.scheduler.tail()}")
            if time.monotonic() > deadline:
                raise HowdahError(
                    f"the scheduler did not listen within {SCHEDULER_SECONDS:.0f} s:\n{self.scheduler.tail()}"
                )
            if self.terminated.wait(0.02):
                raise HowdahError("YARN ended the application while it started")
        found = json.loads(self.address_file.read_text())
        self.board.scheduler = found["address"]
        self.board.mark("scheduler")
        self.skein.put(keys.SCHEDULER, self.board.scheduler.encode())
        self.link = SchedulerLink(self.board.scheduler, self.security)
        if found.get("status"):
            self.skein.add_page("howdah", found["status"], "howdah")

    def _start_driver(self) -> None:
        self.board.phase = "running"
        wanted = self.config.get("driver")
        if not wanted:
            return
        env = {
            **self.environ,
            "HOWDAH_SCHEDULER": self.board.scheduler,
            "HOWDAH_SECURITY": str(self.container / "private" / "client"),
            "HOWDAH_STAGING": self.board.staging,
            "HOWDAH_APPLICATION": self.app_id,
            "HOWDAH_WORKERS": str(self.config["n_workers"]),
            "PYTHONUNBUFFERED": "1",
        }
        command = [sys.executable, "-s", wanted["script"], *wanted["arguments"]]
        self.driver = Program(
            command, out=self.logs / "driver.out", err=self.logs / "driver.err", env=env, cwd=self.container
        )
        self.board.mark("driver")

    # -- supervising

    def _supervise(self) -> Ending:
        self.board.wanted = int(self.config["n_workers"])
        groups = [Group(**group) for group in self.config["groups"]]
        fleet = Fleet(groups, self.config["failures_allowed"])
        next_round = 0.0
        while True:
            if self.terminated.is_set():
                return Ending("KILLED", "YARN ended the application (it was killed, or its node needed the room)", 137)
            ending = self._children_ended()
            if ending is None and time.monotonic() >= next_round:
                next_round = time.monotonic() + ROUND_SECONDS
                ending = self._hear() or self._look_after(fleet)
                self._publish()
            if ending is not None:
                if ending.status == "FAILED" and self.driver is not None:
                    self._hear_last_words(fleet)
                    ending.diagnostics += self._losses()
                return ending
            self.terminated.wait(0.05)

    def _children_ended(self) -> Ending | None:
        assert self.scheduler is not None
        code = self.driver.poll() if self.driver is not None else None
        if code is not None:
            return self._driver_ended(code)
        code = self.scheduler.poll()
        if code is None:
            return None
        return Ending("FAILED", f"the scheduler ended with exit code {code}:\n{self.scheduler.tail(3000)}", 1)

    def _driver_ended(self, code: int) -> Ending:
        assert self.driver is not None
        self.board.mark("driver_end")
        script = self.config["driver"]["script"]
        if code == 0:
            return Ending("SUCCEEDED", f"{script} ended with exit code 0", 0)
        why = self._readable(self.driver.tail(8000)).strip()[-4000:]
        return Ending("FAILED", f"{script} ended with exit code {code}" + (f":\n{why}" if why else ""), code)

    def _readable(self, text: str) -> str:
        """Without the folders of containers, which are long, and gone when somebody reads this."""
        return _CONTAINER_FOLDER.sub("", text)

    def _hear(self) -> Ending | None:
        """The edge's wishes and signs of life."""
        assert self.skein is not None
        now = time.monotonic()
        fresh = self.skein.get_prefix(keys.IN)
        if fresh.get(keys.LEASE) != self.heard.get(keys.LEASE) or self.board.work.get("clients"):
            self.lease_renewed = now
        if any(fresh.get(key) != self.heard.get(key) for key in (keys.LEASE, keys.WATCH)):
            self.watched, self.was_watched = now, True
        if fresh.get(keys.SCALE) != self.heard.get(keys.SCALE):
            self.board.wanted = int(fresh[keys.SCALE])
        self.heard = fresh
        if keys.END in fresh:
            wish = json.loads(fresh[keys.END])
            return Ending(wish["status"], wish["diagnostics"], int(wish.get("exit_code", 0)))
        silent = now - self.lease_renewed
        if self.driver is None and silent > float(self.config["lease"]):
            return Ending(
                "KILLED",
                f"no client was heard of for {silent:.0f} s (lease {self.config['lease']:.0f} s): "
                "the program that started this application is gone, so the application ended itself",
                137,
            )
        return None

    def _look_after(self, fleet: Fleet) -> Ending | None:
        """Hear of containers and of the scheduler; play the fleet's orders."""
        assert self.skein is not None
        assert self.link is not None
        status = self.link.status()
        seen = [self._with_words(one) for one in self.skein.containers()]
        self._note(status, seen)
        if len(self.board.unpacked) < self.board.running:
            self._hear_unpacked()
        for order in fleet.look(time.monotonic(), self.board.wanted, seen, self.link.joined):
            match order:
                case Add(service):
                    self.skein.add(service)
                case Remove(name):
                    self.link.retire([name])
                    self.skein.remove(name)
                case Lost():
                    self._mourn(order)
                case GiveUp(reason):
                    return Ending("FAILED", reason, 1)
        return None

    def _note(self, status: dict[str, Any], seen: list[Seen]) -> None:
        board = self.board
        board.work = {name: value for name, value in status.items() if name in _SHOWN}
        board.joined = len(self.link.joined) if self.link else 0
        board.running = sum(one.state == "RUNNING" for one in seen)
        board.pending = sum(one.pending for one in seen)
        if board.running or board.joined:
            board.mark("first_container")
        if board.joined:
            board.mark("first_worker")
        if board.joined >= board.wanted:
            board.mark("all_workers")
        if status.get("first_task"):
            board.times.setdefault("first_task", status["first_task"])
        cleanups = [str(url) for url in status.get("cleanup", ())]
        if cleanups != self.cleanups:
            self.cleanups = cleanups
            self.staging.write(self.app_id, "cleanup.json", json.dumps(cleanups).encode())
        tasks = status.get("tasks") or {}
        if self.skein is not None and tasks.get("total"):
            self.skein.progress(tasks["done"] / tasks["total"])

    def _hear_unpacked(self) -> None:
        """What workers told of YARN's unpacking before they joined."""
        assert self.skein is not None
        found = self.skein.get_prefix(keys.UNPACKED)
        self.board.unpacked = {
            name.removeprefix(keys.UNPACKED): [int(part) for part in value.decode().split(",")]
            for name, value in found.items()
        }

    def _with_words(self, one: Seen) -> Seen:
        """A container that ended, with its own last words where YARN only says that it failed."""
        if one.state != "FAILED" or "see logs" not in one.message:
            return one
        if one.name not in self.words:
            told = self.skein.get(keys.WORDS + one.name) if self.skein is not None else None
            log = f"http://{one.address}/ws/v1/node/containers/{one.container}/logs/{one.service}.log"
            text = told.decode(errors="replace") if told else logs.text_at(log, 2000)
            last = self._readable(text).strip().splitlines()[-6:]
            self.words[one.name] = "\n    ".join([one.message.partition(", see logs")[0], *last])
        return dataclasses.replace(one, message=self.words[one.name])

    def _mourn(self, lost: Lost) -> None:
        """Tell the scheduler and people why a container ended."""
        assert self.link is not None
        self.link.worker_lost(lost.name, lost.message)
        self.board.lost.append(f"{lost.container or lost.name} on {lost.host or 'no node'}: {lost.message}")
        del self.board.lost[:-8]
        print(f"howdah: lost {self.board.lost[-1]}", flush=True)

    def _hear_last_words(self, fleet: Fleet) -> None:
        """A driver may have failed of a container of which skein has not heard yet: wait for that, not longer."""
        assert self.link is not None
        deadline = time.monotonic() + WORDS_SECONDS
        while self.link.missing() and time.monotonic() < deadline and not self.terminated.wait(0.25):
            known = len(self.board.lost)
            self._look_after(fleet)
            if len(self.board.lost) > known:
                return

    def _losses(self) -> str:
        if not self.board.lost:
            return ""
        return "\nworker containers that ended by themselves:\n  " + "\n  ".join(self.board.lost)

    def _publish(self) -> None:
        assert self.skein is not None
        fresh = json.dumps(self.board.as_dict()).encode()
        if fresh != self.published:
            self.skein.put(keys.STATUS, fresh)
            self.published = fresh

    # -- ending

    def _end(self, ending: Ending) -> None:
        """Stop the driver, clean, tell the edge, tell YARN: in this order, whatever fails in between."""
        quick = self.terminated.is_set()  # YARN's SIGKILL follows its SIGTERM in a quarter of a second
        self.board.phase = "ending"
        self.board.mark("end")
        if quick:
            self._clean(unclean=True)
        if self.link is not None:
            self._note(self.link.status() or dict(self.board.work), [])
        if self.driver is not None:
            self.driver.stop(0.1 if quick else 5.0)
        if not quick:
            self._clean(unclean=ending.status != "SUCCEEDED")
        self._tell(ending)
        if self.link is not None:
            self.link.close()
        if self.scheduler is not None:
            self.scheduler.stop(0.1 if quick else 3.0)
        if self.skein is not None:
            try:
                self.skein.shutdown(ending.status, ending.diagnostics[-DIAGNOSTICS_MOST:])
            except HowdahError as error:
                print(f"howdah: {error}", file=sys.stderr, flush=True)

    def _clean(self, *, unclean: bool) -> None:
        if self.staging is None:
            return
        try:
            if unclean:
                self.staging.remove_urls(self.cleanups)
            self.staging.remove(self.app_id, skein=False)  # skein removes its own when it ends
        except (HowdahError, OSError) as error:
            print(f"howdah: {self.board.staging} could not be removed: {error}", file=sys.stderr, flush=True)

    def _tell(self, ending: Ending) -> None:
        """Write the end to skein's store, and give who watches a moment to read it."""
        if self.skein is None:
            return
        try:
            self._hear_unpacked()  # a short job may be over before the fleet was looked after again
            final = {
                **self.board.as_dict(),
                "status": ending.status,
                "exit_code": ending.exit_code,
                "diagnostics": ending.diagnostics,
                "out": tail(self.logs / "driver.out", 4000),
                "err": self._readable(tail(self.logs / "driver.err", 16000))[-8000:],
            }
            self.skein.put(keys.FINAL, json.dumps(final).encode())
            deadline = time.monotonic() + SEEN_SECONDS
            watched = self.was_watched and time.monotonic() - self.watched < WATCHED_WITHIN
            while watched and time.monotonic() < deadline and not self.terminated.wait(0.05):
                if self.skein.get(keys.SEEN):
                    return
        except HowdahError as error:
            print(f"howdah: {error}", file=sys.stderr, flush=True)


def main() -> None:
    """Run the supervisor; skein has been told the end by then, and the exit code is for its log."""
    ending = Supervisor(Path.cwd(), dict(os.environ)).run()
    print(f"howdah: {ending.status}: {ending.diagnostics}", flush=True)
    sys.exit(0 if ending.status == "SUCCEEDED" else 1)


if __name__ == "__main__":
    main()
