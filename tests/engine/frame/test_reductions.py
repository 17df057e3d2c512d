"""Sums and means of timedeltas, and statistics of Decimals: pandas' values and dtypes, or a refusal."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest

import howdah as hd
from howdah.errors import NotSupported


@pytest.fixture(params=["s", "ms", "us", "ns"])
def given(request: pytest.FixtureRequest) -> Any:
    random, n = np.random.default_rng(0), 300
    spans = pd.Series(pd.to_timedelta(random.integers(-(10**6), 10**6, n), unit="s").as_unit(request.param))
    prices = [None if i % 7 == 0 else Decimal(int(v)) / 100 for i, v in enumerate(random.integers(-999, 999, n))]
    frame = pd.DataFrame({"k": random.integers(0, 5, n), "span": spans, "price": prices})
    frame.loc[frame.k == 4, "span"] = pd.NaT
    frame.loc[0, "span"] = pd.NaT
    return frame


def test_timedeltas_are_summed_and_averaged(given: Any) -> None:
    for rows in (given, given[:1]):
        df = hd.from_pandas(rows, npartitions=3)
        for name in ("sum", "mean"):
            got, want = getattr(df.span, name)().compute(), getattr(rows.span, name)()
            assert (got is pd.NaT and want is pd.NaT) or (got, got.unit) == (want, want.unit)
            grouped = getattr(df.groupby("k").span, name)().compute()
            pd.testing.assert_series_equal(grouped, getattr(rows.groupby("k").span, name)())


def test_a_column_of_decimals_has_the_mean_of_floats(given: Any) -> None:
    df = hd.from_pandas(given, npartitions=3)
    for name in ("mean", "std", "var"):
        got, want = getattr(df.price, name)().compute(), getattr(given.price, name)()
        assert type(got) is type(want)
        assert got == pytest.approx(want, rel=1e-12)
    pd.testing.assert_series_equal(df.groupby("k").price.std().compute(), given.groupby("k").price.std())


@pytest.mark.parametrize("name", ["mean", "var"])
def test_groups_of_decimals_name_the_cast(given: Any, name: str) -> None:
    with pytest.raises(NotSupported, match=r'\.astype\("float64"\) first'):
        getattr(hd.from_pandas(given).groupby("k").price, name)()
