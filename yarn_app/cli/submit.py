"""`howdah submit`: run a script as one YARN application.

Cluster mode (the default): the script runs in YARN, beside the application master; this command only watches, and may
end before. Client mode: the script runs here, the workers in YARN; they end with this command, for whatever reason it
ends.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import click
import msgspec

from howdah.errors import HowdahError, PathMissing, SpecificationError, bad_value
from howdah.yarn_app.cli._options import specification_options
from howdah.yarn_app.master.processes import shell_exit_code, stop_tree, with_parent_death_signal
from howdah.yarn_app.protocol import kv_keys
from howdah.yarn_app.protocol.status import ApplicationResult, FinalStatus, MasterStatus
from howdah.yarn_app.specification.specification import Specification
from howdah.yarn_app.submit import submit as submission
from howdah.yarn_app.submit.application import Application, ApplicationOutcome
from howdah.yarn_app.ui import progress, summary
from howdah.yarn_app.ui.events import EndEvent

NOTICE_SECONDS = 20.0
"""How long a script may go on after its application has ended: its client gets an error meanwhile."""

INTERRUPTED = 130


@click.command(name="submit", context_settings={"ignore_unknown_options": False, "allow_interspersed_args": False})
@specification_options
@click.option(
    "--spec", "spec_file", metavar="FILE", default=None, help="a specification in YAML; options above win over it"
)
@click.option("--no-wait", is_flag=True, help="cluster mode: print the application's id and return")
@click.option("--json", "as_json", is_flag=True, help="one JSON object a line, for scripts")
@click.option("--quiet", is_flag=True, help="no progress")
@click.argument("script")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def command(
    script: str,
    arguments: tuple[str, ...],
    spec_file: str | None,
    no_wait: bool,
    as_json: bool,
    quiet: bool,
    **fields: Any,
) -> None:
    """Run SCRIPT with its ARGUMENTS as one YARN application; exits with the script's own exit code.

    Everything after SCRIPT reaches it exactly as given. In the script, `Client()` connects to the application's
    workers.

    Exit codes: the script's; 1 if the application failed otherwise; 2 for a wrong argument; 137 if it was killed;
    130 after Ctrl-C, which in cluster mode leaves the application running, and in client mode ends it.
    """
    began = time.time()
    spec = specification_from_options(script, spec_file, fields)
    if no_wait and spec.deploy_mode == "client":
        raise bad_value(
            "--no-wait",
            True,
            "only in cluster mode: in client mode the script runs in this command",
            SpecificationError,
        )
    reporter = progress.choose_reporter(as_json=as_json, quiet=quiet or no_wait)
    run = _in_yarn if spec.deploy_mode == "cluster" else _in_client
    sys.exit(run(spec, script, arguments, reporter, began, no_wait))


def specification_from_options(script: str, spec_file: str | None, fields: dict[str, Any]) -> Specification:
    given = {name: value for name, value in fields.items() if value is not None}
    base = Specification.from_yaml(spec_file).to_dict() if spec_file else {}
    if "name" not in given and "name" not in base:
        stem = os.path.basename(script).removesuffix(".py")
        given["name"] = "".join(c if c.isalnum() or c in "._-" else "-" for c in stem).lstrip("-") or "howdah"
    return Specification(**{**base, **given})


# -- cluster mode ----------------------------------------------------------------------------------------------------


def _in_yarn(
    spec: Specification,
    script: str,
    arguments: Sequence[str],
    reporter: progress.ProgressReporter,
    began: float,
    no_wait: bool,
) -> int:
    submitted: submission.Submission | None = None
    try:
        with reporter:
            submitted = submission.submit(spec, reporter, program=(script, arguments))
            application = submitted.application
            if no_wait:
                if not isinstance(reporter, progress.JsonReporter):
                    click.echo(application.app_id)
                return 0
            application.await_master(reporter, spec.start_timeout)
            application.keep_alive(kv_keys.WATCH, 1.0)
            reporter.phase("unpacking", "YARN unpacks the environment on the nodes, unless they have it")
            outcome = application.wait(reporter, lambda status: _show_work(status, reporter))
    except KeyboardInterrupt:
        if submitted is None:
            click.echo("howdah: nothing was submitted", err=True)
        else:
            app_id = submitted.application.app_id
            click.echo(f"howdah: {app_id} goes on in YARN: howdah status {app_id}, or howdah kill {app_id}", err=True)
        return INTERRUPTED
    finally:
        if submitted is not None:
            submitted.close()
    return _print_end(submitted, outcome, reporter, began)


def _show_work(status: MasterStatus, reporter: progress.ProgressReporter) -> None:
    """Show the phase that the master's status means."""
    tasks = status.work.tasks
    if status.joined or tasks.get("done"):
        workers = f"{status.joined} of {status.wanted} workers"
        reporter.phase("running")
        if tasks.get("total"):
            reporter.amount(tasks["done"], tasks["total"], f"{tasks['done']} of {tasks['total']} tasks, {workers}")
        else:
            reporter.phase("running", workers)


def _print_end(
    submitted: submission.Submission,
    outcome: ApplicationOutcome,
    reporter: progress.ProgressReporter,
    began: float,
    *,
    client_mode: bool = False,
) -> int:
    """Print the end of the script's output and the summary; return the exit code."""
    final = outcome.final
    out, err = (final.out, final.err) if final is not None else ("", "")
    by_phase = summary.phases(submitted.seconds, submitted.at, final)
    done = summary.work(final)
    total = time.time() - began
    first_task = summary.to_first_task(began, final)
    reporter.event(
        EndEvent(
            t=progress.now(),
            app_id=outcome.app_id,
            status=outcome.status,
            exit_code=outcome.exit_code,
            diagnostics=outcome.diagnostics,
            seconds=by_phase,
            total=round(total, 2),
            first_task=first_task,
            out=msgspec.UNSET if client_mode else out,
            err=msgspec.UNSET if client_mode else err,
            **msgspec.structs.asdict(done),
        )
    )
    if isinstance(reporter, progress.JsonReporter):
        return outcome.exit_code
    if not client_mode:
        sys.stdout.write(out)
        sys.stdout.flush()
        last = err.rstrip()
        click.echo(last, err=True, nl=bool(last))
        if not outcome.succeeded:
            click.echo(f"howdah: {outcome.diagnostics if not last else outcome.diagnostics.splitlines()[0]}", err=True)
    for line in summary.lines(outcome.app_id, outcome.status, total, by_phase, done, first_task):
        click.echo(f"howdah: {line}", err=True)
    if not outcome.succeeded:
        click.echo(f"howdah: all of its logs: howdah logs {outcome.app_id}", err=True)
    return outcome.exit_code


# -- client mode -----------------------------------------------------------------------------------------------------


def _in_client(
    spec: Specification,
    script: str,
    arguments: Sequence[str],
    reporter: progress.ProgressReporter,
    began: float,
    no_wait: bool,
) -> int:
    if not os.path.isfile(script):
        raise PathMissing(f"the script {script!r} does not exist (looked in {os.getcwd()})")
    signal.signal(signal.SIGTERM, _on_sigterm)
    submitted: submission.Submission | None = None
    result = ApplicationResult("FAILED", "its submitter failed", 1)
    final: MasterStatus | None = None
    try:
        with reporter:
            submitted = submission.submit(spec, reporter)
            application = submitted.application
            application.await_master(reporter, spec.start_timeout)
            application.keep_alive(kv_keys.LEASE, max(0.2, min(5.0, spec.lease / 4)))
            reporter.phase("unpacking", "YARN unpacks the environment on the nodes, unless they have it")
            status = application.await_status(reporter, "no scheduler", lambda s: bool(s.scheduler), spec.start_timeout)
            reporter.phase("running", application.app_id)
        code = _run_script(script, arguments, submitted, status, reporter)
        verdict = "SUCCEEDED" if code == 0 else "FAILED"
        text = f"{os.path.basename(script)} ended with exit code {code} (client mode)"
        result = ApplicationResult(verdict, text, code)
    except KeyboardInterrupt:
        result = ApplicationResult("KILLED", "its submitter was interrupted (Ctrl-C)", INTERRUPTED)
    except BaseException as error:
        result = ApplicationResult("FAILED", f"its submitter failed: {type(error).__name__}: {error}"[:2000], 1)
        raise
    finally:
        if submitted is not None:
            final = _end_application(submitted.application, result)
            submitted.close()
    if submitted is None:
        click.echo("howdah: nothing was submitted", err=True)
        return INTERRUPTED
    last = final if isinstance(final, FinalStatus) else None
    if last is not None and last.status != result.status:  # the application had ended by itself, so the script failed
        result = ApplicationResult(last.status, last.diagnostics, result.exit_code or last.exit_code)
        reporter.note(result.diagnostics)
    outcome = ApplicationOutcome(
        submitted.application.app_id, result.status, result.exit_code, result.diagnostics, last
    )
    _print_end(submitted, outcome, reporter, began, client_mode=True)
    return result.exit_code


def _run_script(
    script: str,
    arguments: Sequence[str],
    submitted: submission.Submission,
    status: MasterStatus,
    reporter: progress.ProgressReporter,
) -> int:
    """Run the script as a child that ends with this command and shares its output; show lost containers meanwhile."""
    application = submitted.application
    scheduler_file = submitted.folder / "scheduler"
    env = {
        **os.environ,
        "HOWDAH_SCHEDULER": status.scheduler,
        "HOWDAH_SECURITY": str(submitted.client_security),
        "HOWDAH_STAGING": status.staging,
        "HOWDAH_APPLICATION": application.app_id,
        "HOWDAH_WORKERS": str(status.wanted),
        "HOWDAH_SCHEDULER_FILE": str(scheduler_file),
    }
    written = b""
    shown: set[str] = set()
    process = subprocess.Popen(with_parent_death_signal([sys.executable, script, *arguments]), env=env)
    try:
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                return shell_exit_code(process.wait(1.0))
            found = application.status()
            if found is not None:
                Application.show_losses(found, shown, reporter)
            content = _scheduler_file(application, found)
            if content and content != written:
                _replace(scheduler_file, content)
                written = content
            if isinstance(found, FinalStatus):
                with contextlib.suppress(subprocess.TimeoutExpired):  # its client gets an error
                    return shell_exit_code(process.wait(NOTICE_SECONDS))
                return 1
    finally:
        stop_tree(process)


def _scheduler_file(application: Application, status: MasterStatus | None) -> bytes:
    """Return the file for a client that has lost the scheduler: JSON with `address` or `ended`, or nothing new."""
    if isinstance(status, FinalStatus):
        return msgspec.json.encode({"ended": f"{application.app_id} has ended {status.status}: {status.diagnostics}"})
    if status is not None and status.scheduler:
        return msgspec.json.encode({"address": status.scheduler})
    with contextlib.suppress(HowdahError):
        report = application.report()
        if report.ended:
            return msgspec.json.encode(
                {"ended": f"{application.app_id} has ended {report.state}: {report.diagnostics}"}
            )
    return b""  # YARN starts the next attempt, or does not answer itself


def _replace(path: Path, content: bytes) -> None:
    fresh = path.with_suffix(".new")
    fresh.write_bytes(content)
    fresh.rename(path)


def _end_application(application: Application, result: ApplicationResult) -> MasterStatus | None:
    """End the application; return the master's last status."""
    try:
        application.end(result.status, result.diagnostics, result.exit_code)
        return application.status()
    except HowdahError as error:
        click.echo(f"howdah: {application.app_id} could not be ended ({error}); its lease ends it", err=True)
        return None


def _on_sigterm(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)
