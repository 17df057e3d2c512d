"""Which processes belong to a small Hadoop."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from waiting import until

from howdah.yarn_app.mini.processes import daemons_of, tag


def test_a_process_of_another_folder_is_not_ours(tmp_path: Path) -> None:
    mine, other = tmp_path / "mini", tmp_path / "mini-2"
    sleeper = ["-c", "import sys; sys.stdin.read()"]
    process = subprocess.Popen([sys.executable, *sleeper, tag(other, "namenode")], stdin=subprocess.PIPE)
    try:
        assert list(until(lambda: daemons_of(other), "the process")) == ["namenode"]
        assert daemons_of(mine) == {}
    finally:
        process.kill()
        process.communicate()
