"""The `howdah` command: a click group whose commands are loaded on first use, each from the file of its name.

It promises: a `HowdahError` is one message on stderr and an exit code (2 for a wrong argument or specification, the
driver program's own code where an application failed, else 1); any other exception is a bug and keeps its traceback.
"""

from __future__ import annotations

import importlib
import platform
from pathlib import Path
from typing import Any

import click

from howdah.errors import ApplicationFailed, HowdahError, InputError
from howdah.version import VERSION


class _ShownError(click.ClickException):
    """A `HowdahError`, as click shows it."""

    def __init__(self, error: HowdahError) -> None:
        super().__init__("\n".join([str(error), *getattr(error, "__notes__", ())]))
        self._code = 2 if isinstance(error, InputError) else 1
        if isinstance(error, ApplicationFailed):
            self._code = error.exit_code or 1

    @property
    def exit_code(self) -> int:  # type: ignore[override]  # click's is one for the class
        return self._code


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(p.stem for p in Path(__file__).parent.glob("*.py") if not p.stem.startswith("_"))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        found: click.Command = importlib.import_module(f"howdah.yarn_app.cli.{cmd_name}").command
        return found

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except HowdahError as error:
            raise _ShownError(error) from error


def _version(context: click.Context, option: click.Parameter, given: bool) -> None:
    if given:
        click.echo(f"howdah {VERSION} (Python {platform.python_version()})")
        context.exit()


@click.command(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show the version.")
def main() -> None:
    """Python on Hadoop: ship an environment, run a script as one YARN application, see what it does.

    \b
        howdah env pack --name etl
        howdah submit --env etl --workers 4 --worker-memory 2GiB job.py arguments ...
        howdah list | status APP | logs APP | kill APP
    """
