"""`howdah list`: the howdah applications of a user."""

from __future__ import annotations

import time

import click
import msgspec
from rich.console import Console
from rich.table import Table

from howdah.yarn_app.cli import _find
from howdah.yarn_app.specification.units import format_memory
from howdah.yarn_app.yarn import edge_node


@click.command(name="list")
@click.option("--all", "ended", is_flag=True, help="Also those that have ended, as long as YARN keeps them.")
@click.option("--user", default=None, help="Of this user; 'all' is every user.  [default: you]")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object an application.")
def command(ended: bool, user: str | None, as_json: bool) -> None:
    """List howdah's applications, newest first."""
    manager, _ = _find.connect()
    found = _find.find_reports(manager, "" if user == "all" else user or edge_node.user(), ended=ended)
    if as_json:
        for one in found:
            click.echo(msgspec.json.encode(one))
        return
    if not found:
        click.echo("no howdah application" + (" of yours runs now" if user is None else " found"))
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("application", "name", "state", "queue", "user", "time", "containers", "memory"):
        table.add_column(title, no_wrap=title == "application")
    for one in found:
        state = one.state if one.state != "FINISHED" else one.final_status
        size = format_memory(one.memory) if one.memory else ""
        counts = (str(one.containers or ""), size)
        table.add_row(one.app_id, one.name, state, one.queue, one.user, _find.elapsed(one, time.time()), *counts)
    console = Console()
    console.print(table) if console.is_terminal else Console(width=200).print(table)
