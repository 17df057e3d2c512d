"""The state's cost stays within an order of magnitude of what it is (see cost.py for the figures)."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

_spec = importlib.util.spec_from_file_location("scheduler_cost", Path(__file__).with_name("cost.py"))
assert _spec is not None
assert _spec.loader is not None
cost = importlib.util.module_from_spec(_spec)
sys.modules["scheduler_cost"] = cost
_spec.loader.exec_module(cost)


@pytest.mark.parametrize(
    ("name", "micros"),
    [("map, 1e5", 3), ("map, map, 16 to one, total; 1e5", 10), ("layers of one item, 1e4 submits", 400)],
)
def test_cpu_per_task(name: str, micros: float) -> None:
    assert cost.CASES[name]()[0] < micros


def test_memory_per_task() -> None:
    assert cost.memory(1_000_000) < 100
    assert cost.memory(1, 1000) < 5000
