"""What a frame shows: rows as pandas prints them where they are cheap, otherwise columns; and progress of its work."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import howdah as hd
from howdah.engine.api import Client
from howdah.engine.frame import display

FRAME = pd.DataFrame({"x": range(100), "y": ["a", "<b>"] * 50})


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def df(tmp_path: Path) -> Any:
    FRAME.to_parquet(tmp_path / "t.parquet")
    return hd.read_parquet(tmp_path / "t.parquet")


def test_a_table_shows_its_first_rows_as_pandas_does(df: Any) -> None:
    rows, fact = repr(df).rsplit("\n", 1)
    assert rows == repr(FRAME.head())
    assert "the first 5 rows of 100 rows, 1 partition" in fact
    assert repr(df.x).startswith(repr(FRAME.x.head()))


def test_head_shows_its_rows(df: Any) -> None:
    assert repr(df.head(3)).startswith(repr(FRAME.head(3)))
    assert repr(df[df.x > 50].head(30)).startswith(repr(FRAME[FRAME.x > 50].head(30)))
    assert repr(hd.from_pandas(FRAME).head(2)).startswith(repr(FRAME.head(2)))


def test_html_has_rows_and_dtypes(df: Any) -> None:
    page = df.head(2)._repr_html_()
    assert FRAME.head(2)._repr_html_() in page
    assert "<td>x</td><td>int64</td>" in page


def test_an_expensive_plan_shows_its_columns(df: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(display, "MAX_BYTES", 10)
    for plan in (df, df[df.x > 1], df.groupby("y", as_index=False).x.sum(), df.sort_values("x"), df.merge(df, on="x")):
        assert repr(plan).startswith("<howdah DataFrame, not computed: head().compute()")
        assert "  x: int64" in repr(plan)
        assert "<td>x</td><td>int64</td>" in plan._repr_html_()


def test_a_repr_runs_no_function_of_the_user(df: Any) -> None:
    calls: list[int] = []
    mapped = df.map_partitions(lambda part: (calls.append(len(part)), part)[1], meta=FRAME.head(0))
    calls.clear()
    assert "not computed" in repr(mapped)
    assert "not computed" in repr(mapped.head())
    assert calls == []


def test_a_repr_of_what_cannot_be_read_says_why(df: Any, tmp_path: Path) -> None:
    (tmp_path / "t.parquet").unlink()
    assert "its rows cannot be shown" in repr(df)
    pd.DataFrame({"account": pd.array([1], "Int64")}).to_parquet(tmp_path / "i.parquet")
    assert "Int64 (the column 'account')" in repr(hd.read_parquet(tmp_path / "i.parquet"))


def test_progress_of_frames_in_this_process(df: Any) -> None:
    seen: list[tuple[int, int]] = []
    df.compute(progress=lambda done, total, name: seen.append((done, total)))
    df.x.sum().compute(progress=lambda done, total, name: seen.append((done, total)))
    assert [seen[0], seen[-1]] == [(1, 1), (1, 1)]
    for work in (df.compute, df.x.sum().compute, df.persist, lambda: hd.compute(df, df.x)):
        file = Terminal()
        with hd.ProgressBar(file, notebook=False):
            work()
        assert "100%" in file.getvalue()
    after = file.getvalue()
    df.compute()
    assert file.getvalue() == after  # the block has ended
    hd.progress(df.persist(), file=Terminal())


def test_progress_of_frames_on_a_cluster(df: Any) -> None:
    with Client(n_workers=1):
        file = Terminal()
        with hd.ProgressBar(file, notebook=False):
            assert len(df.compute()) == 100
        assert "100%" in file.getvalue()
        file, kept = Terminal(), df.persist()
        hd.progress(kept, file=file, notebook=False)
        assert "100%" in file.getvalue()
        assert "not computed" in repr(kept)
