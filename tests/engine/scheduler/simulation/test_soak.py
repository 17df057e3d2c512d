"""`make soak` plays its plan, the same for the same seed, and says which script shows a failure."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from howdah.engine.scheduler.core.results import ResultTable

TESTS = Path(__file__).parents[3]


def test_it_runs_for_as_long_as_it_is_told() -> None:
    done = subprocess.run(
        [sys.executable, TESTS / "soak.py", "--seconds", "1", "--seed", "7", "--part", "simulation"],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "scenarios from 7000000 on, 0 failed" in done.stdout
    assert "soak: simulation: 0 failures" in done.stdout


def test_a_failure_is_printed_as_a_script(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.syspath_prepend(str(TESTS))
    import soak

    monkeypatch.setattr(ResultTable, "free", lambda *_: None)
    assert soak.simulation(60.0, 7) == soak.MOST_FAILURES
    said = capsys.readouterr().out
    assert "from howdah.engine.scheduler.simulation.scenarios import new_model" in said
    assert "model.submit(" in said
