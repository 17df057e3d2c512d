"""docs/design.md follows a finished task and a group-by file by file: the files are those that run."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest
from imports import ROOT

HEARTBEAT = {"engine/scheduler/server/server.py", "engine/scheduler/server/restart.py"}
"""Entered once a second whatever happens."""


@pytest.fixture(scope="module")
def entered() -> dict[str, list[str]]:
    """What `tests/walks.py` prints."""
    program = [sys.executable, str(ROOT / "tests" / "walks.py")]
    done = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


def walk(title: str) -> tuple[list[str], list[str]]:
    """(files of the numbered steps in order, other files named) of a section of docs/design.md."""
    page = (ROOT / "docs" / "design.md").read_text()
    section = page.partition(f"## {title}\n")[2].partition("\n## ")[0]
    steps: list[str] = []
    others: list[str] = []
    for line in section.splitlines():
        (steps if re.match(r"\d+\. ", line) else others).extend(re.findall(r"`(engine/[\w/]+\.py)`", line))
    return steps, others


def test_a_finished_task_enters_the_files_of_the_walk(entered: dict[str, list[str]]) -> None:
    steps, data = walk("One finished task, file by file")
    assert len(steps) == 8
    files = {name for name in entered["task"] if name.startswith("engine/scheduler/")}
    assert files - HEARTBEAT - set(data) <= set(steps)
    # Here the sum follows on the worker that finished; placement is for dependents that go elsewhere.
    assert set(steps) - files <= {"engine/scheduler/core/placement.py"}


def test_a_group_by_enters_the_files_of_the_walk(entered: dict[str, list[str]]) -> None:
    steps, _ = walk("One group-by, file by file")
    followed = [name for name in steps if name in entered["cluster"]]
    on_workers = [name for name in steps if name not in followed]
    assert on_workers == ["engine/relational/compiler/stage.py"]  # the client uses a function of evaluate.py, too
    assert set(on_workers) <= set(entered["inline"])
    assert len(followed) == len(steps) - 1
