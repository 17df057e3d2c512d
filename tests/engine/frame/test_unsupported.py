"""What is wrong is refused on the line that writes it, before anything is read, with what would be right."""

from __future__ import annotations

import copy
import inspect
import pickle
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import howdah as hd
from howdah.engine.execution import dispatch as execute
from howdah.errors import HowdahError, NotSupported, SchemaError, UnknownColumn

FRAME = pd.DataFrame({"name": ["a", "b"], "revenue": [1.5, 2.0], "year": [1995, 1996]})

Write = Callable[[Any], Any]

UNKNOWN: dict[str, Write] = {
    "an item": lambda df: df["revenu"],
    "an attribute": lambda df: df.revenu,
    "a list": lambda df: df[["name", "revenu"]],
    "a key": lambda df: df.groupby("revenu"),
    "a grouped column": lambda df: df.groupby("name")["revenu"],
    "an aggregate": lambda df: df.groupby("name").agg(total=("revenu", "sum")),
    "an order": lambda df: df.sort_values("revenu"),
    "a ranking": lambda df: df.nlargest(1, "revenu"),
    "a join": lambda df: df.merge(df, on="revenu"),
    "a right key": lambda df: df.merge(df, left_on="revenue", right_on="revenu"),
    "a dropped column": lambda df: df.drop(columns=["revenu"]),
    "a subset": lambda df: df.dropna(subset=["revenu"]),
    "a cast": lambda df: df.astype({"revenu": "int64"}),
    "an index": lambda df: df.set_index("revenu"),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_an_unknown_column_is_refused_where_it_is_written_with_similar_names(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError("something was computed")

    monkeypatch.setattr(execute, "compute_graph", never)
    df = hd.from_pandas(FRAME)
    with pytest.raises(UnknownColumn, match="revenue") as caught:
        UNKNOWN[name](df)
    assert "'revenu'" in str(caught.value)
    written = inspect.getsourcelines(UNKNOWN[name])[1]
    lines = [f.lineno for f in traceback.extract_tb(caught.tb) if f.filename == __file__]
    assert written in lines


def test_an_unknown_column_of_a_file_names_the_file(tmp_path: Path) -> None:
    FRAME.to_parquet(tmp_path / "t.parquet")
    with pytest.raises(UnknownColumn, match=r"t\.parquet.*'revenu'.*'revenue'"):
        hd.read_parquet(tmp_path / "t.parquet", columns=["revenu"])


def test_hasattr_asks_without_harm() -> None:
    df = hd.from_pandas(FRAME)
    assert hasattr(df, "revenue")
    assert not hasattr(df, "revenu")
    assert not hasattr(df, "__dataframe__")


NOT_THERE: dict[str, tuple[Write, str]] = {
    "apply": (lambda df: df.apply(len), "map_partitions"),
    "iloc": (lambda df: df.iloc[0], "head"),
    "query": (lambda df: df.query("year > 1995"), "boolean mask"),
    "a sum of all columns": (lambda df: df.sum(), r"df\.x\.sum\(\)"),
    "describe": (lambda df: df.describe(), "agg by name"),
    "a median": (lambda df: df.revenue.median(), "exact medians"),
    "text's split": (lambda df: df.name.str.split("x"), "map_partitions"),
    "a group's apply": (lambda df: df.groupby("name").apply(len), "map_partitions"),
    "an index label": (lambda df: df.loc[0], "boolean mask"),
    "rows one by one": (list, "compute"),
    "an argument": (lambda df: df.merge(df, on="name", indicator=True), "only indicator=False"),
    "a cross join": (lambda df: df.merge(df, how="cross"), "inner, left, right, outer"),
    "functions as aggregates": (lambda df: df.groupby("name").revenue.agg([len]), "use a name, one of"),
}


@pytest.mark.parametrize("name", NOT_THERE)
def test_names_that_only_pandas_has_raise_with_an_alternative(name: str) -> None:
    write, instead = NOT_THERE[name]
    with pytest.raises(NotSupported, match=instead):
        write(hd.from_pandas(FRAME))


def test_a_name_that_pandas_has_not_either_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError):
        hd.from_pandas(FRAME).revenue.smu  # noqa: B018


def test_columns_of_two_frames_are_never_aligned_in_silence() -> None:
    df, other = hd.from_pandas(FRAME), hd.from_pandas(FRAME.head(1))
    with pytest.raises(SchemaError, match="merge two frames on a key"):
        df.assign(x=other.revenue)
    with pytest.raises(SchemaError, match="fewer rows"):
        df[df.year > 1995].revenue + df.revenue
    kept = df[df.year > 1995]
    pd.testing.assert_frame_equal(  # a column of the frame before its filter is a column of the filtered frame
        kept.assign(x=df.revenue).compute(), FRAME[FRAME.year > 1995].assign(x=FRAME.revenue)
    )


def test_truth_of_a_series_is_refused_with_the_operators() -> None:
    df = hd.from_pandas(FRAME)
    with pytest.raises(SchemaError, match=r"use & and \|"):
        df[(df.year > 1995) and (df.revenue > 1)]


def test_an_assigned_attribute_raises_with_the_way_to_make_a_column() -> None:
    df = hd.from_pandas(FRAME)
    with pytest.raises(SchemaError, match=r'df\["half"\] = '):
        df.half = df.revenue / 2
    df["half"] = df.revenue / 2
    assert df.half.compute().tolist() == [0.75, 1.0]


@pytest.mark.parametrize("odd", ["", "*", "^.*$"])
def test_names_that_are_patterns_are_refused_everywhere(odd: str, tmp_path: Path) -> None:
    """Polars takes them for all the columns that match."""
    frame = FRAME.assign(**{odd: 1})
    frame.to_parquet(tmp_path / "t.parquet")
    df = hd.from_pandas(FRAME)
    for write in (
        lambda: hd.from_pandas(frame),
        lambda: hd.read_parquet(tmp_path / "t.parquet"),
        lambda: df.assign(**{odd: 1}),
        lambda: df.rename(columns={"year": odd}),
        lambda: df.groupby("year").agg(**{odd: ("revenue", "sum")}),
    ):
        with pytest.raises(SchemaError, match="rename it, or leave it out"):
            write()
    rest = hd.read_parquet(tmp_path / "t.parquet", columns=["name", "year"])
    pd.testing.assert_frame_equal(rest.compute(), FRAME[["name", "year"]])


def test_an_exception_of_a_users_function_comes_out_as_it_was() -> None:
    def fails(frame: pd.DataFrame) -> pd.DataFrame:
        if len(frame):
            raise ZeroDivisionError("mine")
        return frame

    with pytest.raises(ZeroDivisionError, match="mine"):
        hd.from_pandas(FRAME).map_partitions(fails).compute()


def test_values_that_cannot_be_converted_fail_as_in_pandas() -> None:
    df = hd.from_pandas(FRAME)
    with pytest.raises(ValueError, match="invalid literal"):
        df.name.astype("int64").compute()
    assert not issubclass(ValueError, HowdahError)


def test_a_missing_name_is_no_attribute() -> None:
    df = hd.from_pandas(FRAME)
    objects = {"iloc": df, "to_csv": df.year, "quantile": df.groupby("name"), "ewm": df.groupby("name").year,
               "extractall": df.name.str, "to_period": df.year.astype("datetime64[us]").dt,
               "values": df.index}  # fmt: skip
    for name, value in objects.items():
        assert not hasattr(value, name)
        assert getattr(value, name, "default") == "default"
        assert name not in dir(value)
        with pytest.raises(NotSupported, match=rf"{name} is not there yet: use "):
            getattr(value, name)
        with pytest.raises(AttributeError):
            getattr(value, name)


def test_collections_are_copied_and_pickled() -> None:
    df = hd.from_pandas(FRAME)
    for made in (copy.copy(df), copy.deepcopy(df), pickle.loads(pickle.dumps(df))):
        pd.testing.assert_frame_equal(made.compute(), FRAME)
    for made in (copy.copy(df.year), pickle.loads(pickle.dumps(df.year))):
        pd.testing.assert_series_equal(made.compute(), FRAME.year)
    assert copy.copy(df.groupby("name")).year.sum().compute().tolist() == [1995, 1996]
    with pytest.raises(NotSupported) as refusal:
        df.iloc[0]
    assert "head(n)" in str(pickle.loads(pickle.dumps(refusal.value)))


@pytest.mark.parametrize("data", [{"a": [1]}, FRAME, [1, 2], None])
@pytest.mark.parametrize("kind", ["DataFrame", "Series"])
def test_a_collection_of_plain_data_is_refused_with_the_way(kind: str, data: Any) -> None:
    for make in (lambda: getattr(hd, kind)(data), lambda: getattr(hd, kind)(data, index=[1])):
        with pytest.raises(NotSupported, match=rf"howdah\.from_pandas\(pandas\.{kind}\(\.\.\.\)\)"):
            make()
