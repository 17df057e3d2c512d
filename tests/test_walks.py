"""docs/design.md follows a finished task and a group-by file by file: the files are those that run.

The interpreter's profile hook notes each file of `engine/` that is entered, on all threads of this process: the
client's, and the scheduler's, which a `LocalCluster` runs on its event loop here.
"""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pandas as pd
import pytest
from imports import ROOT

import howdah as hd

HEARTBEAT = {"engine/scheduler/server/server.py", "engine/scheduler/server/restart.py"}
"""Entered once a second whatever happens."""


class Entered:
    """The files of `engine/` that were entered since `start`, in order of the first time."""

    def __init__(self) -> None:
        self.files: list[str] = []
        self.recording = False

    def start(self) -> None:
        self.files.clear()
        self.recording = True

    def stop(self) -> list[str]:
        self.recording = False
        return list(self.files)

    def hook(self, frame: FrameType, event: str, argument: Any) -> None:
        if self.recording and event == "call":
            _, found, path = frame.f_code.co_filename.partition("/howdah/engine/")
            if found and (path := f"engine/{path}") not in self.files:
                self.files.append(path)


@pytest.fixture(scope="module")
def entered() -> Iterator[Entered]:
    """One for both tests: the event loop's thread starts once, with the hook that is set then."""
    note = Entered()
    threading.setprofile(note.hook)  # for threads that start from now on
    sys.setprofile(note.hook)
    try:
        yield note
    finally:
        threading.setprofile(None)
        sys.setprofile(None)


def walk(title: str) -> tuple[list[str], list[str]]:
    """(files of the numbered steps in order, other files named) of a section of docs/design.md."""
    page = (ROOT / "docs" / "design.md").read_text()
    section = page.partition(f"## {title}\n")[2].partition("\n## ")[0]
    steps, others = [], []
    for line in section.splitlines():
        names = re.findall(r"`(engine/[\w/]+\.py)`", line)
        (steps if re.match(r"\d+\. ", line) else others).extend(names)
    return steps, others


def wait_for(path: str) -> int:
    """Return when the file exists."""
    while not Path(path).exists():
        threading.Event().wait(0.01)
    return 1


def add(a: int, b: int) -> int:
    return a + b


def test_a_finished_task_enters_the_files_of_the_walk(entered: Entered, tmp_path: Path) -> None:
    steps, data = walk("One finished task, file by file")
    assert len(steps) == 8
    with hd.LocalCluster(2) as cluster, hd.Client(cluster) as client:
        early = client.submit(wait_for, str(tmp_path / "early"))
        late = client.submit(wait_for, str(tmp_path / "late"))
        (tmp_path / "early").touch()
        early.result()
        total = client.submit(add, early, late)
        probe = client.submit(add, 1, 1)  # messages are handled in order: the scheduler has `total` when this is done
        probe.result()
        entered.start()
        (tmp_path / "late").touch()
        assert total.result() == 2
        files = {name for name in entered.stop() if name.startswith("engine/scheduler/")}
    assert files - HEARTBEAT - set(data) <= set(steps)
    # Here the sum follows on the worker that finished; placement is for dependents that go elsewhere.
    assert set(steps) - files <= {"engine/scheduler/core/placement.py"}


def test_a_group_by_enters_the_files_of_the_walk_in_order(entered: Entered) -> None:
    steps, _ = walk("One group-by, file by file")
    frame = hd.from_pandas(pd.DataFrame({"k": ["a", "b", "a"], "v": [1, 2, 3]}))
    expected = pd.DataFrame({"k": ["a", "b", "a"], "v": [1, 2, 3]}).groupby("k").sum()
    entered.start()
    here = frame.groupby("k").sum().compute(scheduler="inline")
    alone = entered.stop()
    with hd.LocalCluster(1) as cluster, hd.Client(cluster):
        entered.start()
        there = frame.groupby("k").sum().compute()
        files = entered.stop()
    pd.testing.assert_frame_equal(here, expected)
    pd.testing.assert_frame_equal(there, expected)
    on_workers = [name for name in steps if name in alone and name not in files]
    assert on_workers == ["engine/relational/compiler/stage.py"]  # as evaluate, of which the client uses a function
    followed = [name for name in steps if name in files]
    assert set(steps) == {*followed, *on_workers}
