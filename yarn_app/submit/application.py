"""One submitted application as the edge node sees it: its state, its keep-alive, its end.

For `cluster` and the commands. It promises: every wait has a deadline and reads YARN's report meanwhile; an application
that ends unexpectedly is an `ApplicationFailed` with the messages of YARN, of the driver program and of the containers;
after `end` or `kill` nothing of it is left in YARN or in HDFS.
"""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from howdah.backoff import delays
from howdah.errors import ApplicationFailed, DeadlineExceeded, HadoopNotFound, HowdahError, PathMissing
from howdah.yarn_app.protocol import kv_keys
from howdah.yarn_app.protocol.status import ApplicationResult, FinalStatus, MasterStatus, decode
from howdah.yarn_app.storage.staging import Staging
from howdah.yarn_app.ui import summary
from howdah.yarn_app.ui.progress import ProgressReporter
from howdah.yarn_app.yarn import logs
from howdah.yarn_app.yarn.reports import ApplicationReport
from howdah.yarn_app.yarn.resource_manager import ResourceManager, RestUnavailable
from howdah.yarn_app.yarn.skein_client import ApplicationMaster, Credentials, MasterUnreachable, SkeinDriver

REQUEST_SECONDS = 10.0
"""How long a master that was asked to end may take before YARN kills the application, ..."""

END_SECONDS = 90.0
"""... and how long after it has published its result."""

YARN_RESTART_SECONDS = 180.0
"""How long a YARN that does not answer is waited for: it may be restarted."""

KILLED_CODE = 137
_POLL = 0.2
_WATCH_POLL = 0.4
_MAX_RETRY_WAIT = 1.0


@dataclass(slots=True)
class ApplicationOutcome:
    """How an application ended. `final` is the master's last status; None where the master wrote none."""

    app_id: str
    status: str
    exit_code: int
    diagnostics: str
    final: FinalStatus | None = None

    @property
    def succeeded(self) -> bool:
        """Whether it ended well."""
        return self.status == "SUCCEEDED"

    def error(self) -> ApplicationFailed:
        """Return the outcome as an exception."""
        return ApplicationFailed(
            f"{self.app_id} ended {self.status}: {self.diagnostics}",
            app_id=self.app_id,
            state=self.status,
            diagnostics=self.diagnostics,
            exit_code=self.exit_code,
        )


class Application:
    """One application, from its id. Java is started only for what REST does not give, and for killing.

    Parameters
    ----------
    app_id : YARN's id.
    manager, staging : YARN and HDFS.
    credentials : what its master accepts; None for an application of another user.
    """

    def __init__(self, app_id: str, manager: ResourceManager, staging: Staging, credentials: Credentials | None):
        self.app_id, self.manager, self.staging = app_id, manager, staging
        self._credentials = credentials
        self._driver: SkeinDriver | None = None
        self._master: ApplicationMaster | None = None
        self._final: FinalStatus | None = None
        self._stop_renewal: threading.Event | None = None

    @classmethod
    def find(cls, app_id: str, manager: ResourceManager, staging: Staging) -> Application:
        """Return an application that was submitted elsewhere; only its owner can do more than read YARN's report."""
        try:
            credentials = Credentials(*staging.skein_credentials(app_id))
        except PathMissing:
            credentials = None
        return cls(app_id, manager, staging, credentials)

    # -- its state

    def _skein_driver(self) -> SkeinDriver:
        if self._driver is None:
            self._driver = SkeinDriver()
        return self._driver

    def report(self) -> ApplicationReport:
        """Return YARN's report."""
        try:
            return self.manager.application(self.app_id)
        except RestUnavailable:
            return self._skein_driver().report(self.app_id)

    def _retry_report(self) -> ApplicationReport:
        """Return the report, of a YARN that may just be restarted."""
        deadline = time.monotonic() + YARN_RESTART_SECONDS
        waits = delays(_POLL, _MAX_RETRY_WAIT)
        while True:
            try:
                return self.report()
            except (HadoopNotFound, DeadlineExceeded):
                if time.monotonic() > deadline:
                    raise
                time.sleep(next(waits))

    def master(self) -> ApplicationMaster:
        """Return the connection to the application master, which must have registered.

        Raises
        ------
        MasterUnreachable
            It does not run.
        """
        master = self._master
        if master is None:
            if self._credentials is None:
                raise MasterUnreachable(f"{self.app_id} has ended, or is not yours: its certificate is not in HDFS")
            report = self.report()
            if report.state != "RUNNING":
                raise MasterUnreachable(f"{self.app_id} has no application master now: its state is {report.state}")
            master = self._master = ApplicationMaster(report.address, self.app_id, self._credentials)
        return master

    def _drop_master(self) -> None:
        """Close the connection to a master that does not answer: the next request finds the next attempt's."""
        master, self._master = self._master, None
        if master is not None:
            with contextlib.suppress(HowdahError):
                master.close()

    def status(self) -> MasterStatus | None:
        """Return the master's latest status, at the end a `FinalStatus`; None while no master answers."""
        try:
            found = self.master().get_prefix(kv_keys.PREFIX)
        except MasterUnreachable:
            self._drop_master()
            return self._final
        if kv_keys.FINAL in found:
            self._final = decode(found[kv_keys.FINAL], FinalStatus, kv_keys.FINAL)
            with contextlib.suppress(HowdahError):
                self.master().put(kv_keys.ACKNOWLEDGED, b"1")
            return self._final
        return decode(found[kv_keys.STATUS], MasterStatus, kv_keys.STATUS) if kv_keys.STATUS in found else None

    # -- keep-alive and commands

    def keep_alive(self, key: str, every: float) -> None:
        """Renew a key (`kv_keys.LEASE`, `kv_keys.WATCH`) on a thread of its own, until `stop_keepalive`."""
        stop = self._stop_renewal = threading.Event()

        def renew() -> None:
            count = 0
            while not stop.is_set():
                count += 1
                # A master that has gone or is unreachable: the report has which; the next renewal tries again.
                try:
                    self.master().put(key, f"{time.time():.3f}.{count}".encode())
                except MasterUnreachable:
                    self._drop_master()
                except HowdahError:
                    pass
                stop.wait(every)

        threading.Thread(target=renew, name=f"howdah-{key}", daemon=True).start()

    def stop_keepalive(self) -> None:
        """Stop renewing."""
        if self._stop_renewal is not None:
            self._stop_renewal.set()

    def command(self, key: str, value: bytes) -> None:
        """Send a command (`kv_keys.SCALE`, `kv_keys.END`) to the master."""
        self.master().put(key, value)

    # -- waiting

    def await_master(self, reporter: ProgressReporter, timeout: float) -> None:
        """Wait until the application master has registered.

        Raises
        ------
        ApplicationFailed
            The application ended instead.
        DeadlineExceeded
            It did not register; the message has the queue's state. The application is killed.
        """
        began = time.monotonic()
        next_line = 0.0
        text = ""
        while True:
            report = self.report()
            if report.state == "RUNNING":
                return
            if report.ended:
                raise self.failed(report)
            if time.monotonic() >= next_line:
                next_line = time.monotonic() + 2.0
                text = f"{report.state.lower()}, {self._queue(report)}"
                reporter.phase("waiting for YARN", text)
            if time.monotonic() - began > timeout:
                self.kill("its master did not start in time")
                reason = _last_line(report.diagnostics)
                raise DeadlineExceeded(
                    f"YARN did not start {self.app_id} within {timeout:.0f} s (start_timeout): {text}. "
                    f"YARN's diagnostics: {reason}"
                )
            time.sleep(_POLL)

    def _queue(self, report: ApplicationReport) -> str:
        try:
            return self.manager.describe_queue(report.queue)
        except HowdahError:
            return f"queue {report.queue}"

    def await_status(
        self, reporter: ProgressReporter, what: str, ready: Callable[[MasterStatus], bool], timeout: float
    ) -> MasterStatus:
        """Wait until the master's status satisfies `ready`; the end of the application is an error.

        Raises
        ------
        ApplicationFailed
            The application ended.
        DeadlineExceeded
            It did not get ready; the message begins with `what` is missing.
        """
        deadline = time.monotonic() + timeout
        shown: set[str] = set()
        while True:
            status = self.status()
            if isinstance(status, FinalStatus) or (status is None and self.report().ended):
                raise self.failed(self.report())
            if status is not None:
                if ready(status):
                    return status
                self.show_losses(status, shown, reporter)
            if time.monotonic() > deadline:
                now = status or MasterStatus()
                raise DeadlineExceeded(
                    f"{what} within {timeout:.0f} s (start_timeout). Containers: {now.running} run, "
                    f"{now.pending} are not granted yet; {self._queue(self.report())}"
                    + "".join(f"\n  lost: {text}" for text in now.lost)
                )
            time.sleep(_POLL)

    def wait(self, reporter: ProgressReporter, each: Callable[[MasterStatus], None]) -> ApplicationOutcome:
        """Wait until the application has ended, without a limit; `each` gets the master's statuses meanwhile."""
        shown: set[str] = set()
        last_status = time.monotonic()
        while True:
            status = self.status()
            if status is not None:
                last_status = time.monotonic()
                each(status)
                self.show_losses(status, shown, reporter)
                if isinstance(status, FinalStatus):
                    return self._await_end()
            else:
                try:
                    if self.report().ended:
                        return self._await_end()
                except HowdahError:
                    # YARN may restart under a running application; it goes on, and so does this, for a while.
                    if time.monotonic() - last_status > YARN_RESTART_SECONDS:
                        raise
            time.sleep(_WATCH_POLL)

    @staticmethod
    def show_losses(status: MasterStatus, shown: set[str], reporter: ProgressReporter) -> None:
        """Show each loss once; the status has the newest."""
        for text in summary.losses(summary.work(status)):
            if text not in shown:
                shown.add(text)
                reporter.note(text)

    def _await_end(self) -> ApplicationOutcome:
        """After the final status: wait until YARN reports the end too, and nothing is left."""
        report = self._retry_report()
        deadline = time.monotonic() + END_SECONDS
        while not report.ended and time.monotonic() < deadline:
            time.sleep(_POLL)
            report = self._retry_report()
        if report.ended:  # else its next attempt has to find the result that is stored there
            self.clean()
        return self.outcome(report)

    def clean(self) -> None:
        """Remove what an ended application left in HDFS; mostly that is nothing."""
        with contextlib.suppress(OSError, HowdahError):
            if self.staging.exists(self.app_id):
                self.staging.remove(self.app_id)

    # -- its end

    def outcome(self, report: ApplicationReport) -> ApplicationOutcome:
        """Return how it ended, from the master's final status, or from YARN's report where there is none."""
        status = report.final_status if report.state == "FINISHED" else report.state
        final = self._final
        diagnostics = (final.diagnostics if final else "") or report.diagnostics or "(YARN gives no diagnostics)"
        if final is not None and status == final.status:
            code = final.exit_code
        elif status == "SUCCEEDED":
            code = 0
        elif status == "KILLED":
            code = KILLED_CODE
        else:
            found = re.search(r"ended with exit code (\d+)", diagnostics)
            code = int(found[1]) or 1 if found else 1
        return ApplicationOutcome(self.app_id, status, code, diagnostics, final)

    def failed(self, report: ApplicationReport) -> ApplicationFailed:
        """Return the error for an application that ended too early, with the log where YARN's report has little."""
        for _ in range(50):
            if report.ended:
                break
            time.sleep(_POLL)
            report = self.report()
        outcome = self.outcome(report)
        if self._final is None:
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
        """End it cleanly with this status; if its master does not, have YARN kill it. Nothing is left afterwards."""
        self.stop_keepalive()
        try:
            self.command(kv_keys.END, msgspec.json.encode(ApplicationResult(status, diagnostics, exit_code)))
            sent = True
        except HowdahError:
            sent = False
        began = time.monotonic()
        report = self._retry_report()
        while not report.ended:
            # The final status, for later questions. Once it is there, YARN may take a while to record the end.
            final = isinstance(self.status(), FinalStatus)
            limit = END_SECONDS if final else REQUEST_SECONDS if sent else 0.0
            if time.monotonic() - began > limit:
                break
            time.sleep(_POLL)
            report = self._retry_report()
        if not report.ended:
            self._skein_driver().kill(self.app_id)
            deadline = time.monotonic() + END_SECONDS
            while not self._retry_report().ended and time.monotonic() < deadline:
                time.sleep(_POLL)
        self.staging.remove(self.app_id)

    def kill(self, reason: str) -> None:
        """End it as killed: by its master if that answers, else by YARN; then remove it from HDFS."""
        self.end("KILLED", reason, KILLED_CODE)

    def close(self) -> None:
        """Close the connections; the application goes on."""
        self.stop_keepalive()
        self._drop_master()
        driver, self._driver = self._driver, None
        if driver is not None:
            driver.close()


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    return lines[-1] if lines else "nothing"
