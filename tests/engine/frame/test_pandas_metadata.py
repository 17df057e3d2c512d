"""What pandas wrote beside the columns of a file, dtypes and indexes: honoured, or refused by name; never dropped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import howdah as hd
from howdah.errors import NotSupported

EXTENSIONS: dict[str, Any] = {
    "Int64": pd.array([2**60 + 1, None], "Int64"),
    "Int32": pd.array([1, 2], "Int32"),
    "boolean": pd.array([True, None], "boolean"),
    "string": pd.array(["a", None], "string"),
    "Float64": pd.array([1.5, None], "Float64"),
    "int64[pyarrow]": pd.array([1, None], "int64[pyarrow]"),
    "timestamp[us][pyarrow]": pd.array([pd.Timestamp(0), None], "timestamp[us][pyarrow]"),
    "dictionary": pd.Categorical(["b", "a"], categories=["b", "a"], ordered=True),
    "period": pd.period_range("2024", periods=2, freq="D"),
    "interval": pd.arrays.IntervalArray.from_breaks([0, 1, 2]),
}


@pytest.mark.parametrize("dtype", EXTENSIONS)
def test_an_extension_dtype_is_refused_by_name_where_it_is_used(dtype: str, tmp_path: Path) -> None:
    pd.DataFrame({"account": EXTENSIONS[dtype], "x": [1, 2]}).to_parquet(tmp_path / "a.parquet")
    df = hd.read_parquet(tmp_path / "a.parquet")
    uses = [
        df.compute,
        df[df.x > 0].compute,
        lambda: df.account.sum().compute(),
        lambda: df.account.min().compute(),
        lambda: df.account.count().compute(),
        lambda: df.account.isna().compute(),
        lambda: df.account == 1,
        lambda: df.groupby("account").x.sum().compute(),
        lambda: df.sort_values("account").compute(),
        lambda: df.to_parquet(tmp_path / "out"),
        lambda: hd.read_parquet(tmp_path / "a.parquet", columns=["account"]).compute(),
    ]
    for number, use in enumerate(uses):
        with pytest.raises(NotSupported) as refusal:
            use()
        assert all(word in str(refusal.value) for word in ("'account'", dtype.split("[")[0])), (number, refusal.value)
        assert "columns=[...]" in str(refusal.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("dtype", EXTENSIONS)
def test_an_extension_dtype_beside_the_columns_that_are_used_does_no_harm(dtype: str, tmp_path: Path) -> None:
    pd.DataFrame({"account": EXTENSIONS[dtype], "x": [1, 2]}).to_parquet(tmp_path / "a.parquet")
    assert hd.read_parquet(tmp_path / "a.parquet").x.sum() == 3
    got = hd.read_parquet(tmp_path / "a.parquet", columns=["x"])
    pd.testing.assert_frame_equal(got.compute(), pd.DataFrame({"x": [1, 2]}))


def test_the_dtype_of_a_later_file_counts_too(tmp_path: Path) -> None:
    pd.DataFrame({"account": [1]}).to_parquet(tmp_path / "a.parquet")
    pd.DataFrame({"account": pd.array([2**60 + 1], "Int64")}).to_parquet(tmp_path / "b.parquet")
    with pytest.raises(NotSupported, match=r"Int64 \(the column 'account'\)"):
        hd.read_parquet(tmp_path).account.sum().compute()


def test_an_index_of_an_extension_dtype_is_refused(tmp_path: Path) -> None:
    index = pd.Index(pd.array([2**60 + 1, None], "Int64"), name="id")
    pd.DataFrame({"x": [1, 2]}, index=index).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(NotSupported, match=r"Int64 \(the column 'id'\)"):
        hd.read_parquet(tmp_path / "a.parquet").compute()


INDEXES: dict[str, Any] = {
    "named": pd.RangeIndex(3, name="id"),
    "start": pd.RangeIndex(3, 6),
    "step": pd.RangeIndex(10, 4, -2, name="id"),
    "number as a name": pd.RangeIndex(3, 6, name="7"),
    "text": pd.Index(["a", "b", "a"], name="key"),
    "times": pd.date_range("2024", periods=3, tz="Asia/Kolkata", unit="us"),
    "two levels": pd.MultiIndex.from_tuples([(1, "a"), (1, "b"), (2, "a")], names=["p", None]),
}


@pytest.mark.parametrize("kind", INDEXES)
def test_an_index_is_read_as_pandas_reads_it(kind: str, tmp_path: Path) -> None:
    pd.DataFrame({"c": [10, 20, 30]}, index=INDEXES[kind]).to_parquet(tmp_path / "a.parquet")
    want, df = pd.read_parquet(tmp_path / "a.parquet"), hd.read_parquet(tmp_path / "a.parquet")
    pd.testing.assert_frame_equal(df.compute(), want)
    pd.testing.assert_frame_equal(df[df.c > 10].compute(), want[want.c > 10])
    pd.testing.assert_frame_equal(df.tail(2).compute(), want.tail(2))
    pd.testing.assert_frame_equal(df.reset_index().compute(), want.reset_index())
    pd.testing.assert_series_equal((df.c * 2).compute(), want.c * 2)
    df.to_parquet(tmp_path / "out")
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "out"), want)


def test_a_range_of_one_file_is_no_index_of_a_folder(tmp_path: Path) -> None:
    for number, name in enumerate("ab"):
        index = pd.RangeIndex(number, number + 2, name="id")
        pd.DataFrame({"c": [1, 2]}, index=index).to_parquet(tmp_path / f"{name}.parquet")
    pd.testing.assert_frame_equal(hd.read_parquet(tmp_path).compute(), pd.read_parquet(tmp_path))
