"""`howdah version`."""

from __future__ import annotations

import platform

import click

from howdah.version import VERSION


@click.command(name="version")
def command() -> None:
    """Show the version of howdah and of its Python."""
    click.echo(f"howdah {VERSION} (Python {platform.python_version()})")
