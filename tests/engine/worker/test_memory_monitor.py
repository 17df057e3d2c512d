"""Reports of the process's memory: when they are due, and when the worker pauses."""

from __future__ import annotations

import pytest

from howdah.engine.worker.memory_monitor import PAUSE, MemoryMonitor
from howdah.engine.worker.store.process_memory import resident_bytes, unreclaimable_bytes


def test_the_first_sample_is_reported_and_an_equal_one_is_not() -> None:
    monitor = MemoryMonitor(0)
    health = monitor.sample(7)
    assert health is not None
    assert health.managed == 7
    assert not health.paused
    assert monitor.peak == health.rss > 1 << 20
    assert monitor.sample(7) is None


def test_a_process_above_its_share_pauses_and_resumes(caplog: pytest.LogCaptureFixture) -> None:
    monitor = MemoryMonitor(int(resident_bytes() / PAUSE / 2))
    health = monitor.sample(0)
    assert health is not None
    assert health.paused
    assert monitor.paused
    assert "one batch at a time" in caplog.text
    monitor.limit = 1 << 50
    again = monitor.sample(0)
    assert again is not None
    assert not again.paused


def test_memory_of_a_process_that_is_gone_is_nothing() -> None:
    assert unreclaimable_bytes(2**22 + 1) == 0
