"""`.str` and `.dt` have pandas' signatures, and refuse what they lack where it is written."""

from __future__ import annotations

import inspect

import pandas as pd
import pytest

import howdah as hd
from howdah.engine.frame.accessors import DatetimeAccessor, StringAccessor
from howdah.engine.relational import functions
from howdah.errors import NotSupported, SchemaError

DATA = pd.DataFrame({"s": ["ab", "Ba", None], "t": pd.to_datetime(["2024-02-29", "2023-12-31", None])})


def public(cls: type) -> set[str]:
    return {name for name in dir(cls) if not name.startswith("_")}


def test_every_function_of_the_table_is_a_method_and_the_other_way_round() -> None:
    assert public(StringAccessor) == set(functions.TEXT)
    assert public(DatetimeAccessor) == {*functions.MOMENT, *functions.MOMENT_METHODS, *functions.SPAN}


@pytest.mark.parametrize("name", sorted(functions.TEXT))
def test_parameters_are_pandas(name: str) -> None:
    mine = list(inspect.signature(getattr(StringAccessor, name)).parameters)
    theirs = list(inspect.signature(getattr(pd.Series.str, name)).parameters)
    assert mine == [p for p in theirs if p in mine]


def test_defaults_and_positions_are_pandas() -> None:
    s, plain = hd.from_pandas(DATA).s, DATA.s
    pd.testing.assert_series_equal(s.str.pad(4).compute(), plain.str.pad(4))
    pd.testing.assert_series_equal(s.str.center(4, "-").compute(), plain.str.center(4, "-"))
    pd.testing.assert_series_equal(s.str.match("B", case=False).compute(), plain.str.match("B", case=False))
    pd.testing.assert_series_equal(s.str.replace("a", "x").compute(), plain.str.replace("a", "x"))
    pd.testing.assert_series_equal(s.str[0].compute(), plain.str[0])
    pd.testing.assert_series_equal(s.str[:1].compute(), plain.str[:1])


def test_what_is_not_there_is_refused_where_it_is_written() -> None:
    df = hd.from_pandas(DATA)
    for line, message in (
        (lambda: df.s.str.contains("a", na=True), r"\.str\.contains\(na=True\)"),
        (lambda: df.s.str.replace("a", len), "with a function: use map_partitions"),
        (lambda: df.s.str.extract("a"), r"Series\.str\.extract is not there yet"),
        (lambda: df.t.dt.tz_localize("UTC"), r"Series\.dt\.tz_localize is not there yet"),
    ):
        with pytest.raises(NotSupported, match=message):
            line()
    with pytest.raises(SchemaError, match=r"'t': \.str needs text"):
        _ = df.t.str
    with pytest.raises(SchemaError, match=r"'s': \.dt needs times"):
        _ = df.s.dt
    with pytest.raises(AttributeError):
        _ = df.s.str.no_such_name
