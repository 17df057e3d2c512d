"""Random small tables through random pipelines: howdah's answer is pandas' answer, in one stage and in many tasks."""

from __future__ import annotations

import datetime as dt
import decimal
import itertools
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import howdah as hd
from howdah.engine.frame.collection import state_of
from howdah.engine.plan.options import compile_options
from howdah.errors import NotSupported, SchemaError

TYPES = {
    "i": pa.int64(), "n": pa.int64(), "i32": pa.int32(), "u8": pa.uint8(), "f": pa.float64(), "b": pa.bool_(),
    "s": pa.string(), "k": pa.string(), "t": pa.timestamp("us"), "d": pa.date32(), "m": pa.decimal128(15, 2),
}  # fmt: skip

MOMENTS = [dt.datetime(2020, 1, 1), dt.datetime(1999, 12, 31, 23, 59, 59, 5), dt.datetime(2020, 2, 29, 12)]
SMALL_INTS = st.integers(-3, 3)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "i": st.one_of(SMALL_INTS, st.integers(-(2**40), 2**40)),
    "n": st.one_of(st.none(), SMALL_INTS),
    "i32": st.one_of(SMALL_INTS, st.just(2**31 - 1)),
    "u8": st.integers(0, 255),
    "f": st.one_of(st.none(), st.sampled_from([0.0, -0.0, 1.5, -2.25, 1e10, np.inf, -np.inf, np.nan])),
    "b": st.booleans(),
    "s": st.one_of(st.none(), st.sampled_from(["", "a", "ab", "B", "ä", "zz top"])),
    "k": st.sampled_from(["x", "y", "z"]),
    "t": st.one_of(st.none(), st.sampled_from(MOMENTS)),
    "d": st.one_of(st.none(), st.sampled_from([dt.date(2020, 1, 1), dt.date(1995, 3, 15), dt.date(1970, 1, 1)])),
    "m": st.one_of(st.none(), st.decimals(-999, 999, places=2)),
}  # fmt: skip

ROW = st.fixed_dictionaries(VALUES)
NUMBERS = ("int64", "float64", "int32", "uint8", "int8")


@pytest.fixture(params=["one stage", "many tasks"])
def shape(request: pytest.FixtureRequest) -> Iterator[str]:
    small = {"single_task_bytes": -1, "split_bytes": 1, "fan_in": 2, "local_memory_share": -1}
    with compile_options(**small if request.param == "many tasks" else {}):
        yield request.param


def write(folder: Path, rows: list[dict[str, Any]], cuts: list[int], group: int, statistics: bool = True) -> Any:
    """Files of the rows cut at `cuts`, with row groups of `group` rows; and what pandas reads from them."""
    folder.mkdir()
    bounds = sorted({0, len(rows), *(min(c, len(rows)) for c in cuts)})
    files = []
    for i, (a, b) in enumerate(list(itertools.pairwise(bounds)) or [(0, 0)]):
        table = pa.table({c: pa.array([r[c] for r in rows[a:b]], t) for c, t in TYPES.items()})
        pq.write_table(table, folder / f"part-{i:02}.parquet", row_group_size=group, write_statistics=statistics)
        files.append(folder / f"part-{i:02}.parquet")
    return pd.read_parquet(files).reset_index(drop=True)


def pick(draw: Any, frame: Any, *kinds: str) -> str | None:
    found = [c for c in frame.columns if not kinds or str(frame[c].dtype) in kinds]
    return draw(st.sampled_from(found)) if found else None


def step(draw: Any, want: Any, other: Any) -> Any:
    """A function of (frame, other frame) that both pandas and howdah can run."""
    what = draw(st.sampled_from(STEPS))
    return what(draw, want, other)


def arithmetic(draw: Any, want: Any, other: Any) -> Any:
    a, b = pick(draw, want, *NUMBERS), pick(draw, want, *NUMBERS)
    op = draw(st.sampled_from(["+", "-", "*", "/", "//", "%"]))
    scalar = draw(st.one_of(st.none(), st.sampled_from([1, 2, -3, 0, 0.5, 2.0])))
    name = draw(st.sampled_from(["z", "i"]))
    if a is None or b is None:
        return None

    def run(df: Any, _: Any) -> Any:
        right = df[b] if scalar is None else scalar
        ops = {"+": lambda x, y: x + y, "-": lambda x, y: x - y, "*": lambda x, y: x * y, "/": lambda x, y: x / y,
               "//": lambda x, y: x // y, "%": lambda x, y: x % y}  # fmt: skip
        return df.assign(**{name: ops[op](df[a], right)})

    return run


def scalars(draw: Any, want: Any, other: Any) -> Any:
    value = draw(st.sampled_from([1, 2.5, True, "x", dt.date(2020, 1, 1), decimal.Decimal("1.50"), pd.Timestamp(0)]))
    name = draw(st.sampled_from(["z", "i", "k"]))
    return lambda df, _: df.assign(**{name: value})


def decimals(draw: Any, want: Any, other: Any) -> Any:
    if "m" not in want.columns or want["m"].dtype != object:
        return None
    values = [v for v in want["m"] if isinstance(v, decimal.Decimal)]
    if any(abs(v) > 1_000_000 or int(v.as_tuple().exponent) < -4 for v in values):
        return None  # Python would round to 28 digits soon; test_lowering.py has what ours does with 38 and more
    return lambda df, _: df.assign(m=df["m"] * (1 - df["m"]) + decimal.Decimal("0.125"))


def texts(draw: Any, want: Any, other: Any) -> Any:
    s = pick(draw, want, "str")
    how = draw(st.sampled_from(["upper", "len", "contains", "startswith", "add", "title", "slice"]))
    if s is None:
        return None

    def run(df: Any, _: Any) -> Any:
        c = df[s]
        made = {"upper": c.str.upper, "len": c.str.len, "contains": lambda: c.str.contains("a"),
                "startswith": lambda: c.str.startswith("a"), "add": lambda: c + "!", "title": c.str.title,
                "slice": lambda: c.str[:1]}  # fmt: skip
        return df.assign(z=made[how]())

    return run


def times(draw: Any, want: Any, other: Any) -> Any:
    t = pick(draw, want, "datetime64[us]")
    part = draw(st.sampled_from(["year", "month", "hour", "date", "quarter"]))
    if t is None:
        return None
    # pandas gives the dates of a column without any as datetime64[s], not as objects; howdah always as objects
    assume(part != "date" or len(want) == 0 or want[t].notna().any())
    return lambda df, _: df.assign(z=getattr(df[t].dt, part))


def keep(draw: Any, want: Any, other: Any) -> Any:
    c = pick(draw, want)
    values = {"str": ["a", "y"], "bool": [True], "datetime64[us]": [pd.Timestamp("2000-01-01")],
              "object": [dt.date(1995, 3, 15), decimal.Decimal("1.50")]}  # fmt: skip
    op = draw(st.sampled_from(["==", "!=", "<", ">=", "isna", "notna", "isin"]))
    negate = draw(st.booleans())
    if c is None:
        return None
    kind = str(want[c].dtype)
    if kind == "object":
        kinds = {type(v) for v in want[c].dropna()}
        assume(len(kinds) <= 1)
        value: Any = {dt.date: dt.date(1995, 3, 15), decimal.Decimal: decimal.Decimal("1.50")}.get(
            next(iter(kinds), int), 1
        )
    else:
        value = draw(st.sampled_from(values.get(kind, [0, 1, -2, 1.5])))

    def run(df: Any, _: Any) -> Any:
        x = df[c]
        mask = {"==": lambda: x == value, "!=": lambda: x != value, "<": lambda: x < value, ">=": lambda: x >= value,
                "isna": x.isna, "notna": x.notna, "isin": lambda: x.isin([value])}[op]()  # fmt: skip
        return df[~mask] if negate else df[mask]

    return run


def clean(draw: Any, want: Any, other: Any) -> Any:
    f = pick(draw, want, "float64")
    how = draw(st.sampled_from(["fillna", "dropna", "round", "abs", "astype", "clip", "rename", "drop", "isna"]))
    first = pick(draw, want)
    if f is None or first is None:
        return None
    made = {
        "fillna": lambda df: df.assign(z=df[f].fillna(0)), "dropna": lambda df: df.dropna(subset=[f]),
        "round": lambda df: df.assign(z=df[f].round(1)), "abs": lambda df: df.assign(z=df[f].abs()),
        "astype": lambda df: df.assign(z=df[f].astype("float32").astype("float64")),
        "clip": lambda df: df.assign(z=df[f].clip(-1, 2.5)), "rename": lambda df: df.rename(columns={f: "q"}),
        "drop": lambda df: df.drop(columns=[first]), "isna": lambda df: df.assign(z=df[first].isna()),
    }  # fmt: skip
    assume(how != "rename" or "q" not in want.columns)
    return lambda df, _: made[how](df)


def group(draw: Any, want: Any, other: Any) -> Any:
    keys = [k for k in (pick(draw, want), pick(draw, want)) if k is not None]
    keys = list(dict.fromkeys(keys))[: draw(st.integers(1, 2))]
    values = [c for c in want.columns if c not in keys]
    if not keys or not values:
        return None
    named = {}
    for i in range(draw(st.integers(1, 3))):
        c = draw(st.sampled_from(values))
        names = ["count", "size", "min", "max", "nunique", "first", "last"]
        if str(want[c].dtype) in (*NUMBERS, "bool"):
            names += ["sum", "mean", "sum", "mean", "std", "var"]
        named[f"a{i}"] = (c, draw(st.sampled_from(names)))
    options = {"sort": draw(st.booleans()), "as_index": draw(st.booleans()), "dropna": draw(st.booleans())}
    if not options["dropna"]:
        # pandas may or may not put the group of missing keys where it was first seen
        options["sort"] = True
        assume(not any(want[k].dtype == object for k in keys))
    return lambda df, _: df.groupby(keys, **options).agg(**named)


def join(draw: Any, want: Any, other: Any) -> Any:
    how = draw(st.sampled_from(["inner", "left", "right", "outer"]))
    k = draw(st.sampled_from(["k", "i", "s", "d", "f", "t", "b"]))
    columns = list(dict.fromkeys([k, *draw(st.lists(st.sampled_from(["i", "b", "f", "s", "u8", "d"]), max_size=3))]))
    assume(k in want.columns and want[k].dtype == other[k].dtype and len(want) * len(other) <= 2000)
    assume(not {c + x for c in columns for x in ("_x", "_y")} & set(want.columns))
    if draw(st.booleans()):
        return lambda df, small: df.merge(small[columns], on=k, how=how)
    renamed = {c: f"o_{c}" for c in columns}
    assume(not set(renamed.values()) & set(want.columns))
    return lambda df, small: df.merge(small[columns].rename(columns=renamed), left_on=k, right_on=f"o_{k}", how=how)


def order(draw: Any, want: Any, other: Any) -> Any:
    n = draw(st.integers(0, 6))
    numbers = pick(draw, want, *NUMBERS, "datetime64[us]")
    by = [c for c in (pick(draw, want), pick(draw, want)) if c is not None and want[c].dtype != object]
    by = list(dict.fromkeys(by))
    how = draw(st.sampled_from(["nlargest", "nsmallest", "sort", "stable", "head", "tail", "reset", "head"]))
    ascending = draw(st.booleans())
    if how in ("nlargest", "nsmallest"):
        return None if numbers is None else lambda df, _: getattr(df, how)(n, numbers)
    if how in ("sort", "stable"):
        kind = "quicksort" if how == "sort" else "stable"
        # by several columns pandas 3 takes a missing float to be an infinite one, if missing ones come first
        last = draw(st.sampled_from(["last", "first"])) if len(by) == 1 else "last"
        return None if not by else lambda df, _: df.sort_values(by, ascending=ascending, kind=kind, na_position=last)
    if how == "reset":
        assume("index" not in want.columns and not set(want.index.names) & set(want.columns))
        return lambda df, _: df.reset_index(drop=want.index.nlevels > 1)
    return lambda df, _: getattr(df, how)(n)


STEPS = [arithmetic, arithmetic, scalars, decimals, texts, times, keep, keep, clean, group, group, join, order, order]


def run_both(draw: Any, got: Any, want: Any, other: Any, small: Any) -> tuple[Any, Any, list[str]]:
    """A random pipeline on both; where howdah refuses a step, the step is left out."""
    story: list[str] = []
    for _ in range(draw(st.integers(1, 4))):
        change = step(draw, want, other)
        if change is None:
            continue
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                after = change(want, other)
        except (TypeError, ValueError, KeyError, OverflowError, AttributeError):
            continue
        try:
            got = change(got, small)
        except (NotSupported, SchemaError) as refused:
            story.append(f"refused: {refused}")
            continue
        want = after
        story.append(change.__qualname__.split(".")[0])
    return got, want, story


def plain(frame: Any) -> Any:
    """Which missing value stands in an object column (None, NaN, NaT) is pandas' accident after a join: None here."""
    out = frame.copy()
    for c in out.columns[[d.kind == "O" for d in out.dtypes]]:
        out[c] = out[c].where(out[c].notna(), None)
    return out


def same(got: Any, want: Any) -> None:
    check: Any = False if len(want) == 0 else "equiv"  # an empty level of objects has no type to compare
    pd.testing.assert_frame_equal(plain(got), plain(want), rtol=1e-9, check_index_type=check, check_column_type=False)
    if want.index.nlevels == 1:
        assert got.index.dtype == want.index.dtype


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow,
                                                            HealthCheck.data_too_large, HealthCheck.filter_too_much],
)  # fmt: skip
@given(data=st.data())
def test_random_pipelines(shape: str, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    draw = data.draw
    folder = tmp_path_factory.mktemp("table")
    rows = draw(st.lists(ROW, max_size=24))
    want = write(
        folder / "big",
        rows,
        draw(st.lists(st.integers(0, 24), max_size=3)),
        draw(st.integers(1, 9)),
        draw(st.booleans()),
    )
    other = write(folder / "small", draw(st.lists(ROW, max_size=6)), [], 9)
    big, small = hd.read_parquet(folder / "big"), hd.read_parquet(folder / "small")
    first = want
    got, want, story = run_both(draw, big, want, other, small)
    try:
        found = got.compute(scheduler="inline")
        same(found, want)
        c = pick(draw, want, *NUMBERS, "bool")
        if c is not None and state_of(got[c]).expression.dtype.kind != "anybool":
            for name in ("sum", "mean", "max", "count"):
                reduced, expected = getattr(got[c], name)().compute(scheduler="inline"), getattr(want[c], name)()
                pd.testing.assert_series_equal(pd.Series([reduced]), pd.Series([expected]), rtol=1e-9)
    except Exception as error:
        error.add_note(f"{story}\n{first.to_string()}\n{other.to_string()}\nwant:\n{want.to_string()}\n{got.explain()}")
        raise


def test_reads_as_pandas_does(shape: str, tmp_path: Path) -> None:
    full: dict[str, Any] = {"i": 2, "n": 5, "i32": 1, "u8": 1, "f": 2.0, "b": False, "s": "a", "k": "y"}
    full |= {"t": dt.datetime(2020, 1, 1), "d": dt.date(2020, 1, 1), "m": decimal.Decimal("1.50")}
    holes = full | {"i": 1, "b": True} | dict.fromkeys(["n", "f", "s", "t", "d", "m"])
    rows = [holes, full, full | {"i": 3, "f": np.nan, "s": "ä", "m": decimal.Decimal("0.01")}]
    want = write(tmp_path / "t", rows, [1], 1)
    got = hd.read_parquet(tmp_path / "t")
    same(got.compute(), want)
    assert list(got.dtypes.astype(str)) == list(want.dtypes.astype(str))
    same(got[got.i > 1].compute(), want[want.i > 1])
