"""A Parquet split is a `Split` that pickles small; the former names of splits still work, with a warning."""

from __future__ import annotations

import pickle
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import howdah.io
from howdah.io import ParquetSplit, ParquetTable, Split, TableSource, plan_parquet


@pytest.fixture
def table(tmp_path: Path) -> ParquetTable:
    pq.write_table(pa.table({"x": range(30), "s": ["text"] * 30}), tmp_path / "a.parquet", row_group_size=10)
    pq.write_table(pa.table({"x": range(30, 40), "s": ["text"] * 10}), tmp_path / "b.parquet")
    return plan_parquet(tmp_path)


def test_tables_and_splits_have_the_interface_of_readers(table: ParquetTable) -> None:
    assert isinstance(table, TableSource)
    splits = table.splits(["x"], target_bytes=1)
    assert all(isinstance(split, Split) for split in splits)
    assert [(split.first_row, split.rows, split.row_groups) for split in splits] == [
        (0, 10, (0,)), (10, 10, (1,)), (20, 10, (2,)), (30, 10, (0,))
    ]  # fmt: skip


def test_a_split_reads_what_it_read_before_it_travelled(table: ParquetTable) -> None:
    split = table.splits(["x"], conditions=[("x", ">", 25)])[0]
    data = pickle.dumps(split)
    assert len(data) < 1000
    frame = pickle.loads(data).scan(["x"], row_index="row").collect()
    assert frame.equals(split.scan(["x"], row_index="row").collect())
    assert frame["row"].to_list() == frame["x"].to_list() == list(range(20, 30))
    assert split.read(["s", "x"]).collect().columns == ["s", "x"]


def test_the_fingerprint_is_of_the_files(table: ParquetTable, tmp_path: Path) -> None:
    assert plan_parquet(tmp_path).fingerprint == table.fingerprint
    pq.write_table(pa.table({"x": [1], "s": ["other"]}), tmp_path / "b.parquet")
    assert plan_parquet(tmp_path).fingerprint != table.fingerprint


def test_former_names_work_and_warn(table: ParquetTable) -> None:
    with pytest.warns(DeprecationWarning, match="now ParquetTable.splits"):
        (piece,) = table.pieces(["x"], filters=[("x", ">", 35)])
    with pytest.warns(DeprecationWarning, match=r"howdah\.io\.Piece is now howdah\.io\.ParquetSplit"):
        assert howdah.io.Piece is ParquetSplit
    with pytest.warns(DeprecationWarning, match=r"scan_piece is now howdah\.io\.scan_split"):
        scan_piece = howdah.io.scan_piece
    assert scan_piece(piece, ["x"]).collect()["x"].to_list() == list(range(30, 40))
