"""What a person sees while an application starts and runs: one line per phase, a bar while it works.

For `submit`, `cluster` and the commands. On a terminal the current phase has a spinner and seconds; where output goes
elsewhere (cron, a pipe) nothing is printed but notes; `JsonReporter` prints the events of `ui.events` for scripts.
"""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any, Protocol

import msgspec
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, Task, TaskID, TextColumn
from rich.text import Text

from howdah.yarn_app.ui.events import AnyEvent, NoteEvent, PhaseEvent, ProgressEvent

PHASES = ("checking", "packing", "uploading", "submitting", "waiting for YARN", "unpacking", "running")


class ProgressReporter(Protocol):
    """Where progress goes. A context manager; phases outside of it are not shown."""

    def phase(self, name: str, text: str = "") -> None:
        """Begin this phase, which ends the one before; or change the text of the current one."""

    def amount(self, done: float, total: float, text: str = "") -> None:
        """Show how far the current phase is."""

    def note(self, text: str) -> None:
        """Show something that a person should see, whatever the phase: a lost worker, a refusal."""

    def event(self, event: AnyEvent) -> None:
        """Print an event for scripts."""

    def __enter__(self) -> ProgressReporter: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class QuietReporter:
    """Prints nothing but notes."""

    def phase(self, name: str, text: str = "") -> None:
        """Print nothing."""

    def amount(self, done: float, total: float, text: str = "") -> None:
        """Print nothing."""

    def note(self, text: str) -> None:
        """Print the text to stderr."""
        print(f"howdah: {text}", file=sys.stderr, flush=True)

    def event(self, event: AnyEvent) -> None:
        """Print nothing."""

    def __enter__(self) -> QuietReporter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


class JsonReporter(QuietReporter):
    """Prints the events of `ui.events` to stdout, one JSON object a line."""

    def __init__(self) -> None:
        self._phase = ""
        self._progress_at = 0.0

    def phase(self, name: str, text: str = "") -> None:
        """Print a `PhaseEvent` when a phase begins."""
        if name != self._phase:
            self._phase = name
            self.event(PhaseEvent(t=now(), phase=name, text=text))

    def amount(self, done: float, total: float, text: str = "") -> None:
        """Print a `ProgressEvent`, at most one a second."""
        if time.monotonic() - self._progress_at > 1:
            self._progress_at = time.monotonic()
            self.event(ProgressEvent(t=now(), phase=self._phase, done=done, total=total))

    def note(self, text: str) -> None:
        """Print a `NoteEvent`."""
        self.event(NoteEvent(t=now(), text=text))

    def event(self, event: AnyEvent) -> None:
        """Print the event."""
        print(msgspec.json.encode(event).decode(), flush=True)


def now() -> float:
    """Return the time of an event: seconds since 1970, to the millisecond."""
    return round(time.time(), 3)


class _Bar(BarColumn):
    """Only for what has a total."""

    def render(self, task: Task) -> Any:
        return Text("") if task.total is None or task.finished else super().render(task)


class _Seconds(TextColumn):
    def __init__(self) -> None:
        super().__init__("{task.elapsed}")

    def render(self, task: Task) -> Text:
        return Text(f"{task.finished_time if task.finished else task.elapsed or 0:5.1f} s", style="dim")


class TerminalReporter:
    """Draws a line per phase on a terminal."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True, highlight=False)
        self._bars = Progress(
            SpinnerColumn(finished_text="[green]✓"),
            TextColumn("{task.description:<17}"),
            _Seconds(),
            _Bar(bar_width=30),
            TextColumn("{task.fields[text]}"),
            console=self._console,
            refresh_per_second=8,
        )
        self._now: tuple[str, TaskID] | None = None

    def phase(self, name: str, text: str = "") -> None:
        """Begin a line, or change the text of the current one."""
        if self._now is not None and self._now[0] == name:
            self._bars.update(self._now[1], text=text)
            return
        self._finish()
        self._now = (name, self._bars.add_task(name, total=None, text=text))

    def amount(self, done: float, total: float, text: str = "") -> None:
        """Draw a bar on the current line."""
        if self._now is not None:
            # A task that has reached its total would be shown as ended.
            self._bars.update(self._now[1], completed=min(done, total - 1e-9), total=total)
            if text:
                self._bars.update(self._now[1], text=text)

    def note(self, text: str) -> None:
        """Print the text above the lines."""
        self._console.print(f"[yellow]![/yellow] {text}", markup=True)

    def event(self, event: AnyEvent) -> None:
        """Print nothing."""

    def _finish(self) -> None:
        if self._now is not None:
            self._bars.update(self._now[1], total=1, completed=1)
            self._now = None

    def __enter__(self) -> TerminalReporter:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._finish()
        self._bars.stop()


class NotebookReporter(QuietReporter):
    """Prints one line per phase when it ends, for where there is no terminal to redraw."""

    def __init__(self) -> None:
        self._now: tuple[str, str, float] | None = None

    def phase(self, name: str, text: str = "") -> None:
        """Print the phase before, with its seconds, when another one begins."""
        if self._now is not None and self._now[0] == name:
            self._now = (name, text or self._now[1], self._now[2])
            return
        self._finish()
        self._now = (name, text, time.monotonic())

    def _finish(self) -> None:
        if self._now is not None:
            name, text, begun = self._now
            print(f"{name:<17} {time.monotonic() - begun:5.1f} s  {text}", flush=True)
            self._now = None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._finish()


def choose_reporter(*, as_json: bool = False, quiet: bool = False) -> ProgressReporter:
    """Return the reporter for where the output goes: JSON lines, nothing, a notebook or a terminal."""
    if as_json:
        return JsonReporter()
    if quiet:
        return QuietReporter()
    console = Console(stderr=True, highlight=False)
    if console.is_jupyter:
        return NotebookReporter()
    return TerminalReporter(console) if console.is_terminal else QuietReporter()
