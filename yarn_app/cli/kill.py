"""`howdah kill APP`: end an application, and remove all of it."""

from __future__ import annotations

import click

from howdah.yarn_app.cli import _find
from howdah.yarn_app.submit.application import Application
from howdah.yarn_app.yarn import edge_node


@click.command(name="kill")
@click.argument("app_ids", metavar="APP...", nargs=-1, required=True)
def command(app_ids: tuple[str, ...]) -> None:
    """End applications. Each master is asked first, so that it can clean up; YARN kills those that do not answer.

    What an application had written and not finished is removed; finished outputs stay.
    """
    manager, staging = _find.connect()
    for app_id in app_ids:
        report = _find.find_report(manager, app_id)
        if report.ended:
            staging.remove(app_id)
            click.echo(f"{app_id} has ended already ({report.final_status})")
            continue
        application = Application.find(app_id, manager, staging)
        try:
            application.kill(f"killed by {edge_node.user()} (howdah kill)")
        finally:
            application.close()
        click.echo(f"{app_id} is killed")
