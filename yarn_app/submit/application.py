"""One submitted application as the edge sees it: its state, its signs of life, its end.

For `cluster` and the commands. It promises: every wait has a deadline and looks at YARN's report meanwhile; an
application that ends unexpectedly is an `ApplicationFailed` with YARN's, the driver's and the containers' words;
after `end` or `kill` nothing of it is left in YARN or in HDFS.
"""

from __future__ import annotations

import contextlib
import json
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from howdah.errors import ApplicationFailed, DeadlineExceeded, HadoopNotFound, HowdahError, PathMissing
from howdah.yarn_app.protocol import kv_keys
from howdah.yarn_app.storage.staging import Staging
from howdah.yarn_app.ui import summary
from howdah.yarn_app.ui.progress import ProgressReporter
from howdah.yarn_app.yarn import logs
from howdah.yarn_app.yarn.reports import ApplicationReport
from howdah.yarn_app.yarn.resource_manager import ResourceManager, RestUnavailable
from howdah.yarn_app.yarn.skein_client import ApplicationMaster, Credentials, MasterUnreachable, SkeinDriver

REQUEST_SECONDS = 10.0
END_SECONDS = 90.0
YARN_RESTART_SECONDS = 180.0
_POLL = 0.2
KILLED_CODE = 137


@dataclass(slots=True)
class Outcome:
    """How an application ended. `final` is the master's last word (`master.Board`), empty where it had none."""

    app_id: str
    status: str
    exit_code: int
    diagnostics: str
    final: dict[str, Any] = field(default_factory=dict)

    @property
    def succeeded(self) -> bool:
        return self.status == "SUCCEEDED"

    def error(self) -> ApplicationFailed:
        """The outcome as an exception."""
        return ApplicationFailed(
            f"{self.app_id} ended {self.status}: {self.diagnostics}",
            app_id=self.app_id,
            state=self.status,
            diagnostics=self.diagnostics,
            exit_code=self.exit_code,
        )


class Application:
    """See the module. Java is started only for what REST does not tell, and for killing."""

    def __init__(self, app_id: str, manager: ResourceManager, staging: Staging, credentials: Credentials | None):
        self.app_id, self.manager, self.staging = app_id, manager, staging
        self._credentials = credentials
        self._driver: SkeinDriver | None = None
        self._master: ApplicationMaster | None = None
        self._final: dict[str, Any] = {}
        self._stop_renewal: threading.Event | None = None

    @classmethod
    def find(cls, app_id: str, manager: ResourceManager, staging: Staging) -> Application:
        """One that was submitted elsewhere. Only its owner can do more than look at YARN's report."""
        try:
            credentials = Credentials(*staging.skein_credentials(app_id))
        except PathMissing:
            credentials = None
        return cls(app_id, manager, staging, credentials)

    # -- looking

    def _skein_driver(self) -> SkeinDriver:
        if self._driver is None:
            self._driver = SkeinDriver()
        return self._driver

    def report(self) -> ApplicationReport:
        """What YARN says."""
        try:
            return self.manager.application(self.app_id)
        except RestUnavailable:
            return self._skein_driver().report(self.app_id)

    def _retry_report(self) -> ApplicationReport:
        """The report, of a YARN that may be just now restarted."""
        deadline = time.monotonic() + YARN_RESTART_SECONDS
        while True:
            try:
                return self.report()
            except (HadoopNotFound, DeadlineExceeded):
                if time.monotonic() > deadline:
                    raise
                time.sleep(_POLL)

    def master(self) -> ApplicationMaster:
        """The application master; it must have registered.

        Raises
        ------
        MasterGone
            It does not run.
        """
        master = self._master
        if master is None:
            if self._credentials is None:
                raise MasterUnreachable(f"{self.app_id} has ended, or is not yours: its certificate is not in HDFS")
            report = self.report()
            if report.state != "RUNNING":
                raise MasterUnreachable(f"{self.app_id} has no application master now: YARN says {report.state}")
            master = self._master = ApplicationMaster(report.address, self.app_id, self._credentials)
        return master

    def _drop_master(self) -> None:
        """The one that we know does not answer: the next question finds the next attempt's."""
        master, self._master = self._master, None
        if master is not None:
            with contextlib.suppress(HowdahError):
                master.close()

    def status(self) -> dict[str, Any]:
        """The master's latest word; {} before its first and after its last."""
        try:
            found = self.master().get_prefix("howdah.")
        except MasterUnreachable:
            self._drop_master()
            return self._final
        if kv_keys.FINAL in found:
            self._final = json.loads(found[kv_keys.FINAL])
            with contextlib.suppress(HowdahError):
                self.master().put(kv_keys.ACKNOWLEDGED, b"1")
            return self._final
        return dict(json.loads(found[kv_keys.STATUS])) if kv_keys.STATUS in found else {}

    # -- being there

    def keep_alive(self, key: str, every: float) -> None:
        """Renew a sign of life (`kv_keys.LEASE`, `kv_keys.WATCH`) on a thread of its own, until `stop_keepalive`."""
        stop = self._stop_renewal = threading.Event()

        def beat() -> None:
            count = 0
            while not stop.is_set():
                count += 1
                # Gone or unreachable: the report tells which; the next beat tries again.
                try:
                    self.master().put(key, f"{time.time():.3f}.{count}".encode())
                except MasterUnreachable:
                    self._drop_master()
                except HowdahError:
                    pass
                stop.wait(every)

        threading.Thread(target=beat, name=f"howdah-{key}", daemon=True).start()

    def stop_keepalive(self) -> None:
        """Stop renewing."""
        if self._stop_renewal is not None:
            self._stop_renewal.set()

    def command(self, key: str, value: bytes) -> None:
        """Ask the master for something (`kv_keys.SCALE`, `kv_keys.END`)."""
        self.master().put(key, value)

    # -- waiting

    def await_master(self, show: ProgressReporter, timeout: float) -> None:
        """Until the application master has registered.

        Raises
        ------
        ApplicationFailed
            The application ended instead.
        DeadlineExceeded
            It did not; the message has the queue's state. The application is killed.
        """
        began = time.monotonic()
        next_look = 0.0
        text = ""
        while True:
            report = self.report()
            if report.state == "RUNNING":
                return
            if report.ended:
                raise self.failed(report)
            if time.monotonic() >= next_look:
                next_look = time.monotonic() + 2.0
                text = f"{report.state.lower()}, {self._queue(report)}"
                show.phase("waiting for YARN", text)
            if time.monotonic() - began > timeout:
                self.kill("its master did not start in time")
                why = _last_line(report.diagnostics)
                raise DeadlineExceeded(
                    f"YARN did not start {self.app_id} within {timeout:.0f} s (start_timeout): {text}. YARN says: {why}"
                )
            time.sleep(_POLL)

    def _queue(self, report: ApplicationReport) -> str:
        try:
            return self.manager.describe_queue(report.queue)
        except HowdahError:
            return f"queue {report.queue}"

    def await_status(
        self, show: ProgressReporter, what: str, ready: Callable[[dict[str, Any]], bool], timeout: float
    ) -> dict[str, Any]:
        """Until the master's word satisfies `ready`; the application's end is an error."""
        deadline = time.monotonic() + timeout
        told: set[str] = set()
        while True:
            status = self.status()
            if status.get("exit_code") is not None or (not status and self.report().ended):
                raise self.failed(self.report())
            if status and ready(status):
                return status
            self.show_losses(status, told, show)
            if time.monotonic() > deadline:
                raise DeadlineExceeded(
                    f"{what} within {timeout:.0f} s (start_timeout). Containers: {status.get('running', 0)} run, "
                    f"{status.get('pending', 0)} are not granted yet; {self._queue(self.report())}"
                    + "".join(f"\n  lost: {text}" for text in status.get("lost", []))
                )
            time.sleep(_POLL)

    def wait(self, show: ProgressReporter, each: Callable[[dict[str, Any]], None]) -> Outcome:
        """Until the application has ended, however long that takes; `each` sees the master's words meanwhile."""
        told: set[str] = set()
        heard = time.monotonic()
        while True:
            status = self.status()
            if status:
                heard = time.monotonic()
                each(status)
            self.show_losses(status, told, show)
            if status.get("exit_code") is not None:
                return self._await_end()
            if not status:
                try:
                    if self.report().ended:
                        return self._await_end()
                except HowdahError:
                    # YARN may restart under a running application; it goes on, and so do we, for a while.
                    if time.monotonic() - heard > YARN_RESTART_SECONDS:
                        raise
            time.sleep(0.4)

    @staticmethod
    def show_losses(status: dict[str, Any], told: set[str], show: ProgressReporter) -> None:
        """Tell a person of each loss once; the master's word has the newest."""
        for text in summary.losses(status):
            if text not in told:
                told.add(text)
                show.note(text)

    def _await_end(self) -> Outcome:
        """After the master's last word: until YARN says so too, and nothing is left."""
        report = self._retry_report()
        deadline = time.monotonic() + END_SECONDS
        while not report.ended and time.monotonic() < deadline:
            time.sleep(_POLL)
            report = self._retry_report()
        if report.ended:  # else its next attempt has to find the end that was noted there
            self.clean()
        return self.outcome(report)

    def clean(self) -> None:
        """Remove what an ended application left in HDFS; mostly that is nothing."""
        with contextlib.suppress(OSError, HowdahError):
            if self.staging.exists(self.app_id):
                self.staging.remove(self.app_id)

    # -- its end

    def outcome(self, report: ApplicationReport) -> Outcome:
        """How it ended, from the master's last word, or from YARN's report where there was none."""
        status = report.final_status if report.state == "FINISHED" else report.state
        diagnostics = self._final.get("diagnostics") or report.diagnostics or "(YARN says nothing)"
        if self._final.get("exit_code") is not None and status == self._final.get("status"):
            code = int(self._final["exit_code"])
        elif status == "SUCCEEDED":
            code = 0
        elif status == "KILLED":
            code = KILLED_CODE
        else:
            told = re.search(r"ended with exit code (\d+)", diagnostics)
            code = int(told[1]) or 1 if told else 1
        return Outcome(self.app_id, status, code, diagnostics, self._final)

    def failed(self, report: ApplicationReport) -> ApplicationFailed:
        """The error for an application that ended when it should not have, with the log where YARN says little."""
        for _ in range(50):
            if report.ended:
                break
            time.sleep(_POLL)
            report = self.report()
        outcome = self.outcome(report)
        if not self._final:
            outcome.diagnostics += self._master_log()
        self.clean()
        return outcome.error()

    def _master_log(self) -> str:
        try:
            found = logs.aggregated_logs(self.app_id, wait=10.0)
        except HowdahError:
            return ""
        texts = [
            files[name]
            for files in found.values()
            for name in ("application.driver.log", "application.master.log")
            if name in files
        ]
        return "".join("\n" + "\n".join(text.splitlines()[-8:]) for text in texts[:2])

    def end(self, status: str, diagnostics: str, exit_code: int = 0) -> None:
        """End it cleanly with this status; if its master does not, kill it. Nothing is left afterwards."""
        self.stop_keepalive()
        try:
            self.command(
                kv_keys.END, json.dumps({"status": status, "diagnostics": diagnostics, "exit_code": exit_code}).encode()
            )
            asked = True
        except HowdahError:
            asked = False
        began = time.monotonic()
        report = self._retry_report()
        while not report.ended:
            # The master's last word, for whoever asks afterwards. Once it is said, YARN may take a while to hear it.
            patience = END_SECONDS if "exit_code" in self.status() else REQUEST_SECONDS if asked else 0.0
            if time.monotonic() - began > patience:
                break
            time.sleep(_POLL)
            report = self._retry_report()
        if not report.ended:
            self._skein_driver().kill(self.app_id)
            deadline = time.monotonic() + END_SECONDS
            while not self._retry_report().ended and time.monotonic() < deadline:
                time.sleep(_POLL)
        self.staging.remove(self.app_id)

    def kill(self, why: str) -> None:
        """End it as killed: asked politely, then by YARN; then removed from HDFS."""
        self.end("KILLED", why, KILLED_CODE)

    def close(self) -> None:
        """Let go of it; the application is left as it is."""
        self.stop_keepalive()
        master, self._master = self._master, None
        if master is not None:
            master.close()
        driver, self._driver = self._driver, None
        if driver is not None:
            driver.close()


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    return lines[-1] if lines else "nothing"
