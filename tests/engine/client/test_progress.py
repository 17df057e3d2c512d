"""Bars without a cluster: a line in a terminal, HTML for notebooks, nothing in a file."""

from __future__ import annotations

import io

import pytest

from howdah.engine.client.progress import ProgressBar, progress
from howdah.errors import InputError


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_one_line_that_is_drawn_again() -> None:
    file = Terminal()
    with ProgressBar(file, notebook=False) as bar:
        bar(0, 200, "inc")
        bar(50, 200, "inc", failed=2)
        bar(200, 200)
    frames = file.getvalue().split("\r")[1:]
    assert [" 0%  0/200" in frames[0], "25%  50/200" in frames[1], "100%  200/200" in frames[2]] == [True] * 3
    assert "2 failed" in frames[1]
    assert "inc" in frames[1]
    assert [frame.count("\n") for frame in frames] == [0, 0, 1]


def test_a_file_gets_nothing() -> None:
    file = io.StringIO()
    with ProgressBar(file, notebook=False) as bar:
        bar(1, 2, "inc")
    assert file.getvalue() == ""


def test_an_empty_graph_is_complete() -> None:
    file = Terminal()
    with ProgressBar(file, notebook=False) as bar:
        bar(0, 0)
    assert "100%" in file.getvalue()


def test_names_of_layers_are_no_markup_and_no_html(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    bar = ProgressBar(io.StringIO(), notebook=True)
    monkeypatch.setattr(bar, "_show_html", shown.append)
    bar(1, 2, "[red]<b>")
    assert "[red]&lt;b&gt;" in shown[0]


def test_what_is_no_future_is_refused() -> None:
    with pytest.raises(InputError, match="give futures"):
        progress(5)
