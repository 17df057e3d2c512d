"""Progress bars: one line in a terminal, a bar in a notebook, nothing where the output is a file.

`progress(futures)` is for futures; `ProgressBar()` (or ``compute(..., progress=True)``) for lazy objects.
"""

from __future__ import annotations

import html
import shutil
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any, TextIO

from howdah.engine.client.future_registry import ranges_of
from howdah.engine.client.layer_results import FAILED, PENDING
from howdah.engine.client.nests import nested_futures
from howdah.errors import InputError

REFRESH_INTERVAL = 0.1
"""Seconds between two looks."""


class ProgressBar:
    """A progress function for ``compute(..., progress=...)``, and a context that ends its line.

    Parameters
    ----------
    file : where the line goes; default: standard error. Unless it is a terminal, nothing is written.
    notebook : True, False, or None for finding out.

    Examples
    --------
    >>> from howdah.engine.delayed.delayed import delayed
    >>> with ProgressBar() as bar:
    ...     delayed(sum)([1, 2]).compute(scheduler="inline", progress=bar)
    3
    """

    def __init__(self, file: TextIO | None = None, notebook: bool | None = None) -> None:
        self._file = sys.stderr if file is None else file
        self._notebook = in_notebook() if notebook is None else notebook
        self._shown = self._notebook or (hasattr(self._file, "isatty") and self._file.isatty())
        self._began = time.monotonic()
        self._display: Any = None
        self._last: tuple[int, int, str] | None = None
        self._failed = 0

    def __call__(self, done: int, total: int, name: str = "", failed: int = 0) -> None:
        """Show that `done` of `total` tasks are done, and `name` is worked on."""
        self._last, self._failed = (done, total, name), failed
        if not self._shown:
            return
        seconds = time.monotonic() - self._began
        if self._notebook:
            self._show(as_html(done, total, name, seconds, failed))
        else:
            width = shutil.get_terminal_size().columns
            self._file.write("\r" + line(done, total, name, seconds, width - 1, failed) + "\x1b[K")
            self._file.flush()

    def close(self) -> None:
        """End the line."""
        if self._shown and not self._notebook and self._last is not None:
            self._file.write("\n")
            self._file.flush()
        self._last = None

    def _show(self, text: str) -> None:
        import IPython.display as shown

        shown_display: Any = shown.display
        html_of: Any = shown.HTML

        if self._display is None:
            self._display = shown_display(html_of(text), display_id=True)
        else:
            self._display.update(html_of(text))

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def progress(
    *futures: Any, notebook: bool | None = None, file: TextIO | None = None, timeout: float | None = None
) -> None:
    """Show how many of the futures are done, until all are. In a notebook it returns at once and goes on showing.

    Parameters
    ----------
    futures : futures, in any nest; lazy objects that were persisted.
    notebook : True, False, or None for finding out.
    file : where the line goes; default: standard error.
    timeout : seconds after which it stops showing (and waiting).
    """
    found: list[tuple[Any, int, int]] = ranges_of(nested_futures(list(futures)))
    for part in futures:
        held = getattr(part, "_held", None)
        if held is not None:
            found += [span for span in getattr(held[0].results, "spans", ()) if span not in found]
    if not found:
        raise InputError("progress: give futures, or lazy objects that were persisted")
    bar = ProgressBar(file, notebook)
    if bar._notebook:
        threading.Thread(target=_watch, args=(found, bar, timeout), name="howdah-progress", daemon=True).start()
    else:
        _watch(found, bar, timeout)


def _watch(spans: Sequence[tuple[Any, int, int]], bar: ProgressBar, timeout: float | None) -> None:
    deadline = None if timeout is None else time.monotonic() + timeout
    total = sum(stop - start for _, start, stop in spans)
    pause = threading.Event()
    with bar:
        while True:
            waiting = sum(results.state.count(PENDING, start, stop) for results, start, stop in spans)
            failed = sum(results.state.count(FAILED, start, stop) for results, start, stop in spans)
            names = [results.name for results, start, stop in spans if not results.settled(start, stop)]
            bar(total - waiting, total, names[0] if names else "", failed)
            if not waiting or (deadline is not None and time.monotonic() > deadline):
                return
            pause.wait(REFRESH_INTERVAL)


def line(done: int, total: int, name: str, seconds: float, width: int = 79, failed: int = 0) -> str:
    """The line in a terminal.

    >>> line(50, 200, "inc", 2.0, 60)
    '[#####               ]  25%  50/200  25/s  6s left  inc'
    """
    share = done / total if total else 1.0
    bar = "#" * int(20 * share)
    rate = done / seconds if seconds > 0 else 0.0
    left = f"  {_time((total - done) / rate)} left" if done < total and rate > 0 else f"  {_time(seconds)}"
    text = f"[{bar:<20}] {100 * share:3.0f}%  {done}/{total}  {_rate(rate)}/s{left}"
    if failed:
        text += f"  {failed} failed"
    return (f"{text}  {name}" if name else text)[: max(width, 20)]


def as_html(done: int, total: int, name: str, seconds: float, failed: int = 0) -> str:
    """The same for a notebook."""
    return (
        f'<progress value="{done}" max="{max(total, 1)}" style="width:60%"></progress> '
        f"<code>{html.escape(line(done, total, name, seconds, 200, failed)[22:].strip())}</code>"
    )


def _rate(rate: float) -> str:
    return f"{rate:.0f}" if rate >= 10 else f"{rate:.1f}"


def _time(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f}s"
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}m{rest:02d}s" if minutes < 60 else f"{minutes // 60}h{minutes % 60:02d}m"


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    shell = sys.modules.get("IPython")
    if shell is None:
        return False
    return type(shell.get_ipython()).__name__ == "ZMQInteractiveShell"
