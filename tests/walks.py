"""Run a finished task, and a group-by, and print the files of `engine/` that each entered: ``python tests/walks.py``

For `test_walks.py`, in a process of its own. The interpreter's profile hook is set before any thread of howdah starts:
it sees the client's thread and the event loop, on which a `LocalCluster` runs its scheduler.
"""

from __future__ import annotations

import json
import sys
import tempfile
import threading
from pathlib import Path
from types import FrameType
from typing import Any

import pandas as pd


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


def wait_for(path: str) -> int:
    """Return when the file exists."""
    while not Path(path).exists():
        threading.Event().wait(0.01)
    return 1


def add(a: int, b: int) -> int:
    return a + b


def finished_task(entered: Entered, folder: Path) -> list[str]:
    """A worker has finished the last input of another item."""
    import howdah as hd

    with hd.LocalCluster(2) as cluster, hd.Client(cluster) as client:
        early = client.submit(wait_for, str(folder / "early"))
        late = client.submit(wait_for, str(folder / "late"))
        (folder / "early").touch()
        early.result()
        total = client.submit(add, early, late)
        probe = client.submit(add, 1, 1)  # messages are handled in order: the scheduler has `total` when this is done
        probe.result()
        entered.start()
        (folder / "late").touch()
        assert total.result() == 2
        return entered.stop()


def group_by(entered: Entered) -> tuple[list[str], list[str]]:
    """Files of `compute` in this process alone, and on a cluster."""
    import howdah as hd

    data = pd.DataFrame({"k": ["a", "b", "a"], "v": [1, 2, 3]})
    expected = data.groupby("k").sum()
    frame = hd.from_pandas(data)
    entered.start()
    here = frame.groupby("k").sum().compute(scheduler="inline")
    alone = entered.stop()
    with hd.LocalCluster(1) as cluster, hd.Client(cluster):
        entered.start()
        there = frame.groupby("k").sum().compute()
        files = entered.stop()
    pd.testing.assert_frame_equal(here, expected)
    pd.testing.assert_frame_equal(there, expected)
    return alone, files


if __name__ == "__main__":
    note = Entered()
    threading.setprofile(note.hook)
    sys.setprofile(note.hook)
    with tempfile.TemporaryDirectory() as directory:
        task = finished_task(note, Path(directory))
    inline, cluster_files = group_by(note)
    sys.setprofile(None)
    print(json.dumps({"task": task, "inline": inline, "cluster": cluster_files}))
