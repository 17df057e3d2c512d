"""The index of a frame: known names, labels on request."""

from __future__ import annotations

import pandas as pd
import pytest

import howdah as hd
from howdah.errors import NotSupported

DATA = pd.DataFrame({"k": ["b", "a"], "j": [1, 2], "x": [1, 2]})


def test_labels_are_pandas() -> None:
    df = hd.from_pandas(DATA)
    for here, there in (
        (df, DATA), (df[df.x > 1], DATA[DATA.x > 1]), (df.set_index(["k", "j"]), DATA.set_index(["k", "j"])),
        (df.groupby("k").x.sum(), DATA.groupby("k").x.sum()),
    ):  # fmt: skip
        pd.testing.assert_index_equal(here.index.compute(), there.index, exact="equiv")
        assert list(here.index.names) == list(there.index.names)
        assert (here.index.nlevels, here.index.name) == (there.index.nlevels, there.index.name)


def test_dtypes_are_known_before() -> None:
    assert hd.from_pandas(DATA).set_index(["k", "j"]).index.dtypes == ["str", "int64"]


def test_what_is_not_there_raises() -> None:
    index = hd.from_pandas(DATA).index
    with pytest.raises(NotSupported, match=r"Index\.get_loc is not there yet"):
        index.get_loc(0)
    assert repr(index) == "<howdah Index [None], not computed>"
