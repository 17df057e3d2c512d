"""Child processes: their last lines, their exit codes, and that none is left."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil

from howdah.yarn_app.master.processes import ChildProcess, tail, with_parent_death_signal


def test_the_last_lines_of_a_child_and_its_exit_code(tmp_path: Path) -> None:
    code = "import sys; print('out'); print('x' * 9000, file=sys.stderr); print('last', file=sys.stderr); sys.exit(7)"
    program = ChildProcess([sys.executable, "-c", code], out=tmp_path / "out", err=tmp_path / "err")
    program.process.wait(30)
    assert program.poll() == 7
    assert program.tail() == "last\n"
    assert tail(tmp_path / "out") == "out\n"
    assert tail(tmp_path / "nix") == ""


def test_stopping_leaves_no_child_even_one_that_ignores_sigterm(tmp_path: Path) -> None:
    child = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(600)"
    parent = f"import subprocess, sys, time; p = subprocess.Popen([sys.executable, '-c', {child!r}]); time.sleep(600)"
    program = ChildProcess([sys.executable, "-c", parent], out=tmp_path / "out", err=tmp_path / "out")
    deadline = time.monotonic() + 30
    while not tail(tmp_path / "out") and time.monotonic() < deadline:
        os.sched_yield()
    children = psutil.Process(program.pid).children(recursive=True)
    assert children
    program.stop(0.3)
    assert program.poll() == 143
    assert not any(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in children)


def test_a_child_dies_with_its_killed_parent(tmp_path: Path) -> None:
    child = with_parent_death_signal(
        [sys.executable, "-c", "import os, time; print(os.getpid(), flush=True); time.sleep(600)"]
    )
    code = f"""
import subprocess, sys, time
from howdah.yarn_app.master.processes import with_parent_death_signal
subprocess.Popen(with_parent_death_signal([sys.executable, "-c", {child[-1]!r}]))
time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child_process = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
        child_process.wait(20)
