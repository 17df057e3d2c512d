"""Where progress goes: JSON lines, nothing, a notebook's output or a terminal."""

from __future__ import annotations

import contextlib
import io

import pytest
from rich.console import Console

from howdah.yarn_app.ui.events import SubmittedEvent
from howdah.yarn_app.ui.progress import (
    JsonReporter,
    NotebookReporter,
    ProgressReporter,
    QuietReporter,
    TerminalReporter,
    choose_reporter,
    now,
)


def tell(reporter: ProgressReporter) -> None:
    with reporter:
        reporter.phase("checking")
        reporter.phase("packing", "first")
        reporter.phase("packing", "second")
        reporter.amount(1, 4, "a quarter")
        reporter.note("a worker was lost")
        reporter.event(SubmittedEvent(t=now(), app_id="application_1_0001", seconds=1.0))


def test_outside_of_a_terminal_only_notes_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    chosen = choose_reporter()
    assert type(chosen) is QuietReporter
    tell(chosen)
    assert capsys.readouterr() == ("", "howdah: a worker was lost\n")


def test_the_options_choose() -> None:
    assert type(choose_reporter(as_json=True, quiet=True)) is JsonReporter
    assert type(choose_reporter(quiet=True)) is QuietReporter


def test_a_notebook_gets_a_line_for_each_phase_that_ended(capsys: pytest.CaptureFixture[str]) -> None:
    tell(NotebookReporter())
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["checking", "packing"]
    assert lines[1].endswith("s  second")


def test_a_terminal_gets_a_line_for_each_phase_and_a_mark_when_it_ended() -> None:
    screen = io.StringIO()
    tell(TerminalReporter(Console(file=screen, force_terminal=True, width=100)))
    text = screen.getvalue()
    assert all(word in text for word in ("checking", "packing", "a quarter", "a worker was lost", "✓"))
    assert "application_1_0001" not in text


def test_a_phase_that_failed_gets_no_mark() -> None:
    screen = io.StringIO()
    reporter = TerminalReporter(Console(file=screen, force_terminal=True, width=100))
    with contextlib.suppress(ValueError), reporter:
        reporter.phase("checking")
        raise ValueError("stop")
    assert "✓" not in screen.getvalue()
