"""The plan of the chaos, and a short run of it."""

from __future__ import annotations

import itertools

import pytest
from chaos.plan import KINDS, plan
from chaos.soak import CLIENTS, WORKERS, main


def test_the_same_seed_makes_the_same_plan() -> None:
    first = plan(11, 1800.0, WORKERS, CLIENTS, scheduler=True)
    assert first == plan(11, 1800.0, WORKERS, CLIENTS, scheduler=True)
    assert first != plan(12, 1800.0, WORKERS, CLIENTS, scheduler=True)
    assert {act.kind for act in first} == set(KINDS)
    assert all(a.at < b.at for a, b in itertools.pairwise(first))
    assert {act.kind for act in plan(11, 1800.0, WORKERS, CLIENTS)} == set(KINDS) - {"kill scheduler"}


@pytest.mark.slow
def test_half_a_minute_of_chaos(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(30.0, 5) == 0
    said = capsys.readouterr().out
    assert "seed 5: passed" in said
    assert "0 wrong" in said
