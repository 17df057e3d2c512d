"""A table of ten row groups in two files, and a count of what is read of it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from howdah.engine.plan.options import compile_options
from howdah.io import ParquetSplit, ParquetTable

ROWS = 100
GROUP = 10


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Two files of five row groups each; `n` and `day` rise, `k` repeats, `half` is missing in the second file."""
    path = tmp_path / "table"
    path.mkdir()
    frame = pd.DataFrame(
        {
            "n": range(ROWS),
            "day": [dt.date(2020, 1, 1) + dt.timedelta(days=i) for i in range(ROWS)],
            "k": ["a", "b", "c", "d"] * (ROWS // 4),
            "x": [i * 0.5 for i in range(ROWS)],
            "half": [float(i) if i < ROWS // 2 else None for i in range(ROWS)],
            "wide": ["w" * 100] * ROWS,
        }
    )
    for i, start in enumerate(range(0, ROWS, ROWS // 2)):
        part = pa.Table.from_pandas(frame[start : start + ROWS // 2], preserve_index=False)
        pq.write_table(part, path / f"part-{i}.parquet", row_group_size=GROUP)
    return path


class Reads:
    """What was read: columns, and rows of the splits."""

    def __init__(self) -> None:
        self.columns: set[str] = set()
        self.rows = 0


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Iterator[Reads]:
    """Counts what is read, split by split, with one row group a task."""
    seen = Reads()
    scan = ParquetSplit.scan

    def counted(split: ParquetSplit, columns: Any, *, row_index: str | None = None) -> pl.LazyFrame:
        seen.columns |= set(columns)
        seen.rows += split.rows
        return scan(split, columns, row_index=row_index)

    monkeypatch.setattr(ParquetSplit, "scan", counted)
    monkeypatch.setattr(ParquetTable, "scan", lambda *args, **kwargs: None)
    with compile_options(single_task_bytes=-1, split_bytes=1, local_memory_share=-1):
        yield seen
