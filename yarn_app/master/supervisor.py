"""The application master's program: `environment/bin/python -s -m howdah.yarn_app.master.supervisor`, a supervisor.

It starts the scheduler, tells everybody its address, runs the driver program in cluster mode, keeps the fleet of
workers as it should be, publishes progress, lets the application end when its last client has gone, and at every kind
of end removes what the application left in HDFS before it tells YARN how it ended. Started by skein's application
master in the same container; nothing imports it but tests.

One thread, one loop: every half second it hears (skein's store, containers, scheduler, children) and acts.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from howdah.errors import HowdahError
from howdah.yarn_app.master.attempts import WRITE_SECONDS, ApplicationResult, AttemptState, attempt_number, max_attempts
from howdah.yarn_app.master.fleet import (
    AddContainer,
    ContainerLost,
    ContainerStatus,
    FailApplication,
    Fleet,
    RemoveContainer,
    ServiceGroup,
)
from howdah.yarn_app.master.processes import ChildProcess, tail
from howdah.yarn_app.master.scheduler_client import SchedulerClient
from howdah.yarn_app.master.scheduler_process import SchedulerProcess
from howdah.yarn_app.master.status import ExitMessages, MasterStatus, strip_container_paths
from howdah.yarn_app.protocol import kv_keys
from howdah.yarn_app.storage import bundle

ROUND_SECONDS = 0.5
ACKNOWLEDGE_SECONDS = 3.0
WATCH_SECONDS = 6.0
LOSS_SECONDS = 7.0  # skein hears of an ended container within 5 s
MAX_DIAGNOSTICS = 6000
_SHOWN = frozenset({"tasks", "placed", "bytes", "moved", "clients", "first_task"})  # of the scheduler's status


class Supervisor:
    """All of the above for one application; `run` returns when it has told YARN the end."""

    def __init__(self, container: Path, environ: Mapping[str, str]) -> None:
        self.container, self.environ = container, environ
        self.logs = Path(environ.get("LOG_DIRS", str(container)).split(",")[0])
        self.attempt = attempt_number(environ.get("CONTAINER_ID", ""))
        self.status = MasterStatus(attempt=self.attempt)
        self.status.mark("master")
        self.terminated = threading.Event()
        self.app_id = environ["SKEIN_APPLICATION_ID"]
        self.scheduler: SchedulerProcess | None = None
        self.driver: ChildProcess | None = None
        self.staging: Any = None
        self.state = AttemptState()
        self.saved_state = AttemptState()
        self.input: dict[str, bytes] = {}
        self.lease_renewed = self.watched = time.monotonic()
        self.was_watched = False
        self.published = b""
        self.cleanups: list[str] = []
        self.exit_messages = ExitMessages()

    # -- the whole of it

    def run(self) -> ApplicationResult:
        """From start to end; errors of ours are an ending too."""
        from howdah.yarn_app.yarn.skein_client import ApplicationMaster

        signal.signal(signal.SIGTERM, lambda *_: self.terminated.set())
        self.config: dict[str, Any] = {}
        self.attempts = 2  # until it is known: what fails before would fail again
        self.skein: ApplicationMaster | None = None
        try:
            self.config = bundle.read_config(self.container)
            self.attempts = max_attempts(self.config["specification"], self._yarn("resourcemanager.am.max-attempts"))
            self.state.wanted = int(self.config["n_workers"])
            self.journal_in_hdfs = self.attempts > 1 and not self.config.get("driver")
            if self.attempt == 1 and not self.journal_in_hdfs:
                self._start_scheduler()  # it takes a second, in which there is other work to do
            self.skein = ApplicationMaster.from_current()
            ending = self._open_staging()
            if ending is None:
                if self.scheduler is None:
                    self._start_scheduler()
                self._await_scheduler()
                self._start_driver()
                ending = self._supervise()
        except HowdahError as error:
            ending = ApplicationResult("FAILED", f"howdah's master failed: {type(error).__name__}: {error}", 1)
        self._end(ending)
        return ending

    def _yarn(self, name: str) -> str | None:
        from howdah.io import load_hadoop_config

        return load_hadoop_config().get(f"yarn.{name}")

    # -- starting

    def _start_scheduler(self) -> None:
        """Its journal is in HDFS where a client is elsewhere, who looks for the next attempt's scheduler. In cluster
        mode the only client is the program, which a lost container takes along: a local file is enough, and faster."""
        security = bundle.copy_security(self.container, "scheduler")
        private = self.container / "private"
        journal = f"{self.status.staging}/journal" if self.journal_in_hdfs else str(private / "journal")
        self.scheduler = SchedulerProcess(
            self.environ["NM_HOST"], self.config["token"], security, private, self.logs / "scheduler.log", journal
        )
        self.scheduler.start()

    def _open_staging(self) -> ApplicationResult | None:
        """Make the folder in HDFS. In a later attempt: take over what the one before left, which may be the end."""
        from howdah.yarn_app.storage.staging import Staging

        self.staging = Staging.of_user()
        self.status.staging = self.staging.url(self.staging.create(self.app_id))
        found = AttemptState.read(self.staging, self.app_id) if self.attempt > 1 else None
        if found is not None:
            self.state = self.saved_state = found
            self.status.lost, self.status.preempted = list(found.lost), list(found.preempted)
            self.status.restarted = list(found.restarted)
            if found.result is not None:
                return found.result
        if self.attempt > 1 and self.config.get("driver"):
            # The program begins anew: what it had begun to write before is nobody's.
            self.staging.remove_urls(self.staging.cleanups(self.app_id))
        client = bundle.copy_security(self.container, "client")
        for file in sorted(client.iterdir()):  # for `from_application_id`: HDFS's permissions say who may join
            self.staging.write(self.app_id, f"client/{file.name}", file.read_bytes())
        return None

    def _await_scheduler(self) -> None:
        assert self.scheduler is not None
        assert self.skein is not None
        while not self.scheduler.ready:  # `look` ends the wait
            why = self.scheduler.poll()
            if why:
                raise HowdahError(why)
            if self.terminated.wait(0.02):
                raise HowdahError("YARN ended the application while it started")
        self.status.scheduler = self.scheduler.address
        self.status.mark("scheduler")
        self.skein.put(kv_keys.SCHEDULER, self.status.scheduler.encode())
        if self.scheduler.status_page:
            self.skein.add_page("howdah", self.scheduler.status_page, "howdah")

    def _start_driver(self) -> None:
        self.status.phase = "running"
        wanted = self.config.get("driver")
        if not wanted:
            return
        env = {
            **self.environ,
            "HOWDAH_SCHEDULER": self.status.scheduler,
            "HOWDAH_SECURITY": str(self.container / "private" / "client"),
            "HOWDAH_STAGING": self.status.staging,
            "HOWDAH_APPLICATION": self.app_id,
            "HOWDAH_WORKERS": str(self.state.wanted),
            "HOWDAH_ATTEMPT": str(self.attempt),
            "PYTHONUNBUFFERED": "1",
        }
        command = [sys.executable, "-s", wanted["script"], *wanted["arguments"]]
        self.driver = ChildProcess(
            command, out=self.logs / "driver.out", err=self.logs / "driver.err", env=env, cwd=self.container
        )
        self.status.mark("driver")

    # -- supervising

    def _supervise(self) -> ApplicationResult:
        self.status.wanted = self.state.wanted
        groups = [ServiceGroup(**group) for group in self.config["groups"]]
        fleet = Fleet(groups, self.config["failures_allowed"])
        next_round = 0.0
        while True:
            if self.terminated.is_set():
                return ApplicationResult(
                    "KILLED", "YARN ended the application (it was killed, or its node needed the room)", 137
                )
            ending = self._poll_children()
            if ending is None and time.monotonic() >= next_round:
                next_round = time.monotonic() + ROUND_SECONDS
                ending = self._read_input()
                if ending is None and self.scheduler is not None and self.scheduler.ready:
                    ending = self._reconcile(fleet)
                self._publish()
            if ending is not None:
                if ending.status == "FAILED" and self.driver is not None:
                    self._await_losses(fleet)
                    ending.diagnostics += self._describe_losses()
                return ending
            self.terminated.wait(0.05)

    def _poll_children(self) -> ApplicationResult | None:
        assert self.scheduler is not None
        code = self.driver.poll() if self.driver is not None else None
        if code is not None:
            return self._driver_result(code)
        why = self.scheduler.poll()
        self.status.restarted[len(self.state.restarted) :] = self.scheduler.restarts
        return ApplicationResult("FAILED", why, 1) if why else None

    def _driver_result(self, code: int) -> ApplicationResult:
        assert self.driver is not None
        self.status.mark("driver_end")
        script = self.config["driver"]["script"]
        if code == 0:
            return ApplicationResult("SUCCEEDED", f"{script} ended with exit code 0", 0)
        why = strip_container_paths(self.driver.tail(8000)).strip()[-4000:]
        return ApplicationResult("FAILED", f"{script} ended with exit code {code}" + (f":\n{why}" if why else ""), code)

    def _read_input(self) -> ApplicationResult | None:
        """The edge's wishes and signs of life."""
        assert self.skein is not None
        now = time.monotonic()
        fresh = self.skein.get_prefix(kv_keys.INPUT)
        if fresh.get(kv_keys.LEASE) != self.input.get(kv_keys.LEASE) or self.status.work.get("clients"):
            self.lease_renewed = now
        if any(fresh.get(key) != self.input.get(key) for key in (kv_keys.LEASE, kv_keys.WATCH)):
            self.watched, self.was_watched = now, True
        if fresh.get(kv_keys.SCALE) != self.input.get(kv_keys.SCALE):
            self.status.wanted = self.state.wanted = int(fresh[kv_keys.SCALE])
        self.input = fresh
        if kv_keys.END in fresh:
            wish = json.loads(fresh[kv_keys.END])
            return ApplicationResult(wish["status"], wish["diagnostics"], int(wish.get("exit_code", 0)))
        silent = now - self.lease_renewed
        if self.driver is None and silent > float(self.config["lease"]):
            return ApplicationResult(
                "KILLED",
                f"no client was heard of for {silent:.0f} s (lease {self.config['lease']:.0f} s): "
                "the program that started this application is gone, so the application ended itself",
                137,
            )
        return None

    def _reconcile(self, fleet: Fleet) -> ApplicationResult | None:
        """Hear of containers and of the scheduler; play the fleet's orders."""
        assert self.skein is not None
        link = self._scheduler_client()
        status = link.status()
        told = self.skein.get_prefix(kv_keys.EXIT_REASON)
        seen = [self.exit_messages.complete(one, told) for one in self.skein.containers()]
        self._update_status(status, seen)
        if len(self.status.unpacked) < self.status.running:
            self._read_localization()
        for order in fleet.reconcile(time.monotonic(), self.status.wanted, seen, link.joined):
            match order:
                case AddContainer(service):
                    self.skein.add(service)
                case RemoveContainer(name):
                    link.retire([name])
                    self.skein.remove(name)
                case ContainerLost():
                    self._report_loss(order)
                case FailApplication(reason):
                    return ApplicationResult("FAILED", reason, 1)
        return None

    def _update_status(self, status: dict[str, Any], seen: list[ContainerStatus]) -> None:
        board = self.status
        board.work = {name: value for name, value in status.items() if name in _SHOWN}
        board.joined = len(self._scheduler_client().joined)
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
        if status:
            self._save_state([str(url) for url in status.get("cleanup", ())])
        tasks = status.get("tasks") or {}
        if self.skein is not None and tasks.get("total"):
            self.skein.progress(tasks["done"] / tasks["total"])

    def _save_state(self, cleanups: list[str]) -> None:
        """Write down in HDFS what would be needed if this master were lost now."""
        note = AttemptState(
            self.status.wanted, list(self.status.lost), list(self.status.preempted), list(self.status.restarted),
        )  # fmt: skip
        try:
            if cleanups != self.cleanups:
                self.staging.write(self.app_id, "cleanup.json", json.dumps(cleanups).encode(), patience=WRITE_SECONDS)
                self.cleanups = cleanups
            if self.attempts > 1 and note != self.saved_state:
                note.write(self.staging, self.app_id)
                self.saved_state = note
        except (HowdahError, OSError) as error:
            print(f"howdah: {self.status.staging} cannot be written now: {error}", flush=True)

    def _read_localization(self) -> None:
        """What workers told of YARN's unpacking before they joined."""
        assert self.skein is not None
        found = self.skein.get_prefix(kv_keys.LOCALIZATION)
        self.status.unpacked = {
            name.removeprefix(kv_keys.LOCALIZATION): [int(part) for part in value.decode().split(",")]
            for name, value in found.items()
        }

    def _scheduler_client(self) -> SchedulerClient:
        assert self.scheduler is not None
        assert self.scheduler.client is not None, "the scheduler listens since `_await_scheduler`"
        return self.scheduler.client

    def _report_loss(self, lost: ContainerLost) -> None:
        """Tell the scheduler and people why a container ended."""
        link = self._scheduler_client()
        line = self.status.report_loss(lost, link.peaks.get(lost.name, 0))
        link.worker_lost(lost.name, line.partition(": ")[2])
        print(f"howdah: {lost.reclaimed or 'lost'} {line}", flush=True)

    def _await_losses(self, fleet: Fleet) -> None:
        """A driver may have failed of a container of which skein has not heard yet: wait for that, not longer."""
        deadline = time.monotonic() + LOSS_SECONDS
        while (
            self._scheduler_client().unexplained_absences()
            and time.monotonic() < deadline
            and not self.terminated.wait(0.25)
        ):
            known = len(self.status.lost)
            self._reconcile(fleet)
            if len(self.status.lost) > known:
                return

    def _describe_losses(self) -> str:
        if not self.status.lost:
            return ""
        return "\nworker containers that ended by themselves:\n  " + "\n  ".join(self.status.lost)

    def _publish(self) -> None:
        assert self.skein is not None
        fresh = json.dumps(self.status.as_dict()).encode()
        if fresh != self.published:
            self.skein.put(kv_keys.STATUS, fresh)
            self.published = fresh

    # -- ending

    def _end(self, ending: ApplicationResult) -> None:
        """Stop the driver, clean, tell the edge, tell YARN: in this order, whatever fails in between."""
        quick = self.terminated.is_set()  # YARN's SIGKILL follows its SIGTERM in a quarter of a second
        if quick and self.attempt < self.attempts:
            return self._hand_over()
        self.status.phase = "ending"
        self.status.mark("end")
        if quick:
            self._clean(unclean=True)
        elif self.attempt < self.attempts:
            self._save_result(ending)
        if self.scheduler is not None and self.scheduler.client is not None:
            self._update_status(self.scheduler.client.status() or dict(self.status.work), [])
        if self.driver is not None:
            self.driver.stop(0.1 if quick else 5.0)
        if not quick:
            self._remove_unfinished(ending)
        self._publish_result(ending)
        if self.scheduler is not None:
            self.scheduler.stop(0.1 if quick else 3.0)
        diagnostics = ending.diagnostics[-MAX_DIAGNOSTICS:]
        told = not quick and self.attempt < self.attempts and self._unregister(ending.status, diagnostics)
        if not quick and (told or self.attempt >= self.attempts or ending.status == "SUCCEEDED"):
            self._clean(unclean=False, skein=told)
        if self.skein is not None:
            try:
                self.skein.shutdown(ending.status, diagnostics)
            except HowdahError as error:
                print(f"howdah: {error}", file=sys.stderr, flush=True)

    def _hand_over(self) -> None:
        """YARN takes the container, and starts another attempt: nobody is told good-bye, nothing is removed."""
        print("howdah: YARN ends this container; the next attempt goes on", flush=True)
        if self.scheduler is not None:
            self.scheduler.stop(0.1, graceful=False)
        if self.driver is not None:
            self.driver.stop(0.1)

    def _save_result(self, ending: ApplicationResult) -> None:
        try:
            AttemptState(
                self.status.wanted, self.status.lost, self.status.preempted, self.status.restarted, ending
            ).write(self.staging, self.app_id)
        except (HowdahError, OSError, AttributeError) as error:
            print(f"howdah: the end could not be noted in {self.status.staging}: {error}", flush=True)

    def _unregister(self, status: str, diagnostics: str) -> bool:
        """Tell YARN ourselves, as skein would only let it start the next attempt."""
        from howdah.io import load_hadoop_config
        from howdah.yarn_app.master.am_protocol import unregister
        from howdah.yarn_app.yarn.resource_manager import ResourceManager

        tokens = Path(self.environ.get("HADOOP_TOKEN_FILE_LOCATION", ""))
        return unregister(ResourceManager(load_hadoop_config()).scheduler_addresses, tokens, status, diagnostics)

    def _remove_unfinished(self, ending: ApplicationResult) -> None:
        if self.staging is not None and ending.status != "SUCCEEDED":
            try:
                self.staging.remove_urls(self.cleanups)
            except (HowdahError, OSError) as error:
                print(f"howdah: unfinished output could not be removed: {error}", file=sys.stderr, flush=True)

    def _clean(self, *, unclean: bool, skein: bool = False) -> None:
        """Remove the application's folder; skein removes its own when it ends, unless we have told YARN."""
        if self.staging is None:
            return
        try:
            if unclean:
                self.staging.remove_urls(self.cleanups)
            self.staging.remove(self.app_id, skein=skein)
        except (HowdahError, OSError) as error:
            print(f"howdah: {self.status.staging} could not be removed: {error}", file=sys.stderr, flush=True)

    def _publish_result(self, ending: ApplicationResult) -> None:
        """Write the end to skein's store, and give who watches a moment to read it."""
        if self.skein is None:
            return
        try:
            self._read_localization()  # a short job may be over before the fleet was looked after again
            final = {
                **self.status.as_dict(),
                "status": ending.status,
                "exit_code": ending.exit_code,
                "diagnostics": ending.diagnostics,
                "out": tail(self.logs / "driver.out", 4000),
                "err": strip_container_paths(tail(self.logs / "driver.err", 16000))[-8000:],
            }
            self.skein.put(kv_keys.FINAL, json.dumps(final).encode())
            deadline = time.monotonic() + ACKNOWLEDGE_SECONDS
            watched = self.was_watched and time.monotonic() - self.watched < WATCH_SECONDS
            while watched and time.monotonic() < deadline and not self.terminated.wait(0.05):
                if self.skein.get(kv_keys.ACKNOWLEDGED):
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
