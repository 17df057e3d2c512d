"""The `howdah` command: a click group whose commands are loaded on first use, each from the file of its name."""

from __future__ import annotations

import importlib
from pathlib import Path

import click


class _Lazy(click.Group):
    def list_commands(self, context: click.Context) -> list[str]:
        return sorted(p.stem for p in Path(__file__).parent.glob("*.py") if not p.stem.startswith("_"))

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in self.list_commands(context):
            return None
        found: click.Command = importlib.import_module(f"howdah.yarn_app.cli.{name}").command
        return found


@click.command(cls=_Lazy)
def main() -> None:
    """Python on Hadoop."""
