"""`howdah submit`: run a script as one YARN application.

Cluster mode (the default): the script runs in YARN, beside the application master; this command only watches, and may
go. Client mode: the script runs here, the workers in YARN; they end with this command, however it ends.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import click

from howdah.errors import HowdahError, PathMissing, SpecificationError, bad_value
from howdah.yarn_app.cli._options import specification_options
from howdah.yarn_app.master.processes import shell_exit_code, stop_tree, with_parent_death_signal
from howdah.yarn_app.protocol import kv_keys
from howdah.yarn_app.specification.specification import Specification
from howdah.yarn_app.submit import submit as submission
from howdah.yarn_app.submit.application import Application, Outcome
from howdah.yarn_app.ui import progress, summary

NOTICE_SECONDS = 20.0
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
    spec = _specification(script, spec_file, fields)
    if no_wait and spec.deploy_mode == "client":
        raise bad_value(
            "--no-wait",
            True,
            "only in cluster mode: in client mode the script runs in this command",
            SpecificationError,
        )
    shown = progress.choose_reporter(as_json=as_json, quiet=quiet or no_wait)
    run = _in_yarn if spec.deploy_mode == "cluster" else _in_client
    sys.exit(run(spec, script, arguments, shown, began, no_wait))


def _specification(script: str, spec_file: str | None, fields: dict[str, Any]) -> Specification:
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
    shown: progress.ProgressReporter,
    began: float,
    no_wait: bool,
) -> int:
    submitted: submission.Submission | None = None
    try:
        with shown:
            submitted = submission.submit(spec, shown, program=(script, arguments))
            application = submitted.application
            if no_wait:
                if not isinstance(shown, progress.JsonReporter):
                    click.echo(application.app_id)
                return 0
            application.await_master(shown, spec.start_timeout)
            application.keep_alive(kv_keys.WATCH, 1.0)
            shown.phase("unpacking", "YARN unpacks the environment on the nodes, unless they have it")
            outcome = application.wait(shown, lambda status: _show(status, shown))
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
    return _print_end(submitted, outcome, shown, began)


def _show(status: dict[str, Any], shown: progress.ProgressReporter) -> None:
    """The phase that the master's word means."""
    tasks = (status.get("work") or {}).get("tasks") or {}
    if status.get("joined") or tasks.get("done"):
        workers = f"{status.get('joined', 0)} of {status.get('wanted', 0)} workers"
        shown.phase("running")
        if tasks.get("total"):
            shown.amount(tasks["done"], tasks["total"], f"{tasks['done']} of {tasks['total']} tasks, {workers}")
        else:
            shown.phase("running", workers)


def _print_end(
    submitted: submission.Submission,
    outcome: Outcome,
    shown: progress.ProgressReporter,
    began: float,
    *,
    here: bool = False,
) -> int:
    """The driver program's last words, the summary, and the exit code."""
    final = outcome.final
    by_phase = summary.phases(submitted.seconds, submitted.at, final)
    done = summary.work(final)
    total = time.time() - began
    first_task = summary.to_first_task(began, final)
    shown.fact(
        "end",
        app_id=outcome.app_id,
        status=outcome.status,
        exit_code=outcome.exit_code,
        diagnostics=outcome.diagnostics,
        seconds=by_phase,
        total=round(total, 2),
        first_task=first_task,
        **({} if here else {"out": final.get("out", ""), "err": final.get("err", "")}),
        **done,
    )
    if isinstance(shown, progress.JsonReporter):
        return outcome.exit_code
    if not here:
        sys.stdout.write(final.get("out", ""))
        sys.stdout.flush()
        words = final.get("err", "").rstrip()
        click.echo(words, err=True, nl=bool(words))
        if not outcome.succeeded:
            click.echo(f"howdah: {outcome.diagnostics if not words else outcome.diagnostics.splitlines()[0]}", err=True)
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
    shown: progress.ProgressReporter,
    began: float,
    no_wait: bool,
) -> int:
    if not os.path.isfile(script):
        raise PathMissing(f"the script {script!r} does not exist (looked in {os.getcwd()})")
    signal.signal(signal.SIGTERM, _terminated)
    submitted: submission.Submission | None = None
    ending = ScriptResult("FAILED", "its submitter failed", 1)
    try:
        with shown:
            submitted = submission.submit(spec, shown)
            application = submitted.application
            application.await_master(shown, spec.start_timeout)
            application.keep_alive(kv_keys.LEASE, max(0.2, min(5.0, spec.lease / 4)))
            shown.phase("unpacking", "YARN unpacks the environment on the nodes, unless they have it")
            status = application.await_status(shown, "no scheduler", lambda s: bool(s["scheduler"]), spec.start_timeout)
            shown.phase("running", application.app_id)
        code = _run_here(script, arguments, submitted, status, shown)
        verdict = "SUCCEEDED" if code == 0 else "FAILED"
        ending = ScriptResult(verdict, f"{os.path.basename(script)} ended with exit code {code} (client mode)", code)
    except KeyboardInterrupt:
        ending = ScriptResult("KILLED", "its submitter was interrupted (Ctrl-C)", INTERRUPTED)
    except BaseException as error:
        ending = ScriptResult("FAILED", f"its submitter failed: {type(error).__name__}: {error}"[:2000], 1)
        raise
    finally:
        if submitted is not None:
            final = _end_here(submitted.application, ending)
            submitted.close()
    if submitted is None:
        click.echo("howdah: nothing was submitted", err=True)
        return INTERRUPTED
    if final.get("status") not in (None, ending.status):  # the application had ended by itself, and the script of that
        ending = ScriptResult(final["status"], final["diagnostics"], ending.exit_code or int(final["exit_code"]))
        shown.note(ending.diagnostics)
    outcome = Outcome(submitted.application.app_id, ending.status, ending.exit_code, ending.diagnostics, final)
    _print_end(submitted, outcome, shown, began, here=True)
    return ending.exit_code


@dataclass(frozen=True)
class ScriptResult:
    """What YARN is told at the end."""

    status: str
    diagnostics: str
    exit_code: int


def _run_here(
    script: str,
    arguments: Sequence[str],
    submitted: submission.Submission,
    status: dict[str, Any],
    shown: progress.ProgressReporter,
) -> int:
    """The script as a child that dies with us; its output is ours. Lost containers are told meanwhile."""
    application = submitted.application
    env = {
        **os.environ,
        "HOWDAH_SCHEDULER": status["scheduler"],
        "HOWDAH_SECURITY": str(submitted.client_security),
        "HOWDAH_STAGING": status.get("staging", ""),
        "HOWDAH_APPLICATION": application.app_id,
        "HOWDAH_WORKERS": str(status.get("wanted", 0)),
        "HOWDAH_SCHEDULER_FILE": str(submitted.folder / "scheduler"),
    }
    kept = ""
    told: set[str] = set()
    process = subprocess.Popen(with_parent_death_signal([sys.executable, script, *arguments]), env=env)
    try:
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                return shell_exit_code(process.wait(1.0))
            status = application.status()
            Application.show_losses(status, told, shown)
            where = _scheduler_file(application, status)
            if where and where != kept:
                _keep(submitted.folder / "scheduler", where)
                kept = where
            if status.get("exit_code") is not None:
                with contextlib.suppress(subprocess.TimeoutExpired):  # it hears of it from its client
                    return shell_exit_code(process.wait(NOTICE_SECONDS))
                return 1
    finally:
        stop_tree(process)


def _scheduler_file(application: Application, status: dict[str, Any]) -> str:
    """What a client that has lost the scheduler is to know: JSON as in `engine.client.link.address_in`."""
    if status.get("exit_code") is not None:
        return json.dumps({"ended": f"{application.app_id} has ended {status['status']}: {status['diagnostics']}"})
    if status.get("scheduler"):
        return json.dumps({"address": status["scheduler"]})
    with contextlib.suppress(HowdahError):
        report = application.report()
        if report.ended:
            return json.dumps({"ended": f"{application.app_id} has ended {report.state}: {report.diagnostics}"})
    return ""  # YARN starts the next attempt, or is away itself


def _keep(path: Path, text: str) -> None:
    fresh = path.with_suffix(".new")
    fresh.write_text(text)
    fresh.rename(path)


def _end_here(application: Application, ending: ScriptResult) -> dict[str, Any]:
    """Tell YARN; returns the master's last word."""
    try:
        application.end(ending.status, ending.diagnostics, ending.exit_code)
        return application.status()
    except HowdahError as error:
        click.echo(f"howdah: {application.app_id} could not be ended ({error}); its lease ends it", err=True)
        return {}


def _terminated(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)
