"""`howdah version`."""

from __future__ import annotations

import platform

import click

import howdah


@click.command(name="version")
def command() -> None:
    """Show the version of howdah and of its Python."""
    click.echo(f"howdah {howdah.__version__} (Python {platform.python_version()})")
