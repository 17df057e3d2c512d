"""`howdah status APP`: YARN's report on one application, and its master's status of workers and work."""

from __future__ import annotations

import time

import click
import msgspec

from howdah.errors import HowdahError
from howdah.yarn_app.cli import _find
from howdah.yarn_app.protocol.status import MasterStatus
from howdah.yarn_app.specification.units import format_memory
from howdah.yarn_app.submit.application import Application
from howdah.yarn_app.ui import summary
from howdah.yarn_app.yarn.reports import ApplicationReport


@click.command(name="status")
@click.argument("app_id", metavar="APP")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(app_id: str, as_json: bool) -> None:
    """Show the state of the application APP. Exit code 0 while it runs or when it succeeded, else 1."""
    manager, staging = _find.connect()
    report = _find.find_report(manager, app_id)
    status: MasterStatus | None = None
    if not report.ended:
        application = Application.find(app_id, manager, staging)
        try:
            status = application.status()
        except HowdahError:
            status = None  # another user's, or just starting or ending: YARN's report is shown
        finally:
            application.close()
    if as_json:
        master = status.as_dict() if status is not None else {}
        click.echo(msgspec.json.encode({**msgspec.to_builtins(report), "master": master}))
    else:
        for name, value in _facts(report, status):
            click.echo(f"{name:<13} {value}")
    raise SystemExit(0 if not report.ended or report.final_status == "SUCCEEDED" else 1)


def _facts(report: ApplicationReport, status: MasterStatus | None) -> list[tuple[str, str]]:
    state = report.state + (f", {report.final_status}" if report.ended else "")
    found = [
        ("application", f"{report.app_id} ({report.name})"),
        ("state", f"{state}, {_find.elapsed(report, time.time())} in queue {report.queue}, user {report.user}"),
    ]
    if not report.ended:
        found.append(("containers", f"{report.containers} with {format_memory(report.memory)}, {report.cores} cores"))
    if status is not None:
        tasks = status.work.tasks
        found.append(("workers", f"{status.joined} connected, {status.wanted} wanted"))
        found.append(
            ("tasks", f"{tasks.get('done', 0)} of {tasks.get('total', 0)} done, {tasks.get('running', 0)} running")
        )
        found += [("note", text) for text in summary.losses(summary.work(status))]
    if report.tracking_url:
        found.append(("page", report.tracking_url))
    if report.diagnostics:
        found.append(("diagnostics", report.diagnostics))
    return found
