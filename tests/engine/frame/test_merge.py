"""Joins give pandas' rows, labels and dtypes; keys that cannot be compared are refused."""

from __future__ import annotations

import pandas as pd
import pytest

import howdah as hd
from howdah.errors import NotSupported, SchemaError

LEFT = pd.DataFrame({"k": [2, 1, 3, 2], "x": [10, 20, 30, 40], "t": ["a", "b", "c", "d"]})
RIGHT = pd.DataFrame({"k": [2, 2, 4], "x": [1, 2, 3], "b": [True, False, True]})


@pytest.mark.parametrize("how", ["inner", "left", "right", "outer"])
@pytest.mark.parametrize("keys", [{"on": "k"}, {"left_on": "x", "right_on": "k"}, {"on": ["k", "x"]}, {}], ids=str)
def test_rows_and_labels_are_pandas(how: str, keys: dict[str, object]) -> None:
    got = hd.from_pandas(LEFT).merge(hd.from_pandas(RIGHT), how=how, **keys).compute()
    pd.testing.assert_frame_equal(got, LEFT.merge(RIGHT, how=how, **keys))


def test_suffixes_and_named_levels() -> None:
    left, right = hd.from_pandas(LEFT), hd.from_pandas(RIGHT)
    want = LEFT.merge(RIGHT, on="k", suffixes=("", "_right"))
    pd.testing.assert_frame_equal(left.merge(right, on="k", suffixes=("", "_right")).compute(), want)
    totals = right.groupby("k").x.sum()
    pd.testing.assert_frame_equal(
        left.merge(totals, on="k").compute(), LEFT.merge(RIGHT.groupby("k").x.sum().reset_index(), on="k")
    )


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"left_on": "t", "right_on": "k"}, SchemaError, r"left key 't' is str, the right key 'k' is int64"),
        ({"on": "k", "left_on": "k"}, SchemaError, "not both"),
        ({"left_on": "k"}, SchemaError, "give both"),
        ({"left_on": ["k", "x"], "right_on": ["k"]}, SchemaError, "2 keys on the left and 1 on the right"),
        ({"on": "k", "suffixes": ("", "")}, SchemaError, "two columns 'x'"),
        ({"how": "cross"}, NotSupported, "there are inner, left, right, outer"),
        ({"on": "k", "indicator": True}, NotSupported, r"indicator=True"),
        ({"left_index": True, "right_on": "k"}, NotSupported, r"left_index=True"),
    ],
    ids=str,
)
def test_what_is_wrong_is_refused(options: dict[str, object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        hd.from_pandas(LEFT).merge(hd.from_pandas(RIGHT), **options)


def test_only_frames_of_howdah_are_joined() -> None:
    with pytest.raises(NotSupported, match=r"use howdah\.from_pandas"):
        hd.from_pandas(LEFT).merge(RIGHT, on="k")
