"""Frames' plans as text, and how many partitions they have. Computes nothing. Internal to `frame`."""

from __future__ import annotations

from typing import Any

from howdah.engine.frame.state import FrameState
from howdah.engine.plan.explain import explain as explain_plan
from howdah.engine.relational.compiler.compile import COMPILER


def explain(state: FrameState, scheduler: Any) -> str:
    """Return the logical, the optimised and the physical plan."""
    return explain_plan(COMPILER, state.plan(index=not state.is_range), scheduler)


def partitions(state: FrameState) -> int:
    """How many partitions the frame's rows would have on a cluster."""
    return COMPILER.partitions(state.plan(index=False))
