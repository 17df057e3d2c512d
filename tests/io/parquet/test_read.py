"""Reading splits: the same rows, dtypes and row numbers as the files have, locally and through a remote client."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from howdah.errors import StorageError, UnknownColumn
from howdah.io import plan_parquet, scan_split, scan_whole
from howdah.io.filesystem.filesystem import FileSystem
from howdah.io.hadoop.config import HadoopConfig
from howdah.io.parquet.table import ParquetTable

READS: list[tuple[int, int]] = []


class Remote(FileSystem):
    """Local files read as HDFS is: by byte ranges. (tests/io/filesystem/test_on_hdfs.py has the real one.)"""

    is_local = False  # type: ignore[assignment]

    def __init__(self) -> None:
        super().__init__("file", "", HadoopConfig(), "local")

    def read_ranges(self, path, ranges, size, sink):  # type: ignore[no-untyped-def]
        READS.extend(ranges)
        super().read_ranges(path, ranges, size, sink)


def plan(path: Path, remote: bool) -> ParquetTable:
    return plan_parquet(str(path), filesystem=Remote()) if remote else plan_parquet(path)


@pytest.fixture(params=[False, True], ids=["local", "remote"])
def planned(request: pytest.FixtureRequest) -> Callable[[Path], ParquetTable]:
    return lambda path: plan(path, request.param)


def everything(rows: int) -> pa.Table:
    """A column of each kind, nulls among them."""
    n = np.arange(rows)
    mask = n % 7 == 3
    return pa.table({
        "i": pa.array(n, mask=mask), "u8": pa.array(n % 200, pa.uint8()), "f": pa.array(n / 3, mask=mask),
        "f32": pa.array(n / 3, pa.float32()), "b": pa.array(n % 2 == 0, mask=mask),
        "s": pa.array([f"row {i}" for i in n], mask=mask), "view": pa.array([f"{i}" * 9 for i in n], pa.string_view()),
        "date": pa.array([dt.date(2024, 1, 1) + dt.timedelta(int(i)) for i in n], pa.date32()),
        "us": pa.array(n * 10**9, pa.timestamp("us"), mask=mask), "ns": pa.array(n, pa.timestamp("ns")),
        "zone": pa.array(n * 1000, pa.timestamp("ms", "Europe/Berlin")), "dur": pa.array(n, pa.duration("us")),
        "dec": pa.array([Decimal(int(i)) / 100 for i in n], pa.decimal128(15, 2)),
        "cat": pa.array([f"c{i % 3}" for i in n]).dictionary_encode(),
        "list": pa.array([[int(i), None] if i % 5 else None for i in n], pa.list_(pa.int64())),
        "struct": pa.array([{"x": int(i), "y": [{"z": "q"}]} for i in n]),
        "bin": pa.array([b"\x00" * (int(i) % 4) for i in n]),
    })  # fmt: skip


def test_all_dtypes_are_the_same_locally_and_remotely(tmp_path: Path) -> None:
    table = everything(100)
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=30, write_page_index=True)
    names = table.schema.names
    frames = []
    for remote in (False, True):
        splits = plan(tmp_path, remote).splits(names, target_bytes=1)
        assert len(splits) == 4
        frames.append(pl.concat([scan_split(split, names).collect() for split in splits]))
    assert frames[0].schema == frames[1].schema == pl.read_parquet(tmp_path / "a.parquet").schema
    assert frames[0].equals(frames[1])
    assert frames[0].equals(pl.read_parquet(tmp_path / "a.parquet"))


def test_columns_come_in_the_order_asked_for(planned: Callable[[Path], ParquetTable], tmp_path: Path) -> None:
    pq.write_table(everything(10), tmp_path / "a.parquet")
    (split,) = planned(tmp_path).splits(["s", "i"])
    assert scan_split(split, ["s", "i"], row_index="#").collect().columns == ["#", "s", "i"]


def test_no_columns_are_still_rows(planned: Callable[[Path], ParquetTable], tmp_path: Path) -> None:
    pq.write_table(everything(25), tmp_path / "a.parquet", row_group_size=10)
    splits = planned(tmp_path).splits([], target_bytes=1)
    numbers = [scan_split(split, [], row_index="#").collect() for split in splits]
    assert pl.concat(numbers)["#"].to_list() == list(range(25))
    assert sum(split.nbytes for split in splits) == 0


def test_only_the_bytes_of_the_columns_are_fetched(tmp_path: Path) -> None:
    rows = 50_000
    noise = np.random.default_rng(0).integers(0, 2**62, (3, rows))
    pq.write_table(pa.table({"a": noise[0], "b": noise[1], "c": noise[2]}), tmp_path / "a.parquet", compression="none")
    (split,) = plan(tmp_path, remote=True).splits(["b"])
    READS.clear()
    assert scan_split(split, ["b"]).sum().collect().item() == noise[1].sum()
    assert sum(length for _, length in READS) == split.nbytes < (tmp_path / "a.parquet").stat().st_size / 2


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    sizes=st.lists(st.integers(0, 30), min_size=1, max_size=4),
    group=st.integers(1, 12),
    target=st.sampled_from([1, 200, 1 << 20]),
    low=st.integers(-5, 60),
    pruned=st.booleans(),
    remote=st.booleans(),
)
def test_row_index_counts_the_whole_table_whatever_is_filtered_later(
    tmp_path: Path, sizes: list[int], group: int, target: int, low: int, pruned: bool, remote: bool
) -> None:
    folder = tmp_path / f"{sizes}{group}"
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(sum(sizes))
    for number, rows in enumerate(sizes):
        table = pa.table({"v": rng.integers(0, 60, rows), "w": rng.random(rows)})
        pq.write_table(table, folder / f"{number}.parquet", row_group_size=group)
    whole = pa.concat_tables([pq.read_table(path) for path in sorted(folder.iterdir())])
    values = whole["v"].to_numpy()
    expected = [(int(row), int(values[row])) for row in np.flatnonzero(values >= low)]

    conditions = [("v", ">=", low)] if pruned else []
    table = plan(folder, remote)
    found: list[tuple[int, int]] = []
    for split in table.splits(["v"], conditions=conditions, target_bytes=target):
        frame = scan_split(split, ["v"], row_index="row").filter(pl.col("v") >= low).collect()
        assert frame.schema["row"] == pl.UInt32
        found += [(row, value) for row, value in frame.rows()]
    assert found == expected
    lazy = scan_whole(table, ["v"], row_index="row")
    if remote:
        assert lazy is None
    else:
        assert lazy is not None
        assert lazy.filter(pl.col("v") >= low).collect().rows() == expected


def test_row_numbers_beyond_32_bits_are_wide(tmp_path: Path) -> None:
    import dataclasses

    pq.write_table(pa.table({"v": [10, 11, 12]}), tmp_path / "a.parquet", row_group_size=1)
    split = plan_parquet(tmp_path).splits(["v"], target_bytes=1)[2]
    far = dataclasses.replace(split, file_first_row=2**33, table_rows=2**33 + 3)
    frame = scan_split(far, ["v"], row_index="row").filter(pl.col("v") == 12).collect()
    assert frame.rows() == [(2**33 + 2, 12)]


def test_filters_reach_the_parquet_reader(planned: Callable[[Path], ParquetTable], tmp_path: Path) -> None:
    pq.write_table(everything(100), tmp_path / "a.parquet", row_group_size=10)
    split = planned(tmp_path).splits(["i", "s"], target_bytes=1)[3]
    plan_text = scan_split(split, ["i", "s"], row_index="row").filter(pl.col("i") > 3).select("s").explain()
    scan = plan_text[plan_text.index("Parquet SCAN") :]
    assert "SELECTION" in scan
    assert "PROJECT 2/17 COLUMNS" in scan


def test_a_split_without_rows_has_the_schema(planned: Callable[[Path], ParquetTable], tmp_path: Path) -> None:
    pq.write_table(everything(0), tmp_path / "a.parquet")
    names = everything(0).schema.names
    (split,) = planned(tmp_path).splits(names)
    assert scan_split(split, names).collect().schema == pl.read_parquet(tmp_path / "a.parquet").schema
    pq.write_table(everything(20), tmp_path / "a.parquet")
    (split,) = planned(tmp_path).splits(["i"], conditions=[("u8", ">", 100)])
    assert scan_split(split, ["i"], row_index="row").collect().shape == (0, 2)


def test_a_file_rewritten_after_planning_is_told(planned: Callable[[Path], ParquetTable], tmp_path: Path) -> None:
    pq.write_table(pa.table({"v": [1, 2, 3]}), tmp_path / "a.parquet")
    (split,) = planned(tmp_path).splits(["v"])
    pq.write_table(pa.table({"v": np.arange(1000)}), tmp_path / "a.parquet")
    with pytest.raises(StorageError, match=r"a.parquet: .*rewritten"):
        scan_split(split, ["v"]).collect()


def test_unknown_columns_are_told_when_scanned(tmp_path: Path) -> None:
    pq.write_table(pa.table({"value": [1]}), tmp_path / "a.parquet")
    (split,) = plan(tmp_path, remote=True).splits(["value"])
    with pytest.raises(UnknownColumn, match="did you mean 'value'"):
        scan_split(split, ["valu"])


def test_wildcards_in_the_path_are_no_wildcards(tmp_path: Path) -> None:
    for name in ("a*b", "aXb"):
        (tmp_path / name).mkdir()
        pq.write_table(pa.table({"v": [len(name), ord(name[1])]}), tmp_path / name / "p.parquet")
    table = plan_parquet(tmp_path / "a*b")
    lazy = scan_whole(table, ["v"])
    assert lazy is not None
    assert lazy.collect()["v"].to_list() == [3, ord("*")]


def test_a_pandas_frame_comes_back(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": [1.5, None], "b": ["x", None], "t": pd.to_datetime(["2024-01-01", None])})
    frame.to_parquet(tmp_path / "a.parquet")
    (split,) = plan_parquet(tmp_path).splits(["a", "b", "t"])
    pd.testing.assert_frame_equal(
        scan_split(split, ["a", "b", "t"]).collect().to_pandas(), frame, check_dtype=False, check_index_type=False
    )
