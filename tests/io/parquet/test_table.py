"""Planning: which files, that they fit together, and how they are cut."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from howdah.errors import CorruptFile, InputError, NotSupported, PathMissing, SchemaError, UnknownColumn
from howdah.io import plan_parquet


def write(path: Path, rows: int = 10, group: int = 4, **columns: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table({"x": np.arange(rows), **{name: pa.array(values) for name, values in columns.items()}})
    pq.write_table(table, path, row_group_size=group)
    return path


def test_a_folder_in_the_order_of_names_without_hidden_files(tmp_path: Path) -> None:
    for name in ("b/1.parquet", "a.parquet", "c.parquet", "_tmp/x.parquet", ".x.parquet"):
        write(tmp_path / name)
    (tmp_path / "_SUCCESS").touch()
    (tmp_path / ".a.parquet.crc").write_bytes(b"crc")
    table = plan_parquet(tmp_path)
    assert [os.path.relpath(f.path, tmp_path) for f in table.files] == ["a.parquet", "b/1.parquet", "c.parquet"]
    assert [f.first_row for f in table.files] == [0, 10, 20]
    assert table.rows == 30
    assert table.nbytes == sum(f.size for f in table.files)


def test_a_file_a_glob_and_a_list(tmp_path: Path) -> None:
    for name in ("a1", "a2", "b"):
        write(tmp_path / name / "p.parquet")
    assert len(plan_parquet(tmp_path / "b" / "p.parquet").files) == 1
    assert [Path(f.path).parent.name for f in plan_parquet(f"{tmp_path}/a*").files] == ["a1", "a2"]
    assert len(plan_parquet(f"{tmp_path}/*/p.parquet").files) == 3
    listed = plan_parquet([tmp_path / "b", f"file://{tmp_path}/a?"])
    assert [Path(f.path).parent.name for f in listed.files] == ["b", "a1", "a2"]


def test_a_path_with_wildcards_in_its_name(tmp_path: Path) -> None:
    write(tmp_path / "a[1]" / "p.parquet")
    assert plan_parquet(tmp_path / "a[1]").rows == 10


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(PathMissing, match=f"{tmp_path}/nope: no such"):
        plan_parquet(tmp_path / "nope")
    with pytest.raises(PathMissing, match="no file matches"):
        plan_parquet(f"{tmp_path}/*.parquet")
    (tmp_path / "_SUCCESS").touch()
    with pytest.raises(PathMissing, match="no Parquet file in this folder"):
        plan_parquet(tmp_path)
    with pytest.raises(InputError, match="at least one"):
        plan_parquet([])


def test_partitioned_folders_are_refused_with_what_to_do(tmp_path: Path) -> None:
    write(tmp_path / "day=1" / "p.parquet")
    with pytest.raises(NotSupported, match=r"partitioned by 'day'.*read one partition by its own path.*day=1"):
        plan_parquet(tmp_path)
    assert plan_parquet(tmp_path / "day=1").rows == 10


def damage(path: Path, kind: str) -> None:
    data = path.read_bytes()
    footer = int.from_bytes(data[-8:-4], "little")
    path.write_bytes({
        "empty": b"",
        "few bytes": b"PAR1",
        "truncated": data[: len(data) // 2],
        "not parquet": b"a,b\n1,2\n" * 10,
        "footer length": data[:-8] + (10**6).to_bytes(4, "little") + b"PAR1",
        "footer": data[: -8 - footer] + b"\xff" * footer + data[-8:],
        "hole": b"PAR1" + data[-8 - footer :],
    }[kind])  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ("empty", "it is empty"),
        ("few bytes", "only 4 bytes"),
        ("truncated", "its end is missing"),
        ("not parquet", "does not begin as one"),
        ("footer length", "footer claims 1000000 bytes"),
        ("footer", "footer cannot be read"),
        ("hole", "row group 0 claims the bytes"),
    ],
)
def test_damaged_files_are_named_with_why(kind: str, why: str, tmp_path: Path) -> None:
    write(tmp_path / "a.parquet")
    damage(write(tmp_path / "b.parquet"), kind)
    write(tmp_path / "c.parquet")
    with pytest.raises(CorruptFile, match=rf"{tmp_path}/b.parquet: .*{why}"):
        plan_parquet(tmp_path)


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"y": [1.5] * 10}, "column 'y' is double in .*b.parquet and int64 in .*a.parquet"),
        ({}, "column 'y' is missing in .*b.parquet and int64 in .*a.parquet"),
        ({"y": [1] * 10, "z": ["s"] * 10}, "column 'z' is string in .*b.parquet and missing in .*a.parquet"),
    ],
)
def test_schemas_that_differ_name_files_and_column(
    columns: dict[str, list[object]], words: str, tmp_path: Path
) -> None:
    write(tmp_path / "a.parquet", y=[1] * 10)
    write(tmp_path / "b.parquet", **columns)
    with pytest.raises(SchemaError, match=words):
        plan_parquet(tmp_path)


def test_schemas_may_differ_in_order_nullability_and_arrow_s_memory_form(tmp_path: Path) -> None:
    one = pa.schema([pa.field("a", pa.int64(), nullable=False), ("b", pa.string())])
    two = pa.schema([("b", pa.large_string()), ("a", pa.int64())])
    pq.write_table(pa.table({"a": [1], "b": ["x" * 50]}, schema=one), tmp_path / "1.parquet")
    pq.write_table(pa.table({"b": ["y" * 5000], "a": [2]}, schema=two), tmp_path / "2.parquet")
    table = plan_parquet(tmp_path)
    only_b = [split.nbytes for split in table.splits(["b"])]
    metadata = [pq.read_metadata(f.path).row_group(0) for f in table.files]
    assert only_b == [metadata[0].column(1).total_compressed_size, metadata[1].column(0).total_compressed_size]
    assert len(table.splits(["b"], conditions=[("a", "==", 2)])) == 1


def test_columns_that_are_not_there_are_told_with_near_names(tmp_path: Path) -> None:
    table = plan_parquet(write(tmp_path / "a.parquet", l_shipdate=[1] * 10))
    with pytest.raises(UnknownColumn, match="no column 'l_shipdat': did you mean 'l_shipdate'"):
        table.splits(["l_shipdat"])
    with pytest.raises(UnknownColumn, match="no column 'q'"):
        table.splits(["x"], conditions=[("q", "==", 1)])
    with pytest.raises(InputError, match="use one of"):
        table.splits(["x"], conditions=[("x", "=", 1)])


def test_nulls_are_counted_from_statistics(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", y=[None, 1.0] * 5, z=[[1]] * 10)
    write(tmp_path / "b.parquet", y=[2.0] * 10, z=[[1]] * 10)
    assert plan_parquet(tmp_path).null_counts == {"x": 0, "y": 5, "z": None}
    pq.write_table(pa.table({"x": [None, 1]}), tmp_path / "c.pq", write_statistics=False)
    assert plan_parquet(tmp_path / "c.pq").null_counts == {"x": None}


def test_pandas_index(tmp_path: Path) -> None:
    frame = pd.DataFrame({"v": [1, 2]}, index=pd.Index([7, 8], name="k"))
    frame.to_parquet(tmp_path / "a.parquet")
    table = plan_parquet(tmp_path)
    assert table.index_columns == ("k",)
    frame.reset_index().to_parquet(tmp_path / "a.parquet")
    ranged = plan_parquet(tmp_path)
    assert ranged.index_columns == ()
    assert ranged.pandas_metadata["index_columns"][0]["kind"] == "range"
    assert plan_parquet(write(tmp_path / "b" / "p.parquet")).pandas_metadata == {}


def test_splits_cover_every_row_once_and_respect_the_target(tmp_path: Path) -> None:
    for name in "ab":
        write(tmp_path / f"{name}.parquet", rows=1000, group=100, s=[f"{i:050}" for i in range(1000)])
    table = plan_parquet(tmp_path)
    per_group = table.stored_bytes(["s"]) / 20
    for target in (1, int(per_group * 3.5), 1 << 30):
        splits = table.splits(["s"], target_bytes=target)
        at = 0
        for split in splits:
            assert split.first_row == at
            at += split.rows
            assert len(split.row_groups) == 1 or split.nbytes <= target
        assert at == 2000
        assert sum(split.nbytes for split in splits) == table.stored_bytes(["s"])
    assert len(table.splits(["s"], target_bytes=1)) == 20
    assert len(table.splits(["s"])) == 2
    assert table.splits(["x"])[0].nbytes < table.splits(["s"])[0].nbytes < table.splits(["x", "s"])[0].nbytes


def test_splits_leave_out_row_groups_and_keep_row_numbers(tmp_path: Path) -> None:
    table = plan_parquet(write(tmp_path / "a.parquet", rows=40, group=10))
    (split,) = table.splits(["x"], conditions=[("x", "in", [5, 25])])
    assert split.row_groups == (0, 2)
    assert [(groups.offset, groups.rows) for groups in split.row_group_ranges] == [(0, 10), (20, 10)]
    assert (split.first_row, split.rows) == (0, 20)
    (nothing,) = table.splits(["x"], conditions=[("x", ">", 99)])
    assert (nothing.rows, nothing.row_groups, nothing.nbytes) == (0, (), 0)


def test_splits_pickle_small_and_equal(tmp_path: Path) -> None:
    table = plan_parquet(write(tmp_path / "a.parquet", rows=4000, group=10))
    (split,) = table.splits(["x"])
    data = pickle.dumps(split)
    assert len(data) < 500
    assert pickle.loads(data) == split


def test_a_rewritten_file_is_read_anew(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", rows=10)
    assert plan_parquet(tmp_path).rows == 10
    write(tmp_path / "a.parquet", rows=20)
    assert plan_parquet(tmp_path).rows == 20


def test_an_overwrite_that_was_killed_is_told_of(tmp_path: Path) -> None:
    write(tmp_path / ".out.howdah-old-123" / "part-00000.parquet")
    with pytest.raises(PathMissing, match=r"overwrite of it was killed.*/.out.howdah-old-123: rename it back"):
        plan_parquet(tmp_path / "out")
