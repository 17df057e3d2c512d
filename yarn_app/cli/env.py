"""`howdah env`: packed environments, from this machine to HDFS.

A thin layer over `howdah.envpack`. Results go to standard output; phases and progress go to standard
error, and only to a terminal.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import click

from howdah.errors import HowdahError, bad_value
from howdah.io import open_filesystem
from howdah.yarn_app.specification.units import format_bytes
from howdah.yarn_app.yarn.edge_node import user

if TYPE_CHECKING:
    from howdah.envpack import EnvStore


@click.group(name="env")
def command() -> None:
    """Python environments, packed for the cluster.

    \b
        howdah env pack --name etl       this environment -> hdfs:///user/me/.howdah/envs/<hash>.tar.gz
        howdah env list
        howdah env inspect etl
        howdah env remove etl
    """


def _store_option(function: Callable[..., None]) -> Callable[..., None]:
    return click.option(
        "--store",
        metavar="URL",
        default=None,
        help="Where environments are kept, hdfs:// or file://.  [default: /user/<me>/.howdah/envs in HDFS]",
    )(function)


def _json_option(function: Callable[..., None]) -> Callable[..., None]:
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")(function)


@command.command()
@click.option("--name", metavar="NAME", help="Call it so, besides its hash.")
@click.option(
    "--prefix", metavar="FOLDER", type=click.Path(), help="A conda, venv or uv environment.  [default: this one]"
)
@_store_option
@click.option("--exclude", multiple=True, metavar="PACKAGE", help="Leave this one out as well. May be repeated.")
@click.option("--include", multiple=True, metavar="PACKAGE", help="Keep all of this one. May be repeated.")
@click.option(
    "--output", metavar="FILE", type=click.Path(dir_okay=False), help="Pack into a file here; upload nothing."
)
@_json_option
def pack(
    name: str | None,
    prefix: str | None,
    store: str | None,
    exclude: tuple[str, ...],
    include: tuple[str, ...],
    output: str | None,
    as_json: bool,
) -> None:
    """Pack an environment, check it, and put it into the store.

    Nothing is packed or uploaded when the store has the same content. Developer tools, tests and headers are left out
    (docs/environments.md has the list).
    """
    with _errors_as_messages(), _PhaseLines(quiet=as_json) as phases:
        if output is not None:
            if name or store:
                raise bad_value("--output", output, "it writes a file here: leave --name and --store away")
            facts = _pack_here(output, prefix, exclude, include, phases)
        else:
            published = _open(store).publish(prefix, name, phases, exclude=exclude, include=include)
            facts = {
                "hash": published.hash,
                "url": published.url,
                "path": published.path,
                "name": name,
                "uploaded": published.uploaded,
                "size": published.size,
                "python": published.python,
                "seconds": {phase: round(seconds, 3) for phase, seconds in published.seconds.items()},
            }
    if as_json:
        click.echo(json.dumps(facts))
        return
    click.echo(facts["url"])
    took = sum(facts["seconds"].values())
    if output is not None:
        done = f"packed in {took:.1f} s"
    else:
        done = f"uploaded in {took:.1f} s" if facts["uploaded"] else f"unchanged: nothing uploaded ({took:.1f} s)"
    click.echo(f"hash {facts['hash']}, {format_bytes(facts['size'])}, {done}")


def _pack_here(
    output: str, prefix: str | None, exclude: tuple[str, ...], include: tuple[str, ...], phases: _PhaseLines
) -> dict[str, Any]:
    # Half a second, with pyelftools and packaging: `howdah env --help` does without.
    from howdah.envpack import check_archive, describe_environment
    from howdah.envpack import pack as pack_file

    environment = describe_environment(prefix, exclude=exclude, include=include)
    archive = pack_file(prefix, output=output, exclude=exclude, include=include, progress=phases)
    seconds = {**archive.seconds, "checking": check_archive(archive, environment, progress=phases)}
    return {
        "hash": archive.hash,
        "url": os.path.abspath(archive.path),
        "path": os.path.abspath(archive.path),
        "name": None,
        "uploaded": False,
        "size": archive.size,
        "python": environment.python,
        "seconds": {phase: round(taken, 3) for phase, taken in seconds.items()},
    }


@command.command(name="list")
@_store_option
@_json_option
def list_(store: str | None, as_json: bool) -> None:
    """List the environments of the store, newest first."""
    with _errors_as_messages():
        place = _open(store)
        entries = place.list()
    if as_json:
        click.echo(json.dumps([entry.to_json() for entry in entries]))
        return
    if not entries:
        click.echo(f"no environments in {place.url}{place.root}: howdah env pack --name NAME", err=True)
        return
    rows = [("NAME", "HASH", "PYTHON", "HOWDAH", "SIZE", "CREATED")]
    for e in entries:
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(e.created))
        rows.append((", ".join(e.names) or "-", e.hash[:12], e.python, e.howdah or "-", format_bytes(e.size), when))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


@command.command()
@click.argument("name")
@_store_option
@_json_option
def inspect(name: str, store: str | None, as_json: bool) -> None:
    """Show what is in an environment, by NAME or by the beginning of its hash."""
    with _errors_as_messages():
        entry = _open(store).inspect(name)
    if as_json:
        click.echo(json.dumps(entry.to_json()))
        return
    size = format_bytes(entry.size) + (f" ({format_bytes(entry.unpacked)} unpacked)" if entry.unpacked else "")
    facts = {
        "names": ", ".join(entry.names) or "-",
        "hash": entry.hash,
        "where": entry.url,
        "size": size,
        "created": time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(entry.created)),
        "python": f"{entry.python} ({entry.kind}, {entry.platform})",
        "howdah": entry.howdah or "-",
        "nodes need": ", ".join([f"glibc {entry.needs['glibc']}", *entry.needs["libraries"]]) if entry.needs else "-",
        "packages": ", ".join(f"{p.name} {p.version}{' (editable)' if p.editable else ''}" for p in entry.packages),
        "left out": ", ".join(f"{p.name} {p.version}" for p in entry.left_out) or "-",
    }
    for label, value in facts.items():
        click.echo(click.wrap_text(value, 100, f"{label:<12}", " " * 12))


@command.command()
@click.argument("name")
@_store_option
@_json_option
def remove(name: str, store: str | None, as_json: bool) -> None:
    """Remove an environment, by NAME or by the beginning of its hash.

    By a name that is not its only one, only the name goes.
    """
    with _errors_as_messages():
        gone = _open(store).remove(name)
    if as_json:
        click.echo(json.dumps({"hash": gone.hash, "names": gone.names, "freed": gone.size}))
    elif gone.size:
        named = f" ({', '.join(gone.names)})" if gone.names else ""
        click.echo(f"removed {gone.hash}{named}: {format_bytes(gone.size)} freed")
    else:
        click.echo(f"removed the name {name}; {gone.hash} has others and stays")


def _open(url: str | None) -> EnvStore:
    from howdah.envpack import EnvStore

    files, path = open_filesystem(url or f"hdfs:///user/{user()}/.howdah/envs")
    return EnvStore(files.fs, path, url=files.root_url)


@contextmanager
def _errors_as_messages() -> Iterator[None]:
    """Show a `HowdahError` as one message, with exit code 1; any other exception is a bug and keeps its traceback."""
    try:
        yield
    except HowdahError as error:
        raise click.ClickException(str(error)) from error


class _PhaseLines:
    """Draws each phase as one line on a terminal, with a bar while it lasts; nothing elsewhere."""

    def __init__(self, *, quiet: bool):
        self._shown = not quiet and sys.stderr.isatty()
        self._phase = ""
        self._since = 0.0
        self._bar: Any = None
        self._task: Any = None

    def __call__(self, phase: str, done: int, total: int) -> None:
        if not self._shown:
            return
        if phase != self._phase:
            self._finish()
            self._phase, self._since = phase, time.perf_counter()
            self._bar, self._task = self._begin(phase, total)
        if self._bar is not None:
            self._bar.update(self._task, completed=done, total=total)

    def _begin(self, phase: str, total: int) -> tuple[Any, Any]:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

        columns: list[Any] = [TextColumn(f"{phase:<10}"), BarColumn()]
        if phase in ("packing", "uploading"):
            columns += [DownloadColumn(binary_units=True), TransferSpeedColumn()]
        bar = Progress(*columns, console=Console(stderr=True), transient=True)
        bar.start()
        return bar, bar.add_task(phase, total=total)

    def _finish(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
            click.echo(f"{self._phase:<10} {time.perf_counter() - self._since:.1f} s", err=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._finish()
