"""The application master's program: `environment/bin/python -s -m howdah.yarn_app.master.supervisor`.

It starts the scheduler, publishes its address, runs the driver program in cluster mode, keeps the number of workers,
publishes the status, ends the application when its last client has gone, and at every kind of end removes what the
application left in HDFS before it reports to YARN how it ended. Started by skein's application master in the same
container; imported by tests alone.

One thread, one loop: every half second it reads (skein's store, containers, scheduler, children) and acts.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from howdah.errors import HowdahError
from howdah.io import load_hadoop_config
from howdah.yarn_app.master.am_protocol import unregister
from howdah.yarn_app.master.attempts import WRITE_SECONDS, AttemptState, attempt_number, attempts_granted
from howdah.yarn_app.master.fleet import AddContainer, ContainerLost, FailApplication, Fleet, RemoveContainer
from howdah.yarn_app.master.losses import ExitMessages, report_loss, strip_container_paths
from howdah.yarn_app.master.processes import ChildProcess, tail
from howdah.yarn_app.master.scheduler_process import SchedulerProcess
from howdah.yarn_app.protocol import kv_keys
from howdah.yarn_app.protocol.config import ApplicationConfig
from howdah.yarn_app.protocol.status import ApplicationResult, FinalStatus, MasterStatus, WorkStatus, decode
from howdah.yarn_app.storage import container_folder
from howdah.yarn_app.storage.staging import Staging
from howdah.yarn_app.yarn.reports import ContainerStatus
from howdah.yarn_app.yarn.resource_manager import ResourceManager
from howdah.yarn_app.yarn.skein_client import ApplicationMaster

if TYPE_CHECKING:
    from howdah.yarn_app.master.scheduler_client import SchedulerClient

ROUND_SECONDS = 0.5
ACKNOWLEDGE_SECONDS = 3.0
WATCH_SECONDS = 6.0
LOSS_SECONDS = 7.0  # skein notices an ended container within 5 s
MAX_DIAGNOSTICS = 6000
KILLED_CODE = 137


class ApplicationSupervisor:
    """The supervision of one attempt of an application; `run` returns when the end was reported to YARN.

    Parameters
    ----------
    container : the container's working folder.
    environ : the container's environment variables.
    """

    def __init__(self, container: Path, environ: Mapping[str, str]) -> None:
        self.container, self.environ = container, environ
        self.logs = Path(environ.get("LOG_DIRS", str(container)).split(",")[0])
        self.app_id = environ["SKEIN_APPLICATION_ID"]
        self.attempt = attempt_number(environ.get("CONTAINER_ID", ""))
        self.attempts = 2  # until the configuration is read: what fails before would fail again
        self.journal_in_hdfs = False
        self.status = MasterStatus(attempt=self.attempt)
        self.status.mark("master")
        self.state = AttemptState()
        self.saved_state = AttemptState()
        self.terminated = threading.Event()
        self.scheduler: SchedulerProcess | None = None
        self.driver: ChildProcess | None = None
        self.staging: Staging | None = None
        self.skein: ApplicationMaster | None = None
        self.exit_messages = ExitMessages()
        self._config: ApplicationConfig | None = None
        self._input: dict[str, bytes] = {}
        self._lease_renewed = self._watched = time.monotonic()
        self._was_watched = False
        self._published = b""
        self._cleanups: list[str] = []

    # -- the whole of it

    def run(self) -> ApplicationResult:
        """Run from start to end. A `HowdahError` is a failure of the application too."""
        signal.signal(signal.SIGTERM, lambda *_: self.terminated.set())
        try:
            self._config = config = container_folder.read_config(self.container)
            limit = load_hadoop_config().get("yarn.resourcemanager.am.max-attempts")
            self.attempts = attempts_granted(config.max_attempts, limit)
            self.state.wanted = config.n_workers
            self.journal_in_hdfs = self.attempts > 1 and config.driver is None
            if self.attempt == 1 and not self.journal_in_hdfs:
                self._start_scheduler()  # it takes a second, in which there is other work to do
            self.skein = ApplicationMaster.from_current()
            result = self._open_staging()
            if result is None:
                if self.scheduler is None:
                    self._start_scheduler()
                self._await_scheduler()
                self._start_driver()
                result = self._supervise()
        except HowdahError as error:
            result = ApplicationResult("FAILED", f"howdah's master failed: {type(error).__name__}: {error}", 1)
        self._end(result)
        return result

    # -- what is there from `run` on

    @property
    def config(self) -> ApplicationConfig:
        """The configuration of the application."""
        assert self._config is not None, "`run` reads it first"
        return self._config

    def _application_master(self) -> ApplicationMaster:
        assert self.skein is not None, "`run` connects to it"
        return self.skein

    def _scheduler_client(self) -> SchedulerClient:
        assert self.scheduler is not None
        assert self.scheduler.client is not None, "the scheduler listens since `_await_scheduler`"
        return self.scheduler.client

    def _app_staging(self) -> Staging:
        assert self.staging is not None, "`_open_staging` opens it"
        return self.staging

    # -- starting

    def _start_scheduler(self) -> None:
        """Start the scheduler's process, with a journal where its successor will find it.

        A client outside of YARN looks for the next attempt's scheduler, so the journal is in HDFS. In cluster mode the
        only client is the driver program, which is lost with the container: a local file is enough, and faster.
        """
        security = container_folder.copy_security(self.container, "scheduler")
        private = self.container / "private"
        journal = f"{self.status.staging}/journal" if self.journal_in_hdfs else str(private / "journal")
        self.scheduler = SchedulerProcess(
            self.environ["NM_HOST"], self.config.token, security, private, self.logs / "scheduler.log", journal
        )
        self.scheduler.start()

    def _open_staging(self) -> ApplicationResult | None:
        """Make the folder in HDFS. In a later attempt, take over what the one before left; that may be the result."""
        staging = self.staging = Staging.of_user()
        self.status.staging = staging.url(staging.create(self.app_id))
        found = AttemptState.read(staging, self.app_id) if self.attempt > 1 else None
        if found is not None:
            self.state = self.saved_state = found
            self.status.lost, self.status.preempted = list(found.lost), list(found.preempted)
            self.status.restarted = list(found.restarted)
            if found.result is not None:
                return found.result
        if self.attempt > 1 and self.config.driver is not None:
            # The driver program starts again from its beginning: its unfinished output is garbage.
            staging.remove_urls(staging.cleanups(self.app_id))
        client = container_folder.copy_security(self.container, "client")
        for file in sorted(client.iterdir()):  # for `from_application_id`: HDFS's permissions decide who may join
            staging.write(self.app_id, f"client/{file.name}", file.read_bytes())
        return None

    def _await_scheduler(self) -> None:
        assert self.scheduler is not None
        while not self.scheduler.ready:  # `poll` ends the wait
            reason = self.scheduler.poll()
            if reason:
                raise HowdahError(reason)
            if self.terminated.wait(0.02):
                raise HowdahError("YARN ended the application while it started")
        self.status.scheduler = self.scheduler.address
        self.status.mark("scheduler")
        master = self._application_master()
        master.put(kv_keys.SCHEDULER, self.status.scheduler.encode())
        if self.scheduler.status_page:
            master.add_page("howdah", self.scheduler.status_page, "howdah")

    def _start_driver(self) -> None:
        self.status.phase = "running"
        program = self.config.driver
        if program is None:
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
        command = [sys.executable, "-s", program.script, *program.arguments]
        self.driver = ChildProcess(
            command, out=self.logs / "driver.out", err=self.logs / "driver.err", env=env, cwd=self.container
        )
        self.status.mark("driver")

    # -- supervising

    def _supervise(self) -> ApplicationResult:
        self.status.wanted = self.state.wanted
        fleet = Fleet(self.config.groups, self.config.failures_allowed)
        next_round = 0.0
        while True:
            if self.terminated.is_set():
                reason = "YARN ended the application (it was killed, or its node needed the room)"
                return ApplicationResult("KILLED", reason, KILLED_CODE)
            result = self._poll_children()
            if result is None and time.monotonic() >= next_round:
                next_round = time.monotonic() + ROUND_SECONDS
                result = self._read_input()
                if result is None and self.scheduler is not None and self.scheduler.ready:
                    result = self._reconcile(fleet)
                self._publish()
            if result is not None:
                if result.status == "FAILED" and self.driver is not None:
                    self._await_losses(fleet)
                    result.diagnostics += self._describe_losses()
                return result
            self.terminated.wait(0.05)

    def _poll_children(self) -> ApplicationResult | None:
        assert self.scheduler is not None
        code = self.driver.poll() if self.driver is not None else None
        if code is not None:
            return self._driver_result(code)
        reason = self.scheduler.poll()
        self.status.restarted[len(self.state.restarted) :] = self.scheduler.restarts
        return ApplicationResult("FAILED", reason, 1) if reason else None

    def _driver_result(self, code: int) -> ApplicationResult:
        assert self.driver is not None
        assert self.config.driver is not None
        self.status.mark("driver_end")
        script = self.config.driver.script
        if code == 0:
            return ApplicationResult("SUCCEEDED", f"{script} ended with exit code 0", 0)
        last = strip_container_paths(self.driver.tail(8000)).strip()[-4000:]
        return ApplicationResult(
            "FAILED", f"{script} ended with exit code {code}" + (f":\n{last}" if last else ""), code
        )

    def _read_input(self) -> ApplicationResult | None:
        """Read the edge node's commands and keep-alives; return the result that it asks for, if it does."""
        now = time.monotonic()
        fresh, before = self._application_master().get_prefix(kv_keys.INPUT), self._input
        if fresh.get(kv_keys.LEASE) != before.get(kv_keys.LEASE) or self.status.work.clients:
            self._lease_renewed = now
        if any(fresh.get(key) != before.get(key) for key in (kv_keys.LEASE, kv_keys.WATCH)):
            self._watched, self._was_watched = now, True
        if fresh.get(kv_keys.SCALE) != before.get(kv_keys.SCALE):
            self.status.wanted = self.state.wanted = int(fresh[kv_keys.SCALE])
        self._input = fresh
        if kv_keys.END in fresh:
            return decode(fresh[kv_keys.END], ApplicationResult, kv_keys.END)
        silent = now - self._lease_renewed
        if self.driver is None and silent > self.config.lease:
            return ApplicationResult(
                "KILLED",
                f"no client renewed the lease for {silent:.0f} s (lease {self.config.lease:.0f} s): "
                "the program that started this application is gone, so the application ended itself",
                KILLED_CODE,
            )
        return None

    def _reconcile(self, fleet: Fleet) -> ApplicationResult | None:
        """Read the states of containers and of the scheduler; carry out the fleet's actions."""
        master, client = self._application_master(), self._scheduler_client()
        status = client.status()
        reasons = master.get_prefix(kv_keys.EXIT_REASON)
        containers = [self.exit_messages.complete(one, reasons) for one in master.containers()]
        self._update_status(status, containers)
        if len(self.status.unpacked) < self.status.running:
            self._read_localization()
        for action in fleet.reconcile(time.monotonic(), self.status.wanted, containers, client.joined):
            match action:
                case AddContainer(service):
                    master.add(service)
                case RemoveContainer(name):
                    client.retire([name])
                    master.remove(name)
                case ContainerLost():
                    self._report_loss(action)
                case FailApplication(reason):
                    return ApplicationResult("FAILED", reason, 1)
        return None

    def _update_status(self, scheduler: dict[str, Any], containers: list[ContainerStatus]) -> None:
        """Bring the published status up to date.

        `scheduler` is the scheduler's own status, {} where it did not answer.
        """
        status = self.status
        status.work = msgspec.convert(scheduler, WorkStatus) if scheduler else WorkStatus()
        status.joined = len(self._scheduler_client().joined)
        status.running = sum(one.state == "RUNNING" for one in containers)
        status.pending = sum(one.pending for one in containers)
        if status.running or status.joined:
            status.mark("first_container")
        if status.joined:
            status.mark("first_worker")
        if status.joined >= status.wanted:
            status.mark("all_workers")
        if status.work.first_task:
            status.times.setdefault("first_task", status.work.first_task)
        if "cleanup" in scheduler:
            self._save_state([str(url) for url in scheduler["cleanup"]])
        tasks = status.work.tasks
        if self.skein is not None and tasks.get("total"):
            self.skein.progress(tasks["done"] / tasks["total"])

    def _save_state(self, cleanups: list[str]) -> None:
        """Store in HDFS what the next attempt would need if this master were lost now."""
        state = AttemptState(
            wanted=self.status.wanted,
            lost=list(self.status.lost),
            preempted=list(self.status.preempted),
            restarted=list(self.status.restarted),
        )
        staging = self._app_staging()
        try:
            if cleanups != self._cleanups:
                staging.write(self.app_id, "cleanup.json", msgspec.json.encode(cleanups), timeout=WRITE_SECONDS)
                self._cleanups = cleanups
            if self.attempts > 1 and state != self.saved_state:
                state.write(staging, self.app_id)
                self.saved_state = state
        except (HowdahError, OSError) as error:
            print(f"howdah: {self.status.staging} cannot be written to now: {error}", flush=True)

    def _read_localization(self) -> None:
        """Read the counters of YARN's unpacking, which workers write before they join."""
        found = self._application_master().get_prefix(kv_keys.LOCALIZATION)
        self.status.unpacked = {
            name.removeprefix(kv_keys.LOCALIZATION): [int(part) for part in value.decode().split(",")]
            for name, value in found.items()
        }

    def _report_loss(self, lost: ContainerLost) -> None:
        """Report to the scheduler and to users why a container ended."""
        client = self._scheduler_client()
        line = report_loss(self.status, lost, client.peaks.get(lost.name, 0))
        client.worker_lost(lost.name, line.partition(": ")[2])
        print(f"howdah: {lost.reclaimed or 'lost'} {line}", flush=True)

    def _await_losses(self, fleet: Fleet) -> None:
        """Wait until skein reports the loss of a worker that is absent: the driver program may have failed of it."""
        deadline = time.monotonic() + LOSS_SECONDS
        client = self._scheduler_client()
        while client.unexplained_absences() and time.monotonic() < deadline and not self.terminated.wait(0.25):
            before = len(self.status.lost)
            self._reconcile(fleet)
            if len(self.status.lost) > before:
                return

    def _describe_losses(self) -> str:
        if not self.status.lost:
            return ""
        return "\nworker containers that ended by themselves:\n  " + "\n  ".join(self.status.lost)

    def _publish(self) -> None:
        fresh = msgspec.json.encode(self.status)
        if fresh != self._published:
            self._application_master().put(kv_keys.STATUS, fresh)
            self._published = fresh

    # -- ending

    def _end(self, result: ApplicationResult) -> None:
        """Stop the driver, clean up, report to the edge node, report to YARN: in this order, whatever fails before."""
        quick = self.terminated.is_set()  # YARN's SIGKILL follows its SIGTERM in a quarter of a second
        if quick and self.attempt < self.attempts:
            return self._hand_over()
        self.status.phase = "ending"
        self.status.mark("end")
        if quick:
            self._clean(unclean=True)
        elif self.attempt < self.attempts:
            self._save_result(result)
        if self.scheduler is not None and self.scheduler.client is not None:
            scheduler = self.scheduler.client.status() or msgspec.to_builtins(self.status.work)
            self._update_status(scheduler, [])
        if self.driver is not None:
            self.driver.stop(0.1 if quick else 5.0)
        if not quick:
            self._remove_unfinished(result)
        self._publish_result(result)
        if self.scheduler is not None:
            self.scheduler.stop(0.1 if quick else 3.0)
        diagnostics = result.diagnostics[-MAX_DIAGNOSTICS:]
        reported = not quick and self.attempt < self.attempts and self._unregister(result.status, diagnostics)
        if not quick and (reported or self.attempt >= self.attempts or result.status == "SUCCEEDED"):
            self._clean(unclean=False, skein=reported)
        if self.skein is not None:
            try:
                self.skein.shutdown(result.status, diagnostics)
            except HowdahError as error:
                print(f"howdah: {error}", file=sys.stderr, flush=True)

    def _hand_over(self) -> None:
        """Leave everything to the next attempt, which YARN starts: no session is closed, nothing is removed."""
        print("howdah: YARN ends this container; the next attempt goes on", flush=True)
        if self.scheduler is not None:
            self.scheduler.stop(0.1, graceful=False)
        if self.driver is not None:
            self.driver.stop(0.1)

    def _save_result(self, result: ApplicationResult) -> None:
        if self.staging is None:
            print("howdah: the end could not be stored: HDFS was not reached", flush=True)
            return
        try:
            AttemptState(
                wanted=self.status.wanted,
                lost=self.status.lost,
                preempted=self.status.preempted,
                restarted=self.status.restarted,
                result=result,
            ).write(self.staging, self.app_id)
        except (HowdahError, OSError) as error:
            print(f"howdah: the end could not be stored in {self.status.staging}: {error}", flush=True)

    def _unregister(self, status: str, diagnostics: str) -> bool:
        """Report the end to YARN directly: skein would only let YARN start the next attempt."""
        tokens = Path(self.environ.get("HADOOP_TOKEN_FILE_LOCATION", ""))
        return unregister(ResourceManager(load_hadoop_config()).scheduler_addresses, tokens, status, diagnostics)

    def _remove_unfinished(self, result: ApplicationResult) -> None:
        if self.staging is not None and result.status != "SUCCEEDED":
            try:
                self.staging.remove_urls(self._cleanups)
            except (HowdahError, OSError) as error:
                print(f"howdah: unfinished output could not be removed: {error}", file=sys.stderr, flush=True)

    def _clean(self, *, unclean: bool, skein: bool = False) -> None:
        """Remove the application's folder; skein removes its own when it ends, unless the end was reported to YARN."""
        if self.staging is None:
            return
        try:
            if unclean:
                self.staging.remove_urls(self._cleanups)
            self.staging.remove(self.app_id, skein=skein)
        except (HowdahError, OSError) as error:
            print(f"howdah: {self.status.staging} could not be removed: {error}", file=sys.stderr, flush=True)

    def _publish_result(self, result: ApplicationResult) -> None:
        """Write the result to skein's store, and wait briefly until a command that watches has read it."""
        if self.skein is None:
            return
        try:
            self._read_localization()  # a short job may be over before the fleet was reconciled again
            out = tail(self.logs / "driver.out", 4000)
            err = strip_container_paths(tail(self.logs / "driver.err", 16000))[-8000:]
            self.skein.put(kv_keys.FINAL, msgspec.json.encode(FinalStatus.of(self.status, result, out, err)))
            deadline = time.monotonic() + ACKNOWLEDGE_SECONDS
            watched = self._was_watched and time.monotonic() - self._watched < WATCH_SECONDS
            while watched and time.monotonic() < deadline and not self.terminated.wait(0.05):
                if self.skein.get(kv_keys.ACKNOWLEDGED):
                    return
        except HowdahError as error:
            print(f"howdah: {error}", file=sys.stderr, flush=True)


def main() -> None:
    """Run the supervisor. skein has the result by then; the exit code is for its log."""
    result = ApplicationSupervisor(Path.cwd(), dict(os.environ)).run()
    print(f"howdah: {result.status}: {result.diagnostics}", flush=True)
    sys.exit(0 if result.status == "SUCCEEDED" else 1)


if __name__ == "__main__":
    main()
