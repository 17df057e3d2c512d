"""What a person sees while an application starts and runs: one line per phase, a bar while it works, a summary.

For `submission`, `application`, `cluster` and the commands. On a terminal the current phase has a spinner and
seconds; where output goes elsewhere (cron, a pipe) nothing is printed but problems; `JsonReporter` prints JSON
lines for scripts. Everything goes to stderr: stdout belongs to the user's program.
"""

from __future__ import annotations

import json
import sys
import time
from types import TracebackType
from typing import Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, Task, TaskID, TextColumn
from rich.text import Text

PHASES = ("checking", "packing", "uploading", "submitting", "waiting for YARN", "unpacking", "running")


class ProgressReporter(Protocol):
    """Where progress goes. A context manager; phases outside of it are not shown."""

    def phase(self, name: str, text: str = "") -> None:
        """This phase has begun (the one before has ended), or goes on with another text."""

    def amount(self, done: float, total: float, text: str = "") -> None:
        """How far the current phase is."""

    def note(self, text: str) -> None:
        """Something that a person should see, whatever the phase: a lost worker, a refusal."""

    def fact(self, kind: str, **values: Any) -> None:
        """Something for scripts."""

    def __enter__(self) -> ProgressReporter: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class QuietReporter:
    """Shows nothing but notes."""

    def phase(self, name: str, text: str = "") -> None:
        pass

    def amount(self, done: float, total: float, text: str = "") -> None:
        pass

    def note(self, text: str) -> None:
        print(f"howdah: {text}", file=sys.stderr, flush=True)

    def fact(self, kind: str, **values: Any) -> None:
        pass

    def __enter__(self) -> QuietReporter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


class JsonReporter(QuietReporter):
    """One JSON object a line on stdout: {"event": ..., "t": seconds since 1970, ...}."""

    def __init__(self) -> None:
        self._last = ""
        self._progress_at = 0.0

    def phase(self, name: str, text: str = "") -> None:
        if name != self._last:
            self._last = name
            self.fact("phase", phase=name, text=text)

    def amount(self, done: float, total: float, text: str = "") -> None:
        if time.monotonic() - self._progress_at > 1:
            self._progress_at = time.monotonic()
            self.fact("progress", phase=self._last, done=done, total=total)

    def note(self, text: str) -> None:
        self.fact("note", text=text)

    def fact(self, kind: str, **values: Any) -> None:
        print(json.dumps({"event": kind, "t": round(time.time(), 3), **values}), flush=True)


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
    """A line per phase on a terminal."""

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
        if self._now is not None and self._now[0] == name:
            self._bars.update(self._now[1], text=text)
            return
        self._finish()
        self._now = (name, self._bars.add_task(name, total=None, text=text))

    def amount(self, done: float, total: float, text: str = "") -> None:
        if self._now is not None:
            # A task that has reached its total would be shown as ended.
            self._bars.update(self._now[1], completed=min(done, total - 1e-9), total=total)
            if text:
                self._bars.update(self._now[1], text=text)

    def note(self, text: str) -> None:
        self._console.print(f"[yellow]![/yellow] {text}", markup=True)

    def fact(self, kind: str, **values: Any) -> None:
        pass

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
    """One printed line per phase that took a while, for where there is no terminal to redraw."""

    def __init__(self) -> None:
        self._now: tuple[str, str, float] | None = None

    def phase(self, name: str, text: str = "") -> None:
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
    """What fits where output goes."""
    if as_json:
        return JsonReporter()
    if quiet:
        return QuietReporter()
    console = Console(stderr=True, highlight=False)
    if console.is_jupyter:
        return NotebookReporter()
    return TerminalReporter(console) if console.is_terminal else QuietReporter()
