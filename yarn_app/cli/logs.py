"""`howdah logs APP`: the logs of its containers, whether it runs or has ended."""

from __future__ import annotations

import click
import msgspec

from howdah.yarn_app.cli import _find
from howdah.yarn_app.yarn import logs

_FIRST = ("driver.out", "driver.err", "application.driver.log", "scheduler.log", "application.master.log")


class LogFile(msgspec.Struct):
    """One log, as `--json` prints it."""

    container: str
    file: str
    text: str


@click.command(name="logs")
@click.argument("app_id", metavar="APP")
@click.option("--container", default=None, help="Only this container's.")
@click.option("--file", "name", default=None, help="Only files of this name, e.g. driver.err.")
@click.option("--tail", "most", type=click.IntRange(min=1), default=None, help="Only so many last lines of each file.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object: container, file, text.")
def command(app_id: str, container: str | None, name: str | None, most: int | None, as_json: bool) -> None:
    """Print the logs of the application APP: the driver program's first, then the master's and the workers'."""
    manager, _ = _find.connect()
    report = _find.find_report(manager, app_id)
    found = logs.container_logs(manager, app_id, ended=report.ended)
    chosen = [
        (where, file, "\n".join(text.splitlines()[-most:]) + "\n" if most else text)
        for where, files in found.items()
        if container in (None, where)
        for file, text in files.items()
        if name in (None, file) and not file.startswith("prelaunch")
    ]
    chosen.sort(key=lambda row: (_FIRST.index(row[1]) if row[1] in _FIRST else len(_FIRST), row[0], row[1]))
    if as_json:
        click.echo(msgspec.json.encode([LogFile(where, file, text) for where, file, text in chosen]))
        return
    for where, file, text in chosen:
        click.secho(f"== {file} of {where}", bold=True)
        click.echo(text, nl=not text.endswith("\n"))
    if not chosen:
        click.echo("there is nothing in these logs", err=True)
