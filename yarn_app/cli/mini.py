"""`howdah mini`: start, use and stop a small real Hadoop on this machine.

A thin layer over `howdah.yarn_app.mini.MiniHadoop`, which keeps everything in its folder. Exit code 1 where the answer
is no.
"""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from howdah.errors import HowdahError
from howdah.yarn_app.mini import MiniHadoop, default_folder


@click.group(name="mini")
def command() -> None:
    """Run a small real Hadoop on this machine: HDFS and YARN, one process for each daemon, on 127.0.0.x.

    \b
        howdah mini start
        eval "$(howdah mini env)"
        hdfs dfs -ls /
        howdah mini stop
    """


def _folder(function: Callable[..., None]) -> Callable[..., None]:
    return click.option(
        "--folder",
        type=click.Path(file_okay=False, path_type=Path),
        default=None,
        help=f"Where it keeps its state.  [default: {Path('~') / default_folder().relative_to(Path.home())}]",
    )(function)


def _json(function: Callable[..., None]) -> Callable[..., None]:
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON object, for scripts.")(function)


@command.command()
@click.option("--nodes", type=int, default=None, help="DataNodes and NodeManagers.  [default: 2, or as before]")
@click.option("--racks", is_flag=True, default=None, help="Each node on a rack of its own.")
@click.option("--memory-per-node", metavar="SIZE", default=None, help="For containers.  [default: 4GiB, or as before]")
@click.option("--cores-per-node", type=int, default=None, help="For containers.  [default: 4, or as before]")
@click.option("--replication", type=int, default=None, help="Replicas of a block.  [default: 1, or as before]")
@click.option("--queues", metavar="NAME:PERCENT,...", default=None, help="YARN's queues.  [default: default:100]")
@_folder
@_json
def start(folder: Path | None, as_json: bool, **options: Any) -> None:
    """Start it; returns when every daemon reports that it is ready."""
    with _errors_as_messages():
        begun = time.monotonic()
        hadoop = MiniHadoop(folder or default_folder(), progress=_progress(quiet=as_json), **options)
        hadoop.start()
        seconds = time.monotonic() - begun
        if as_json:
            click.echo(json.dumps({**_facts(hadoop), "seconds": round(seconds, 1)}))
            return
        kept = "" if folder is None else f" --folder {shlex.quote(str(folder))}"
        click.echo(f"Hadoop is ready after {seconds:.1f} s: {hadoop.default_fs}, YARN at {hadoop.resourcemanager_url}")
        click.echo(f'Use it in this shell:  eval "$(howdah mini env{kept})"')


@command.command()
@_folder
def stop(folder: Path | None) -> None:
    """End every daemon and container. HDFS keeps its files for the next start."""
    with _errors_as_messages():
        hadoop = MiniHadoop(folder or default_folder())
        ended = hadoop.stop()
        click.echo(f"stopped {ended} daemons" if ended else f"no daemon ran in {hadoop.folder}")


@command.command()
@_folder
@_json
def status(folder: Path | None, as_json: bool) -> None:
    """Show each daemon. Exit code 0 when all are ready, 1 otherwise."""
    with _errors_as_messages():
        hadoop = MiniHadoop(folder or default_folder())
        facts = _facts(hadoop)
        if as_json:
            click.echo(json.dumps(facts))
        else:
            for name, daemon in facts["daemons"].items():
                memory = f"{daemon['memory'] >> 20:5} MiB" if daemon["pid"] else ""
                click.echo(f"{name:17} {daemon['state']:9} {daemon['pid'] or '':>8} {memory:9} {daemon['address']}")
        if any(daemon["state"] != "ready" for daemon in facts["daemons"].values()):
            sys.exit(1)


@command.command()
@_folder
def env(folder: Path | None) -> None:
    """Print the shell commands that point this shell at it: eval "$(howdah mini env)"."""
    with _errors_as_messages():
        for name, value in MiniHadoop(folder or default_folder()).env().items():
            click.echo(f"export {name}={shlex.quote(value)}")


@command.command()
@click.argument("daemon")
@click.option("--containers", is_flag=True, help="Also what this NodeManager runs, as a power cut would.")
@_folder
def kill(daemon: str, containers: bool, folder: Path | None) -> None:
    """Kill one DAEMON (namenode, datanode-1, resourcemanager, nodemanager-1, ...) as a crash would."""
    with _errors_as_messages():
        MiniHadoop(folder or default_folder()).kill(daemon, containers=containers)
        click.echo(f"{daemon} is dead")


@command.command()
@click.argument("daemon")
@_folder
def restart(daemon: str, folder: Path | None) -> None:
    """Start one DAEMON (again); returns when it is ready."""
    with _errors_as_messages():
        MiniHadoop(folder or default_folder(), progress=_progress(quiet=False)).restart(daemon)
        click.echo(f"{daemon} is ready")


def _facts(hadoop: MiniHadoop) -> dict[str, Any]:
    daemons = {}
    for name, process in hadoop.daemons.items():
        daemons[name] = {
            "state": "dead" if process is None else "ready" if hadoop.is_ready(name) else "starting",
            "pid": process and process.pid,
            "memory": process.memory_info().rss if process else 0,
            "address": hadoop.web_address(name),
        }
    return {
        "folder": str(hadoop.folder),
        "conf_dir": str(hadoop.conf_dir),
        "default_fs": hadoop.default_fs,
        "resourcemanager": hadoop.resourcemanager_url,
        "namenode": hadoop.namenode_url,
        "daemons": daemons,
    }


def _progress(*, quiet: bool) -> Callable[[str, str], None] | None:
    console = Console(stderr=True, highlight=False)
    if quiet or not console.is_terminal:
        return None
    return lambda phase, text: console.print(f"[bold]{phase:17}[/bold] {text}")


@contextmanager
def _errors_as_messages() -> Iterator[None]:
    """Show a `HowdahError` as one message, with exit code 1; any other exception is a bug and keeps its traceback."""
    try:
        yield
    except HowdahError as error:
        raise click.ClickException(str(error)) from error
