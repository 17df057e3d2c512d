"""What slots write and the supervisor reads, across a fork."""

from __future__ import annotations

import os

from howdah.engine.worker.status_page import StatusPage


def test_the_parent_reads_what_the_child_wrote_before_it_died() -> None:
    page = StatusPage(1)
    pid = os.fork()
    if pid == 0:
        page.write(page.acquire(), "load", 3, 7)
        os._exit(1)
    os.waitpid(pid, 0)
    assert page.read() == "it was running load[3:7]"
    page.clear()
    assert page.read() == "it was running nothing"


def test_a_released_entry_is_used_again_and_no_entry_is_no_error() -> None:
    page = StatusPage(0)
    entries = [page.acquire() for _ in range(31)]
    assert entries[-1] == -1
    page.write(-1, "none", 0, 1)
    page.erase(-1)
    page.write(entries[0], "a", 0, 1)
    page.release(entries[0])
    assert page.acquire() == entries[0]
    assert page.read() == "it was running nothing, the last was a[0]"
