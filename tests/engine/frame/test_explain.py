"""`explain()` tells before anything runs: what is read, in how many tasks, what is pandas, what the data decides."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import howdah as hd
from howdah.engine.execution import dispatch as execute
from howdah.engine.plan.options import compile_options


@pytest.fixture
def df(tmp_path: Path) -> Any:
    folder = tmp_path / "sales"
    folder.mkdir()
    for i in range(3):
        frame = pd.DataFrame({"day": [i, i + 1], "name": ["a", None], "price": [1.5, 2.5], "memo": ["long", "text"]})
        frame.to_parquet(folder / f"{i}.parquet")
    return hd.read_parquet(folder)


def parts(text: str) -> tuple[str, str, str]:
    written, rest = text.split("optimised:")
    optimised, layers = rest.split("layers, on ", 1)
    return written, optimised, layers


def test_computes_nothing(df: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execute, "compute_graph", lambda *a, **k: pytest.fail("something was computed"))
    assert "group by name" in df.groupby("name").price.sum().explain()


def test_shows_the_filter_in_the_scan_and_only_the_columns_that_are_read(df: Any) -> None:
    df = df.assign(total=df.price * 2)
    written, optimised, _ = parts(df[df.day >= 2].groupby("name").total.sum().explain())
    assert "memo" in written
    assert "memo" not in optimised
    (scan,) = [line for line in optimised.splitlines() if "scan" in line]
    assert scan.endswith("day, name, price [day >= 2]")


def test_a_small_table_is_one_task(df: Any) -> None:
    _, _, layers = parts(df.groupby("name").price.sum().explain())
    assert "1. scan+group+derive: 1 task," in layers
    assert "2. " not in layers


def test_a_large_table_is_a_task_per_split_and_a_tree(df: Any) -> None:
    with compile_options(single_task_bytes=-1, split_bytes=1, local_memory_share=-1):
        _, _, layers = parts(df.groupby("name").price.sum().explain())
        assert "1. scan+partial sums: 3 tasks" in layers
        assert "(takes 8 to one of 1)" in layers
        assert df.npartitions == 3


def test_parts_that_run_as_pandas_are_listed(df: Any) -> None:
    assert "runs as pandas" not in df.assign(n=df.name.str.len()).explain()
    text = df.assign(n=df.name.str.title()).explain()
    assert "runs as pandas on each partition:\n  name.str.title()" in text
    assert "map partitions, as pandas: sized" in df.map_partitions(sized).explain()


def sized(frame: pd.DataFrame) -> pd.DataFrame:
    return frame


def test_dtypes_that_the_data_decides_are_listed(df: Any) -> None:
    days = df.groupby("day", as_index=False).agg(n=("price", "count"))
    text = df.merge(days, on="day", how="left").explain()
    assert "n.astype('int64'): float64 if any n.isna(), otherwise int64" in text


def test_the_side_of_a_join_that_is_sent_is_named(df: Any) -> None:
    days = df.groupby("day", as_index=False).agg(n=("price", "count"))
    assert "inner join on day, right side to every task" in df.merge(days, on="day").explain()
