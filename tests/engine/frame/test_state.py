"""Frame states: columns and index over a relation, without a face."""

from __future__ import annotations

import pandas as pd
import pytest

import howdah as hd
from howdah.engine.frame.collection import state_of
from howdah.engine.frame.state import DEFAULT, FrameState, internal_name
from howdah.engine.relational import relations
from howdah.errors import SchemaError, UnknownColumn


@pytest.fixture
def state() -> FrameState:
    return state_of(hd.from_pandas(pd.DataFrame({"a": [1, 2, 3], "b": ["x", "y", "z"]})))


def test_columns_are_found_by_label_and_type(state: FrameState) -> None:
    assert state.labels() == ["a", "b"]
    assert state.require("a", "here") is state.column("a") is state.expression
    with pytest.raises(UnknownColumn, match=r"here: no column 'aa': did you mean 'a'\?"):
        state.require("aa", "here")
    with pytest.raises(KeyError):
        FrameState(state.base, ((1, state.expression),)).column(True)


@pytest.mark.parametrize("label", ["", "*", "^x$"])
def test_labels_that_polars_reads_as_patterns_are_refused(state: FrameState, label: str) -> None:
    with pytest.raises(SchemaError, match="empty or a pattern"):
        FrameState(state.base, ((label, state.expression),))


def test_internal_names_of_different_labels_differ() -> None:
    assert len({internal_name(label) for label in ("0", 0, None, "None", (1, 2))}) == 5


def test_an_expression_of_an_unfiltered_frame_fits_a_filtered_one(state: FrameState) -> None:
    fewer = state.map_base(lambda base: relations.Head(base, 2))
    assert fewer.resolve(state.base, state.expression, "x") is state.expression
    with pytest.raises(SchemaError, match="x: the column belongs to another frame"):
        state.resolve(fewer.base, state.expression, "x")


def test_a_projection_has_the_same_columns_as_plain_references(state: FrameState) -> None:
    again = state.projected()
    assert (again.labels(), again.dtypes(), again.index) == (state.labels(), state.dtypes(), DEFAULT)
    assert isinstance(again.base, relations.Project)


def test_a_fresh_index_takes_the_old_levels_as_columns_unless_dropped(state: FrameState) -> None:
    assert state.is_range
    indexed = state_of(hd.from_pandas(pd.DataFrame({"a": [1]}, index=pd.Index([5], name="k"))))
    assert indexed.reset_index().labels() == ["k", "a"]
    assert indexed.reset_index(drop=True).labels() == ["a"]
    assert indexed.reset_index().is_range
    assert state.reset_index().labels() == ["index", "a", "b"]
