"""Progress bars, drawn by rich: one line in a terminal, a bar in a notebook, nothing where the output is a file.

For users. `progress(futures)` is for futures; `ProgressBar()` (or ``compute(..., progress=True)``) for lazy objects.
"""

from __future__ import annotations

import io
import shutil
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, TextIO

from howdah.engine.client.future_registry import ranges_of
from howdah.engine.client.layer_results import FAILED, PENDING, LayerResults
from howdah.engine.client.nests import nested_futures
from howdah.engine.execution.progress_scope import progress_scope
from howdah.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

REFRESH_INTERVAL = 0.1
"""Seconds between two looks at the futures."""

NOTEBOOK_WIDTH = 100
"""Columns of a bar in a notebook."""


class ProgressBar:
    """A progress function for ``compute(..., progress=...)``, and a block whose computations call it.

    Parameters
    ----------
    file : where the line is written; None is standard error. Unless it is a terminal, nothing is written.
    notebook : True, False, or None for finding out.

    Examples
    --------
    >>> from howdah.engine.delayed.delayed import delayed
    >>> with ProgressBar() as bar:
    ...     delayed(sum)([1, 2]).compute(scheduler="inline")
    3
    """

    def __init__(self, file: TextIO | None = None, notebook: bool | None = None) -> None:
        self._file = sys.stderr if file is None else file
        self.notebook = in_notebook() if notebook is None else notebook
        self._visible = self.notebook or (hasattr(self._file, "isatty") and self._file.isatty())
        self._drawing: _RenderedBar | None = None
        self._display: Any = None
        self._blocks = ExitStack()

    def __call__(self, done: int, total: int, name: str = "", failed: int = 0) -> None:
        """Show that `done` of `total` tasks have ended.

        Parameters
        ----------
        done, total : numbers of tasks.
        name : of the layer that runs.
        failed : how many of `done` have failed.
        """
        if not self._visible:
            return
        if self._drawing is None:
            self._drawing = _RenderedBar()
        self._drawing.update(done, total, name, failed)
        if self.notebook:
            self._show_html(self._drawing.html(NOTEBOOK_WIDTH))
        else:
            self._file.write("\r" + self._drawing.line(shutil.get_terminal_size().columns - 1) + "\x1b[K")
            self._file.flush()

    def close(self) -> None:
        """End the line. The next call begins another."""
        if self._drawing is not None and not self.notebook:
            self._file.write("\n")
            self._file.flush()
        self._drawing = None

    def _show_html(self, text: str) -> None:
        import IPython.display

        display: Any = IPython.display.display
        html: Any = IPython.display.HTML

        if self._display is None:
            self._display = display(html(text), display_id=True)
        else:
            self._display.update(html(text))

    def __enter__(self) -> ProgressBar:
        self._blocks.enter_context(progress_scope(self))
        return self

    def __exit__(self, *exc: object) -> None:
        self._blocks.pop_all().close()
        self.close()


class _RenderedBar:
    """One task of rich's progress display, rendered on demand: without its thread, and into notebooks, too."""

    def __init__(self) -> None:
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        plain = {"style": "none", "markup": False}
        self._progress: Progress = Progress(
            BarColumn(bar_width=20),
            TextColumn("{task.percentage:3.0f}%  {task.completed:.0f}/{task.total:.0f}", **plain),  # type: ignore[arg-type]
            TimeRemainingColumn(compact=True, elapsed_when_finished=True),
            TextColumn("{task.fields[failed]}", style="red", markup=False),
            TextColumn("{task.description}", **plain),  # type: ignore[arg-type]
            auto_refresh=False,
            console=self._console(NOTEBOOK_WIDTH),
        )
        self._task = self._progress.add_task("", failed="")

    @staticmethod
    def _console(width: int) -> Console:
        from rich.console import Console

        return Console(
            file=io.StringIO(),
            force_terminal=True,
            force_jupyter=False,
            width=max(width, 20),
            record=True,
            soft_wrap=True,
        )

    def update(self, done: int, total: int, name: str, failed: int) -> None:
        """Set what is drawn. An empty layer counts as complete."""
        text = f"{failed} failed" if failed else ""
        self._progress.update(
            self._task, completed=done if total else 1, total=total or 1, description=name, failed=text
        )

    def line(self, width: int) -> str:
        """Return the bar as one line with terminal control sequences."""
        console = self._console(width)
        console.print(self._progress.get_renderable(), no_wrap=True, overflow="ellipsis", end="")
        return console.export_text(styles=True).rstrip().replace("\n", " ")

    def html(self, width: int) -> str:
        """Return the bar as HTML."""
        console = self._console(width)
        console.print(self._progress.get_renderable(), no_wrap=True, overflow="ellipsis", end="")
        return console.export_html(inline_styles=True, code_format="<pre style='line-height:normal'>{code}</pre>")


def progress(
    *futures: Any, notebook: bool | None = None, file: TextIO | None = None, timeout: float | None = None
) -> None:
    """Show how many of the futures have ended, until all have. In a notebook it returns at once and continues to show.

    Parameters
    ----------
    *futures : futures, in any nest; lazy objects that were persisted.
    notebook : True, False, or None for finding out.
    file : where the line is written; None is standard error.
    timeout : seconds after which it stops showing (and waiting).

    Raises
    ------
    InputError : there is no future among the arguments.
    HowdahError : this is a forked child, and the futures are its parent's.

    Examples
    --------
    >>> from howdah.engine.api import Client
    >>> with Client(n_workers=1) as client:
    ...     progress(client.map(abs, range(10)))
    """
    found: list[tuple[LayerResults, int, int]] = ranges_of(nested_futures(list(futures)))
    here = False  # whether some results are of this process, and so complete
    for part in futures:
        # looked up in the class: a lazy object makes a lazy attribute of any other name
        persisted_of = getattr(type(part), "__howdah_persisted__", None)
        held = None if persisted_of is None else persisted_of(part)
        here = here or (held is not None and not hasattr(held[0].results, "ranges"))
        if held is not None:
            found += [task_range for task_range in getattr(held[0].results, "ranges", ()) if task_range not in found]
    if not found and not here:
        raise InputError("progress: give futures, or lazy objects that were persisted")
    for future in nested_futures(futures):
        future.client.loop_thread.check()
    bar = ProgressBar(file, notebook)
    if bar.notebook:
        threading.Thread(target=_watch, args=(found, bar, timeout), name="howdah-progress", daemon=True).start()
    else:
        _watch(found, bar, timeout)


def _watch(ranges: Sequence[tuple[LayerResults, int, int]], bar: ProgressBar, timeout: float | None) -> None:
    deadline = None if timeout is None else time.monotonic() + timeout
    total = sum(stop - start for _, start, stop in ranges)
    pause = threading.Event()
    with bar:
        while True:
            waiting = sum(results.state.count(PENDING, start, stop) for results, start, stop in ranges)
            failed = sum(results.state.count(FAILED, start, stop) for results, start, stop in ranges)
            names = [results.name for results, start, stop in ranges if not results.settled(start, stop)]
            bar(total - waiting, total, names[0] if names else "", failed)
            if not waiting or (deadline is not None and time.monotonic() > deadline):
                return
            pause.wait(REFRESH_INTERVAL)


def in_notebook() -> bool:
    """Return whether this process is the kernel of a notebook."""
    shell = sys.modules.get("IPython")
    if shell is None:
        return False
    return type(shell.get_ipython()).__name__ == "ZMQInteractiveShell"
