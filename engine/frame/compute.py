"""From a frame to its rows in pandas, through the compiler of relations. Internal to `frame`."""

from __future__ import annotations

from typing import Any

from howdah.engine.frame.state import FrameState, internal_name
from howdah.engine.relational import relations
from howdah.engine.relational.compiler.compile import ComputedTable, compute_table, persist_plan
from howdah.engine.relational.convert import frame_to_pandas
from howdah.engine.relational.relations import Relation


def compute_rows(state: FrameState, scheduler: Any = None) -> ComputedTable:
    """Return the frame's rows; its index too, unless that is 0, 1, 2, ... anyway."""
    return compute_table(state.plan(index=not state.is_range), scheduler)


def to_pandas(state: FrameState, computed: ComputedTable) -> Any:
    """Return the pandas frame."""
    columns = [(label, internal_name(label)) for label, _ in state.columns]
    levels = [] if state.is_range else [(level.label, n) for level, n in zip(state.index, state.level_names())]
    return frame_to_pandas(computed.table, computed.schema, columns, levels)


def persist(state: FrameState, scheduler: Any = None) -> FrameState:
    """Return the same frame, computed and kept where it was computed while it is referenced."""
    kept: Relation = persist_plan(state.plan(index=not state.is_range), scheduler)
    return state.over(relations.Number(kept) if state.is_range else kept)
