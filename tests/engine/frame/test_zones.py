"""Times in several zones: moments are compared, as in pandas; zones of a fixed offset (+05:30) are pandas' as well."""

from __future__ import annotations

import datetime as dt
import operator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest

import howdah as hd
from howdah.errors import NotSupported, SchemaError

INDIA = dt.timezone(dt.timedelta(hours=5, minutes=30))
MOMENT = pd.Timestamp("2024-03-10 05:00", tz="UTC")
MOMENTS = (MOMENT, MOMENT.to_pydatetime(), MOMENT.tz_convert("Europe/Berlin"), MOMENT.tz_convert(INDIA))
COLUMNS = ("utc", "india", "new_york", "naive")


@pytest.fixture
def given() -> Any:
    utc = (
        pd.to_datetime(["2024-03-10 05:00", None, "2024-07-01 12:00"], utc=True).as_unit("us").to_series(index=range(3))
    )
    times = {"utc": utc, "india": utc.dt.tz_convert(INDIA), "new_york": utc.dt.tz_convert("America/New_York")}
    return pd.DataFrame({**times, "naive": utc.dt.tz_localize(None), "x": [1, 2, 3]})


@pytest.fixture(params=["file", "rows"])
def df(request: pytest.FixtureRequest, given: Any, tmp_path: Path) -> Any:
    if request.param == "rows":
        return hd.from_pandas(given, npartitions=2)
    given.to_parquet(tmp_path / "t.parquet")
    return hd.read_parquet(tmp_path / "t.parquet")


def test_moments_of_other_zones_compare_as_in_pandas(df: Any, given: Any) -> None:
    for name in COLUMNS[:3]:
        for moment in MOMENTS:
            for op in (operator.lt, operator.ge, operator.eq, operator.ne, operator.sub):
                pd.testing.assert_series_equal(op(df[name], moment).compute(), op(given[name], moment))
            pd.testing.assert_frame_equal(df[df[name] <= moment].compute(), given[given[name] <= moment])
            for method, args in {"between": (moment, moment), "isin": ([moment],), "fillna": (moment,)}.items():
                got, want = (getattr(frame[name], method)(*args) for frame in (df, given))
                pd.testing.assert_series_equal(got.compute(), want)
            pd.testing.assert_frame_equal(df.assign(k=moment).compute(), given.assign(k=moment))


def test_columns_of_other_zones_meet_as_in_pandas(df: Any, given: Any) -> None:
    for a in COLUMNS[:3]:
        for b in COLUMNS[:3]:
            for op in (operator.lt, operator.eq, operator.ne, operator.sub):
                pd.testing.assert_series_equal(op(df[a], df[b]).compute(), op(given[a], given[b]))
            pd.testing.assert_series_equal(df[a].fillna(df[b]).compute(), given[a].fillna(given[b]))


def test_naive_times_never_equal_moments(df: Any, given: Any) -> None:
    for name in COLUMNS[:3]:
        for op in (operator.eq, operator.ne):
            pd.testing.assert_series_equal(op(df.naive, df[name]).compute(), op(given.naive, given[name]))
            pd.testing.assert_series_equal(op(df.naive, MOMENT).compute(), op(given.naive, MOMENT))
        with pytest.raises(SchemaError, match="naive"):
            df.naive.lt(df[name])


def test_keys_of_two_zones_are_refused_with_the_cast_that_helps(df: Any, given: Any) -> None:
    right = given[["india"]].rename(columns={"india": "utc"})
    with pytest.raises(SchemaError, match=r"\.astype one of them.*the zone"):
        df[["utc", "x"]].merge(hd.from_pandas(right), on="utc")
    right["utc"] = right.utc.astype(given.utc.dtype)
    got = df[["utc", "x"]].merge(hd.from_pandas(given[["india"]]).assign(
        utc=lambda d: d.india.astype("datetime64[us, UTC]"))[["utc"]], on="utc")  # fmt: skip
    pd.testing.assert_frame_equal(got.compute(), given[["utc", "x"]].merge(right, on="utc"))


@pytest.mark.filterwarnings("ignore:Series.dt")
def test_the_parts_of_times_are_those_of_their_zone(df: Any, given: Any) -> None:
    for name in COLUMNS:
        for part in ("year", "hour", "minute", "day", "date", "day_of_week"):
            pd.testing.assert_series_equal(getattr(df[name].dt, part).compute(), getattr(given[name].dt, part))
        for method, args in {"normalize": (), "day_name": (), "floor": ("D",), "strftime": ("%d %H:%M %z",)}.items():
            got, want = (getattr(frame[name].dt, method)(*args) for frame in (df, given))
            pd.testing.assert_series_equal(got.compute(), want)
        day = pd.Timedelta(1, "D")
        pd.testing.assert_series_equal((df[name] + day).compute(), given[name] + day)


def test_times_of_a_zone_are_keys_labels_and_results(df: Any, given: Any) -> None:
    for name in COLUMNS:
        pd.testing.assert_series_equal(df.groupby(name).x.sum().compute(), given.groupby(name).x.sum())
        pd.testing.assert_series_equal(df.groupby("x")[name].max().compute(), given.groupby("x")[name].max())
        pd.testing.assert_frame_equal(df.sort_values(name).compute(), given.sort_values(name))
        pd.testing.assert_frame_equal(df.set_index(name).compute(), given.set_index(name))
        assert df[name].max().compute() == given[name].max()


def test_a_fixed_offset_survives_writing(df: Any, given: Any, tmp_path: Path) -> None:
    df.to_parquet(tmp_path / "out")
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "out"), given)
    assert (
        str(pq.read_schema(next((tmp_path / "out").glob("*.parquet"))).field("india").type)
        == "timestamp[us, tz=+05:30]"
    )


def test_a_fixed_offset_beside_the_columns_that_are_used_does_no_harm(given: Any, tmp_path: Path) -> None:
    given.to_parquet(tmp_path / "t.parquet")
    assert hd.read_parquet(tmp_path / "t.parquet", columns=["x"]).x.sum() == 6


def test_a_zone_without_a_name_is_refused(given: Any) -> None:
    class Odd(dt.tzinfo):
        def utcoffset(self, when: Any) -> dt.timedelta:
            return dt.timedelta(hours=1)

        def dst(self, when: Any) -> dt.timedelta:
            return dt.timedelta(0)

        def __str__(self) -> str:
            return "Odd"

    with pytest.raises(NotSupported, match=r"'t'.*'Odd'"):
        hd.from_pandas(pd.DataFrame({"t": given.utc.dt.tz_convert(Odd())}))
