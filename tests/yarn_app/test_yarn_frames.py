"""Frames on the real YARN: tasks beside their blocks, whole outputs, and mistakes in the user's words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from howdah.io import open_filesystem

pytestmark = pytest.mark.hadoop
Yarn = Any  # `conftest.Yarn`, which cannot be imported under pytest's importlib mode
FILES = 16


def write(url: str, frame: pd.DataFrame) -> None:
    """One Parquet file."""
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), sink)
    files, path = open_filesystem(url)
    files.mkdirs(path.rpartition("/")[0])
    files.create(path, sink.getvalue())


def part(number: int, rows: int = 200_000) -> pd.DataFrame:
    """Some MB of stored data: less in all would be one task. Sums are exact in any order."""
    random = np.random.default_rng(number)
    return pd.DataFrame(
        {
            "day": random.integers(0, 50, rows),
            "price": random.integers(1, 1 << 30, rows).astype("float64"),
            "discount": random.integers(0, 10, rows) / 16,
        }
    )


def test_tasks_run_beside_their_blocks_and_the_answer_is_pandas(yarn: Yarn) -> None:
    parts = [part(number) for number in range(FILES)]
    for number, frame in enumerate(parts):
        write(f"hdfs:///in/sales/part-{number:02}.parquet", frame)
    run = yarn.submit(yarn.job("revenue.py"), "hdfs:///in/sales", "hdfs:///out/revenue")
    assert run.code == 0, run.end["err"]
    whole = pd.concat(parts)
    expected = whole.assign(revenue=whole.price * (1 - whole.discount)).groupby("day").revenue.sum()
    assert json.loads(run.end["out"]) == {str(day): value for day, value in expected.nlargest(3).items()}
    files, path = open_filesystem("hdfs:///out/revenue")
    names = [one.path.rpartition("/")[2] for one in files.ls(path)]
    assert "_SUCCESS" in names
    tables = [pq.read_table(pa.BufferReader(files.open(f"{path}/{n}").read())) for n in names if n.endswith(".parquet")]
    pd.testing.assert_frame_equal(pa.concat_tables(tables).to_pandas().sort_index(), expected.to_frame())
    placed, size = run.end["placed"], run.end["bytes"]
    scans = sum(placed.values())
    assert scans >= FILES
    assert placed["node"] >= 0.9 * scans, placed
    assert size["node"] > size["rack"] + size["remote"]
    yarn.nothing_left(run.app_id)


def test_mistakes_are_told_in_the_users_words(yarn: Yarn, tmp_path: Path) -> None:
    good = pd.DataFrame({"key": [1, 2], "value": [1.0, 2.0]})
    write("hdfs:///mistakes/table/a.parquet", good)
    write("hdfs:///mistakes/there/a.parquet", good)
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pandas(good), sink)
    files, path = open_filesystem("hdfs:///mistakes/broken")
    files.mkdirs(path)
    files.create(f"{path}/b.parquet", sink.getvalue()[:-20])
    run = yarn.submit(yarn.job("mistakes.py"), "hdfs:///mistakes")
    assert run.code == 0, run.end["err"]
    output = json.loads(run.end["out"])
    assert output["rows"] == 2, "the application goes on after a mistake"
    errors = output["errors"]
    missing = errors["missing input"]
    assert (missing["type"], "/mistakes/nix" in missing["text"]) == ("PathMissing", True)
    broken = errors["truncated"]
    assert (broken["type"], "/mistakes/broken/b.parquet" in broken["text"]) == ("CorruptFile", True)
    unknown = errors["unknown column"]
    assert "UnknownColumn" in unknown["kinds"]
    assert "did you mean 'value'?" in unknown["text"]
    source = Path(yarn.job("mistakes.py")).read_text().splitlines()
    assert "table.valeu" in source[unknown["line"] - 1], "raised on the line that writes it"
    exists = errors["output exists"]
    assert (exists["type"], "/mistakes/there" in exists["text"]) == ("PathExists", True)
    assert yarn.list_hdfs("/mistakes/there") == ["a.parquet"]
    yarn.nothing_left(run.app_id)
