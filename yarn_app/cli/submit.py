"""`howdah submit`: run a script as one YARN application.

Cluster mode (the default): the script runs in YARN, beside the application master; this command only watches, and may go.
Client mode: the script runs here, the workers in YARN; they end with this command, however it ends.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

import click

from howdah.errors import ApplicationFailed, HowdahError, SpecificationError, bad_value
from howdah.yarn_app import keys, progress, submission, summary
from howdah.yarn_app.application import Application, Outcome
from howdah.yarn_app.programs import dying_with_us, exit_code, stop_tree
from howdah.yarn_app.specification import Specification

_MANY = ("files", "py_files", "archives", "tags")
_PAIRS = ("conf", "env_vars")
INTERRUPTED = 130


def _pairs(context: click.Context, option: click.Parameter, given: tuple[str, ...]) -> dict[str, str] | None:
    found = {}
    for entry in given:
        name, mark, value = entry.partition("=")  # a value may have '=' of its own
        if not mark or not name:
            raise click.BadParameter(f"{entry!r}: give NAME=VALUE")
        found[name] = value
    return found or None


def _lists(context: click.Context, option: click.Parameter, given: tuple[str, ...]) -> list[str] | None:
    return [part for entry in given for part in entry.split(",") if part] or None


def _options(function: Callable[..., None]) -> Callable[..., None]:
    """The specification's fields as options; a field that is not given is the file's, or the default."""
    for declared, kind in reversed(
        [
            (
                ("--env", "environment"),
                {
                    "metavar": "NAME",
                    "help": "environment: a name or hash of `howdah env list`, an archive, or 'current'",
                },
            ),
            (
                ("-n", "--workers", "--num-executors", "n_workers"),
                {"type": int, "metavar": "N", "help": "number of workers  [default: 2]"},
            ),
            (
                ("--worker-memory", "--executor-memory", "worker_memory"),
                {"metavar": "SIZE", "help": "memory of each, without the container's overhead  [default: 2GiB]"},
            ),
            (
                ("--worker-cores", "--executor-cores", "worker_cores"),
                {"type": int, "metavar": "N", "help": "slots of each  [default: 1]"},
            ),
            (
                ("--driver-memory", "driver_memory"),
                {"metavar": "SIZE", "help": "for the script, in cluster mode  [default: 1GiB]"},
            ),
            (("--driver-cores", "driver_cores"), {"type": int, "metavar": "N"}),
            (
                ("--master-memory", "master_memory"),
                {"metavar": "SIZE", "help": "for the application master and scheduler  [default: 1GiB]"},
            ),
            (
                ("--deploy-mode", "deploy_mode"),
                {"metavar": "cluster|client", "help": "where the script runs: in YARN or here  [default: cluster]"},
            ),
            (("--name", "name"), {"metavar": "NAME", "help": "shown by YARN  [default: the script's name]"}),
            (("--queue", "queue"), {"metavar": "QUEUE", "help": "YARN queue  [default: default]"}),
            (("--tags", "tags"), {"multiple": True, "callback": _lists, "metavar": "A,B", "help": "YARN tags"}),
            (
                ("--files", "files"),
                {
                    "multiple": True,
                    "callback": _lists,
                    "metavar": "PATH[#NAME],...",
                    "help": "files for every container's working folder",
                },
            ),
            (
                ("--py-files", "py_files"),
                {"multiple": True, "callback": _lists, "metavar": "PATH,...", "help": ".py or .zip, put on PYTHONPATH"},
            ),
            (
                ("--archives", "archives"),
                {
                    "multiple": True,
                    "callback": _lists,
                    "metavar": "PATH#NAME,...",
                    "help": "archives, unpacked to NAME",
                },
            ),
            (
                ("--conf", "conf"),
                {
                    "multiple": True,
                    "callback": _pairs,
                    "metavar": "NAME=VALUE",
                    "help": "a Hadoop property for this application",
                },
            ),
            (
                ("--env-var", "env_vars"),
                {
                    "multiple": True,
                    "callback": _pairs,
                    "metavar": "NAME=VALUE",
                    "help": "an environment variable of all containers",
                },
            ),
            (("--node-label", "node_label"), {"metavar": "LABEL", "help": "YARN node label"}),
            (
                ("--locality", "locality"),
                {"metavar": "auto|off", "help": "spread workers over the nodes  [default: auto]"},
            ),
            (
                ("--lease", "lease"),
                {
                    "metavar": "SECONDS",
                    "help": "client mode: how long the application outlives this command  [default: 60]",
                },
            ),
            (
                ("--max-failures", "max_failures"),
                {"type": int, "metavar": "N", "help": "worker containers that may fail in ten minutes"},
            ),
            (
                ("--start-timeout", "start_timeout"),
                {"metavar": "SECONDS", "help": "for YARN to start it  [default: 300]"},
            ),
        ]
    ):
        function = click.option(*declared, **{"default": None, **kind})(function)  # type: ignore[arg-type]
    return function


@click.command(name="submit", context_settings={"ignore_unknown_options": False, "allow_interspersed_args": False})
@_options
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

    Everything after SCRIPT reaches it exactly as given. In the script, `Client()` connects to the application's workers.

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
    shown = progress.choose(as_json=as_json, quiet=quiet or no_wait)
    run = _in_yarn if spec.deploy_mode == "cluster" else _here
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
    spec: Specification, script: str, arguments: Sequence[str], shown: progress.Show, began: float, no_wait: bool
) -> int:
    submitted: submission.Submitted | None = None
    try:
        with shown:
            submitted = submission.submit(spec, shown, program=(script, arguments))
            application = submitted.application
            if no_wait:
                click.echo(application.app_id)
                return 0
            application.await_master(shown, spec.start_timeout)
            application.keep_alive(keys.WATCH, 1.0)
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
    return _tell(submitted, outcome, shown, began)


def _show(status: dict[str, Any], shown: progress.Show) -> None:
    """The phase that the master's word means."""
    tasks = (status.get("work") or {}).get("tasks") or {}
    if status.get("joined") or tasks.get("done"):
        workers = f"{status.get('joined', 0)} of {status.get('wanted', 0)} workers"
        shown.phase("running")
        if tasks.get("total"):
            shown.amount(tasks["done"], tasks["total"], f"{tasks['done']} of {tasks['total']} tasks, {workers}")
        else:
            shown.phase("running", workers)


def _tell(submitted: submission.Submitted, outcome: Outcome, shown: progress.Show, began: float) -> int:
    """The driver program's last words, the summary, and the exit code."""
    final = outcome.final
    by_phase = summary.phases(submitted.seconds, submitted.at, final)
    done = summary.work(final)
    total = time.time() - began
    if isinstance(shown, progress.Lines):
        shown.fact(
            "end",
            app_id=outcome.app_id,
            status=outcome.status,
            exit_code=outcome.exit_code,
            diagnostics=outcome.diagnostics,
            seconds=by_phase,
            total=round(total, 2),
            first_task=summary.to_first_task(began, final),
            out=final.get("out", ""),
            err=final.get("err", ""),
            **done,
        )
        return outcome.exit_code
    sys.stdout.write(final.get("out", ""))
    sys.stdout.flush()
    words = final.get("err", "") if outcome.succeeded else final.get("err") or outcome.diagnostics
    click.echo(words.rstrip(), err=True, nl=bool(words.strip()))
    if not outcome.succeeded and final.get("err") and done["lost_containers"] == []:
        click.echo(f"howdah: {outcome.diagnostics.splitlines()[0]}", err=True)
    for line in summary.lines(outcome.app_id, outcome.status, total, by_phase, done):
        click.echo(f"howdah: {line}", err=True)
    if not outcome.succeeded:
        click.echo(f"howdah: all of its logs: howdah logs {outcome.app_id}", err=True)
    return outcome.exit_code


# -- client mode -----------------------------------------------------------------------------------------------------


def _here(
    spec: Specification, script: str, arguments: Sequence[str], shown: progress.Show, began: float, no_wait: bool
) -> int:
    if not os.path.isfile(script):
        from howdah.errors import PathMissing

        raise PathMissing(f"the script {script!r} does not exist (looked in {os.getcwd()})")
    signal.signal(signal.SIGTERM, _terminated)
    submitted: submission.Submitted | None = None
    ended = ("KILLED", "its submitter was interrupted", 137)
    application: Application | None = None
    try:
        with shown:
            submitted = submission.submit(spec, shown)
            application = submitted.application
            application.await_master(shown, spec.start_timeout)
            application.keep_alive(keys.LEASE, max(0.2, min(5.0, spec.lease / 4)))
            shown.phase("unpacking", "YARN unpacks the environment on the nodes, unless they have it")
            status = application.await_status(shown, "no scheduler", lambda s: bool(s["scheduler"]), spec.start_timeout)
            shown.phase("running", application.app_id)
        code = _run_here(script, arguments, submitted, status)
        verdict = "SUCCEEDED" if code == 0 else "FAILED"
        ended = (verdict, f"{os.path.basename(script)} ended with exit code {code} (client mode)", code)
    except KeyboardInterrupt:
        ended = ("KILLED", "its submitter was interrupted (Ctrl-C)", INTERRUPTED)
    except ApplicationFailed:
        application = None  # it is ended, and cleaned
        raise
    except BaseException as error:
        ended = ("FAILED", f"its submitter failed: {type(error).__name__}: {error}"[:2000], 1)
        raise
    finally:
        if submitted is not None and application is not None:
            _end_here(application, ended)
        if submitted is not None:
            submitted.close()
    outcome = Outcome(
        submitted.application.app_id, ended[0], ended[2], ended[1], application.status() if application else {}
    )
    _tell_here(submitted, outcome, shown, began)
    return ended[2]


def _run_here(script: str, arguments: Sequence[str], submitted: submission.Submitted, status: dict[str, Any]) -> int:
    import subprocess

    env = {
        **os.environ,
        "HOWDAH_SCHEDULER": status["scheduler"],
        "HOWDAH_SECURITY": str(submitted.client_security),
        "HOWDAH_STAGING": status.get("staging", ""),
        "HOWDAH_APPLICATION": submitted.application.app_id,
    }
    process = subprocess.Popen(dying_with_us([sys.executable, script, *arguments]), env=env)
    try:
        return exit_code(process.wait())
    finally:
        stop_tree(process)


def _end_here(application: Application, ended: tuple[str, str, int]) -> None:
    """Tell YARN; what the master says last is kept for the summary."""
    try:
        application.end(ended[0], ended[1], ended[2])
    except HowdahError as error:
        click.echo(f"howdah: {application.app_id} could not be ended ({error}); its lease ends it", err=True)


def _tell_here(submitted: submission.Submitted, outcome: Outcome, shown: progress.Show, began: float) -> None:
    by_phase = summary.phases(submitted.seconds, submitted.at, outcome.final)
    done = summary.work(outcome.final)
    total = time.time() - began
    shown.fact(
        "end", app_id=outcome.app_id, status=outcome.status, exit_code=outcome.exit_code, seconds=by_phase,
        total=round(total, 2), first_task=summary.to_first_task(began, outcome.final), **done,
    )  # fmt: skip
    if not isinstance(shown, progress.Lines):
        for line in summary.lines(outcome.app_id, outcome.status, total, by_phase, done):
            click.echo(f"howdah: {line}", err=True)


def _terminated(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)
